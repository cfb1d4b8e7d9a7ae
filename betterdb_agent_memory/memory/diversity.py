"""The best of a list without saying the same thing twice: maximal marginal relevance.

Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing
summaries", SIGIR 1998.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.errors import InvalidInputError

_STEPS: Final = 1_000_000
"""Similarities are compared in millionths: the last digits of equal vectors depend on where they stand."""

_ALL_PAIRS_FROM: Final = 1 / 16
"""The share of candidates to be chosen from which one product of all pairs is cheaper than a row for each."""

_PAIRS_IN_MEMORY: Final = 8 * 2**20
"""Pairs whose similarities are held at once, in 32 MB: those of 2,896 candidates."""

_ROWS_AT_ONCE: Final = 256


def unit_rows(stored: Sequence[bytes]) -> NDArray[np.float64]:
    """Stored vectors (float32, little-endian) as rows of length 1, shape (n, d).

    One that is missing (empty), of another length than most, or without a direction is a row of zeros: like nothing.
    """
    lengths = Counter(len(one) for one in stored if one and len(one) % 4 == 0)
    length = lengths.most_common(1)[0][0] if lengths else 0
    rows = np.zeros((len(stored), length // 4))
    for place, one in enumerate(stored):
        if length and len(one) == length:
            rows[place] = np.frombuffer(one, "<f4")
    norms = np.linalg.norm(rows, axis=1)
    has_direction = np.isfinite(norms) & (norms > 0)
    rows[~has_direction] = 0
    rows[has_direction] /= norms[has_direction, None]
    return rows


def diversify(
    relevance: NDArray[np.floating[Any]], vectors: NDArray[np.floating[Any]], count: int, balance: float
) -> list[int]:
    """The places of `count` candidates, in the order chosen: each time the one whose
    `balance * relevance - (1 - balance) * similarity` is largest, similarity being the cosine to the nearest of
    those chosen before.

    `relevance` has the shape (n,), higher is better, on the scale of a cosine (0 to 1); `vectors` the shape
    (n, d), every row of length 1. `balance` 1 is the order of relevance, 0 looks for difference alone; the first
    chosen is the most relevant one, whatever the balance. Among equals the one given first wins. All n where
    `count` is larger. About 2 ms for 8 of 256 and 0.3 s for all of 2,500, at 1,536 numbers a row, in at most
    32 MB beside the vectors; of more than 2,896 candidates each choice takes a product with all of them.

    Raises `InvalidInputError` for a balance outside 0 to 1 or shapes that do not fit.

    >>> diversify(np.array([0.9, 0.8, 0.5]), np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), 2, 0.5)
    [0, 2]
    """
    _refuse_unfit(relevance, vectors, balance)
    count = min(count, len(relevance))
    if count <= 0:
        return []
    worth = balance * np.asarray(relevance, np.float64)
    chosen = [int(np.argmax(relevance))]
    rows = _Similarities(vectors, count)
    nearest = rows.to(chosen[0])
    while len(chosen) < count:
        marginal = worth - (1 - balance) * nearest
        marginal[chosen] = -np.inf
        best = int(np.argmax(marginal))
        chosen.append(best)
        np.maximum(nearest, rows.to(best), out=nearest)
    return chosen


class _Similarities:
    """The cosine of one row to each, computed when asked for or all at once, whichever is cheaper."""

    def __init__(self, vectors: NDArray[np.floating[Any]], count: int) -> None:
        self._vectors = np.asarray(vectors, np.float64)
        wants_all = count > _ALL_PAIRS_FROM * len(vectors) and len(vectors) ** 2 <= _PAIRS_IN_MEMORY
        self._pairs = self._all_pairs() if wants_all else None

    def to(self, place: int) -> NDArray[np.float64]:
        steps = np.rint(self._vectors @ self._vectors[place] * _STEPS) if self._pairs is None else self._pairs[place]
        row: NDArray[np.float64] = steps / _STEPS
        return row

    def _all_pairs(self) -> NDArray[np.int32]:
        pairs = np.empty((len(self._vectors), len(self._vectors)), np.int32)
        for start in range(0, len(pairs), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            pairs[rows] = np.rint(self._vectors[rows] @ self._vectors.T * _STEPS)
        return pairs


def _refuse_unfit(relevance: NDArray[np.floating[Any]], vectors: NDArray[np.floating[Any]], balance: float) -> None:
    if not 0 <= balance <= 1:
        raise InvalidInputError(f"the balance of diversity is from 0 (difference) to 1 (relevance), got {balance!r}")
    if np.ndim(relevance) != 1 or np.ndim(vectors) != 2 or len(relevance) != len(vectors):
        raise InvalidInputError(
            f"relevance of the shape {np.shape(relevance)} does not fit vectors of the shape {np.shape(vectors)}"
        )
