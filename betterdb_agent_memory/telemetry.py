"""Spans and metrics: every name in one place.

The names without a remark are the published ones; those under "ours" are additions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeAlias, TypeVar
from weakref import WeakKeyDictionary
from weakref import ref as weakref

from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode, Tracer
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.options import MemoryTelemetryOptions, TelemetryOptions

DEFAULT_TRACER_NAME = "@betterdb/agent-memory"
DEFAULT_METRICS_PREFIX = "agent_memory"
MAX_LABEL_VALUES = 200
"""Distinct names of tools, of models or of parameters that become labels of one registry; others are `other`."""
OTHER = "other"
MAX_CONTENT_CHARACTERS = 4_096
"""Of a text that is captured in an attribute."""
Attribute: TypeAlias = str | int | float | bool
_LATENCY_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_STORE_LABEL = ("store_name",)
_CACHE_LABEL = ("cache_name",)
ENGINE_COUNTERS = {
    "betterdb_engine_round_trips": "Requests to the server, a pipeline counts once",
    "betterdb_engine_sent_bytes": "Bytes of commands' arguments",
    "betterdb_engine_received_bytes": "Bytes of replies",
}
"""Without the ending `_total`; label `name`."""

SPAN_REMEMBER = "agent_memory.remember"
SPAN_REMEMBER_MANY = "agent_memory.remember_many"
SPAN_RECALL = "agent_memory.recall"
SPAN_CONSOLIDATE = "agent_memory.consolidate"
SPAN_CONSOLIDATE_FACTS = "agent_memory.consolidateFacts"

SPAN_LLM_CHECK = "agent_cache.llm.check"
SPAN_LLM_STORE = "agent_cache.llm.store"
SPAN_LLM_STORE_MULTIPART = "agent_cache.llm.store_multipart"
SPAN_LLM_INVALIDATE_BY_MODEL = "agent_cache.llm.invalidate_by_model"
SPAN_LLM_CLEAR = "agent_cache.llm.clear"
SPAN_TOOL_CHECK = "agent_cache.tool.check"
SPAN_TOOL_STORE = "agent_cache.tool.store"
SPAN_TOOL_INVALIDATE_BY_TOOL = "agent_cache.tool.invalidate_by_tool"
SPAN_SESSION_GET = "agent_cache.session.get"
SPAN_SESSION_SET = "agent_cache.session.set"
SPAN_SESSION_GET_ALL = "agent_cache.session.get_all"
SPAN_SESSION_DESTROY_THREAD = "agent_cache.session.destroy_thread"
SPAN_SESSION_TOUCH = "agent_cache.session.touch"

TYPESCRIPT_SPANS = {
    SPAN_LLM_INVALIDATE_BY_MODEL: "agent_cache.llm.invalidateByModel",
    SPAN_TOOL_INVALIDATE_BY_TOOL: "agent_cache.tool.invalidateByTool",
    SPAN_SESSION_GET_ALL: "agent_cache.session.getAll",
    SPAN_SESSION_DESTROY_THREAD: "agent_cache.session.destroyThread",
}
"""The four spans that the published TypeScript package spells differently from the Python one."""


@dataclass(frozen=True, slots=True)
class MemoryMetrics:
    """One metric each, labelled with the store's name."""

    items: Gauge
    recall_total: Counter
    recall_hits: Counter
    recall_empty: Counter
    recall_near_miss: Counter
    recall_latency: Histogram
    embedding_calls: Counter
    evictions: Counter
    consolidations: Counter
    fact_tombstone_unmatched: Counter
    # ours
    recall_refills: Counter
    recall_inexact: Counter
    unreadable_records: Counter
    background_failures: Counter
    reinforcements_pending: Gauge
    reinforcements_lost: Counter
    config_values_ignored: Counter
    changes_read: Counter
    changes_missed: Counter
    near_cache_lookups: Counter
    near_cache_dropped: Counter


@dataclass(frozen=True, slots=True)
class CacheMetrics:
    """One metric each, labelled with the cache's name."""

    requests: Counter
    operation_duration: Histogram
    cost_saved: Counter
    stored_bytes: Counter
    active_sessions: Gauge
    config_refresh_failed: Counter
    discovery_write_failed: Counter
    # ours
    corrupt_entries: Counter
    embedding_lookups: Counter
    single_flight: Counter
    ignored_parameters: Counter
    background_failures: Counter
    near_cache_lookups: Counter
    near_cache_dropped: Counter


def failed(span: Span, error: BaseException, *, capture_content: bool) -> None:
    """End a span as failed: status ERROR, one exception event, and the error's class in `error.type`.

    Its message and its trace may quote a text, so they are told only where content may be.
    """
    kind = type(error)
    span.set_attribute("error.type", kind.__qualname__)
    if capture_content:
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, str(error)))
    else:
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        span.add_event("exception", {"exception.type": module + kind.__qualname__})
        span.set_status(Status(StatusCode.ERROR, kind.__qualname__))


def exemplar(span: Span) -> dict[str, str] | None:
    """What leads from a measured duration to its trace; None for a span that nobody keeps."""
    context = span.get_span_context()
    return {"trace_id": format(context.trace_id, "032x")} if context.trace_flags.sampled else None


class LabelValues:
    """The values of one label: the first `limit` that come, then `other` for every further one."""

    __slots__ = ("_known", "_limit")

    def __init__(self, limit: int = MAX_LABEL_VALUES) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def bounded(self, value: str) -> str:
        """`value` itself while there is room, else `other`."""
        if value not in self._known:
            if len(self._known) >= self._limit:
                return OTHER
            self._known.add(value)
        return value


@dataclass(frozen=True, slots=True)
class MemoryTelemetry:
    """The tracer and the metrics a store reports to."""

    tracer: Tracer
    metrics: MemoryMetrics
    capture_content: bool = False

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Attribute]) -> Iterator[Span]:
        """A span that ends OK, or as ERROR with one exception event when the block raises."""
        span = self.tracer.start_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        )
        if span is trace.INVALID_SPAN:
            # Nobody traces, neither here nor above: nothing has to become the current span, or to end.
            yield span
            return
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except BaseException as error:
                failed(span, error, capture_content=self.capture_content)
                raise
            span.set_status(Status(StatusCode.OK))


@dataclass(frozen=True, slots=True)
class CacheTelemetry:
    """The tracer and the metrics the tiers of a cache report to, and what spans are called."""

    tracer: Tracer
    metrics: CacheMetrics
    tool_names: LabelValues
    models: LabelValues
    parameters: LabelValues
    capture_content: bool = False
    span_names: Mapping[str, str] = field(default_factory=dict)


class Traffic(Protocol):
    """Counts that an engine keeps anyway."""

    round_trips: int
    bytes_sent: int
    bytes_received: int


class EngineTraffic(Collector):
    """Counters of all engines of a process, read when somebody scrapes: a call costs nothing.

    Labelled with the name that the engine was first used for; the tiers of an `AgentMemory` share one
    engine and one name. Those of an engine that is gone still count.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: list[tuple[weakref[object], str, Traffic]] = []
        self._gone: dict[str, list[int]] = {}

    def add(self, engine: object, name: str, traffic: Traffic) -> None:
        """Count an engine in; again is once."""
        with self._lock:
            self._bury()
            if all(known() is not engine for known, _, _ in self._engines):
                self._engines.append((weakref(engine), name, traffic))

    def collect(self) -> Iterable[Metric]:
        """The counters now."""
        with self._lock:
            self._bury()
            totals = {name: [*counts] for name, counts in self._gone.items()}
            for _, name, traffic in self._engines:
                _sum_up(totals, name, traffic)
        for position, (name, about) in enumerate(ENGINE_COUNTERS.items()):
            family = CounterMetricFamily(name, about, labels=["name"])
            for label, counts in totals.items():
                family.add_metric([label], counts[position])
            yield family

    def _bury(self) -> None:
        """Keep what engines that are gone have counted."""
        for engine, name, traffic in self._engines:
            if engine() is None:
                _sum_up(self._gone, name, traffic)
        self._engines = [known for known in self._engines if known[0]() is not None]


def _sum_up(totals: dict[str, list[int]], name: str, traffic: Traffic) -> None:
    counts = totals.setdefault(name, [0, 0, 0])
    counts[0] += traffic.round_trips
    counts[1] += traffic.bytes_sent
    counts[2] += traffic.bytes_received


def export_traffic(engine: object, name: str, traffic: Traffic, registry: CollectorRegistry | None = None) -> None:
    """Let a registry, by default the global one, show what an engine exchanges with its server."""
    registry = REGISTRY if registry is None else registry
    with _registering:
        collector = _engines.get(registry)
        if collector is None:
            collector = _engines[registry] = EngineTraffic()
            registry.register(collector)
    collector.add(engine, name, traffic)


_MetricT = TypeVar("_MetricT", Counter, Gauge, Histogram)
_registered: WeakKeyDictionary[CollectorRegistry, dict[str, Counter | Gauge | Histogram]] = WeakKeyDictionary()
_engines: WeakKeyDictionary[CollectorRegistry, EngineTraffic] = WeakKeyDictionary()
_labels: WeakKeyDictionary[CollectorRegistry, tuple[LabelValues, LabelValues, LabelValues]] = WeakKeyDictionary()
_registering = threading.Lock()


def create_memory_telemetry(options: MemoryTelemetryOptions | None = None) -> MemoryTelemetry:
    """Tracer and metrics for a store; metrics of the same name in the registry are re-used."""
    options = options or MemoryTelemetryOptions()
    registry = options.registry if options.registry is not None else REGISTRY
    prefix = options.metrics_prefix or DEFAULT_METRICS_PREFIX

    def counter(name: str, about: str, labels: Sequence[str] = _STORE_LABEL) -> Counter:
        return _metric(registry, Counter, f"{prefix}_{name}", about, labels)

    def gauge(name: str, about: str) -> Gauge:
        return _metric(registry, Gauge, f"{prefix}_{name}", about, _STORE_LABEL)

    metrics = MemoryMetrics(
        items=gauge("items", "Memories written minus memories deleted by this process"),
        recall_total=counter("recall_total", "Recalls"),
        recall_hits=counter("recall_hits_total", "Recalls that returned at least one memory"),
        recall_empty=counter("recall_empty_total", "Recalls that returned nothing"),
        recall_near_miss=counter(
            "recall_near_miss_total", "Recalls that returned nothing with a memory just beyond the threshold"
        ),
        recall_latency=_metric(
            registry,
            Histogram,
            f"{prefix}_recall_latency_seconds",
            "Duration of a recall",
            _STORE_LABEL,
            partial(Histogram, buckets=_LATENCY_BUCKETS),
        ),
        embedding_calls=counter("embedding_calls_total", "Calls of the embedder"),
        evictions=counter("evictions_total", "Memories that left because their scope was full"),
        consolidations=counter("consolidations_total", "Consolidation runs that had candidates"),
        fact_tombstone_unmatched=counter(
            "fact_tombstone_unmatched_total", "Retractions of facts that no stored fact matched"
        ),
        recall_refills=counter(
            "recall_refills_total", "Extra searches because the index returned memories of other scopes"
        ),
        recall_inexact=counter(
            "recall_inexact_total", "Recalls whose hits may not be the best of their scope: the bound did not hold"
        ),
        unreadable_records=counter("unreadable_records_total", "Records or fields that could not be read"),
        background_failures=counter(
            "background_failures_total", "Best-effort work that failed, by kind", ("store_name", "work")
        ),
        reinforcements_pending=gauge("reinforcements_pending", "Memories whose reinforcement is not yet written"),
        reinforcements_lost=counter("reinforcements_lost_total", "Reinforcements that were given up"),
        config_values_ignored=counter(
            "config_values_ignored_total",
            "Values of the live configuration that could not be used, by field",
            ("store_name", "field"),
        ),
        changes_read=counter("changes_read_total", "Changes handed to readers of the feed", ("store_name", "kind")),
        changes_missed=counter("changes_missed_total", "Changes that were trimmed before a reader came to them"),
        near_cache_lookups=counter(
            "near_cache_lookups_total", "Recalls looked for in the near-cache, by result", ("store_name", "result")
        ),
        near_cache_dropped=counter(
            "near_cache_dropped_total", "Answers dropped from the near-cache, by cause", ("store_name", "why")
        ),
    )
    tracer = trace.get_tracer(options.tracer_name or DEFAULT_TRACER_NAME)
    return MemoryTelemetry(tracer, metrics, options.capture_content)


def create_cache_telemetry(options: TelemetryOptions | None = None) -> CacheTelemetry:
    """Tracer and metrics for the tiers of a cache; metrics of the same name in the registry are re-used."""
    options = options or TelemetryOptions()
    registry = options.registry if options.registry is not None else REGISTRY
    prefix = options.metrics_prefix

    def counter(name: str, about: str, *labels: str) -> Counter:
        return _metric(registry, Counter, f"{prefix}_{name}", about, _CACHE_LABEL + labels)

    metrics = CacheMetrics(
        requests=counter("requests_total", "Checks of the llm and tool tiers", "tier", "result", "tool_name"),
        operation_duration=_metric(
            registry,
            Histogram,
            f"{prefix}_operation_duration_seconds",
            "Duration of check, store, get and set",
            (*_CACHE_LABEL, "tier", "operation"),
            partial(Histogram, buckets=_LATENCY_BUCKETS),
        ),
        cost_saved=counter("cost_saved_total", "Dollars that hits saved", "tier", "model", "tool_name"),
        stored_bytes=counter("stored_bytes_total", "Bytes of stored values", "tier"),
        active_sessions=_metric(
            registry,
            Gauge,
            f"{prefix}_active_sessions",
            "Threads that this process wrote to, at most 10000",
            _CACHE_LABEL,
        ),
        config_refresh_failed=counter("config_refresh_failed_total", "Tool policies that could not be read again"),
        discovery_write_failed=counter("discovery_write_failed_total", "Registrations and heartbeats that failed"),
        corrupt_entries=counter("corrupt_entries_total", "Stored entries that could not be read", "tier"),
        embedding_lookups=counter("embedding_lookups_total", "Texts looked up in the embedding cache", "result"),
        single_flight=counter("single_flight_total", "Misses of get_or_call, by what this caller did", "role"),
        ignored_parameters=counter(
            "ignored_parameters_total", "Requests with a parameter that the shared key leaves out", "parameter"
        ),
        background_failures=counter("background_failures_total", "Best-effort work that failed, by kind", "work"),
        near_cache_lookups=counter(
            "session_near_lookups_total", "Reads of sessions looked for in the near-cache, by result", "result"
        ),
        near_cache_dropped=counter(
            "session_near_dropped_total", "Session values dropped from the near-cache, by cause", "why"
        ),
    )
    tool_names, models, parameters = _label_values(registry)
    return CacheTelemetry(
        trace.get_tracer(options.tracer_name),
        metrics,
        tool_names,
        models,
        parameters,
        options.capture_content,
        TYPESCRIPT_SPANS if options.span_names == "typescript" else {},
    )


def _label_values(registry: CollectorRegistry) -> tuple[LabelValues, LabelValues, LabelValues]:
    with _registering:
        return _labels.setdefault(registry, (LabelValues(), LabelValues(), LabelValues()))


def _metric(
    registry: CollectorRegistry,
    kind: type[_MetricT],
    name: str,
    about: str,
    labels: Sequence[str],
    make: Callable[..., _MetricT] | None = None,
) -> _MetricT:
    with _registering:
        known = _registered.setdefault(registry, {})
        metric = known.get(name)
        if metric is None:
            try:
                metric = (make or kind)(name, about, labels, registry=registry)
            except ValueError:
                # Of somebody else in this process, a published package perhaps: its counts and ours are one metric.
                metric = _existing(registry, name)
                if metric is None:
                    raise _taken(name, "something else") from None
            known[name] = metric
    if not isinstance(metric, kind):
        raise _taken(name, f"a {type(metric).__name__}")
    if tuple(metric._labelnames) != tuple(labels):
        raise _taken(name, f"a {kind.__name__} with the labels {', '.join(metric._labelnames) or '(none)'}")
    return metric


def _existing(registry: CollectorRegistry, name: str) -> Counter | Gauge | Histogram | None:
    """The metric of this name that a registry has; prometheus_client has no public way to ask for it."""
    collector = getattr(registry, "_names_to_collectors", {}).get(name)
    return collector if isinstance(collector, (Counter, Gauge, Histogram)) else None


def _taken(name: str, by: str) -> ConfigurationError:
    return ConfigurationError(
        f"the registry has a metric {name} already, which is {by}: choose another metrics_prefix or registry in "
        "MemoryTelemetryOptions or TelemetryOptions"
    )
