"""What operators see of the caches: bounded labels, one gauge of threads, traces that lead on, and no content."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from betterdb_agent_memory.caches.watch import MAX_ACTIVE_SESSIONS, CacheWatch
from betterdb_agent_memory.options import TelemetryOptions
from betterdb_agent_memory.telemetry import MAX_LABEL_VALUES, OTHER, LabelValues


@pytest.fixture
def watch(registry: CollectorRegistry) -> CacheWatch:
    return CacheWatch("c", TelemetryOptions(registry=registry))


def label_values(registry: CollectorRegistry, metric: str, label: str) -> set[str]:
    return {sample.labels[label] for family in registry.collect() for sample in family.samples if sample.name == metric}


def test_tools_models_and_parameters_beyond_two_hundred_are_one_label_for_all_caches_of_a_process(
    registry: CollectorRegistry,
) -> None:
    for name in ("c", "d"):
        watch = CacheWatch(name, TelemetryOptions(registry=registry))
        for number in range(150):
            with watch.tool_check("key", f"{name}-tool-{number}") as seen:
                seen.hit(cost_saved=1.0)
            with watch.llm_check("key", f"{name}-model-{number}") as seen:
                seen.hit(cost_saved=1.0)
            watch.ignored_parameters([f"{name}-parameter-{number}"])
    tools = label_values(registry, "agent_cache_requests_total", "tool_name") - {""}
    assert len(tools) == MAX_LABEL_VALUES + 1
    assert OTHER in tools
    models = label_values(registry, "agent_cache_cost_saved_total", "model") - {""}
    assert len(models) == MAX_LABEL_VALUES + 1
    parameters = label_values(registry, "agent_cache_ignored_parameters_total", "parameter")
    assert len(parameters) == MAX_LABEL_VALUES + 1
    hits = {"cache_name": "d", "tier": "tool", "result": "hit", "tool_name": OTHER}
    assert registry.get_sample_value("agent_cache_requests_total", hits) == 100


def test_a_known_label_stays_when_there_is_no_room_for_more() -> None:
    values = LabelValues(limit=2)
    assert [values.bounded(value) for value in "abcab"] == ["a", "b", OTHER, "a", "b"]


@pytest.mark.parametrize("cost", [math.nan, math.inf, -1.0])
def test_a_senseless_cost_of_another_writer_is_not_counted(watch: CacheWatch, cost: float) -> None:
    with watch.llm_check("key", "m") as seen:
        seen.hit(cost_saved=cost)


def sessions(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("agent_cache_active_sessions", {"cache_name": "c"})


def test_active_sessions_are_the_threads_written_to_last(watch: CacheWatch, registry: CollectorRegistry) -> None:
    for number in range(MAX_ACTIVE_SESSIONS + 5):
        watch.thread_active(f"thread {number}")
    assert sessions(registry) == MAX_ACTIVE_SESSIONS
    watch.thread_gone("thread 0")  # was pushed out already
    watch.thread_gone("thread 9")
    watch.thread_gone("thread 9")
    assert sessions(registry) == MAX_ACTIVE_SESSIONS - 1


def test_a_flush_takes_its_own_threads_from_the_gauge_and_no_others(
    watch: CacheWatch, registry: CollectorRegistry
) -> None:
    other = CacheWatch("c", TelemetryOptions(registry=registry))
    other.thread_active("a")
    for thread in "abb":
        watch.thread_active(thread)
    assert sessions(registry) == 3
    watch.threads_reset()
    assert sessions(registry) == 1
    watch.threads_reset()
    assert sessions(registry) == 1


def test_failures_of_policies_and_discovery_count_in_the_published_metrics_too(
    watch: CacheWatch, registry: CollectorRegistry
) -> None:
    for work in ("policies", "discovery", "statistics"):
        watch.background_failed(work)

    def count(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"agent_cache_{name}_total", {"cache_name": "c", **labels})

    assert count("config_refresh_failed") == count("discovery_write_failed") == 1
    assert count("background_failures", work="statistics") == count("background_failures", work="policies") == 1
    assert watch.background_failure_count == 3


@pytest.mark.parametrize("asked", [False, True])
def test_content_is_in_no_attribute_unless_asked(
    asked: bool, registry: CollectorRegistry, exporter: InMemorySpanExporter
) -> None:
    watch = CacheWatch("c", TelemetryOptions(registry=registry, capture_content=asked))
    with watch.llm_check("key", "m") as seen:
        seen.hit()
        seen.content("the answer" * 1_000)
    [span] = exporter.get_finished_spans()
    content = (span.attributes or {}).get("cache.content")
    assert content == (("the answer" * 1_000)[:4_096] if asked else None)


@pytest.mark.parametrize("asked", [False, True])
def test_a_failure_quotes_no_content_unless_asked(
    asked: bool, registry: CollectorRegistry, exporter: InMemorySpanExporter
) -> None:
    watch = CacheWatch("c", TelemetryOptions(registry=registry, capture_content=asked))
    with pytest.raises(ValueError, match="private"), watch.tool_check("key", "weather"):
        raise ValueError("cannot read a private answer")
    [span] = exporter.get_finished_spans()
    assert ("a private answer" in f"{span.to_json()} {span.status.description}") == asked
    assert [(event.name, (event.attributes or {})["exception.type"]) for event in span.events] == [
        ("exception", "ValueError")
    ]


def test_a_duration_leads_to_its_trace_and_spans_below_belong_to_it(
    watch: CacheWatch, registry: CollectorRegistry, exporter: InMemorySpanExporter
) -> None:
    with watch.llm_check("key", "m") as seen:
        with trace.get_tracer("driver").start_as_current_span("GET"):
            pass
        seen.miss()
    below, check = exporter.get_finished_spans()
    assert check.context is not None
    assert below.parent is not None
    assert below.parent.span_id == check.context.span_id
    assert f'trace_id="{check.context.trace_id:032x}"' in generate_latest(registry).decode()
    assert not trace.get_current_span().get_span_context().is_valid, "nothing may hang on a span that has ended"


def test_a_failed_operation_measures_no_duration(watch: CacheWatch, registry: CollectorRegistry) -> None:
    with pytest.raises(OSError, match="gone"), watch.llm_store("key", "m", None):
        raise OSError("gone")
    labels = {"cache_name": "c", "tier": "llm", "operation": "store"}
    assert registry.get_sample_value("agent_cache_operation_duration_seconds_count", labels) == 0


NO_SDK = """
import time
from prometheus_client import CollectorRegistry
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.options import TelemetryOptions

watch = CacheWatch("c", TelemetryOptions(registry=CollectorRegistry()))

def check():
    with watch.llm_check("c:llm:" + "a" * 64, "gpt-4o") as seen:
        seen.hit(cost_saved=0.01)

best = 1.0
for _ in range(20):
    started = time.process_time()
    for _ in range(500):
        check()
    best = min(best, (time.process_time() - started) / 500)
print(best)
"""


def test_watching_a_check_costs_microseconds() -> None:
    """Without an OpenTelemetry SDK, which is process-wide: so in a process of its own. About 5 µs here."""

    output = subprocess.run([sys.executable, "-c", NO_SDK], capture_output=True, text=True, check=True, timeout=60)
    assert float(output.stdout) < 50e-6


def test_names_of_the_typescript_package_on_request(
    registry: CollectorRegistry, exporter: InMemorySpanExporter
) -> None:
    for spelling in ("python", "typescript"):
        options: Any = {"registry": registry, "span_names": spelling}
        watch = CacheWatch("c", TelemetryOptions(**options))
        for operation in (
            watch.llm_invalidate_by_model("m"),
            watch.tool_invalidate_by_tool("t"),
            watch.session_get_all("t"),
            watch.session_destroy_thread("t"),
            watch.session_touch("t"),
        ):
            with operation as seen:
                seen.count(1)
    names = [span.name.removeprefix("agent_cache.") for span in exporter.get_finished_spans()]
    assert names[:5] == [
        *("llm.invalidate_by_model", "tool.invalidate_by_tool", "session.get_all", "session.destroy_thread"),
        "session.touch",
    ]
    assert names[5:] == [
        *("llm.invalidateByModel", "tool.invalidateByTool", "session.getAll", "session.destroyThread"),
        "session.touch",
    ]
