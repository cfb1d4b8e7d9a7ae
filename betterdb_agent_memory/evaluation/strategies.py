"""Ways to recall, by names that can be typed: `default`, `vector`, `hybrid+exact`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.options.recall import RETRIEVALS

DEFAULT_STRATEGIES: Final = "vector,hybrid"
AS_OPENED: Final = "default"
"""What `AgentMemory.open` does when nothing is said."""
DIVERSITY: Final = 0.7

_EXTRAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "exact": {"exact": True},
    "diverse": {"diversity": DIVERSITY},
    "rerank": {"rerank": True},
}


@dataclass(frozen=True, slots=True)
class Strategy:
    """A name, and the keywords of `recall` that it stands for."""

    name: str
    options: Mapping[str, Any]

    @property
    def needs_reranker(self) -> bool:
        """Whether it makes no sense for a store without one."""
        return self.options.get("rerank", False) is True


def strategy(name: str) -> Strategy:
    """`default`, `vector` or `hybrid`, with any of `+exact`, `+diverse` and `+rerank` behind it.

    A store's reranker is left out where it is not named, but for `default`.

    >>> strategy("hybrid+exact").options
    {'retrieval': 'hybrid', 'rerank': False, 'exact': True}

    Raises:
        InvalidInputError: a part of the name stands for nothing.
    """
    retrieval, *extras = name.strip().split("+")
    unknown = [part for part in extras if part not in _EXTRAS]
    if retrieval not in (AS_OPENED, *RETRIEVALS) or unknown:
        raise InvalidInputError(
            f"no strategy is named {name.strip()!r:.80}: it begins with {' or '.join((AS_OPENED, *RETRIEVALS))}, and "
            f"any of {', '.join(f'+{extra}' for extra in _EXTRAS)} may follow"
        )
    options: dict[str, Any] = {} if retrieval == AS_OPENED else {"retrieval": retrieval, "rerank": False}
    for extra in extras:
        options |= _EXTRAS[extra]
    return Strategy(name.strip(), options)


def strategies(names: str) -> tuple[Strategy, ...]:
    """Those of a list with commas, each once.

    >>> [one.name for one in strategies("vector, hybrid,vector")]
    ['vector', 'hybrid']

    Raises:
        InvalidInputError: one of them is none, or there is none.
    """
    listed = dict.fromkeys(name.strip() for name in names.split(",") if name.strip())
    if not listed:
        raise InvalidInputError(f"name at least one strategy, such as {DEFAULT_STRATEGIES}; got {names!r:.80}")
    return tuple(strategy(name) for name in listed)
