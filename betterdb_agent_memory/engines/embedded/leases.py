"""Who may do long work: one owner at a time per key."""

from __future__ import annotations

import math
from collections.abc import Callable

import apsw

from betterdb_agent_memory.engines.base import Fence
from betterdb_agent_memory.engines.embedded.changes import LATEST_MS
from betterdb_agent_memory.engines.embedded.database import Database
from betterdb_agent_memory.engines.embedded.fencing import refuse_late
from betterdb_agent_memory.engines.embedded.keys import put_fields
from betterdb_agent_memory.engines.embedded.queries import first
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import InvalidInputError


class EmbeddedLeases:
    """Leases in the file, by this machine's clock. Every verb is one write transaction.

    A lasting row stays when its lease is over, so that the tokens of a key only ever grow; another one
    is deleted when it is given back, or swept out after it ran out.
    """

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def acquire(self, key: str, owner: str, *, ttl_seconds: float, lasting: bool = True) -> int | None:
        """The fencing token, or None while somebody else holds the lease.

        The holder gets its own token again, and holds on for `ttl_seconds` from now.
        """
        ttl_ms = _milliseconds(key, ttl_seconds)

        def take(connection: apsw.Connection) -> int | None:
            now_ms = self._now_ms()
            held = first(connection, "SELECT owner, token, until_ms FROM lease WHERE key = ?", (key,))
            holder, token, until_ms = held or (None, 0, 0)
            if until_ms <= now_ms:
                token += 1
            elif holder != owner:
                return None
            connection.execute(
                "INSERT OR REPLACE INTO lease (key, owner, token, until_ms, lasting) VALUES (?, ?, ?, ?, ?)",
                (key, owner, token, min(now_ms + ttl_ms, LATEST_MS), lasting),
            )
            return int(token)

        return await self._database.write(take)

    async def renew(self, key: str, owner: str, *, ttl_seconds: float) -> bool:
        """Hold on for `ttl_seconds` from now; false when the lease is no longer the owner's."""
        ttl_ms = _milliseconds(key, ttl_seconds)

        def move(connection: apsw.Connection) -> bool:
            now_ms = self._now_ms()
            connection.execute(
                "UPDATE lease SET until_ms = ? WHERE key = ? AND owner = ? AND until_ms > ?",
                (min(now_ms + ttl_ms, LATEST_MS), key, owner, now_ms),
            )
            return connection.changes() > 0

        return await self._database.write(move)

    async def release(self, key: str, owner: str) -> bool:
        """Give the lease back; false when it is no longer the owner's."""

        def give_back(connection: apsw.Connection) -> bool:
            now_ms = self._now_ms()
            mine = (key, owner, now_ms)
            connection.execute("DELETE FROM lease WHERE key = ? AND owner = ? AND until_ms > ? AND lasting = 0", mine)
            if connection.changes():
                return True
            connection.execute("UPDATE lease SET until_ms = 0 WHERE key = ? AND owner = ? AND until_ms > ?", mine)
            return connection.changes() > 0

        return await self._database.write(give_back)

    async def write_map(self, fence: Fence, key: str, fields: Fields) -> None:
        """Set fields (at least one) of the map `key`, unless somebody else has taken the lease of `fence` since.

        Raises:
            LeaseLostError: somebody has; nothing was written.
        """

        def write(connection: apsw.Connection) -> None:
            refuse_late(connection, fence)
            put_fields(connection, key, fields, self._now_ms())

        await self._database.write(write)


def _milliseconds(key: str, ttl_seconds: float) -> int:
    if not (math.isfinite(ttl_seconds) and ttl_seconds > 0):
        raise InvalidInputError(f"ttl_seconds of the lease {key!r} is {ttl_seconds}; give a positive number")
    return math.ceil(ttl_seconds * 1000)
