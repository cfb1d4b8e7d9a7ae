"""Candidates in, the best k out: pure, and able to say why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from betterdb_agent_memory.memory.record import MemoryItem
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
        """What the term adds to the score."""
        return self.value * self.weight


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit ranked where it did.

    `distance` is the cosine distance to the query (0 to 2), `threshold` the largest that counted,
    `age_seconds` the age that recency was computed from: since creation or last access, whichever is
    later.
    """

    distance: float
    threshold: float
    age_seconds: float
    half_life_seconds: float
    components: tuple[Component, ...]

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
class Candidate:
    """A memory of the right scope with its cosine distance."""

    item: MemoryItem
    distance: float


@dataclass(frozen=True, slots=True)
class RankingRules:
    """What decides the order: the ceiling on distance, the weights, the half-life."""

    threshold: float
    weights: RecallWeights
    half_life_seconds: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """The chosen hits, best first; how many candidates were within the threshold; how many had no
    finite score and had to be left out.
    """

    hits: list[MemoryHit]
    within_threshold: int
    unscorable: int


def rank(candidates: Sequence[Candidate], *, k: int, rules: RankingRules, now_ms: int) -> Ranking:
    """The `k` best candidates within the threshold (equal to it is within).

    Order among equals: score, then newer `created_at`, then id.
    """
    related = [candidate for candidate in candidates if candidate.distance <= rules.threshold]
    if not related:
        return Ranking([], 0, 0)
    distance = np.array([candidate.distance for candidate in related])
    fresh_at_ms = [max(candidate.item.created_at, candidate.item.last_accessed_at) for candidate in related]
    age_seconds = (now_ms - np.array(fresh_at_ms, dtype=np.float64)) / 1000
    scores = composite_score(
        similarity=similarity_from_distance(distance),
        age_seconds=age_seconds,
        importance=np.array([candidate.item.importance for candidate in related]),
        weights=rules.weights,
        half_life_seconds=rules.half_life_seconds,
    )
    scorable = [position for position in range(len(related)) if np.isfinite(scores[position])]
    scorable.sort(key=lambda i: (-scores[i], -related[i].item.created_at, related[i].item.id))
    hits = [
        MemoryHit(
            item=related[i].item,
            similarity=related[i].distance,
            score=float(scores[i]),
            explain=_explanation(related[i], float(age_seconds[i]), rules),
        )
        for i in scorable[:k]
    ]
    return Ranking(hits, len(related), len(related) - len(scorable))


def _explanation(candidate: Candidate, age_seconds: float, rules: RankingRules) -> Explanation:
    return Explanation(
        distance=candidate.distance,
        threshold=rules.threshold,
        age_seconds=age_seconds,
        half_life_seconds=rules.half_life_seconds,
        components=(
            Component("similarity", similarity_from_distance(candidate.distance), rules.weights.similarity),
            Component("recency", float(recency_decay(age_seconds, rules.half_life_seconds)), rules.weights.recency),
            Component("importance", candidate.item.importance, rules.weights.importance),
        ),
    )
