"""Which memories were recalled last in each scope, so that what a person says of an answer finds its way back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from betterdb_agent_memory.memory.scope import MemoryScope

MOST_SCOPES: Final = 1_000
"""Of so many scopes the last recall is known; the one that nothing was recalled in for longest is forgotten first."""


class Recalled(NamedTuple):
    """The ids that a recall returned, best first, and when that was, ms since the epoch."""

    ids: tuple[str, ...]
    at_ms: int


class RecentRecalls:
    """The last recall in each scope, in this process."""

    def __init__(self) -> None:
        self._last: OrderedDict[MemoryScope, Recalled] = OrderedDict()

    def note(self, scope: MemoryScope, ids: Sequence[str], at_ms: int) -> None:
        """Something was recalled."""
        self._last[scope] = Recalled(tuple(ids), at_ms)
        self._last.move_to_end(scope)
        while len(self._last) > MOST_SCOPES:
            self._last.popitem(last=False)

    def last(self, scope: MemoryScope) -> Recalled | None:
        """What was recalled last in exactly this scope; None where nothing was."""
        return self._last.get(scope)
