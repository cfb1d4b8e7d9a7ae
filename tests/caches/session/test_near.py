"""Fields that were just read come from this process's memory, never later than the bound, and no expiry is moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from betterdb_agent_memory import AgentMemory, CacheOptions, InvalidInputError, NearCacheOptions, NearCacheStatistics
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.caches.session.support import Open, Session, trips
from tests.embedding import embed
from tests.near import Stopwatch, comes, near


def held(session: Session) -> NearCacheStatistics:
    statistics = session.cache.near_cache
    assert statistics is not None
    return statistics


async def test_read_again_nothing_is_asked(served: Open, on_server: ValkeyEngine) -> None:
    session, bare = served(near=near(Stopwatch())), served()
    await session.cache.set_many("t", {"a": "1", "b": "2"})
    assert await trips(on_server, session.cache.get("t", "a"), "1") == 1
    assert await trips(on_server, session.cache.get("t", "none"), None) == 1
    assert await trips(on_server, session.cache.get_all("t"), {"a": "1", "b": "2"}) == 2
    for _ in range(2):
        assert await trips(on_server, session.cache.get("t", "a"), "1") == 0
        assert await trips(on_server, session.cache.get("t", "none"), None) == 0
        assert await trips(on_server, session.cache.get_all("t"), {"a": "1", "b": "2"}) == 0
    (await session.cache.get_all("t")).clear()
    assert await trips(on_server, session.cache.get_all("t"), {"a": "1", "b": "2"}) == 0
    assert await trips(on_server, session.cache.get("t", "a", fresh=True), "1") == 1
    assert await trips(on_server, session.cache.get_all("t", fresh=True), {"a": "1", "b": "2"}) == 2
    assert await trips(on_server, session.cache.get_all("t", scan=True), {"a": "1", "b": "2"}) > 2
    assert (held(session).hits, held(session).misses) == (8, 3)
    assert session.metric("session_near_lookups_total", result="hit") == 8
    assert bare.cache.near_cache is None
    with pytest.raises(InvalidInputError, match="fresh must be true or false"):
        await session.cache.get("t", "a", fresh=1)  # type: ignore[arg-type]


async def test_what_another_worker_wrote_is_seen_when_the_bound_is_reached(opened: Open) -> None:
    stopwatch = Stopwatch()
    reader, writer = opened(near=near(stopwatch, max_age_seconds=2.0)), opened()
    await writer.cache.set("t", "a", "1")
    assert (await reader.cache.get("t", "a"), await reader.cache.get_all("t")) == ("1", {"a": "1"})
    await writer.cache.set("t", "a", "2")
    await writer.cache.set("t", "b", "3")
    stopwatch.seconds += 1.999
    assert (await reader.cache.get("t", "a"), await reader.cache.get_all("t")) == ("1", {"a": "1"})
    stopwatch.seconds += 0.001
    assert (await reader.cache.get("t", "a"), await reader.cache.get_all("t")) == ("2", {"a": "2", "b": "3"})


async def test_what_it_writes_itself_is_seen_at_once(opened: Open) -> None:
    session, other = opened(near=near(Stopwatch())), opened()
    cache = session.cache
    await other.cache.set("u", "f", "stays")

    async def is_seen(expected: dict[str, str]) -> None:
        assert await cache.get_all("t") == expected
        assert {name: text for name in "abc" if (text := await cache.get("t", name)) is not None} == expected

    await is_seen({})
    assert await cache.get("u", "f") == "stays"
    await other.cache.set("u", "f", "elsewhere")
    await cache.set("t", "a", "1")
    await is_seen({"a": "1"})
    await cache.set_many("t", {"a": "2", "b": "3"})
    await is_seen({"a": "2", "b": "3"})
    assert await cache.delete("t", "a")
    await is_seen({"b": "3"})
    await cache.set("t", "c", "4", ttl=60)
    await is_seen({"b": "3", "c": "4"})
    assert await cache.destroy_thread("t") == 2
    await is_seen({})
    assert await cache.get("u", "f") == "stays", "another thread's fields are kept"


async def test_a_field_that_another_thread_takes_over_is_seen_at_once(opened: Open) -> None:
    """Field `b:f` of thread `a` and field `f` of thread `a:b` share a key."""
    cache = opened(near=near(Stopwatch())).cache
    await cache.set("a", "b:f", "a's")
    assert (await cache.get("a", "b:f"), await cache.get("a:b", "f")) == ("a's", None)
    assert (await cache.get_all("a"), await cache.get_all("a:b")) == ({"b:f": "a's"}, {})
    await cache.set("a:b", "f", "b's")
    assert (await cache.get("a", "b:f"), await cache.get("a:b", "f")) == (None, "b's")
    assert (await cache.get_all("a"), await cache.get_all("a:b")) == ({}, {"f": "b's"})


async def test_a_field_that_has_expired_does_not_come_back(opened: Open) -> None:
    session = opened(near=NearCacheOptions(max_age_seconds=600))
    await session.cache.set("t", "stays", "1")
    # A second may pass before it was read.
    while held(session).hits < 2:
        await session.cache.set("t", "goes", "2", ttl=1)
        for _ in range(2):
            await session.cache.get("t", "goes")
            await session.cache.get_all("t")
    await comes(lambda: session.cache.get("t", "goes", fresh=True), expected=None)
    assert await session.cache.get("t", "goes") is None
    assert await session.cache.get_all("t") == {"stays": "1"}


async def test_a_sliding_value_is_near_until_a_read_would_renew_it(opened: Open) -> None:
    stopwatch = Stopwatch()
    session = opened(10, near=near(stopwatch))
    await session.cache.set("t", "slides", "1")
    await session.cache.set("t", "own", "2", ttl=30)
    for name in ("slides", "own"):
        assert await session.cache.get("t", name) is not None
    before = held(session)
    stopwatch.seconds += 0.5
    assert (await session.cache.get("t", "slides"), await session.cache.get("t", "own")) == ("1", "2")
    assert held(session).hits == before.hits + 2
    stopwatch.seconds += 0.6  # more than a second, which a renewal gains
    assert (await session.cache.get("t", "slides"), await session.cache.get("t", "own")) == ("1", "2")
    assert held(session).hits == before.hits + 3


async def test_a_value_that_is_read_all_the_time_lives_on(opened: Open) -> None:
    stopwatch = Stopwatch()
    session = opened(100, near=near(stopwatch))
    await session.cache.set("t", "slides", "1")
    for _ in range(3):
        await session.expire("t", "slides", 50)  # as if half of its time had passed
        assert await session.cache.get("t", "slides") == "1"
        left_ms = await session.left_ms("t", "slides")
        assert left_ms is not None
        assert left_ms > 90_000
        stopwatch.seconds += 1.0
    assert held(session).misses == 3


async def test_a_flush_and_a_close_forget(tmp_path: Path) -> None:
    options = CacheOptions(session_near_cache=near(Stopwatch()))
    agent = AgentMemory.open(tmp_path / "memory.db", embedder=embed, caches=options)
    await agent.session.set("t", "a", "1")
    assert await agent.session.get("t", "a") == "1"
    await agent.flush()
    assert await agent.session.get("t", "a") is None
    await agent.close()
    assert agent.session.near_cache is not None
    assert agent.session.near_cache.entries == 0
