"""What changes single fields of records, inside a write transaction of the caller's."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

import apsw

from betterdb_agent_memory.engines.base import Outcome, RecordChange
from betterdb_agent_memory.engines.embedded import coarse, words
from betterdb_agent_memory.engines.embedded.body import pack, unpack
from betterdb_agent_memory.engines.embedded.changes import Record, apply
from betterdb_agent_memory.engines.embedded.erasing import note_erasure
from betterdb_agent_memory.engines.embedded.indexing import column_value, insert_tags, tag_rows
from betterdb_agent_memory.engines.embedded.queries import first, scalar
from betterdb_agent_memory.engines.embedded.tables import Tables, column
from betterdb_agent_memory.engines.filters import Fields


class Updates:
    """Changes of one batch, one after another, and what is done once for all of them at the end.

    `whole_field` is the field without which a record is only a fragment, which no change brings back
    to life.
    """

    def __init__(self, connection: apsw.Connection, tables: Tables, now_ms: int, *, whole_field: str) -> None:
        self._connection = connection
        self._tables = tables
        self._now_ms = now_ms
        self._whole_field = whole_field
        self._vectors: dict[int, bytes | None] = {}
        self._former: dict[int, Fields] = {}
        self._latter: dict[int, Fields] = {}

    def change(self, change: RecordChange) -> Outcome:
        """Change one record; a later change of the batch sees it. About 15 us for two numbers."""
        row = first(
            self._connection,
            f"SELECT b.key, b.fields, r.expires_at_ms FROM {self._tables.record} AS r "
            f"JOIN {self._tables.body} AS b ON b.key = r.key "
            "WHERE r.id = ? AND (r.expires_at_ms IS NULL OR r.expires_at_ms > ?)",
            (change.id, self._now_ms),
        )
        if row is None:
            return Outcome.MISSING
        key, body, expires_at_ms = row
        record = Record(unpack(body), expires_at_ms)
        vector_field = self._tables.vector_field
        if self._whole_field == vector_field or _concerns(change, vector_field):
            self._add_vector(key, record)
        if self._whole_field not in record.fields:
            return Outcome.MISSING
        if not apply(change, record, self._now_ms):
            return Outcome.REFUSED
        if record.touched:
            self._store(key, record, body)
        if record.expires_at_ms != expires_at_ms:
            self._connection.execute(
                f"UPDATE {self._tables.record} SET expires_at_ms = ? WHERE key = ?", (record.expires_at_ms, key)
            )
        return Outcome.CHANGED

    def finish(self) -> None:
        """Put the vectors that were set and taken away into their slots, and the words of texts into the index."""
        if self._former:
            words.remove(self._connection, self._tables, list(self._former.items()))
            words.insert(self._connection, self._tables, self._latter.items())
        vectors = {key: vector for key, vector in self._vectors.items() if vector is not None}
        coarse.store(self._connection, self._tables, vectors)
        coarse.erase(self._connection, self._tables, [key for key in self._vectors if key not in vectors])

    def _add_vector(self, key: int, record: Record) -> None:
        vector = scalar(self._connection, f"SELECT vector FROM {self._tables.vector} WHERE key = ?", (key,))
        if vector is not None:
            record.fields[self._tables.vector_field] = vector

    def _store(self, key: int, record: Record, former: bytes) -> None:
        tables, touched = self._tables, record.touched
        vector = record.fields.pop(tables.vector_field, None)
        if not touched.isdisjoint(tables.text_fields):
            self._former.setdefault(key, unpack(former))
            self._latter[key] = record.fields
        self._connection.execute(f"UPDATE {tables.body} SET fields = ? WHERE key = ?", (pack(record.fields), key))
        columns = [name for name in tables.columns if name in touched]
        if columns:
            self._connection.execute(
                f"UPDATE {tables.record} SET {', '.join(f'{column(name)} = ?' for name in columns)} WHERE key = ?",
                (*(column_value(tables, name, record.fields) for name in columns), key),
            )
        if not record.differs:
            return
        # What was set or taken away may be what somebody wants gone from the file; counters are not.
        note_erasure(self._connection)
        multiple = [name for name in tables.multiple_tags if name in touched]
        for name in multiple:
            self._connection.execute(f"DELETE FROM {tables.tag} WHERE key = ? AND field = ?", (key, name))
        insert_tags(self._connection, tables, list(tag_rows(multiple, record.fields, key)))
        if tables.vector_field in touched:
            self._store_vector(key, vector)

    def _store_vector(self, key: int, vector: bytes | None) -> None:
        self._vectors[key] = vector
        self._connection.execute(f"DELETE FROM {self._tables.vector} WHERE key = ?", (key,))
        self._connection.execute(f"DELETE FROM {self._tables.unfit} WHERE key = ?", (key,))
        if vector is not None:
            self._connection.execute(f"INSERT INTO {self._tables.vector} (key, vector) VALUES (?, ?)", (key, vector))


def _concerns(change: RecordChange, field: str) -> bool:
    return (
        field in change.expected
        or field in change.sets
        or field in change.removes
        or (bool(change.copies) and field in change.copies.values())
    )
