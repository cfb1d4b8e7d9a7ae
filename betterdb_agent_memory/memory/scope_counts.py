"""What this worker knows of how many memories scopes hold: told by its own writes, without asking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic

from betterdb_agent_memory.engines.groups import is_total_absence

MAX_SCOPES = 100_000
"""Scopes that are remembered, some 300 bytes each; beyond, those written to longest ago are forgotten."""


@dataclass(slots=True)
class _Known:
    """A scope that was written to: its size, None where nobody counts it yet, and the most that a write of ours has
    told since somebody looked; times of this process's clock.
    """

    size: int | None
    most: int | None
    written_at: float
    recounted_at: float


class ScopeCounts:
    """The `GroupCounting` of a store's memories. `limit` is the most that a scope keeps, None for no limit.

    Memories that belong to no thread, agent or namespace are never counted: they have no limit.
    """

    def __init__(self, limit: Callable[[], int | None], now: Callable[[], float] = monotonic) -> None:
        self._limit = limit
        self._now = now
        self._known: dict[str, _Known] = {}

    @property
    def is_on(self) -> bool:
        """Whether there is a limit."""
        return self._limit() is not None

    def counted(self, group: str, size: int | None) -> None:
        """A memory was written into this scope, which has `size` by now."""
        if is_total_absence(group):
            return
        now = self._now()
        known = self._known.pop(group, None)
        # Answers to writes at the same time may come in another order than that in which they were counted.
        most = size if known is None or known.most is None or size is None else max(size, known.most)
        self._known[group] = _Known(size, most, now, now if known is None else known.recounted_at)
        if len(self._known) > MAX_SCOPES:
            del self._known[next(iter(self._known))]

    def now(self) -> float:
        """The time by which these are put in order."""
        return self._now()

    def size_of(self, group: str) -> int | None:
        """The count of a scope as far as it is known."""
        known = self._known.get(group)
        return None if known is None else known.size

    def is_quiet(self, group: str, seconds: float) -> bool:
        """Whether this worker has not written to the scope for so long."""
        known = self._known.get(group)
        return known is None or known.written_at <= self._now() - seconds

    def corrected(self, group: str, size: int, *, since: float) -> None:
        """The scope was counted: it has `size`. What was written after `since` says more than that."""
        known = self._known.get(group)
        if known is None:
            return
        known.recounted_at = since
        if known.written_at <= since:
            known.size = known.most = size

    def noted(self, group: str, size: int | None, *, since: float) -> None:
        """The count of a scope, asked for at `since`: what a write of ours has told meanwhile may be later."""
        known = self._known.get(group)
        if known is not None and (known.written_at <= since or known.size is None):
            known.size = known.most = size

    def is_crowded(self, group: str, allowed: int) -> bool:
        """Whether the scope has more than `allowed`, or nobody knows."""
        known = self._known.get(group)
        return known is not None and (known.size is None or known.size > allowed)

    def crowded(self, allowed: int) -> Iterator[str]:
        """Scopes that have more than `allowed`, or of which nobody knows."""
        for group, known in list(self._known.items()):
            if known.size is None or known.size > allowed:
                yield group

    def unsettled(self, limit: int, *, quiet_seconds: float) -> Iterator[str]:
        """Scopes that may be above the limit, or are not counted yet, and that this worker has not written to for a
        while.
        """
        until = self._now() - quiet_seconds
        for group, known in list(self._known.items()):
            if known.written_at <= until and (known.most is None or known.most > limit):
                yield group

    def due(self, *, seconds: float) -> Iterator[str]:
        """Scopes written to since they were counted, `seconds` ago or longer: the longest ago first."""
        until = self._now() - seconds
        waiting = [(known.recounted_at, group) for group, known in self._known.items() if known.recounted_at <= until]
        for _, group in sorted(waiting):
            yield group

    def forget_settled(self, group: str) -> None:
        """The scope was counted after the last write: there is nothing more to do for it until the next one."""
        known = self._known.get(group)
        if known is not None and known.written_at <= known.recounted_at:
            del self._known[group]

    def forget(self, group: str) -> None:
        """There is nothing to do for the scope until the next write into it."""
        self._known.pop(group, None)

    @property
    def is_empty(self) -> bool:
        """Whether there is no scope to look after."""
        return not self._known
