"""The tables of plain values: `value` holds strings, `map_field` the fields of maps, `map_expiry` when a map expires.

What has expired is not there for any reader, whether or not it was swept out of the tables yet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import apsw

from betterdb_agent_memory.engines.embedded.changes import LATEST_MS
from betterdb_agent_memory.engines.embedded.erasing import note_erasure
from betterdb_agent_memory.engines.embedded.queries import first, rows, scalar, values
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.values import ExpiresAt
from betterdb_agent_memory.errors import EngineError

_INTEGER = re.compile(rb"-?\d+")
_LAST_CODE_POINT = 0x10FFFF


def live_string(connection: apsw.Connection, key: str, now_ms: int) -> tuple[bytes, int | None] | None:
    """A string and when it expires, or None."""
    found: tuple[bytes, int | None] | None = first(
        connection,
        "SELECT value, expires_at_ms FROM value WHERE key = ? AND (expires_at_ms IS NULL OR expires_at_ms > ?)",
        (key, now_ms),
    )
    return found


def live_fields(
    connection: apsw.Connection, key: str, now_ms: int, names: Sequence[str] | None = None
) -> dict[str, bytes]:
    """The fields of a map, all of them or those named; empty when there is none."""
    if scalar(connection, "SELECT 1 FROM map_expiry WHERE key = ? AND expires_at_ms <= ?", (key, now_ms)):
        return {}
    if names is None:
        return dict(rows(connection, "SELECT field, value FROM map_field WHERE key = ?", (key,)))
    found = {}
    for name in names:
        value = scalar(connection, "SELECT value FROM map_field WHERE key = ? AND field = ?", (key, name))
        if value is not None:
            found[name] = value
    return found


def exists(connection: apsw.Connection, key: str, now_ms: int) -> bool:
    """Whether there is a string or a map."""
    if live_string(connection, key, now_ms) is not None:
        return True
    return is_map(connection, key, now_ms)


def is_map(connection: apsw.Connection, key: str, now_ms: int) -> bool:
    """Whether there is a map."""
    expires_at_ms = _map_expiry(connection, key)
    if expires_at_ms is not None and expires_at_ms <= now_ms:
        return False
    return scalar(connection, "SELECT 1 FROM map_field WHERE key = ? LIMIT 1", (key,)) is not None


def put_string(connection: apsw.Connection, key: str, value: bytes, expires_at_ms: int | None) -> None:
    """Store a string in place of whatever there is."""
    remove_key(connection, key)
    connection.execute("INSERT INTO value (key, value, expires_at_ms) VALUES (?, ?, ?)", (key, value, expires_at_ms))


def put_fields(
    connection: apsw.Connection, key: str, fields: Fields, now_ms: int, *, at_least_until_ms: int | None = None
) -> None:
    """Set fields of a map, which lives `at_least_until_ms` if it expires at all; an expired string is gone."""
    is_new = not is_map(connection, key, now_ms)
    if is_new:
        remove_key(connection, key)
    for field, value in fields.items():
        connection.execute("INSERT OR REPLACE INTO map_field (key, field, value) VALUES (?, ?, ?)", (key, field, value))
    if at_least_until_ms is None:
        return
    if is_new:
        connection.execute("INSERT INTO map_expiry (key, expires_at_ms) VALUES (?, ?)", (key, at_least_until_ms))
    else:
        connection.execute(
            "UPDATE map_expiry SET expires_at_ms = max(expires_at_ms, ?) WHERE key = ?", (at_least_until_ms, key)
        )


def take_fields(connection: apsw.Connection, key: str, fields: Sequence[str]) -> int:
    """Remove fields of a map; how many there were."""
    removed = 0
    for field in fields:
        connection.execute("DELETE FROM map_field WHERE key = ? AND field = ?", (key, field))
        removed += connection.changes()
    if removed:
        note_erasure(connection)
        connection.execute(
            "DELETE FROM map_expiry WHERE key = ? AND NOT EXISTS (SELECT 1 FROM map_field WHERE key = ?)", (key, key)
        )
    return removed


def remove_key(connection: apsw.Connection, key: str) -> None:
    """Remove a string or a map."""
    connection.execute("DELETE FROM value WHERE key = ?", (key,))
    connection.execute("DELETE FROM map_field WHERE key = ?", (key,))
    connection.execute("DELETE FROM map_expiry WHERE key = ?", (key,))


def expire_key(
    connection: apsw.Connection, key: str, expires_at_ms: int, now_ms: int, *, only_if: ExpiresAt | None
) -> bool:
    """Give a string or a map another expiry, if the one it has is as said; false otherwise."""
    found = live_string(connection, key, now_ms)
    is_string = found is not None
    if found is None and not is_map(connection, key, now_ms):
        return False
    current = found[1] if found is not None else _map_expiry(connection, key)
    if only_if is not None and current != only_if.expires_at_ms:
        return False
    later = min(expires_at_ms, LATEST_MS)
    if is_string:
        connection.execute("UPDATE value SET expires_at_ms = ? WHERE key = ?", (later, key))
    else:
        connection.execute("INSERT OR REPLACE INTO map_expiry (key, expires_at_ms) VALUES (?, ?)", (key, later))
    return True


def persist_key(connection: apsw.Connection, key: str, now_ms: int) -> bool:
    """Take the expiry of a string or a map away; whether there was one."""
    if not exists(connection, key, now_ms):
        return False
    connection.execute("UPDATE value SET expires_at_ms = NULL WHERE key = ? AND expires_at_ms IS NOT NULL", (key,))
    changed = connection.changes()
    connection.execute("DELETE FROM map_expiry WHERE key = ?", (key,))
    return changed + connection.changes() > 0


def total_of(fields: Mapping[str, bytes], key: str, field: str) -> int:
    """The integer in a field, missing counts as 0."""
    stored = fields.get(field, b"0")
    if not _INTEGER.fullmatch(stored):
        raise EngineError(f"the field {field!r} of {key!r} holds {stored!r}, which is not an integer")
    return int(stored)


_PAGES = {
    "value": "SELECT key FROM value WHERE key >= ? AND key > ? AND (? IS NULL OR key < ?) "
    "AND (expires_at_ms IS NULL OR expires_at_ms > ?) ORDER BY key LIMIT ?",
    "map_field": "SELECT DISTINCT key FROM map_field WHERE key >= ? AND key > ? AND (? IS NULL OR key < ?) "
    "AND NOT EXISTS (SELECT 1 FROM map_expiry WHERE map_expiry.key = map_field.key AND expires_at_ms <= ?) "
    "ORDER BY key LIMIT ?",
}


def page_of_keys(
    connection: apsw.Connection,
    table: Literal["value", "map_field"],
    prefix: str,
    after: str | None,
    limit: int,
    now_ms: int,
) -> list[str]:
    """Up to `limit` keys of one table that begin with `prefix`, in order, after `after`."""
    end = _end_of(prefix)
    # Before the first page: no key is smaller than the prefix's own, and that one must not be left out.
    if after is None:
        whole = _PAGES[table].replace("key > ?", "key >= ?", 1)
        return values(connection, whole, (prefix, prefix, end, end, now_ms, limit))
    return values(connection, _PAGES[table], (prefix, after, end, end, now_ms, limit))


def _end_of(prefix: str) -> str | None:
    """The smallest text after all that begin with `prefix`; None when there is none."""
    for place in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[place]) + 1
        if point <= _LAST_CODE_POINT:
            # What lies between U+D7FF and U+E000 is no character, and cannot be stored.
            return prefix[:place] + chr(0xE000 if 0xD800 <= point <= 0xDFFF else point)
    return None


def sweep_values(connection: apsw.Connection, now_ms: int, *, at_most: int) -> int:
    """Remove expired strings, maps and borrowed leases from the file, the longest expired first; how many it were."""
    connection.execute(
        "DELETE FROM value WHERE key IN "
        "(SELECT key FROM value WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?)",
        (now_ms, at_most),
    )
    removed = connection.changes()
    expired = values(
        connection,
        "SELECT key FROM map_expiry WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?",
        (now_ms, at_most),
    )
    for key in expired:
        connection.execute("DELETE FROM map_field WHERE key = ?", (key,))
        connection.execute("DELETE FROM map_expiry WHERE key = ?", (key,))
    connection.execute("DELETE FROM lease WHERE lasting = 0 AND until_ms <= ?", (now_ms,))
    return removed + len(expired) + connection.changes()


def _map_expiry(connection: apsw.Connection, key: str) -> int | None:
    found: int | None = scalar(connection, "SELECT expires_at_ms FROM map_expiry WHERE key = ?", (key,))
    return found
