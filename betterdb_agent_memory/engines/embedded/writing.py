"""What changes records, each inside a write transaction of the caller's."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

import re
from collections.abc import Collection as Members
from collections.abc import Sequence

import apsw

from betterdb_agent_memory.engines.base import RecordChange, RecordWrite
from betterdb_agent_memory.engines.embedded import coarse
from betterdb_agent_memory.engines.embedded.body import pack, unpack
from betterdb_agent_memory.engines.embedded.erasing import note_erasure
from betterdb_agent_memory.engines.embedded.indexing import column_values, insert_tags, number, tag_rows
from betterdb_agent_memory.engines.embedded.queries import first, scalar, values
from betterdb_agent_memory.engines.embedded.tables import Tables, column
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import InvalidInputError

_SWEPT_PER_WRITE = 64
LATEST_MS = 2**63 - 1

_INTEGER = re.compile(rb"\s*([+-]?\d+)")


def check_writes(tables: Tables, writes: Sequence[RecordWrite]) -> None:
    """Refuse what cannot be stored, before anything is.

    Raises:
        InvalidInputError: a vector of another length than the collection's, or a TTL below one second.
    """
    for write in writes:
        vector = write.fields.get(tables.vector_field)
        if vector is not None and len(vector) != tables.vector_bytes:
            raise InvalidInputError(
                f"the vector of {write.id!r} has {len(vector)} bytes, but this collection has "
                f"{tables.dimensions} dimensions: {tables.vector_bytes} bytes of float32"
            )
        if write.ttl_seconds is not None and write.ttl_seconds <= 0:
            raise InvalidInputError(
                f"ttl_seconds of {write.id!r} is {write.ttl_seconds}; give a positive number, or None for no expiry"
            )


def expiry_ms(ttl_seconds: int | None, now_ms: int) -> int | None:
    """When something stored now expires."""
    return None if ttl_seconds is None else min(now_ms + ttl_seconds * 1000, LATEST_MS)


def write_records(connection: apsw.Connection, tables: Tables, writes: Sequence[RecordWrite], now_ms: int) -> None:
    """Store whole records; the last one wins where an id comes twice. About 40 us a record in a batch."""
    sweep(connection, tables, now_ms, at_most=_SWEPT_PER_WRITE + len(writes))
    latest = {write.id: write for write in writes}
    keys = _existing_keys(connection, tables, latest)
    fresh = [id for id in latest if id not in keys]
    taken = _take_keys(connection, tables, len(fresh))
    _remove(connection, tables, list(keys.values()))
    keys.update(zip(fresh, taken, strict=True))
    stored = [(keys[id], write) for id, write in latest.items()]
    names = ", ".join(("key", "id", "expires_at_ms", *map(column, tables.columns)))
    marks = ", ".join("?" * (3 + len(tables.columns)))
    connection.executemany(
        f"INSERT INTO {tables.record} ({names}) VALUES ({marks})",
        [
            (key, write.id, expiry_ms(write.ttl_seconds, now_ms), *column_values(tables, write.fields))
            for key, write in stored
        ],
    )
    connection.executemany(
        f"INSERT INTO {tables.body} (key, fields) VALUES (?, ?)",
        [(key, pack(_without(write.fields, tables.vector_field))) for key, write in stored],
    )
    insert_tags(
        connection, tables, [row for key, write in stored for row in tag_rows(tables.multiple_tags, write.fields, key)]
    )
    vectors = {key: w.fields[tables.vector_field] for key, w in stored if tables.vector_field in w.fields}
    connection.executemany(f"INSERT INTO {tables.vector} (key, vector) VALUES (?, ?)", vectors.items())
    coarse.store(connection, tables, vectors)
    coarse.erase(connection, tables, [key for key, _ in stored if key not in vectors])


def delete_records(connection: apsw.Connection, tables: Tables, ids: Sequence[str], now_ms: int) -> list[bool]:
    """Delete records; true where there was one that had not expired."""
    removed: dict[int, bool] = {}
    answers: list[bool] = []
    for id in ids:
        row = first(connection, f"SELECT key, expires_at_ms FROM {tables.record} WHERE id = ?", (id,))
        alive = row is not None and row[0] not in removed and (row[1] is None or row[1] > now_ms)
        if row is not None:
            removed[row[0]] = alive
        answers.append(alive)
    _discard(connection, tables, list(removed))
    return answers


def change_records(
    connection: apsw.Connection, tables: Tables, changes: Sequence[RecordChange], now_ms: int
) -> list[bool]:
    """Change integers of records that exist; false where there was none.

    A missing field counts as 0, and so does one that does not begin with an integer.

    Raises:
        InvalidInputError: a field to change is the vector or a tag.
    """
    untouchable = {tables.vector_field, *tables.whole_tags, *tables.multiple_tags}
    for change in changes:
        for name in (*change.maxima, *change.increments):
            if name in untouchable:
                raise InvalidInputError(f"the field {name!r} of {change.id!r} is not an integer; it cannot be changed")
    return [_change(connection, tables, change, now_ms) for change in changes]


def _change(connection: apsw.Connection, tables: Tables, change: RecordChange, now_ms: int) -> bool:
    row = first(
        connection,
        f"SELECT b.key, b.fields FROM {tables.record} AS r JOIN {tables.body} AS b ON b.key = r.key "
        "WHERE r.id = ? AND (r.expires_at_ms IS NULL OR r.expires_at_ms > ?)",
        (change.id, now_ms),
    )
    if row is None:
        return False
    key, fields = row[0], unpack(row[1])
    for name, value in change.maxima.items():
        fields[name] = b"%d" % max(leading_integer(fields.get(name), default=value), value)
    for name, amount in change.increments.items():
        fields[name] = b"%d" % (leading_integer(fields.get(name), default=0) + amount)
    connection.execute(f"UPDATE {tables.body} SET fields = ? WHERE key = ?", (pack(fields), key))
    changed = [name for name in tables.numbers if name in change.maxima or name in change.increments]
    if changed:
        connection.execute(
            f"UPDATE {tables.record} SET {', '.join(f'{column(name)} = ?' for name in changed)} WHERE key = ?",
            (*(number(fields[name]) for name in changed), key),
        )
    return True


def leading_integer(stored: bytes | None, *, default: int) -> int:
    """The integer that `stored` begins with."""
    match = _INTEGER.match(stored or b"")
    return int(match[1]) if match else default


def sweep(connection: apsw.Connection, tables: Tables, now_ms: int, *, at_most: int) -> int:
    """Remove expired records from the file, the longest expired first; how many it were."""
    expired = values(
        connection,
        f"SELECT key FROM {tables.record} WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?",
        (now_ms, at_most),
    )
    _discard(connection, tables, expired)
    return len(expired)


def _without(fields: Fields, name: str) -> Fields:
    return {other: value for other, value in fields.items() if other != name}


def _existing_keys(connection: apsw.Connection, tables: Tables, ids: Members[str]) -> dict[str, int]:
    keys: dict[str, int] = {}
    for id in ids:
        key = scalar(connection, f"SELECT key FROM {tables.record} WHERE id = ?", (id,))
        if key is not None:
            keys[id] = key
    return keys


def _take_keys(connection: apsw.Connection, tables: Tables, count: int) -> list[int]:
    """Keys for new records: first those that deletions left, then new ones."""
    keys: list[int] = values(connection, f"SELECT key FROM {tables.free} ORDER BY key LIMIT ?", (count,))
    connection.executemany(f"DELETE FROM {tables.free} WHERE key = ?", [(key,) for key in keys])
    # Whatever is free was taken first, so every key up to the largest one is in use.
    largest = scalar(connection, f"SELECT coalesce(max(key), -1) FROM {tables.record}")
    start = max([largest, *keys]) + 1
    keys.extend(range(start, start + count - len(keys)))
    return keys


def _discard(connection: apsw.Connection, tables: Tables, keys: Sequence[int]) -> None:
    """Remove records and give their keys back."""
    if keys:
        _remove(connection, tables, keys)
        coarse.erase(connection, tables, keys)
        connection.executemany(f"INSERT INTO {tables.free} (key) VALUES (?)", [(key,) for key in keys])


def _remove(connection: apsw.Connection, tables: Tables, keys: Sequence[int]) -> None:
    if keys:
        note_erasure(connection)
    for table in (tables.record, tables.body, tables.vector, tables.tag):
        connection.executemany(f"DELETE FROM {table} WHERE key = ?", [(key,) for key in keys])
