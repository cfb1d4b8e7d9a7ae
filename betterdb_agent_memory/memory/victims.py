"""Which memories leave when a scope is full: pure.

A memory is kept by its retention score. Since that only grows with importance and with the time of last access, the
lowest ones are found from the two ends of two ordered lists, without looking at the rest: the threshold algorithm of
Fagin, Lotem and Naor, "Optimal aggregation algorithms for middleware" (PODS 2001). Who knows about how high they reach
asks for what lies below that instead, which needs no order at all: a corner under a curve, covered by a few rectangles.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from betterdb_agent_memory.engines.base import Expected, Row
from betterdb_agent_memory.engines.filters import AllOf, AnyOf, Between, Clause, Filter, leading_number
from betterdb_agent_memory.live_config import MemoryConfigSnapshot
from betterdb_agent_memory.memory.dynamics_fields import PINNED
from betterdb_agent_memory.memory.record import IMPORTANCE, LAST_ACCESSED_AT, retention_numbers
from betterdb_agent_memory.memory.scoring.composite import retention_score
from betterdb_agent_memory.options import RecallWeights

DECIDING = (IMPORTANCE, LAST_ACCESSED_AT)
"""What decides about a memory."""

_NEAR = 1e-9
"""Scores that differ by less may be in either order while numbers are rounded to twelve digits."""

_EXACT_DIGITS = 11

_FARTHEST = 1.2
"""How far to look beyond what was seen at once, as a part of that."""

_STAIRS = 8
"""Rectangles by which the corner is covered: about an eighth more than is in it is read."""

_MOST_NEAR = 100
"""Of more that are worth the same, any may leave."""


@dataclass(frozen=True, slots=True)
class EvictionCandidate:
    """What decides about keeping a memory: as numbers, and `stored` as the record has it, as far as that is known."""

    id: str
    importance: float
    last_accessed_at: float
    stored: tuple[bytes | None, bytes | None] = (None, None)

    @property
    def is_rounded(self) -> bool:
        """Whether the importance may be another one, since a search rounds numbers to twelve digits."""
        text = self.stored[0] or b""
        return b"e" in text.lower() or len(text) > _EXACT_DIGITS or not (self.stored[1] or b"").isdigit()

    @property
    def expected(self) -> Expected:
        """The memory is still what it was when it was chosen, and nobody has pinned it since."""
        return {**dict(zip(DECIDING, self.stored, strict=True)), PINNED: None}


class Worth(NamedTuple):
    """By what memories are put in order: the retention score, then the time of last access. The lowest leaves first."""

    score: float
    last_accessed_at: float


@dataclass(frozen=True, slots=True)
class Retention:
    """How memories are weighed at one moment. Scores only grow with importance and with the time of last access."""

    now_ms: int
    weights: RecallWeights
    half_life_seconds: float

    @classmethod
    def at(cls, now_ms: int, config: MemoryConfigSnapshot) -> Retention:
        """As the configuration says."""
        return cls(now_ms, config.weights, config.half_life_seconds)

    def worth(self, importance: float, last_accessed_at: float) -> Worth:
        """What one memory is worth."""
        [score] = self._scores(np.array([importance]), np.array([last_accessed_at]))
        return Worth(float(score), last_accessed_at)

    def ordered(self, candidates: Sequence[EvictionCandidate]) -> list[tuple[Worth, EvictionCandidate]]:
        """All of them with what they are worth, the lowest first; of equal worth as they were given."""
        accessed = np.array([candidate.last_accessed_at for candidate in candidates], dtype=np.float64)
        scores = self._scores(np.array([candidate.importance for candidate in candidates], dtype=np.float64), accessed)
        order = np.lexsort((accessed, scores))
        return [(Worth(float(scores[place]), float(accessed[place])), candidates[place]) for place in order]

    def lowest(self, candidates: Sequence[EvictionCandidate], count: int) -> list[EvictionCandidate]:
        """The `count` of least worth, worst first; of equal worth as they were given."""
        if count <= 0 or not candidates:
            return []
        return [candidate for _, candidate in self.ordered(candidates)[:count]]

    def within(self, candidates: Sequence[EvictionCandidate], limit: float) -> list[EvictionCandidate]:
        """Those that score at most `limit`, the lowest first."""
        return [candidate for worth, candidate in self.ordered(candidates) if worth.score <= limit]

    def corner(self, score: float, edges: Sequence[float] = ()) -> Clause:
        """What all memories fulfil that score at most `score`, and not many others.

        `edges` are times of last access at which to cut, as `edges` says: the more of them lie where memories are, the
        fewer others. Any will do, or none.
        """
        importance, recency = self.weights.importance, self.weights.recency
        total = score * (importance + recency)
        if not recency:
            within: list[Clause] = [self._stair(total, None, None)]
        elif score <= 0:
            within = []
        else:
            idle_seconds = -self.half_life_seconds * math.log2(total / recency * (1 + _NEAR))
            latest = float(math.ceil(self.now_ms - 1000 * idle_seconds) + 1)
            lows = [None, *sorted({edge for edge in edges if edge < latest})] if importance else [None]
            within = [self._stair(total, low, high) for low, high in zip(lows, [*lows[1:], latest], strict=True)]
        # Below zero, which only others write, an importance makes up for any recency.
        return AnyOf((*within, Between(IMPORTANCE, None, -_NEAR)))

    def _stair(self, total: float, low: float | None, high: float | None) -> Clause:
        """What was accessed in this time, and is not too important for its weighted sum to be at most `total`."""
        weights, most = self.weights, None
        if weights.importance:
            least = 0.0 if low is None else weights.recency * self._recency(low)
            most = (total - least + _NEAR * (total + least)) / weights.importance + _NEAR
        return AllOf((Between(IMPORTANCE, None, most), Between(LAST_ACCESSED_AT, low, high)))

    def _recency(self, accessed: float) -> float:
        return float(2.0 ** ((accessed - self.now_ms) / 1000 / self.half_life_seconds))

    def edges(self, candidates: Sequence[EvictionCandidate]) -> tuple[float, ...]:
        """Where to cut the corner that has `candidates`: between equally many of them, and before what comes next.

        Between two milliseconds, so that none is on both sides.
        """
        accessed = np.array([one.last_accessed_at for one in candidates] or [self.now_ms], dtype=np.float64)
        cuts = np.quantile(accessed, np.arange(_STAIRS - 1) / (_STAIRS - 1), method="lower")
        return tuple(float(cut) - 0.5 for cut in np.unique(np.append(np.floor(cuts), self.now_ms)))

    def next_limit(self, candidates: Sequence[EvictionCandidate], count: int, limit: float, *, following: int) -> float:
        """The score up to which `following` more are to be found next time, when the `count` lowest of these have left.

        `candidates` are all that score at most `limit`, or beyond what is looked for. Where they are too few, as far
        above `limit` as makes up for it if others lie as close, but at most by `_FARTHEST`.
        """
        ordered = self.ordered(candidates)
        place = count + following
        if place < len(ordered):
            return ordered[place][0].score
        missing = min(_FARTHEST, place / len(ordered) - 1)
        return limit + max(missing, _NEAR) * max(limit - ordered[0][0].score, abs(limit) * _NEAR)

    def reach(
        self, candidates: Sequence[EvictionCandidate], count: int, *, following: int, least: Worth | None = None
    ) -> float | None:
        """The same, where `candidates` have the lowest of a whole scope, all that are worth less than `least` (None:
        the whole of it); None where that says nothing.
        """
        if not 0 < count < len(candidates):
            return None
        known = [(worth, one) for worth, one in self.ordered(candidates) if least is None or worth < least]
        known = known or self.ordered(candidates)[:count]
        return self.next_limit([one for _, one in known], count, known[-1][0].score, following=following)

    def in_doubt(
        self, candidates: Sequence[EvictionCandidate], count: int, *, is_certain: bool = False
    ) -> list[EvictionCandidate]:
        """Those among which the `count` lowest surely are, where rounded numbers leave that open; else none.

        `is_certain` says that they are in doubt, whatever the numbers look like.
        """
        if count <= 0 or not candidates:
            return []
        ordered = self.ordered(candidates)
        limit = ordered[min(count, len(ordered)) - 1][0].score + _NEAR
        near = [candidate for _, candidate in ordered[:count]]
        for worth, candidate in ordered[count : 2 * count + _MOST_NEAR]:
            if worth.score > limit:
                break
            near.append(candidate)
        return near if is_certain or any(candidate.is_rounded for candidate in near) else []

    def _scores(self, importance: np.ndarray, accessed: np.ndarray) -> np.ndarray:
        return retention_score(
            importance=importance,
            idle_seconds=(self.now_ms - accessed) / 1000,
            weights=self.weights,
            half_life_seconds=self.half_life_seconds,
        )


def select_victims(
    candidates: Sequence[EvictionCandidate],
    *,
    excess: int,
    now_ms: int,
    weights: RecallWeights,
    half_life_seconds: float,
) -> list[str]:
    """The `excess` least valuable memories, worst first: lowest retention score, then the one
    accessed longest ago, then the given order.
    """
    lowest = Retention(now_ms, weights, half_life_seconds).lowest(candidates, excess)
    return [candidate.id for candidate in lowest]


def candidates_in(
    rows: Sequence[Row], filter: Filter, spared: Collection[str | None]
) -> tuple[list[EvictionCandidate], int, int]:
    """The memories in `rows` that `filter` accepts and that may leave, how many may not (those in `spared` and those
    that are pinned), and how many problems there were in reading them. Numbers are read as those of any memory.
    """
    candidates = []
    kept = unreadable = 0
    for row in filter.accepted(rows):
        # Its content decides nothing, and may be long; a fragment that lacks one belongs to no scope.
        importance, last_accessed_at, problems = retention_numbers(row.fields)
        unreadable += problems
        if row.id in spared or PINNED in row.fields:
            kept += 1
            continue
        stored = (row.fields.get(IMPORTANCE), row.fields.get(LAST_ACCESSED_AT))
        candidates.append(EvictionCandidate(row.id, importance, last_accessed_at, stored))
    return candidates, kept, unreadable


def least_unseen(retention: Retention, by_importance: Sequence[Row], by_access: Sequence[Row]) -> Worth | None:
    """What a memory is worth at least that is in neither list: each has the lowest ones of one number, in order.

    None where a list says nothing of that, because its last record has no such number: it then has all that do.
    """
    if not by_importance or not by_access:
        return Worth(-math.inf, -math.inf)
    importance = leading_number(by_importance[-1].fields.get(IMPORTANCE))
    accessed = leading_number(by_access[-1].fields.get(LAST_ACCESSED_AT))
    if importance is None or accessed is None:
        return None
    return retention.worth(importance, accessed)
