"""Links between records in the file: the `Links` protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import apsw

from betterdb_agent_memory.engines.base import LinkedRecords
from betterdb_agent_memory.engines.embedded.database import Database
from betterdb_agent_memory.engines.embedded.linking import (
    add_link,
    forget_links,
    record_exists,
    remove_link,
    sweep_links,
)
from betterdb_agent_memory.engines.embedded.lookup import Lookup
from betterdb_agent_memory.engines.embedded.queries import rows
from betterdb_agent_memory.engines.links import LinkChange, LinkEnd, LinkReach, is_gone, weight_of


class EmbeddedLinks:
    """Links below one prefix. Every verb that writes is one transaction."""

    def __init__(self, database: Database, linked: LinkedRecords, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._prefix = linked.prefix
        self._places = tuple((Lookup(collection), begin) for collection, begin in linked.places)
        self._clock_ms = clock_ms

    async def strengthen(self, changes: Sequence[LinkChange], *, now_ms: int) -> list[bool]:
        """Add to the weights of links, all or none of them; false where a record is missing."""
        return await self._write(changes, now_ms, replaces=False)

    async def put(self, changes: Sequence[LinkChange], *, now_ms: int) -> list[bool]:
        """Give links this strength, all or none of them; false where a record is missing."""
        return await self._write(changes, now_ms, replaces=True)

    async def remove(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Remove links; true where there was one."""

        def remove(connection: apsw.Connection) -> list[bool]:
            return [remove_link(connection, self._prefix, one, other) for one, other in pairs]

        return await self._database.write(remove) if pairs else []

    async def forget(self, ids: Sequence[str]) -> None:
        """Remove all links of these records."""

        def forget(connection: apsw.Connection) -> None:
            for id in ids:
                forget_links(connection, self._prefix, id)

        if ids:
            await self._database.write(forget)

    async def neighbours(self, ids: Sequence[str], *, now_ms: int) -> list[tuple[LinkEnd, ...]]:
        """What each record is linked to, strongest first."""

        def read(connection: apsw.Connection) -> list[tuple[LinkEnd, ...]]:
            return [self._ends(connection, id, now_ms, 0.0) for id in ids]

        return await self._database.read(read) if ids else []

    async def around(self, ids: Sequence[str], reach: LinkReach, *, now_ms: int) -> Mapping[str, tuple[LinkEnd, ...]]:
        """What these records are linked to, and where that is too little what those are linked to, of one state of the
        file.
        """

        def read(connection: apsw.Connection) -> dict[str, tuple[LinkEnd, ...]]:
            seen = {id: self._ends(connection, id, now_ms, reach.least_weight) for id in ids}
            for id in reach.further(seen):
                seen[id] = self._ends(connection, id, now_ms, reach.least_weight)
            return seen

        return await self._database.read(read) if ids else {}

    async def _write(self, changes: Sequence[LinkChange], now_ms: int, *, replaces: bool) -> list[bool]:
        def write(connection: apsw.Connection) -> list[bool]:
            clock_ms = self._clock_ms()
            sweep_links(connection, clock_ms, at_most=4 * len(changes))
            there = {id: self._exists(connection, id, clock_ms) for change in changes for id in change[:2]}
            possible = [there[change.one] and there[change.other] for change in changes]
            for change, is_possible in zip(changes, possible, strict=True):
                if is_possible:
                    add_link(connection, self._prefix, change, now_ms, clock_ms, replaces=replaces)
            return possible

        return await self._database.write(write) if changes else []

    def _exists(self, connection: apsw.Connection, id: str, clock_ms: int) -> bool:
        for lookup, begin in self._places:
            tables = lookup.find(connection)
            if tables is not None and record_exists(connection, tables.record, begin + id, clock_ms):
                return True
        return False

    def _ends(self, connection: apsw.Connection, id: str, now_ms: int, least_weight: float) -> tuple[LinkEnd, ...]:
        found = rows(
            connection, "SELECT other, score, since_ms FROM link WHERE prefix = ? AND id = ?", (self._prefix, id)
        )
        ends = [
            LinkEnd(other, weight, since_ms)
            for other, score, since_ms in found
            if not is_gone(score, now_ms) and (weight := weight_of(score, now_ms)) >= least_weight
        ]
        return tuple(sorted(ends, key=lambda end: (-end.weight, end.id)))
