"""The nearest records: compared one by one where they are few, through the coarse blocks where they are many."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

import json
from functools import cached_property

import apsw
import numpy as np

from betterdb_agent_memory.engines.base import Search, Tally, Word
from betterdb_agent_memory.engines.embedded import words
from betterdb_agent_memory.engines.embedded.coarse import Floats, rounding, similarities
from betterdb_agent_memory.engines.embedded.queries import rows, scalar
from betterdb_agent_memory.engines.embedded.scope import Scope
from betterdb_agent_memory.engines.embedded.tables import Tables
from betterdb_agent_memory.engines.embedded.words import Keys
from betterdb_agent_memory.engines.filters import Filter

Found = tuple[int, str, float]
"""Key, id and distance."""

SMALL_SCOPE = 1000
"""Records that are compared one by one whatever the size of the collection."""

COARSE_GAIN = 8
"""One exact comparison costs about as much as this many slots of the coarse pass (measured)."""

# A vector without direction has no angle; a cosine of 0 makes it neither like nor opposed to anything.
_DISTANCE = "min(max(coalesce(vec_distance_cosine(v.vector, ?), 1.0), 0.0), 2.0)"


class Surroundings:
    """Searches around one vector, and counts, in one read transaction. Exact.

    What several of them need is looked up once: the coarse pass, the records of a filter, those of a word.
    """

    def __init__(self, connection: apsw.Connection, tables: Tables, vector: bytes, now_ms: int) -> None:
        self._connection = connection
        self._tables = tables
        self._vector = vector
        self._now_ms = now_ms
        self._direction = _unit(vector)
        self._scopes: dict[Filter, Scope] = {}
        self._keys: dict[Word, Keys] = {}

    def nearest(self, search: Search) -> list[Found]:
        """Up to `search.count` records, nearest first, then by id."""
        scope = self._scope(search.filter)
        one_by_one = max(SMALL_SCOPE, self._slots // COARSE_GAIN, 2 * search.count)
        holders = self._having(search.words) if search.words else None
        if holders is not None and len(holders) <= one_by_one:
            return self._compare_keys(holders, search.count, scope)
        if self._is_small(scope, search, one_by_one):
            if holders is not None:
                return self._compare_keys(scope.only(holders), search.count, None)
            return self._compare_scope(scope, search.count)
        if holders is not None:
            keys: Keys | None = scope.only(holders)
        else:
            keys = scope.keys if scope.filtered else None
        return self._compare_keys(self._candidates(scope, search.count, keys), search.count, None)

    def count(self, tally: Tally) -> int:
        """How many records there are."""
        scope = self._scope(tally.filter)
        return scope.size if tally.word is None else scope.count(self._having((tally.word,)))

    def _scope(self, filter: Filter) -> Scope:
        scope = self._scopes.get(filter)
        if scope is None:
            scope = self._scopes[filter] = Scope(self._connection, self._tables, filter, self._now_ms)
        return scope

    def _having(self, wanted: tuple[Word, ...]) -> Keys:
        """The records that have one of the words, in ascending order."""
        for word in wanted:
            if word not in self._keys:
                keys = words.find(self._connection, self._tables, word)
                # A process with an earlier release, which deletes records without their words, may leave larger ones.
                self._keys[word] = keys[: np.searchsorted(keys, self._slots)]
        found = [self._keys[word] for word in wanted]
        if len(found) == 1:
            return found[0]
        # Less than sorting them all: some words are in most of the records.
        has = np.zeros(self._slots, dtype=bool)
        for keys in found:
            has[keys] = True
        return np.flatnonzero(has)

    def _is_small(self, scope: Scope, search: Search, one_by_one: int) -> bool:
        if self._direction is None or self._slots <= one_by_one:
            return True
        if search.scope_size is not None:
            return search.scope_size <= one_by_one
        return scope.has_at_most(one_by_one)

    @cached_property
    def _slots(self) -> int:
        return int(scalar(self._connection, f"SELECT coalesce(max(key) + 1, 0) FROM {self._tables.record}"))

    @cached_property
    def _similarities(self) -> tuple[Floats, Floats]:
        assert self._direction is not None
        return similarities(self._connection, self._tables, self._direction)

    def _compare_scope(self, scope: Scope, count: int) -> list[Found]:
        return rows(
            self._connection,
            f"SELECT r.key, r.id, {_DISTANCE} AS distance "
            f"FROM {self._tables.record} AS r CROSS JOIN {self._tables.vector} AS v ON v.key = r.key "
            f"WHERE length(v.vector) = ? AND {scope.condition.sql} ORDER BY distance, r.id LIMIT ?",
            (self._vector, self._tables.vector_bytes, *scope.condition.parameters, count),
        )

    def _compare_keys(self, keys: Keys, count: int, scope: Scope | None) -> list[Found]:
        """The nearest of the records with these keys, unless the `scope` excludes them."""
        condition = f"AND {scope.condition.sql}" if scope else ""
        return rows(
            self._connection,
            f"SELECT r.key, r.id, {_DISTANCE} AS distance FROM json_each(?) AS candidate "
            f"CROSS JOIN {self._tables.record} AS r ON r.key = candidate.value "
            f"CROSS JOIN {self._tables.vector} AS v ON v.key = r.key "
            f"WHERE length(v.vector) = ? {condition} ORDER BY distance, r.id LIMIT ?",
            (
                *(self._vector, json.dumps(keys.tolist()), self._tables.vector_bytes),
                *(scope.condition.parameters if scope else ()),
                count,
            ),
        )

    def _candidates(self, scope: Scope, count: int, keys: Keys | None) -> Keys:
        """Keys among which the `count` nearest certainly are; `keys` None stands for every living record."""
        cosines, margins = self._similarities
        if keys is None:
            margins = margins.copy()
            margins[scope.expired[scope.expired < len(margins)]] = 0.0
            keys = np.flatnonzero(margins)
        else:
            keys = keys[keys < len(margins)]
            keys = keys[margins[keys] > 0.0]
        if len(keys) <= count or not count:
            return keys
        slack = margins[keys] + np.float32(rounding(self._tables.dimensions))
        lower = cosines[keys] - slack
        upper = cosines[keys] + slack
        least = np.partition(lower, len(lower) - count)[len(lower) - count]
        near: Keys = keys[upper >= least]
        return near


def _unit(vector: bytes) -> Floats | None:
    """The query scaled to length one; None when it has no direction."""
    query = np.frombuffer(vector, dtype="<f4").astype(np.float64)
    norm = float(np.sqrt(query @ query))
    return (query / norm).astype(np.float32) if 1e-12 < norm < 1e12 else None
