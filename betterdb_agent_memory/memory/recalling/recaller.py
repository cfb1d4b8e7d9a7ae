"""Recalling: candidates found, ranked, looked for further if that is asked for, and put in their final order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from betterdb_agent_memory.background import ROWS_ON_THE_LOOP, Together, off_loop
from betterdb_agent_memory.engines.base import Neighbour, Selection, Tally, Worth
from betterdb_agent_memory.engines.spreading import Spread, Spreading
from betterdb_agent_memory.engines.uses import Uses
from betterdb_agent_memory.memory.diversity import diversify, unit_rows
from betterdb_agent_memory.memory.dynamics_fields import RECENT, RELIABILITY, SUCCESSES
from betterdb_agent_memory.memory.kinds import DEFAULT_RELIABILITY, KINDS
from betterdb_agent_memory.memory.recalling.corrections import hits_in_order, lacks_corrections
from betterdb_agent_memory.memory.recalling.cues import cues_of
from betterdb_agent_memory.memory.recalling.explaining import MemoryHit, Vantage
from betterdb_agent_memory.memory.recalling.gathering import Gathered, Gatherer
from betterdb_agent_memory.memory.recalling.question import UNDERSTOOD, Question, Reach
from betterdb_agent_memory.memory.recalling.ranking import Ranking, rank, reordered
from betterdb_agent_memory.memory.recalling.reading import TextReader
from betterdb_agent_memory.memory.recalling.scope_statistics import ScopeStatistics
from betterdb_agent_memory.memory.record import (
    ACCESS_COUNT,
    CONTENT,
    CREATED_AT,
    IMPORTANCE,
    KIND,
    LAST_ACCESSED_AT,
    VECTOR,
)
from betterdb_agent_memory.memory.requests import RecallRequest, RecallSettings
from betterdb_agent_memory.memory.scoring.activation import Activation, ActivationParameters
from betterdb_agent_memory.memory.spaces import SearchedRecords, VectorSpace
from betterdb_agent_memory.memory.words.analysis import Analyzer
from betterdb_agent_memory.memory.words.dates import Period, may_name_period, named_periods
from betterdb_agent_memory.options import HybridOptions
from betterdb_agent_memory.rerankers import CheckedReranker

_WIDENING = 4
_CHOSEN_FROM = 4
"""Hits of which diversity chooses one."""
_CHOSEN_FROM_AT_MOST = 2_048
"""Hits that diversity chooses from, unless more are asked for: their vectors are read and compared in pairs."""

_PRODUCTS_AT_ONCE = 8_192
"""Products of two numbers that take as long as a row does elsewhere, 4 µs."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a recall found: the ranking, the distance of the nearest memory, searches that strangers made necessary, and
    what links of its first hits lead to, if the engine has said so in passing.
    """

    ranking: Ranking
    nearest_distance: float | None = None
    refills: int = 0
    spread: Spread | None = None


NOTHING = Recalled(Ranking([], 0, 0, exact=True))


class Recaller:
    """Answers questions from the records of a space; `exact_budget` is how many memories an exact recall looks at.

    The `rerank_depth` best are put to the `reranker`, if so many are found.
    """

    def __init__(
        self, analyzer: Analyzer, *, reranker: CheckedReranker | None, rerank_depth: int, exact_budget: int
    ) -> None:
        self._analyzer = analyzer
        self._reader = TextReader(analyzer)
        self._reranker = reranker
        self._rerank_depth = rerank_depth
        self._exact_budget = exact_budget
        self._statistics = ScopeStatistics()
        self._together: Together[Gathered] = Together()

    async def question(self, vector: bytes, text: str, settings: RecallSettings) -> Question:
        """A question with what hybrid retrieval makes of its text, and with its cues. No round trip."""
        if settings.hybrid is None or not text:
            question = Question(vector, text, hybrid=settings.hybrid)
        else:
            question = await self._understood(vector, text, settings, settings.hybrid)
        return replace(question, cues=cues_of(settings.context, self._analyzer)) if settings.context else question

    async def recall(
        self,
        space: VectorSpace,
        question: Question,
        request: RecallRequest,
        settings: RecallSettings,
        spreading: Spreading | None = None,
    ) -> Recalled:
        """The hits in their final order. Callers who ask the same at the same time share the search.

        With `spreading` the engine is asked to follow links of the hits, if it chooses these; then that costs nothing.

        One search, or two in hybrid retrieval; for diversity one more round trip, and one where the engine has chosen a
        memory that one which it has not chosen contradicts; more for `exact`, and where too few of the candidates are
        believed.
        """
        pool = self._pool(request, settings, question)
        if pool > settings.reach.nearest:
            settings = replace(settings, reach=replace(settings.reach, nearest=pool))
        gatherer = Gatherer(space.records, self._statistics, unindexed=space.index.unindexed)
        rules = settings.rules
        # Those who ask by the clock take the time of the one whose search they share.
        selection = _selection(pool, question, settings)
        if selection is not None and spreading is not None:
            selection = replace(selection, spreading=spreading)
        by_worth = selection is not None and (pool, rules, settings.now_ms if rules.clamps_age else None, spreading)
        gathered = shared = await self._together.once(
            (space.records, question, request.filter, settings.reach, by_worth),
            lambda: gatherer.gather(question, request.filter, settings.reach, selection),
        )
        if (
            gathered.chosen is not None
            and gathered.chosen.chosen_from.related > len(gathered.rows)
            and lacks_corrections(gathered.rows)
        ):
            # The engine chooses by worth alone; what speaks against one of these may be among the others.
            gathered = await gatherer.gather(question, request.filter, settings.reach)
        ranking = await self._ranked(gathered, question, pool, settings)
        refills = gathered.refills
        if not _suffices(ranking, request, settings):
            gathered, ranking = await self._widened(
                space.records, gatherer, gathered, question, request, settings, pool
            )
        ranking = await self._reranked(ranking, question, request)
        ranking = await self._diversified(ranking, space.records, request.k, settings)
        if settings.diversity is not None or self._reranker is not None:
            # They know nothing of corrections.
            ranking = replace(ranking, hits=hits_in_order(ranking.hits))
        ranking = replace(ranking, hits=ranking.hits[: request.k])
        nearest = await off_loop(len(gathered.rows), _nearest_distance, gathered)
        if gathered is not shared:
            await off_loop(len(gathered.rows), _free, gathered.rows)
        spread = None if gathered.chosen is None else gathered.chosen.spread
        return Recalled(ranking, nearest, refills, spread)

    async def _understood(self, vector: bytes, text: str, settings: RecallSettings, hybrid: HybridOptions) -> Question:
        understood = text[:UNDERSTOOD]
        words = self._analyzer.query(understood) if hybrid.words_weight else ()
        periods: tuple[Period, ...] = ()
        if hybrid.date_weight and may_name_period(understood, self._analyzer.language):
            # The parser takes milliseconds, once in a process a tenth of a second.
            periods = await asyncio.to_thread(named_periods, understood, settings.now_ms, self._analyzer.language)
        stop_words = bool(words) and not self._analyzer.stems(understood)
        return Question(vector, text, words, stop_words, periods, hybrid)

    def _pool(self, request: RecallRequest, settings: RecallSettings, question: Question) -> int:
        """How many of the best are needed to choose the hits from."""
        pool = request.k
        if self._reranker is not None and request.rerank and question.text:
            pool = max(pool, self._rerank_depth)
        if settings.diversity is None:
            return pool
        return max(pool, min(_CHOSEN_FROM * request.k, _CHOSEN_FROM_AT_MOST))

    async def _ranked(self, gathered: Gathered, question: Question, pool: int, settings: RecallSettings) -> Ranking:
        effort = len(gathered.rows)
        now_ms = settings.now_ms if gathered.chosen is None else gathered.chosen.now_ms
        vantage = Vantage(now_ms, settings.parameters)
        if (question.hybrid is not None or question.cues) and effort <= ROWS_ON_THE_LOOP:
            contents = [row.fields.get(CONTENT, b"") for row in gathered.rows]
            effort += self._reader.effort(contents, stop_words=question.stop_words)
        return await off_loop(
            effort,
            lambda: rank(gathered, question, k=pool, rules=settings.rules, vantage=vantage, reader=self._reader),
        )

    async def _widened(
        self,
        records: SearchedRecords,
        gatherer: Gatherer,
        gathered: Gathered,
        question: Question,
        request: RecallRequest,
        settings: RecallSettings,
        pool: int,
    ) -> tuple[Gathered, Ranking]:
        """The ranking once it suffices, or as far as the budget allows: each search goes four times as far."""
        reach, ranking = settings.reach, await self._ranked(gathered, question, pool, settings)
        most = min(records.max_neighbours, self._exact_budget)
        while not _suffices(ranking, request, settings) and reach.nearest < most:
            reach = self._next(reach, request, most)
            gathered = await gatherer.gather(question, request.filter, reach)
            ranking = await self._ranked(gathered, question, pool, settings)
        if settings.exact and not ranking.exact:
            every = await gatherer.gather_all(question, request.filter, most=self._exact_budget)
            if every is not None:
                gathered, ranking = every, await self._ranked(every, question, pool, settings)
        return gathered, ranking

    def _next(self, reach: Reach, request: RecallRequest, most: int) -> Reach:
        size = self._statistics.known(Tally(request.filter))
        whole = size is not None and size < most
        return reach.widened(most if whole else _WIDENING, most)

    async def _reranked(self, ranking: Ranking, question: Question, request: RecallRequest) -> Ranking:
        if self._reranker is None or not request.rerank or not question.text or not ranking.hits:
            return ranking
        first, rest = ranking.hits[: self._rerank_depth], range(self._rerank_depth, len(ranking.hits))
        scores = await self._reranker.scores(question.text, [hit.item.content for hit in first])
        order = np.argsort(-scores, kind="stable").tolist()
        return reordered(ranking, [*order, *rest], rerank_scores=[*scores.tolist(), *(None for _ in rest)])

    async def _diversified(
        self, ranking: Ranking, records: SearchedRecords, k: int, settings: RecallSettings
    ) -> Ranking:
        if settings.diversity is None or len(ranking.hits) < 2:
            return ranking
        balance, hits = settings.diversity, ranking.hits[: max(k, _CHOSEN_FROM_AT_MOST)]
        stored = await records.read_many([hit.item.id for hit in hits], [VECTOR])
        # A memory that was deleted meanwhile has no vector, and is like nothing.
        vectors = [fields.get(VECTOR, b"") if fields else b"" for fields in stored]
        products = len(vectors) * len(vectors[0]) // 4 * min(k, len(vectors))

        def chosen() -> Ranking:
            return reordered(ranking, diversify(_on_a_scale(hits, settings), unit_rows(vectors), k, balance))

        return await off_loop(len(vectors) + products // _PRODUCTS_AT_ONCE, chosen)


def _selection(pool: int, question: Question, settings: RecallSettings) -> Selection | None:
    """What an engine may leave out: by vector alone a memory's score is known without its text."""
    rules = settings.rules
    # What an engine does not know of: words, beliefs, what is being talked about.
    if question.hybrid is not None or question.cues or rules.min_confidence is not None:
        return None
    worth = Worth(
        likeness=rules.weights.similarity,
        value=rules.weights.importance,
        freshness=rules.weights.recency,
        value_field=IMPORTANCE,
        time_fields=(CREATED_AT, LAST_ACCESSED_AT),
        now_ms=settings.now_ms,
        half_life_seconds=rules.half_life_seconds,
        clamps_age=rules.clamps_age,
    )
    # Not a subclass: what that makes of the numbers no engine knows.
    if type(rules.model) is Activation:
        worth = _worth_by_activation(worth, rules.model.parameters)
    elif rules.model is not None:
        return None
    return Selection(pool, rules.threshold, worth)


def _suffices(ranking: Ranking, request: RecallRequest, settings: RecallSettings) -> bool:
    """Whether the search has gone far enough: until it is exact, if that is asked for; until there are `k` hits, where
    candidates that are not believed took their places.
    """
    if ranking.exact or settings.exact:
        return ranking.exact
    return settings.rules.min_confidence is None or len(ranking.hits) >= request.k


def _worth_by_activation(worth: Worth, ours: ActivationParameters) -> Worth:
    """What `Activation` scores, but for the cues of a context, which no engine knows."""
    uses = Uses(
        decay=ours.decay,
        share=ours.recall_share,
        doubt=ours.doubt_weight,
        count_field=ACCESS_COUNT,
        times_field=RECENT,
        helped_field=SUCCESSES,
        trust_field=RELIABILITY,
        label_field=KIND,
        usual_trust=DEFAULT_RELIABILITY,
        trusts=tuple((kind, profile.reliability) for kind, profile in KINDS.items()),
    )
    return replace(
        worth, likeness=ours.similarity_weight, value=ours.importance_weight, freshness=0.0, clamps_age=True, uses=uses
    )


def _nearest_distance(gathered: Gathered) -> float | None:
    if gathered.chosen is not None:
        return gathered.chosen.chosen_from.nearest
    return min((row.distance for row in gathered.rows), default=None)


def _free(rows: list[Neighbour]) -> None:
    # Little by little: to free the rows of a whole scope at once holds up the event loop for tens of milliseconds.
    while rows:
        del rows[-ROWS_ON_THE_LOOP:]


def _on_a_scale(hits: Sequence[MemoryHit], settings: RecallSettings) -> np.ndarray:
    """What the hits are worth, from 0 to 1: by the reranker if there is one, else by their scores."""
    reranked = [hit.explain.rerank_score for hit in hits if hit.explain is not None]
    if any(score is not None for score in reranked):
        return np.linspace(1.0, 0.0, num=len(hits))
    scores = np.array([hit.score for hit in hits])
    if settings.rules.model is not None:
        spread = scores.max() - scores.min()
        return (scores - scores.min()) / spread if spread > 0 else np.ones_like(scores)
    weights = settings.rules.weights
    return scores / (weights.similarity + weights.recency + weights.importance)
