"""FT.INFO, in the layouts of both search modules: pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from betterdb_agent_memory.engines.base import Collection, SchemaField
from betterdb_agent_memory.engines.filters import TAG_SEPARATOR, leading_number
from betterdb_agent_memory.engines.valkey.query import order_field
from betterdb_agent_memory.engines.valkey.reply import as_bytes, as_int, as_pairs, as_text
from betterdb_agent_memory.errors import EngineError, IndexMismatchError


@dataclass(frozen=True, slots=True)
class VectorField:
    """What an index says about a vector field."""

    algorithm: str
    data_type: str
    metric: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class IndexedField:
    """What an index says about another field. `separator` is None for other kinds than tags."""

    kind: str
    separator: str | None


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What FT.INFO says about an index."""

    prefixes: tuple[str, ...]
    vectors: Mapping[str, VectorField]
    fields: Mapping[str, IndexedField]
    documents: int
    failures: int
    indexing: bool
    returns_numbers: bool
    """Whether a search returns numbers whatever else it returns; valkey-search may cut them to six digits."""
    indexed_fraction: float
    takes_policy: bool
    """Whether a query may say how to search in a scope: RediSearch since 2.4."""

    def mismatch(self, collection: Collection, dimensions: int | None) -> IndexMismatchError | None:
        """Why this index cannot serve `collection` with vectors of `dimensions` numbers, if so."""
        vector = self.vectors.get(collection.schema.vector_field)
        if vector is None:
            found = ", ".join(self.vectors) or "none"
            return _mismatch(collection, "vector field", found, collection.schema.vector_field)
        if self.prefixes != (collection.key_prefix,):
            return _mismatch(collection, "key prefix", ", ".join(self.prefixes), collection.key_prefix)
        if dimensions is not None and vector.dimensions != dimensions:
            return _mismatch(collection, "vector dimension", vector.dimensions, dimensions)
        if vector.metric.upper() != "COSINE":
            return _mismatch(collection, "distance metric", vector.metric, "COSINE")
        if vector.data_type.upper() != "FLOAT32":
            return _mismatch(collection, "vector type", vector.data_type, "FLOAT32")
        order = order_field(collection.schema)
        if not self._fits(order):
            # A server finds nothing by it and says nothing, as if there were no records.
            return IndexMismatchError(
                f"index {collection.index_name!r} has no number field {order.name!r}, by which records are found; "
                "MemoryStore.reindex() makes the index anew over the memories that are there"
            )
        return None

    def searchable(self, collection: Collection) -> frozenset[str]:
        """Fields of the schema that a prefilter may use: indexed, and in the way we understand."""
        schema = (*collection.schema.shared, *collection.schema.own)
        return frozenset(field.name for field in schema if self._fits(field))

    def unindexed(self, collection: Collection) -> tuple[str, ...]:
        """Fields of the schema that a prefilter cannot use, in its order."""
        schema = (*collection.schema.shared, *collection.schema.own)
        return tuple(field.name for field in schema if not self._fits(field))

    def _fits(self, field: SchemaField) -> bool:
        indexed = self.fields.get(field.name)
        kind = {"tag": "TAG", "number": "NUMERIC", "text": "TEXT"}[field.kind]
        return indexed is not None and indexed.kind == kind and indexed.separator in (None, TAG_SEPARATOR)


def _mismatch(collection: Collection, what: str, found: object, wanted: object) -> IndexMismatchError:
    return IndexMismatchError(
        f"index {collection.index_name!r} has {what} {found}, this store needs {wanted}; "
        "use another name, the embedder that the index was made for, or drop the index (FT.DROPINDEX) and re-embed"
    )


def parse_info(reply: Any) -> IndexInfo:
    """FT.INFO of RediSearch or valkey-search, RESP2 or RESP3."""
    info = dict(as_pairs(reply))
    definition = dict(as_pairs(info.get("index_definition", [])))
    vectors: dict[str, VectorField] = {}
    fields: dict[str, IndexedField] = {}
    for attribute in info.get("attributes", []):
        tokens = _flattened(attribute)
        name, kind = _after(tokens, "identifier"), (_after(tokens, "type") or "").upper()
        if name is None:
            raise EngineError(f"cannot read the server's reply (FT.INFO): {repr(attribute)[:200]}")
        if kind == "VECTOR":
            vectors[name] = _vector(tokens)
        else:
            fields[name] = IndexedField(kind, (_after(tokens, "separator") or TAG_SEPARATOR) if kind == "TAG" else None)
    return IndexInfo(
        prefixes=tuple(as_text(prefix) for prefix in definition.get("prefixes", ())),
        vectors=vectors,
        fields=fields,
        documents=as_int(info.get("num_docs", 0)),
        failures=as_int(info.get("hash_indexing_failures", 0)),
        indexing=as_int(info.get("indexing", 0)) != 0 or as_int(info.get("backfill_in_progress", 0)) != 0,
        returns_numbers="percent_indexed" in info and "backfill_in_progress" not in info,
        indexed_fraction=_fraction(info.get("percent_indexed", info.get("backfill_complete_percent"))),
        takes_policy="dialect_stats" in info and "backfill_in_progress" not in info,
    )


def _fraction(value: Any) -> float:
    """How much of the index is done, 0 to 1; all of it where the server does not say."""
    number = None if value is None else leading_number(as_bytes(value))
    return 1.0 if number is None else min(max(number, 0.0), 1.0)


def _vector(tokens: list[str]) -> VectorField:
    dimensions = _after(tokens, "dim", "dimensions", "dimension")
    algorithm = _after(tokens, "algorithm")
    if algorithm is not None and algorithm.lower() == "name":
        algorithm = _after(tokens, "name")
    if dimensions is None or not dimensions.isdecimal():
        raise EngineError(f"cannot read the server's reply (FT.INFO): no vector dimension in {tokens}")
    return VectorField(
        algorithm=(algorithm or "").upper(),
        data_type=_after(tokens, "data_type") or "",
        metric=_after(tokens, "distance_metric") or "",
        dimensions=int(dimensions),
    )


def _after(tokens: list[str], *names: str) -> str | None:
    # Attributes mix pairs with lone flags (SORTABLE), so look names up rather than pair tokens.
    for token, following in pairwise(tokens):
        if token.lower() in names:
            return following
    return None


def _flattened(value: Any) -> list[str]:
    """Every scalar of a nested reply, in order."""
    if isinstance(value, Mapping):
        return [token for item in value.items() for part in item for token in _flattened(part)]
    if isinstance(value, list | tuple):
        return [token for part in value for token in _flattened(part)]
    return [] if value is None else [as_text(value)]
