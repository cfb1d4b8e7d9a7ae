"""Kinds of memories: how much one matters, how long it lasts and how far it is believed, if nobody says otherwise.

The first six and their figures are those that neuroscience-grounded memories go by. The others are what agents write
beside them, each placed among the six by how soon what it says stops being so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

from betterdb_agent_memory.errors import InvalidInputError

MemoryKind: TypeAlias = Literal[
    "factual",
    "episodic",
    "relational",
    "emotional",
    "procedural",
    "opinion",
    "fact",
    "preference",
    "rule",
    "decision",
    "context",
    "article",
    "summary",
]
"""What kind of memory it is: see `KINDS`."""


@dataclass(frozen=True, slots=True)
class KindProfile:
    """What holds for a memory of a kind where it says nothing of its own.

    `importance` is 0 to 1, `stability_days` the time constant of forgetting, `decay_per_day` the rate of fading, about
    1 / `stability_days`, and `reliability`, 0 to 1, how often such a memory turns out right. No kind makes a memory
    expire: an expiry that nobody asked for would lose it silently.
    """

    importance: float
    stability_days: float
    decay_per_day: float
    reliability: float


KINDS: Final[Mapping[MemoryKind, KindProfile]] = MappingProxyType(
    {
        "factual": KindProfile(0.3, 33, 0.03, 0.85),
        "episodic": KindProfile(0.4, 10, 0.10, 0.90),
        "relational": KindProfile(0.6, 50, 0.02, 0.75),
        "emotional": KindProfile(0.9, 100, 0.01, 0.95),
        "procedural": KindProfile(0.5, 100, 0.01, 0.90),
        "opinion": KindProfile(0.3, 20, 0.05, 0.60),
        # Picked out of other memories as worth keeping, with the importance that consolidation gives it; lasts longer
        # than what was merely said, and a model that picks errs a little more often than a person who states.
        "fact": KindProfile(0.7, 50, 0.02, 0.80),
        # Tastes change within months, and what somebody says of their own is mostly so.
        "preference": KindProfile(0.6, 50, 0.02, 0.85),
        # Holds until it is revoked, was laid down on purpose, and breaking it is dear.
        "rule": KindProfile(0.8, 100, 0.01, 0.95),
        # As lasting as a relation, and written down by whoever took it.
        "decision": KindProfile(0.7, 50, 0.02, 0.90),
        # The state of the task at hand: of no use a week later.
        "context": KindProfile(0.3, 5, 0.20, 0.80),
        # Checked and rewritten from many memories.
        "article": KindProfile(0.7, 100, 0.01, 0.90),
        # Stands for memories that are gone, so it matters more than each of them, as consolidation has it; loses their
        # details.
        "summary": KindProfile(0.7, 33, 0.03, 0.80),
    }
)
"""Every kind and its profile."""


DEFAULT_RELIABILITY: Final = 0.8
"""How often a memory of no kind turns out right."""


def reliability_of_kind(kind: str | None) -> float:
    """How often a memory of this kind, or of none, or of one that is not known, turns out right."""
    profile = _PROFILES.get(kind or "")
    return DEFAULT_RELIABILITY if profile is None else profile.reliability


def stability_of_kind(kind: str | None) -> float | None:
    """The time constant of forgetting of this kind, in days; None for none and for one that is not known."""
    profile = _PROFILES.get(kind or "")
    return None if profile is None else profile.stability_days


_PROFILES: Final = {str(name): profile for name, profile in KINDS.items()}


def checked_kind(kind: object) -> MemoryKind:
    """A known kind.

    Raises:
        InvalidInputError: it is none; the message lists them.
    """
    for known in get_args(MemoryKind):
        if kind == known:
            name: MemoryKind = known
            return name
    raise InvalidInputError(f"there is no kind {kind!r:.80} of memories; known are {', '.join(KINDS)}")
