"""The asynchronous classes without `await`; written by scripts/generate_sync.py, not by hand."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory import (
    DEFAULT_COST_TABLE,
    DEFAULT_METRICS_PREFIX,
    DEFAULT_TRACER_NAME,
    KINDS,
    MATCH_ALL_MEMORY_QUERY,
    MEMORY_CACHE_TYPE,
    MEMORY_CAPABILITIES,
    PRESETS,
    AccessCount,
    Activation,
    ActivationParameters,
    AddOp,
    AgentCacheError,
    AgentCacheOptions,
    AgentCacheStats,
    AgentCacheUsageError,
    AgentMemoryConfig,
    AgentMemoryError,
    AgentMemoryRecallConfig,
    Analytics,
    AnalyticsOptions,
    AnsweredQuestion,
    AuthenticationFailedError,
    BinaryBlock,
    BinaryNormalizer,
    BinaryRef,
    BlockHints,
    CachedEmbedder,
    CacheOptions,
    Calibration,
    Candidates,
    CeilingRates,
    Chain,
    ChainParameters,
    Change,
    ChangeFeedOptions,
    ChangeFeedStatus,
    ChangeGroup,
    ChangeKind,
    ChangesMissedError,
    CoalescingEmbedder,
    Component,
    Composite,
    ConfidenceParameters,
    ConfigInForce,
    ConfigRefreshOptions,
    ConfigurationError,
    ConsolidateFactsResult,
    ConsolidateResult,
    ConsolidationConfig,
    ConsolidationError,
    ContentBlock,
    ContentUnavailableError,
    ConversationMessage,
    CountTokens,
    CreatedAt,
    DeferredReinforcement,
    DeletedTenant,
    DeleteOp,
    DiscoveryOptions,
    DynamicsHealth,
    DynamicsParameters,
    DynamicsStats,
    Embedder,
    EmbedderOverloadedError,
    EmbedderUnavailableError,
    EmbeddingCacheOptions,
    EmbeddingCacheStats,
    EmbeddingError,
    EmbedFn,
    EngineError,
    EngineUnavailableError,
    Entity,
    Explanation,
    ExportResult,
    Fact,
    FactExtractor,
    FactOp,
    FunctionEmbedder,
    FunctionReranker,
    GroupStats,
    HybridOptions,
    Id,
    Importance,
    ImportResult,
    IndexMismatchError,
    IndexMissingError,
    IndexNotReadyError,
    InvalidInputError,
    Kind,
    KindProfile,
    LanguageModel,
    LastAccessedAt,
    LeaseHeldError,
    LeaseLostError,
    Lesson,
    LineError,
    Link,
    LinkedBy,
    LlmAnswer,
    LlmCacheMessage,
    LlmCacheParams,
    LlmCacheResult,
    LlmStoreOptions,
    MaintenanceResult,
    MemoryConfigRefreshConfig,
    MemoryConfigSnapshot,
    MemoryContext,
    MemoryDiscovery,
    MemoryDiscoveryConfig,
    MemoryDraft,
    MemoryDynamics,
    MemoryExistsError,
    MemoryFilter,
    MemoryHit,
    MemoryItem,
    MemoryKind,
    MemoryListOptions,
    MemoryListResult,
    MemoryMetrics,
    MemoryNotFoundError,
    MemoryOptions,
    MemoryScope,
    MemoryStats,
    MemoryStoreClient,
    MemoryTelemetry,
    MemoryTelemetryOptions,
    MemoryVersion,
    MetricHealth,
    MigrationStatus,
    ModelCost,
    NearCacheOptions,
    NearCacheStatistics,
    NearMisses,
    NoopOp,
    NormalizerConfig,
    OccurredAt,
    OnDuplicate,
    OutcomeResult,
    OutcomeUnknownError,
    PartialBatchError,
    Patience,
    Pinned,
    Progress,
    ProgressFn,
    ReasoningBlock,
    RecallWeights,
    ReindexResult,
    Relevance,
    RememberResult,
    Replay,
    Reranker,
    RerankFn,
    RerankingError,
    Retrievability,
    Scored,
    ScoringModel,
    ScoringParameters,
    SearchModuleMissingError,
    SearchTimeoutError,
    Session,
    SessionStats,
    SettingInForce,
    Source,
    Speaker,
    Standing,
    Subject,
    SummarizeFn,
    SupersededError,
    Tag,
    TelemetryOptions,
    TenantLimitError,
    TenantLimits,
    TenantsOptions,
    TenantStatus,
    Term,
    TextBlock,
    TierDefaults,
    TierStats,
    ToolCacheResult,
    ToolCallBlock,
    ToolDefinition,
    ToolEffectivenessEntry,
    ToolPolicy,
    ToolResultBlock,
    ToolStats,
    ToolStoreOptions,
    UnmatchedTombstoneOp,
    UpdateOp,
    ValkeyCommandError,
    VersionConflictError,
    apply_ops,
    compose_normalizer,
    composite_score,
    create_memory_telemetry,
    default_normalizer,
    embedder_from_name,
    hash_base64,
    hash_bytes,
    hash_url,
    is_cached,
    passthrough,
    preset,
    recency_decay,
    reconcile,
    reranker_from_name,
    similarity_from_distance,
    subject_key,
)
from betterdb_agent_memory.agent_cache import AgentCache as AsyncAgentCache
from betterdb_agent_memory.agent_config import AgentConfig as AsyncAgentConfig
from betterdb_agent_memory.agent_memory import AgentMemory as AsyncAgentMemory
from betterdb_agent_memory.caches.embedding import EmbeddingCache as AsyncEmbeddingCache
from betterdb_agent_memory.caches.embedding import EmbeddingLookup
from betterdb_agent_memory.caches.llm import Call, KeyChoice, LlmParams, StoreOptions
from betterdb_agent_memory.caches.llm import LlmCache as AsyncLlmCache
from betterdb_agent_memory.caches.session import SessionCache as AsyncSessionCache
from betterdb_agent_memory.caches.single_flight import LEASE_SECONDS, WAIT_SECONDS
from betterdb_agent_memory.caches.tool import ToolCache as AsyncToolCache
from betterdb_agent_memory.clock import Clock, system_clock
from betterdb_agent_memory.dynamics.arguments import MAINTENANCE_LEASE_SECONDS
from betterdb_agent_memory.dynamics.dynamics import Dynamics as AsyncDynamics
from betterdb_agent_memory.dynamics.feedback import FeedbackDetector
from betterdb_agent_memory.dynamics.presets import Preset
from betterdb_agent_memory.dynamics.timeline import Timeline
from betterdb_agent_memory.embedders.base import VectorLike
from betterdb_agent_memory.embedders.cached import TextKind
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.memory.calibration import DEFAULT_FALSE_ACCEPT_RATE, DEFAULT_SAMPLE
from betterdb_agent_memory.memory.consolidation.facts import Undated
from betterdb_agent_memory.memory.consolidation.request import Mode
from betterdb_agent_memory.memory.generations.migration import DEFAULT_BATCH
from betterdb_agent_memory.memory.generations.migration import EmbeddingMigration as AsyncEmbeddingMigration
from betterdb_agent_memory.memory.linking import LINKED
from betterdb_agent_memory.memory.parts import random_id
from betterdb_agent_memory.memory.prompting import DEFAULT_HEADING
from betterdb_agent_memory.memory.scoring.choice import COMPOSITE, ScoringChoice
from betterdb_agent_memory.memory.store import MemoryStore as AsyncMemoryStore
from betterdb_agent_memory.memory.transfer.importing import OnExisting
from betterdb_agent_memory.memory.updating import KEEP, Keep
from betterdb_agent_memory.memory.verbs.changes import DEFAULT_TAKEOVER_SECONDS, DEFAULT_WAIT_SECONDS
from betterdb_agent_memory.memory.where import Moment, Where
from betterdb_agent_memory.options import (
    DEFAULT_EXACT_BUDGET,
    DEFAULT_LANGUAGE,
    DEFAULT_MAX_CONTENT_BYTES,
    DEFAULT_NAME,
    DEFAULT_RERANK_DEPTH,
    DEFAULT_SUPERSEDED_TTL,
    Reinforcement,
    Retrieval,
    Scoring,
)
from betterdb_agent_memory.options import AgentMemoryOptions as AsyncAgentMemoryOptions
from betterdb_agent_memory.options.caches import Client, Name, Tier, TtlSeconds
from betterdb_agent_memory.options.checks import Accepts, either
from betterdb_agent_memory.options.facade import _embedder
from betterdb_agent_memory.options.memory import Switch
from betterdb_agent_memory.options.near import Near
from betterdb_agent_memory.sync.bridge import Bridged, as_async, call, iterate, wait, with_async_functions
from betterdb_agent_memory.sync.decorating import SyncCacheTool
from betterdb_agent_memory.tenants.tenant import Tenant as AsyncTenant
from betterdb_agent_memory.tenants.tenants import Tenants as AsyncTenants

__all__ = [
    "DEFAULT_COST_TABLE",
    "DEFAULT_METRICS_PREFIX",
    "DEFAULT_TRACER_NAME",
    "KINDS",
    "MATCH_ALL_MEMORY_QUERY",
    "MEMORY_CACHE_TYPE",
    "MEMORY_CAPABILITIES",
    "PRESETS",
    "AccessCount",
    "Activation",
    "ActivationParameters",
    "AddOp",
    "AgentCache",
    "AgentCacheError",
    "AgentCacheOptions",
    "AgentCacheStats",
    "AgentCacheUsageError",
    "AgentConfig",
    "AgentMemory",
    "AgentMemoryConfig",
    "AgentMemoryError",
    "AgentMemoryOptions",
    "AgentMemoryRecallConfig",
    "Analytics",
    "AnalyticsOptions",
    "AnsweredQuestion",
    "AuthenticationFailedError",
    "BinaryBlock",
    "BinaryNormalizer",
    "BinaryRef",
    "BlockHints",
    "CacheOptions",
    "CachedEmbedder",
    "Calibration",
    "Candidates",
    "CeilingRates",
    "Chain",
    "ChainParameters",
    "Change",
    "ChangeFeedOptions",
    "ChangeFeedStatus",
    "ChangeGroup",
    "ChangeKind",
    "ChangesMissedError",
    "CoalescingEmbedder",
    "Component",
    "Composite",
    "ConfidenceParameters",
    "ConfigInForce",
    "ConfigRefreshOptions",
    "ConfigurationError",
    "ConsolidateFactsResult",
    "ConsolidateResult",
    "ConsolidationConfig",
    "ConsolidationError",
    "ContentBlock",
    "ContentUnavailableError",
    "ConversationMessage",
    "CountTokens",
    "CreatedAt",
    "DeferredReinforcement",
    "DeleteOp",
    "DeletedTenant",
    "DiscoveryOptions",
    "Dynamics",
    "DynamicsHealth",
    "DynamicsParameters",
    "DynamicsStats",
    "EmbedFn",
    "Embedder",
    "EmbedderOverloadedError",
    "EmbedderUnavailableError",
    "EmbeddingCache",
    "EmbeddingCacheOptions",
    "EmbeddingCacheStats",
    "EmbeddingError",
    "EmbeddingMigration",
    "EngineError",
    "EngineUnavailableError",
    "Entity",
    "Explanation",
    "ExportResult",
    "Fact",
    "FactExtractor",
    "FactOp",
    "FunctionEmbedder",
    "FunctionReranker",
    "GroupStats",
    "HybridOptions",
    "Id",
    "ImportResult",
    "Importance",
    "IndexMismatchError",
    "IndexMissingError",
    "IndexNotReadyError",
    "InvalidInputError",
    "Kind",
    "KindProfile",
    "LanguageModel",
    "LastAccessedAt",
    "LeaseHeldError",
    "LeaseLostError",
    "Lesson",
    "LineError",
    "Link",
    "LinkedBy",
    "LlmAnswer",
    "LlmCache",
    "LlmCacheMessage",
    "LlmCacheParams",
    "LlmCacheResult",
    "LlmStoreOptions",
    "MaintenanceResult",
    "MemoryConfigRefreshConfig",
    "MemoryConfigSnapshot",
    "MemoryContext",
    "MemoryDiscovery",
    "MemoryDiscoveryConfig",
    "MemoryDraft",
    "MemoryDynamics",
    "MemoryExistsError",
    "MemoryFilter",
    "MemoryHit",
    "MemoryItem",
    "MemoryKind",
    "MemoryListOptions",
    "MemoryListResult",
    "MemoryMetrics",
    "MemoryNotFoundError",
    "MemoryOptions",
    "MemoryScope",
    "MemoryStats",
    "MemoryStore",
    "MemoryStoreClient",
    "MemoryTelemetry",
    "MemoryTelemetryOptions",
    "MemoryVersion",
    "MetricHealth",
    "MigrationStatus",
    "ModelCost",
    "NearCacheOptions",
    "NearCacheStatistics",
    "NearMisses",
    "NoopOp",
    "NormalizerConfig",
    "OccurredAt",
    "OnDuplicate",
    "OutcomeResult",
    "OutcomeUnknownError",
    "PartialBatchError",
    "Patience",
    "Pinned",
    "Progress",
    "ProgressFn",
    "ReasoningBlock",
    "RecallWeights",
    "ReindexResult",
    "Relevance",
    "RememberResult",
    "Replay",
    "RerankFn",
    "Reranker",
    "RerankingError",
    "Retrievability",
    "Scored",
    "ScoringModel",
    "ScoringParameters",
    "SearchModuleMissingError",
    "SearchTimeoutError",
    "Session",
    "SessionCache",
    "SessionStats",
    "SettingInForce",
    "Source",
    "Speaker",
    "Standing",
    "Subject",
    "SummarizeFn",
    "SupersededError",
    "Tag",
    "TelemetryOptions",
    "Tenant",
    "TenantLimitError",
    "TenantLimits",
    "TenantStatus",
    "Tenants",
    "TenantsOptions",
    "Term",
    "TextBlock",
    "TierDefaults",
    "TierStats",
    "ToolCache",
    "ToolCacheResult",
    "ToolCallBlock",
    "ToolDefinition",
    "ToolEffectivenessEntry",
    "ToolPolicy",
    "ToolResultBlock",
    "ToolStats",
    "ToolStoreOptions",
    "UnmatchedTombstoneOp",
    "UpdateOp",
    "ValkeyCommandError",
    "VersionConflictError",
    "apply_ops",
    "compose_normalizer",
    "composite_score",
    "create_memory_telemetry",
    "default_normalizer",
    "embedder_from_name",
    "hash_base64",
    "hash_bytes",
    "hash_url",
    "is_cached",
    "passthrough",
    "preset",
    "recency_decay",
    "reconcile",
    "reranker_from_name",
    "similarity_from_distance",
    "subject_key",
]


class AgentMemory(Bridged):
    """One object that gives a worker its long-term memory and its caches, over one connection.

    `agent.memory` is what is remembered; `agent.llm`, `agent.tool`, `agent.session` and `agent.embeddings` are
    exact and expire; `agent.dynamics` is how memories strengthen, fade and learn; `agent.config` is what operators
    change while it runs. `agent.tenant("acme")` has the same for one
    tenant, and `agent.tenants` what is done about tenants. Three ways in:
    `AgentMemory.open(url)` makes everything, `AgentMemory.from_env()` as the environment says, and
    `AgentMemory(AgentMemoryOptions(...))` takes your own client, as published. Use it with `with`, or
    call `initialize` and `close`. No I/O happens before the first call.
    """

    _inner: AsyncAgentMemory

    @property
    def llm(self) -> LlmCache:
        """The `llm` of the asynchronous object."""
        return LlmCache._around(self._inner.llm)

    @property
    def tool(self) -> ToolCache:
        """The `tool` of the asynchronous object."""
        return ToolCache._around(self._inner.tool)

    @property
    def session(self) -> SessionCache:
        """The `session` of the asynchronous object."""
        return SessionCache._around(self._inner.session)

    @property
    def embeddings(self) -> EmbeddingCache:
        """The `embeddings` of the asynchronous object."""
        return EmbeddingCache._around(self._inner.embeddings)

    @property
    def memory(self) -> MemoryStore:
        """The `memory` of the asynchronous object."""
        return MemoryStore._around(self._inner.memory)

    @property
    def dynamics(self) -> Dynamics:
        """The `dynamics` of the asynchronous object."""
        return Dynamics._around(self._inner.dynamics)

    @property
    def config(self) -> AgentConfig:
        """The `config` of the asynchronous object."""
        return AgentConfig._around(self._inner.config)

    @property
    def tenants(self) -> Tenants:
        """The `tenants` of the asynchronous object."""
        return Tenants._around(self._inner.tenants)

    def stats(self) -> AgentCacheStats:
        """Hits, misses and dollars saved of the caches, by all workers of this name. At most two round trips.

        Counts of other workers follow within a second.
        """
        return wait(self._inner.stats())

    def tool_effectiveness(self) -> list[ToolEffectivenessEntry]:
        """Which tools' caching pays, most dollars saved first, and what to do about their TTLs. As `stats`."""
        return wait(self._inner.tool_effectiveness())

    def flush(self) -> None:
        """Delete all cache entries of this name and the statistics of the caches, and nothing else.

        Memories, configuration, tool policies and other names stay. It walks over all keys of a server:
        a round trip per 1,000 of them.
        """
        wait(self._inner.flush())

    def __init__(self, options: AgentMemoryOptions) -> None:
        self._inner = call(AsyncAgentMemory, options)

    @classmethod
    def open(
        cls,
        url: str | Path | None = None,
        *,
        name: str = DEFAULT_NAME,
        embedder: Embedder | EmbedFn | Callable[..., Any] | None = None,
        next_embedder: Embedder | EmbedFn | Callable[..., Any] | None = None,
        memory: MemoryOptions | None = None,
        caches: CacheOptions | None = None,
        tenants: TenantsOptions | None = None,
        dynamics: Preset | DynamicsParameters | None = None,
        clock: Clock = system_clock,
    ) -> AgentMemory:
        """Open a server or a file; no I/O happens before the first call.

        `url` is `valkey://`, `valkeys://`, `redis://`, `rediss://` or `unix://`; nodes of a cluster
        (`valkey+cluster://host:port,host:port`, where `name` has a hash tag, `{acme}`); sentinels
        (`valkey+sentinel://host:port/name`); a file path, or `:memory:`. None reads the environment
        variable BETTERDB_URL, else takes a file in the user's data directory. `embedder` defaults to
        the offline one (extra `local`); `next_embedder` is the model that the store is to be moved to
        (`agent.memory.migration`). `tenants` says how `agent.tenant(...)` keeps those it is asked for. `dynamics` is
        the name of a preset ("chatbot", "task_agent" ...) or `DynamicsParameters`: what `agent.dynamics` goes by, and
        recalls whose scoring is chosen by name.

        Differs from a bare `MemoryStore`: recency and importance only break ties, recalled memories are
        written back later and merged, live configuration is re-read every 30 s, questions that were embedded
        before are not embedded again, and on a server the Monitor is told.

        Raises:
            ConfigurationError: the URL is of no known kind, or an extra is missing; the message names it.
        """
        return cls._around(
            call(
                AsyncAgentMemory.open,
                url,
                name=name,
                embedder=as_async(embedder),
                next_embedder=as_async(next_embedder),
                memory=memory,
                caches=caches,
                tenants=tenants,
                dynamics=dynamics,
                clock=clock,
            )
        )

    @classmethod
    def from_env(
        cls,
        environment: Mapping[str, str] | None = None,
        *,
        memory: MemoryOptions | None = None,
        caches: CacheOptions | None = None,
        tenants: TenantsOptions | None = None,
        dynamics: Preset | DynamicsParameters | None = None,
        clock: Clock = system_clock,
    ) -> AgentMemory:
        """Open what the environment names: BETTERDB_URL, BETTERDB_NAME, BETTERDB_EMBEDDER, BETTERDB_THRESHOLD,
        BETTERDB_RETRIEVAL, BETTERDB_LANGUAGE.

        The same variables, with the same meanings, as those of the command line; one that is not set has the
        default of `open`. What `memory` says goes before a variable. `environment` is that of the process
        by default. An embedder that is made from its name is closed with the agent.

        Raises:
            ConfigurationError: a variable cannot be used; the message names it.
        """
        return cls._around(
            call(
                AsyncAgentMemory.from_env,
                environment,
                memory=memory,
                caches=caches,
                tenants=tenants,
                dynamics=dynamics,
                clock=clock,
            )
        )

    def tenant(self, tenant: str) -> Tenant:
        """The store and the caches of one tenant, apart from every other's; no I/O.

        `tenant` is up to 64 letters of ASCII, digits and `_ . @ + = -`. Its keys begin with `{name:tenant}:`, so
        they lie in one slot of a cluster. The index is made with the first use. Asked for again it is the same
        object; many may be held at once (docs/tenants.md).

        Raises:
            InvalidInputError: the name cannot be used.
        """
        return Tenant._around(call(self._inner.tenant, tenant))

    def initialize(self) -> None:
        """Find or create the index, then announce both tiers and read what operators have changed.

        Raises:
            IndexMismatchError, SearchModuleMissingError, AuthenticationFailedError,
            EngineUnavailableError: what is wrong with the server or the file shows here.
            AgentCacheUsageError: the name belongs to something that is no cache.
        """
        wait(self._inner.initialize())

    def close(self) -> None:
        """Write what waits, stop background work, and close the engine if this object opened it.

        Every tier is closed, whatever fails on the way; a second time does nothing.
        """
        wait(self._inner.close())

    def __enter__(self) -> AgentMemory:
        wait(self._inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wait(self._inner.__aexit__(kind, error, trace))


class MemoryStore(Bridged):
    """Long-term memory under one name: remember, recall, list, forget.

    `client` is a `valkey.asyncio` or `redis.asyncio` client, or an engine of this library; it stays
    yours and is not closed. `embed_fn` is an async function from text to vector or an
    `Embedder`; without one only calls that embed nothing work. `default_threshold` is the largest
    cosine distance (0 to 2) of a hit: by default what the embedder states, 0.25 for a plain function.
    `weights` default to 0.6 similarity, 0.25 recency, 0.15 importance with a half-life of
    604,800 s; `max_items_per_scope` to no limit, with `limit_by_tags` one for each set of tags in a scope
    (docs/capacity.md). `reinforcement` says when recalled memories are touched: "immediate" (before recall returns) or
    "deferred"; with `recent_accesses` they keep the times of their last four recalls. `consolidation` sets label and
    importance of facts. `scoring` is the model by which recalls are ranked, `scoring_parameters` what those models are
    made of that are chosen by name (docs/dynamics.md).
    How recall finds and orders memories (docs/recall.md): `retrieval`, "vector" or "hybrid", which
    looks at words, dates and persons as well; its weights `hybrid`, the `language` of the memories, `exact` with its
    `exact_budget`, `diversity`, `reranker` with its `rerank_depth`. `next_embed_fn` is the model that the store is to
    be moved to: see `migration`.
    `change_feed` has every change of a memory told in a log, from the first write on: see `changes`. `near_cache` has a
    recall that is asked again within a moment answered from the memory of this process (docs/near-cache.md).
    `link_recalled` links memories that are recalled together: see `links`.
    `superseded_ttl` is for how many seconds a corrected memory is kept at most, None for ever; 90 days by default.
    `analytics` is accepted as published and means nothing: no usage data is collected, whatever its value.
    `on_use` is called within each call that reaches the index, before work in the background begins.

    Methods may be called from many tasks at once. The index is found or created on first use.

    Raises:
        ConfigurationError: an argument cannot work; the message names it.
    """

    _inner: AsyncMemoryStore

    @property
    def name(self) -> str:
        """The `name` of the asynchronous object."""
        return self._inner.name

    def __init__(
        self,
        *,
        client: MemoryStoreClient | Engine,
        name: str,
        embed_fn: EmbedFn | Embedder | Callable[..., Any] | None = None,
        next_embed_fn: EmbedFn | Embedder | Callable[..., Any] | None = None,
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
        reranker: Reranker | RerankFn | Callable[..., Any] | None = None,
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
        self._inner = call(
            AsyncMemoryStore,
            client=client,
            name=name,
            embed_fn=as_async(embed_fn),
            next_embed_fn=as_async(next_embed_fn),
            default_threshold=default_threshold,
            weights=weights,
            half_life_seconds=half_life_seconds,
            max_items_per_scope=max_items_per_scope,
            limit_by_tags=limit_by_tags,
            discovery=discovery,
            config_refresh=config_refresh,
            consolidation=consolidation,
            telemetry=telemetry,
            analytics=analytics,
            reinforcement=reinforcement,
            recent_accesses=recent_accesses,
            retrieval=retrieval,
            scoring=scoring,
            scoring_parameters=scoring_parameters,
            hybrid=hybrid,
            language=language,
            exact=exact,
            exact_budget=exact_budget,
            diversity=diversity,
            reranker=as_async(reranker),
            rerank_depth=rerank_depth,
            max_content_bytes=max_content_bytes,
            change_feed=change_feed,
            near_cache=near_cache,
            link_recalled=link_recalled,
            superseded_ttl=superseded_ttl,
            clock=clock,
            new_id=new_id,
            on_use=on_use,
        )

    def current_config(self) -> MemoryConfigSnapshot:
        """The configuration in force. No round trip."""
        return call(self._inner.current_config)

    def changes(
        self,
        *,
        scope: MemoryScope | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        kinds: Collection[ChangeKind] | None = None,
        since: str | Moment | None = None,
        group: str | None = None,
        takeover_seconds: float = DEFAULT_TAKEOVER_SECONDS,
    ) -> Iterator[Change]:
        """Every change of a memory of exactly this scope, as it comes and without end.

        `async for change in store.changes()`: break off when you have enough. The first call switches the feed of
        the store on, if it is off: every worker tells what it does within ten seconds from then on (`change_feed`
        says when). What a change says is in `Change`; it does not hold what the memory says.

        `since` is "now" (the default), "oldest" (what is still there), a time, or the id of a change, behind which
        it goes on: each change comes at least once to whoever goes on behind the last one that it has handled.

        With a `group` the changes are shared by all who read with the same name, in any process: all changes of one
        memory come to one of them at a time, in order. A change counts as handled when the next one is asked for.
        What a consumer had not handled when it went, or when nothing was heard of it for `takeover_seconds` (0.1 to
        3,600), comes to another one, perhaps once more. The group remembers how far it has come; `since` says where a
        group begins that has none yet. Up to 16 consumers work, further ones stand by.

        Up to 5 round trips to begin with, then one per 500 changes and one a second while there are none; a group one
        more per 100 changes. Listens on the engine's connection for changed keys.

        Raises:
            InvalidInputError: an argument is refused; the message names it.
            ChangesMissedError: changes were trimmed before they were read; it says where to go on.
            EngineUnavailableError: the server does not answer: go on behind the last change later.
        """
        return iterate(
            self._inner.changes(
                scope=scope,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                kinds=kinds,
                since=since,
                group=group,
                takeover_seconds=takeover_seconds,
            )
        )

    def change_feed(self) -> ChangeFeedStatus | None:
        """How the change feed stands, and its groups; None while it is off. Three round trips."""
        return wait(self._inner.change_feed())

    def drop_change_group(self, group: str) -> bool:
        """Forget a group and how far it has come; false where there was none. One round trip.

        Not while somebody reads with it: who does begins it anew, where it began at first.
        """
        return wait(self._inner.drop_change_group(group))

    def stop_change_feed(self) -> bool:
        """Switch the change feed off for every worker, and delete what it holds; false where it was off.

        Three round trips. Others go on telling for up to ten seconds, to nobody. Whoever follows the changes gets a
        `ChangesMissedError`. The next call of `changes`, or of a store with the option, switches it on again.
        """
        return wait(self._inner.stop_change_feed())

    def wait_for(self, id: str, *, timeout_seconds: float = DEFAULT_WAIT_SECONDS) -> MemoryItem:
        """The memory with this id, as soon as this worker can read it.

        For whoever is handed an id by another worker that may still be writing it. One round trip if it is there;
        else one four times a second, and, while the change feed is on, at once when something changes.
        `timeout_seconds` is from 0 (look once) to 86,400.

        Raises:
            InvalidInputError: the id or the time is refused.
            MemoryNotFoundError: it was not there in time.
        """
        return wait(self._inner.wait_for(id, timeout_seconds=timeout_seconds))

    def export_to(
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
        include_superseded: bool = True,
        resume: bool = True,
        on_progress: ProgressFn | None = None,
    ) -> ExportResult:
        """Write memories to a file of JSON lines, oldest first, as docs/export-import.md describes: lossless.

        All of them, or those of the scope, with all `tags`, that meet `where`; and before them, unless
        `include_superseded=False`, the superseded versions and archived memories of which the same is true. A path
        (`.gz` compresses) is written as `<path>.part` and renamed when complete; after an interruption the same call
        goes on behind the last whole line, unless `resume=False`. A binary stream gets the lines and stays open. Every
        memory that is there all the time is in the file exactly once; what is written or forgotten meanwhile may be in
        it or not, and one that is replaced under its id may be in it twice: as it was, and further on as it is. Four
        round trips and memory for 250 memories at a time.

        Raises:
            InvalidInputError: an argument is of another type.
            ConfigurationError: the file cannot be written or is no regular one, another export is writing it, or the
                `.part` belongs to another one.
            IndexNotReadyError: with vectors, while `migration.finish()` replaces them; no `.part` stays.
            EngineError: what is written stays for the next run.
        """
        return wait(
            self._inner.export_to(
                path,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
                tags=tags,
                where=where,
                vectors=vectors,
                include_superseded=include_superseded,
                resume=resume,
                on_progress=on_progress,
            )
        )

    def import_from(
        self,
        path: str | Path | BinaryIO,
        *,
        on_existing: OnExisting = "skip",
        resume: bool = True,
        on_progress: ProgressFn | None = None,
    ) -> ImportResult:
        """Store the memories of an export under their ids, with every field and expiry they had.

        A memory that is there already stays as it is, or is replaced with `on_existing="replace"`. Of two lines with
        one id the first is kept so, with "replace" the last, as docs/export-import.md tells. One
        that has expired since is left out; a line that is no memory is counted and reported in
        `errors`. Superseded versions and archived memories come to where the store keeps its own, for as long as they
        had still to be kept. Replacing looks at nothing but the id: a line of one namespace replaces a memory of
        another.
        Vectors are made anew where the file has none, or where they are another embedder's.
        After an interruption the same call on the same file goes on behind its last batch, unless
        `resume=False`. Scopes that are full make room after each 500 memories, as after any write. About six
        round trips and one embedding call, if any, for 500 memories.

        Raises:
            InvalidInputError: the file is no export that this release reads, or is cut off.
            ConfigurationError: it cannot be read or is no regular file, or it brings no usable vectors and there is
                no embedder; nothing was written.
            IndexMismatchError: the embedder does not fit the store's index.
            IndexNotReadyError: the model was changed again and again meanwhile, or there is no embedder while
                it is changed.
            EmbeddingError, EngineError: what is done stays done, and the next run goes on.
        """
        return wait(self._inner.import_from(path, on_existing=on_existing, resume=resume, on_progress=on_progress))

    @property
    def migration(self) -> EmbeddingMigration:
        """Changing the embedding model without downtime; the store needs `next_embed_fn` for it."""
        return EmbeddingMigration._around(call(lambda: self._inner.migration))

    def reindex(self, *, on_progress: ProgressFn | None = None) -> ReindexResult:
        """Drop the search index and build it anew over the memories that are there.

        For an index that another client made without our fields (`stats().unindexed_fields`), one that is
        damaged, or memories of earlier releases and other packages that are not found by their words: each gets the
        stems that this store would write with it in its `language` (progress stage "words"). Nothing else of a memory
        is touched. On a server every worker is told first, which takes about 13 s, and the
        searches of all of them wait then until it is done, 30 s at most before they raise
        IndexNotReadyError. Progress is told in memories.

        Raises:
            ConfigurationError: there is no index, and no embedder to tell the length of its vectors.
            LeaseHeldError: another worker is making it anew, or changing the embedding model.
        """
        return wait(self._inner.reindex(on_progress=on_progress))

    def calibrate(
        self,
        *,
        questions: Sequence[str | tuple[str, Sequence[str]] | AnsweredQuestion] | None = None,
        sample: int = DEFAULT_SAMPLE,
        false_accept_rate: float = DEFAULT_FALSE_ACCEPT_RATE,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        tags: Sequence[str] | None = None,
        where: Where | None = None,
        on_progress: ProgressFn | None = None,
    ) -> Calibration:
        """Measure which distance counts as related in this store: what each ceiling lets in, and what it keeps.

        Recommends the largest threshold that admits at most `false_accept_rate` (above 0, below 1) of the memories
        that do not answer a question. `questions` are yours, about 50 or more: texts, pairs of a text and the ids of
        the memories that answer it, or `AnsweredQuestion`. With answers it also tells which share of them each
        ceiling keeps. Without questions 100 are made up from the memories, which tells the threshold within a
        few hundredths and says nothing about answers (docs/thresholds.md).

        They are compared with a `sample` (20 to 5,000) of the scope, evenly spread by age. Nothing is written; set
        it with `agent.config.set(threshold=...)`, `default_threshold=` or `threshold=` of a call.

        About 25 round trips, in which the vectors of the sample are read once (500 of 384 numbers: 0.8 MB), one
        embedding call a question, and one for 128 answers that are texts.

        Raises:
            InvalidInputError: an argument cannot be used, an expected memory is not there, or there is too little
                to tell the rate from; nothing was embedded.
            ConfigurationError: the store has no embedder.
            EmbeddingError, EngineError: something failed on the way.
        """
        return wait(
            self._inner.calibrate(
                questions=questions,
                sample=sample,
                false_accept_rate=false_accept_rate,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
                tags=tags,
                where=where,
                on_progress=on_progress,
            )
        )

    def consolidate(
        self,
        *,
        mode: Mode | None = None,
        summarize: SummarizeFn | LanguageModel | Callable[..., Any] | None = None,
        extract_facts: FactExtractor | LanguageModel | Callable[..., Any] | None = None,
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
        undated: Undated | None = None,
        day_first: bool | None = None,
        extract_without_candidates: bool | None = None,
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
        first, none that was written after the run began, and never summaries or facts, which only
        consolidation itself writes. One run at a time works on a store; another one waits up to
        `wait_seconds` (300). docs/consolidation.md has the whole of it.

        A summary is written first and its sources are deleted then, those that nobody has changed meanwhile;
        a crash in between is repaired by the next run. It expires with its longest-lived source unless
        `ttl` says otherwise. `dry_run` counts and writes nothing; with facts it does call the extractor.
        More than `batch_size` memories (10,000) or `max_input_chars` characters (a model: 100,000) go to the
        callback in several calls. Duplicates among facts are healed in every run, even if the callback then
        fails. Without memories the extractor is asked, for retractions, only if `extract_without_candidates`
        says so. About two round trips per 1,000 memories beside the calls of the callback.

        Raises:
            InvalidInputError: something is refused or says nothing to this mode, or no criterion was given;
                nothing was read.
            ConfigurationError: a model was named that cannot be used, or the store has no embedder.
            ConsolidationError: the callback failed or returned something unusable; nothing was written of it.
            LeaseHeldError: another run did not end in time.
            LeaseLostError: this run stood still for longer than `lease_seconds` (30).
        """
        return wait(
            self._inner.consolidate(
                mode=mode,
                summarize=as_async(summarize),
                extract_facts=as_async(extract_facts),
                older_than_seconds=older_than_seconds,
                max_importance=max_importance,
                delete_sources=delete_sources,
                summary_importance=summary_importance,
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
                extract_without_candidates=extract_without_candidates,
                batch_size=batch_size,
                max_input_chars=max_input_chars,
                wait_seconds=wait_seconds,
                lease_seconds=lease_seconds,
                dry_run=dry_run,
                on_progress=on_progress,
            )
        )

    def consolidate_facts(
        self,
        *,
        extract_facts: FactExtractor | LanguageModel | Callable[..., Any],
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
        undated: Undated | None = None,
        day_first: bool | None = None,
        extract_without_candidates: bool | None = None,
        batch_size: int | None = None,
        max_input_chars: int | None = None,
        wait_seconds: float | None = None,
        lease_seconds: float | None = None,
        dry_run: bool = False,
        on_progress: ProgressFn | None = None,
    ) -> ConsolidateFactsResult:
        """`consolidate(mode="facts", ...)`, the published earlier name."""
        return wait(
            self._inner.consolidate_facts(
                extract_facts=as_async(extract_facts),
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
                extract_without_candidates=extract_without_candidates,
                batch_size=batch_size,
                max_input_chars=max_input_chars,
                wait_seconds=wait_seconds,
                lease_seconds=lease_seconds,
                dry_run=dry_run,
                on_progress=on_progress,
            )
        )

    def link(self, one: str, other: str, weight: float = 1.0) -> None:
        """Link two memories, both ways: each then leads to the other in `recall(..., expand=True)`.

        `weight` is 0.01 to 1,000,000 and what the link has from now on, whatever it had; it halves every 30 days, and
        counts down to 0.3. A memory keeps its 32 strongest links. One round trip.

        Raises:
            InvalidInputError: the ids are the same, or something is out of range.
            MemoryNotFoundError: one of the memories is not there; nothing was done.
        """
        wait(self._inner.link(one, other, weight))

    def unlink(self, one: str, other: str) -> bool:
        """Take the link between two memories away; true when there was one. One round trip."""
        return wait(self._inner.unlink(one, other))

    def links(self, id: str, *, least_weight: float = LINKED) -> builtins.list[Link]:
        """What a memory is linked to, strongest first; empty for a memory that is not there.

        Links with a weight of `least_weight` or more now: by default those that count. Only to memories that are there:
        a link to another one is removed. Two round trips, one for a memory without links.

        Raises:
            InvalidInputError: `least_weight` is no number from 0 on.
        """
        return wait(self._inner.links(id, least_weight=least_weight))

    def forget(self, id: str) -> bool:
        """Delete one memory and all that it has superseded; true when there was one, also a superseded one.

        Three round trips, for a turn of a conversation eight.

        Raises as `forget_many`.
        """
        return wait(self._inner.forget(id))

    def forget_many(self, ids: Sequence[str]) -> builtins.list[bool]:
        """Delete memories and all that they have superseded; true, in order, where there was one, or a superseded one.

        What is archived under one of the ids goes, too. Three round trips per 500, and two more for each step back to
        what was superseded.

        The vectors of turns that stood next to a turn are mixed anew, so that they hold nothing of it: up to five
        round trips more and an embedding call. They are noted before anything is deleted: after a call that broke
        off, the next one that forgets or changes turns, or appends to a session, does it, and so does `ensure_index`.

        Raises:
            EmbeddingError, ConfigurationError: they are deleted, but turns next to them could not be embedded, or
                there is no embedder: that is done as soon as there is one, or by forgetting them once more.
            PartialBatchError: some were deleted; it says which.
            OutcomeUnknownError: the connection broke meanwhile; deleting again is harmless.
        """
        return wait(self._inner.forget_many(ids))

    def forget_by_scope(
        self,
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        tags: Sequence[str] | None = None,
        scope: MemoryScope | None = None,
        where: Where | None = None,
        kind: MemoryKind | Sequence[MemoryKind] | None = None,
    ) -> int:
        """Delete every memory of exactly this scope with all these tags, of this `kind`, meeting `where`; how many.

        What these have superseded goes with them, and so do all superseded versions that are of this scope, have these
        tags and meet `where`; neither is counted. Two round trips per 500 memories, and one; two more per 500 versions.
        Turns of conversations that remain next to forgotten ones are mixed anew, as by
        `forget_many`: for those one round trip more per 500, and up to four per 250 that remain.

        Raises:
            InvalidInputError: nothing was given; that would be the whole store.
            IndexNotReadyError: the index is being rebuilt, so some would be missed; nothing was deleted.
            ConfigurationError: there is no index, and no embedder to make one with.
            EngineError: with a note saying how many had been deleted before it.
        """
        return wait(
            self._inner.forget_by_scope(
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                tags=tags,
                scope=scope,
                where=where,
                kind=kind,
            )
        )

    def recall(
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
        return wait(
            self._inner.recall(
                query,
                k=k,
                threshold=threshold,
                tags=tags,
                weights=weights,
                reinforce=reinforce,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
                subject=subject,
                where=where,
                kind=kind,
                now=now,
                retrieval=retrieval,
                exact=exact,
                diversity=diversity,
                rerank=rerank,
                fresh=fresh,
                scoring=scoring,
                expand=expand,
                as_of=as_of,
                include_superseded=include_superseded,
                min_confidence=min_confidence,
                context=context,
            )
        )

    def recall_by_vector(
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
        return wait(
            self._inner.recall_by_vector(
                vector,
                k=k,
                threshold=threshold,
                tags=tags,
                weights=weights,
                reinforce=reinforce,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
                subject=subject,
                where=where,
                kind=kind,
                now=now,
                query=query,
                retrieval=retrieval,
                exact=exact,
                diversity=diversity,
                rerank=rerank,
                fresh=fresh,
                scoring=scoring,
                expand=expand,
                as_of=as_of,
                include_superseded=include_superseded,
                min_confidence=min_confidence,
                context=context,
            )
        )

    def get(self, id: str) -> MemoryItem | None:
        """The memory with this id, or None. One round trip; the vector is not read."""
        return wait(self._inner.get(id))

    def get_many(self, ids: Sequence[str]) -> builtins.list[MemoryItem | None]:
        """The memories with these ids, in order, None where there is none. One round trip per 500."""
        return wait(self._inner.get_many(ids))

    def list(self, options: MemoryListOptions | None = None) -> MemoryListResult:
        """A page of memories, newest first, and the exact total of the scope.

        One round trip, with a scope a second one beside it. Before anything was stored the page is empty.
        Without a scope the total is the server's, which may still count memories that have just expired.
        """
        return wait(self._inner.list(options))

    def iterate(
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
    ) -> Iterator[MemoryItem]:
        """Every memory of the scope, oldest first, however many there are: `async for item in store.iterate()`.

        A memory that is there from the beginning to the end comes exactly once, whatever others write and forget
        meanwhile. One that is written anew under its id (replaced, or forgotten and remembered) is a new memory, which
        may come again, later. `after=item.cursor` goes on behind a memory, also in another process. About four
        round trips per 1,000 memories, and the memory of one page of `page_size` (at most 10,000).
        """
        return iterate(
            self._inner.iterate(
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                tags=tags,
                scope=scope,
                where=where,
                kind=kind,
                after=after,
                page_size=page_size,
            )
        )

    def context(
        self,
        query: str,
        *,
        budget_tokens: int | None = None,
        k: int | None = None,
        around: int | None = None,
        heading: str = DEFAULT_HEADING,
        count_tokens: CountTokens | None = None,
        sources: Sequence[str] | None = None,
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
        min_confidence: float | None = None,
        context: Sequence[str] | None = None,
    ) -> MemoryContext:
        """What is remembered about `query`, as a text for a prompt of at most `budget_tokens` (2,000 by default).

        The best of `k` recalled memories (32 by default), best first as long as there is room, without those that
        say the same; then oldest first, what one session says on a day together, each with its sources. They are
        delimited as data, and no content can break out of that (docs/context.md). `heading` is the first line, put
        there as it is; "" leaves it out.
        With `around` (0 by default, at most 20) as many turns before and after each hit of a conversation come along,
        while there is room, so that "yes, that one" is read with its question: of the same session and scope, marked
        `"context": true`. They need not meet `tags`, `subject`, `kind` and `where`, and are not reinforced.
        `sources` are those of "id", "time", "date", "session", "turn", "speaker", "agent", "source" and "tags" that a
        line tells, by default all but session and turn.
        `count_tokens` is the model's tokenizer, a function from a text to a number; without one tokens are estimated.
        The budget holds for the whole text. Only hits that are in it are reinforced, and none that was added by a link
        (`expand`), which come last. The rest is as for `recall`, round trips included; turns around hits are one more
        per 500.

        Raises:
            InvalidInputError: something is refused, before the embedder was called; or `count_tokens` failed.
            EmbeddingError: the embedder failed.
            RerankingError: the reranker failed.
            EngineError: the server said no, or did not answer in time.
        """
        return wait(
            self._inner.context(
                query,
                budget_tokens=budget_tokens,
                k=k,
                around=around,
                heading=heading,
                count_tokens=count_tokens,
                sources=sources,
                threshold=threshold,
                tags=tags,
                weights=weights,
                reinforce=reinforce,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
                subject=subject,
                where=where,
                kind=kind,
                now=now,
                retrieval=retrieval,
                exact=exact,
                diversity=diversity,
                rerank=rerank,
                fresh=fresh,
                scoring=scoring,
                expand=expand,
                min_confidence=min_confidence,
                context=context,
            )
        )

    def pin(self, id: str) -> bool:
        """Keep a memory whatever happens to others; true if it was not pinned before. One round trip.

        It is never evicted by this package, and no consolidation takes its place. Its importance becomes 1, so that
        packages in other languages, which know nothing of pins, evict it last; `unpin` gives the former one back. What
        you delete yourself is deleted, pinned or not, and a time to live goes on running. Raises the version.

        Raises:
            InvalidInputError: `id` cannot be the id of a memory.
            MemoryNotFoundError: there is no such memory.
        """
        return wait(self._inner.pin(id))

    def unpin(self, id: str) -> bool:
        """Let a pinned memory be as any other, with the importance that it had before, or that `update` has given it
        meanwhile; true if it was pinned. One round trip. Raises the version.

        Raises:
            InvalidInputError: `id` cannot be the id of a memory.
            MemoryNotFoundError: there is no such memory.
        """
        return wait(self._inner.unpin(id))

    def correct(
        self,
        id: str,
        content: str,
        *,
        importance: float | Keep | None = KEEP,
        tags: Sequence[str] | Keep | None = KEEP,
        metadata: Mapping[str, Any] | Keep | None = KEEP,
        source: str | Keep | None = KEEP,
        subject: str | Keep | None = KEEP,
        date: str | Keep | None = KEEP,
        occurred_at: Moment | Keep | None = KEEP,
        kind: MemoryKind | Keep | None = KEEP,
        entities: Sequence[str] | Keep | None = KEEP,
        ttl: int | timedelta | Keep | None = KEEP,
        valid_from: Moment | None = None,
        if_version: int | None = None,
    ) -> MemoryItem:
        """Put a new memory in the place of one that is wrong or out of date, and return it.

        It has a new id, and what the former one had: scope, tags, kind, entities, importance, pin, labels, metadata and
        the time that it expires; what is given here it has instead, None takes a field away. How often the former one
        was recalled, and how far it was trusted, it does not take over. No recall finds the former one, in any
        language, unless it is asked for (`recall(as_of=...)`, `history`); it is kept for `superseded_ttl` seconds and
        never longer than it would have lived.

        `valid_from` is since when the new content holds: milliseconds, a datetime or ISO text; by default from when it
        is written. The former one held until then. Of several workers who correct a memory at once one does, and the
        others are told by whom it was superseded.

        One embedding call and four round trips, six where the memory has links, which are the new one's from then on;
        up to three more with the first of a process. The new memory and the departure of the old one are one step on a
        server, in a hash-tagged store and in a file; on another cluster it is several (docs/correction.md).

        Raises:
            InvalidInputError: a value is refused, or the memory says just that already; nothing was embedded.
            MemoryNotFoundError: there is no such memory.
            SupersededError: another memory is in its place already; `error.superseded_by` says which.
            VersionConflictError: it has another version than `if_version`; `error.current` says which.
            EmbeddingError: the embedder failed; nothing was changed.
            OutcomeUnknownError: the connection broke; it has happened whole, or not at all (see `history`).
        """
        return wait(
            self._inner.correct(
                id,
                content,
                importance=importance,
                tags=tags,
                metadata=metadata,
                source=source,
                subject=subject,
                date=date,
                occurred_at=occurred_at,
                kind=kind,
                entities=entities,
                ttl=ttl,
                valid_from=valid_from,
                if_version=if_version,
            )
        )

    def supersede(self, id: str, by: str) -> bool:
        """Say that memory `by` has taken the place of memory `id`; true if nobody had said so before.

        From then on memory `id` is to be found as after `correct`, and `by` remains as it is. Two may be superseded by
        the same one. The former one held until the time that `by` was said to be valid from, else until now.
        Three round trips, five where the memory has links, which are added to those of `by`; up to three more with the
        first of a process.

        Raises:
            InvalidInputError: an id is refused, or both are the same.
            MemoryNotFoundError: one of them is not there.
            SupersededError: one of them was superseded, `id` by another one; `error` says which by which.
        """
        return wait(self._inner.supersede(id, by))

    def contradict(self, id: str, by: str) -> bool:
        """Say that memory `by` speaks against memory `id`; true if nobody had said so before. Two round trips.

        Both are recalled, `by` directly above `id` where both are found. The reliability of `id` goes down to .3 of
        what it was, its version up by one.

        Raises:
            As `supersede`.
        """
        return wait(self._inner.contradict(id, by))

    def history(self, id: str, *, limit: int | None = None) -> builtins.list[MemoryVersion]:
        """The versions of a memory, oldest first, whichever of them `id` is; empty where there is none of that id.

        Versions that were forgotten, or kept for long enough, are not among them. The newest `limit` (100 by default,
        1,000 at most). Two round trips for each version.
        """
        return wait(self._inner.history(id, limit=limit))

    def remember(
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
        kind: MemoryKind | None = None,
        entities: Sequence[str] | None = None,
        valid_from: Moment | None = None,
        valid_until: Moment | None = None,
        contradicts: str | Sequence[str] | None = None,
        id: str | None = None,
        on_duplicate: OnDuplicate = "keep",
    ) -> str:
        """Store a memory and return its id.

        `importance` is 0 to 1 (default 0.5, or that of the `kind`, one of `KINDS`); `tags` hold no comma; `ttl` is
        whole seconds or a timedelta, None or 0 for ever. The scope is said by keywords or by `scope=`. `subject` and
        `date` label facts. `occurred_at` is when what it tells happened: milliseconds, a datetime or ISO
        text. `metadata` is any JSON object up to 64 KiB; it is stored, not searched. `entities` are names of whom and
        what it is about, in any characters. What it says holds from `valid_from` (by default from when it is written)
        until before `valid_until` (open), for `recall(as_of=...)`; any other recall finds it whenever it is valid.
        `contradicts` names memories (an id or up to 64) that it speaks against: they stay, and are trusted less, as by
        `contradict`.
        One round trip, with its expiry in the same atomic step; two more with `contradicts`, and more where a scope is
        above its capacity limit (docs/capacity.md).

        `on_duplicate="keep"` stores it under a new random id, or under `id` if that is free.
        `"replace"` overwrites the memory that has `id`. `"merge"` makes the same content in the same thread, agent
        and namespace one memory, under an id that follows from them: if it is there it is reinforced, its importance
        raised to a larger one that is given, its tags and entities united, its expiry moved to a later one, in one
        atomic step however many workers do so; nothing is embedded then. One more round trip. A copy that was
        stored otherwise, under a random id, is not looked for.

        Raises:
            InvalidInputError: something is refused, before the embedder was called.
            MemoryNotFoundError, SupersededError: one that it `contradicts` is not there; nothing was embedded.
            MemoryExistsError: another memory has this `id`; nothing was written.
            EmbeddingError: the embedder failed; nothing was written.
            EngineUnavailableError: no connection; nothing was written.
            OutcomeUnknownError: the connection broke meanwhile; the memory is there whole or not at
                all. `error.ids` holds its id, to look it up with `get`. With a note it is stored, and what it
                `contradicts` may not know it yet: so does any other error after it was written.
        """
        return wait(
            self._inner.remember(
                content,
                importance=importance,
                tags=tags,
                source=source,
                ttl=ttl,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
                subject=subject,
                date=date,
                occurred_at=occurred_at,
                metadata=metadata,
                kind=kind,
                entities=entities,
                valid_from=valid_from,
                valid_until=valid_until,
                contradicts=contradicts,
                id=id,
                on_duplicate=on_duplicate,
            )
        )

    def remember_many(
        self,
        memories: Iterable[str | MemoryDraft | Mapping[str, Any]],
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        on_duplicate: OnDuplicate = "keep",
        context: Literal["window"] | None = None,
        on_progress: ProgressFn | None = None,
    ) -> builtins.list[RememberResult]:
        """Store many memories; what became of each, in order.

        Each is a text, a `MemoryDraft`, or a mapping with its fields. The scope given here is that of all; a
        draft may say what it leaves open. `on_duplicate` as for `remember`. One call of the embedder
        and one round trip per 500 memories; a capacity limit is enforced after each 500 (so that memories
        of the same call may be evicted), which costs more only in scopes that are full.

        With `context="window"` they are the turns of a conversation, in order: stored as `remember_conversation`
        does it, those of each thread as one session that goes on with every call. The threads of each 500 are embedded
        in one call and written together, with the round trips of a single one for up to some 40 of them, and a few
        more beyond that.

        What is wrong with one memory is in its result and harms no other. After the embedder failed for a whole
        batch, or the server is not to be reached, the rest is rejected with that error and not tried.
        A draft `contradicts` memories that are there before the call: one that names another is rejected. That costs
        two round trips more for each 500.

        Raises:
            InvalidInputError: `memories` is a text, or `on_duplicate`, `context` or the scope is refused.
            ConfigurationError: the store has no embedder.
        """
        return wait(
            self._inner.remember_many(
                memories,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
                on_duplicate=on_duplicate,
                context=context,
                on_progress=on_progress,
            )
        )

    def remember_conversation(
        self,
        messages: Iterable[str | ConversationMessage | Mapping[str, Any]],
        *,
        session: str | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        tags: Sequence[str] | None = None,
        importance: float | None = None,
        ttl: int | timedelta | None = None,
        source: str | None = None,
        on_progress: ProgressFn | None = None,
    ) -> builtins.list[RememberResult]:
        """Store what was said, in order; what became of each message, in that order.

        Each is a text, a `ConversationMessage`, or a mapping with its fields or with those of a chat (`role`,
        `name`, `content`). `tags`, `importance`, `ttl` and `source` are for those that do not say it themselves.

        Each message is a memory with its `session`, its `turn` there (from 0) and its `speaker`. A call with the same
        session in the same scope goes on where that one ends, also from several workers at once: up to 500
        messages of one call stay together. Without `session` a thread is one session; without a thread each call is a
        new one, whose name the memories tell.

        The content is what was said; what is embedded has the speaker's name before it. The vector is half the
        turn's own, half that of the turns before, itself and after together, so that "yes, that one" is found by
        what it answers. The turn before the first message is mixed anew. One call of the embedder and five round
        trips per 500 messages, seven where the session goes on, two where it is new and has a name of ours; more
        only where a scope is above its capacity limit.

        What is wrong with one message is in its result and harms no other, as with `remember_many`. One
        that could not be embedded leaves no place in the session. Places that the engine could not store to are given
        back if it can be asked; else they stay empty, and the next message has none before it in its vector.

        Raises:
            InvalidInputError: `messages` is a single one, or `session` or the scope is refused.
            ConfigurationError: the store has no embedder.
        """
        return wait(
            self._inner.remember_conversation(
                messages,
                session=session,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
                tags=tags,
                importance=importance,
                ttl=ttl,
                source=source,
                on_progress=on_progress,
            )
        )

    def update(
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
        kind: MemoryKind | Keep | None = KEEP,
        entities: Sequence[str] | Keep | None = KEEP,
        ttl: int | timedelta | Keep | None = KEEP,
        if_version: int | None = None,
    ) -> MemoryItem:
        """Change what is given, leave the rest, and return the memory as it is then.

        None takes a field away (and sets importance to 0.5 and the time to live to for ever); `ttl` counts from
        now. Another `kind` leaves the importance as it is. The `importance` of a pinned memory stays 1: what is given
        is what it will have once it is unpinned. All in one atomic step, which raises the memory's `version` by one if
        anything differs. `if_version` makes it happen only to the version that you have read. A content that is another
        than the stored one is embedded; any other change is not. Two round trips, with `content` three, with the
        importance of a pinned memory five. With the content of a turn of a conversation its vector and those of the
        turns next to it are mixed anew: eight, and one embedding call.

        Raises:
            InvalidInputError: a value is refused, or nothing is to be changed.
            MemoryNotFoundError: there is no such memory.
            VersionConflictError: it has another version than `if_version`; `error.current` says which.
            EmbeddingError: the embedder failed; nothing was changed.
        """
        return wait(
            self._inner.update(
                id,
                content=content,
                importance=importance,
                tags=tags,
                metadata=metadata,
                source=source,
                subject=subject,
                date=date,
                occurred_at=occurred_at,
                kind=kind,
                entities=entities,
                ttl=ttl,
                if_version=if_version,
            )
        )

    def ensure_index(self) -> None:
        """Find the index or create it, so that a misfit shows at start and not at the first recall.

        Up to 5 round trips, and one embedding of the word "probe" when the embedder does not state its
        dimension. Without an embedder an existing index is enough. Turns next to forgotten ones whose vectors a
        call that broke off has left as they were are mixed anew, with the round trips of `forget_many` for these.

        Raises:
            IndexMismatchError: the index exists with another dimension, metric or prefix.
            SearchModuleMissingError: the server has no search module.
        """
        wait(self._inner.ensure_index())

    def stats(self) -> MemoryStats:
        """Counts and health of the store; before anything was stored the counts are 0. Three round trips."""
        return wait(self._inner.stats())

    def refresh_config(self) -> None:
        """Re-read the live configuration now. One round trip; a failed read raises and changes nothing."""
        wait(self._inner.refresh_config())

    def flush(self) -> None:
        """Write deferred reinforcement now. One round trip per 500 memories, none if nothing waits."""
        wait(self._inner.flush())

    def ensure_config_refresh_started(self) -> None:
        """Start re-reading the live configuration if the constructor asked for it, and wait for the first read."""
        wait(self._inner.ensure_config_refresh_started())

    def ensure_discovery_ready(self) -> None:
        """Wait until the store is announced to the Monitor, if the constructor asked for it."""
        wait(self._inner.ensure_discovery_ready())

    def close(self) -> None:
        """Write what waits and stop background work. The client stays open; it is yours.

        A server that does not answer is waited for 5 s, and 2 s more to take the name off the Monitor's list. Scopes
        that this worker has left above their limit are trimmed first, for a minute at most while it gets on.
        """
        wait(self._inner.close())


class EmbeddingMigration(Bridged):
    """Moves a store to another embedding model without a gap in what recall finds (docs/migration.md).

    The store is made with both embedders: `MemoryStore(embed_fn=old, next_embed_fn=new)`, and so is every
    worker that shall recall with the new one. Then, from any one process:

    1. `start()` opens a generation of new vectors beside the memories; from then on writes go to both.
    2. `run()` fills it. It holds a lease, goes on where a killed run stopped, and may run anywhere.
    3. `switch()` lets every worker with both embedders recall with the new model, within a second.
       `roll_back()` takes that back as often as wanted; `abandon()` drops the generation.
    4. `finish()` puts the new vectors into the memories and rebuilds their index. Until then readers
       in other languages are served as before; afterwards they need the new model, too.

    Workers with the old embedder alone go on as before until `finish`, which refuses them within a second; what
    they write gets its new vector from the next `run()`, `switch()` or from `finish()`.
    """

    _inner: AsyncEmbeddingMigration

    def status(self) -> MigrationStatus:
        """How far it has come. Five round trips."""
        return wait(self._inner.status())

    def start(self) -> MigrationStatus:
        """Open a generation for the next embedder; does nothing when it is open already.

        Raises:
            ConfigurationError: the store has one embedder only, the next one has no name or the present one's, or
                another change of models is under way.
            IndexMismatchError: the memories are embedded with neither.
            LeaseHeldError: another worker is at it.
        """
        return wait(self._inner.start())

    def run(self, *, on_progress: ProgressFn | None = None, batch_size: int = DEFAULT_BATCH) -> MigrationStatus:
        """Fill the generation and bring it up to date with all that was written meanwhile.

        Goes on where a run that was killed stopped; run again later it only catches up. Per `batch_size`
        memories one call of the embedder and about six round trips. At least ten seconds pass between `start` and
        the end of the first run, until every worker has heard of the change. Afterwards the phase is
        `ready` (or as it was when recall was switched already).

        Raises:
            LeaseHeldError: another worker is filling it.
            LeaseLostError: this process stood still for longer than its lease; run it again.
            EmbeddingError: some memories could not be embedded; all others were. It names them.
        """
        return wait(self._inner.run(on_progress=on_progress, batch_size=batch_size))

    def switch(self) -> MigrationStatus:
        """Recall with the next model from now on, on every worker that has it, within a second.

        What was written by others meanwhile is caught up first.

        Raises:
            ConfigurationError: the generation is not filled; `run()` comes first.
        """
        return wait(self._inner.switch())

    def roll_back(self) -> MigrationStatus:
        """Recall with the former model again, on every worker within a second; the generation stays in step.

        Needs neither embedder, and waits for nobody: a `run` under way goes on, a `finish` that still catches up
        stops.

        Raises:
            ConfigurationError: nothing to go back from, or `finish` replaces the memories' vectors by now.
        """
        return wait(self._inner.roll_back())

    def abandon(self) -> MigrationStatus:
        """Give the change up: recall with the former model, and the generation's vectors are deleted.

        Needs neither embedder. Goes on where it was killed.
        """
        return wait(self._inner.abandon())

    def finish(self, *, on_progress: ProgressFn | None = None, batch_size: int = DEFAULT_BATCH) -> MigrationStatus:
        """Make the new vectors the memories' own, rebuild the index, and delete the generation.

        Recall goes on through the generation until all is done. Goes on where it was killed, also in a store that
        has the new embedder only. There is no way back. Per `batch_size` memories about nine round trips.

        Raises:
            ConfigurationError: recall was not switched, or it was rolled back while this still caught up.
            LeaseHeldError, LeaseLostError, EmbeddingError: as `run`.
        """
        return wait(self._inner.finish(on_progress=on_progress, batch_size=batch_size))


class AgentCache(Bridged):
    """The short-term tiers on a client of your own, as published: `cache.llm`, `.tool`, `.session`.

    No I/O happens before the first call; work in the background begins with it, in whatever loop it is made.
    Use it with `with`, or call `shutdown`. The client stays open; it is yours.
    """

    _inner: AsyncAgentCache

    @property
    def llm(self) -> LlmCache:
        """The `llm` of the asynchronous object."""
        return LlmCache._around(self._inner.llm)

    @property
    def tool(self) -> ToolCache:
        """The `tool` of the asynchronous object."""
        return ToolCache._around(self._inner.tool)

    @property
    def session(self) -> SessionCache:
        """The `session` of the asynchronous object."""
        return SessionCache._around(self._inner.session)

    @property
    def embeddings(self) -> EmbeddingCache:
        """The `embeddings` of the asynchronous object."""
        return EmbeddingCache._around(self._inner.embeddings)

    def stats(self) -> AgentCacheStats:
        """Hits, misses and dollars saved of the caches, by all workers of this name. At most two round trips.

        Counts of other workers follow within a second.
        """
        return wait(self._inner.stats())

    def tool_effectiveness(self) -> list[ToolEffectivenessEntry]:
        """Which tools' caching pays, most dollars saved first, and what to do about their TTLs. As `stats`."""
        return wait(self._inner.tool_effectiveness())

    def flush(self) -> None:
        """Delete all cache entries of this name and the statistics of the caches, and nothing else.

        Memories, configuration, tool policies and other names stay. It walks over all keys of a server:
        a round trip per 1,000 of them.
        """
        wait(self._inner.flush())

    def __init__(self, options: AgentCacheOptions, *, clock: Clock = system_clock) -> None:
        self._inner = call(AsyncAgentCache, options, clock=clock)

    def ensure_discovery_ready(self) -> None:
        """Wait until the cache is announced to the Monitor, if the options ask for it.

        Raises:
            AgentCacheUsageError: the name belongs to something that is no cache.
        """
        wait(self._inner.ensure_discovery_ready())

    def shutdown(self) -> None:
        """Write what waits and stop background work. A second time does nothing.

        Connections that were opened to the nodes of a cluster beside those of your client are closed.
        """
        wait(self._inner.shutdown())

    def __enter__(self) -> AgentCache:
        wait(self._inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wait(self._inner.__aexit__(kind, error, trace))


class AgentConfig(Bridged):
    """The live configuration of all workers of one name.

    What is set here counts for every worker that re-reads: in one interval, or at once where changes are
    listened for. It outlives this process. Everything is checked before anything is written, and what one
    call writes takes effect as a whole; when several write at once, the last one counts for each setting.

    A worker whose `config_refresh` is off shows and writes it for the others; its own memory tier stays as it is.
    """

    _inner: AsyncAgentConfig

    def get(self) -> ConfigInForce:
        """Read the live configuration again, and show what is in force here and what it holds. Two round trips.

        Raises:
            EngineError: it could not be read; what was in force stays so.
        """
        return wait(self._inner.get())

    def set(
        self,
        *,
        threshold: float | None = None,
        weights: RecallWeights | None = None,
        half_life_seconds: float | None = None,
        max_items_per_scope: int | None = None,
        retrieval: Retrieval | None = None,
        scoring: Scoring | None = None,
        exact: bool | None = None,
        diversity: float | None = None,
        hybrid: HybridOptions | Mapping[str, float] | None = None,
    ) -> ConfigInForce:
        """Change the long-term tier of every worker; what is None stays as it is. Two round trips.

        `threshold` is the largest cosine distance of a hit, 0 to 2; `half_life_seconds` is above 0;
        `max_items_per_scope` is 1 or more; `diversity` is 0 to 1. `hybrid` is `HybridOptions(...)`, of which all
        are set, or a mapping such as `{"words_weight": 0.5}`. Returns what is in force here afterwards.

        Raises:
            InvalidInputError: a value cannot be used, or there is none; nothing was written.
            EngineError: it was not written, or, for an OutcomeUnknownError, perhaps.
        """
        return wait(
            self._inner.set(
                threshold=threshold,
                weights=weights,
                half_life_seconds=half_life_seconds,
                max_items_per_scope=max_items_per_scope,
                retrieval=retrieval,
                scoring=scoring,
                exact=exact,
                diversity=diversity,
                hybrid=hybrid,
            )
        )

    def reset(self, *names: str) -> ConfigInForce:
        """Let each worker's constructor decide again: about the settings named as in `set`, or about all.

        Single ones have names of their own, such as `weights.recency` and `hybrid.words_weight`. Tool policies
        stay. Two round trips.

        Raises:
            InvalidInputError: there is no such setting; nothing was written.
        """
        return wait(self._inner.reset(*names))

    def set_tool_ttl(self, tool: str, ttl_seconds: int) -> None:
        """Let every worker keep results of `tool` for `ttl_seconds`, a whole number from 1. One round trip.

        Raises:
            InvalidInputError: the name has a colon or is empty, or the time cannot be used.
        """
        wait(self._inner.set_tool_ttl(tool, ttl_seconds))

    def remove_tool_policy(self, tool: str) -> bool:
        """Let the default decide about `tool` again; true when it had a policy. One round trip."""
        return wait(self._inner.remove_tool_policy(tool))


class Dynamics(Bridged):
    """How the memories of a store strengthen, fade and are believed: `agent.dynamics`, or around any `MemoryStore`.

    `parameters` are the name of a preset ("chatbot", "task_agent", "personal_assistant", "researcher", "default") or
    `DynamicsParameters`. A store of your own ranks recalls by them if it is made with
    `scoring_parameters=parameters.scoring`; an agent does that by itself. `detector` reads an outcome from what a
    person says, in place of `feedback_value`: text to a number from -1 to 1 or None, plain or async.

    It works on memories that any client wrote, and many workers may do it at once: what one learns, none loses.

    Raises:
        ConfigurationError: there is no such preset, or an argument is of another type.
    """

    _inner: AsyncDynamics

    def __init__(
        self,
        store: MemoryStore,
        parameters: Preset | DynamicsParameters | None = None,
        *,
        detector: FeedbackDetector | Callable[..., Any] | None = None,
    ) -> None:
        self._inner = call(AsyncDynamics, store._inner, parameters, detector=as_async(detector))

    @property
    def parameters(self) -> DynamicsParameters:
        """What it goes by."""
        return call(lambda: self._inner.parameters)

    def recall(self, query: str, **options: Any) -> list[MemoryHit]:
        """`recall` of the store with its options, of which the last in each scope is kept in mind for `reward`.

        The round trips of the store's `recall`.

        Raises:
            InvalidInputError: an argument is refused, before the embedder was called.
        """
        return wait(self._inner.recall(query, **options))

    def standing(self, hits: Sequence[MemoryHit | str]) -> list[Standing]:
        """How memories stand, hits or ids, in their order; those that are gone are left out.

        By the parameters of this object, at the time of the call; `hit.standing` goes by those of the store, at the
        time of the recall. No round trip for hits, which are taken as they were read; one per 500 ids.

        Raises:
            InvalidInputError: one is neither a hit nor an id.
        """
        return wait(self._inner.standing(hits))

    def outcome(
        self, hits: Sequence[MemoryHit | str], value: float, *, recalled_at: int | None = None
    ) -> OutcomeResult:
        """Learn how good an answer was that rests on these hits, best first: `value` from -1 (it did harm) to 1.

        The outcome belongs to the hits by rank, and the less, the longer ago they were recalled (`recalled_at`, ms, now
        by default). What surprises teaches: counts of uses and successes, the traces of strength, and, for a success,
        stability, which grows with what had been forgotten. Two round trips and one for the statistics; two more
        each time that somebody else taught one of the memories at the same moment. A memory that was deleted
        meanwhile is not brought back.

        Raises:
            InvalidInputError: a hit, the value or the time is refused.
            VersionConflictError: others taught a memory without a pause; the lessons of the others are learnt.
        """
        return wait(self._inner.outcome(hits, value, recalled_at=recalled_at))

    def reward(
        self,
        feedback: str,
        hits: Sequence[MemoryHit | str] | None = None,
        *,
        recalled_at: int | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
    ) -> OutcomeResult | None:
        """Learn from what a person says of an answer, such as "that was exactly it"; None where it says nothing of it.

        It is about `hits`, or, without them, about those of the last `recall` of this object in exactly this scope. The
        round trips of `outcome`.

        Raises:
            InvalidInputError: nothing was recalled in this scope, or the detector's answer is no outcome.
        """
        return wait(
            self._inner.reward(
                feedback,
                hits,
                recalled_at=recalled_at,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
            )
        )

    def maintain(
        self,
        *,
        forget_below: float | None = None,
        archive: bool = False,
        replay: Replay | None = None,
        dry_run: bool = False,
        wait_seconds: float = 0.0,
        lease_seconds: float = MAINTENANCE_LEASE_SECONDS,
        on_progress: ProgressFn | None = None,
    ) -> MaintenanceResult:
        """All that should be done now and then, as one call for a scheduler; once a day is enough.

        Memories with less strength than `forget_below` (the chain's parameter by default) are forgotten, or put away
        (`archive`, see `forget`), weak ones
        that are important gone through again (`replay`), strengths scaled down where their mean is above its bound,
        and metrics observed for `health`. Pinned memories are spared, and so is what is used while it goes on.

        One worker at a time does it, for which others wait up to `wait_seconds`; what a worker that died had done is
        gone on with. Numbers are read, no texts and no vectors: four round trips per 1,000 memories, and as many as
        changes need. Every memory of the store is looked at.

        Raises:
            InvalidInputError: an argument is refused.
            LeaseHeldError: another worker is at it.
            LeaseLostError: this one stood still for longer than `lease_seconds`.
        """
        return wait(
            self._inner.maintain(
                forget_below=forget_below,
                archive=archive,
                replay=replay,
                dry_run=dry_run,
                wait_seconds=wait_seconds,
                lease_seconds=lease_seconds,
                on_progress=on_progress,
            )
        )

    def consolidate(
        self,
        *,
        days: float = 0.0,
        forget_below: float | None = None,
        archive: bool = False,
        dry_run: bool = False,
        wait_seconds: float = 0.0,
        lease_seconds: float = MAINTENANCE_LEASE_SECONDS,
        on_progress: ProgressFn | None = None,
    ) -> MaintenanceResult:
        """Look `days` (0 to 36,500) ahead, and forget what will have faded by then if nobody uses it, or `archive` it.

        What comes to the core, leaves it or comes to the archive by then is counted. Since strength is a closed form,
        seven days ahead are what one day ahead is on each of seven days. Otherwise as `maintain`.
        """
        return wait(
            self._inner.consolidate(
                days=days,
                forget_below=forget_below,
                archive=archive,
                dry_run=dry_run,
                wait_seconds=wait_seconds,
                lease_seconds=lease_seconds,
                on_progress=on_progress,
            )
        )

    def forget(
        self,
        threshold: float | None = None,
        *,
        archive: bool = False,
        dry_run: bool = False,
        wait_seconds: float = 0.0,
        lease_seconds: float = MAINTENANCE_LEASE_SECONDS,
        on_progress: ProgressFn | None = None,
    ) -> MaintenanceResult:
        """Delete memories with less strength than `threshold` (the chain's `forget_below`), but no pinned ones.

        With `archive` they are put away instead: to where superseded versions are, for the store's `superseded_ttl`
        and no longer than they would have lived. No client recalls, lists or counts them, but who asks for them
        (`recall(include_superseded=True)`, `recall(as_of=...)`, `history`); `restore` brings one back, and who forgets
        it or its scope forgets it there, too.
        `dry_run` counts and writes nothing. Otherwise as `maintain`.
        """
        return wait(
            self._inner.forget(
                threshold,
                archive=archive,
                dry_run=dry_run,
                wait_seconds=wait_seconds,
                lease_seconds=lease_seconds,
                on_progress=on_progress,
            )
        )

    def restore(self, id: str) -> MemoryItem:
        """Bring a memory back that was archived, with all that it had but its links, and return it.

        It is as strong as after a use now, so that the next maintenance does not put it away again. Where its scope is
        full another memory leaves for it. Four round trips, and an embedding call where the store's model has been
        changed since.

        Raises:
            MemoryNotFoundError: no such memory is archived.
            MemoryExistsError: it is not archived, or another memory has its id by now.
            SupersededError: it is the former version of another memory, and no archived one.
            ConfigurationError: it would have to be embedded anew, and the store has no embedder.
        """
        return wait(self._inner.restore(id))

    def replay(
        self,
        replay: Replay | None = None,
        *,
        dry_run: bool = False,
        wait_seconds: float = 0.0,
        lease_seconds: float = MAINTENANCE_LEASE_SECONDS,
        on_progress: ProgressFn | None = None,
    ) -> MaintenanceResult:
        """Go through weak memories that are important again, as in sleep: worth a share of a use each.

        Otherwise as `maintain`.
        """
        return wait(
            self._inner.replay(
                replay, dry_run=dry_run, wait_seconds=wait_seconds, lease_seconds=lease_seconds, on_progress=on_progress
            )
        )

    def downscale(
        self,
        factor: float | None = None,
        *,
        dry_run: bool = False,
        wait_seconds: float = 0.0,
        lease_seconds: float = MAINTENANCE_LEASE_SECONDS,
        on_progress: ProgressFn | None = None,
    ) -> MaintenanceResult:
        """Multiply all strengths with `factor` (above 0, at most 1); by default with what brings their mean down to
        its bound, which is 1 where it is not above.

        The traces of every memory are written, so that every reader finds them; nothing where the factor is 1. Where
        a worker that died had begun with this factor within a day, that is finished, and none is scaled twice.
        Otherwise as `maintain`.
        """
        return wait(
            self._inner.downscale(
                factor, dry_run=dry_run, wait_seconds=wait_seconds, lease_seconds=lease_seconds, on_progress=on_progress
            )
        )

    def stats(self) -> DynamicsStats:
        """How the memories stand, in all and by kind: numbers by layer, mean strength and confidence.

        A pass over all memories, as `maintain`, that writes nothing and holds no lease.
        """
        return wait(self._inner.stats())

    def timeline(
        self,
        *,
        ahead_days: float = 180.0,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        scope: MemoryScope | None = None,
        tags: Sequence[str] | None = None,
        where: Where | None = None,
        kind: MemoryKind | Sequence[MemoryKind] | None = None,
    ) -> Timeline | None:
        """How strong the memories of a scope were since the first was written, and will be in the days to come; None
        where there are none. For `plots.strength_over_time`.

        What is to come is as if none were used. What has been is what can be known: each as since its last use, and
        before that as if it had not been used. The round trips of `stats`, for the memories of the scope.

        Raises:
            InvalidInputError: the scope or a condition is refused, or `ahead_days` (0 to 36,500).
        """
        return wait(
            self._inner.timeline(
                ahead_days=ahead_days,
                thread_id=thread_id,
                agent_id=agent_id,
                namespace=namespace,
                scope=scope,
                tags=tags,
                where=where,
                kind=kind,
            )
        )

    def health(self) -> DynamicsHealth:
        """What the last maintenance observed, and what of it is out of the ordinary. One round trip.

        A metric is judged once it was observed as often as the parameters' `warm_up`.
        """
        return wait(self._inner.health())


class Tenant(Bridged):
    """What an agent has, for one tenant: `memory`, `dynamics`, the caches `llm`, `tool`, `session` and `embeddings`,
    and `config`.

    Made by `agent.tenant(name)`; nothing has to be closed, the agent does that. All of them share the agent's
    connections and its embedder, and none has work in the background while it is not used.
    """

    _inner: AsyncTenant

    @property
    def tenant(self) -> str:
        """What the tenant is called."""
        return call(lambda: self._inner.tenant)

    @property
    def name(self) -> str:
        """What its keys begin with: the name under which a store of its own, in any language, would find them."""
        return call(lambda: self._inner.name)

    @property
    def memory(self) -> MemoryStore:
        """Its memories: every verb of a store."""
        return MemoryStore._around(call(lambda: self._inner.memory))

    @property
    def dynamics(self) -> Dynamics:
        """How its memories strengthen, fade and learn, by the agent's parameters."""
        return Dynamics._around(call(lambda: self._inner.dynamics))

    @property
    def llm(self) -> LlmCache:
        """Its answers of models."""
        return LlmCache._around(call(lambda: self._inner.llm))

    @property
    def tool(self) -> ToolCache:
        """Its results of tools."""
        return ToolCache._around(call(lambda: self._inner.tool))

    @property
    def session(self) -> SessionCache:
        """What it keeps about threads."""
        return SessionCache._around(call(lambda: self._inner.session))

    @property
    def embeddings(self) -> EmbeddingCache:
        """Vectors by text that it keeps by itself; those of its memories go through the agent's."""
        return EmbeddingCache._around(call(lambda: self._inner.embeddings))

    @property
    def config(self) -> AgentConfig:
        """Showing and writing what operators change about this tenant."""
        return AgentConfig._around(call(lambda: self._inner.config))

    def stats(self) -> AgentCacheStats:
        """Hits, misses and dollars saved of its caches, by all workers. At most two round trips."""
        return wait(self._inner.stats())

    def flush(self) -> None:
        """Delete its cache entries and the statistics of its caches, and nothing else. A walk over all keys."""
        wait(self._inner.flush())


class Tenants(Bridged):
    """What is done about tenants: `agent.tenants`.

    They share the agent's engine, its embedder and the options of its tiers. `store` are the arguments of the agent's
    own store.
    """

    _inner: AsyncTenants

    def get(self, tenant: str) -> Tenant:
        """As `agent.tenant`."""
        return Tenant._around(call(self._inner.get, tenant))

    def status(self, tenant: str) -> TenantStatus:
        """Where the tenant's memories are and how much it uses: a walk over all its memories.

        Raises:
            ConfigurationError: it is being deleted, or was.
        """
        return wait(self._inner.status(tenant))

    def set_limits(self, tenant: str, limits: TenantLimits) -> None:
        """Limit what a tenant may use; every worker goes by it within `placement_seconds`. Three round
        trips.

        They stand in the store, in place of `TenantsOptions.limits`, until they are set again.

        Raises:
            ConfigurationError: it is being deleted, or was; `limits` are none.
        """
        wait(self._inner.set_limits(tenant, limits))

    def promote(self, tenant: str, *, on_progress: ProgressFn | None = None) -> TenantStatus:
        """Give a tenant of a pool an index of its own, while everybody goes on reading and writing.

        It takes twice `placement_seconds`, until every worker has heard, and the moving itself: each memory in one
        step, about six round trips per 500. Recalls ask both places meanwhile. Goes on where one that was killed
        stopped. For a tenant that has its own already it moves what late workers may have left in the pool.

        Raises:
            LeaseHeldError: another worker is promoting it.
            LeaseLostError: this process stood still for longer than its lease; promote again.
        """
        return wait(self._inner.promote(tenant, on_progress=on_progress))

    def delete(self, tenant: str) -> DeletedTenant:
        """Delete a tenant whole: memories, index, caches, sessions, change feed, settings, limits; how much there was.

        No other tenant is touched, nor the pool's index. First all workers are told, for `placement_seconds`, and
        refuse what is asked of its memories. Then everything goes, by two looks at all keys of a server. One that was
        killed is gone on with by the next `delete`, once its lease has run out (30 s). The name is not used again: its
        memories are refused for good, so that no worker that was busy all the time brings anything back. Of the
        tenant's caches nobody is kept away: what is stored in them meanwhile may stay.

        Raises:
            LeaseHeldError: another worker is deleting or promoting it.
            LeaseLostError: this process stood still for longer than its lease; delete again.
        """
        return wait(self._inner.delete(tenant))

    def names(self) -> list[str]:
        """The tenants that somebody has used, in order; a server looks at all its keys for it."""
        return wait(self._inner.names())


class LlmCache(Bridged):
    """Answers by request: `agent.llm`. Built by `AgentMemory` and `AgentCache`.

    `ttl_seconds` is the default, None for answers that never expire. `key` says what makes two requests the
    same: `"shared"` compares what the published packages compare, which leaves some parameters out (a
    warning names each once, a metric counts them); `"complete"` compares all, and shares hits only with
    workers that do so too.
    """

    _inner: AsyncLlmCache

    def check(self, params: LlmParams, *, key: KeyChoice | None = None) -> LlmCacheResult:
        """The answer that is kept for a request, or a miss.

        One round trip; two where what is kept cannot be read, which is a miss and is deleted. Looks under
        the key of the published Python package as well, where that differs. Statistics follow within a second.

        Raises:
            InvalidInputError: `params` cannot be a request.
            EngineError: the cache could not be asked.
        """
        return wait(self._inner.check(params, key=key))

    def store(
        self, params: LlmParams, response: str, options: StoreOptions = None, *, key: KeyChoice | None = None
    ) -> str:
        """Keep a text as the answer to a request; the key it is kept under. One round trip.

        `options` are an `LlmStoreOptions`, or a mapping with its fields `ttl` and `tokens`.

        Raises:
            InvalidInputError: something cannot be kept as given; nothing was written.
            EngineError: the cache could not be written.
        """
        return wait(self._inner.store(params, response, options, key=key))

    def store_multipart(
        self,
        params: LlmParams,
        blocks: Sequence[ContentBlock],
        options: StoreOptions = None,
        *,
        key: KeyChoice | None = None,
    ) -> str:
        """Keep blocks as the answer to a request, as `store` does a text; `response` is the text in them.

        Raises:
            InvalidInputError: something cannot be kept as given; nothing was written.
            EngineError: the cache could not be written.
        """
        return wait(self._inner.store_multipart(params, blocks, options, key=key))

    def get_or_call(
        self,
        params: LlmParams,
        call: Call | Callable[..., Any],
        *,
        ttl: int | None = None,
        stale_seconds: int | None = None,
        lease_seconds: float = LEASE_SECONDS,
        wait_seconds: float = WAIT_SECONDS,
        key: KeyChoice | None = None,
    ) -> LlmCacheResult:
        """The answer that is kept, or what `call` answers, which is then kept: one call per request at a time.

        Of all workers that miss, one calls and the others wait for its answer, in this process and in others.
        One that dies is replaced within a second after `lease_seconds`; who has waited `wait_seconds` for another's
        call makes its own. An error of `call` is raised here and to those who wait in this process, and
        nothing is kept; in other processes the next one calls.

        With `stale_seconds` an answer is kept that much longer than its TTL, which must be set then, here or
        as the default. One that is older than its TTL is handed out at once, and one worker fetches a new one
        in the background; `close` waits for that. After an attempt that brought nothing the next one waits, for
        1 s at first and 60 s at most.

        `origin` of the result says where the answer came from. When the cache cannot be reached `call` is
        made all the same, once per process, and counted as a background failure; only a refused password is an
        error. A hit is one round trip, a miss five.

        Raises:
            InvalidInputError: an argument, or what `call` returned, cannot be kept.
            AuthenticationFailedError: the server refuses this client.
        """
        return wait(
            self._inner.get_or_call(
                params,
                as_async(call),
                ttl=ttl,
                stale_seconds=stale_seconds,
                lease_seconds=lease_seconds,
                wait_seconds=wait_seconds,
                key=key,
            )
        )

    def invalidate_by_model(self, model: str) -> int:
        """Delete the answers of one model, by its exact name; how many there were.

        Looks at every key of a server: one round trip per 1,000 keys, and 4 per 1,000 answers. What is stored
        anew meanwhile stays, and so does what cannot be read.
        """
        return wait(self._inner.invalidate_by_model(model))

    def clear(self) -> int:
        """Delete all answers of this cache and nothing else; how many there were.

        Looks at every key of a server: one round trip per 1,000 keys, and 2 per 1,000 answers. A call that is
        under way goes on, and its answer is kept.
        """
        return wait(self._inner.clear())


class ToolCache(Bridged):
    """Results by tool and arguments. Built by `AgentMemory` and `AgentCache`; `agent.tool`.

    `ttl_seconds` is the default, None for results that never expire; a tool's policy goes before it. A
    tool's name has no colon.
    """

    _inner: AsyncToolCache

    def check(self, tool_name: str, args: Any) -> ToolCacheResult:
        """The result that is kept for a call, or a miss.

        One round trip; two where what is kept cannot be read, which is a miss and is deleted. Looks under
        the key of the published Python package as well, where that differs. Statistics follow within a second.

        Raises:
            InvalidInputError: the name has a colon, or the arguments have no JSON form.
            EngineError: the cache could not be asked.
        """
        return wait(self._inner.check(tool_name, args))

    def store(
        self, tool_name: str, args: Any, response: str, options: ToolStoreOptions | Mapping[str, Any] | None = None
    ) -> str:
        """Keep a text as the result of a call; the key it is kept under. One round trip.

        `options` are `ttl`, in seconds, and `cost`, the dollars that a hit saves. Without a TTL the tool's
        policy holds, else the default; the first such result of a process waits until the policies were read,
        two seconds at most.

        Raises:
            InvalidInputError: something cannot be kept as given; nothing was written.
            EngineError: the cache could not be written.
        """
        return wait(self._inner.store(tool_name, args, response, options))

    def cached(
        self,
        *,
        ttl: int | None = None,
        name: str | None = None,
        key: Callable[..., Any] | None = None,
        skip: Iterable[str] = (),
        cost: float | None = None,
        encode: Callable[[Any], str] | None = None,
        decode: Callable[[str], Any] | None = None,
        single_flight: bool | Patience = False,
    ) -> SyncCacheTool:
        """A decorator for async functions: a call with the same arguments is answered from the cache.

        The tool's name is the function's, unless `name` says another. The arguments that are compared are
        those of the call by parameter name, with defaults filled in, whether given by position or by name;
        without the parameters in `skip` (`self`, clients, loggers), or instead what `key` makes of them.
        `ttl` and `cost` are those of `store`.

        A function that returns `str` has its text kept as it is; any other result is kept as JSON and
        validated by the return annotation when it is given back, or goes through `encode` and `decode`. A
        result that would not come back equal is handed out and not kept, and a warning says so once.

        With `single_flight` one worker calls and the others wait for its result, as `get_or_call` does for
        models; a `Patience` says for how long. Exceptions are not kept. When the cache cannot be reached, the
        function is called all the same, and that is counted as a background failure; only a refused password
        is an error. A hit is one round trip, a miss two, with `single_flight` five.

        The decorated function has `invalidate(...)` and `cache_key(...)`, with its own parameters.

        Raises:
            ConfigurationError: the function is not async, or an argument does not fit it.
            InvalidInputError: `ttl` or `cost` cannot be used; later, in a call, arguments without a JSON form.
        """
        return SyncCacheTool(
            call(
                self._inner.cached,
                ttl=ttl,
                name=name,
                key=key,
                skip=skip,
                cost=cost,
                encode=encode,
                decode=decode,
                single_flight=single_flight,
            )
        )

    def set_policy(self, tool_name: str, policy: ToolPolicy) -> None:
        """Let results of a tool be kept for `policy.ttl` seconds from now on, by all workers. One round trip.

        Written, then applied here; other workers follow within their interval. What is kept already keeps
        its expiry.

        Raises:
            InvalidInputError: the name or the TTL cannot be used; nothing was written.
            EngineError: it was not written, or, for an OutcomeUnknownError, perhaps; the next read says.
        """
        wait(self._inner.set_policy(tool_name, policy))

    def remove_policy(self, tool_name: str) -> bool:
        """Let the default hold for a tool again; true when it had a policy. One round trip."""
        return wait(self._inner.remove_policy(tool_name))

    def get_policy(self, tool_name: str) -> ToolPolicy | None:
        """The policy of a tool that is in force here, or None. No round trip."""
        return call(self._inner.get_policy, tool_name)

    def list_policy_names(self) -> list[str]:
        """The tools that have a policy here. No round trip."""
        return call(self._inner.list_policy_names)

    def invalidate(self, tool_name: str, args: Any) -> bool:
        """Delete the result of a call, under both spellings of its key; true when there was one. One round trip."""
        return wait(self._inner.invalidate(tool_name, args))

    def invalidate_by_tool(self, tool_name: str) -> int:
        """Delete all results of a tool, and nothing of a tool whose name begins the same; how many there were.

        One that is stored anew meanwhile may go as well. Looks at every key of a server: about two round
        trips per 1,000.
        """
        return wait(self._inner.invalidate_by_tool(tool_name))

    def refresh_policies(self) -> bool:
        """Read the policies of all tools now, as one whole; false when that failed, which leaves them as they are.

        One round trip. Done in the background every 30 s.
        """
        return wait(self._inner.refresh_policies())

    def load_policies(self) -> None:
        """The same as `refresh_policies`, without saying how it went."""
        wait(self._inner.load_policies())

    def reset_policies(self) -> None:
        """Forget the policies here, until the next read. No round trip."""
        call(self._inner.reset_policies)


class SessionCache(Bridged):
    """Texts by thread and field. Values written without a `ttl` of their own slide: reading renews them.

    A thread's or field's name is any text of up to 8,192 bytes, with at most 32 colons in both together, the empty
    one included. Stored under `{name}:session:{thread}:{field}` as in every package. Field `b:f` of
    thread `a` and field `f` of thread `a:b` share a key: it belongs to the thread that wrote it last.
    """

    _inner: AsyncSessionCache

    def get(self, thread_id: str, field: str, *, fresh: bool = False) -> str | None:
        """The value, or None. One round trip; two when a sliding value has less than 5 s left; none for what the
        near-cache has. `fresh=True` asks the engine all the same.

        Finds what any program has stored under the key, unless another thread of ours claims it. Bytes
        that are no UTF-8 are replaced by U+FFFD, counted and logged.
        """
        return wait(self._inner.get(thread_id, field, fresh=fresh))

    def set(self, thread_id: str, field: str, value: str, ttl: int | None = None) -> None:
        """Store a text. `ttl` seconds from now; without one the tier's lifetime, which reads renew. One round trip.

        Raises:
            InvalidInputError: a name or value is no text or too long, or `ttl` is not 1 or more whole seconds.
            OutcomeUnknownError: the connection broke; it may be stored. Set it again.
        """
        wait(self._inner.set(thread_id, field, value, ttl))

    def set_many(self, thread_id: str, values: Mapping[str, str], ttl: int | None = None) -> None:
        """Store several fields of a thread, as `set` does. One round trip per 160; nothing for no fields.

        All are checked before anything is written. They are not stored in one atomic step: after an error,
        those before may be stored.
        """
        wait(self._inner.set_many(thread_id, values, ttl))

    def get_all(
        self, thread_id: str, *, scan: bool | None = None, include_unclaimed: bool = False, fresh: bool = False
    ) -> dict[str, str]:
        """All fields of a thread by name. Two round trips up to 160 fields, one more when there is some tidying up;
        none for what the near-cache has, unless `fresh` or `scan` is true.

        The key space is scanned only where a program without the index has written meanwhile, whichever thread
        it was. `scan=True` always scans, and so finds what was stored with a bare SET; `scan=False`
        never does. Values slide as with `get`. With `include_unclaimed`, which always scans, there are also the
        fields that `destroy_thread` deletes so: those with a further colon that no thread has claimed.
        """
        return wait(self._inner.get_all(thread_id, scan=scan, include_unclaimed=include_unclaimed, fresh=fresh))

    def scan_fields_by_prefix(self, thread_id: str, field_prefix: str, *, scan: bool | None = None) -> dict[str, str]:
        """The fields of a thread whose names begin with `field_prefix`. Renews nothing; costs what `get_all` costs."""
        return wait(self._inner.scan_fields_by_prefix(thread_id, field_prefix, scan=scan))

    def delete(self, thread_id: str, field: str) -> bool:
        """Delete a field; whether it was there. One round trip, two for names with colons."""
        return wait(self._inner.delete(thread_id, field))

    def destroy_thread(self, thread_id: str, *, include_unclaimed: bool = False) -> int:
        """Delete all fields of a thread, whoever wrote them; how many there were.

        It always scans: a server looks at every key it has, 1,000 per round trip, and then two round trips per 160
        fields. Of keys with a further colon it deletes those that this thread has claimed, and unclaimed fields of
        LangGraph savers; all others count as other threads' and stay. With `include_unclaimed` only those stay
        that another thread has claimed: a field `user:name` of this thread that a published package wrote is
        deleted, and so is what it wrote for a thread called `{thread_id}:user`.
        """
        return wait(self._inner.destroy_thread(thread_id, include_unclaimed=include_unclaimed))

    def touch(self, thread_id: str) -> None:
        """Let every field of a thread live for the tier's lifetime from now, those that live longer excepted.

        Does nothing when the tier has no lifetime. Three round trips, and a scan where `get_all` scans.
        """
        wait(self._inner.touch(thread_id))

    @property
    def near_cache(self) -> NearCacheStatistics | None:
        """What the near-cache did so far, and holds; None without one. No round trip."""
        return call(lambda: self._inner.near_cache)

    def forget_near(self) -> None:
        """Have the next reads ask the engine. No round trip."""
        call(self._inner.forget_near)

    def reset_tracker(self) -> None:
        """Forget which threads were active lately. No round trip."""
        call(self._inner.reset_tracker)


class EmbeddingCache(Bridged):
    """Vectors of texts, shared by all workers of one name: at most `max_entries`, for `ttl_seconds` each.

    Vectors asked for lately are held in this process as well, up to `local_bytes` and five minutes and never
    longer than they are kept, and cost no round trip. `model` is the embedder's name: vectors of two models, of
    two lengths, or of a question and a stored text, are never taken for each other.
    """

    _inner: AsyncEmbeddingCache

    def get_many(
        self, texts: Sequence[str], *, model: str, dimensions: int | None = None, kind: TextKind = "query"
    ) -> list[NDArray[np.float32] | None]:
        """For each text its vector, None where there is none. One round trip per 80 texts, none for recent ones.

        Vectors are read-only and shared. A vector of another length than `dimensions` counts as none.
        """
        return wait(self._inner.get_many(texts, model=model, dimensions=dimensions, kind=kind))

    def put_many(
        self, vectors: Mapping[str, VectorLike], *, model: str, dimensions: int | None = None, kind: TextKind = "query"
    ) -> None:
        """Keep the vectors of these texts. Two round trips per 80 texts.

        Raises:
            InvalidInputError: a vector is none that can be searched with; nothing was written.
        """
        wait(self._inner.put_many(vectors, model=model, dimensions=dimensions, kind=kind))

    def keep_later(self, lookup: EmbeddingLookup, number: int, vector: NDArray[np.float32]) -> None:
        """Keep one vector: found here at once, by other workers within a second. No round trip, unless 1,000 wait.

        It is written with the counts, at the latest when they are at close; a process that is killed loses it.
        """
        wait(self._inner.keep_later(lookup, number, vector))

    def clear(self) -> int:
        """Delete all vectors, of all models; how many there were. A scan: its cost follows the whole key space.

        Other processes may use what they hold in memory for five minutes more.
        """
        return wait(self._inner.clear())

    def stats(self) -> EmbeddingCacheStats:
        """Hits and misses of all workers, and what is held here. At most two round trips."""
        return wait(self._inner.stats())


class AgentMemoryOptions(AsyncAgentMemoryOptions):
    """Everything `AgentMemory(...)` takes when you bring your own client, as published.

    `AgentCacheOptions`, and for the memories, both keyword-only: `embed_fn`, an async function from text
    to vector or an `Embedder`, and `memory`, the long-term tier. Ours, and keyword-only as well: `embeddings`,
    whether vectors of questions are kept (None: where a model's call costs more than a round trip and the
    embedder has a name); `tenants`, how `agent.tenant(...)` keeps those it is asked for; `session_near_cache`,
    whether fields of sessions that were just read come from the memory of this process.
    """

    if TYPE_CHECKING:

        def __init__(
            self,
            client: Client,
            name: Name = ...,
            default_ttl: TtlSeconds | None = ...,
            tier_defaults: dict[Tier, TierDefaults] = ...,
            cost_table: dict[str, ModelCost] = ...,
            use_default_cost_table: Switch = ...,
            telemetry: TelemetryOptions = ...,
            analytics: AnalyticsOptions = ...,
            config_refresh: ConfigRefreshOptions = ...,
            discovery: DiscoveryOptions = ...,
            *,
            embed_fn: Annotated[EmbedFn | Embedder, Accepts("an async function or an Embedder", _embedder)]
            | Callable[..., Any],
            memory: AgentMemoryConfig = ...,
            embeddings: Annotated[bool | EmbeddingCacheOptions, either(EmbeddingCacheOptions)] | None = ...,
            session_near_cache: Near = ...,
            tenants: Annotated[TenantsOptions, Accepts("TenantsOptions(...)")] | None = ...,
        ) -> None: ...

    else:

        def __init__(self, *arguments: Any, **values: Any) -> None:
            super().__init__(*arguments, **with_async_functions(values))
