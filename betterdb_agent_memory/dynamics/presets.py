"""Parameters for what an agent does: how fast it forgets, what it promotes, what context and importance count."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

from betterdb_agent_memory.dynamics.parameters import DEFAULT_PARAMETERS, DynamicsParameters
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.memory.scoring.activation import ActivationParameters
from betterdb_agent_memory.memory.scoring.chain import ChainParameters

Preset: TypeAlias = Literal["default", "chatbot", "task_agent", "personal_assistant", "researcher"]

PRESETS: Final[Mapping[Preset, DynamicsParameters]] = MappingProxyType(
    {
        "default": DEFAULT_PARAMETERS,
        # Talks for months: forgets slowly, and what is talked about counts most.
        "chatbot": DynamicsParameters(
            chain=ChainParameters(working_decay=0.08, core_decay=0.003, transfer=0.12, forget_below=0.005),
            activation=ActivationParameters(decay=0.4, context_weight=2.0),
        ),
        # Works through a task: what belonged to the last one is in the way.
        "task_agent": DynamicsParameters(
            chain=ChainParameters(
                working_decay=0.25,
                core_decay=0.01,
                transfer=0.05,
                promote_at=0.35,
                archive_below=0.2,
                forget_below=0.02,
            ),
            activation=ActivationParameters(decay=0.6),
        ),
        # Knows a person: what matters to them stays for years.
        "personal_assistant": DynamicsParameters(
            chain=ChainParameters(
                working_decay=0.12,
                core_decay=0.001,
                transfer=0.10,
                promote_at=0.2,
                demote_below=0.03,
                forget_below=0.005,
            ),
            activation=ActivationParameters(decay=0.45, importance_weight=0.7),
        ),
        # Reads and keeps: hardly anything is forgotten, and it is found by what it is about.
        "researcher": DynamicsParameters(
            chain=ChainParameters(
                working_decay=0.05,
                core_decay=0.001,
                transfer=0.15,
                promote_at=0.15,
                demote_below=0.02,
                archive_below=0.1,
                forget_below=0.001,
            ),
            activation=ActivationParameters(decay=0.35, context_weight=2.0, importance_weight=0.3),
        ),
    }
)
"""Every preset by name; what it does not mention is the default."""


def preset(name: str) -> DynamicsParameters:
    """The parameters of a preset.

    Raises:
        ConfigurationError: there is none of this name; the message lists them.

    >>> preset("researcher").activation.decay
    0.35
    """
    for known in get_args(Preset):
        if name == known:
            return PRESETS[known]
    raise ConfigurationError(f"there is no preset {name!r:.80} of dynamics; there are {', '.join(PRESETS)}")


def parameters_of(dynamics: object) -> DynamicsParameters:
    """Those of a preset by its name, or the ones given; None is the default.

    Raises:
        ConfigurationError: it is neither.
    """
    if dynamics is None:
        return DEFAULT_PARAMETERS
    if isinstance(dynamics, DynamicsParameters):
        return dynamics
    if isinstance(dynamics, str):
        return preset(dynamics)
    raise ConfigurationError(
        f"dynamics must be the name of a preset ({', '.join(PRESETS)}) or DynamicsParameters(...), got {dynamics!r:.80}"
    )
