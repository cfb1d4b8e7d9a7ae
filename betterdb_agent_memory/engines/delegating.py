"""An engine in front of another one, for those that differ from it in a verb or two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.engines.watching import Watch


class DelegatingEngine:
    """Every verb of `Engine` as that of `engine`; subclasses override those that they do otherwise."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def values(self) -> Values:
        """See `Engine.values`."""
        return self._engine.values

    @property
    def leases(self) -> Leases:
        """See `Engine.leases`."""
        return self._engine.leases

    @property
    def round_trips(self) -> int:
        """See `Engine.round_trips`: those of all who share the engine."""
        return self._engine.round_trips

    @property
    def traffic(self) -> Traffic:
        """See `Engine.traffic`: that of all who share the engine."""
        return self._engine.traffic

    def records(
        self, collection: Collection, counting: GroupCounting | None = None, announcing: Announcing | None = None
    ) -> Records:
        """See `Engine.records`."""
        return self._engine.records(collection, counting, announcing)

    def event_log(self, key: str) -> EventLog:
        """See `Engine.event_log`."""
        return self._engine.event_log(key)

    def links(self, linked: LinkedRecords) -> Links:
        """See `Engine.links`."""
        return self._engine.links(linked)

    async def move_many(
        self, source: Collection, target: Collection, ids: Mapping[str, str], *, without: Sequence[str] = ()
    ) -> int:
        """See `Engine.move_many`."""
        return await self._engine.move_many(source, target, ids, without=without)

    def watch(self, keys: Sequence[str], on_change: Callable[[], None]) -> Watch:
        """See `Engine.watch`."""
        return self._engine.watch(keys, on_change)

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._engine.close()
