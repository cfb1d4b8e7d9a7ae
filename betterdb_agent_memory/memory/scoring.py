"""How a candidate's worth is computed: pure functions, no I/O.

The composite is the published formula: a weighted sum of similarity, recency (exponential decay
with a half-life) and importance, not normalised.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.options import RecallWeights

FloatArray = NDArray[np.float64]
Number = TypeVar("Number", float, FloatArray)


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
