"""MemoryStore: what an agent remembers, on one engine under one name."""

from __future__ import annotations

import asyncio
import builtins
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

from opentelemetry.trace import Span

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.clock import Clock, system_clock
from betterdb_agent_memory.discovery import MemoryDiscovery
from betterdb_agent_memory.embedders.base import Embedder, EmbedFn, VectorLike
from betterdb_agent_memory.embedders.function import DEFAULT_THRESHOLD, as_embedder
from betterdb_agent_memory.engines import engine_for
from betterdb_agent_memory.engines.base import Engine, Page, Row
from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.errors import AgentMemoryError, InvalidInputError
from betterdb_agent_memory.live_config import LiveConfig, MemoryConfigSnapshot
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.candidates import NearestResult, nearest_in_scope
from betterdb_agent_memory.memory.capacity import Capacity
from betterdb_agent_memory.memory.consolidation.consolidate import Arguments, consolidate
from betterdb_agent_memory.memory.consolidation.facts import (
    ConsolidateFactsResult,
    ConsolidateResult,
    FactExtractor,
    SummarizeFn,
    Undated,
)
from betterdb_agent_memory.memory.consolidation.kinds import SUMMARY_SOURCE
from betterdb_agent_memory.memory.consolidation.language_model import LanguageModel
from betterdb_agent_memory.memory.consolidation.request import Mode, checked_consolidation
from betterdb_agent_memory.memory.consolidation.workshop import Workshop
from betterdb_agent_memory.memory.drafts import (
    MemoryDraft,
    OnDuplicate,
    RememberResult,
    checked_content,
    checked_on_duplicate,
)
from betterdb_agent_memory.memory.embedding import CheckedEmbedder, given_vector
from betterdb_agent_memory.memory.forgetting import forget_matching
from betterdb_agent_memory.memory.generations.following import Follower
from betterdb_agent_memory.memory.generations.layout import Models
from betterdb_agent_memory.memory.generations.migration import EmbeddingMigration
from betterdb_agent_memory.memory.listing import list_matching
from betterdb_agent_memory.memory.progress import Progress, ProgressFn
from betterdb_agent_memory.memory.ranking import MemoryHit, rank
from betterdb_agent_memory.memory.record import MemoryItem, NewMemory
from betterdb_agent_memory.memory.reinforcement import reinforcer_for
from betterdb_agent_memory.memory.remembering import Remembering
from betterdb_agent_memory.memory.requests import (
    MAX_LIST_LIMIT,
    ListRequest,
    MemoryListOptions,
    RecallRequest,
    checked_integer,
    exact_filter,
)
from betterdb_agent_memory.memory.results import MemoryListResult, MemoryStats, ReindexResult
from betterdb_agent_memory.memory.scope import MemoryScope, checked_scope, checked_tags
from betterdb_agent_memory.memory.searching import Searcher, lookup_space, recall_space
from betterdb_agent_memory.memory.settings import (
    base_config,
    checked_callable,
    checked_discovery,
    checked_name,
    checked_type,
    refresh_interval_seconds,
)
from betterdb_agent_memory.memory.spaces import SearchedRecords, VectorSpace
from betterdb_agent_memory.memory.transfer.exporting import export_jsonl
from betterdb_agent_memory.memory.transfer.importing import OnExisting, import_jsonl
from betterdb_agent_memory.memory.transfer.place import TransferPlace
from betterdb_agent_memory.memory.transfer.results import ExportResult, ImportResult
from betterdb_agent_memory.memory.updating import KEEP, Keep, Update, Updater
from betterdb_agent_memory.memory.watch import StoreWatch
from betterdb_agent_memory.memory.where import Moment, Where
from betterdb_agent_memory.memory.writing import Writer
from betterdb_agent_memory.options import (
    DEFAULT_MAX_CONTENT_BYTES,
    ConsolidationConfig,
    MemoryConfigRefreshConfig,
    MemoryDiscoveryConfig,
    MemoryStoreClient,
    MemoryTelemetryOptions,
    RecallWeights,
    Reinforcement,
    count_of_at_least_one,
)
from betterdb_agent_memory.version import package_version

EVICTIONS = "evictions"
_log = logging.getLogger(__name__)


def random_id() -> str:
    """A random version 4 UUID, lower case: the contract's id."""
    return str(uuid.uuid4())


class MemoryStore:
    """Long-term memory under one name: remember, recall, list, forget.

    `client` is a `valkey.asyncio` or `redis.asyncio` client, or an engine of this library; it stays
    yours and is not closed. `embed_fn` is an async function from text to vector or an
    `Embedder`; without one only calls that embed nothing work. `default_threshold` is the largest
    cosine distance (0 to 2) of a hit: by default what the embedder states, 0.25 for a plain function.
    `weights` default to 0.6 similarity, 0.25 recency, 0.15 importance with a half-life of
    604,800 s; `max_items_per_scope` to no limit. `reinforcement` says when recalled memories
    are touched: "immediate" (before recall returns) or "deferred". `consolidation` sets label and
    importance of facts. `next_embed_fn` is the model that the store is to be moved to: see `migration`.
    `analytics` is accepted as published and means nothing: no usage data is collected, whatever its value.

    Methods may be called from many tasks at once. The index is found or created on first use.

    Raises:
        ConfigurationError: an argument cannot work; the message names it.
    """

    def __init__(
        self,
        *,
        client: MemoryStoreClient | Engine,
        name: str,
        embed_fn: EmbedFn | Embedder | None = None,
        next_embed_fn: EmbedFn | Embedder | None = None,
        default_threshold: float | None = None,
        weights: RecallWeights | None = None,
        half_life_seconds: float | None = None,
        max_items_per_scope: int | None = None,
        discovery: bool | MemoryDiscoveryConfig = False,
        config_refresh: bool | MemoryConfigRefreshConfig | None = None,
        consolidation: ConsolidationConfig | None = None,
        telemetry: MemoryTelemetryOptions | None = None,
        analytics: bool = True,
        reinforcement: Reinforcement = "immediate",
        max_content_bytes: int = DEFAULT_MAX_CONTENT_BYTES,
        clock: Clock = system_clock,
        new_id: Callable[[], str] = random_id,
    ) -> None:
        del analytics
        self.name = name = checked_name(name)
        self._engine = engine_for(client)
        self._stats_key = f"{name}:__mem_stats"
        collection = record.memory_collection(name)
        self._records = self._engine.records(collection)
        self._watch = StoreWatch(name, checked_type("telemetry", telemetry, MemoryTelemetryOptions))
        embedder = None if embed_fn is None else as_embedder(embed_fn)
        next_embedder = None if next_embed_fn is None else as_embedder(next_embed_fn)
        self._embedder = CheckedEmbedder(embedder, on_call=self._watch.embedding_called)
        self._models = Models(
            self._engine,
            name,
            self._records,
            index_name=collection.index_name,
            embedder=self._embedder,
            next_embedder=(
                None if next_embedder is None else CheckedEmbedder(next_embedder, on_call=self._watch.embedding_called)
            ),
        )
        self._searcher = Searcher(self._models, on_use=self._start_background_work)
        self._follower = Follower(name, on_failure=lambda: self._watch.background_failed("generation"))
        self._writer = Writer(self._records, self._follower)
        self._updater = Updater(self._records, self._models, self._follower, get=self.get)
        self._reinforcer = reinforcer_for(
            reinforcement, self._records, on_failure=lambda: self._watch.background_failed("reinforcement")
        )
        self._fact_source, self._fact_importance = checked_consolidation(
            checked_type("consolidation", consolidation, ConsolidationConfig) or ConsolidationConfig()
        )
        self._max_content_bytes = count_of_at_least_one("max_content_bytes", max_content_bytes)
        self._clock = checked_callable("clock", clock)
        self._new_id = checked_callable("new_id", new_id)
        self._capacity = Capacity(
            self._searcher,
            config=self.current_config,
            clock=self._clock,
            on_unreadable=self._watch.unreadable,
            on_evicted=self._count_evicted,
            on_failure=self._warn_of_eviction,
        )
        self._remembering = Remembering(
            self._models,
            self._writer,
            self._capacity,
            self._watch,
            clock=self._clock,
            new_id=self._new_id,
            max_content_bytes=self._max_content_bytes,
            reserved_sources=self._reserved_sources,
            on_use=self._start_background_work,
        )
        interval_seconds = refresh_interval_seconds(config_refresh)
        self._refreshes_config = interval_seconds is not None
        self._live_config = LiveConfig(
            base_config(
                threshold=default_threshold,
                embedder_threshold=embedder.default_threshold if embedder else DEFAULT_THRESHOLD,
                weights=weights,
                half_life_seconds=half_life_seconds,
                max_items_per_scope=max_items_per_scope,
            ),
            lambda: self._engine.values.read_map(f"{name}:__mem_config"),
            interval_seconds=interval_seconds or 30.0,
            on_failure=lambda: self._watch.background_failed("config_refresh"),
        )
        self._discovery = self._make_discovery(discovery)
        self._registration: asyncio.Task[None] | None = None
        self._is_closed = False

    async def ensure_index(self) -> None:
        """Find the index or create it, so that a misfit shows at start and not at the first recall.

        Up to 4 round trips, and one embedding of the word "probe" when the embedder does not state its
        dimension. Without an embedder an existing index is enough.

        Raises:
            IndexMismatchError: the index exists with another dimension, metric or prefix.
            SearchModuleMissingError: the server has no search module.
        """
        space = (await self._models.layout(look=True)).main
        if await space.index.find(space.embedder.dimensions, look=True) is None or space.embedder.is_there:
            await space.index.ensure(await space.embedder.probe())
        self._start_background_work()

    async def remember(
        self,
        content: str,
        *,
        importance: float | None = None,
        tags: Sequence[str] | None = None,
        source: str | None = None,
        ttl: int | timedelta | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        subject: str | None = None,
        date: str | None = None,
        occurred_at: Moment | None = None,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
        on_duplicate: OnDuplicate = "keep",
    ) -> str:
        """Store a memory and return its id.

        `importance` is 0 to 1 (default 0.5); `tags` hold no comma; `ttl` is whole seconds or a
        timedelta, None or 0 for ever. The scope is said by keywords or by `scope=`. `subject` and
        `date` label facts. `occurred_at` is when what it tells happened: milliseconds, a datetime or ISO
        text. `metadata` is any JSON object up to 64 KiB; it is stored, not searched. One round trip, with its
        expiry in the same atomic step; with a capacity limit one more to count.

        `on_duplicate="keep"` stores it under a new random id, or under `id` if that is free.
        `"replace"` overwrites the memory that has `id`. `"merge"` makes the same content in the same thread, agent
        and namespace one memory, under an id that follows from them: if it is there it is reinforced, its importance
        raised to a larger one that is given, its tags united, its expiry moved to a later one, in one atomic
        step however many workers do so; nothing is embedded then. One more round trip. A copy that was
        stored otherwise, under a random id, is not looked for.

        Raises:
            InvalidInputError: something is refused, before the embedder was called.
            MemoryExistsError: another memory has this `id`; nothing was written.
            EmbeddingError: the embedder failed; nothing was written.
            EngineUnavailableError: no connection; nothing was written.
            OutcomeUnknownError: the connection broke meanwhile; the memory is there whole or not at
                all. `error.ids` holds its id, to look it up with `get`.
        """
        draft = MemoryDraft(
            content, importance, tags, source, ttl, None, None, None, subject, date, occurred_at, metadata, id
        )
        said = checked_scope(scope, thread_id, agent_id, namespace)
        return await self._remembering.one(draft, checked_on_duplicate(on_duplicate), said)

    async def remember_many(
        self,
        memories: Iterable[str | MemoryDraft | Mapping[str, Any]],
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        on_duplicate: OnDuplicate = "keep",
        on_progress: ProgressFn | None = None,
    ) -> builtins.list[RememberResult]:
        """Store many memories; what became of each, in order.

        Each is a text, a `MemoryDraft`, or a mapping with its fields. The scope given here is that of all; a
        draft may say what it leaves open. `on_duplicate` as for `remember`. One call of the embedder
        and one round trip per 500 memories; a capacity limit is enforced after each 500 (so that memories
        of the same call may be evicted), with one round trip for each scope and set of tags among them.

        What is wrong with one memory is in its result and harms no other. After the embedder failed for a whole
        batch, or the server is not to be reached, the rest is rejected with that error and not tried.

        Raises:
            InvalidInputError: `memories` is a text, or `on_duplicate` or the scope is refused.
            ConfigurationError: the store has no embedder.
        """
        if isinstance(memories, str | bytes | Mapping):
            raise InvalidInputError("remember_many takes a list of memories; for a single one there is remember()")
        checked_on_duplicate(on_duplicate)
        said = checked_scope(scope, thread_id, agent_id, namespace)
        self._embedder.require("remember")
        return await self._remembering.many(memories, on_duplicate, said, on_progress)

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
        now: int | None = None,
    ) -> builtins.list[MemoryHit]:
        """Return the `k` memories that matter most for `query`, best first.

        Only memories whose scope values equal the ones given, byte for byte, and that carry all
        `tags`; what is not given is not asked about. `where` adds conditions (docs/filters.md). `k` is 8 by
        default, at most 2,500; `threshold` and `weights` override the configuration; `reinforce=False`
        leaves the hits untouched; `now` (ms) replaces the clock. One round trip, and one more for
        immediate reinforcement; more only if the index returned memories that are not asked for: those
        of other scopes, or those that a condition excludes which it cannot tell (a negated tag or label).

        Raises:
            InvalidInputError: something is refused, before the embedder was called.
            EmbeddingError: the embedder failed.
            EngineError: the server said no, or did not answer in time.
        """
        checked_content("query", query, self._max_content_bytes)
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, subject, where)
        request = RecallRequest.validated(filter, k, threshold, weights, reinforce, now)

        async def search(space: VectorSpace) -> builtins.list[MemoryHit]:
            dimensions = await space.index.find(space.embedder.dimensions)
            vector = await space.embedder.embed_query(query, dimensions)
            await space.index.ensure(len(vector) // 4)
            return await self._recall(space, vector, request, span)

        with self._watch.recalling(request.k) as span:
            self._embedder.require("recall by text")
            return await self._searcher.within(recall_space, search)

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
        now: int | None = None,
    ) -> builtins.list[MemoryHit]:
        """`recall` for a vector that you have already: no embedder is needed. The same otherwise.

        Raises:
            InvalidInputError: also for a vector that is empty, not finite, all zero, or of another
                length than the stored ones.
        """
        given_vector(vector, None)
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, subject, where)
        request = RecallRequest.validated(filter, k, threshold, weights, reinforce, now)

        async def search(space: VectorSpace) -> builtins.list[MemoryHit]:
            dimensions = await space.index.find(space.embedder.dimensions)
            checked = given_vector(vector, dimensions or space.embedder.dimensions)
            return await self._recall(space, checked, request, span)

        with self._watch.recalling(request.k) as span:
            return await self._searcher.within(recall_space, search)

    async def get(self, id: str) -> MemoryItem | None:
        """The memory with this id, or None. One round trip; the vector is not read."""
        [item] = await self.get_many([id])
        return item

    async def get_many(self, ids: Sequence[str]) -> builtins.list[MemoryItem | None]:
        """The memories with these ids, in order, None where there is none. One round trip per 500."""
        checked = _checked_ids(ids)
        rows = await self._records.read_many(checked, record.ITEM_FIELDS)
        items, unreadable = await off_loop(len(rows), _decoded, checked, rows)
        self._watch.unreadable(unreadable)
        return items

    async def update(
        self,
        id: str,
        *,
        content: str | Keep = KEEP,
        importance: float | Keep | None = KEEP,
        tags: Sequence[str] | Keep | None = KEEP,
        metadata: Mapping[str, Any] | Keep | None = KEEP,
        source: str | Keep | None = KEEP,
        subject: str | Keep | None = KEEP,
        date: str | Keep | None = KEEP,
        occurred_at: Moment | Keep | None = KEEP,
        ttl: int | timedelta | Keep | None = KEEP,
        if_version: int | None = None,
    ) -> MemoryItem:
        """Change what is given, leave the rest, and return the memory as it is then.

        None takes a field away (and sets importance to 0.5 and the time to live to for ever); `ttl` counts from
        now. All in one atomic step that raises the memory's `version` by one. `if_version` makes it happen only to
        the version that you have read. A content that is another than the stored one is embedded; any other change
        is not. Two round trips, with `content` three.

        Raises:
            InvalidInputError: a value is refused, or nothing is to be changed.
            MemoryNotFoundError: there is no such memory.
            VersionConflictError: it has another version than `if_version`; `error.current` says which.
            EmbeddingError: the embedder failed; nothing was changed.
        """
        update = Update.validated(
            id,
            content=content,
            importance=importance,
            tags=tags,
            metadata=metadata,
            source=source,
            subject=subject,
            date=date,
            occurred_at=occurred_at,
            ttl=ttl,
            if_version=if_version,
            max_content_bytes=self._max_content_bytes,
            reserved_sources=self._reserved_sources,
        )
        return await self._updater.update(update)

    async def iterate(
        self,
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        tags: Sequence[str] | None = None,
        scope: MemoryScope | None = None,
        where: Where | None = None,
        after: str | None = None,
        page_size: int = 1000,
    ) -> AsyncIterator[MemoryItem]:
        """Every memory of the scope, oldest first, however many there are: `async for item in store.iterate()`.

        A memory that is there from the beginning to the end comes exactly once, whatever others write and forget
        meanwhile. `after=item.cursor` goes on behind a memory, also in another process. About one
        round trip and the memory of a page for each `page_size` (at most 10,000).
        """
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, where=where)
        position = None if after is None else record.parse_cursor(after)
        size = checked_integer("page_size", page_size, 1000, 1, MAX_LIST_LIMIT)
        space = await self._searcher.lookup(_itself, None)
        if space is None:
            return
        pages = space.records.walk(filter, fields=record.ITEM_FIELDS, after=position, page_size=size)
        async for rows in pages:
            items, unreadable = await off_loop(len(rows), _decoded, [row.id for row in rows], [r.fields for r in rows])
            self._watch.unreadable(unreadable)
            for item in items:
                if item is not None:
                    yield item

    async def list(self, options: MemoryListOptions | None = None) -> MemoryListResult:
        """A page of memories, newest first, and the exact total of the scope.

        One round trip, with a scope a second one beside it. Before anything was stored the page is empty.
        Without a scope the total is the server's, which may still count memories that have just expired.
        """
        request = ListRequest.validated(options or MemoryListOptions())
        page = await self._searcher.lookup(lambda space: list_matching(space.records, request), Page((), 0, 0))
        items, unreadable = await off_loop(len(page.rows), _newest_first, page.rows)
        self._watch.unreadable(unreadable)
        return MemoryListResult(items, page.total)

    async def forget(self, id: str) -> bool:
        """Delete one memory; true when there was one. One round trip."""
        [existed] = await self.forget_many([id])
        return existed

    async def forget_many(self, ids: Sequence[str]) -> builtins.list[bool]:
        """Delete memories; true, in order, where there was one. One round trip per 500.

        Raises:
            PartialBatchError: some were deleted; it says which.
            OutcomeUnknownError: the connection broke meanwhile; deleting again is harmless.
        """
        checked = _checked_ids(ids)
        layout = await self._models.layout()
        existed = await self._records.delete_many(checked)
        self._watch.forgotten(sum(existed))
        await self._follower.follow(layout.generation, [id for id, was in zip(checked, existed, strict=True) if was])
        return existed

    async def forget_by_scope(
        self,
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        tags: Sequence[str] | None = None,
        scope: MemoryScope | None = None,
        where: Where | None = None,
    ) -> int:
        """Delete every memory of exactly this scope with all these tags, meeting `where`; returns how many.

        Two round trips per 500.

        Raises:
            InvalidInputError: nothing was given; that would be the whole store.
            IndexNotReadyError: the index is being rebuilt, so some would be missed; nothing was deleted.
            ConfigurationError: there is no index, and no embedder to make one with.
            EngineError: with a note saying how many had been deleted before it.
        """
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, where=where)
        if not filter.clauses:
            raise InvalidInputError(
                "forget_by_scope needs at least one of thread_id, agent_id, namespace, tags or where; without one it "
                "would delete the whole store"
            )

        async def search(space: VectorSpace) -> int:
            if await space.index.find(space.embedder.dimensions) is None:
                # Memories may be there without an index: made now, it finds them.
                await space.index.ensure(await space.embedder.probe())
            return await self._searcher.ask(space, lambda: forget_matching(space.records, filter), 0)

        deleted = await self._searcher.within(lookup_space, search)
        self._watch.forgotten(deleted)
        return deleted

    async def consolidate(
        self,
        *,
        mode: Mode | None = None,
        summarize: SummarizeFn | LanguageModel | None = None,
        extract_facts: FactExtractor | LanguageModel | None = None,
        older_than_seconds: float | timedelta | None = None,
        max_importance: float | None = None,
        delete_sources: bool | None = None,
        summary_importance: float | None = None,
        fact_importance: float | None = None,
        tags: Sequence[str] | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        where: Where | None = None,
        ttl: int | timedelta | None = None,
        undated: Undated = "keep",
        day_first: bool = False,
        batch_size: int | None = None,
        max_input_chars: int | None = None,
        wait_seconds: float | None = None,
        lease_seconds: float | None = None,
        dry_run: bool = False,
        on_progress: ProgressFn | None = None,
    ) -> ConsolidateResult | ConsolidateFactsResult:
        """Condense memories: one summary in their place, or up-to-date facts beside them.

        `mode` is "summary" or "facts", or follows from the one callback given: `summarize` (async, memories
        to a text) or `extract_facts` (async, memories to facts), or instead a model such as
        "openai:gpt-5-mini" (extra `llm`). At least one criterion says which memories; they are taken oldest
        first, and never summaries or facts, which only consolidation itself writes. One run at a time works
        on a store; another one waits up to `wait_seconds` (300). docs/consolidation.md has the whole of it.

        A summary is written first and its sources are deleted then, those that nobody has changed meanwhile;
        a crash in between is repaired by the next run. It expires with its longest-lived source unless
        `ttl` says otherwise. `dry_run` counts and writes nothing; with facts it does call the extractor.
        More than `batch_size` memories (10,000) or `max_input_chars` characters (a model: 100,000) go to the
        callback in several calls. About two round trips per 1,000 memories beside the calls of the callback.

        Raises:
            InvalidInputError: something is refused, or no criterion was given; nothing was read.
            ConfigurationError: a model was named that cannot be used.
            ConsolidationError: the callback failed or returned something unusable; nothing was written.
            LeaseHeldError: another run did not end in time.
            LeaseLostError: this run stood still for longer than `lease_seconds` (30).
        """
        return await consolidate(
            self._workshop(),
            Arguments(
                mode=mode,
                summarize=summarize,
                extract_facts=extract_facts,
                older_than_seconds=older_than_seconds,
                max_importance=max_importance,
                delete_sources=delete_sources,
                summary_importance=summary_importance,
                fact_importance=fact_importance,
                ttl=ttl,
                undated=undated,
                day_first=day_first,
                batch_size=batch_size,
                max_input_chars=max_input_chars,
                wait_seconds=wait_seconds,
                lease_seconds=lease_seconds,
                dry_run=dry_run,
                on_progress=on_progress,
            ),
            scope=checked_scope(scope, thread_id, agent_id, namespace),
            tags=checked_tags(tags),
            filter=exact_filter(scope, thread_id, agent_id, namespace, tags, where=where),
        )

    async def consolidate_facts(
        self,
        *,
        extract_facts: FactExtractor | LanguageModel,
        older_than_seconds: float | timedelta | None = None,
        max_importance: float | None = None,
        fact_importance: float | None = None,
        tags: Sequence[str] | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        where: Where | None = None,
        ttl: int | timedelta | None = None,
        undated: Undated = "keep",
        day_first: bool = False,
        batch_size: int | None = None,
        max_input_chars: int | None = None,
        wait_seconds: float | None = None,
        lease_seconds: float | None = None,
        dry_run: bool = False,
        on_progress: ProgressFn | None = None,
    ) -> ConsolidateFactsResult:
        """`consolidate(mode="facts", ...)`, the published earlier name."""
        facts = await self.consolidate(
            mode="facts",
            extract_facts=extract_facts,
            older_than_seconds=older_than_seconds,
            max_importance=max_importance,
            fact_importance=fact_importance,
            tags=tags,
            thread_id=thread_id,
            agent_id=agent_id,
            namespace=namespace,
            scope=scope,
            where=where,
            ttl=ttl,
            undated=undated,
            day_first=day_first,
            batch_size=batch_size,
            max_input_chars=max_input_chars,
            wait_seconds=wait_seconds,
            lease_seconds=lease_seconds,
            dry_run=dry_run,
            on_progress=on_progress,
        )
        return cast("ConsolidateFactsResult", facts)

    async def export_to(
        self,
        path: str | Path | BinaryIO,
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        tags: Sequence[str] | None = None,
        where: Where | None = None,
        vectors: bool = True,
        resume: bool = True,
        on_progress: ProgressFn | None = None,
    ) -> ExportResult:
        """Write memories to a file of JSON lines, oldest first, as docs/export-import.md describes: lossless.

        All of them, or those of the scope, with all `tags`, that meet `where`. A path (`.gz` compresses)
        is written as `<path>.part` and renamed when complete; after an interruption the same call goes
        on behind the last whole line, unless `resume=False`. A binary stream gets the lines and stays
        open. Every memory that is there all the time is in the file exactly once; what is written or
        forgotten meanwhile may be in it or not. Three round trips and memory for 250 memories at a time.

        Raises:
            ConfigurationError: the file cannot be written, or the `.part` belongs to another export.
            EngineError: what is written stays for the next run.
        """
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, where=where)
        return await export_jsonl(
            self._transfer_place(), path, filter=filter, vectors=vectors, resume=resume, on_progress=on_progress
        )

    async def import_from(
        self,
        path: str | Path | BinaryIO,
        *,
        on_existing: OnExisting = "skip",
        resume: bool = True,
        on_progress: ProgressFn | None = None,
    ) -> ImportResult:
        """Store the memories of an export under their ids, with every field and expiry they had.

        A memory that is there already stays as it is, or is replaced with `on_existing="replace"`. One
        that has expired since is left out; a line that is no memory is counted and reported in
        `errors`. Vectors are made anew where the file has none, or where they are another embedder's.
        After an interruption the same call on the same file goes on behind its last batch, unless
        `resume=False`. Nothing is evicted: a capacity limit is enforced by the next `remember`. Four
        round trips and one embedding call, if any, for 500 memories.

        Raises:
            InvalidInputError: the file is no export that this release reads, or is cut off.
            ConfigurationError: it cannot be read, or it brings no usable vectors and there is no
                embedder; nothing was written.
            IndexMismatchError: the embedder does not fit the store's index; nothing was written.
            EmbeddingError, EngineError: what is done stays done, and the next run goes on.
        """
        return await import_jsonl(
            self._transfer_place(), path, on_existing=on_existing, resume=resume, on_progress=on_progress
        )

    @property
    def migration(self) -> EmbeddingMigration:
        """Changing the embedding model without downtime; the store needs `next_embed_fn` for it."""
        return EmbeddingMigration(self._engine, self.name, self._records, self._models)

    async def reindex(self, *, on_progress: ProgressFn | None = None) -> ReindexResult:
        """Drop the search index and build it anew over the memories that are there.

        For an index that another client made without our fields (`stats().unindexed_fields`), or one that is
        damaged. No memory is touched. Meanwhile searches of all workers wait up to 30 s and then raise
        IndexNotReadyError. Progress is told in memories.

        Raises:
            ConfigurationError: there is no index, and no embedder to tell the length of its vectors.
        """
        space = (await self._models.layout(look=True)).main
        found = await space.index.find(None, look=True)
        await space.index.rebuild(found if found is not None else await space.embedder.probe())
        while (state := await self._records.inspect()).indexing:
            if on_progress is not None:
                total = await self._records.count(Filter())
                on_progress(Progress("indexing", round(total * state.indexed_fraction), total))
            await asyncio.sleep(0.05)
        total = await self._records.count(Filter())
        if on_progress is not None:
            on_progress(Progress("indexing", total, total))
        return ReindexResult(total, state.dimensions or 0, state.unindexed, state.failures)

    async def stats(self) -> MemoryStats:
        """Counts and health of the store; before anything was stored the counts are 0. Three round trips."""
        count = await self._searcher.lookup(lambda space: space.records.count(Filter()), 0, even_incomplete=True)
        evictions = (await self._engine.values.read_map(self._stats_key)).get(EVICTIONS, b"0")
        index = await self._records.inspect()
        reinforcement = self._reinforcer.statistics()
        self._watch.reinforcements(reinforcement)
        return MemoryStats(
            item_count=count,
            evictions=int(evictions) if evictions.isdigit() else 0,
            config=self.current_config(),
            pending_reinforcements=reinforcement.pending,
            lost_reinforcements=reinforcement.lost,
            unreadable_records=self._watch.unreadable_count + self._records.unreadable_rows,
            recall_refills=self._watch.refill_count,
            background_failures=self._watch.background_failure_count,
            unindexed_fields=index.unindexed,
            index_failures=index.failures,
            indexing=index.indexing,
            ignored_config_fields=self._live_config.ignored_fields,
        )

    def current_config(self) -> MemoryConfigSnapshot:
        """The configuration in force. No round trip."""
        return self._live_config.current

    async def refresh_config(self) -> None:
        """Re-read the live configuration now. One round trip; a failed read raises and changes nothing."""
        await self._live_config.refresh()

    async def flush(self) -> None:
        """Write deferred reinforcement now. One round trip per 500 memories, none if nothing waits."""
        await self._reinforcer.flush()

    async def ensure_config_refresh_started(self) -> None:
        """Start re-reading the live configuration if the constructor asked for it, and wait for the first read."""
        self._start_background_work()
        if self._refreshes_config:
            await self._live_config.wait_read()

    async def ensure_discovery_ready(self) -> None:
        """Wait until the store is announced to the Monitor, if the constructor asked for it."""
        self._start_background_work()
        if self._registration is not None:
            await asyncio.shield(self._registration)

    async def close(self) -> None:
        """Write what waits and stop background work. The client stays open; it is yours."""
        self._is_closed = True
        await self._live_config.stop()
        await self._reinforcer.close()
        self._watch.reinforcements(self._reinforcer.statistics())
        registration, self._registration = self._registration, None
        if self._discovery is not None and registration is not None:
            if registration.get_loop() is asyncio.get_running_loop():
                await asyncio.wait([registration])
            await self._discovery.stop(delete_heartbeat=True)

    def _start_background_work(self) -> None:
        """Begun with the first call that reaches a usable index: a constructor does no I/O."""
        if self._is_closed:
            return
        if self._refreshes_config:
            self._live_config.start()
        if self._discovery is not None and self._registration is None:
            self._registration = asyncio.get_running_loop().create_task(self._discovery.register())

    async def _recall(
        self, space: VectorSpace, vector: bytes, request: RecallRequest, span: Span
    ) -> builtins.list[MemoryHit]:
        rules = request.rules(self.current_config())
        found = await self._searcher.ask(
            space,
            lambda: nearest_in_scope(
                space.records,
                vector,
                wanted=request.wanted_candidates,
                needed=request.k,
                filter=request.filter,
                threshold=rules.threshold,
            ),
            NearestResult([]),
        )
        self._watch.refilled(found.refills)
        now_ms = self._clock() if request.now_ms is None else request.now_ms
        ranking = await off_loop(
            len(found.neighbours), lambda: rank(found.neighbours, k=request.k, rules=rules, now_ms=now_ms)
        )
        nearest = found.neighbours[0].distance if found.neighbours else None
        self._watch.recalled(span, ranking, nearest_distance=nearest, threshold=rules.threshold)
        if request.reinforce and ranking.hits:
            await self._reinforcer.reinforce([hit.item.id for hit in ranking.hits], now_ms)
            self._watch.reinforcements(self._reinforcer.statistics())
        return ranking.hits

    @property
    def _reserved_sources(self) -> tuple[str, str]:
        """Labels that consolidation gives its products."""
        return SUMMARY_SOURCE, self._fact_source

    async def _count_evicted(self, count: int) -> None:
        self._watch.evicted(count)
        await self._engine.values.increment(self._stats_key, EVICTIONS, count)

    def _warn_of_eviction(self, error: AgentMemoryError) -> None:
        self._watch.background_failed("eviction")
        _log.warning("a full scope of store %s could not be trimmed: %s", self.name, error)

    def _transfer_place(self) -> TransferPlace:
        return TransferPlace(
            name=self.name,
            records=self._records,
            values=self._engine.values,
            models=self._models,
            searcher=self._searcher,
            keep_in_step=self._follower.follow,
        )

    def _workshop(self) -> Workshop:
        return Workshop(
            name=self.name,
            records=self._records,
            values=self._engine.values,
            leases=self._engine.leases,
            watch=self._watch,
            clock=self._clock,
            new_id=self._new_id,
            searched=self._searched_records,
            write=self._write_products,
            keep_in_step=self._changed,
            make_room=lambda filter: self._capacity.make_room([filter]),
            protecting=self._capacity.protecting,
            fact_source=self._fact_source,
            fact_importance=self._fact_importance,
            max_content_bytes=self._max_content_bytes,
        )

    async def _searched_records(self) -> SearchedRecords | None:
        async def search(space: VectorSpace) -> VectorSpace | None:
            if await space.index.find(space.embedder.dimensions) is None and space.embedder.is_there:
                # Memories may be there without an index: made now, it finds them.
                await space.index.ensure(await space.embedder.probe())
            return await self._searcher.ask(space, lambda: _itself(space), None)

        space = await self._searcher.within(lookup_space, search)
        return None if space is None else space.records

    async def _write_products(
        self, memories: Sequence[NewMemory], *, ttl_seconds: int | None = None, expires_at_ms: int | None = None
    ) -> None:
        layout = await self._models.layout()
        self._start_background_work()
        await self._writer.write_made(memories, layout, ttl_seconds=ttl_seconds, expires_at_ms=expires_at_ms)
        self._watch.stored(len(memories))

    async def _changed(self, ids: Sequence[str]) -> None:
        await self._follower.follow((await self._models.layout()).generation, ids)

    def _make_discovery(self, config: bool | MemoryDiscoveryConfig) -> MemoryDiscovery | None:
        if config is False:
            return None
        settings = checked_discovery(config)
        interval_ms = settings.heartbeat_interval_ms
        return MemoryDiscovery(
            client=self._engine,
            name=self.name,
            version=settings.version or package_version(),
            stats_key=self._stats_key,
            heartbeat_interval_s=None if interval_ms is None else interval_ms / 1000,
            on_write_failed=lambda: self._watch.background_failed("discovery"),
        )


def _newest_first(rows: Sequence[Row]) -> tuple[list[MemoryItem], int]:
    """The memories in these rows, and how many records or fields could not be read."""
    items, unreadable = _decoded([row.id for row in rows], [row.fields for row in rows])
    found = [item for item in items if item is not None]
    found.sort(key=lambda item: (-item.created_at, item.id))
    return found, unreadable


def _decoded(ids: Sequence[str], rows: Sequence[Fields | None]) -> tuple[list[MemoryItem | None], int]:
    """The memories, None where there is none, and how many records or fields could not be read."""
    decoded = [(None, 0) if row is None else record.decode_memory(id, row) for id, row in zip(ids, rows, strict=True)]
    return [item for item, _ in decoded], sum(unreadable for _, unreadable in decoded)


async def _itself(space: VectorSpace) -> VectorSpace | None:
    return space


def _checked_ids(ids: object) -> list[str]:
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InvalidInputError(f"ids must be a list of ids, got {type(ids).__name__}: {ids!r:.80}")
    return [record.checked_id(id) for id in ids]
