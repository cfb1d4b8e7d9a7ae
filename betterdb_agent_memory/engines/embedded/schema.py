"""The file format: its version, the collections it holds, and how an older file becomes a newer one."""

# ruff: noqa: S608 - column names are our own, values are always bound
from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import apsw

from betterdb_agent_memory.engines.base import Collection, SchemaField
from betterdb_agent_memory.engines.embedded import words
from betterdb_agent_memory.engines.embedded.coarse import slots_per_block
from betterdb_agent_memory.engines.embedded.indexing import reindex
from betterdb_agent_memory.engines.embedded.linking import create_link_table
from betterdb_agent_memory.engines.embedded.logs import create_log_tables
from betterdb_agent_memory.engines.embedded.queries import rows, scalar
from betterdb_agent_memory.engines.embedded.tables import Tables
from betterdb_agent_memory.errors import EngineError, IndexMismatchError

_APPLICATION_ID = 0x42444D45
"""Marks the file as ours ("BDME"), so that another program's database is never written to."""

_STEMS = "stems"
"""The kind, in the file, of a text that holds stems."""

_TABLES = "number, dimensions, slots_per_block, vector_field, fields"


def _first_format(connection: apsw.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(
        "CREATE TABLE collection (number INTEGER PRIMARY KEY, key_prefix TEXT NOT NULL UNIQUE, "
        "index_name TEXT NOT NULL UNIQUE, dimensions INTEGER NOT NULL, slots_per_block INTEGER NOT NULL, "
        "vector_field TEXT NOT NULL, fields TEXT NOT NULL)"
    )
    connection.execute("CREATE TABLE value (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires_at_ms INTEGER)")
    connection.execute("CREATE INDEX value_expiry ON value (expires_at_ms) WHERE expires_at_ms IS NOT NULL")
    connection.execute(
        "CREATE TABLE map_field (key TEXT NOT NULL, field TEXT NOT NULL, value BLOB NOT NULL, "
        "PRIMARY KEY (key, field)) WITHOUT ROWID"
    )


def _leases_and_walks(connection: apsw.Connection) -> None:
    """Leases, vectors of other lengths, walks; and numbers as every language reads them ("5 items" is 5)."""
    connection.execute(
        "CREATE TABLE lease (key TEXT PRIMARY KEY, owner TEXT NOT NULL, token INTEGER NOT NULL, "
        "until_ms INTEGER NOT NULL)"
    )
    for tables in all_tables(connection):
        connection.execute(tables.unfit_statement)
        for field in tables.fields:
            if field.kind == "number" and field.sortable:
                connection.execute(tables.walk_statement(field.name))
        reindex(connection, tables, tables.numbers)


def _expiring_maps(connection: apsw.Connection) -> None:
    """Maps that expire, and leases that leave nothing behind."""
    connection.execute("CREATE TABLE map_expiry (key TEXT PRIMARY KEY, expires_at_ms INTEGER NOT NULL) WITHOUT ROWID")
    connection.execute("CREATE INDEX map_expiry_time ON map_expiry (expires_at_ms)")
    connection.execute("ALTER TABLE lease ADD COLUMN lasting INTEGER NOT NULL DEFAULT 1")
    connection.execute("CREATE INDEX lease_borrowed ON lease (until_ms) WHERE lasting = 0")


def _unreleased(_: apsw.Connection) -> None:
    """The index of words of this format is made anew by the next one."""


def _words(connection: apsw.Connection) -> None:
    """Words of texts are found."""
    for tables in all_tables(connection):
        words.renew(connection, tables)
        _describe(connection, tables)


MIGRATIONS: tuple[Callable[[apsw.Connection], None], ...] = (
    _first_format,
    _leases_and_walks,
    _expiring_maps,
    _unreleased,
    _words,
    create_log_tables,
    create_link_table,
)
"""One function for each version of the format: the n-th makes version n out of version n - 1."""


def migrate(connection: apsw.Connection, path: str) -> None:
    """Bring the file to the current format, in one transaction.

    Raises:
        EngineError: the file is of a newer version, or another program's database.
    """
    if _version(connection, path) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the lock: another process may have been faster.
        for migration in MIGRATIONS[_version(connection, path) :]:
            migration(connection)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_ours(connection: apsw.Connection, path: str) -> None:
    """Look at a file before anything in it is changed.

    Raises:
        EngineError: the file is of a newer version, or another program's database.
    """
    _version(connection, path)


def _version(connection: apsw.Connection, path: str) -> int:
    # In one transaction, since another process may make the tables of a new file between two questions.
    with connection:
        version = check_version(connection, path)
        ours = connection.pragma("application_id") == _APPLICATION_ID
        if not ours and (version or scalar(connection, "SELECT 1 FROM sqlite_schema LIMIT 1")):
            raise EngineError(f"{path} is the SQLite database of another program; give the path of a new file")
    return version


def check_version(connection: apsw.Connection, path: str) -> int:
    """The version of the file now; about 1 us. A newer release may have changed it while the file was open.

    Raises:
        EngineError: this release does not know it.
    """
    version = int(scalar(connection, "PRAGMA user_version"))
    if version > len(MIGRATIONS):
        raise EngineError(
            f"{path} has format version {version}, but this release knows versions up to {len(MIGRATIONS)}: "
            "upgrade betterdb-agent-memory"
        )
    return version


def described(connection: apsw.Connection, collection: Collection) -> list[Any]:
    """What the file says about `collection`, and about others with its prefix or its index."""
    return rows(
        connection,
        f"SELECT key_prefix, index_name, {_TABLES} FROM collection WHERE key_prefix = ? OR index_name = ?",
        (collection.key_prefix, collection.index_name),
    )


def tables_among(descriptions: list[Any], collection: Collection) -> Tables | None:
    """The tables of `collection`, or None when it is not described.

    Raises:
        IndexMismatchError: the index belongs to another prefix, or the prefix to another index.
    """
    found: Tables | None = None
    for prefix, index, *description in descriptions:
        if (prefix, index) != (collection.key_prefix, collection.index_name):
            raise IndexMismatchError(
                f"the index {index!r} has the key prefix {prefix!r}, but this store asks for the index "
                f"{collection.index_name!r} with the prefix {collection.key_prefix!r}"
            )
        tables = _tables(*description)
        if tables.vector_field != collection.schema.vector_field:
            raise IndexMismatchError(
                f"the index {index!r} has its vectors in {tables.vector_field!r}, but this store keeps them in "
                f"{collection.schema.vector_field!r}"
            )
        found = tables
    return found


def all_tables(connection: apsw.Connection) -> list[Tables]:
    """The tables of every collection in the file."""
    return [_tables(*described) for described in rows(connection, f"SELECT {_TABLES} FROM collection")]


def _tables(number: int, dimensions: int, slots: int, vector_field: str, fields: str) -> Tables:
    return Tables(number, dimensions, slots, vector_field, tuple(_field(stored) for stored in json.loads(fields)))


def _field(stored: dict[str, Any]) -> SchemaField:
    """A field as `_described` wrote it; what a newer release says about it beyond that is not for this one."""
    is_stems = stored["kind"] == _STEMS or stored.get("holds_stems", False)
    return SchemaField(
        stored["name"],
        "text" if is_stems else stored["kind"],
        multiple=stored["multiple"],
        sortable=stored["sortable"],
        holds_stems=is_stems,
    )


def create_tables(connection: apsw.Connection, collection: Collection, dimensions: int) -> Tables:
    """Create the tables of a collection that was never prepared."""
    schema = collection.schema
    number = scalar(connection, "SELECT coalesce(max(number), 0) + 1 FROM collection")
    tables = Tables(number, dimensions, slots_per_block(dimensions), schema.vector_field, schema.shared + schema.own)
    connection.execute(
        "INSERT INTO collection VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            tables.number,
            collection.key_prefix,
            collection.index_name,
            dimensions,
            tables.slots_per_block,
            tables.vector_field,
            _described(tables),
        ),
    )
    for statement in tables.statements():
        connection.execute(statement)
    words.create(connection, tables)
    return tables


def missing_fields(tables: Tables, collection: Collection) -> tuple[SchemaField, ...]:
    """Fields that `collection` searches by and that an earlier release did not know."""
    known = {field.name for field in tables.fields}
    return tuple(f for f in collection.schema.shared + collection.schema.own if f.name not in known)


def add_fields(connection: apsw.Connection, tables: Tables, fields: tuple[SchemaField, ...]) -> Tables:
    """Make `fields` searchable, for the records that are there too. Reads every record once."""
    grown = replace(tables, fields=tables.fields + fields)
    for statement in grown.column_statements(fields):
        connection.execute(statement)
    reindex(connection, grown, [field.name for field in fields])
    if grown.text_fields != tables.text_fields:
        words.renew(connection, grown)
    _describe(connection, grown)
    return grown


def resize_tables(connection: apsw.Connection, tables: Tables, dimensions: int) -> Tables:
    """Say that the vectors have `dimensions` from now on. What is there has still to be told from it."""
    resized = replace(tables, dimensions=dimensions, slots_per_block=slots_per_block(dimensions))
    connection.execute(
        "UPDATE collection SET dimensions = ?, slots_per_block = ? WHERE number = ?",
        (resized.dimensions, resized.slots_per_block, resized.number),
    )
    return resized


def drop_tables(connection: apsw.Connection, tables: Tables) -> None:
    """Remove a collection with all that it holds."""
    words.drop(connection, tables)
    for name in tables.all_names:
        connection.execute(f"DROP TABLE {name}")
    connection.execute("DELETE FROM collection WHERE number = ?", (tables.number,))


def _describe(connection: apsw.Connection, tables: Tables) -> None:
    connection.execute("UPDATE collection SET fields = ? WHERE number = ?", (_described(tables), tables.number))


def _described(tables: Tables) -> str:
    """The fields with those four properties that every release reads; the first ones refuse any other."""
    return json.dumps(
        [
            {
                "name": field.name,
                "kind": _STEMS if field.holds_stems else field.kind,
                "multiple": field.multiple,
                "sortable": field.sortable,
            }
            for field in tables.fields
        ]
    )
