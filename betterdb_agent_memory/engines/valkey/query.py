"""Query text and command arguments: pure functions, written for what both search modules accept.

An index compares tags case-insensitively, trims them and splits them at commas, so the text is a
prefilter: it may let too much through, never too little. Values are escaped into the text, since
valkey-search takes no parameters inside a filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from betterdb_agent_memory.engines.base import Collection, IndexSchema, SchemaField
from betterdb_agent_memory.engines.filters import MAX_FILTER_BYTES, TAG_SEPARATOR, Filter, escape_tag
from betterdb_agent_memory.engines.valkey.client import Argument, Command

DISTANCE_FIELD = "__score"

LARGEST_LIMIT = 1_000_000
"""RediSearch refuses a larger LIMIT."""

LARGEST_EF = 4096
"""valkey-search refuses a larger EF_RUNTIME."""

MAX_GROUPS = 10_000
"""Distinct combinations of values up to which counting is left to the server."""

_MAX_TAG_BYTES = 1000
"""RediSearch cuts stored tags at 4,096 bytes; far below that a piece compares whole everywhere."""

_ROOM_FOR_NEAREST = 256
"""Bytes of the query text kept free for what follows the filter."""

_BLANKS = " \t\n\v\f\r"


EVERYTHING = "*"
"""Before a KNN clause: all records, found through the graph. Any filter instead, even one that all
records pass, makes RediSearch compare every vector (21 ms against 2 at 50,000 x 384). Alone it is no
query on valkey-search."""


def prefilter(filter: Filter, schema: IndexSchema, searchable: AbstractSet[str], everything: str | None = None) -> str:
    """The text of `filter`, as far as an index with the `searchable` fields can express it.

    `everything` is the text when nothing of it can be expressed: by default a range that all pass.
    """
    tags = {field.name for field in (*schema.shared, *schema.own) if field.kind == "tag"} & searchable
    clauses: list[str] = []
    size = 2
    for clause in filter.clauses:
        if clause.field not in tags:
            continue
        for piece in _tag_pieces(clause.value):
            text = f"@{clause.field}:{{{_escaped(piece)}}}"
            # A clause too many for the server is one less in the prefilter.
            if size + len(text.encode()) + 1 <= MAX_FILTER_BYTES - _ROOM_FOR_NEAREST and text not in clauses:
                clauses.append(text)
                size += len(text.encode()) + 1
    if clauses:
        return f"({' '.join(clauses)})"
    return everything or f"@{order_field(schema).name}:[-inf +inf]"


def can_be_grouped(filter: Filter) -> bool:
    """Whether grouping by the filter's fields keeps its values apart from all others.

    RediSearch groups by a hash that leading NULs do not change, so `alice` and NUL + `alice` fall into
    one group. A search for a piece of `alice` never finds the other; without a piece to search for,
    rows have to be told apart one by one.
    """
    return all(any(_tag_pieces(clause.value)) for clause in filter.clauses)


def _tag_pieces(value: str) -> Iterable[str]:
    """What the index makes of a stored `value`, as far as it can be searched for."""
    if "\0" in value:
        # An index reads a stored value up to its first NUL, so no piece is sure to be there.
        return
    for part in value.split(TAG_SEPARATOR):
        piece = part.strip(_BLANKS)
        if piece and len(piece.encode()) <= _MAX_TAG_BYTES and not any(map(_is_unsearchable, piece)):
            yield piece


def _escaped(piece: str) -> str:
    # RediSearch takes a lone underscore for a syntax error, though not one among other characters.
    return "\\_" if piece == "_" else escape_tag(piece)


def _is_unsearchable(character: str) -> bool:
    # In a query these match nothing, escaped or not.
    return (character < " " or character == "\x7f") and character not in _BLANKS


def order_field(schema: IndexSchema) -> SchemaField:
    """The number that every record has: the first sortable one."""
    for field in schema.shared:
        if field.kind == "number" and field.sortable:
            return field
    raise ValueError("the schema has no sortable number field")


def create_index(collection: Collection, dimensions: int) -> Command:
    """FT.CREATE as the wire contract has it, own fields appended."""
    schema = collection.schema
    arguments: list[Argument] = ["FT.CREATE", collection.index_name, "ON", "HASH", "PREFIX", "1"]
    arguments += [collection.key_prefix, "SCHEMA", schema.vector_field, "VECTOR", "HNSW", "6"]
    arguments += ["TYPE", "FLOAT32", "DIM", str(dimensions), "DISTANCE_METRIC", "COSINE"]
    for field in (*schema.shared, *schema.own):
        arguments += [field.name, {"tag": "TAG", "number": "NUMERIC", "text": "TEXT"}[field.kind]]
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
) -> Command:
    """FT.SEARCH for the `count` records nearest to `vector`. `ef` None leaves it to the index."""
    effort = "" if ef is None else f" EF_RUNTIME {min(ef, LARGEST_EF)}"
    # The blob is a parameter of the KNN clause only: never of the filter.
    knn = f"{text}=>[KNN {count} @{collection.schema.vector_field} $vec{effort} AS {DISTANCE_FIELD}]"
    returned = (DISTANCE_FIELD, *fields)
    # The default LIMIT is ten, whatever the KNN count. Not sorted here: SORTBY the distance is an
    # error on valkey-search.
    return (
        *("FT.SEARCH", collection.index_name, knn, "PARAMS", "2", "vec", vector),
        *("RETURN", str(len(returned)), *returned, "LIMIT", "0", str(count), *_tail(timeout_ms)),
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
