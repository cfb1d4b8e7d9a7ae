"""MemoryStore: what an agent remembers, on one engine under one name."""

from __future__ import annotations

import asyncio
import builtins
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from opentelemetry.trace import Span

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.clock import Clock, system_clock
from betterdb_agent_memory.discovery import MemoryDiscovery
from betterdb_agent_memory.embedders.base import Embedder, EmbedFn, VectorLike
from betterdb_agent_memory.embedders.function import DEFAULT_THRESHOLD, as_embedder
from betterdb_agent_memory.engines import engine_for
from betterdb_agent_memory.engines.base import Engine, Page, RecordWrite, Row
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.errors import AgentMemoryError, IndexMissingError, InvalidInputError
from betterdb_agent_memory.live_config import LiveConfig, MemoryConfigSnapshot
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.candidates import NearestResult, nearest_in_scope
from betterdb_agent_memory.memory.capacity import Capacity
from betterdb_agent_memory.memory.embedding import CheckedEmbedder, given_vector
from betterdb_agent_memory.memory.forgetting import forget_matching
from betterdb_agent_memory.memory.index import MemoryIndex
from betterdb_agent_memory.memory.listing import list_matching
from betterdb_agent_memory.memory.ranking import MemoryHit, rank
from betterdb_agent_memory.memory.record import MemoryItem, NewMemory
from betterdb_agent_memory.memory.reinforcement import reinforcer_for
from betterdb_agent_memory.memory.requests import ListRequest, MemoryListOptions, RecallRequest, exact_filter
from betterdb_agent_memory.memory.results import MemoryListResult, MemoryStats
from betterdb_agent_memory.memory.scope import MemoryScope, checked_scope, checked_tags, optional_text, require_text
from betterdb_agent_memory.memory.settings import (
    base_config,
    checked_callable,
    checked_discovery,
    checked_name,
    checked_type,
    refresh_interval_seconds,
)
from betterdb_agent_memory.memory.watch import StoreWatch
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
_T = TypeVar("_T")


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
    are touched: "immediate" (before recall returns) or "deferred". `consolidation` is checked, and
    means nothing until this release has `consolidate`. `analytics` is accepted as published and
    means nothing: no usage data is collected, whatever its value.

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
        self._index = MemoryIndex(self._records, collection.index_name)
        self._watch = StoreWatch(name, checked_type("telemetry", telemetry, MemoryTelemetryOptions))
        embedder = None if embed_fn is None else as_embedder(embed_fn)
        self._embedder = CheckedEmbedder(embedder, on_call=self._watch.embedding_called)
        self._capacity = Capacity(self._records, on_unreadable=self._watch.unreadable)
        self._reinforcer = reinforcer_for(
            reinforcement, self._records, on_failure=lambda: self._watch.background_failed("reinforcement")
        )
        checked_type("consolidation", consolidation, ConsolidationConfig)
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
        if await self._index.find(self._embedder.dimensions, look=True) is None or self._embedder.is_there:
            await self._index.ensure(await self._embedder.probe())
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
    ) -> str:
        """Store a memory and return its id.

        `importance` is 0 to 1 (default 0.5); `tags` hold no comma; `ttl` is whole seconds or a
        timedelta, None or 0 for ever. The scope is said by keywords or by `scope=`. `subject` and
        `date` label facts. One round trip, with its expiry in the same atomic step; with a
        capacity limit one more to count.

        Raises:
            InvalidInputError: something is refused, before the embedder was called.
            EmbeddingError: the embedder failed; nothing was written.
            EngineUnavailableError: no connection; nothing was written.
            OutcomeUnknownError: the connection broke meanwhile; the memory is there whole or not at
                all. `error.ids` holds its id, to look it up with `get`.
        """
        memory = self._new_memory(
            content, importance, tags, source, subject, date, checked_scope(scope, thread_id, agent_id, namespace)
        )
        ttl_seconds = record.checked_ttl_seconds(ttl)
        filter = exact_filter(None, memory.thread_id, memory.agent_id, memory.namespace, memory.tags)
        with self._watch.remembering(memory.importance, ttl_seconds), self._capacity.protecting(memory.id):
            dimensions = await self._index.find(self._embedder.dimensions)
            vector = await self._embedder.embed_document(memory.content, dimensions)
            await self._index.ensure(len(vector) // 4)
            self._start_background_work()
            write = RecordWrite(memory.id, record.encode_memory(memory, vector), ttl_seconds)
            await self._records.write_many([write])
            await self._make_room(filter, memory.created_at_ms)
        return memory.id

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
        now: int | None = None,
    ) -> builtins.list[MemoryHit]:
        """Return the `k` memories that matter most for `query`, best first.

        Only memories whose scope values equal the ones given, byte for byte, and that carry all
        `tags`; what is not given is not asked about. `k` is 8 by default, at most 2,500; `threshold`
        and `weights` override the configuration; `reinforce=False` leaves the hits untouched;
        `now` (ms) replaces the clock. One round trip, and one more for immediate reinforcement;
        more only if the index returned other scopes' memories.

        Raises:
            InvalidInputError: something is refused, before the embedder was called.
            EmbeddingError: the embedder failed.
            EngineError: the server said no, or did not answer in time.
        """
        self._require_content("query", query)
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, subject)
        request = RecallRequest.validated(filter, k, threshold, weights, reinforce, now)
        with self._watch.recalling(request.k) as span:
            self._embedder.require("recall by text")
            dimensions = await self._index.find(self._embedder.dimensions)
            vector = await self._embedder.embed_query(query, dimensions)
            await self._index.ensure(len(vector) // 4)
            return await self._recall(vector, request, span)

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
        now: int | None = None,
    ) -> builtins.list[MemoryHit]:
        """`recall` for a vector that you have already: no embedder is needed. The same otherwise.

        Raises:
            InvalidInputError: also for a vector that is empty, not finite, all zero, or of another
                length than the stored ones.
        """
        given_vector(vector, None)
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, subject)
        request = RecallRequest.validated(filter, k, threshold, weights, reinforce, now)
        with self._watch.recalling(request.k) as span:
            dimensions = await self._index.find(self._embedder.dimensions)
            return await self._recall(given_vector(vector, dimensions or self._embedder.dimensions), request, span)

    async def get(self, id: str) -> MemoryItem | None:
        """The memory with this id, or None. One round trip; the vector is not read."""
        [fields] = await self._records.read_many([record.checked_id(id)], record.ITEM_FIELDS)
        if fields is None:
            return None
        item, unreadable = record.decode_memory(id, fields)
        self._watch.unreadable(unreadable)
        return item

    async def list(self, options: MemoryListOptions | None = None) -> MemoryListResult:
        """A page of memories, newest first, and the exact total of the scope.

        One round trip, with a scope a second one beside it. Before anything was stored the page is empty.
        Without a scope the total is the server's, which may still count memories that have just expired.
        """
        request = ListRequest.validated(options or MemoryListOptions())
        page = await self._searching(lambda: list_matching(self._records, request), Page((), 0, 0))
        items, unreadable = await off_loop(len(page.rows), _newest_first, page.rows)
        self._watch.unreadable(unreadable)
        return MemoryListResult(items, page.total)

    async def forget(self, id: str) -> bool:
        """Delete one memory; true when there was one. One round trip."""
        [existed] = await self._records.delete_many([record.checked_id(id)])
        self._watch.forgotten(int(existed))
        return existed

    async def forget_by_scope(
        self,
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        tags: Sequence[str] | None = None,
        scope: MemoryScope | None = None,
    ) -> int:
        """Delete every memory of exactly this scope with all these tags; returns how many.

        Two round trips per 500.

        Raises:
            InvalidInputError: nothing was given; that would be the whole store.
            IndexNotReadyError: the index is being rebuilt, so some would be missed; nothing was deleted.
            ConfigurationError: there is no index, and no embedder to make one with.
            EngineError: with a note saying how many had been deleted before it.
        """
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags)
        if not filter.clauses:
            raise InvalidInputError(
                "forget_by_scope needs at least one of thread_id, agent_id, namespace or tags; without one it would "
                "delete the whole store"
            )
        if await self._index.find(self._embedder.dimensions) is None:
            # Memories may be there without an index: made now, it finds them.
            await self._index.ensure(await self._embedder.probe())
        deleted = await self._searching(lambda: forget_matching(self._records, filter), 0)
        self._watch.forgotten(deleted)
        return deleted

    async def stats(self) -> MemoryStats:
        """Counts and health of the store; before anything was stored the counts are 0. Three round trips."""
        count = await self._searching(lambda: self._records.count(Filter()), 0, even_incomplete=True)
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

    async def _recall(self, vector: bytes, request: RecallRequest, span: Span) -> builtins.list[MemoryHit]:
        rules = request.rules(self.current_config())
        found = await self._searching(
            lambda: nearest_in_scope(
                self._records,
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

    def _new_memory(
        self,
        content: object,
        importance: object,
        tags: Sequence[str] | None,
        source: object,
        subject: object,
        date: object,
        scope: MemoryScope,
    ) -> NewMemory:
        return NewMemory(
            id=record.checked_id(self._new_id()),
            content=self._require_content("content", content),
            importance=record.checked_importance(importance),
            created_at_ms=self._clock(),
            tags=checked_tags(tags),
            thread_id=scope.thread_id,
            agent_id=scope.agent_id,
            namespace=scope.namespace,
            source=record.checked_label("source", optional_text("source", source)),
            subject=record.checked_label("subject", optional_text("subject", subject)),
            date=record.checked_label("date", optional_text("date", date)),
        )

    def _require_content(self, name: str, text: object) -> str:
        content = require_text(name, text)
        size = len(content.encode())
        if size > self._max_content_bytes:
            raise InvalidInputError(
                f"{name} has {size:,} bytes, the store accepts {self._max_content_bytes:,}; split it into several "
                "memories, or raise max_content_bytes"
            )
        return content

    async def _make_room(self, filter: Filter, now_ms: int) -> None:
        """Evict what a scope holds above its limit. Best effort: the memory is stored by then."""
        config = self.current_config()
        if config.max_items_per_scope is None or not filter.clauses:
            return
        try:
            limit = config.max_items_per_scope
            evicted = await self._searching(
                lambda: self._capacity.sweep(
                    filter,
                    limit=limit,
                    now_ms=now_ms,
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

    async def _searching(
        self, search: Callable[[], Awaitable[_T]], nothing: _T, *, even_incomplete: bool = False
    ) -> _T:
        """The search's answer, from a complete index; `nothing` while there is none and none can be made.

        An index that is missing is made if its dimension is known, a lost one is made again once.
        """
        dimensions = self._embedder.dimensions or self._index.last_dimensions
        if await self._index.find(self._embedder.dimensions) is None:
            if dimensions is None:
                return nothing
            await self._index.ensure(dimensions)
        self._start_background_work()
        try:
            return await self._ask_index(search, even_incomplete)
        except IndexMissingError:
            await self._index.recreate()
            return await self._ask_index(search, even_incomplete)

    async def _ask_index(self, search: Callable[[], Awaitable[_T]], even_incomplete: bool) -> _T:
        if not even_incomplete:
            await self._index.wait_complete()
        return await search()

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
    decoded = [record.decode_memory(row.id, row.fields) for row in rows]
    items = [item for item, _ in decoded if item is not None]
    items.sort(key=lambda item: (-item.created_at, item.id))
    return items, sum(unreadable for _, unreadable in decoded)
