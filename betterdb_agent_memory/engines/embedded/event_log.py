"""Event logs in the file, shared by all processes that have it open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import apsw

from betterdb_agent_memory.engines.embedded import logs
from betterdb_agent_memory.engines.embedded.database import Database
from betterdb_agent_memory.engines.event_log import (
    BEGINNING,
    GroupState,
    LogPage,
    LogPosition,
    LogState,
    Retention,
    checked_hold_ms,
    missed_between,
)
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.watching import Watch

LOOK_AGAIN_SECONDS = 0.1
"""A look takes 0.1 ms of a thread."""


class EmbeddedEventLog:
    """The `EventLog` of a file. What is kept is exact; every change is one write transaction."""

    def __init__(self, database: Database, now_ms: Callable[[], int], key: str) -> None:
        self._database = database
        self._now_ms = now_ms
        self._key = key

    async def open(self, retention: Retention) -> LogState:
        """The log as it is, opened now if there was none."""

        def begin(connection: apsw.Connection) -> LogState:
            now_ms = self._now_ms()
            logs.open_log(connection, self._key, retention, now_ms)
            state = logs.log_state(connection, self._key, now_ms)
            assert state is not None
            return state

        return await self._database.write(begin)

    async def state(self) -> LogState | None:
        """The log as it is; None where there is none."""
        return await self._database.read(lambda connection: logs.log_state(connection, self._key, self._now_ms()))

    async def drop(self) -> bool:
        """Delete the log and its groups; false where there was none."""
        return await self._database.write(lambda connection: logs.drop_log(connection, self._key))

    async def append(self, entries: Sequence[Fields]) -> list[LogPosition | None]:
        """Add entries at the end, all or none of them."""

        def add(connection: apsw.Connection) -> list[LogPosition | None]:
            positions = logs.append_entries(connection, self._key, entries, self._now_ms())
            return [None] * len(entries) if positions is None else list(positions)

        return await self._database.write(add)

    async def read(self, after: LogPosition, *, count: int) -> LogPage | None:
        """Up to `count` entries behind `after`; None where there is no log."""

        def look(connection: apsw.Connection) -> LogPage | None:
            state = logs.log_state(connection, self._key, self._now_ms())
            if state is None:
                return None
            # In a log that was begun anew everything is behind a position of the former one.
            number = 0 if after.time_ms < state.begun_ms else after.number
            entries = logs.entries_behind(connection, self._key, number, count)
            return LogPage(entries, missed_between(after, entries, state.last), state.last)

        return await self._database.read(look)

    @property
    def look_again_seconds(self) -> float:
        """How long whoever waits for entries lets pass before looking again."""
        return LOOK_AGAIN_SECONDS

    def watch(self, on_append: Callable[[], None]) -> Watch | None:
        """None: looking again is all there is."""
        del on_append
        return None

    async def before(self, time_ms: int) -> LogPosition | None:
        """The position behind which lies all that was appended at `time_ms` or later."""

        def find(connection: apsw.Connection) -> LogPosition | None:
            state = logs.log_state(connection, self._key, self._now_ms())
            return None if state is None else logs.position_before(connection, self._key, time_ms, state.last)

        return await self._database.read(find)

    async def share(
        self,
        group: str,
        consumer: str,
        *,
        hold_seconds: float,
        handled: Mapping[int, LogPosition],
        start: LogPosition = BEGINNING,
        may_move: bool = True,
    ) -> dict[int, LogPosition]:
        """Say that this consumer is alive and what it has handled; the partitions that it holds."""
        hold_ms = checked_hold_ms(hold_seconds)
        return await self._share(group, consumer, hold_ms, handled, start, may_move=may_move)

    async def leave(self, group: str, consumer: str, handled: Mapping[int, LogPosition]) -> None:
        """Say what was handled, and give everything up at once."""
        await self._share(group, consumer, 0, handled, BEGINNING, may_move=False)

    async def groups(self) -> list[GroupState]:
        """Every group, by name."""
        return await self._database.read(lambda connection: logs.group_states(connection, self._key, self._now_ms()))

    async def drop_group(self, group: str) -> bool:
        """Forget a group and how far it has come; false where there was none."""
        return await self._database.write(lambda connection: logs.drop_group(connection, self._key, group))

    async def _share(
        self,
        group: str,
        consumer: str,
        hold_ms: int,
        handled: Mapping[int, LogPosition],
        start: LogPosition,
        *,
        may_move: bool,
    ) -> dict[int, LogPosition]:
        return await self._database.write(
            lambda connection: logs.share_out(
                connection,
                self._key,
                group,
                consumer,
                now_ms=self._now_ms(),
                hold_ms=hold_ms,
                handled=handled,
                start=start,
                may_move=may_move,
            )
        )
