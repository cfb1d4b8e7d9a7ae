"""The published formula: a weighted sum of similarity, recency (exponential decay with a half-life) and importance,
not normalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from betterdb_agent_memory.memory.scoring.base import Candidates, FloatArray, Need, Number, Scored, Term
from betterdb_agent_memory.options import CONTRACT_WEIGHTS, DEFAULT_HALF_LIFE_SECONDS, RecallWeights

_NEEDS: Final[frozenset[Need]] = frozenset(("importance", "created_at_ms", "last_accessed_at_ms"))


def similarity_from_distance(distance: Number) -> Number:
    """Similarity in 0..1 of a cosine distance in 0..2."""
    return 1 - distance / 2


def recency_decay(age_seconds: Number, half_life_seconds: float) -> Number:
    """1 at age 0, one half at one half-life; above 1 for an age below 0 (a clock ahead of ours)."""
    with np.errstate(over="ignore", under="ignore"):
        return np.exp2(-age_seconds / half_life_seconds)  # type: ignore[no-any-return]


def composite_score(
    *,
    similarity: Number,
    age_seconds: Number,
    importance: Number,
    weights: RecallWeights,
    half_life_seconds: float,
) -> Number:
    """The published composite: `w_sim * similarity + w_rec * recency + w_imp * importance`.

    Takes numbers or arrays of equal length. Negative results do not occur; a non-finite one means
    that an input was not finite.
    """
    # A term without weight is left out: nothing times an infinite recency would be no number.
    terms = (
        (weights.similarity, similarity),
        (weights.recency, recency_decay(age_seconds, half_life_seconds) if weights.recency else age_seconds),
        (weights.importance, importance),
    )
    with np.errstate(over="ignore", invalid="ignore"):
        score: Number = sum((weight * term for weight, term in terms if weight), start=0 * similarity)
    return score


def retention_score(
    *, importance: FloatArray, idle_seconds: FloatArray, weights: RecallWeights, half_life_seconds: float
) -> FloatArray:
    """What a memory is worth keeping when its scope is full: the composite without a query.

    Weighs importance against recency of last access, normalised by both weights; all 0 when both
    weights are.
    """
    total = weights.importance + weights.recency
    if total == 0:
        return np.zeros_like(importance)
    recency = recency_decay(idle_seconds, half_life_seconds)
    return (weights.importance * importance + weights.recency * recency) / total


@dataclass(frozen=True, slots=True)
class Composite:
    """The composite as a model: terms `similarity`, `recency` and `importance`.

    Recency counts from creation or last access, whichever is later. With `clamps_age` what was written after the
    question's time is as new as can be; without, its recency is above 1, as published.
    """

    weights: RecallWeights = CONTRACT_WEIGHTS
    half_life_seconds: float = DEFAULT_HALF_LIFE_SECONDS
    clamps_age: bool = False

    @property
    def name(self) -> str:
        """`composite`."""
        return "composite"

    @property
    def needs(self) -> frozenset[Need]:
        """Importance and the two times."""
        return _NEEDS

    def score(self, candidates: Candidates, now_ms: int) -> Scored:
        """`composite_score` of each, with its terms."""
        ages = (now_ms - np.maximum(candidates.created_at_ms, candidates.last_accessed_at_ms)) / 1000
        if self.clamps_age:
            ages = np.maximum(ages, 0.0)
        values = composite_score(
            similarity=candidates.relevance,
            age_seconds=ages,
            importance=candidates.importance,
            weights=self.weights,
            half_life_seconds=self.half_life_seconds,
        )
        terms = (
            Term("similarity", candidates.relevance, self.weights.similarity),
            Term("recency", recency_decay(ages, self.half_life_seconds), self.weights.recency),
            Term("importance", candidates.importance, self.weights.importance),
        )
        return Scored(values, terms)

    def ceiling(self, relevance: float) -> float:
        """Just written, and as important as can be."""
        return self.weights.similarity * relevance + self.weights.recency + self.weights.importance
