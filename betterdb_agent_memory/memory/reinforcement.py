"""Recalled memories are touched: last access and a count, at once or later and merged.

Writing a hit back is dear where the search engine re-indexes the whole record for it (RediSearch
does, 7 to 30 ms for eight hits of 384 to 1,536 dimensions), so the deferred form collects hits,
merges them by id and writes them together.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic
from typing import Protocol, TypeAlias

from betterdb_agent_memory.background import LoopLock, end_between_writes
from betterdb_agent_memory.engines.base import Newest, RecordChange, Records
from betterdb_agent_memory.engines.links import MAX_LINKS, Strength
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    ConfigurationError,
    EngineUnavailableError,
    PartialBatchError,
)
from betterdb_agent_memory.memory.changes.cause import because
from betterdb_agent_memory.memory.dynamics_fields import RECENT, RECENT_TIMES
from betterdb_agent_memory.memory.record import ACCESS_COUNT, LAST_ACCESSED_AT
from betterdb_agent_memory.options import DeferredReinforcement, Reinforcement

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReinforcementStatistics:
    """Memories that wait to be touched, and memories whose touch was given up."""

    pending: int = 0
    lost: int = 0


Gains: TypeAlias = Mapping[str, Mapping[str, Strength]]
"""What links of memories gain: by the id of one, then of the other, each link once."""

_NO_GAINS: Gains = {}


class Reinforcer(Protocol):
    """When recalled memories are touched."""

    async def reinforce(self, ids: Sequence[str], now_ms: int, gains: Gains = _NO_GAINS) -> None:
        """Touch memories and let links gain, or take note of it. Best effort: never raises for a failed write."""

    async def flush(self) -> None:
        """Write what waits; raises when that fails, and what can be tried again still waits."""

    def statistics(self) -> ReinforcementStatistics:
        """What waits and what went wrong so far."""

    async def close(self) -> None:
        """Write what waits and stop."""


@dataclass(frozen=True, slots=True)
class _Touch:
    """How often a memory was recalled and when last; `recent`, where these are kept, when the last few times."""

    accesses: int
    latest_ms: int
    recent: tuple[int, ...] = ()
    gains: Mapping[str, Strength] = field(default_factory=dict)

    def merged(self, other: _Touch) -> _Touch:
        recent = tuple(sorted(self.recent + other.recent)[-RECENT_TIMES:]) if self.recent or other.recent else ()
        gains = {**self.gains}
        for id, strength in other.gains.items():
            gains[id] = strength.joined(gains[id]) if id in gains else strength
        if len(gains) > MAX_LINKS:
            gains = dict(sorted(gains.items(), key=lambda gain: -gain[1].score)[:MAX_LINKS])
        return _Touch(self.accesses + other.accesses, max(self.latest_ms, other.latest_ms), recent, gains)

    def change(self, id: str) -> RecordChange:
        return RecordChange(
            id,
            maxima={LAST_ACCESSED_AT: self.latest_ms},
            increments={ACCESS_COUNT: self.accesses},
            newest=accessed_at(self.recent),
            links=self.gains,
        )


def _touches(ids: Sequence[str], now_ms: int, gains: Gains, *, keeps_times: bool) -> list[tuple[str, _Touch]]:
    recent = (now_ms,) if keeps_times else ()
    return [(id, _Touch(1, now_ms, recent, gains.get(id, {}))) for id in ids]


def accessed_at(times_ms: tuple[int, ...]) -> dict[str, Newest]:
    """What a change says of these times of access; nothing where there are none to keep."""
    return {RECENT: Newest(times_ms, RECENT_TIMES)} if times_ms else {}


class ImmediateReinforcer:
    """Touches before the recall returns: one round trip, one write a hit."""

    def __init__(self, records: Records, *, on_failure: Callable[[], None], keeps_times: bool = False) -> None:
        self._records = records
        self._keeps_times = keeps_times
        self._on_failure = on_failure
        self._lost = 0
        self._has_warned = False

    async def reinforce(self, ids: Sequence[str], now_ms: int, gains: Gains = _NO_GAINS) -> None:
        """Touch now. A failure leaves the recall's answer as it is and is counted."""
        touches = _touches(ids, now_ms, gains, keeps_times=self._keeps_times)
        try:
            with because("reinforced"):
                await self._records.change_many([touch.change(id) for id, touch in touches])
        except AgentMemoryError as error:
            self._on_failure()
            self._lost += len(ids)
            # Said once: a user who may not write would read it at every recall.
            level = logging.DEBUG if self._has_warned else logging.WARNING
            self._has_warned = True
            _log.log(level, "%d recalled memories could not be reinforced, now and maybe later: %s", len(ids), error)

    async def flush(self) -> None:
        """Nothing ever waits."""

    def statistics(self) -> ReinforcementStatistics:
        """A failed write is not tried again."""
        return ReinforcementStatistics(lost=self._lost)

    async def close(self) -> None:
        """Nothing to stop."""


_SLICE = 16
"""Memories that the background writes in one request: RediSearch takes 0.5 to 2 ms for each."""


class DeferredReinforcer:
    """Collects touches, merges them by memory, writes them together.

    Written at the latest `interval_seconds` after the first one came in, by the recall that makes
    `max_pending` memories wait, by `flush` and by `close`. A process that is killed loses what waits; a
    forked child leaves it to its parent. A write whose outcome is unknown is not repeated, since that
    could count an access twice; it counts as lost.
    """

    def __init__(
        self,
        records: Records,
        options: DeferredReinforcement,
        *,
        on_failure: Callable[[], None],
        keeps_times: bool = False,
    ) -> None:
        self._records = records
        self._keeps_times = keeps_times
        self._on_failure = on_failure
        self._interval_seconds = options.interval_seconds
        self._max_pending = options.max_pending
        self._pending: dict[str, _Touch] = {}
        self._process = os.getpid()
        self._writing = LoopLock()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._lost = 0

    async def reinforce(self, ids: Sequence[str], now_ms: int, gains: Gains = _NO_GAINS) -> None:
        """Take note; no round trip, unless `max_pending` is reached or the store was closed meanwhile.

        While writing fails up to twice `max_pending` wait; then the oldest is given up and counted.
        """
        self._leave_to_parent()
        self._add(_touches(ids, now_ms, gains, keeps_times=self._keeps_times))
        if self._is_closed or len(self._pending) >= self._max_pending:
            await self._flush_quietly()
        elif self._task is None or self._task.done() or self._task.get_loop() is not asyncio.get_running_loop():
            self._task = asyncio.get_running_loop().create_task(self._write_later())

    async def flush(self) -> None:
        """Write everything that waits: one round trip per 500 memories."""
        await self._write(None)

    async def _write(self, most: int | None) -> None:
        """Write what waits, or the `most` that have waited longest."""
        self._leave_to_parent()
        async with self._writing:
            batch = {id: self._pending.pop(id) for id in [*islice(self._pending, most)]}
            if not batch:
                return
            try:
                with because("reinforced"):
                    await self._records.change_many([touch.change(id) for id, touch in batch.items()])
            except PartialBatchError as error:
                again = {id for id, cause in error.failed.items() if isinstance(cause, EngineUnavailableError)}
                self._give_back(batch, again, given_up=len(error.failed) - len(again))
                raise
            except EngineUnavailableError:
                self._give_back(batch, set(batch), given_up=0)
                raise
            except BaseException:
                self._give_back(batch, set(), given_up=len(batch))
                raise

    def statistics(self) -> ReinforcementStatistics:
        """What waits, and what was given up."""
        return ReinforcementStatistics(len(self._pending), self._lost)

    async def close(self) -> None:
        """Stop the background task, then flush; what cannot be written is counted as lost."""
        self._is_closed = True
        task, self._task = self._task, None
        await end_between_writes(task, self._writing)
        try:
            await self.flush()
        except AgentMemoryError as error:
            self._lost += len(self._pending)
            _log.warning("%d reinforcements were lost at close: %s", len(self._pending), error)
            self._pending.clear()

    def _leave_to_parent(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._pending = {}

    def _add(self, touches: Iterable[tuple[str, _Touch]]) -> None:
        for id, touch in touches:
            known = self._pending.get(id)
            self._pending[id] = touch if known is None else known.merged(touch)

    def _give_back(self, batch: dict[str, _Touch], again: set[str], *, given_up: int) -> None:
        self._on_failure()
        self._lost += given_up
        self._add((id, batch[id]) for id in again)
        while len(self._pending) > 2 * self._max_pending:
            self._pending.pop(next(iter(self._pending)))
            self._lost += 1

    async def _flush_quietly(self, most: int | None = None) -> bool:
        try:
            await self._write(most)
        except AgentMemoryError as error:
            _log.warning("reinforcements could not be written, %d wait: %s", len(self._pending), error)
            return False
        return True

    async def _write_later(self) -> None:
        """Runs while something waits; the next recall starts it anew.

        A server works through one request before it looks at the next one's, and re-indexes each memory that is
        written: so a few at a time, and the server has as long for others in between.
        """
        while self._pending and not self._is_closed:
            await asyncio.sleep(self._interval_seconds)
            waiting = len(self._pending)
            while waiting > 0 and self._pending and not self._is_closed:
                began = monotonic()
                if not await self._flush_quietly(_SLICE):
                    break
                waiting -= _SLICE
                await asyncio.sleep(monotonic() - began)


def reinforcer_for(
    reinforcement: Reinforcement, records: Records, *, on_failure: Callable[[], None], keeps_times: bool = False
) -> Reinforcer:
    """The reinforcer that an option names; `on_failure` is told of every write that failed. With `keeps_times` memories
    keep the times of their last four recalls, in the same write.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if isinstance(reinforcement, DeferredReinforcement):
        return DeferredReinforcer(records, reinforcement, on_failure=on_failure, keeps_times=keeps_times)
    if reinforcement == "deferred":
        return DeferredReinforcer(records, DeferredReinforcement(), on_failure=on_failure, keeps_times=keeps_times)
    if reinforcement == "immediate":
        return ImmediateReinforcer(records, on_failure=on_failure, keeps_times=keeps_times)
    raise ConfigurationError(
        f"reinforcement must be 'immediate', 'deferred' or DeferredReinforcement(...), got {reinforcement!r}"
    )
