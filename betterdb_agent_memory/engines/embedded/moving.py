"""Records that become records of another collection of the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import apsw

from betterdb_agent_memory.engines.base import Collection, RecordWrite
from betterdb_agent_memory.engines.embedded import reading, writing
from betterdb_agent_memory.engines.embedded.database import Database
from betterdb_agent_memory.engines.embedded.lookup import Lookup


async def move_many(
    database: Database,
    source: Collection,
    target: Collection,
    ids: Mapping[str, str],
    *,
    without: Sequence[str],
    now_ms: Callable[[], int],
) -> int:
    """See `Engine.move_many`: one transaction."""

    def move(connection: apsw.Connection) -> int:
        former = Lookup(source).find(connection)
        if former is None:
            return 0
        later, now = Lookup(target).prepared(connection), now_ms()
        there = [*ids]
        found = reading.read_records(connection, former, there, None, now)
        expiries = reading.read_expiries(connection, former, there, now)
        writes = [
            RecordWrite(
                ids[id], {name: fields[name] for name in fields if name not in without}, expires_at_ms=expires_at_ms
            )
            for id, fields, expires_at_ms in zip(there, found, expiries, strict=True)
            if fields is not None
        ]
        moved = [id for id, fields in zip(there, found, strict=True) if fields is not None]
        if writes:
            writing.write_records(connection, later, writes, now, whole_field="")
            writing.delete_records(connection, former, moved, now, expected=None)
        return len(moved)

    return await database.write(move) if ids else 0
