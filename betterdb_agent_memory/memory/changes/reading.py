"""Changes one after another: followed by one reader, or shared by the consumers of a group."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic

from betterdb_agent_memory.background import LoopLock
from betterdb_agent_memory.engines.event_log import EventLog, LogEntry, LogPage, LogPosition
from betterdb_agent_memory.errors import AgentMemoryError, ChangesMissedError
from betterdb_agent_memory.memory.changes.change import Change, read_change
from betterdb_agent_memory.memory.changes.cursors import Cursors

PAGE = 500
"""Entries read at once."""

TELL_EVERY = 100
"""Changes after which a group is told that they have been handled, if it is not told before."""

_LONGEST_QUIET_SECONDS = 5.0
"""How long a consumer that is not at work leaves what it holds as it is: so long a new one may wait for a share."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is followed: which changes `wants` them, and whom a missed one is counted with."""

    store: str
    wants: Callable[[Change, LogEntry], bool]
    on_missed: Callable[[int | None], None]


async def follow(log: EventLog, after: LogPosition, asked: Asked) -> AsyncGenerator[Change, None]:
    """Every change behind `after`, as they come, without end."""
    async with _listening(log) as news:
        while True:
            news.clear()
            page = _complete(await log.read(after, count=PAGE), asked)
            for entry in page.entries:
                after = entry.position
                change = read_change(entry)
                if change is not None and asked.wants(change, entry):
                    yield change
            if not page.entries:
                await _pause(news, log.look_again_seconds)


async def follow_in_group(
    log: EventLog, group: str, asked: Asked, *, start: LogPosition, hold_seconds: float
) -> AsyncGenerator[Change, None]:
    """The changes of those memories that fall to this consumer, as they come, without end.

    A change counts as handled when the next one is asked for.
    """
    consumer = _Consumer(log, group, start=start, hold_seconds=hold_seconds)
    async with _listening(log) as news, consumer.alive():
        while True:
            news.clear()
            await consumer.share_if_due()
            after = consumer.cursors.begin_page()
            if after is None:
                await _pause(news, min(hold_seconds / 3, 1.0))
                continue
            page = await log.read(after, count=PAGE)
            if page is None:
                await consumer.drop_group()
            elif page.missed != 0:
                consumer.cursors.reach(_behind_the_gap(page))
                await consumer.share()
            page = _complete(page, asked)
            for entry in page.entries:
                if not await consumer.may_hand_out(entry):
                    continue
                change = read_change(entry)
                if change is not None and asked.wants(change, entry):
                    yield change
                consumer.cursors.reach(entry.position)
                await consumer.handled_one()
            if page.entries:
                consumer.cursors.reach(page.entries[-1].position)
            else:
                await _pause(news, min(log.look_again_seconds, hold_seconds / 3))


class _Consumer:
    """One consumer of a group: what it holds, and that it is alive."""

    def __init__(self, log: EventLog, group: str, *, start: LogPosition, hold_seconds: float) -> None:
        self.cursors = Cursors()
        self._log = log
        self._group = group
        self._start = start
        self._hold_seconds = hold_seconds
        self._every_seconds = min(hold_seconds / 3, _LONGEST_QUIET_SECONDS)
        self._name = uuid.uuid4().hex
        self._held_until = -1.0
        self._moved_at = -hold_seconds
        self._since_told = 0
        self._is_over = False
        # Answers about what is held are taken in the order in which they were asked for.
        self._turn = LoopLock()

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Say so until the end of the block, however long a change is worked on; then give up what is held."""
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait([beating])
            # Without it others take over when the time is up.
            with suppress(AgentMemoryError):
                async with self._turn:
                    await self._log.leave(self._group, self._name, self.cursors.handled)

    async def drop_group(self) -> None:
        """Forget the group, whose log is gone: by saying that it is alive this consumer may have brought it back."""
        async with self._turn:
            self._is_over = True
            await self._log.drop_group(self._group)

    async def share(self, *, may_move: bool = True) -> None:
        """Tell the group what was handled; hold on, take over what is free, give up what is too much."""
        async with self._turn:
            if self._is_over:
                return
            now = monotonic()
            held = await self._log.share(
                self._group,
                self._name,
                hold_seconds=self._hold_seconds,
                handled=self.cursors.handled,
                start=self._start,
                may_move=may_move,
            )
            self.cursors.hold(held)
            self._held_until = now + self._hold_seconds
            self._since_told = 0
            if may_move:
                self._moved_at = now

    async def share_if_due(self) -> None:
        """`share` with nothing in hand, if the last time is a while ago or the group does not know all."""
        if self._since_told or monotonic() - self._moved_at >= self._every_seconds:
            await self.share()

    async def handled_one(self) -> None:
        """One more was handled: a hundred are told at once, or what there is after a while."""
        self._since_told += 1
        if self._since_told >= TELL_EVERY or monotonic() - self._moved_at >= self._every_seconds:
            await self.share()

    async def may_hand_out(self, entry: LogEntry) -> bool:
        """Whether an entry is this consumer's, who still holds its partition."""
        if not self.cursors.wants(entry):
            return False
        if monotonic() >= self._held_until:
            await self.share(may_move=False)
        return self.cursors.wants(entry)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._hold_seconds / 3)
            # One that fails is followed by another; until then nothing is handed out beyond the time it is held for.
            with suppress(AgentMemoryError):
                await self.share(may_move=False)


@asynccontextmanager
async def _listening(log: EventLog) -> AsyncIterator[asyncio.Event]:
    """An event that is set soon after something was appended."""
    news = asyncio.Event()
    watch = log.watch(news.set)
    try:
        yield news
    finally:
        if watch is not None:
            await watch.close()


async def _pause(news: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await news.wait()


def _behind_the_gap(page: LogPage) -> LogPosition:
    """The place behind the missed entries: reading on from there misses nothing."""
    if not page.entries:
        return page.last
    first = page.entries[0].position
    return LogPosition(first.time_ms, first.number - 1)


def _complete(page: LogPage | None, asked: Asked) -> LogPage:
    """A page from which nothing is missing.

    Raises:
        ChangesMissedError: something is; it is counted, and the error says where to go on.
    """
    if page is None:
        asked.on_missed(None)
        raise ChangesMissedError(
            f"the change feed of store {asked.store} has been switched off; changes() with since='now' begins another",
            missed=None,
            since="now",
        )
    if page.missed == 0:
        return page
    asked.on_missed(page.missed)
    how_many = "changes" if page.missed is None else f"{page.missed} changes"
    why = (
        "was switched off and on again"
        if page.missed is None
        else "keeps no more than its options say (change_feed=ChangeFeedOptions(...))"
    )
    raise ChangesMissedError(
        f"{how_many} of store {asked.store} were gone before they were read here: the feed {why}. Whatever was derived "
        "from the changes is to be made anew; changes(since=error.since) goes on behind the gap",
        missed=page.missed,
        since=str(_behind_the_gap(page)),
    )
