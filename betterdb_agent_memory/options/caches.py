"""What a caller sets for the short-term tiers."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field

from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.options.checks import (
    Accepts,
    OptionsModel,
    either,
    metric_name,
    number,
    options,
    text,
    whole_number,
)
from betterdb_agent_memory.options.memory import (
    DEFAULT_REFRESH_INTERVAL_MS,
    MIN_REFRESH_INTERVAL_MS,
    Registry,
    Switch,
)
from betterdb_agent_memory.options.names import DEFAULT_NAME, checked_name
from betterdb_agent_memory.options.near import Near

MAX_TTL_SECONDS = 10**10
"""Some 300 years, as long as an engine takes."""
DEFAULT_HEARTBEAT_INTERVAL_MS = 30_000

Tier: TypeAlias = Literal["llm", "tool", "session"]
TIERS: tuple[Tier, ...] = ("llm", "tool", "session")
TtlSeconds: TypeAlias = Annotated[
    int,
    Accepts(
        f"whole seconds from 1 to {MAX_TTL_SECONDS}, or None for entries that never expire",
        whole_number(1, MAX_TTL_SECONDS).check,
    ),
]
Milliseconds: TypeAlias = Annotated[float, number(0, above=True, unit=" of milliseconds")]
Price: TypeAlias = Annotated[float, number(0, unit=" of dollars")]
Name: TypeAlias = Annotated[str, Accepts("a name", checked_name)]


def _client(value: Any) -> Any:
    is_engine = hasattr(value, "records") and hasattr(value, "values")
    if not is_engine and not callable(getattr(value, "execute_command", None)):
        # Not the value itself: it may be a URL with a password.
        raise ConfigurationError(
            f"must be a valkey.asyncio or redis.asyncio client, got {type(value).__name__}; to open a URL use "
            "AgentMemory.open(url)"
        )
    if library := _blocking_library(value):
        raise ConfigurationError(
            f"{type(value).__module__}.{type(value).__name__} is a blocking client; pass one from {library}.asyncio"
        )
    return value


def _blocking_library(client: Any) -> str | None:
    """`valkey` or `redis` for a client of theirs, or a subclass, that blocks the event loop."""
    modules = [cls.__module__ for cls in type(client).__mro__]
    if any(".asyncio" in module for module in modules):
        return None
    return next((root for module in modules if (root := module.partition(".")[0]) in ("valkey", "redis")), None)


Client: TypeAlias = Annotated[Any, Accepts("a client", _client)]


@options
class ModelCost:
    """What a model costs, in dollars per 1,000 tokens read and written."""

    input_per_1k: Price
    output_per_1k: Price


@options
class TierDefaults:
    """What holds for the entries of one tier: how many seconds they are kept, None for the cache's default."""

    ttl: TtlSeconds | None = None


@options
class TelemetryOptions:
    """Where spans and metrics of the cache tiers go; `registry` None means the global one.

    `capture_content` puts answers into span attributes (off: no attribute holds one). `span_names`
    chooses between the spellings of the published packages for operations of several words:
    `agent_cache.session.get_all` (python) or `agent_cache.session.getAll` (typescript). `label` is what metrics are
    counted under, None for the cache's name; with one, what goes to the server is left to whoever has that name.
    """

    tracer_name: Annotated[str, text()] = "@betterdb/agent-cache"
    metrics_prefix: Annotated[str, metric_name()] = "agent_cache"
    registry: Registry | None = None
    capture_content: Switch = False
    span_names: Annotated[Literal["python", "typescript"], Accepts("'python' or 'typescript'")] = "python"
    label: Annotated[str, text()] | None = None


@options
class AnalyticsOptions:
    """Accepted as published, and without meaning: no usage data is collected or sent, whatever it says."""

    disabled: Switch = False
    stats_interval_s: Annotated[float, number(0, unit=" of seconds")] = 300.0


class Analytics:
    """The published class that reported usage. This one does nothing: no usage data is collected or sent."""

    async def init(self, client: Any, name: str, props: dict[str, Any] | None = None) -> None:
        """Nothing."""

    def capture(self, event: str, properties: dict[str, Any] | None = None) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""

    async def shutdown(self) -> None:
        """Nothing."""


@options
class ConfigRefreshOptions:
    """Whether and how often the tool policies are re-read; an interval below 1,000 ms becomes 1,000 ms.

    `live_updates` also listens for changes, over one more connection to the server for each worker.
    """

    enabled: Switch = True
    interval_ms: Milliseconds = DEFAULT_REFRESH_INTERVAL_MS
    live_updates: Switch = True

    @property
    def interval_seconds(self) -> float:
        """The interval that is kept, in seconds."""
        return max(self.interval_ms, MIN_REFRESH_INTERVAL_MS) / 1000


@options
class DiscoveryOptions:
    """Whether and how the cache announces itself to the Monitor, and whether with the names of its policies."""

    enabled: Switch = True
    heartbeat_interval_ms: Milliseconds = DEFAULT_HEARTBEAT_INTERVAL_MS
    include_tool_policies: Switch = True


@options
class AgentCacheOptions:
    """Everything `AgentCache(...)` takes when you bring your own client, as published.

    `client` is a `valkey.asyncio` or `redis.asyncio` client (or anything with an awaitable
    `execute_command`). TTLs are in seconds: `default_ttl` for all tiers, `tier_defaults` for single ones
    ("llm", "tool", "session"). `cost_table` has prices by model, which win over the bundled ones.
    """

    client: Client
    name: Name = DEFAULT_NAME
    default_ttl: TtlSeconds | None = None
    tier_defaults: dict[Tier, TierDefaults] = field(default_factory=dict)
    cost_table: dict[str, ModelCost] = field(default_factory=dict)
    use_default_cost_table: Switch = True
    telemetry: TelemetryOptions = field(default_factory=TelemetryOptions)
    analytics: AnalyticsOptions = field(default_factory=AnalyticsOptions)
    config_refresh: ConfigRefreshOptions = field(default_factory=ConfigRefreshOptions)
    discovery: DiscoveryOptions = field(default_factory=DiscoveryOptions)


class EmbeddingCacheOptions(OptionsModel):
    """How vectors are kept, so that a text embedded before costs no model call."""

    ttl_seconds: TtlSeconds | None = 7 * 86_400
    """How long a vector is kept after it was made."""
    max_entries: Annotated[int, whole_number(2, 10**9)] = 100_000
    """Vectors kept at most under one name, by all workers together; at 1,536 numbers 100,000 take 600 MB."""
    local_bytes: Annotated[int, whole_number(0, unit=" of bytes")] = 8 * 1024 * 1024
    """Memory of this process for vectors asked for lately: they cost not even a round trip."""
    documents: Switch = False
    """Whether texts to be stored are looked up too, and not only questions."""


class CacheOptions(OptionsModel):
    """The short-term tiers of `AgentMemory.open`. Everything has a default; a TTL of None means no expiry."""

    default_ttl_seconds: TtlSeconds | None = None
    """How long entries of all tiers are kept."""
    llm_ttl_seconds: TtlSeconds | None = None
    """How long answers of models are kept; None for the default."""
    tool_ttl_seconds: TtlSeconds | None = None
    """How long results of tools are kept that have no policy of their own; None for the default."""
    session_ttl_seconds: TtlSeconds | None = None
    """How long fields of sessions are kept after they were written or read; None for the default."""
    cost_table: dict[str, ModelCost] = Field(default={})
    """Prices by model, which win over the bundled ones."""
    use_default_cost_table: Switch = True
    """Whether the bundled prices are used."""
    key: Annotated[Literal["shared", "complete"], Accepts("'shared' or 'complete'")] = "shared"
    """Which parameters tell answers of a model apart: those of the published packages, or every one given."""
    embeddings: Annotated[bool | EmbeddingCacheOptions, either(EmbeddingCacheOptions)] | None = None
    """Whether vectors of questions are kept; None means yes where a model's call costs more than a round trip."""
    session_near_cache: Near = False
    """Whether fields of sessions that are read again within a moment come from the memory of this process."""
    config_refresh: Annotated[bool | ConfigRefreshOptions, either(ConfigRefreshOptions)] = True
    """Whether tool policies are re-read while running (every 30 s by default)."""
    discovery: Annotated[bool | DiscoveryOptions, either(DiscoveryOptions)] | None = None
    """Whether the Monitor is told; None means on a server yes, on a file no."""
    telemetry: TelemetryOptions | None = None
    """Names and registry of spans and metrics."""

    def ttl_seconds(self, tier: Tier) -> int | None:
        """How long entries of a tier are kept, None for ever."""
        of_tier: int | None = getattr(self, f"{tier}_ttl_seconds")
        return self.default_ttl_seconds if of_tier is None else of_tier

    @classmethod
    def of(cls, published: AgentCacheOptions) -> Self:
        """The same, said in the published way."""
        ttls = {tier: defaults.ttl for tier, defaults in published.tier_defaults.items()}
        return cls(
            default_ttl_seconds=published.default_ttl,
            llm_ttl_seconds=ttls.get("llm"),
            tool_ttl_seconds=ttls.get("tool"),
            session_ttl_seconds=ttls.get("session"),
            cost_table=published.cost_table,
            use_default_cost_table=published.use_default_cost_table,
            config_refresh=published.config_refresh,
            discovery=published.discovery,
            telemetry=published.telemetry,
        )
