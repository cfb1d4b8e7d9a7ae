"""How good a ranking is, given what should have been in it: pure.

R@k is the share of a question's expected memories among the first k, hit@k whether there is one at all, MRR
the mean of 1 / rank of the first (0 where none was found); all are means over questions, from 0 to 1. The
measures are those of information retrieval (Manning, Raghavan, Schütze, 2008, chapter 8).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DEPTHS: tuple[int, ...] = (1, 5, 10, 20)
"""The k of R@k and hit@k."""
DEEPEST = max(DEPTHS)


@dataclass(frozen=True, slots=True)
class Judged:
    """One answered question: at which ranks (from 0) expected memories were found, and how many are expected."""

    ranks: tuple[int, ...]
    expected: int

    @classmethod
    def of(cls, ranking: Sequence[str], expected: Collection[str]) -> Judged:
        """What of `expected` a ranking found; what it names twice counts once.

        >>> Judged.of(["a", "b", "c"], {"c", "x"})
        Judged(ranks=(2,), expected=2)
        """
        wanted = frozenset(expected)
        first = {id: rank for rank, id in reversed(list(enumerate(ranking))) if id in wanted}
        return cls(tuple(sorted(first.values())), len(wanted))

    def found(self, depth: int) -> int:
        """How many expected memories are among the first `depth`."""
        return sum(rank < depth for rank in self.ranks)


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over `questions`, from 0 to 1; `recall` and `hit` by depth."""

    questions: int
    recall: Mapping[int, float]
    hit: Mapping[int, float]
    mrr: float

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> Quality:
        """The quality of at least one answered question.

        >>> Quality.of([Judged((0,), 2), Judged((), 1)]).mrr
        0.5
        """
        count = len(judged)
        recall = {depth: sum(one.found(depth) / one.expected for one in judged) / count for depth in DEPTHS}
        hit = {depth: sum(one.found(depth) > 0 for one in judged) / count for depth in DEPTHS}
        mrr = sum(1 / (1 + one.ranks[0]) for one in judged if one.ranks) / count
        return cls(count, recall, hit, mrr)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds that a caller waited: the median, and what one call in a hundred exceeded."""

    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """The latency of at least one call."""
        p50, p99 = np.percentile(np.asarray(seconds) * 1000, (50, 99)).tolist()
        return cls(p50, p99)
