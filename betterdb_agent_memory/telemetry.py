"""Spans and metrics: every name in one place.

The names without a remark are the published ones; those under "ours" are additions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode, Tracer
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.options import MemoryTelemetryOptions

DEFAULT_TRACER_NAME = "@betterdb/agent-memory"
DEFAULT_METRICS_PREFIX = "agent_memory"
_LATENCY_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_STORE_LABEL = ("store_name",)

SPAN_REMEMBER = "agent_memory.remember"
SPAN_REMEMBER_MANY = "agent_memory.remember_many"
SPAN_RECALL = "agent_memory.recall"
SPAN_CONSOLIDATE = "agent_memory.consolidate"
SPAN_CONSOLIDATE_FACTS = "agent_memory.consolidateFacts"


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
    unreadable_records: Counter
    background_failures: Counter
    reinforcements_pending: Gauge
    reinforcements_lost: Counter


@dataclass(frozen=True, slots=True)
class MemoryTelemetry:
    """The tracer and the metrics a store reports to."""

    tracer: Tracer
    metrics: MemoryMetrics

    @contextmanager
    def span(self, name: str) -> Iterator[Span]:
        """A span that ends OK, or as ERROR with one exception event when the block raises."""
        with self.tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
            try:
                yield span
            except BaseException as error:
                span.record_exception(error)
                span.set_status(Status(StatusCode.ERROR, str(error)))
                raise
            span.set_status(Status(StatusCode.OK))


_MetricT = TypeVar("_MetricT", Counter, Gauge, Histogram)
_registered: WeakKeyDictionary[CollectorRegistry, dict[str, Counter | Gauge | Histogram]] = WeakKeyDictionary()
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
        unreadable_records=counter("unreadable_records_total", "Records or fields that could not be read"),
        background_failures=counter(
            "background_failures_total", "Best-effort work that failed, by kind", ("store_name", "work")
        ),
        reinforcements_pending=gauge("reinforcements_pending", "Memories whose reinforcement is not yet written"),
        reinforcements_lost=counter("reinforcements_lost_total", "Reinforcements that were given up"),
    )
    return MemoryTelemetry(trace.get_tracer(options.tracer_name or DEFAULT_TRACER_NAME), metrics)


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
            metric = known[name] = (make or kind)(name, about, labels, registry=registry)
    if not isinstance(metric, kind):
        raise ConfigurationError(f"metric {name} is already registered as a {type(metric).__name__}")
    return metric
