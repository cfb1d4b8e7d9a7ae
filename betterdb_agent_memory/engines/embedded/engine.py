"""The embedded engine: one SQLite file, or memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import apsw

from betterdb_agent_memory.engines.base import Collection, GroupCounting, LinkedRecords, Traffic
from betterdb_agent_memory.engines.embedded.database import Database
from betterdb_agent_memory.engines.embedded.event_log import EmbeddedEventLog
from betterdb_agent_memory.engines.embedded.leases import EmbeddedLeases
from betterdb_agent_memory.engines.embedded.links import EmbeddedLinks
from betterdb_agent_memory.engines.embedded.moving import move_many
from betterdb_agent_memory.engines.embedded.place import IN_MEMORY
from betterdb_agent_memory.engines.embedded.records import EmbeddedRecords
from betterdb_agent_memory.engines.embedded.sweeping import sweep_everything
from betterdb_agent_memory.engines.embedded.values import EmbeddedValues
from betterdb_agent_memory.engines.embedded.watching import Looking
from betterdb_agent_memory.engines.event_log import Announcing
from betterdb_agent_memory.engines.watching import Watch, Watching
from betterdb_agent_memory.errors import ConfigurationError


class EmbeddedEngine:
    """Memories in one SQLite file, shared by any number of processes on one machine.

    Args:
        path: The file, created with its directory at the first use, readable by its owner alone
            (mode 0600), or ":memory:" for a store that lives as long as this object. Not on a
            network file system: SQLite's log needs shared memory between its processes. And not
            opened by another SQLite library in the same process, such as Python's sqlite3, while it
            is in use: file locks do not hold between two libraries in one process.
        busy_timeout_seconds: How long a write waits for another process that is writing.
        clock: Seconds since the epoch; decides what has expired.

    Every call runs in a thread of the engine's own: the event loop stays free, and the engine may
    be used from several loops one after another. Writes are durable when they return, power cuts
    included; writes that wait at the same time share one commit.
    """

    def __init__(
        self,
        path: str | Path = IN_MEMORY,
        *,
        busy_timeout_seconds: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not str(path):
            raise ConfigurationError('the path of the embedded engine is empty; give a file name or ":memory:"')
        place = str(path) if str(path) == IN_MEMORY else str(Path(path).expanduser().absolute())
        self._clock = clock
        self._database = Database(place, busy_timeout_seconds, self._sweep)
        self._values = EmbeddedValues(self._database, self._now_ms)
        self._leases = EmbeddedLeases(self._database, self._now_ms)
        self._watching = Watching(Looking(self._database, self._now_ms).listen)

    @property
    def values(self) -> EmbeddedValues:
        """Plain values."""
        return self._values

    @property
    def leases(self) -> EmbeddedLeases:
        """Who may do long work, among all processes that have the file open."""
        return self._leases

    @property
    def round_trips(self) -> int:
        """0: there is no network."""
        return 0

    @property
    def traffic(self) -> Traffic:
        """Nothing: there is no network."""
        return Traffic()

    def records(
        self, collection: Collection, counting: GroupCounting | None = None, announcing: Announcing | None = None
    ) -> EmbeddedRecords:
        """The records of `collection`, counted in groups and told in a log as these two say; no I/O."""
        return EmbeddedRecords(self._database, collection, self._now_ms, counting, announcing)

    def event_log(self, key: str) -> EmbeddedEventLog:
        """The event log at `key`; no I/O."""
        return EmbeddedEventLog(self._database, self._now_ms, key)

    def links(self, linked: LinkedRecords) -> EmbeddedLinks:
        """The links between these records; no I/O."""
        return EmbeddedLinks(self._database, linked, self._now_ms)

    async def move_many(
        self, source: Collection, target: Collection, ids: Mapping[str, str], *, without: Sequence[str] = ()
    ) -> int:
        """Make records of `source` records of `target`, all or none of them: see `Engine.move_many`."""
        return await move_many(self._database, source, target, ids, without=without, now_ms=self._now_ms)

    def watch(self, keys: Sequence[str], on_change: Callable[[], None]) -> Watch:
        """Call `on_change` within a second after strings or maps were changed, by whichever process."""
        return self._watching.add(keys, on_change)

    async def close(self) -> None:
        """Wait for calls under way and close the file; a call made after it is an EngineError.

        What expired is removed from the file, and what was erased from its log.
        """
        await self._watching.close()
        await self._database.close()

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _sweep(self, connection: apsw.Connection) -> int:
        return sweep_everything(connection, self._now_ms())
