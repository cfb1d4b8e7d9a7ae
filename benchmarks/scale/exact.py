"""The true neighbours, by comparing every vector, and how many of them a recall finds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.synthetic import Corpus, Question

TOP = 10
_SAME = 1e-6
"""Cosines that differ by less are ties, which 32 bits may put in either order."""

_SHARES = {"1%": 100, "10%": 10, "100%": 1}


class Exact:
    """The memories of a store, to be compared one by one; a larger store than asked about holds them all."""

    def __init__(self, corpus: Corpus, size: int) -> None:
        ids, self._vectors = corpus.ids_and_vectors(size)
        self._numbers = {id: number for number, id in enumerate(ids)}
        self._known: dict[tuple[str, str, int], tuple[float, int]] = {}

    def share_found(self, question: Question, kind: str, size: int, found: Sequence[str]) -> float:
        """The part of the ten nearest, of those of the first `size` memories in scope, that is in `found`."""
        least, wanted = self._tenth(question, kind, size)
        return min(self._near(question, least, found), TOP) / wanted

    def _tenth(self, question: Question, kind: str, size: int) -> tuple[float, int]:
        """The cosine of the tenth nearest, and how many there are up to it; compared once for each question."""
        asked = (question.text, kind, size)
        if asked not in self._known:
            every = _SHARES[kind]
            cosines = self._vectors[question.memory % every : size : every] @ question.vector
            least = float(np.partition(cosines, -TOP)[-TOP]) if len(cosines) > TOP else -1.0
            self._known[asked] = (least, min(TOP, len(cosines)))
        return self._known[asked]

    def _near(self, question: Question, least: float, found: Sequence[str]) -> int:
        numbers = [self._numbers[id] for id in found if id in self._numbers]
        cosines: NDArray[np.float32] = self._vectors[numbers] @ question.vector
        return int((cosines >= least - _SAME).sum())
