"""What a caller sets for the long-term tier."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeAlias

from prometheus_client import CollectorRegistry

from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.options.checks import (
    Accepts,
    OptionsModel,
    count_of_at_least_one,
    either,
    finite_number,
    metric_name,
    number,
    options,
    switch,
    text,
    whole_number,
)
from betterdb_agent_memory.options.near import Near
from betterdb_agent_memory.options.recall import (
    DEFAULT_EXACT_BUDGET,
    DEFAULT_LANGUAGE,
    DEFAULT_RERANK_DEPTH,
    MAX_EXACT_BUDGET,
    MAX_RERANK_DEPTH,
    HybridOptions,
    Retrieval,
    Scoring,
)
from betterdb_agent_memory.rerankers.base import Reranker, RerankFn
from betterdb_agent_memory.rerankers.function import as_reranker

MAX_THRESHOLD = 2.0
MAX_WEIGHT = 1e30
"""Far above any use; scores of weights near the largest float would be infinite, and order nothing."""
DEFAULT_HALF_LIFE_SECONDS = 604_800.0
DEFAULT_REFRESH_INTERVAL_MS = 30_000
MIN_REFRESH_INTERVAL_MS = 1_000
DEFAULT_MAX_CONTENT_BYTES = 262_144

Threshold: TypeAlias = Annotated[float, number(0, MAX_THRESHOLD)]
HalfLife: TypeAlias = Annotated[float, number(0, above=True, unit=" of seconds")]
MaxItems: TypeAlias = Annotated[int, whole_number(1)]
Switch: TypeAlias = Annotated[bool, switch()]
Diversity: TypeAlias = Annotated[float, number(0, 1)]
Registry: TypeAlias = Annotated[CollectorRegistry, Accepts("a prometheus_client.CollectorRegistry")]


def _reranker(value: Any) -> Any:
    as_reranker(value)
    return value


@dataclass(frozen=True, slots=True)
class DeferredReinforcement:
    """Collect recalled memories and write them back together.

    Writing begins `interval_seconds` after a hit at the latest, and leaves a server half of its time for others;
    `max_pending` waiting memories are written at once.
    """

    interval_seconds: float = 1.0
    max_pending: int = 10_000

    def __post_init__(self) -> None:
        if finite_number("DeferredReinforcement.interval_seconds", self.interval_seconds) <= 0:
            raise ConfigurationError(
                f"DeferredReinforcement.interval_seconds must be above 0, got {self.interval_seconds!r}"
            )
        count_of_at_least_one("DeferredReinforcement.max_pending", self.max_pending)


Reinforcement: TypeAlias = Literal["immediate", "deferred"] | DeferredReinforcement
"""Whether a recall writes its hits back before it returns, or later and merged."""


class MemoryStoreClient(Protocol):
    """The least a client must offer: `valkey.asyncio` and `redis.asyncio` clients do."""

    def execute_command(self, *args: Any) -> Awaitable[Any]:
        """Send one command and return its reply."""


@dataclass(frozen=True, slots=True)
class RecallWeights:
    """How much similarity, recency and importance count in the composite score.

    Each is from 0 to 1e30, and not all are 0. They are not normalised.
    """

    similarity: float
    recency: float
    importance: float

    def __post_init__(self) -> None:
        values = {"similarity": self.similarity, "recency": self.recency, "importance": self.importance}
        for name, value in values.items():
            if not 0 <= finite_number(f"RecallWeights.{name}", value) <= MAX_WEIGHT:
                raise ConfigurationError(f"RecallWeights.{name} must be from 0 to {MAX_WEIGHT:g}, got {value!r}")
        if not any(values.values()):
            raise ConfigurationError("RecallWeights must not all be 0: every memory would score the same")


CONTRACT_WEIGHTS = RecallWeights(similarity=0.6, recency=0.25, importance=0.15)
"""The published default, shared with the other languages."""

Weights: TypeAlias = Annotated[RecallWeights, Accepts("RecallWeights(similarity, recency, importance)")]


@options
class MemoryConfigRefreshConfig:
    """How often live configuration is re-read: `interval_ms` defaults to 30,000, at least 1,000.

    `live_updates` also listens for changes, over one more connection to the server for each worker.
    """

    enabled: Switch | None = None
    interval_ms: Annotated[float, number(0, unit=" of milliseconds")] | None = None
    live_updates: Switch = True


@options
class MemoryDiscoveryConfig:
    """How the store announces itself to the Monitor: the `version` it shows, 30,000 ms between beats."""

    version: Annotated[str, text()] | None = None
    heartbeat_interval_ms: Annotated[int, whole_number(1, unit=" of milliseconds")] | None = None


@options
class ConsolidationConfig:
    """Labels and priors of consolidated facts. `enabled` is accepted and ignored, as published."""

    enabled: Switch | None = None
    fact_source: Annotated[str, text()] | None = None
    fact_importance: Annotated[float, number(0, 1)] | None = None


@options
class ChangeFeedOptions:
    """What the change feed keeps: about the latest `max_changes`, none much older than `max_age_seconds` (None: all).

    `reinforced_share` is the share of reinforcements that it tells, from 0 to 1: recalls would flood it. Whoever
    switches the feed of a store on first says all of this for every worker.
    """

    max_changes: Annotated[int, whole_number(1)] = 100_000
    max_age_seconds: Annotated[int, whole_number(1, unit=" of seconds")] | None = 604_800
    reinforced_share: Annotated[float, number(0, 1)] = 0.01


@options
class MemoryTelemetryOptions:
    """Where spans and metrics go; None means the published default names and the global registry.

    `capture_content` puts remembered texts and queries into span attributes (off: no attribute holds one).
    `label` is what metrics are counted under, None for the store's name; with one, what goes to the server is left
    to whoever has that name.
    """

    tracer_name: Annotated[str, text()] | None = None
    metrics_prefix: Annotated[str, metric_name()] | None = None
    registry: Registry | None = None
    capture_content: Switch = False
    label: Annotated[str, text()] | None = None


@options
class AgentMemoryRecallConfig:
    """Ranking defaults of the facade's memory store."""

    weights: Weights | None = None
    half_life_seconds: HalfLife | None = None


Discovery: TypeAlias = Annotated[bool | MemoryDiscoveryConfig, either(MemoryDiscoveryConfig)]
Refresh: TypeAlias = Annotated[bool | MemoryConfigRefreshConfig, either(MemoryConfigRefreshConfig)]

Feed: TypeAlias = Annotated[bool | ChangeFeedOptions, either(ChangeFeedOptions)]


@options
class AgentMemoryConfig:
    """The facade's memory tier, as published. Ours are `limit_by_tags`, `consolidation`, `telemetry`, `change_feed` and
    `near_cache`.

    `telemetry` None means the published names and the registry of the caches' telemetry.
    """

    default_threshold: Threshold | None = None
    recall: AgentMemoryRecallConfig | None = None
    max_items_per_scope: MaxItems | None = None
    discovery: Discovery = True
    config_refresh: Refresh | None = None
    consolidation: ConsolidationConfig | None = None
    telemetry: MemoryTelemetryOptions | None = None
    change_feed: Feed = False
    near_cache: Near = False
    limit_by_tags: Switch = False


class MemoryOptions(OptionsModel):
    """The long-term tier of `AgentMemory.open`.

    Everything has a default; None means "what the embedder states" for the threshold and "no limit"
    for capacity.
    """

    threshold: Threshold | None = None
    """Largest cosine distance (0 to 2) of a memory that counts as related."""
    weights: Weights | None = None
    """Weights of the composite score; by default recency and importance only break ties."""
    half_life_seconds: HalfLife | None = None
    """Age at which the recency term is one half."""
    max_items_per_scope: MaxItems | None = None
    """Memories kept in one exact scope; above it the least valuable leave."""
    limit_by_tags: Switch = False
    """Whether each exact set of tags in a scope has that limit for itself; all workers of a store agree on it."""
    retrieval: Annotated[Retrieval, Accepts("'vector' or 'hybrid'")] = "hybrid"
    """Whether memories are found by likeness alone, or by the words, dates and persons of the question as well."""
    scoring: Annotated[Scoring, Accepts("'composite', 'activation', 'chain' or 'retrievability'")] = "composite"
    """By which model relevance is weighed against time, use and importance."""
    hybrid: HybridOptions = HybridOptions()
    """How much each sign of relevance counts in hybrid retrieval, and how many memories are looked at."""
    language: Annotated[str, text()] = DEFAULT_LANGUAGE
    """The language whose endings are taken off words: "english", "german" ...; all workers of a store agree on it."""
    exact: Switch = False
    """Whether a recall searches on until no better memory can be left, within the budget."""
    exact_budget: Annotated[int, whole_number(1, MAX_EXACT_BUDGET)] = DEFAULT_EXACT_BUDGET
    """Memories that one exact recall looks at, at most."""
    diversity: Diversity | None = None
    """How relevance counts beside being unlike the other hits (MMR's lambda): 1 is relevance alone, None is off."""
    reranker: Annotated[RerankFn | Reranker, Accepts("an async function or a Reranker", _reranker)] | None = None
    """What reads question and hits together and puts the first ones in order."""
    rerank_depth: Annotated[int, whole_number(1, MAX_RERANK_DEPTH)] = DEFAULT_RERANK_DEPTH
    """Hits that the reranker reads; as many are looked for, whatever `k`."""
    reinforcement: Annotated[
        Reinforcement, Accepts("'immediate', 'deferred' or DeferredReinforcement(interval_seconds, max_pending)")
    ] = "deferred"
    """Whether a recall writes its hits back before it returns, or later and merged."""
    recent_accesses: Switch = False
    """Whether memories keep the times of their last four recalls, in the same write."""
    search_timeout_ms: Annotated[int, whole_number(1, unit=" of milliseconds")] = 5_000
    """Longest time a server may take for one search; a file has no such limit."""
    minimum_ef: Annotated[int, whole_number(1, 4_096)] = 100
    """Least effort (EF_RUNTIME) of a vector search on a server: more finds more of the true neighbours."""
    consolidation: ConsolidationConfig | None = None
    """Label and importance of the facts that consolidation writes."""
    max_content_bytes: Annotated[int, whole_number(1, unit=" of bytes")] = DEFAULT_MAX_CONTENT_BYTES
    """Longest text that `remember` accepts, in UTF-8 bytes."""
    config_refresh: Refresh = True
    """Whether `{name}:__mem_config` is re-read while running (every 30 s by default)."""
    change_feed: Feed = False
    """Whether every change of a memory is told in a log, for `changes`, and what that keeps."""
    near_cache: Near = False
    """Whether a recall that is asked again within a moment is answered from the memory of this process."""
    link_recalled: Switch = False
    """Whether memories that are recalled together are linked, with the write that reinforces them."""
    discovery: Discovery | None = None
    """Whether the Monitor is told; None means on a server yes, on a file no."""
    telemetry: MemoryTelemetryOptions | None = None
    """Names and registry of spans and metrics."""
