"""What stores and deletes records, each inside a write transaction of the caller's."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

from collections.abc import Collection as Members
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

import apsw

from betterdb_agent_memory.engines.base import Expected, Outcome, RecordWrite
from betterdb_agent_memory.engines.embedded import coarse, words
from betterdb_agent_memory.engines.embedded.body import pack
from betterdb_agent_memory.engines.embedded.changes import LATEST_MS, Record, apply, expiry_ms, holds
from betterdb_agent_memory.engines.embedded.erasing import note_erasure
from betterdb_agent_memory.engines.embedded.groups import Groups
from betterdb_agent_memory.engines.embedded.indexing import column_values, insert_tags, tag_rows
from betterdb_agent_memory.engines.embedded.queries import AT_ONCE, first, insert_rows, rows, scalar, values
from betterdb_agent_memory.engines.embedded.reading import read_fields
from betterdb_agent_memory.engines.embedded.tables import Tables, column
from betterdb_agent_memory.engines.embedded.updating import Updates

_SWEPT_PER_WRITE = 64


def write_records(
    connection: apsw.Connection,
    tables: Tables,
    writes: Sequence[RecordWrite],
    now_ms: int,
    *,
    whole_field: str,
    groups: Groups | None = None,
) -> list[Outcome]:
    """Store whole records, or change those that are there; what became of each.

    A later write sees earlier ones. About 30 us a record in a batch.
    """
    sweep(connection, tables, now_ms, at_most=_SWEPT_PER_WRITE + len(writes))
    pending: dict[str, Record] = {}
    updates = Updates(connection, tables, now_ms, whole_field=whole_field)
    outcomes: list[Outcome] = []
    for write in writes:
        outcome = Outcome.MISSING
        before = None if groups is None else _group_before(groups, tables, write.id, pending, now_ms)
        if write.if_exists is not None:
            earlier = pending.get(write.id)
            if earlier is None:
                outcome = updates.change(replace(write.if_exists, id=write.id))
            elif whole_field in earlier.fields and not is_past(earlier.expires_at_ms, now_ms):
                # A record of its own for each change: what an earlier one touched is no difference now.
                pending[write.id] = changed = Record(earlier.fields, earlier.expires_at_ms)
                outcome = Outcome.CHANGED if apply(write.if_exists, changed, now_ms) else Outcome.REFUSED
        if outcome is Outcome.MISSING:
            pending[write.id] = Record(dict(write.fields), _write_expiry(write, now_ms))
            outcome = Outcome.WRITTEN
        if groups is not None and outcome in (Outcome.WRITTEN, Outcome.CHANGED):
            is_whole = outcome is Outcome.WRITTEN
            after = _group_before(groups, tables, write.id, pending, now_ms)
            groups.move(write.id, before, after, is_whole=is_whole)
        outcomes.append(outcome)
    updates.finish()
    _replace(connection, tables, pending, now_ms)
    return outcomes


def _group_before(groups: Groups, tables: Tables, id: str, pending: Mapping[str, Record], now_ms: int) -> str | None:
    """The group of a record as this batch has left it so far; None where there is none."""
    if (earlier := pending.get(id)) is None:
        return groups.stored_name(tables, id)
    return None if is_past(earlier.expires_at_ms, now_ms) else groups.name_of(earlier.fields)


def is_past(expires_at_ms: int | None, now_ms: int) -> bool:
    """Whether what expires then is gone."""
    return expires_at_ms is not None and expires_at_ms <= now_ms


def _write_expiry(write: RecordWrite, now_ms: int) -> int | None:
    if write.expires_at_ms is not None:
        return min(write.expires_at_ms, LATEST_MS)
    return expiry_ms(write.ttl_seconds, now_ms)


def _replace(connection: apsw.Connection, tables: Tables, records: Mapping[str, Record], now_ms: int) -> None:
    """Store whole records in place of those that have their ids; of one that is past nothing stays."""
    keys = _existing_keys(connection, tables, records)
    past = [id for id, record in records.items() if is_past(record.expires_at_ms, now_ms)]
    _discard(connection, tables, [keys.pop(id) for id in past if id in keys])
    if past:
        gone = set(past)
        records = {id: record for id, record in records.items() if id not in gone}
    fresh = [id for id in records if id not in keys]
    taken = _take_keys(connection, tables, len(fresh))
    _remove(connection, tables, list(keys.values()))
    keys.update(zip(fresh, taken, strict=True))
    _insert(connection, tables, [(keys[id], id, record) for id, record in records.items()])


def _insert(connection: apsw.Connection, tables: Tables, stored: Sequence[tuple[int, str, Record]]) -> None:
    insert_rows(
        connection,
        tables.record,
        ("key", "id", "expires_at_ms", *map(column, tables.columns)),
        [(key, id, record.expires_at_ms, *column_values(tables, record.fields)) for key, id, record in stored],
    )
    insert_rows(
        connection,
        tables.body,
        ("key", "fields"),
        [(key, pack(record.fields, without=tables.vector_field)) for key, _, record in stored],
    )
    insert_tags(
        connection,
        tables,
        [row for key, _, record in stored for row in tag_rows(tables.multiple_tags, record.fields, key)],
    )
    words.insert(connection, tables, [(key, record.fields) for key, _, record in stored])
    vectors = {
        key: record.fields[tables.vector_field] for key, _, record in stored if tables.vector_field in record.fields
    }
    insert_rows(connection, tables.vector, ("key", "vector"), vectors.items())
    coarse.store(connection, tables, vectors)
    coarse.erase(connection, tables, [key for key, _, _ in stored if key not in vectors])


def delete_records(
    connection: apsw.Connection,
    tables: Tables,
    ids: Sequence[str],
    now_ms: int,
    *,
    expected: Sequence[Expected] | None,
    groups: Groups | None = None,
) -> list[bool]:
    """Delete records; true where there was one that had not expired and that held what was expected of it."""
    removed: set[int] = set()
    answers: list[bool] = []
    for position, id in enumerate(ids):
        row = first(connection, f"SELECT key, expires_at_ms FROM {tables.record} WHERE id = ?", (id,))
        if row is None or row[0] in removed:
            answers.append(False)
            continue
        key, expires_at_ms = row
        alive = not is_past(expires_at_ms, now_ms)
        wanted = expected[position] if expected is not None and alive else {}
        if wanted and not holds(read_fields(connection, tables, key, list(wanted)), wanted):
            answers.append(False)
            continue
        if groups is not None and alive:
            groups.move(id, groups.stored_name(tables, id), None)
        removed.add(key)
        answers.append(alive)
    _discard(connection, tables, list(removed))
    return answers


def sweep(connection: apsw.Connection, tables: Tables, now_ms: int, *, at_most: int) -> int:
    """Remove expired records from the file, the longest expired first; how many it were."""
    expired = values(
        connection,
        f"SELECT key FROM {tables.record} WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?",
        (now_ms, at_most),
    )
    _discard(connection, tables, expired)
    return len(expired)


def _existing_keys(connection: apsw.Connection, tables: Tables, ids: Members[str]) -> dict[str, int]:
    keys: dict[str, int] = {}
    left = iter(ids)
    while some := list(islice(left, AT_ONCE)):
        # Only whole portions by one statement: each number of ids would be one to prepare.
        for portion in [some] if len(some) == AT_ONCE else zip(some):
            marks = ", ".join("?" * len(portion))
            keys.update(rows(connection, f"SELECT id, key FROM {tables.record} WHERE id IN ({marks})", portion))
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
        words.remove_stored(connection, tables, keys)
    names = [tables.record, tables.body, tables.vector, tables.tag]
    if keys and first(connection, f"SELECT 1 FROM {tables.unfit} LIMIT 1"):
        names.append(tables.unfit)
    for table in names:
        connection.executemany(f"DELETE FROM {table} WHERE key = ?", [(key,) for key in keys])
