"""What a store is made of, wired together, and the work in its background."""

from __future__ import annotations

import asyncio
import builtins
import logging
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.clock import Clock, system_clock
from betterdb_agent_memory.discovery import MemoryDiscovery
from betterdb_agent_memory.embedders import CoalescingEmbedder, coalesced
from betterdb_agent_memory.embedders.base import Embedder, EmbedFn
from betterdb_agent_memory.embedders.function import DEFAULT_THRESHOLD, as_embedder
from betterdb_agent_memory.engines import engine_for
from betterdb_agent_memory.engines.base import Counter, Engine, LinkedRecords, Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import AgentMemoryError
from betterdb_agent_memory.live_config import LiveConfig, MemoryConfigSnapshot
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.appending import Appender
from betterdb_agent_memory.memory.capacity import Capacity
from betterdb_agent_memory.memory.changes.feed import Feed
from betterdb_agent_memory.memory.consolidation.kinds import SUMMARY_SOURCE
from betterdb_agent_memory.memory.consolidation.request import checked_consolidation
from betterdb_agent_memory.memory.conversations import Conversations
from betterdb_agent_memory.memory.correction.archiving import Archiver
from betterdb_agent_memory.memory.correction.believing import Believing
from betterdb_agent_memory.memory.correction.contradicting import Contradictor
from betterdb_agent_memory.memory.correction.correcting import Corrector
from betterdb_agent_memory.memory.correction.history import History
from betterdb_agent_memory.memory.correction.shelf import Shelf
from betterdb_agent_memory.memory.embedding import CheckedEmbedder
from betterdb_agent_memory.memory.evicting import Evictor
from betterdb_agent_memory.memory.generations.following import Follower
from betterdb_agent_memory.memory.generations.layout import Models, state_key
from betterdb_agent_memory.memory.linking import Linker
from betterdb_agent_memory.memory.mending import Mender
from betterdb_agent_memory.memory.near.recalls import NearRecalls
from betterdb_agent_memory.memory.pinning import Pinner
from betterdb_agent_memory.memory.reaches import Reaches
from betterdb_agent_memory.memory.recalling.linked import Expander
from betterdb_agent_memory.memory.recalling.recaller import Recaller
from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.memory.reinforcement import reinforcer_for
from betterdb_agent_memory.memory.remembering import Remembering
from betterdb_agent_memory.memory.scope_counts import ScopeCounts
from betterdb_agent_memory.memory.scoring.choice import (
    COMPOSITE,
    DEFAULT_SCORING_PARAMETERS,
    ScoringChoice,
    ScoringParameters,
    configured_scoring,
)
from betterdb_agent_memory.memory.searching import Searcher
from betterdb_agent_memory.memory.sessions import Sessions
from betterdb_agent_memory.memory.settings import (
    base_config,
    checked_callable,
    checked_discovery,
    checked_feed,
    checked_near,
    checked_switch,
    checked_type,
    refresh_interval_seconds,
    wants_live_updates,
)
from betterdb_agent_memory.memory.spaces import VectorSpace
from betterdb_agent_memory.memory.unmixed import Unmixed
from betterdb_agent_memory.memory.updating import Updater
from betterdb_agent_memory.memory.watch import StoreWatch
from betterdb_agent_memory.memory.words.analysis import Analyzer
from betterdb_agent_memory.memory.writing import Writer
from betterdb_agent_memory.options import (
    DEFAULT_EXACT_BUDGET,
    DEFAULT_LANGUAGE,
    DEFAULT_MAX_CONTENT_BYTES,
    DEFAULT_RERANK_DEPTH,
    DEFAULT_SUPERSEDED_TTL,
    MAX_RERANK_DEPTH,
    MAX_SUPERSEDED_TTL,
    ChangeFeedOptions,
    ConsolidationConfig,
    HybridOptions,
    MemoryConfigRefreshConfig,
    MemoryDiscoveryConfig,
    MemoryStoreClient,
    MemoryTelemetryOptions,
    NearCacheOptions,
    RecallWeights,
    Reinforcement,
    Retrieval,
    checked_name,
    count_of_at_least_one,
    count_up_to,
)
from betterdb_agent_memory.rerankers import CheckedReranker, Reranker, RerankFn, as_reranker
from betterdb_agent_memory.version import package_version

EVICTIONS = "evictions"
_log = logging.getLogger(__name__)


def random_id() -> str:
    """A random version 4 UUID, lower case: the contract's id."""
    return str(uuid.uuid4())


class StoreParts:
    """The parts of one store; the verbs of `MemoryStore` are built on them."""

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
        limit_by_tags: bool = False,
        discovery: bool | MemoryDiscoveryConfig = False,
        config_refresh: bool | MemoryConfigRefreshConfig | None = None,
        consolidation: ConsolidationConfig | None = None,
        telemetry: MemoryTelemetryOptions | None = None,
        analytics: bool = True,
        reinforcement: Reinforcement = "immediate",
        recent_accesses: bool = False,
        retrieval: Retrieval = "vector",
        scoring: ScoringChoice = COMPOSITE,
        scoring_parameters: ScoringParameters | None = None,
        hybrid: HybridOptions | None = None,
        language: str = DEFAULT_LANGUAGE,
        exact: bool = False,
        exact_budget: int = DEFAULT_EXACT_BUDGET,
        diversity: float | None = None,
        reranker: Reranker | RerankFn | None = None,
        rerank_depth: int = DEFAULT_RERANK_DEPTH,
        max_content_bytes: int = DEFAULT_MAX_CONTENT_BYTES,
        change_feed: bool | ChangeFeedOptions = False,
        near_cache: bool | NearCacheOptions = False,
        link_recalled: bool = False,
        superseded_ttl: int | None = DEFAULT_SUPERSEDED_TTL,
        clock: Clock = system_clock,
        new_id: Callable[[], str] = random_id,
        on_use: Callable[[], None] | None = None,
    ) -> None:
        del analytics
        self.name = name = checked_name(name)
        self._engine = engine_for(client)
        self._owns_engine = self._engine is not client
        self._stats_key = f"{name}:__mem_stats"
        by_tags = checked_switch("limit_by_tags", limit_by_tags)
        collection = record.memory_collection(name, by_tags=by_tags)
        self._counts_key = collection.counts_key or ""
        self._counts = ScopeCounts(lambda: self._live_config.current.max_items_per_scope)
        self._feed = Feed(
            self._engine, name, note_key=state_key(name), options=checked_feed(change_feed), sample=random.random
        )
        stored = self._engine.records(collection, self._counts, self._feed)
        self._watch = StoreWatch(name, checked_type("telemetry", telemetry, MemoryTelemetryOptions))
        self._near = self._make_near(near_cache, stored)
        self._records = stored if self._near is None else self._near.records
        self._watch.export_traffic(self._engine)
        embedder = None if embed_fn is None else coalesced(as_embedder(embed_fn))
        next_embedder = None if next_embed_fn is None else coalesced(as_embedder(next_embed_fn))
        self._own_wrappers = [
            made
            for made, given in ((embedder, embed_fn), (next_embedder, next_embed_fn))
            if isinstance(made, CoalescingEmbedder) and made is not given
        ]
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
            on_state=self._feed.note_read,
        )
        self._searcher = Searcher(self._models, on_use=self._start_background_work, on_unindexed=self._watch.unindexed)
        self._follower = Follower(name, on_failure=lambda: self._watch.background_failed("generation"))
        self._analyzer = Analyzer(language)
        self._writer = Writer(self._records, self._follower, stored_words=self._analyzer.stored)
        self._mender = Mender(
            self._records,
            self._models,
            self._follower,
            Unmixed(self._engine.values, name),
            on_failure=lambda: self._watch.background_failed("window"),
        )
        self._sessions = Sessions(self._engine.values, self._records, name)
        self._updater = Updater(
            self._records,
            self._models,
            self._follower,
            self._mender,
            stored_words=self._analyzer.stored,
            get=self._read_one,
        )
        self._pinner = Pinner(self._records, self._models, self._follower)
        keeps_times = checked_switch("recent_accesses", recent_accesses)
        self._reinforcer = reinforcer_for(
            # Not told to the near-cache: that a memory was recalled is no reason to recall it again.
            reinforcement,
            stored,
            on_failure=lambda: self._watch.background_failed("reinforcement"),
            keeps_times=keeps_times,
        )
        self._fact_source, self._fact_importance = checked_consolidation(
            checked_type("consolidation", consolidation, ConsolidationConfig) or ConsolidationConfig()
        )
        self._max_content_bytes = count_of_at_least_one("max_content_bytes", max_content_bytes)
        self._recaller = Recaller(
            self._analyzer,
            reranker=None if reranker is None else CheckedReranker(as_reranker(reranker)),
            rerank_depth=count_up_to("rerank_depth", rerank_depth, MAX_RERANK_DEPTH),
            exact_budget=count_of_at_least_one("exact_budget", exact_budget),
        )
        self._clock = checked_callable("clock", clock)
        self._linker = Linker(self._engine.links(LinkedRecords.of(collection)), self._records, self._clock)
        self._expander = Expander(self._linker)
        self._links_recalled = bool(checked_type("link_recalled", link_recalled, bool))
        self._new_id = checked_callable("new_id", new_id)
        self._on_use = on_use
        self._shelf = Shelf(
            self._engine,
            name,
            retention_seconds=(
                None if superseded_ttl is None else count_up_to("superseded_ttl", superseded_ttl, MAX_SUPERSEDED_TTL)
            ),
        )
        self._corrector = Corrector(
            self._records,
            self._shelf,
            self._models,
            self._follower,
            self._mender,
            self._linker,
            clock=self._clock,
            new_id=self._new_id,
            stored_words=self._analyzer.stored,
        )
        self._contradictor = Contradictor(self._records, self._corrector.living, self._models, self._follower)
        self._believing = Believing(self._shelf)
        self._history = History(self._records, self._shelf, finish=self._corrector.finish)
        self._capacity = Capacity(
            Evictor(
                self._records,
                self._engine.leases,
                self._searcher,
                Reaches(self._engine.values, self._counts_key),
                name=name,
                counter=Counter(self._stats_key, EVICTIONS),
                on_unreadable=self._watch.unreadable,
                by_tags=by_tags,
            ),
            self._counts,
            config=self.current_config,
            clock=self._clock,
            sizes_kept=self._records.group_sizes,
            on_evicted=self._watch.evicted,
            on_failure=self._warn_of_eviction,
            by_tags=by_tags,
        )
        self._archiver = Archiver(
            self._records,
            self._shelf,
            self._models,
            self._follower,
            self._mender,
            self._linker,
            clock=self._clock,
            make_room=self._capacity.make_room_for,
        )
        self._remembering = Remembering(
            self._models,
            self._writer,
            self._capacity,
            self._watch,
            self._contradictor,
            clock=self._clock,
            new_id=self._new_id,
            max_content_bytes=self._max_content_bytes,
            reserved_sources=self._reserved_sources,
            stored_words=self._analyzer.stored,
            on_use=self._start_background_work,
            keeps_times=keeps_times,
        )
        self._conversations = Conversations(
            self._remembering,
            Appender(
                self._records,
                self._models,
                self._writer,
                self._sessions,
                self._mender,
                on_failure=lambda: self._watch.background_failed("window"),
            ),
        )
        self._states_threshold = default_threshold is not None
        self._scoring = configured_scoring(scoring)
        self._scoring_parameters = (
            checked_type("scoring_parameters", scoring_parameters, ScoringParameters) or DEFAULT_SCORING_PARAMETERS
        )
        interval_seconds = refresh_interval_seconds(config_refresh)
        self._refreshes_config = interval_seconds is not None
        self._live_config = LiveConfig(
            self._engine,
            name,
            base_config(
                threshold=default_threshold,
                embedder_threshold=embedder.default_threshold if embedder else DEFAULT_THRESHOLD,
                weights=weights,
                half_life_seconds=half_life_seconds,
                max_items_per_scope=max_items_per_scope,
                retrieval=retrieval,
                hybrid=hybrid,
                exact=exact,
                diversity=diversity,
                scoring=self._scoring if isinstance(self._scoring, str) else None,
            ),
            interval_seconds=interval_seconds or 30.0,
            watched=wants_live_updates(config_refresh),
            follows=interval_seconds is not None,
            on_failure=lambda: self._watch.background_failed("config_refresh"),
            on_ignored=self._watch.config_ignored,
        )
        self._discovery = self._make_discovery(discovery)
        self._registration: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def live_config(self) -> LiveConfig:
        """The configuration that operators change; what `AgentMemory.config` writes, it reads."""
        return self._live_config

    def current_config(self) -> MemoryConfigSnapshot:
        """The configuration in force. No round trip."""
        return self._live_config.current

    def _config_for(self, space: VectorSpace) -> MemoryConfigSnapshot:
        """The configuration for a recall in this space: a threshold that nobody has set is the model's own."""
        config = self.current_config()
        own = self._embedder.default_threshold
        if space.embedder is self._embedder or self._states_threshold or config.threshold != own:
            return config
        return replace(config, threshold=space.embedder.default_threshold)

    def _start_background_work(self) -> None:
        """Begun with the first call that reaches a usable index: a constructor does no I/O."""
        if self._is_closed:
            return
        if self._on_use is not None:
            self._on_use()
        if self._refreshes_config:
            self._live_config.start()
        if self._refreshes_config or self._capacity.limit is not None:
            self._capacity.start()
        if self._discovery is not None and self._registration is None:
            self._registration = asyncio.get_running_loop().create_task(self._discovery.register())

    def _make_near(self, config: bool | NearCacheOptions, stored: Records) -> NearRecalls | None:
        options = checked_near(config)
        if options is None:
            return None
        return NearRecalls(
            options,
            stored,
            store=self.name,
            feed=self._feed,
            on_failure=lambda: self._watch.background_failed("near_cache"),
            on_dropped=self._watch.near_dropped,
        )

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

    @property
    def _reserved_sources(self) -> tuple[str, str]:
        """Labels that consolidation gives its products."""
        return SUMMARY_SOURCE, self._fact_source

    def _warn_of_eviction(self, error: AgentMemoryError) -> None:
        self._watch.background_failed("eviction")
        _log.warning("a full scope of store %s could not be trimmed: %s", self.name, error)

    async def _read_one(self, id: str) -> MemoryItem | None:
        [item] = await self._read([id])
        return item

    async def _read(self, ids: Sequence[str]) -> builtins.list[MemoryItem | None]:
        rows = await self._records.read_many(ids, record.ITEM_FIELDS)
        return await self._decode(ids, rows)

    async def _decode(self, ids: Sequence[str], rows: Sequence[Fields | None]) -> builtins.list[MemoryItem | None]:
        """The memories in these rows, None where there is none; what cannot be read is counted."""
        items, unreadable = await off_loop(len(rows), _decoded, ids, rows)
        self._watch.unreadable(unreadable)
        return items


def _decoded(ids: Sequence[str], rows: Sequence[Fields | None]) -> tuple[list[MemoryItem | None], int]:
    """The memories, None where there is none, and how many records or fields could not be read."""
    decoded = [(None, 0) if row is None else record.decode_memory(id, row) for id, row in zip(ids, rows, strict=True)]
    return [item for item, _ in decoded], sum(unreadable for _, unreadable in decoded)
