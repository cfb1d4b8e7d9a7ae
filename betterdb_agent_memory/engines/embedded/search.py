"""The nearest records: compared one by one in a small scope, through the coarse blocks in a large one."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

import json

import apsw
import numpy as np
import numpy.typing as npt

from betterdb_agent_memory.engines.embedded.coarse import Floats, rounding, similarities
from betterdb_agent_memory.engines.embedded.matching import Condition
from betterdb_agent_memory.engines.embedded.queries import rows, scalar, values
from betterdb_agent_memory.engines.embedded.tables import Tables

Found = tuple[int, str, float]
"""Key, id and distance."""

SMALL_SCOPE = 1000
"""Records that are compared one by one whatever the size of the collection."""

COARSE_GAIN = 8
"""One exact comparison costs about as much as this many slots of the coarse pass (measured)."""

# A vector without direction has no angle; a cosine of 0 makes it neither like nor opposed to anything.
_DISTANCE = "min(max(coalesce(vec_distance_cosine(v.vector, ?), 1.0), 0.0), 2.0)"


def nearest(
    connection: apsw.Connection,
    tables: Tables,
    vector: bytes,
    count: int,
    condition: Condition,
    *,
    filtered: bool,
    now_ms: int,
) -> list[Found]:
    """Up to `count` records that meet `condition`, nearest first, then by id. Exact.

    `filtered` says whether the condition asks for more than not being expired.
    """
    slots = scalar(connection, f"SELECT coalesce(max(key) + 1, 0) FROM {tables.record}")
    one_by_one = max(SMALL_SCOPE, slots // COARSE_GAIN, 2 * count)
    query = _unit(vector)
    if query is None or slots <= one_by_one or _at_most(connection, tables, condition, one_by_one):
        return _compare_scope(connection, tables, vector, count, condition)
    keys = _keys(connection, tables, condition) if filtered else None
    candidates = _candidates(connection, tables, query, count, keys, now_ms)
    return _compare_keys(connection, tables, vector, count, candidates)


def _unit(vector: bytes) -> Floats | None:
    """The query scaled to length one; None when it has no direction."""
    query = np.frombuffer(vector, dtype="<f4").astype(np.float64)
    norm = float(np.sqrt(query @ query))
    return (query / norm).astype(np.float32) if 1e-12 < norm < 1e12 else None


def _at_most(connection: apsw.Connection, tables: Tables, condition: Condition, limit: int) -> bool:
    found = scalar(
        connection,
        f"SELECT count(*) FROM (SELECT 1 FROM {tables.record} AS r WHERE {condition.sql} LIMIT ?)",
        (*condition.parameters, limit + 1),
    )
    return bool(found <= limit)


def _compare_scope(
    connection: apsw.Connection, tables: Tables, vector: bytes, count: int, condition: Condition
) -> list[Found]:
    return rows(
        connection,
        f"SELECT r.key, r.id, {_DISTANCE} AS distance "
        f"FROM {tables.record} AS r CROSS JOIN {tables.vector} AS v ON v.key = r.key "
        f"WHERE length(v.vector) = ? AND {condition.sql} ORDER BY distance, r.id LIMIT ?",
        (vector, tables.vector_bytes, *condition.parameters, count),
    )


def _compare_keys(
    connection: apsw.Connection, tables: Tables, vector: bytes, count: int, keys: npt.NDArray[np.int64]
) -> list[Found]:
    return rows(
        connection,
        f"SELECT r.key, r.id, {_DISTANCE} AS distance FROM json_each(?) AS candidate "
        f"CROSS JOIN {tables.vector} AS v ON v.key = candidate.value "
        f"CROSS JOIN {tables.record} AS r ON r.key = v.key ORDER BY distance, r.id LIMIT ?",
        (vector, json.dumps(keys.tolist()), count),
    )


def _keys(connection: apsw.Connection, tables: Tables, condition: Condition) -> npt.NDArray[np.int64]:
    """The keys of a scope. Joined inside SQLite, which takes half the time of fetching them as rows."""
    joined = scalar(
        connection,
        f"SELECT coalesce(group_concat(r.key), '') FROM {tables.record} AS r WHERE {condition.sql}",
        condition.parameters,
    )
    return np.fromstring(joined, dtype=np.int64, sep=",") if joined else np.empty(0, dtype=np.int64)


def _candidates(
    connection: apsw.Connection,
    tables: Tables,
    query: Floats,
    count: int,
    keys: npt.NDArray[np.int64] | None,
    now_ms: int,
) -> npt.NDArray[np.int64]:
    """Keys among which the `count` nearest certainly are; `keys` None stands for every living record."""
    cosines, margins = similarities(connection, tables, query)
    if keys is None:
        expired = values(connection, f"SELECT key FROM {tables.record} WHERE expires_at_ms <= ?", (now_ms,))
        margins[[key for key in expired if key < len(margins)]] = 0.0
        keys = np.flatnonzero(margins)
    else:
        keys = keys[keys < len(margins)]
        keys = keys[margins[keys] > 0.0]
    if len(keys) <= count:
        return keys
    slack = margins[keys] + np.float32(rounding(tables.dimensions))
    lower = cosines[keys] - slack
    upper = cosines[keys] + slack
    least = np.partition(lower, len(lower) - count)[len(lower) - count]
    near: npt.NDArray[np.int64] = keys[upper >= least]
    return near
