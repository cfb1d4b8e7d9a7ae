"""Plain values beside the records: strings with an expiry, and maps."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import apsw

from betterdb_agent_memory.engines.embedded.changes import expiry_ms
from betterdb_agent_memory.engines.embedded.database import Database
from betterdb_agent_memory.engines.embedded.erasing import note_erasure
from betterdb_agent_memory.engines.embedded.queries import rows, scalar
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import EngineError, InvalidInputError

_SWEPT_PER_WRITE = 64
_INTEGER = re.compile(rb"-?\d+")


class EmbeddedValues:
    """Strings and maps in one key space: a key holds either a string or a map."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        return await self._database.read(lambda connection: _live_value(connection, key, self._now_ms()))

    async def set(
        self, key: str, value: bytes, *, ttl_seconds: int | None = None, only_if_absent: bool = False
    ) -> bool:
        """Store a value; false when `only_if_absent` and there already was one. Replaces a map."""
        if ttl_seconds is not None and ttl_seconds <= 0:
            raise InvalidInputError(f"ttl_seconds of {key!r} is {ttl_seconds}; give a positive number, or None")

        def store(connection: apsw.Connection) -> bool:
            now_ms = self._now_ms()
            sweep_values(connection, now_ms, at_most=_SWEPT_PER_WRITE)
            if only_if_absent and _exists(connection, key, now_ms):
                return False
            _remove(connection, key)
            connection.execute(
                "INSERT INTO value (key, value, expires_at_ms) VALUES (?, ?, ?)",
                (key, value, expiry_ms(ttl_seconds, now_ms)),
            )
            return True

        return await self._database.write(store)

    async def delete(self, key: str) -> bool:
        """Delete a value or a map; true when there was one."""

        def remove(connection: apsw.Connection) -> bool:
            existed = _exists(connection, key, self._now_ms())
            _remove(connection, key)
            note_erasure(connection)
            return existed

        return await self._database.write(remove)

    async def read_map(self, key: str) -> dict[str, bytes]:
        """All fields of a map; empty when there is none."""

        def read(connection: apsw.Connection) -> dict[str, bytes]:
            return dict(rows(connection, "SELECT field, value FROM map_field WHERE key = ?", (key,)))

        return await self._database.read(read)

    async def write_map(self, key: str, fields: Fields) -> None:
        """Set fields of a map, leaving its others alone.

        Raises:
            EngineError: the key holds a string.
        """

        def write(connection: apsw.Connection) -> None:
            _refuse_string(connection, key, self._now_ms())
            for field, value in fields.items():
                _set_field(connection, key, field, value)

        await self._database.write(write)

    async def remove_fields(self, key: str, fields: Sequence[str]) -> int:
        """Remove fields of a map; how many there were. A map without fields is gone.

        Raises:
            EngineError: the key holds a string.
        """

        def remove(connection: apsw.Connection) -> int:
            _refuse_string(connection, key, self._now_ms())
            removed = 0
            for field in fields:
                connection.execute("DELETE FROM map_field WHERE key = ? AND field = ?", (key, field))
                removed += connection.changes()
            if removed:
                note_erasure(connection)
            return removed

        return await self._database.write(remove)

    async def increment(self, key: str, field: str, amount: int) -> int:
        """Add to an integer field of a map, missing counts as 0; returns the new value. Atomic.

        Raises:
            EngineError: the key holds a string, or the field something that is not an integer.
        """

        def add(connection: apsw.Connection) -> int:
            _refuse_string(connection, key, self._now_ms())
            stored = scalar(connection, "SELECT value FROM map_field WHERE key = ? AND field = ?", (key, field))
            stored = b"0" if stored is None else stored
            if not _INTEGER.fullmatch(stored):
                raise EngineError(f"the field {field!r} of {key!r} holds {stored!r}, which is not an integer")
            total = int(stored) + amount
            _set_field(connection, key, field, b"%d" % total)
            return total

        return await self._database.write(add)


def _live_value(connection: apsw.Connection, key: str, now_ms: int) -> bytes | None:
    value: bytes | None = scalar(
        connection,
        "SELECT value FROM value WHERE key = ? AND (expires_at_ms IS NULL OR expires_at_ms > ?)",
        (key, now_ms),
    )
    return value


def _exists(connection: apsw.Connection, key: str, now_ms: int) -> bool:
    if _live_value(connection, key, now_ms) is not None:
        return True
    return scalar(connection, "SELECT 1 FROM map_field WHERE key = ? LIMIT 1", (key,)) is not None


def _remove(connection: apsw.Connection, key: str) -> None:
    connection.execute("DELETE FROM value WHERE key = ?", (key,))
    connection.execute("DELETE FROM map_field WHERE key = ?", (key,))


def _set_field(connection: apsw.Connection, key: str, field: str, value: bytes) -> None:
    connection.execute("INSERT OR REPLACE INTO map_field (key, field, value) VALUES (?, ?, ?)", (key, field, value))


def _refuse_string(connection: apsw.Connection, key: str, now_ms: int) -> None:
    if _live_value(connection, key, now_ms) is not None:
        raise EngineError(f"the key {key!r} holds a string, not a map")
    # An expired string is gone, whether or not it was swept.
    connection.execute("DELETE FROM value WHERE key = ?", (key,))


def sweep_values(connection: apsw.Connection, now_ms: int, *, at_most: int) -> int:
    """Remove expired values from the file, the longest expired first; how many it were."""
    connection.execute(
        "DELETE FROM value WHERE key IN "
        "(SELECT key FROM value WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?)",
        (now_ms, at_most),
    )
    return connection.changes()
