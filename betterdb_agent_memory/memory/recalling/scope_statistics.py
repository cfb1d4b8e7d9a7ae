"""How large scopes are and how many of their memories have a word, as far as was asked lately."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Final

from betterdb_agent_memory.engines.base import Tally
from betterdb_agent_memory.engines.filters import Filter

KEPT_SECONDS: Final = 60.0
KEPT_TALLIES: Final = 20_000
"""About 5 MB."""


class ScopeStatistics:
    """Counts that are good for a minute: they weigh words and choose a way to search, and decide nothing else."""

    def __init__(
        self, *, seconds: float = KEPT_SECONDS, capacity: int = KEPT_TALLIES, now: Callable[[], float] = monotonic
    ) -> None:
        self._seconds = seconds
        self._capacity = capacity
        self._now = now
        self._kept: OrderedDict[tuple[Filter, str | None], tuple[int, float]] = OrderedDict()

    def known(self, tally: Tally) -> int | None:
        """The count, None where it was not asked for within the last minute."""
        kept = self._kept.get(_key(tally))
        return kept[0] if kept is not None and kept[1] > self._now() else None

    def note(self, tally: Tally, count: int) -> None:
        """Keep a count; those kept longest leave when there are too many."""
        key = _key(tally)
        self._kept[key] = (count, self._now() + self._seconds)
        self._kept.move_to_end(key)
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)


def _key(tally: Tally) -> tuple[Filter, str | None]:
    return tally.filter, None if tally.word is None else tally.word.stem
