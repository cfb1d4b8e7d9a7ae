"""MemoryStore: what an agent remembers, on one engine under one name."""

from __future__ import annotations

import asyncio
import builtins
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from opentelemetry.trace import Span

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.clock import Clock, system_clock
from betterdb_agent_memory.discovery import MemoryDiscovery
from betterdb_agent_memory.embedders.base import Embedder, EmbedFn, VectorLike
from betterdb_agent_memory.embedders.function import DEFAULT_THRESHOLD, as_embedder
from betterdb_agent_memory.engines import engine_for
from betterdb_agent_memory.engines.base import Engine, Outcome, Page, Row
from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    EmbeddingError,
    EngineError,
    InvalidInputError,
    MemoryNotFoundError,
    VersionConflictError,
)
from betterdb_agent_memory.live_config import LiveConfig, MemoryConfigSnapshot
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.candidates import NearestResult, nearest_in_scope
from betterdb_agent_memory.memory.capacity import Capacity
from betterdb_agent_memory.memory.drafts import (
    MemoryDraft,
    OnDuplicate,
    PreparedMemory,
    RememberResult,
    as_draft,
    checked_content,
    checked_on_duplicate,
    prepare,
)
from betterdb_agent_memory.memory.embedding import CheckedEmbedder, given_vector
from betterdb_agent_memory.memory.forgetting import forget_matching
from betterdb_agent_memory.memory.generations.generation import Generation
from betterdb_agent_memory.memory.generations.layout import Layout, Models
from betterdb_agent_memory.memory.generations.migration import EmbeddingMigration
from betterdb_agent_memory.memory.listing import list_matching
from betterdb_agent_memory.memory.progress import Progress, ProgressFn
from betterdb_agent_memory.memory.ranking import MemoryHit, rank
from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.memory.reinforcement import reinforcer_for
from betterdb_agent_memory.memory.requests import (
    MAX_LIST_LIMIT,
    ListRequest,
    MemoryListOptions,
    RecallRequest,
    checked_integer,
    exact_filter,
)
from betterdb_agent_memory.memory.results import MemoryListResult, MemoryStats, ReindexResult
from betterdb_agent_memory.memory.scope import MemoryScope, checked_scope
from betterdb_agent_memory.memory.searching import Searcher, lookup_space, recall_space
from betterdb_agent_memory.memory.settings import (
    base_config,
    checked_callable,
    checked_discovery,
    checked_name,
    checked_type,
    refresh_interval_seconds,
)
from betterdb_agent_memory.memory.spaces import VectorSpace
from betterdb_agent_memory.memory.updating import KEEP, Keep, Update
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
SUMMARY_SOURCE = "summary"
DEFAULT_FACT_SOURCE = "fact"
_BATCH = 500
_UPDATE_ATTEMPTS = 5
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
        self._writer = Writer(self._records, keep_in_step=self._keep_in_step)
        self._capacity = Capacity(on_unreadable=self._watch.unreadable)
        self._reinforcer = reinforcer_for(
            reinforcement, self._records, on_failure=lambda: self._watch.background_failed("reinforcement")
        )
        self._consolidation = checked_type("consolidation", consolidation, ConsolidationConfig) or ConsolidationConfig()
        self._max_content_bytes = count_of_at_least_one("max_content_bytes", max_content_bytes)
        self._clock = checked_callable("clock", clock)
        self._new_id = checked_callable("new_id", new_id)
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
        prepared = self._prepared(draft, checked_on_duplicate(on_duplicate), said)
        with (
            self._watch.remembering(prepared.memory.importance, prepared.ttl_seconds) as stored,
            self._capacity.protecting([prepared.memory.id]),
        ):
            layout = await self._writable_layout()
            [result] = await self._writer.write([prepared], layout)
            if result.error is not None:
                raise result.error
            if result.outcome == "stored":
                stored()
                await self._make_room(prepared)
        return result.id or prepared.memory.id

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
        given = [*memories]
        results: builtins.list[RememberResult] = []
        failure: AgentMemoryError | None = None
        for start in range(0, len(given), _BATCH):
            batch = given[start : start + _BATCH]
            prepared = await off_loop(len(batch), self._prepared_or_rejected, batch, on_duplicate, said)
            written, failure = await self._written(prepared, failure)
            results += written
            if on_progress is not None:
                on_progress(Progress("remembering", len(results), len(given)))
        return results

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
        layout = await self._models.layout()
        for _ in range(_UPDATE_ATTEMPTS):
            outcome = await self._update_once(update, layout)
            item = await self.get(id)
            if outcome is Outcome.MISSING or item is None:
                raise MemoryNotFoundError(f"there is no memory {id!r}; it was forgotten, has expired, or never was")
            if outcome is Outcome.CHANGED:
                await self._keep_in_step(layout.generation, [id])
                return item
            if update.if_version is not None and item.version != update.if_version:
                raise VersionConflictError(
                    f"memory {id!r} has version {item.version}, not {update.if_version}: somebody has changed it since "
                    "you read it. Read it again and decide",
                    current=item.version,
                )
        raise VersionConflictError(f"memory {id!r} was changed by others {_UPDATE_ATTEMPTS} times meanwhile; try again")

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
        await self._keep_in_step(layout.generation, [id for id, was in zip(checked, existed, strict=True) if was])
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
        return SUMMARY_SOURCE, self._consolidation.fact_source or DEFAULT_FACT_SOURCE

    def _prepared(self, draft: MemoryDraft, on_duplicate: OnDuplicate, scope: MemoryScope) -> PreparedMemory:
        return prepare(
            draft,
            new_id=record.checked_id(self._new_id()),
            now_ms=self._clock(),
            on_duplicate=on_duplicate,
            max_content_bytes=self._max_content_bytes,
            reserved_sources=self._reserved_sources,
            scope=scope,
        )

    def _prepared_or_rejected(
        self, batch: Sequence[object], on_duplicate: OnDuplicate, scope: MemoryScope
    ) -> builtins.list[PreparedMemory | RememberResult]:
        prepared: builtins.list[PreparedMemory | RememberResult] = []
        for given in batch:
            try:
                prepared.append(self._prepared(as_draft(given), on_duplicate, scope))
            except InvalidInputError as error:
                prepared.append(RememberResult("rejected", None, error))
        return prepared

    async def _written(
        self, batch: Sequence[PreparedMemory | RememberResult], failure: AgentMemoryError | None
    ) -> tuple[builtins.list[RememberResult], AgentMemoryError | None]:
        """What became of a batch, and the failure that makes trying the next one pointless."""
        valid = [item for item in batch if isinstance(item, PreparedMemory)]
        results: builtins.list[RememberResult] = []
        if failure is None and valid:
            try:
                with self._watch.remembering_many(len(valid)), self._capacity.protecting([p.memory.id for p in valid]):
                    results = await self._writer.write(valid, await self._writable_layout())
                await self._make_room(*(p for p, r in zip(valid, results, strict=True) if r.outcome == "stored"))
            except AgentMemoryError as error:
                failure = error
        if failure is not None and not results:
            results = [item.rejected(failure) for item in valid]
        self._watch.stored(sum(result.outcome == "stored" for result in results))
        outcomes = iter(results)
        answered = [next(outcomes) if isinstance(item, PreparedMemory) else item for item in batch]
        return answered, failure or _hopeless(results)

    async def _writable_layout(self) -> Layout:
        layout = await self._models.layout()
        layout.main.embedder.require("remember")
        self._start_background_work()
        return layout

    async def _update_once(self, update: Update, layout: Layout) -> Outcome:
        vector: bytes | None = None
        expected: dict[str, bytes | None] = {}
        if update.content is not None:
            [stored] = await self._records.read_many([update.id], (record.CONTENT,))
            if stored is None:
                return Outcome.MISSING
            if stored[record.CONTENT] == update.content.encode():
                expected = {record.CONTENT: stored[record.CONTENT]}
            else:
                space = layout.main
                dimensions = await space.index.find(space.embedder.dimensions)
                vector = await space.embedder.embed_document(update.content, dimensions)
        [outcome] = await self._records.change_many([update.change(vector=vector, expected=expected)])
        return outcome

    async def _keep_in_step(self, generation: Generation | None, ids: Sequence[str]) -> None:
        """The next model's vectors of these memories. Best effort: a later `migration.run()` makes up for it."""
        if generation is None or not ids:
            return
        try:
            failed = (await generation.sync(ids)).failed
        except AgentMemoryError as error:
            failed = dict.fromkeys(ids, error)
        if failed:
            self._watch.background_failed("generation")
            _log.warning(
                "%d memories of store %s have no vector of the next model yet: %s",
                len(failed),
                self.name,
                next(iter(failed.values())),
            )

    async def _make_room(self, *written: PreparedMemory) -> None:
        """Evict what the scopes of these memories hold above their limit. Best effort: they are stored by then."""
        config = self.current_config()
        if config.max_items_per_scope is None:
            return
        for filter in dict.fromkeys(prepared.bucket for prepared in written):
            await self._trim(filter, config)

    async def _trim(self, filter: Filter, config: MemoryConfigSnapshot) -> None:
        limit = config.max_items_per_scope
        if limit is None or not filter.clauses:
            return
        try:
            evicted = await self._searcher.lookup(
                lambda space: self._capacity.sweep(
                    space.records,
                    filter,
                    limit=limit,
                    now_ms=self._clock(),
                    weights=config.weights,
                    half_life_seconds=config.half_life_seconds,
                ),
                0,
            )
            if evicted:
                self._watch.evicted(evicted)
                await self._engine.values.increment(self._stats_key, EVICTIONS, evicted)
        except AgentMemoryError as error:
            self._watch.background_failed("eviction")
            _log.warning("a full scope of store %s could not be trimmed: %s", self.name, error)

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


def _hopeless(results: Sequence[RememberResult]) -> AgentMemoryError | None:
    """The error that all of a batch ended with, where the next batch would end so, too."""
    errors = {id(result.error): result.error for result in results}
    [error] = errors.values() if len(errors) == 1 else [None]
    return error if isinstance(error, EmbeddingError | EngineError) and len(results) > 1 else None
