"""What can be set outside of a program, by name: for the command line, its file, and `AgentMemory.from_env()`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.options.memory import MAX_THRESHOLD, MemoryOptions
from betterdb_agent_memory.options.names import DEFAULT_NAME
from betterdb_agent_memory.options.recall import RETRIEVALS
from betterdb_agent_memory.options.secrets import masked


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text")
    return value


def _threshold(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"a number from 0 to {MAX_THRESHOLD:g}")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= MAX_THRESHOLD:
        raise ValueError(f"a number from 0 to {MAX_THRESHOLD:g}")
    return number


def _retrieval(value: object) -> str:
    if value not in RETRIEVALS:
        raise ValueError(" or ".join(map(repr, RETRIEVALS)))
    return str(value)


@dataclass(frozen=True, slots=True)
class Key:
    """A setting: its name in the file, its environment variable, its flag, and what it means.

    `read` makes a value of a text or of what the file holds, or raises a ValueError saying what it wants.
    """

    name: str
    flag: str
    meaning: str
    read: Callable[[object], Any] = _text
    default: Any = None

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"BETTERDB_{self.name.upper()}"


KEYS: Final = (
    Key("url", "--url", "the server (`valkey://host:6379`) or the file; by default a file in your data directory"),
    Key("name", "--name", "the store's name", default=DEFAULT_NAME),
    Key("embedder", "--embedder", "what makes vectors, by name; by default the offline embedder"),
    Key("threshold", "--threshold", "largest cosine distance of a memory that `recall` finds", _threshold),
    Key("retrieval", "--retrieval", "`hybrid` (words count, too) or `vector`; by default hybrid", _retrieval),
    Key("language", "--language", "the language whose endings are taken off words; by default english"),
    Key("model", "--model", "the language model of `consolidate`, as pydantic-ai names it"),
)


def read_value(key: Key, value: object, source: str) -> Any:
    """What a value of the environment or a file means.

    Raises:
        ConfigurationError: it cannot be used; the message names `source`.
    """
    try:
        return key.read(value)
    except ValueError as wanted:
        raise ConfigurationError(f"{key.name} from {source} must be {wanted}, got {masked(str(value))!r:.80}") from None


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Every setting by name: what a variable says, else its default. An empty variable says nothing.

    Raises:
        ConfigurationError: a value cannot be used.
    """
    return {
        key.name: read_value(key, said, f"environment {key.variable}")
        if (said := environment.get(key.variable))
        else key.default
        for key in KEYS
    }


_OF_MEMORY: Final = ("threshold", "retrieval", "language")


def with_environment(options: MemoryOptions, settings: Mapping[str, Any]) -> MemoryOptions:
    """`options` completed by `settings` (by name, None for one that is not set); what the caller said stays.

    Raises:
        ConfigurationError: a setting cannot be used.
    """
    said = {name: getattr(options, name) for name in options.model_fields_set}
    found = {name: settings[name] for name in _OF_MEMORY if settings.get(name) is not None}
    return MemoryOptions(**{**found, **{name: value for name, value in said.items() if value is not None}})
