"""Candidates in, the best k memories out: pure, and able to say why, and whether that is certain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from betterdb_agent_memory.engines.base import Neighbour, Row
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.memory.figures import figures_of_rows
from betterdb_agent_memory.memory.recalling.by_uses import components_by_uses
from betterdb_agent_memory.memory.recalling.corrections import rows_in_order
from betterdb_agent_memory.memory.recalling.cues import Context, context_of
from betterdb_agent_memory.memory.recalling.explaining import Component, Explanation, MemoryHit, Vantage, components_of
from betterdb_agent_memory.memory.recalling.gathering import Gathered
from betterdb_agent_memory.memory.recalling.question import Question
from betterdb_agent_memory.memory.recalling.reading import TextReader
from betterdb_agent_memory.memory.recalling.relevance import Signs, largest_unseen, signs_of
from betterdb_agent_memory.memory.record import (
    decode_memory,
    is_memory,
    plain_numbers,
    scored_numbers,
    scoring_candidates,
)
from betterdb_agent_memory.memory.scoring.base import ScoringModel, Term
from betterdb_agent_memory.memory.scoring.composite import composite_score, similarity_from_distance
from betterdb_agent_memory.memory.standing.standing import confidences
from betterdb_agent_memory.options import RecallWeights

_FEW = 128

_ROUNDING = 1e-9
"""How far two computations of one score may be apart."""


@dataclass(frozen=True, slots=True)
class RankingRules:
    """What decides the order: the ceiling on distance, and the model that scores, or for None the composite with these
    weights and this half-life.

    With `clamps_age` what was written after `now` is as new as can be: a question about the past would else rank by
    nothing but how far in its future a memory lies. Without, a clock ahead of ours gives an age below 0, as published.
    With `min_confidence` what is believed less is no hit.
    """

    threshold: float
    weights: RecallWeights
    half_life_seconds: float
    clamps_age: bool = False
    model: ScoringModel | None = None
    min_confidence: float | None = None

    def ceiling(self, relevance: float) -> float:
        """No memory of at most this relevance scores more: none is fresher than just written, or more important than
        can be.
        """
        if self.model is not None:
            return self.model.ceiling(relevance)
        return self.weights.similarity * relevance + self.weights.recency + self.weights.importance


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
    gathered: Gathered, question: Question, *, k: int, rules: RankingRules, vantage: Vantage, reader: TextReader
) -> Ranking:
    """The `k` best of the candidates that are related to the question.

    Related is what lies within the threshold (equal to it is within), or in hybrid retrieval has a word of the
    question, stands beside a turn that has one, or is of a day that the question names. Order among equals:
    score, then newer `created_at`, then id. What corrects another candidate comes directly before it. What is not
    believed enough is related, and may lend its words to the turn beside it, but is no hit.
    """
    rows = [row for row in gathered.rows if is_memory(row.fields)]
    fragments = len(gathered.rows) - len(rows)
    signs = None
    unseen_lender = -math.inf
    if question.hybrid is None:
        related = [row for row in rows if row.distance <= rules.threshold]
        similarity = [similarity_from_distance(row.distance) for row in related]
    elif rows:
        signs = signs_of(rows, question, gathered.frequencies, gathered.limits, question.hybrid, reader)
        passes = ((signs.words > 0) | (signs.date > 0)).tolist()
        places = [i for i, row in enumerate(rows) if passes[i] or row.distance <= rules.threshold]
        if len(places) < len(rows):
            # One of the others, too, may have a neighbour that was not seen and lends it a word.
            dropped = np.delete(np.arange(len(rows)), places)
            unseen_lender = float(
                np.max(signs.upper[dropped], where=signs.upper[dropped] > signs.value[dropped], initial=-np.inf)
            )
            signs = signs.at(places)
        related = [rows[place] for place in places]
        similarity = signs.value.tolist()
    else:
        related, similarity = [], []
    if not related:
        return Ranking([], 0, fragments, _none_unseen(gathered, question, signs, rules, unseen_lender))
    context = None
    if question.cues:
        place_of = {row.id: place for place, row in enumerate(rows)}
        whole = context_of([row.fields for row in rows], question.cues, gathered.fans, reader)
        context = whole.at([place_of[row.id] for row in related])
    scored = _scored(related, similarity, rules, vantage.now_ms, context)
    ranks = [
        (-score, -created, row.id) for score, created, row in zip(scored.scores, scored.created, related, strict=True)
    ]
    finite = [i for i, score in enumerate(scored.scores) if math.isfinite(score)]
    unreadable = fragments + len(related) - len(finite)
    order = sorted(_believed(finite, related, rules, vantage), key=ranks.__getitem__)
    is_exact = _is_exact(gathered, question, signs, rules, unseen_lender, scored.scores, order, k)
    reordered = rows_in_order(order, related)
    hits, places = [], reordered.places[:k]
    for i, terms in zip(places, scored.components(places), strict=True):
        row = related[i]
        item, problems = decode_memory(row.id, row.fields)
        unreadable += problems
        if item is not None:
            explain = Explanation(
                row.distance,
                rules.threshold,
                scored.ages[i],
                item.importance,
                rules.half_life_seconds,
                rules.weights,
                None if signs is None else signs.of(i, question),
                is_exact,
                scoring="composite" if rules.model is None else rules.model.name,
                terms=terms,
                outranks=reordered.outranked.get(i, ()),
            )
            hits.append(vantage.hit(item, row.distance, scored.scores[i], explain))
    count = len(related) if gathered.chosen is None else gathered.chosen.chosen_from.related
    return Ranking(hits, count, unreadable, is_exact)


def reordered(
    ranking: Ranking, places: Sequence[int], *, rerank_scores: Sequence[float | None] | None = None
) -> Ranking:
    """The hits at these places, in this order; with a reranker's scores, one for each of the old places, None for
    those that it was not asked about.
    """
    hits = [ranking.hits[place] for place in places]
    if rerank_scores is not None:
        hits = [
            replace(hit, explain=replace(hit.explain, rerank_score=rerank_scores[place])) if hit.explain else hit
            for place, hit in zip(places, hits, strict=True)
        ]
    return replace(ranking, hits=hits)


def _believed(
    places: Sequence[int], related: Sequence[Neighbour], rules: RankingRules, vantage: Vantage
) -> Sequence[int]:
    """Those of the places whose memories are believed enough."""
    if rules.min_confidence is None:
        return places
    rows = [Row(related[place].id, related[place].fields) for place in places]
    sure = confidences(figures_of_rows(rows), vantage.now_ms, vantage.parameters) >= rules.min_confidence
    return [place for place, is_sure in zip(places, sure.tolist(), strict=True) if is_sure]


class _Scored(NamedTuple):
    """Of each related memory its score, its age in seconds and its time of writing in ms; where a model made the scores
    their terms, or what each is made of.
    """

    scores: list[float]
    ages: list[float]
    created: Sequence[float]
    terms: Sequence[Term] = ()
    parts: Sequence[tuple[Component, ...]] = ()

    def components(self, places: Sequence[int]) -> list[tuple[Component, ...]]:
        """What the scores at these places are made of; nothing for the composite's."""
        return [self.parts[place] for place in places] if self.parts else components_of(self.terms, places)


def _scored(
    rows: Sequence[Neighbour],
    similarity: Sequence[float],
    rules: RankingRules,
    now_ms: int,
    context: Context | None = None,
) -> _Scored:
    if rules.model is not None:
        return _scored_by_model(rules.model, rows, similarity, now_ms, context)
    records = [row.fields for row in rows]
    numbers = plain_numbers(records) if len(rows) <= _FEW else None
    # For a few dozen rows numpy takes longer to be called than to compute.
    scored = None if numbers is None else _scored_one_by_one(numbers, similarity, rules, now_ms)
    return scored or _scored_at_once(records, similarity, rules, now_ms)


def _scored_by_model(
    model: ScoringModel, rows: Sequence[Neighbour], similarity: Sequence[float], now_ms: int, context: Context | None
) -> _Scored:
    records, used = [row.fields for row in rows], [row.used for row in rows]
    parts = components_by_uses(model, records, used, similarity) if context is None else None
    if parts is not None:
        return _summed_up(parts, records, now_ms)
    candidates = scoring_candidates(records, np.array(similarity), model.needs)
    if context is not None:
        candidates = replace(candidates, cues=context.held, fans=context.fans)
    scored = model.score(candidates, now_ms)
    ages = (now_ms - np.maximum(candidates.created_at_ms, candidates.last_accessed_at_ms)) / 1000
    return _Scored(scored.values.tolist(), ages.tolist(), candidates.created_at_ms.tolist(), scored.terms)


def _summed_up(parts: Sequence[tuple[Component, ...]], records: Sequence[Fields], now_ms: int) -> _Scored:
    numbers = plain_numbers(records) or ()
    created = [created for _, created, _ in numbers]
    ages = [(now_ms - max(created, accessed)) / 1000 for _, created, accessed in numbers]
    return _Scored([sum(part.contribution for part in one) for one in parts], ages, created, parts=parts)


def _scored_one_by_one(
    numbers: Sequence[tuple[float, int, int]], similarity: Sequence[float], rules: RankingRules, now_ms: int
) -> _Scored | None:
    """None where a number is too large for it."""
    by_similarity, by_recency, by_importance = rules.weights.similarity, rules.weights.recency, rules.weights.importance
    half_life = rules.half_life_seconds
    ages = [(now_ms - (max(created, accessed))) / 1000 for _, created, accessed in numbers]
    if rules.clamps_age:
        ages = [age if age > 0 else 0.0 for age in ages]
    try:
        # A term without weight is left out: nothing times an infinite recency would be no number.
        scores = [
            by_similarity * like + (by_recency * 2.0 ** (-age / half_life) if by_recency else 0.0) + by_importance * imp
            for like, age, (imp, _, _) in zip(similarity, ages, numbers, strict=True)
        ]
    except OverflowError:
        return None
    return _Scored(scores, ages, [created for _, created, _ in numbers]) if all(map(math.isfinite, scores)) else None


def _scored_at_once(
    records: Sequence[Fields], similarity: Sequence[float], rules: RankingRules, now_ms: int
) -> _Scored:
    importance, created_at_ms, last_accessed_at_ms = scored_numbers(records)
    ages = (now_ms - np.maximum(created_at_ms, last_accessed_at_ms)) / 1000
    if rules.clamps_age:
        ages = np.maximum(ages, 0.0)
    scores = composite_score(
        similarity=np.array(similarity),
        age_seconds=ages,
        importance=importance,
        weights=rules.weights,
        half_life_seconds=rules.half_life_seconds,
    )
    return _Scored(scores.tolist(), ages.tolist(), created_at_ms.tolist())


def _is_exact(
    gathered: Gathered,
    question: Question,
    signs: Signs | None,
    rules: RankingRules,
    unseen_lender: float,
    scores: Sequence[float],
    order: Sequence[int],
    k: int,
) -> bool:
    """Whether nothing else can be among the first `k`: no memory unseen, and no turn whose neighbour was not seen."""
    if gathered.limits.nearest is None:
        return True
    if len(order) < k:
        return _none_unseen(gathered, question, signs, rules, unseen_lender)
    last = scores[order[k - 1]] - _ROUNDING
    if signs is not None:
        gains = [rules.ceiling(high) - rules.ceiling(low) for high, low in zip(signs.upper, signs.value, strict=True)]
        if any(gains[i] > _ROUNDING and (place < k or scores[i] + gains[i] >= last) for place, i in enumerate(order)):
            return False
    return _largest_unseen_score(gathered, question, signs, rules, unseen_lender) < last


def _none_unseen(
    gathered: Gathered, question: Question, signs: Signs | None, rules: RankingRules, unseen_lender: float
) -> bool:
    return _largest_unseen_score(gathered, question, signs, rules, unseen_lender) == -math.inf


def _largest_unseen_score(
    gathered: Gathered, question: Question, signs: Signs | None, rules: RankingRules, unseen_lender: float
) -> float:
    """The best score that a related memory could have which is no candidate, or none that counted: of those
    `unseen_lender` is the largest relevance that a neighbour nobody saw could give. Minus infinity where there is none.
    """
    nearest = gathered.limits.nearest
    if nearest is None:
        return -math.inf
    if signs is not None:
        similarity = max(largest_unseen(signs, question, gathered.limits, rules.threshold), unseen_lender)
    else:
        similarity = -math.inf if nearest > rules.threshold else similarity_from_distance(nearest)
    return rules.ceiling(similarity) if similarity > -math.inf else -math.inf
