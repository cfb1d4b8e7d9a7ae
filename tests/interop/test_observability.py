"""Dashboards and traces made for the published packages go on working: same names, types, labels."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram

from betterdb_agent_memory import (
    ConfigurationError,
    EmbeddingError,
    Fact,
    MemoryItem,
    MemoryStore,
    MemoryTelemetryOptions,
    create_memory_telemetry,
)
from betterdb_agent_memory.errors import ConsolidationError
from tests.embedding import embed
from tests.interop.metrics import collected
from tests.interop.replay import FIXTURES, WRITERS, Writer

OBSERVED: dict[str, Any] = json.loads((FIXTURES / "observability.json").read_text())
SCOPE = "@betterdb/agent-memory"
PREFIX = "agent_memory_"

OUR_METRICS = {
    "agent_memory_recall_refills_total": ("counter", {"store_name"}),
    "agent_memory_recall_inexact_total": ("counter", {"store_name"}),
    "agent_memory_unreadable_records_total": ("counter", {"store_name"}),
    "agent_memory_background_failures_total": ("counter", {"store_name", "work"}),
    "agent_memory_config_values_ignored_total": ("counter", {"store_name", "field"}),
    "agent_memory_reinforcements_pending": ("gauge", {"store_name"}),
    "agent_memory_reinforcements_lost_total": ("counter", {"store_name"}),
    "agent_memory_changes_read_total": ("counter", {"store_name", "kind"}),
    "agent_memory_changes_missed_total": ("counter", {"store_name"}),
    "agent_memory_near_cache_lookups_total": ("counter", {"store_name", "result"}),
    "agent_memory_near_cache_dropped_total": ("counter", {"store_name", "why"}),
}
"""Metrics that the published packages do not have."""

STORE = {"cache.name": "string", "gen_ai.memory.store.id": "string", "error.type": "string"}
OUR_ATTRIBUTES = {
    "agent_memory.remember": STORE
    | {"cache.key": "string", "gen_ai.operation.name": "string", "gen_ai.memory.record.id": "string"},
    "agent_memory.recall": {
        "cache.name": "string",
        "cache.matched_key": "string",
        "gen_ai.operation.name": "string",
        "gen_ai.memory.store.id": "string",
        "gen_ai.memory.record.count": "number",
        "recall.exact": "boolean",
    },
    "agent_memory.consolidate": STORE,
    "agent_memory.consolidateFacts": STORE,
}
"""Attributes that the published packages do not set."""

FAILING_TEXT = "this text cannot be embedded"
TYPES = {bool: "boolean", int: "number", float: "number", str: "string"}


async def embed_or_fail(text: str) -> list[float]:
    if text == FAILING_TEXT:
        raise RuntimeError("the model is down")
    return await embed(text)


@pytest.fixture
async def spans(
    valkey_client: Any, store_name: str, exporter: InMemorySpanExporter, registry: CollectorRegistry
) -> list[ReadableSpan]:
    """What a run with a hit, a near miss, a miss, an expiry, an eviction, consolidations and failures reported."""
    store = MemoryStore(
        client=valkey_client,
        name=store_name,
        embed_fn=embed_or_fail,
        default_threshold=0.33,
        max_items_per_scope=1,
        telemetry=MemoryTelemetryOptions(registry=registry),
    )
    await store.remember("v(1,0,0,0,0,0,0,0) first", thread_id="t", ttl=60)
    await store.remember("v(1,0,0,0,0,0,0,0) second", thread_id="t", importance=1)
    with pytest.raises(EmbeddingError):
        await store.remember(FAILING_TEXT)
    assert await store.recall("v(1,0,0,0,0,0,0,0)")
    assert not await store.recall("v(0.6,0.8,0,0,0,0,0,0)")
    assert not await store.recall("v(-1,0,0,0,0,0,0,0)")
    await store.forget_by_scope(thread_id="t")
    await store.close()
    await consolidate(valkey_client, store_name, registry)
    finished = exporter.get_finished_spans()
    return [span for span in finished if span.instrumentation_scope and span.instrumentation_scope.name == SCOPE]


async def consolidate(client: Any, name: str, registry: CollectorRegistry) -> None:
    """Each kind once with success and once without, and once with nothing to do."""

    async def summarize(_: list[MemoryItem]) -> str:
        return "digest"

    async def extract(_: list[MemoryItem]) -> list[Fact]:
        return [Fact("city", "lives in Bonn"), Fact("ghost", "", tombstone=True)]

    async def fail(_: list[MemoryItem]) -> Any:
        raise RuntimeError("the model is down")

    telemetry = MemoryTelemetryOptions(registry=registry)
    store = MemoryStore(client=client, name=name, embed_fn=embed, telemetry=telemetry)
    await store.remember("note", thread_id="c")
    # Dry runs are not counted.
    await store.consolidate(mode="summary", thread_id="c", dry_run=True)
    await store.consolidate(extract_facts=extract, thread_id="c", dry_run=True)
    with pytest.raises(ConsolidationError):
        await store.consolidate(extract_facts=fail, thread_id="c")
    await store.consolidate(extract_facts=extract, thread_id="c")
    with pytest.raises(ConsolidationError):
        await store.consolidate(summarize=fail, thread_id="c")
    await store.consolidate(summarize=summarize, thread_id="c")
    await store.consolidate(summarize=summarize, thread_id="c")
    await store.forget_by_scope(thread_id="c")
    await store.close()


@pytest.mark.parametrize("writer", WRITERS)
def test_spans_have_the_published_names_attributes_and_states(writer: Writer, spans: list[ReadableSpan]) -> None:
    published = {span["name"]: span for span in OBSERVED[writer]["spans"] if span["scope"] == SCOPE}
    ours = {name: [span for span in spans if span.name == name] for name in {span.name for span in spans}}

    assert set(ours) == set(published)
    for name, runs in ours.items():
        attributes = {key: TYPES[type(value)] for run in runs for key, value in (run.attributes or {}).items()}
        assert attributes == published[name]["attributes"] | OUR_ATTRIBUTES[name]
        assert sorted({run.status.status_code.value for run in runs}) == published[name]["status_codes_seen"]


def test_a_failure_is_one_exception_event_as_in_published_python(spans: list[ReadableSpan]) -> None:
    published = {span["name"]: set(span["events_seen"]) for span in OBSERVED["python"]["spans"]}
    for name in {span.name for span in spans}:
        assert {event.name for span in spans if span.name == name for event in span.events} == published[name]
    failed = [span for span in spans if not span.status.is_ok]
    assert [[event.name for event in span.events] for span in failed] == [["exception"]] * 3


@pytest.mark.parametrize("writer", WRITERS)
def test_metrics_have_the_published_names_types_labels_and_buckets(
    writer: Writer, store_name: str, spans: list[ReadableSpan], registry: CollectorRegistry
) -> None:
    # Where nothing failed in the background, a counter has no sample to show its labels.
    metrics = create_memory_telemetry(MemoryTelemetryOptions(registry=registry)).metrics
    metrics.background_failures.labels(store_name=store_name, work="eviction")
    metrics.config_values_ignored.labels(store_name=store_name, field="recall.threshold")
    metrics.changes_read.labels(store_name=store_name, kind="remembered")
    metrics.near_cache_lookups.labels(store_name=store_name, result="hit")
    metrics.near_cache_dropped.labels(store_name=store_name, why="written")

    ours = {name: seen for name, seen in collected(registry).items() if name.startswith(PREFIX)}
    for metric in OBSERVED[writer]["metrics"]:
        if not metric["name"].startswith(PREFIX):
            continue
        kind, labels, buckets = ours.pop(metric["name"])
        assert (kind, sorted(labels)) == (metric["type"], metric["labels_seen"]), metric["name"]
        assert buckets == [float(bound) for bound in metric.get("buckets", [])], metric["name"]
    assert {name: (kind, labels) for name, (kind, labels, _) in ours.items()} == OUR_METRICS


def test_the_monitor_finds_the_record_that_a_span_is_about(store_name: str, spans: list[ReadableSpan]) -> None:
    """It takes the store from `cache.name`, and looks at the key in `cache.key` or `cache.matched_key`."""
    assert {(span.attributes or {})["cache.name"] for span in spans} == {store_name}
    kept = [str((span.attributes or {}).get("cache.key")) for span in spans if span.name == "agent_memory.remember"]
    [matched] = [
        (span.attributes or {})["cache.matched_key"] for span in spans if "cache.matched_key" in (span.attributes or {})
    ]
    assert matched == kept[1]
    assert kept[1].startswith(f"{store_name}:mem:")


async def test_no_attribute_holds_a_text_unless_asked(
    valkey_client: Any, store_name: str, exporter: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    for capture in (False, True):
        telemetry = MemoryTelemetryOptions(registry=registry, capture_content=capture)
        store = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed, telemetry=telemetry)
        exporter.clear()
        await store.remember("a private note", thread_id="private thread")
        await store.recall("a private question", thread_id="private thread")
        await store.close()
        values = {str(value) for span in exporter.get_finished_spans() for value in (span.attributes or {}).values()}
        assert ({"a private note", "a private question"} <= values) == capture
        assert not capture or "private thread" not in values


@pytest.mark.parametrize("captured", [False, True])
async def test_a_failure_quotes_no_text_unless_asked(
    valkey_client: Any, store_name: str, exporter: InMemorySpanExporter, registry: CollectorRegistry, captured: bool
) -> None:
    async def embed_or_quote(text: str) -> list[float]:
        raise ValueError("cannot embed " + text)

    telemetry = MemoryTelemetryOptions(registry=registry, capture_content=captured)
    store = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed_or_quote, telemetry=telemetry)
    with pytest.raises(EmbeddingError):
        await store.remember("a private note")
    with pytest.raises(EmbeddingError):
        await store.recall("a private note")
    await store.close()
    for span in exporter.get_finished_spans():
        assert ("a private note" in f"{span.to_json()} {span.status.description}") == captured
        [event] = span.events
        assert (event.attributes or {})["exception.type"] == "betterdb_agent_memory.errors.EmbeddingError"
        assert captured or span.status.description == "EmbeddingError"


def test_a_metric_of_somebody_else_is_used_when_it_is_the_same(store_name: str, registry: CollectorRegistry) -> None:
    theirs = Counter("agent_memory_recall_total", "Theirs", ["store_name"], registry=registry)
    Gauge("agent_memory_items", "Theirs", ["store_name"], registry=registry)
    Histogram("agent_memory_recall_latency_seconds", "Theirs", ["store_name"], registry=registry)
    telemetry = create_memory_telemetry(MemoryTelemetryOptions(registry=registry))
    assert telemetry.metrics.recall_total is theirs
    telemetry.metrics.recall_latency.labels(store_name).observe(1)


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        (lambda registry: Gauge("agent_memory_recall_total", "", ["store_name"], registry=registry), "is a Gauge"),
        (lambda registry: Counter("agent_memory_recall_total", "", ["shop"], registry=registry), "the labels shop"),
        (lambda registry: Enum("agent_memory_items", "", states=["a"], registry=registry), "is something else"),
    ],
)
def test_a_metric_of_somebody_else_that_does_not_fit_says_what_to_do(
    theirs: Callable[[CollectorRegistry], object], says: str, registry: CollectorRegistry
) -> None:
    theirs(registry)
    options = MemoryTelemetryOptions(registry=registry)
    with pytest.raises(ConfigurationError, match=f"{says}.*metrics_prefix"):
        create_memory_telemetry(options)
    create_memory_telemetry(MemoryTelemetryOptions(registry=registry, metrics_prefix="bot"))


async def test_a_duration_leads_to_its_trace(
    valkey_client: Any, store_name: str, exporter: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    telemetry = MemoryTelemetryOptions(registry=registry)
    store = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed, telemetry=telemetry)
    await store.remember("note")
    await store.recall("note")
    await store.close()
    [trace_id] = [
        format(span.context.trace_id, "032x")
        for span in exporter.get_finished_spans()
        if span.name == "agent_memory.recall" and span.context is not None
    ]
    exemplars = [
        sample.exemplar.labels for family in registry.collect() for sample in family.samples if sample.exemplar
    ]
    assert exemplars == [{"trace_id": trace_id}]


async def test_what_goes_to_the_server_is_counted_under_the_name_of_the_store(
    valkey_client: Any, store_name: str, registry: CollectorRegistry
) -> None:
    def total(name: str) -> float:
        return registry.get_sample_value(f"betterdb_engine_{name}_total", {"name": store_name}) or 0

    store = MemoryStore(
        client=valkey_client,
        name=store_name,
        embed_fn=embed,
        telemetry=MemoryTelemetryOptions(registry=registry),
    )
    id = await store.remember("x" * 10_000)
    before = [total(name) for name in ("round_trips", "sent_bytes", "received_bytes")]
    assert before[1] > 10_000
    await store.get(id)
    assert total("round_trips") == before[0] + 1
    assert before[2] + 10_000 < total("received_bytes") < before[2] + 10_400
    await store.close()
    del store
    gc.collect()
    assert total("round_trips") == before[0] + 1, "a counter never goes back, also when its engine is gone"


def test_the_published_metrics_count_what_happened(
    store_name: str, spans: list[ReadableSpan], registry: CollectorRegistry
) -> None:
    def value(name: str) -> float | None:
        return registry.get_sample_value(PREFIX + name, {"store_name": store_name})

    assert {
        name: value(name)
        for name in (
            *("items", "recall_total", "recall_hits_total", "recall_empty_total", "recall_near_miss_total"),
            *("embedding_calls_total", "evictions_total", "recall_latency_seconds_count"),
            *("consolidations_total", "fact_tombstone_unmatched_total"),
        )
    } == {
        "items": 0,
        "recall_total": 3,
        "recall_hits_total": 1,
        "recall_empty_total": 2,
        "recall_near_miss_total": 1,
        "embedding_calls_total": 9,
        "evictions_total": 1,
        "recall_latency_seconds_count": 3,
        "consolidations_total": 2,
        "fact_tombstone_unmatched_total": 1,
    }
