"""Keeping scopes at their limit: when one is trimmed, and by whom (docs/capacity.md).

A scope is what memories with exactly the same thread, agent and namespace make up. How many it holds is counted by
the writes themselves, so that a scope that is not full costs nothing, and one that is full is trimmed only now and
then: it may hold a little more than its limit, the slack, while there are writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from time import monotonic

from betterdb_agent_memory.background import Periodic, Together
from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.groups import is_total_absence, record_group
from betterdb_agent_memory.errors import AgentMemoryError, LeaseHeldError, LeaseLostError
from betterdb_agent_memory.leasing import HeldLease
from betterdb_agent_memory.live_config import MemoryConfigSnapshot
from betterdb_agent_memory.memory.evicting import Evictor, is_uncertain
from betterdb_agent_memory.memory.record import SCOPE_FIELDS, TAGS
from betterdb_agent_memory.memory.scope import MemoryScope, group_of
from betterdb_agent_memory.memory.scope_counts import ScopeCounts
from betterdb_agent_memory.memory.slack import MOST_AT_ONCE, early_of, pace_of, slack_of
from betterdb_agent_memory.memory.victims import EvictionCandidate, Retention, select_victims

__all__ = ["Capacity", "EvictionCandidate", "select_victims", "slack_of"]

SETTLE_SECONDS = 0.5
"""After so long without a write by this worker a scope above its limit is trimmed to it."""

RECOUNT_SECONDS = 30.0
"""How often a scope that is written to is counted anew, for what others than our writers do to it."""

CLOSING_SECONDS = 60.0
"""How long the close of a store goes on trimming at most, as long as it gets on: 10,000 memories too many take a few
seconds on a server that has nothing else to do."""

_QUIET_SECONDS = 0.05
"""After so long without a write by this worker there is none to wait for."""

_RECOUNTS_A_TICK = 10
_PATIENCE_SECONDS = 15.0
"""How long a writer waits for another one to trim its scope: longer than the lease of one that died."""

_LOOKS = 10
"""How often a writer has its scope trimmed, at most, while others go on writing into it."""

_FRUITLESS = 2
"""Trimmings in a row after which nobody leaves a scope that is above its limit."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05


def _nobody_asks() -> None:
    """Nobody waits for a trimming to get on."""


class Capacity:
    """Keeps scopes at their limit, with any number of workers.

    `sizes_kept` reads the counts of all scopes that are kept. `by_tags` sets scopes apart by the exact set of their
    memories' tags, too. `on_evicted` is told of memories that left, `on_failure`
    of a scope that could not be trimmed.
    """

    def __init__(
        self,
        evictor: Evictor,
        counts: ScopeCounts,
        *,
        config: Callable[[], MemoryConfigSnapshot],
        clock: Clock,
        sizes_kept: Callable[[], Awaitable[dict[str, int]]],
        on_evicted: Callable[[int], None],
        on_failure: Callable[[AgentMemoryError], None],
        by_tags: bool = False,
    ) -> None:
        self._evictor = evictor
        self._counts = counts
        self._config = config
        self._clock = clock
        self._sizes_kept = sizes_kept
        self._on_evicted = on_evicted
        self._on_failure = on_failure
        self._by_tags = by_tags
        self._together: Together[bool] = Together()
        self._background = Periodic(self._look_after, SETTLE_SECONDS, at_once=False)
        self._last_limit: int | None = None
        self._has_begun = False
        self._gets_on: Callable[[], None] = _nobody_asks
        self._fruitless: dict[str, int] = {}

    @property
    def limit(self) -> int | None:
        """Memories kept in one exact scope, None for no limit; an operator may change it."""
        return self._config().max_items_per_scope

    def start(self) -> None:
        """Look after scopes in the background, in the running loop; does nothing while it does already."""
        if not self._has_begun:
            self._has_begun, self._last_limit = True, self.limit
        self._background.start()

    async def make_room(self, written: Iterable[tuple[MemoryScope, Sequence[str]]]) -> None:
        """Trim those scopes that hold more than their limit and the slack, of memories `written` with these scopes and
        tags. Best effort: what was written is stored by then.

        No round trip while none does: this worker's writes have told how many there are.
        """
        await self._make_room_in(group_of(scope, tags if self._by_tags else None) for scope, tags in written)

    async def make_room_for(self, stored: Iterable[Fields]) -> None:
        """The same for memories that were written whole, as they are stored."""
        names = (*SCOPE_FIELDS, TAGS) if self._by_tags else SCOPE_FIELDS
        await self._make_room_in(record_group(fields, names, len(names) - len(SCOPE_FIELDS)) for fields in stored)

    async def _make_room_in(self, groups: Iterable[str]) -> None:
        limit = self.limit
        if limit is None:
            return
        self.start()
        for group in dict.fromkeys(groups):
            await self._trim_if_crowded(group, limit + slack_of(limit))
            if slack_of(limit) and self._counts.is_crowded(group, early_of(limit)):
                self._background.wake()

    async def close(self, *, gets_on: Callable[[], None] | None = None) -> None:
        """Stop looking after scopes, and trim those that this worker has left above their limit.

        `gets_on` is called whenever an answer has brought this nearer to its end: at each scope, and before each
        request for memories to leave.
        """
        await self._background.stop()
        limit = self.limit
        if limit is None:
            return
        self._gets_on = gets_on or _nobody_asks
        try:
            for group in list(self._counts.unsettled(limit, quiet_seconds=0)):
                self._gets_on()
                await self._settle(group, limit)
        finally:
            self._gets_on = _nobody_asks

    async def _settle(self, group: str, limit: int) -> None:
        """Trim a scope to its limit, unless somebody else has done it since our last write."""
        await self._look(group)
        await self._trim_if_crowded(group, limit)

    async def _look(self, group: str) -> int | None:
        """The count of a scope as it stands by now. One round trip."""
        since = self._counts.now()
        size = await self._evictor.size(group)
        self._counts.noted(group, size, since=since)
        return size

    async def _make_room_early(self, group: str, limit: int) -> None:
        """Trim a scope that has a quarter of its slack left, unless somebody else is at it."""
        await self._look(group)
        if self._counts.is_crowded(group, early_of(limit)):
            try:
                async with self._evictor.alone(group) as lease:
                    await self._trim(group, limit, lease)
            except (LeaseHeldError, LeaseLostError):
                return

    async def _trim(self, group: str, limit: int, lease: HeldLease) -> None:
        since = self._counts.now()
        retention = Retention.at(self._clock(), self._config())
        began = monotonic()
        size, evicted = await self._evictor.trim(
            group, limit, retention, lease, at_once=lambda: self._pace(group, limit, monotonic() - began)
        )
        if evicted:
            self._on_evicted(evicted)
        if evicted or size <= limit:
            self._fruitless.pop(group, None)
        else:
            # Others may have been quicker with the same memories. If it stays like that, all that may leave have left
            # and the others are pinned: nothing changes until somebody writes.
            self._fruitless[group] = self._fruitless.get(group, 0) + 1
            if self._fruitless[group] >= _FRUITLESS:
                del self._fruitless[group]
                self._counts.forget(group)
                return
        kept = await self._evictor.size(group)
        if kept is None or is_uncertain(kept) or kept < size or not evicted:
            kept = await self._evictor.recount(group, lease)
        self._counts.corrected(group, kept, since=since)

    def _pace(self, group: str, limit: int, seconds: float) -> int:
        """How many memories leave with the next request: few where a write of ours would wait for it."""
        self._gets_on()
        size = self._counts.size_of(group)
        if size is None or self._counts.is_quiet(group, _QUIET_SECONDS):
            return MOST_AT_ONCE
        return pace_of(size, limit, seconds)

    async def _trim_if_crowded(self, group: str, allowed: int) -> None:
        for _ in range(_LOOKS):
            if not self._counts.is_crowded(group, allowed):
                return
            try:
                # Who comes while it is being trimmed has written since, and looks once more.
                if not await self._together.once(group, lambda: self._trimmed(group, allowed)):
                    return
            except AgentMemoryError as error:
                self._on_failure(error)
                return

    async def _trimmed(self, group: str, allowed: int) -> bool:
        """Whether the scope was brought down to its limit by us; false where somebody else has made room since.

        Raises:
            LeaseHeldError: somebody else was to do it and did not in time.
        """
        until = monotonic() + _PATIENCE_SECONDS
        found = self._counts.size_of(group)
        pause = _SHORTEST_PAUSE
        while self._counts.is_crowded(group, allowed):
            limit = self.limit
            if limit is None:
                return False
            try:
                async with self._evictor.alone(group) as lease:
                    if is_uncertain(self._counts.size_of(group)):
                        # Somebody else may have counted it while we waited.
                        await self._look(group)
                        if not self._counts.is_crowded(group, allowed):
                            return True
                    await self._trim(group, limit, lease)
                    return True
            except (LeaseHeldError, LeaseLostError):
                if monotonic() >= until:
                    raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                now = await self._look(group)
                if found is not None and now is not None and now < found:
                    # What is too much by now others have written, who see to it, or we do once it is quiet.
                    return False
        return True

    async def _look_after(self) -> None:
        """Settle scopes that nobody writes to any more, count again those that are, and follow a lowered limit."""
        limit = self.limit
        try:
            await self._follow(limit)
            if limit is None:
                return
            if slack_of(limit):
                for group in list(self._counts.crowded(early_of(limit))):
                    await self._make_room_early(group, limit)
            for group in list(self._counts.unsettled(limit, quiet_seconds=SETTLE_SECONDS)):
                await self._settle(group, limit)
            for group in list(islice(self._counts.due(seconds=RECOUNT_SECONDS), _RECOUNTS_A_TICK)):
                await self._recounted(group, limit)
        except AgentMemoryError as error:
            self._on_failure(error)

    async def _follow(self, limit: int | None) -> None:
        """Trim every scope that is above a limit which was lowered since the last look."""
        before, self._last_limit = self._last_limit, limit
        if limit is None or limit == before or (before is not None and limit > before):
            return
        for group, size in (await self._sizes_kept()).items():
            if size > limit and not is_total_absence(group) and self._evictor.is_ours(group):
                self._counts.counted(group, size)
                await self._trim_if_crowded(group, limit)

    async def _recounted(self, group: str, limit: int) -> None:
        since = self._counts.now()
        try:
            async with self._evictor.alone(group) as lease:
                self._counts.corrected(group, await self._evictor.recount(group, lease), since=since)
        except (LeaseHeldError, LeaseLostError):
            return  # somebody else is at it; the next look comes back to it
        await self._trim_if_crowded(group, limit)
        self._counts.forget_settled(group)
