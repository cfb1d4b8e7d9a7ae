"""Command arguments: pure functions, written for what both search modules accept."""

from __future__ import annotations

from collections.abc import Sequence

from betterdb_agent_memory.engines.base import Collection
from betterdb_agent_memory.engines.filters import TAG_SEPARATOR
from betterdb_agent_memory.engines.valkey.effort import LARGEST_EF
from betterdb_agent_memory.engines.valkey.packing import Argument, Command
from betterdb_agent_memory.engines.valkey.returning import DISTANCE_FIELD, returning

LARGEST_LIMIT = 1_000_000
"""RediSearch refuses a larger LIMIT."""

MAX_GROUPS = 10_000
"""Distinct combinations of values up to which counting is left to the server."""


def create_index(collection: Collection, dimensions: int) -> Command:
    """FT.CREATE as the wire contract has it, own fields appended."""
    schema = collection.schema
    arguments: list[Argument] = ["FT.CREATE", collection.index_name, "ON", "HASH", "PREFIX", "1"]
    arguments += [collection.key_prefix, "SCHEMA", schema.vector_field, "VECTOR", "HNSW", "6"]
    arguments += ["TYPE", "FLOAT32", "DIM", str(dimensions), "DISTANCE_METRIC", "COSINE"]
    for field in (*schema.shared, *schema.own):
        arguments += [field.name, {"tag": "TAG", "number": "NUMERIC", "text": "TEXT"}[field.kind]]
        if field.holds_stems:
            arguments.append("NOSTEM")
        if field.multiple:
            arguments += ["SEPARATOR", TAG_SEPARATOR]
        if field.sortable:
            arguments.append("SORTABLE")
    return tuple(arguments)


def nearest(
    collection: Collection,
    text: str,
    vector: bytes,
    *,
    count: int,
    ef: int | None,
    fields: Sequence[str],
    timeout_ms: int,
    in_batches: bool = False,
) -> Command:
    """FT.SEARCH for the `count` records nearest to `vector`; `returning` says what the answer calls `fields`.

    `ef` None leaves it to the index.
    `in_batches` is for RediSearch alone.
    """
    effort = "" if ef is None else f" EF_RUNTIME {min(ef, LARGEST_EF)}"
    if in_batches:
        effort += " HYBRID_POLICY BATCHES"
    # The blob is a parameter of the KNN clause only: never of the filter.
    knn = f"{text}=>[KNN {count} @{collection.schema.vector_field} $vec{effort} AS {DISTANCE_FIELD}]"
    # The default LIMIT is ten, whatever the KNN count. Not sorted here: SORTBY the distance is an
    # error on valkey-search.
    return (
        # Bytes wherever nothing changes: clients would encode a text once more for every search.
        *("FT.SEARCH", collection.index_name, knn, b"PARAMS", b"2", b"vec", vector),
        *returning(tuple(fields)).arguments,
        *(b"LIMIT", b"0", b"%d" % count, b"TIMEOUT", b"%d" % timeout_ms, b"DIALECT", b"2"),
    )


def select(
    index: str,
    text: str,
    *,
    fields: Sequence[str],
    offset: int,
    limit: int,
    order_by: str | None,
    descending: bool,
    timeout_ms: int,
) -> Command:
    """FT.SEARCH for a page of records; `fields` must not be empty unless `limit` is 0."""
    if limit == 0:
        return ("FT.SEARCH", index, text, "LIMIT", "0", "0", *_tail(timeout_ms))
    # Never NOCONTENT or RETURN 0: valkey-search then ignores SORTBY and shows expired keys.
    order = ("SORTBY", order_by, "DESC" if descending else "ASC") if order_by is not None else ()
    return (
        *("FT.SEARCH", index, text, "RETURN", str(len(fields)), *fields, *order),
        *("LIMIT", str(offset), str(limit), *_tail(timeout_ms)),
    )


def count_groups(index: str, text: str, fields: Sequence[str], timeout_ms: int) -> Command:
    """FT.AGGREGATE counting records by the exact stored values of `fields`."""
    names = tuple(f"@{name}" for name in fields)
    return (
        *("FT.AGGREGATE", index, text, "LOAD", str(len(names)), *names, "GROUPBY", str(len(names)), *names),
        *("REDUCE", "COUNT", "0", "AS", "__count", "LIMIT", "0", str(MAX_GROUPS), *_tail(timeout_ms)),
    )


def _tail(timeout_ms: int) -> Command:
    return ("TIMEOUT", str(timeout_ms), "DIALECT", "2")
