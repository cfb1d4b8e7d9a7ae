"""What is read and written, and what is told about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from betterdb_agent_memory.caches.keys import session_key
from betterdb_agent_memory.caches.session import MAX_NAME_BYTES
from betterdb_agent_memory.caches.session_index import MAX_COLONS
from betterdb_agent_memory.caches.statistics import stats_key
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import InvalidInputError
from tests.caches.session.support import Open, Session


async def test_a_field_is_what_was_set_last(session: Session) -> None:
    cache = session.cache
    assert await cache.get("t", "f") is None
    await cache.set("t", "f", "one")
    await cache.set("t", "f", "")
    assert await cache.get("t", "f") == ""
    assert await cache.delete("t", "f") is True
    assert await cache.delete("t", "f") is False
    assert await cache.get("t", "f") is None
    assert await cache.get_all("t") == {}


async def test_values_are_stored_raw_under_the_published_key(session: Session) -> None:
    await session.cache.set("thread-1", "état 🙂", "значение")
    key = f"{session.name}:session:thread-1:état 🙂"
    assert await session.engine.values.get(key) == "значение".encode()


async def test_a_thread_is_read_whole_and_by_the_beginning_of_names(session: Session) -> None:
    fields = {"last": "1", "latest": "2", "other": "", "é\n*?[a]\\": "4", "": "no name"}
    for field, value in fields.items():
        await session.cache.set("t*", field, value)
    await session.cache.set("tx", "foreign", "x")
    assert await session.cache.get_all("t*") == fields
    assert await session.cache.scan_fields_by_prefix("t*", "la") == {"last": "1", "latest": "2"}
    assert await session.cache.scan_fields_by_prefix("t*", "") == fields
    assert await session.cache.scan_fields_by_prefix("t*", "é\n*") == {"é\n*?[a]\\": "4"}
    assert await session.cache.get_all("t") == {}


async def test_several_fields_are_set_together(opened: Open) -> None:
    session = opened(300)
    values = {f"f{number}": str(number) for number in range(700)}
    await session.cache.set_many("t", values)
    await session.cache.set_many("t", {"f0": "own"}, ttl=100)
    await session.cache.set_many("t", {})
    assert await session.cache.get_all("t") == {**values, "f0": "own"}
    assert 0 < (await session.left_ms("t", "f0") or 0) <= 100_000 < (await session.left_ms("t", "f1") or 0)


async def test_all_or_none_of_several_fields_are_refused(session: Session) -> None:
    with pytest.raises(InvalidInputError, match="value of field 'bad' must be text"):
        await session.cache.set_many("t", {"good": "1", "bad": 2})  # type: ignore[dict-item]
    assert await session.keys("t") == set()


@pytest.mark.parametrize(
    "call",
    [
        ("get", None, "f"),
        ("get", "t", 7),
        ("get", "\ud800", "f"),
        ("get", "t" * (MAX_NAME_BYTES + 1), "f"),
        ("get", "t", ":" * (MAX_COLONS + 1)),
        ("set", "t", "f", b"bytes"),
        ("set", "t", "f", None),
        ("set", "t", "f", "\udcff"),
        ("set", 7, "f", "v"),
        ("set_many", "t", ["f"]),
        ("delete", "t", ("f",)),
        ("get_all", 7),
        ("destroy_thread", None),
        ("touch", "t" * (MAX_NAME_BYTES + 1)),
        ("scan_fields_by_prefix", "t", None),
    ],
)
async def test_what_is_no_text_or_too_long_is_refused(session: Session, call: tuple[Any, ...]) -> None:
    method, *arguments = call
    with pytest.raises(InvalidInputError):
        await getattr(session.cache, method)(*arguments)
    await session.deferred.flush()
    assert await session.engine.values.read_map(stats_key(session.name)) == {}


@pytest.mark.parametrize("ttl", [0, -1, 0.5, "60", True, 10**11])
async def test_f52_a_lifetime_that_is_none_is_refused_before_anything_is_written(session: Session, ttl: Any) -> None:
    with pytest.raises(InvalidInputError, match="ttl"):
        await session.cache.set("t", "f", "v", ttl)
    assert await session.keys("t") == set()
    assert await session.index("t") == {}


async def test_names_of_the_largest_size_work(session: Session) -> None:
    thread, field = "é" * (MAX_NAME_BYTES // 2), "🙂" * (MAX_NAME_BYTES // 4)
    await session.cache.set(thread, field, "v")
    assert await session.cache.get(thread, field) == "v"
    assert await session.cache.get_all(thread) == {field: "v"}
    many = "a:" * (MAX_COLONS - 1) + "a"
    await session.cache.set(many, "f:g", "v")
    assert await session.cache.get_all(many) == {"f:g": "v"}


async def test_a_value_that_no_server_takes_is_refused(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("betterdb_agent_memory.caches.session.MAX_VALUE_BYTES", 1000)
    await session.cache.set("t", "f", "é" * 500)
    with pytest.raises(InvalidInputError, match="has 1001 bytes as UTF-8, at most 1000 are taken"):
        await session.cache.set("t", "f", "é" * 500 + "e")


async def test_bytes_of_others_that_are_no_text_are_replaced_and_counted(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    await session.store("t", "f", b"caf\xe9")
    assert await session.cache.get("t", "f") == "caf\ufffd"
    assert await session.cache.get_all("t", scan=True) == {"f": "caf\ufffd"}
    assert session.watch.corrupt_count == 2
    assert "field 'f' of thread 't' holds bytes that are no UTF-8 (position 3)" in caplog.text
    assert await session.stored("t", "f") == b"caf\xe9"


async def test_reads_and_writes_are_counted_as_published(session: Session) -> None:
    await session.cache.set("t", "f", "v")
    await session.cache.set_many("t", {"g": "v", "h": "v"})
    for field in ("f", "none"):
        await session.cache.get("t", field)
    await session.cache.get_all("t")
    await session.cache.touch("t")
    await session.deferred.flush()
    assert await session.engine.values.read_map(stats_key(session.name)) == {
        "session:writes": b"3",
        "session:indexed_writes": b"3",
        "session:reads": b"2",
        "session:indexed_reads": b"2",
    }


async def test_bytes_and_active_threads_are_measured(session: Session) -> None:
    for thread in ("a", "b", "c"):
        await session.cache.set(thread, "f", "é")
    assert session.metric("stored_bytes_total", tier="session") == 6
    assert session.metric("active_sessions") == 3
    await session.cache.destroy_thread("a")
    await session.cache.destroy_thread("never seen")
    assert session.metric("active_sessions") == 2
    session.cache.reset_tracker()
    assert session.metric("active_sessions") == 0


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter
    exporter.shutdown()


async def test_spans_say_what_was_done_to_which_field(
    served: Open, on_server: ValkeyEngine, exporter: InMemorySpanExporter
) -> None:
    session = served(300)
    cache, key = session.cache, session_key(session.name, "t", "f")
    await cache.set("t", "f", "é")
    await cache.get("t", "f")
    await cache.get("t", "none")
    await cache.get_all("t")
    await cache.touch("t")
    await cache.destroy_thread("t")
    thread = {"cache.name": session.name, "cache.thread_id": "t", "gen_ai.conversation.id": "t"}
    spans = [
        (span.name.removeprefix("agent_cache.session."), dict(span.attributes or {}))
        for span in exporter.get_finished_spans()
    ]
    assert spans == [
        ("set", {**thread, "cache.key": key, "cache.field": "f", "cache.ttl": 300, "cache.bytes": 2}),
        ("get", {**thread, "cache.key": key, "cache.field": "f", "cache.hit": True}),
        ("get", {**thread, "cache.key": f"{key[:-1]}none", "cache.field": "none", "cache.hit": False}),
        ("get_all", {**thread, "cache.field_count": 1}),
        ("touch", {**thread, "cache.touched_count_approx": 1}),
        ("destroy_thread", {**thread, "cache.deleted_count": 1}),
    ]
