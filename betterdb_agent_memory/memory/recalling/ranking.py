"""Candidates in, the best k memories out: pure, and able to say why, and whether that is certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.memory.recalling.explaining import Explanation, MemoryHit
from betterdb_agent_memory.memory.recalling.gathering import Gathered
from betterdb_agent_memory.memory.recalling.question import Question
from betterdb_agent_memory.memory.recalling.reading import TextReader
from betterdb_agent_memory.memory.recalling.relevance import Signs, largest_unseen, signs_of
from betterdb_agent_memory.memory.record import decode_memory, is_memory, scored_numbers
from betterdb_agent_memory.memory.scoring import FloatArray, composite_score, similarity_from_distance
from betterdb_agent_memory.options import RecallWeights

_ROUNDING = 1e-9
"""How far two computations of one score may be apart."""


@dataclass(frozen=True, slots=True)
class RankingRules:
    """What decides the order: the ceiling on distance, the weights, the half-life.

    With `clamps_age` what was written after `now` is as new as can be: a question about the past would else rank by
    nothing but how far in its future a memory lies. Without, a clock ahead of ours gives an age below 0, as published.
    """

    threshold: float
    weights: RecallWeights
    half_life_seconds: float
    clamps_age: bool = False


@dataclass(frozen=True, slots=True)
class Ranking:
    """The chosen hits, best first; how many memories counted as related; how many of them, or of
    the fields of the chosen ones, could not be read or had no finite score. `exact` says whether these are
    certainly the best of the whole scope: for importances from 0 to 1 and nothing written in the future.
    """

    hits: list[MemoryHit]
    related: int
    unreadable: int
    exact: bool


def rank(
    gathered: Gathered, question: Question, *, k: int, rules: RankingRules, now_ms: int, reader: TextReader
) -> Ranking:
    """The `k` best of the candidates that are related to the question.

    Related is what lies within the threshold (equal to it is within), or in hybrid retrieval has a word of the
    question, stands beside a turn that has one, or is of a day that the question names. Order among equals: score, then newer `created_at`, then id.
    """
    rows = [row for row in gathered.rows if is_memory(row.fields)]
    fragments = len(gathered.rows) - len(rows)
    signs = None
    if question.hybrid is None:
        related = [row for row in rows if row.distance <= rules.threshold]
        similarity = similarity_from_distance(np.array([row.distance for row in related]))
    elif rows:
        signs = signs_of(rows, question, gathered.frequencies, gathered.limits, question.hybrid, reader)
        passes = (signs.words > 0) | (signs.date > 0)
        places = [i for i, row in enumerate(rows) if passes[i] or row.distance <= rules.threshold]
        if len(places) < len(rows):
            signs = signs.at(places)
        related = [rows[place] for place in places]
        similarity = signs.value
    else:
        related = []
    if not related:
        return Ranking([], 0, fragments, _none_unseen(gathered, question, signs, rules))
    importance, created_at_ms, fresh_at_ms = scored_numbers([row.fields for row in related])
    age_seconds = (now_ms - fresh_at_ms) / 1000
    if rules.clamps_age:
        age_seconds = np.maximum(age_seconds, 0.0)
    scores = _scores(similarity, age_seconds, importance, rules)
    ranks = list(zip((-scores).tolist(), (-created_at_ms).tolist(), (row.id for row in related), strict=True))
    order = sorted(np.flatnonzero(np.isfinite(scores)).tolist(), key=ranks.__getitem__)
    unreadable = fragments + len(related) - len(order)
    upper = scores if signs is None else _scores(signs.upper, age_seconds, importance, rules)
    is_exact = _is_exact(gathered, question, signs, rules, scores, upper, order, k)
    hits = []
    for i in order[:k]:
        row = related[i]
        item, problems = decode_memory(row.id, row.fields)
        unreadable += problems
        if item is not None:
            relevance = None if signs is None else signs.of(i, question)
            explain = Explanation(
                row.distance,
                rules.threshold,
                float(age_seconds[i]),
                item.importance,
                rules.half_life_seconds,
                rules.weights,
                relevance,
                is_exact,
            )
            hits.append(MemoryHit(item, row.distance, float(scores[i]), explain))
    return Ranking(hits, len(related), unreadable, is_exact)


def reordered(ranking: Ranking, places: Sequence[int], *, rerank_scores: Sequence[float] | None = None) -> Ranking:
    """The hits at these places, in this order; with a reranker's scores, one for each of the old places."""
    hits = [ranking.hits[place] for place in places]
    if rerank_scores is not None:
        hits = [
            replace(hit, explain=replace(hit.explain, rerank_score=float(rerank_scores[place])))
            if hit.explain is not None
            else hit
            for place, hit in zip(places, hits, strict=True)
        ]
    return replace(ranking, hits=hits)


def _scores(similarity: FloatArray, age_seconds: FloatArray, importance: FloatArray, rules: RankingRules) -> FloatArray:
    return composite_score(
        similarity=similarity,
        age_seconds=age_seconds,
        importance=importance,
        weights=rules.weights,
        half_life_seconds=rules.half_life_seconds,
    )


def _is_exact(
    gathered: Gathered,
    question: Question,
    signs: Signs | None,
    rules: RankingRules,
    scores: NDArray[np.float64],
    upper: NDArray[np.float64],
    order: Sequence[int],
    k: int,
) -> bool:
    """Whether nothing else can be among the first `k`: no memory unseen, and no turn whose neighbour was not seen."""
    if gathered.limits.nearest is None:
        return True
    if len(order) < k:
        return _none_unseen(gathered, question, signs, rules)
    last = scores[order[k - 1]] - _ROUNDING
    chosen, others = order[:k], order[k:]
    if any(upper[i] > scores[i] + _ROUNDING for i in chosen) or any(upper[i] >= last for i in others):
        return False
    return bool(_largest_unseen_score(gathered, question, signs, rules) < last)


def _none_unseen(gathered: Gathered, question: Question, signs: Signs | None, rules: RankingRules) -> bool:
    return _largest_unseen_score(gathered, question, signs, rules) == -np.inf


def _largest_unseen_score(gathered: Gathered, question: Question, signs: Signs | None, rules: RankingRules) -> float:
    """The best score that a related memory which is no candidate could have; minus infinity where there is none."""
    nearest = gathered.limits.nearest
    if nearest is None:
        return -np.inf
    if signs is not None:
        similarity = largest_unseen(signs, question, gathered.limits, rules.threshold)
    else:
        similarity = -np.inf if nearest > rules.threshold else similarity_from_distance(nearest)
    if similarity == -np.inf:
        return -np.inf
    ends = (np.array([similarity]), np.zeros(1), np.array([1.0]))
    return float(_scores(*ends, rules)[0])
