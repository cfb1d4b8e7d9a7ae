"""Dashboards and traces made for the published cache packages go on working: same names, types, labels."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from betterdb_agent_memory.caches.deferred import DeferredWrites
from betterdb_agent_memory.caches.llm import LlmCache
from betterdb_agent_memory.caches.policies import ToolPolicies, ToolPolicy
from betterdb_agent_memory.caches.pricing import Prices
from betterdb_agent_memory.caches.session import SessionCache
from betterdb_agent_memory.caches.tool import ToolCache
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import EngineUnavailableError
from betterdb_agent_memory.options import ModelCost, TelemetryOptions
from tests.interop.metrics import collected
from tests.interop.replay import FIXTURES, WRITERS, Writer
from tests.servers import ValkeyServer, free_port

OBSERVED: dict[str, Any] = json.loads((FIXTURES / "observability.json").read_text())
SCOPE = "@betterdb/agent-cache"
PREFIX = "agent_cache_"
TYPES = {bool: "boolean", int: "number", float: "number", str: "string"}

OUR_METRICS = {
    "agent_cache_corrupt_entries_total": ("counter", {"cache_name", "tier"}),
    "agent_cache_embedding_lookups_total": ("counter", {"cache_name", "result"}),
    "agent_cache_single_flight_total": ("counter", {"cache_name", "role"}),
    "agent_cache_ignored_parameters_total": ("counter", {"cache_name", "parameter"}),
    "agent_cache_background_failures_total": ("counter", {"cache_name", "work"}),
    "agent_cache_session_near_lookups_total": ("counter", {"cache_name", "result"}),
    "agent_cache_session_near_dropped_total": ("counter", {"cache_name", "why"}),
}
"""Metrics that the published packages do not have."""

MODEL = {"cache.name": "string", "gen_ai.request.model": "string"}
TOOL = {"cache.name": "string", "gen_ai.tool.name": "string"}
THREAD = {"cache.name": "string", "gen_ai.conversation.id": "string"}
OUR_ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    "agent_cache.llm.check": MODEL
    | {
        "gen_ai.operation.name": "string",
        "cache.corrupt": "boolean",
        "cache.saved_input_tokens": "number",
        "cache.saved_output_tokens": "number",
    },
    "agent_cache.llm.store": MODEL,
    "agent_cache.llm.store_multipart": MODEL,
    "agent_cache.llm.invalidate_by_model": MODEL,
    "agent_cache.llm.invalidateByModel": MODEL,
    "agent_cache.tool.check": TOOL,
    "agent_cache.tool.store": TOOL,
    "agent_cache.tool.invalidate_by_tool": TOOL,
    "agent_cache.tool.invalidateByTool": TOOL,
    "agent_cache.session.get": THREAD,
    "agent_cache.session.set": THREAD,
    "agent_cache.session.get_all": THREAD,
    "agent_cache.session.getAll": THREAD,
    "agent_cache.session.destroy_thread": THREAD,
    "agent_cache.session.destroyThread": THREAD,
    "agent_cache.session.touch": THREAD,
}
"""Attributes that were not recorded; `cache.corrupt` of the llm tier is in the contract all the same."""

REQUEST: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "a private question"}]}
OTHER_REQUEST: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "another"}]}
ARGS = {"city": "a private city"}


@dataclass
class Tiers:
    """The tiers of one cache, as the facade wires them."""

    llm: LlmCache
    tool: ToolCache
    session: SessionCache
    watch: CacheWatch
    deferred: DeferredWrites

    @classmethod
    def on(cls, engine: Engine, name: str, telemetry: TelemetryOptions) -> Tiers:
        watch = CacheWatch(name, telemetry)
        watch.export_traffic(engine)
        deferred = DeferredWrites(
            engine.values, f"{name}:__stats", on_failure=lambda: watch.background_failed("statistics")
        )
        prices = Prices({"gpt-4o": ModelCost(1.0, 2.0)}, use_default_cost_table=False)
        shared: dict[str, Any] = {"engine": engine, "watch": watch, "deferred": deferred, "ttl_seconds": 60}
        policies = ToolPolicies(name, values=engine.values, watch=watch)
        return cls(
            LlmCache(name, **shared, prices=prices, clock=system_clock),
            ToolCache(name, **shared, policies=policies, clock=system_clock),
            SessionCache(name, **shared),
            watch,
            deferred,
        )


async def use(tiers: Tiers, engine: Engine) -> None:
    """Hits, misses, unreadable entries, expiries, invalidations, and a thread from its first word to its end."""
    llm, tool, session = tiers.llm, tiers.tool, tiers.session
    assert not (await llm.check(REQUEST)).hit
    key = await llm.store(REQUEST, "a private answer", {"tokens": {"input": 1000, "output": 1000}})
    assert (await llm.check(REQUEST)).hit
    await llm.store_multipart(OTHER_REQUEST, [{"type": "text", "text": "a private block"}])
    await engine.values.set(key, b"{not json")
    assert not (await llm.check(REQUEST)).hit
    assert await llm.invalidate_by_model("gpt-4o") == 1

    assert not (await tool.check("weather", ARGS)).hit
    key = await tool.store("weather", ARGS, "a private result", {"cost": 0.5})
    assert (await tool.check("weather", ARGS)).hit
    await engine.values.set(key, b"{not json")
    assert not (await tool.check("weather", ARGS)).hit
    await tool.set_policy("weather", ToolPolicy(ttl=60))
    assert await tool.invalidate_by_tool("weather") == 0

    assert await session.get("thread-1", "field-1") is None
    await session.set("thread-1", "field-1", "a private value")
    await session.set("thread-2", "field-1", "value")
    assert await session.get("thread-1", "field-1") == "a private value"
    assert await session.get_all("thread-1") == {"field-1": "a private value"}
    await session.touch("thread-1")
    assert await session.destroy_thread("thread-1") == 1


@pytest.fixture(params=WRITERS)
async def writer(request: pytest.FixtureRequest) -> Writer:
    """Whose names the run is compared with."""
    chosen: Writer = request.param
    return chosen


@pytest.fixture
async def spans(
    writer: Writer,
    valkey_server: ValkeyServer,
    store_name: str,
    exporter: InMemorySpanExporter,
    registry: CollectorRegistry,
) -> AsyncIterator[list[ReadableSpan]]:
    engine = ValkeyEngine.from_url(valkey_server.url)
    names: Any = "typescript" if writer == "ts" else "python"
    tiers = Tiers.on(engine, store_name, TelemetryOptions(registry=registry, span_names=names))
    await use(tiers, engine)
    await tiers.deferred.close()
    yield [
        span
        for span in exporter.get_finished_spans()
        if span.instrumentation_scope and span.instrumentation_scope.name == SCOPE
    ]
    await engine.close()


def test_spans_have_the_published_names_and_attributes(writer: Writer, spans: list[ReadableSpan]) -> None:
    published = {span["name"]: span for span in OBSERVED[writer]["spans"] if span["scope"] == SCOPE}
    ours = {name: [span for span in spans if span.name == name] for name in {span.name for span in spans}}

    assert set(ours) == set(published)
    for name, runs in ours.items():
        attributes = {key: TYPES[type(value)] for run in runs for key, value in (run.attributes or {}).items()}
        assert attributes == published[name]["attributes"] | OUR_ATTRIBUTES[name], name


def test_success_leaves_the_status_unset_and_has_no_event(spans: list[ReadableSpan]) -> None:
    assert {span.status.status_code.value for span in spans} == {0}
    assert [event for span in spans for event in span.events] == []


def test_attributes_hold_what_the_contract_says(store_name: str, spans: list[ReadableSpan]) -> None:
    def first(name: str, index: int = 0) -> dict[str, Any]:
        return dict([span for span in spans if span.name == name][index].attributes or {})

    store = first("agent_cache.llm.store")
    assert store["cache.key"].startswith(f"{store_name}:llm:")
    assert (store["cache.ttl"], store["cache.model"]) == (60, "gpt-4o")
    checks = [first("agent_cache.llm.check", index) for index in range(3)]
    assert [check["cache.hit"] for check in checks] == [False, True, False]
    assert [check.get("cache.corrupt") for check in checks] == [None, None, True]
    assert {check["cache.key"] for check in checks} == {store["cache.key"]}
    assert {check["gen_ai.operation.name"] for check in checks} == {"fetch_response"}
    assert (checks[1]["cache.saved_input_tokens"], checks[1]["cache.saved_output_tokens"]) == (1000, 1000)
    multipart = first("agent_cache.llm.store_multipart")
    assert (multipart["cache.blocks"], multipart["cache.ttl"]) == (1, 60)
    get = first("agent_cache.session.get")
    assert get["cache.key"] == f"{store_name}:session:thread-1:field-1"
    assert (get["cache.thread_id"], get["cache.field"], get["gen_ai.conversation.id"]) == (
        "thread-1",
        "field-1",
        "thread-1",
    )
    assert {(span.attributes or {})["cache.name"] for span in spans} == {store_name}


def test_no_attribute_holds_content(spans: list[ReadableSpan]) -> None:
    values = [str(value) for span in spans for value in (span.attributes or {}).values()]
    assert [value for value in values if "private" in value] == []


def test_metrics_have_the_published_names_types_labels_and_buckets(
    writer: Writer, store_name: str, spans: list[ReadableSpan], registry: CollectorRegistry
) -> None:
    # Where nothing failed, a counter has no sample to show its labels.
    watch = CacheWatch(store_name, TelemetryOptions(registry=registry))
    for work in ("policies", "discovery"):
        watch.background_failed(work)
    watch.embedding_lookup(hits=1, misses=1)
    watch.single_flight("leader")
    watch.ignored_parameters(["top_k"])
    watch.session_near_lookup(is_hit=True)
    watch.session_near_dropped("written", 1)

    ours = {name: seen for name, seen in collected(registry).items() if name.startswith(PREFIX)}
    for metric in OBSERVED[writer]["metrics"]:
        if not metric["name"].startswith(PREFIX):
            continue
        kind, labels, buckets = ours.pop(metric["name"])
        # The recording shows no labels where a counter had no sample.
        assert (kind, sorted(labels)) == (metric["type"], metric["labels_seen"] or ["cache_name"]), metric["name"]
        assert buckets == [float(bound) for bound in metric.get("buckets", [])], metric["name"]
    assert {name: (kind, labels) for name, (kind, labels, _) in ours.items()} == OUR_METRICS


def test_the_exposition_counts_what_happened(
    store_name: str, spans: list[ReadableSpan], registry: CollectorRegistry
) -> None:
    samples = {
        (sample.name, *sorted(label for key, label in sample.labels.items() if key != "cache_name")): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if sample.labels.get("cache_name") == store_name and "_created" not in sample.name and "le" not in sample.labels
    }

    def shown(name: str) -> dict[tuple[str, ...], float]:
        return {labels: value for (sample, *rest), value in samples.items() if sample == name for labels in [(*rest,)]}

    assert shown("agent_cache_requests_total") == {
        ("", "hit", "llm"): 1,
        ("", "llm", "miss"): 2,
        ("hit", "tool", "weather"): 1,
        ("miss", "tool", "weather"): 2,
    }
    assert shown("agent_cache_cost_saved_total") == {("", "gpt-4o", "llm"): 3.0, ("", "tool", "weather"): 0.5}
    assert shown("agent_cache_operation_duration_seconds_count") == {
        ("check", "llm"): 3,
        ("llm", "store"): 2,
        ("check", "tool"): 3,
        ("store", "tool"): 1,
        ("get", "session"): 2,
        ("session", "set"): 2,
    }
    assert shown("agent_cache_active_sessions") == {(): 1}
    assert shown("agent_cache_corrupt_entries_total") == {
        ("llm",): 1,
        ("tool",): 1,
        ("session",): 0,
        ("embedding",): 0,
    }
    stored = shown("agent_cache_stored_bytes_total")
    assert stored[("session",)] == len("a private value") + len("value")
    assert stored[("tool",)] > len("a private result")
    assert stored[("llm",)] > len("a private answer" + "a private block")
    assert registry.get_sample_value("betterdb_engine_round_trips_total", {"name": store_name})


@pytest.mark.parametrize("ask", ["llm", "tool", "session"])
async def test_a_failure_is_an_error_with_one_exception_event(
    ask: str, store_name: str, exporter: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    engine = ValkeyEngine.from_url(f"valkey://127.0.0.1:{free_port()}")
    tiers = Tiers.on(engine, store_name, TelemetryOptions(registry=registry))
    asked = {
        "llm": lambda: tiers.llm.check(REQUEST),
        "tool": lambda: tiers.tool.check("weather", ARGS),
        "session": lambda: tiers.session.get("t", "f"),
    }
    with pytest.raises(EngineUnavailableError):
        await asked[ask]()
    [span] = exporter.get_finished_spans()
    assert span.status.status_code.value == 2
    assert [event.name for event in span.events] == ["exception"]
    assert (span.attributes or {})["error.type"] == "EngineUnavailableError"
    assert (
        registry.get_sample_value(
            "agent_cache_operation_duration_seconds_count",
            {"cache_name": store_name, "tier": ask, "operation": "get" if ask == "session" else "check"},
        )
        == 0
    )
    await engine.close()
