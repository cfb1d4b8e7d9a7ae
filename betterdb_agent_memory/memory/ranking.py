"""Records found in, the best k memories out: pure, and able to say why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from betterdb_agent_memory.engines.base import Neighbour
from betterdb_agent_memory.memory.record import MemoryItem, decode_memory, is_memory, scored_numbers
from betterdb_agent_memory.memory.scoring import composite_score, recency_decay, similarity_from_distance
from betterdb_agent_memory.options import RecallWeights


@dataclass(frozen=True, slots=True)
class Component:
    """One term of a score: `value` times `weight`."""

    name: str
    value: float
    weight: float

    @property
    def contribution(self) -> float:
        """What the term adds to the score; nothing without a weight, whatever the value."""
        return self.value * self.weight if self.weight else 0.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit ranked where it did.

    `distance` is the cosine distance to the query (0 to 2), `threshold` the largest that counted,
    `age_seconds` the age that recency was computed from: since creation or last access, whichever is
    later. `importance` is the memory's.
    """

    distance: float
    threshold: float
    age_seconds: float
    importance: float
    half_life_seconds: float
    weights: RecallWeights

    @property
    def components(self) -> tuple[Component, ...]:
        """The terms of the score: similarity, recency, importance."""
        recency = float(recency_decay(self.age_seconds, self.half_life_seconds))
        return (
            Component("similarity", similarity_from_distance(self.distance), self.weights.similarity),
            Component("recency", recency, self.weights.recency),
            Component("importance", self.importance, self.weights.importance),
        )

    @property
    def score(self) -> float:
        """The sum of the contributions."""
        return sum(component.contribution for component in self.components)


@dataclass(frozen=True, slots=True)
class MemoryHit:
    """A memory that was recalled.

    `score` is the composite it was ranked by, higher is better. `similarity` is the published name
    of the cosine *distance*, lower is closer; `distance` is the same under its right name.
    """

    item: MemoryItem
    similarity: float
    score: float
    explain: Explanation | None = None

    @property
    def distance(self) -> float:
        """Cosine distance to the query, 0 to 2."""
        return self.similarity


@dataclass(frozen=True, slots=True)
class RankingRules:
    """What decides the order: the ceiling on distance, the weights, the half-life."""

    threshold: float
    weights: RecallWeights
    half_life_seconds: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """The chosen hits, best first; how many memories were within the threshold; how many of them, or of
    the fields of the chosen ones, could not be read or had no finite score.
    """

    hits: list[MemoryHit]
    within_threshold: int
    unreadable: int


def rank(rows: Sequence[Neighbour], *, k: int, rules: RankingRules, now_ms: int) -> Ranking:
    """The `k` best of the records found within the threshold (equal to it is within).

    Order among equals: score, then newer `created_at`, then id.
    """
    memories = [row for row in rows if is_memory(row.fields)]
    related = [row for row in memories if row.distance <= rules.threshold]
    fragments = len(rows) - len(memories)
    if not related:
        return Ranking([], 0, fragments)
    importance, created_at_ms, fresh_at_ms = scored_numbers([row.fields for row in related])
    age_seconds = (now_ms - fresh_at_ms) / 1000
    scores = composite_score(
        similarity=similarity_from_distance(np.array([row.distance for row in related])),
        age_seconds=age_seconds,
        importance=importance,
        weights=rules.weights,
        half_life_seconds=rules.half_life_seconds,
    )
    ranks = list(zip((-scores).tolist(), (-created_at_ms).tolist(), (row.id for row in related), strict=True))
    order = sorted(np.flatnonzero(np.isfinite(scores)).tolist(), key=ranks.__getitem__)
    unreadable = fragments + len(related) - len(order)
    hits = []
    for i in order[:k]:
        item, problems = decode_memory(related[i].id, related[i].fields)
        unreadable += problems
        if item is not None:
            distance = related[i].distance
            explain = Explanation(
                distance,
                rules.threshold,
                float(age_seconds[i]),
                item.importance,
                rules.half_life_seconds,
                rules.weights,
            )
            hits.append(MemoryHit(item, distance, float(scores[i]), explain))
    return Ranking(hits, len(related), unreadable)
