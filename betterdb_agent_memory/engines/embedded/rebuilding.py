"""Making the index of a collection anew, in one write transaction of the caller's."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

import apsw

from betterdb_agent_memory.engines.base import Collection
from betterdb_agent_memory.engines.embedded import coarse, schema, words
from betterdb_agent_memory.engines.embedded.erasing import note_erasure
from betterdb_agent_memory.engines.embedded.indexing import reindex
from betterdb_agent_memory.engines.embedded.queries import rows, scalar
from betterdb_agent_memory.engines.embedded.tables import Tables

_BATCH = 1000


def rebuild(connection: apsw.Connection, tables: Tables, collection: Collection, dimensions: int) -> Tables:
    """Columns, tags, words and coarse blocks anew from the records that are there, for vectors of `dimensions`.

    A vector of another length stays where it is, noted as unfit. About 40 us a record of 384 dimensions.
    The tables of words are made anew too, since they may be missing or damaged.
    """
    missing = schema.missing_fields(tables, collection)
    if missing:
        tables = schema.add_fields(connection, tables, missing)
    reindex(connection, tables, tables.columns + tables.multiple_tags)
    words.renew(connection, tables)
    note_erasure(connection)
    resized = schema.resize_tables(connection, tables, dimensions)
    connection.execute(f"DELETE FROM {resized.coarse}")
    connection.execute(f"DELETE FROM {resized.unfit}")
    _take_in_vectors(connection, resized)
    return resized


def _take_in_vectors(connection: apsw.Connection, tables: Tables) -> None:
    connection.execute(
        f"INSERT INTO {tables.unfit} (key) SELECT key FROM {tables.vector} WHERE length(vector) <> ?",
        (tables.vector_bytes,),
    )
    last = -1
    while page := rows(
        connection,
        f"SELECT key, vector FROM {tables.vector} WHERE key > ? AND length(vector) = ? ORDER BY key LIMIT ?",
        (last, tables.vector_bytes, _BATCH),
    ):
        last = page[-1][0]
        coarse.store(connection, tables, dict(page))


def drop(connection: apsw.Connection, tables: Tables, now_ms: int) -> int:
    """Remove the collection and every record of it; how many had not expired."""
    living = scalar(
        connection,
        f"SELECT count(*) FROM {tables.record} WHERE expires_at_ms IS NULL OR expires_at_ms > ?",
        (now_ms,),
    )
    schema.drop_tables(connection, tables)
    note_erasure(connection)
    return int(living)
