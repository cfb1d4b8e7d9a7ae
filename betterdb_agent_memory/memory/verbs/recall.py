"""Finding and reading memories."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from opentelemetry.trace import Span

from betterdb_agent_memory.embedders.base import VectorLike
from betterdb_agent_memory.engines.base import Page
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.drafts import checked_content
from betterdb_agent_memory.memory.embedding import given_vector
from betterdb_agent_memory.memory.kinds import MemoryKind
from betterdb_agent_memory.memory.linking import strengthen_recalled
from betterdb_agent_memory.memory.listing import list_matching
from betterdb_agent_memory.memory.near.answers import Asked
from betterdb_agent_memory.memory.parts import StoreParts
from betterdb_agent_memory.memory.recalling.explaining import MemoryHit
from betterdb_agent_memory.memory.recalling.recaller import NOTHING
from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.memory.requests import (
    MAX_LIST_LIMIT,
    ListRequest,
    MemoryListOptions,
    RecallRequest,
    checked_fresh,
    checked_integer,
    exact_filter,
)
from betterdb_agent_memory.memory.results import MemoryListResult
from betterdb_agent_memory.memory.scope import MemoryScope
from betterdb_agent_memory.memory.scoring.choice import ScoringChoice
from betterdb_agent_memory.memory.searching import itself, recall_space
from betterdb_agent_memory.memory.spaces import VectorSpace
from betterdb_agent_memory.memory.where import Moment, Where
from betterdb_agent_memory.options import RecallWeights, Retrieval


class RecallVerbs(StoreParts):
    """recall, recall_by_vector, get, get_many, list, iterate."""

    async def recall(
        self,
        query: str,
        *,
        k: int | None = None,
        threshold: float | None = None,
        tags: Sequence[str] | None = None,
        weights: RecallWeights | None = None,
        reinforce: bool | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        subject: str | None = None,
        where: Where | None = None,
        kind: MemoryKind | Sequence[MemoryKind] | None = None,
        now: int | None = None,
        retrieval: Retrieval | None = None,
        exact: bool | None = None,
        diversity: float | None = None,
        rerank: bool | None = None,
        fresh: bool | None = None,
        scoring: ScoringChoice | None = None,
        expand: bool = False,
        as_of: Moment | None = None,
        include_superseded: bool = False,
        min_confidence: float | None = None,
        context: Sequence[str] | None = None,
    ) -> builtins.list[MemoryHit]:
        """Return the `k` memories that matter most for `query`, best first.

        Only memories whose scope values equal the ones given, byte for byte, and that carry all
        `tags`; what is not given is not asked about. `kind` is one of `KINDS` or several; `where` adds conditions
        (docs/filters.md). `k` is 8 by default, at most 2,500; `threshold` and `weights` override the configuration;
        `reinforce=False` leaves the hits untouched; `now` (ms) replaces the clock: dates in the question are
        understood relative to it, and what was written later counts as new.

        `retrieval` "hybrid" finds and weighs memories by the words, dates and persons of the question as well
        as by likeness, "vector" by likeness alone. `exact` searches on until no better memory can be left, or the
        budget is used up; `hit.explain.exact` says whether that is so (docs/recall.md says what it rests on).
        `diversity` (0 to 1, 1 is the score alone) chooses hits that are unlike each other. `rerank=False` leaves the
        store's reranker out. `fresh=True` asks the engine also where the store has a near-cache (docs/near-cache.md).
        `scoring` is the model by which relevance is weighed against the rest: "composite", "activation", "chain",
        "retrievability" or a `ScoringModel` (docs/dynamics.md). `expand` adds up to five memories that the question
        did not find and that are linked to its first three hits, or about the same entities, below all hits
        (docs/links.md): of the same scope and conditions; `hit.explain.link` says by which link. They are not
        reinforced, and no near-cache has them.

        `as_of` (ms, a datetime or ISO text) finds what was valid at that time instead of what is there now: superseded
        versions as well, and no memory that began to be valid later or had ceased to be. `include_superseded` finds
        superseded versions whenever they were valid. Neither touches a superseded version, and both cost one round trip
        more for each search; the first after a change of models has versions embedded anew.

        `context` are up to 16 words and names that are being talked about: by scoring "activation" memories that have
        one of them, in text, entities or tags, come up, the more, the fewer have it (docs/dynamics.md#context).
        With `min_confidence` (0 to 1) only memories that are believed that far are hits (`hit.standing.confidence`, by
        the store's `scoring_parameters`); others neither take a place among the `k` nor are reinforced.

        One round trip, in hybrid retrieval two while it is not known how frequent the words are, and one more each for
        immediate reinforcement and for diversity; for `expand` none where the server chooses the hits, else two, three
        where hits are about entities; more if `exact` needs them, if fewer than `k` of the candidates are believed as
        far as is asked, if a number lies at the very limit of a condition that the index cannot tell from it, or if the
        index returned memories that are not asked for: those of other scopes, or those that a condition excludes which
        it cannot tell (a negated tag or label). From the near-cache none but for immediate reinforcement; what is put
        there takes one more.

        Raises:
            InvalidInputError: something is refused, before the embedder was called.
            EmbeddingError: the embedder failed.
            RerankingError: the reranker failed; `rerank=False` does without.
            EngineError: the server said no, or did not answer in time.
        """
        checked_content("query", query, self._max_content_bytes)
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, subject, where, kind)
        request = RecallRequest.validated(
            filter,
            k,
            threshold,
            weights,
            reinforce,
            now,
            retrieval,
            exact,
            diversity,
            rerank,
            scoring,
            expand,
            as_of,
            include_superseded,
            min_confidence,
            context,
        )
        request.check_context(self.current_config(), self._scoring)
        may_be_near = not checked_fresh(fresh)

        async def search(space: VectorSpace, request: RecallRequest) -> builtins.list[MemoryHit]:
            dimensions = await space.index.find(space.embedder.dimensions)
            vector = await space.embedder.embed_query(query, dimensions)
            await space.index.ensure(len(vector) // 4)
            return await self._recall(space, vector, query, request, span)

        with self._watch.recalling(request.k, query) as span:
            self._embedder.require("recall by text")
            return await self._answered(query, request, search, span, may_be_near=may_be_near)

    async def recall_by_vector(
        self,
        vector: VectorLike,
        *,
        k: int | None = None,
        threshold: float | None = None,
        tags: Sequence[str] | None = None,
        weights: RecallWeights | None = None,
        reinforce: bool | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        subject: str | None = None,
        where: Where | None = None,
        kind: MemoryKind | Sequence[MemoryKind] | None = None,
        now: int | None = None,
        query: str | None = None,
        retrieval: Retrieval | None = None,
        exact: bool | None = None,
        diversity: float | None = None,
        rerank: bool | None = None,
        fresh: bool | None = None,
        scoring: ScoringChoice | None = None,
        expand: bool = False,
        as_of: Moment | None = None,
        include_superseded: bool = False,
        min_confidence: float | None = None,
        context: Sequence[str] | None = None,
    ) -> builtins.list[MemoryHit]:
        """`recall` for a vector that you have already: no embedder is needed. The same otherwise.

        `query` is the question that the vector was made from: without it hybrid retrieval knows no words, and
        nothing is reranked.

        Raises:
            InvalidInputError: also for a vector that is empty, not finite, all zero, or of another
                length than the stored ones.
        """
        given = given_vector(vector, None)
        text = "" if query is None else checked_content("query", query, self._max_content_bytes)
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, subject, where, kind)
        request = RecallRequest.validated(
            filter,
            k,
            threshold,
            weights,
            reinforce,
            now,
            retrieval,
            exact,
            diversity,
            rerank,
            scoring,
            expand,
            as_of,
            include_superseded,
            min_confidence,
            context,
        )
        request.check_context(self.current_config(), self._scoring)
        may_be_near = not checked_fresh(fresh)

        async def search(space: VectorSpace, request: RecallRequest) -> builtins.list[MemoryHit]:
            dimensions = await space.index.find(space.embedder.dimensions)
            wanted = dimensions or space.embedder.dimensions
            if wanted is not None and len(given) != 4 * wanted:
                given_vector(vector, wanted)  # says what is wrong
            return await self._recall(space, given, text, request, span)

        with self._watch.recalling(request.k, query) as span:
            return await self._answered((given, text), request, search, span, may_be_near=may_be_near)

    async def get(self, id: str) -> MemoryItem | None:
        """The memory with this id, or None. One round trip; the vector is not read."""
        return await self._read_one(record.checked_id(id))

    async def get_many(self, ids: Sequence[str]) -> builtins.list[MemoryItem | None]:
        """The memories with these ids, in order, None where there is none. One round trip per 500."""
        return await self._read(record.checked_ids(ids))

    async def list(self, options: MemoryListOptions | None = None) -> MemoryListResult:
        """A page of memories, newest first, and the exact total of the scope.

        One round trip, with a scope a second one beside it. Before anything was stored the page is empty.
        Without a scope the total is the server's, which may still count memories that have just expired.
        """
        request = ListRequest.validated(options or MemoryListOptions())
        page = await self._searcher.lookup(
            lambda space: list_matching(space.records, request), Page((), 0, 0), filter=request.filter
        )
        items = await self._decode([row.id for row in page.rows], [row.fields for row in page.rows])
        found = [item for item in items if item is not None]
        found.sort(key=lambda item: (-item.created_at, item.id))
        return MemoryListResult(found, page.total)

    async def iterate(
        self,
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        tags: Sequence[str] | None = None,
        scope: MemoryScope | None = None,
        where: Where | None = None,
        kind: MemoryKind | Sequence[MemoryKind] | None = None,
        after: str | None = None,
        page_size: int = 1000,
    ) -> AsyncIterator[MemoryItem]:
        """Every memory of the scope, oldest first, however many there are: `async for item in store.iterate()`.

        A memory that is there from the beginning to the end comes exactly once, whatever others write and forget
        meanwhile. One that is written anew under its id (replaced, or forgotten and remembered) is a new memory, which
        may come again, later. `after=item.cursor` goes on behind a memory, also in another process. About four
        round trips per 1,000 memories, and the memory of one page of `page_size` (at most 10,000).
        """
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, where=where, kind=kind)
        position = None if after is None else record.parse_cursor(after)
        size = checked_integer("page_size", page_size, 1000, 1, MAX_LIST_LIMIT)
        space = await self._searcher.lookup(itself, None, filter=filter)
        if space is None:
            return
        pages = space.records.walk(filter, fields=record.ITEM_FIELDS, after=position, page_size=size)
        async for rows in pages:
            for item in await self._decode([row.id for row in rows], [row.fields for row in rows]):
                if item is not None:
                    yield item

    async def _answered(
        self,
        question: str | tuple[bytes, str],
        request: RecallRequest,
        search: Callable[[VectorSpace, RecallRequest], Awaitable[builtins.list[MemoryHit]]],
        span: Span,
        *,
        may_be_near: bool,
    ) -> builtins.list[MemoryHit]:
        """What the near-cache has, or else what `search` finds, kept there for the next one."""
        near = self._near if may_be_near else None
        if near is not None and self._models.plain() is None:
            await self._models.layout(to_write=False)
        asked = None if near is None else self._asked(question, request)
        if near is None or asked is None:
            return await self._searcher.within(recall_space, lambda space: search(space, request))
        answer = near.find(asked)
        self._watch.near_lookup(answer is not None)
        wanted = request
        if answer is not None:
            if request.reinforce and answer.value:
                await self._reinforced(answer.value, self._clock())
            hits = await near.hits_of(answer)
            if hits is not None:
                self._watch.recalled_near(span, hits)
                return hits
            # Too old by now, since the engine was slow to reinforce: that has been done.
            wanted = replace(request, reinforce=False)
        return await near.read(
            asked,
            lambda: self._searcher.within(recall_space, lambda space: search(space, wanted)),
            asked_now=lambda: self._asked(question, request),
        )

    def _asked(self, question: str | tuple[bytes, str], request: RecallRequest) -> Asked | None:
        """What the hits depend on beside the memories; None for a question about another time than now, for one that
        follows links or finds superseded versions, which change without the memories, and while models are being
        changed.
        """
        layout = self._models.plain()
        if layout is None or request.now_ms is not None or request.expand or request.with_superseded:
            return None
        space = layout.recall
        settings = request.in_force(self._config_for(space), self._scoring, self._scoring_parameters, clock_ms=0)
        return Asked(question, request.filter, request.k, request.rerank, settings, (space.embedder, space.index))

    async def _reinforced(self, hits: Sequence[MemoryHit], now_ms: int) -> None:
        gains = strengthen_recalled(hits, now_ms) if self._links_recalled else {}
        await self._reinforcer.reinforce([hit.item.id for hit in hits], now_ms, gains)
        self._watch.reinforcements(self._reinforcer.statistics())

    async def _recall(
        self, space: VectorSpace, vector: bytes, text: str, request: RecallRequest, span: Span
    ) -> builtins.list[MemoryHit]:
        clock_ms = self._clock()
        settings = request.in_force(self._config_for(space), self._scoring, self._scoring_parameters, clock_ms=clock_ms)
        question = await self._recaller.question(vector, text, settings)
        searched = await self._believing.space(space) if request.with_superseded else space
        spreading = self._expander.spreading() if request.expand else None
        found = await self._searcher.ask(
            space,
            lambda: self._recaller.recall(searched, question, request, settings, spreading),
            NOTHING,
            filter=request.filter,
        )
        hits = found.ranking.hits
        linked = (
            await self._expander.expand(space, vector, hits, request, settings, found.spread) if request.expand else []
        )
        self._watch.refilled(found.refills)
        self._watch.recalled(
            span, found.ranking, nearest_distance=found.nearest_distance, threshold=settings.rules.threshold
        )
        touched = [hit for hit in hits if hit.item.dynamics.superseded_by is None]
        if request.reinforce and touched:
            # A question about the future is asked today: a later access would outrank everything until then.
            await self._reinforced(touched, min(settings.now_ms, clock_ms))
        return hits + linked
