"""What a caller sets once: validated when it is constructed, with the field's name in the error."""

from __future__ import annotations

import math
import numbers
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, TypeAlias, TypeGuard

from prometheus_client import CollectorRegistry
from pydantic import BaseModel, ConfigDict, Field

from betterdb_agent_memory.embedders.base import Embedder, EmbedFn
from betterdb_agent_memory.errors import ConfigurationError

DEFAULT_NAME = "betterdb_ac"
MAX_THRESHOLD = 2.0
DEFAULT_HALF_LIFE_SECONDS = 604_800.0
DEFAULT_REFRESH_INTERVAL_MS = 30_000
MIN_REFRESH_INTERVAL_MS = 1_000
DEFAULT_MAX_CONTENT_BYTES = 262_144


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a real number of Python or numpy; a boolean is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def finite_number(name: str, value: object) -> float:
    """`value` as a float, or an error that names it."""
    if not is_number(value) or not math.isfinite(value):
        raise ConfigurationError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def count_of_at_least_one(name: str, value: object) -> int:
    """`value` as a whole number of at least 1, or an error that names it."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < 1:
        raise ConfigurationError(f"{name} must be a whole number of at least 1, got {value!r}")
    return int(value)


@dataclass(frozen=True, slots=True)
class DeferredReinforcement:
    """Collect recalled memories and write them back together.

    A hit waits at most `interval_seconds`; `max_pending` waiting memories are written at once.
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

    Each is finite and not negative, and not all are 0. They are not normalised.
    """

    similarity: float
    recency: float
    importance: float

    def __post_init__(self) -> None:
        values = {"similarity": self.similarity, "recency": self.recency, "importance": self.importance}
        for name, value in values.items():
            if finite_number(f"RecallWeights.{name}", value) < 0:
                raise ConfigurationError(f"RecallWeights.{name} must be at least 0, got {value!r}")
        if not any(values.values()):
            raise ConfigurationError("RecallWeights must not all be 0: every memory would score the same")


CONTRACT_WEIGHTS = RecallWeights(similarity=0.6, recency=0.25, importance=0.15)
"""The published default, shared with the other languages."""


@dataclass(frozen=True, slots=True)
class MemoryConfigRefreshConfig:
    """How often live configuration is re-read: `interval_ms` defaults to 30,000, at least 1,000."""

    enabled: bool | None = None
    interval_ms: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryDiscoveryConfig:
    """How the store announces itself to the Monitor: the `version` it shows, 30,000 ms between beats."""

    version: str | None = None
    heartbeat_interval_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ConsolidationConfig:
    """Labels and priors of consolidated facts. `enabled` is accepted and ignored, as published."""

    enabled: bool | None = None
    fact_source: str | None = None
    fact_importance: float | None = None


@dataclass(frozen=True, slots=True)
class MemoryTelemetryOptions:
    """Where spans and metrics go; None means the published default names and the global registry."""

    tracer_name: str | None = None
    metrics_prefix: str | None = None
    registry: CollectorRegistry | None = None


@dataclass(frozen=True, slots=True)
class AgentMemoryRecallConfig:
    """Ranking defaults of the facade's memory store."""

    weights: RecallWeights | None = None
    half_life_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class AgentMemoryConfig:
    """The facade's memory tier, as published; `consolidation` is an addition."""

    default_threshold: float | None = None
    recall: AgentMemoryRecallConfig | None = None
    max_items_per_scope: int | None = None
    discovery: bool | MemoryDiscoveryConfig = True
    config_refresh: bool | MemoryConfigRefreshConfig | None = None
    consolidation: ConsolidationConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentMemoryOptions:
    """Everything `AgentMemory(...)` takes when you bring your own client, as published.

    `client` is a `valkey.asyncio` or `redis.asyncio` client (or anything with an awaitable
    `execute_command`); `embed_fn` an async function from text to vector, or an `Embedder`.
    """

    client: Any
    embed_fn: EmbedFn | Embedder
    name: str = DEFAULT_NAME
    memory: AgentMemoryConfig = field(default_factory=AgentMemoryConfig)
    telemetry: MemoryTelemetryOptions | None = None


class MemoryOptions(BaseModel):
    """The long-term tier of `AgentMemory.open`.

    Everything has a default; None means "what the embedder states" for the threshold and "no limit"
    for capacity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    threshold: Annotated[float, Field(ge=0, le=MAX_THRESHOLD)] | None = None
    """Largest cosine distance (0 to 2) of a memory that counts as related."""
    weights: RecallWeights | None = None
    """Weights of the composite score; by default recency and importance only break ties."""
    half_life_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Age at which the recency term is one half."""
    max_items_per_scope: Annotated[int, Field(ge=1)] | None = None
    """Memories kept in one exact scope; above it the least valuable leave."""
    reinforcement: Reinforcement = "deferred"
    """Whether a recall writes its hits back before it returns, or later and merged."""
    search_timeout_ms: Annotated[int, Field(ge=1)] = 5_000
    """Longest time a server may take for one search; a file has no such limit."""
    minimum_ef: Annotated[int, Field(ge=1, le=4_096)] = 100
    """Least effort (EF_RUNTIME) of a vector search on a server: more finds more of the true neighbours."""
    consolidation: ConsolidationConfig | None = None
    """Label and importance of the facts that consolidation writes."""
    max_content_bytes: Annotated[int, Field(ge=1)] = DEFAULT_MAX_CONTENT_BYTES
    """Longest text that `remember` accepts, in UTF-8 bytes."""
    config_refresh: bool | MemoryConfigRefreshConfig = True
    """Whether `{name}:__mem_config` is re-read while running (every 30 s by default)."""
    discovery: bool | MemoryDiscoveryConfig | None = None
    """Whether the Monitor is told; None means on a server yes, on a file no."""
    telemetry: MemoryTelemetryOptions | None = None
    """Names and registry of spans and metrics."""
