"""The bound holds whatever else happens: expiries, slow engines, settings that change, feeds that break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from betterdb_agent_memory import (
    AgentMemory,
    AgentMemoryConfig,
    AgentMemoryOptions,
    CacheOptions,
    ConfigurationError,
    MemoryOptions,
    MemoryStore,
    MemoryTelemetryOptions,
    NearCacheOptions,
)
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.memory.near.answers import copies, size_of
from tests.acl import make_user
from tests.embedding import AHEAD, at_angle, embed
from tests.near import Stopwatch, comes, contents, near
from tests.servers import ValkeyServer
from tests.waiting import until


@pytest.fixture(params=["server", "file"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    made: Engine
    if request.param == "file":
        made = EmbeddedEngine(tmp_path / "memories.db")
    else:
        made = ValkeyEngine.from_url(request.getfixturevalue("valkey_server").url)
    yield made
    await made.close()


def store_of(engine: Engine, name: str, **options: object) -> MemoryStore:
    defaults: dict[str, object] = {"embed_fn": embed, "default_threshold": 2.0}
    return MemoryStore(client=engine, name=name, **(defaults | options))  # type: ignore[arg-type]


async def test_a_memory_that_has_expired_does_not_come_back(engine: Engine, store_name: str) -> None:
    store = store_of(engine, store_name, near_cache=NearCacheOptions(max_age_seconds=600))
    assert store._near is not None
    await store.remember(at_angle(0.9, "stays"))
    id = ""
    # A second may pass before it was recalled twice.
    while not store._near.statistics().hits:
        id = await store.remember(at_angle(0.8, "goes"), ttl=1)
        for _ in range(2):
            await store.recall(AHEAD, reinforce=False)

    async def is_there() -> bool:
        return await store.get(id) is not None

    await comes(is_there, expected=False)
    assert contents(await store.recall(AHEAD, reinforce=False)) == {at_angle(0.9, "stays")}
    await store.close()


async def test_what_became_too_old_while_it_was_reinforced_is_read_again(engine: Engine, store_name: str) -> None:
    stopwatch = Stopwatch()
    store, other = store_of(engine, store_name, near_cache=near(stopwatch)), store_of(engine, store_name)
    id = await store.remember(at_angle(0.9, "a"))
    assert len(await store.recall(AHEAD)) == 1
    await other.remember(at_angle(0.8, "b"))
    stopwatch.laps = [30.0, 30.0]  # one before it is found, one while it is reinforced
    assert len(await store.recall(AHEAD)) == 2
    item = await store.get(id)
    assert item is not None
    assert item.access_count == 2, "it was recalled twice"
    await store.close()


async def test_settings_that_change_make_another_question(engine: Engine, store_name: str) -> None:
    store = store_of(engine, store_name, near_cache=near(Stopwatch()), config_refresh=True)
    await store.remember(at_angle(0.9))
    assert len(await store.recall(AHEAD)) == 1
    await engine.values.write_map(f"{store_name}:__mem_config", {"recall.threshold": b"0.01"})
    await store.refresh_config()
    assert await store.recall(AHEAD) == []
    await engine.values.write_map(f"{store_name}:__mem_config", {"recall.threshold": b"0.5"})
    await store.refresh_config()
    assert len(await store.recall(AHEAD)) == 1
    await store.close()


async def test_settings_that_change_while_it_is_read_keep_it_from_being_kept(engine: Engine, store_name: str) -> None:
    searched, changed = asyncio.Event(), asyncio.Event()

    async def slow(query: str, texts: list[str]) -> list[float]:
        searched.set()
        await changed.wait()
        return [1.0] * len(texts)

    store = store_of(engine, store_name, near_cache=near(Stopwatch()), config_refresh=True, reranker=slow)
    await store.remember(at_angle(0.9))
    recalled = asyncio.create_task(store.recall(AHEAD))
    await searched.wait()
    await engine.values.write_map(f"{store_name}:__mem_config", {"recall.threshold": b"0.01"})
    await store.refresh_config()
    changed.set()
    assert len(await recalled) == 1
    assert store._near is not None
    assert store._near.statistics().entries == 0
    await store.close()


async def test_a_server_that_is_gone_ends_no_promise(store_name: str) -> None:
    registry = CollectorRegistry()
    stopwatch = Stopwatch()
    with ValkeyServer() as server:
        engine = ValkeyEngine.from_url(server.url)
        store = store_of(
            engine,
            store_name,
            near_cache=near(stopwatch),
            change_feed=True,
            telemetry=MemoryTelemetryOptions(registry=registry),
        )
        await store.remember(at_angle(0.9))
        assert len(await store.recall(AHEAD, reinforce=False)) == 1
    labels = {"store_name": store_name}
    failures = labels | {"work": "near_cache"}
    await until(lambda: registry.get_sample_value("agent_memory_background_failures_total", failures))
    assert registry.get_sample_value("agent_memory_near_cache_dropped_total", labels | {"why": "unsure"}) == 1
    await store.close()
    await engine.close()


async def test_a_feed_that_is_switched_off_leaves_nothing_behind(engine: Engine, store_name: str) -> None:
    reader = store_of(engine, store_name, near_cache=near(Stopwatch()), change_feed=True)
    writer = store_of(engine, store_name, change_feed=True)
    kept = reader._near
    assert kept is not None
    async with asyncio.timeout(30):
        while not kept.statistics().dropped:  # until it follows the feed
            await reader.recall(AHEAD, reinforce=False)
            await writer.remember(at_angle(0.9, "a"))
            await asyncio.sleep(0.05)
    before = len(await reader.recall(AHEAD, reinforce=False, k=100))
    await writer.stop_change_feed()
    await until(lambda: kept.statistics().entries == 0)
    assert len(await reader.recall(AHEAD, reinforce=False, k=100)) == before
    await reader.close()
    assert kept.statistics().entries == 0
    await writer.close()


async def test_a_recall_that_outlives_its_store_keeps_nothing(engine: Engine, store_name: str) -> None:
    searched, closed = asyncio.Event(), asyncio.Event()

    async def slow(query: str, texts: list[str]) -> list[float]:
        searched.set()
        await closed.wait()
        return [1.0] * len(texts)

    store = store_of(engine, store_name, near_cache=near(Stopwatch()), change_feed=True, reranker=slow)
    await store.remember(at_angle(0.9))
    recalled = asyncio.create_task(store.recall(AHEAD, reinforce=False))
    await searched.wait()
    await store.close()
    closed.set()
    assert len(await recalled) == 1
    assert store._near is not None
    assert store._near.statistics().entries == 0
    assert store._near._told._task is None


async def test_every_door_opens_it_and_tenants_have_their_own(store_name: str) -> None:
    stopwatch = Stopwatch()
    options = AgentMemoryOptions(
        client=EmbeddedEngine(":memory:"),
        name=store_name,
        embed_fn=embed,
        memory=AgentMemoryConfig(near_cache=near(stopwatch), default_threshold=2.0),
        session_near_cache=near(stopwatch),
    )
    opened = AgentMemory.open(
        ":memory:",
        name=store_name,
        embedder=embed,
        memory=MemoryOptions(near_cache=near(stopwatch), threshold=2.0),
        caches=CacheOptions(session_near_cache=True),
    )
    for agent in (AgentMemory(options), opened):
        for name in ("acme", "globex"):
            tenant = agent.tenant(name)
            await tenant.memory.remember(at_angle(0.9, name))
            await tenant.session.set("t", "f", name)
        for _ in range(2):
            for name in ("acme", "globex"):
                tenant = agent.tenant(name)
                assert contents(await tenant.memory.recall(AHEAD)) == {at_angle(0.9, name)}
                assert await tenant.session.get("t", "f") == name
        for name in ("acme", "globex"):
            tenant = agent.tenant(name)
            statistics = (await tenant.memory.stats()).near_cache
            assert statistics is not None
            assert tenant.session.near_cache is not None
            assert (statistics.hits, tenant.session.near_cache.hits) == (1, 1)
        await agent.close()


async def test_lookups_are_counted(engine: Engine, store_name: str) -> None:
    registry = CollectorRegistry()
    store = store_of(
        engine, store_name, near_cache=near(Stopwatch()), telemetry=MemoryTelemetryOptions(registry=registry)
    )
    await store.remember(at_angle(0.9))
    for _ in range(3):
        await store.recall(AHEAD)
    await store.remember(at_angle(0.8))
    labels = {"store_name": store_name}

    def counted(name: str, **more: str) -> float | None:
        return registry.get_sample_value(f"agent_memory_{name}_total", labels | more)

    assert counted("near_cache_lookups", result="miss") == 1
    assert counted("near_cache_lookups", result="hit") == 2
    assert counted("near_cache_dropped", why="written") == 1
    assert (counted("recall"), counted("recall_hits")) == (3, 3)
    await store.close()


async def test_a_store_without_one_has_none(store_name: str) -> None:
    engine = EmbeddedEngine(":memory:")
    store = store_of(engine, store_name)
    assert (await store.stats()).near_cache is None
    await store.close()
    for wrong in ("yes", 2.0, None):
        with pytest.raises(ConfigurationError, match="near_cache must be true, false or NearCacheOptions"):
            store_of(engine, store_name, near_cache=wrong)
    with pytest.raises(ConfigurationError, match=r"NearCacheOptions\.max_age_seconds .* above 0 to 3600, got 0"):
        NearCacheOptions(max_age_seconds=0)
    with pytest.raises(ConfigurationError, match=r"NearCacheOptions\.now_seconds must be a function"):
        NearCacheOptions(now_seconds=3)  # type: ignore[arg-type]
    await engine.close()


async def test_an_answer_is_about_as_large_as_is_reckoned(store_name: str) -> None:
    import tracemalloc

    engine = EmbeddedEngine(":memory:")
    store = store_of(engine, store_name)
    await store.remember_many(
        [{"content": f"{n} " * 100, "tags": ["a", "b"], "metadata": {"n": [n, "x" * 50]}} for n in range(100)]
    )
    hits = await store.recall(AHEAD, k=100, retrieval="vector")
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    own = copies(hits)
    took = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # What a copy shares with the hit that it is made from is counted, too: a kept hit's own is gone by then.
    assert took < size_of(own) < took + 100 * 4_000
    await store.close()
    await engine.close()


async def test_a_user_who_may_not_ask_for_lifetimes_recalls_all_the_same(
    valkey_server: ValkeyServer, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    user = await make_user(valkey_server, store_name, without="+pttl")
    engine = ValkeyEngine.from_url(f"valkey://{user}@127.0.0.1:{valkey_server.port}")
    store = store_of(engine, store_name, near_cache=near(Stopwatch()))
    await store.remember(at_angle(0.9))
    for _ in range(2):
        assert len(await store.recall(AHEAD, reinforce=False)) == 1
    stats = await store.stats()
    assert stats.near_cache is not None
    assert (stats.near_cache.entries, stats.background_failures) == (0, 2)
    assert [line.levelname for line in caplog.records if "is not kept near" in line.message] == ["WARNING"]
    await store.close()
    await engine.close()
