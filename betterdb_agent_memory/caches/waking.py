"""An engine that says when it is used, so that background work can begin with the first call and not before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from betterdb_agent_memory.engines.base import (
    Collection,
    Engine,
    GroupCounting,
    Leases,
    LinkedRecords,
    Records,
    Traffic,
)
from betterdb_agent_memory.engines.event_log import Announcing, EventLog
from betterdb_agent_memory.engines.links import Links
from betterdb_agent_memory.engines.values import ValueBatch, Values
from betterdb_agent_memory.engines.watching import Watch


class WakingEngine:
    """`engine`, with `on_use` called whenever plain values are about to be read or written."""

    def __init__(self, engine: Engine, on_use: Callable[[], None]) -> None:
        self._engine = engine
        self._values = _WakingValues(engine.values, on_use)

    @property
    def values(self) -> Values:
        """Plain values."""
        return self._values

    @property
    def leases(self) -> Leases:
        """The engine's own."""
        return self._engine.leases

    @property
    def round_trips(self) -> int:
        """The engine's own."""
        return self._engine.round_trips

    @property
    def traffic(self) -> Traffic:
        """The engine's own."""
        return self._engine.traffic

    def records(
        self, collection: Collection, counting: GroupCounting | None = None, announcing: Announcing | None = None
    ) -> Records:
        """The engine's own."""
        return self._engine.records(collection, counting, announcing)

    def event_log(self, key: str) -> EventLog:
        """The engine's own."""
        return self._engine.event_log(key)

    def links(self, linked: LinkedRecords) -> Links:
        """The engine's own."""
        return self._engine.links(linked)

    async def move_many(
        self, source: Collection, target: Collection, ids: Mapping[str, str], *, without: Sequence[str] = ()
    ) -> int:
        """The engine's own."""
        return await self._engine.move_many(source, target, ids, without=without)

    def watch(self, keys: Sequence[str], on_change: Callable[[], None]) -> Watch:
        """The engine's own."""
        return self._engine.watch(keys, on_change)

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()


class _WakingValues(Values):
    def __init__(self, values: Values, on_use: Callable[[], None]) -> None:
        self._values = values
        self._on_use = on_use

    def batch(self) -> ValueBatch:
        self._on_use()
        return self._values.batch()

    def scan_keys(self, prefix: str, *, page_size: int = 1000) -> AsyncIterator[list[str]]:
        self._on_use()
        return self._values.scan_keys(prefix, page_size=page_size)
