"""The tiers of one name together: what starts them, what a flush takes, and how they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from betterdb_agent_memory.caches.tiers import CacheTiers
from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import AgentCacheUsageError, ConfigurationError, EngineUnavailableError
from betterdb_agent_memory.options import (
    CacheOptions,
    ConfigRefreshOptions,
    DiscoveryOptions,
    EmbeddingCacheOptions,
    ModelCost,
    TelemetryOptions,
)
from tests.proxy import Proxy
from tests.servers import ValkeyServer

ASK: Any = {"model": "m", "messages": [{"role": "user", "content": "What is Valkey?"}]}
Made = Callable[..., CacheTiers]


def tiers_on(engine: Engine, name: str, **options: Any) -> CacheTiers:
    telemetry = TelemetryOptions(registry=CollectorRegistry())
    return CacheTiers(engine, name, CacheOptions(telemetry=telemetry, **options), clock=system_clock)


@pytest.fixture
async def make(engine: Engine, store_name: str) -> AsyncIterator[Made]:
    made: list[CacheTiers] = []

    def one(name: str = store_name, **options: Any) -> CacheTiers:
        made.append(tiers_on(engine, name, **options))
        return made[-1]

    yield one
    for tiers in made:
        await tiers.close()


async def keys_of(engine: Engine, prefix: str) -> set[str]:
    return {key async for page in engine.values.scan_keys(prefix) for key in page}


async def use(tiers: CacheTiers) -> None:
    await tiers.llm.store(ASK, "a key-value store")
    await tiers.llm.check(ASK)
    await tiers.tool.store("weather", {"city": "Lisbon"}, "sunny")
    await tiers.tool.check("weather", {"city": "Lisbon"})
    await tiers.session.set("thread", "field", "value")
    await tiers.session.set("a:b", "c:d", "value")
    await tiers.session.get("thread", "field")
    await tiers.embeddings.put_many({"text": [1.0, 2.0]}, model="m")


async def test_each_tier_keeps_what_it_is_given(make: Made) -> None:
    tiers = make()
    await use(tiers)
    assert (await tiers.llm.check(ASK)).response == "a key-value store"
    assert (await tiers.tool.check("weather", {"city": "Lisbon"})).response == "sunny"
    assert await tiers.session.get_all("thread") == {"field": "value"}
    assert [vector is not None for vector in await tiers.embeddings.get_many(["text"], model="m")] == [True]


async def test_a_flush_takes_all_of_its_own_and_nothing_else(engine: Engine, make: Made, store_name: str) -> None:
    tiers, stranger, neighbour = make(), make(f"{store_name}x"), make(f"{store_name}:inner")
    for one in (tiers, stranger, neighbour):
        await use(one)
        await one.stats()
    await tiers.policies.set("weather", tiers_policy(60))
    kept = {
        f"{store_name}:mem:1",
        f"{store_name}:__mem_config",
        f"{store_name}:__mem_stats",
        f"{store_name}:llm",
        f"{store_name}:tools:x",
        f"{store_name}:__stats:x",
        f"other:{store_name}:llm:1",
        f"{store_name}:__tool_policies",
    }
    for key in kept - {f"{store_name}:__tool_policies"}:
        await engine.values.set(key, b"1")
    theirs = await keys_of(engine, f"{store_name}x:") | await keys_of(engine, f"{store_name}:inner:")
    before = await keys_of(engine, f"{store_name}:")
    assert {key.split(":")[1] for key in before} >= {"llm", "tool", "session", "__stats", "__embed"}
    await tiers.flush()
    left = await keys_of(engine, store_name) | await keys_of(engine, f"other:{store_name}")
    assert left == kept | theirs
    assert (await stranger.stats()).llm.hits == 1
    assert (await neighbour.llm.check(ASK)).hit
    stats = await tiers.stats()
    assert (stats.llm.total, stats.tool.total, stats.session.reads, stats.per_tool) == (0, 0, 0, {})
    # What is written from now on is found again: the session index knows nothing of what is gone.
    assert await tiers.session.get_all("thread") == {}
    assert not (await tiers.llm.check(ASK)).hit
    assert await tiers.embeddings.get_many(["text"], model="m") == [None]
    await tiers.session.set("thread", "other", "value")
    assert await tiers.session.get_all("thread") == {"other": "value"}
    assert (await tiers.stats()).session.writes == 1
    policy = tiers.tool.get_policy("weather")
    assert policy is not None
    assert policy.ttl == 60


def tiers_policy(seconds: int) -> Any:
    from betterdb_agent_memory import ToolPolicy

    return ToolPolicy(seconds)


async def test_a_flush_walks_over_the_keys_once(
    engine: Engine, make: Made, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiers = make(config_refresh=False)
    await use(tiers)
    walks: list[str] = []
    scan = type(engine.values).scan_keys

    def counted(values: Any, prefix: str, **options: Any) -> AsyncIterator[list[str]]:
        walks.append(prefix)
        return scan(values, prefix, **options)

    monkeypatch.setattr(type(engine.values), "scan_keys", counted)
    await tiers.flush()
    assert walks == [f"{store_name}:"]


async def test_statistics_are_those_of_all_workers(make: Made) -> None:
    one, other = make(tool_ttl_seconds=100), make(tool_ttl_seconds=100)
    await use(one)
    await use(other)
    await other.tool.check("weather", {"city": "Porto"})
    await other.stats()
    stats = await one.stats()
    assert (stats.llm.hits, stats.tool.hits, stats.tool.misses) == (2, 2, 1)
    assert (stats.session.reads, stats.session.writes) == (2, 4)
    assert stats.per_tool["weather"].hits == 2
    [entry] = await one.tool_effectiveness()
    assert (entry.tool, entry.recommendation) == ("weather", "optimal")


async def test_what_is_saved_is_priced_by_the_callers_table(make: Made) -> None:
    tiers = make(cost_table={"m": ModelCost(1.0, 2.0)}, use_default_cost_table=False)
    await tiers.llm.store(ASK, "answer", {"tokens": {"input": 1000, "output": 500}})
    assert (await tiers.llm.check(ASK)).hit
    assert (await tiers.stats()).cost_saved_micros == 2_000_000


async def test_lifetimes_are_those_of_the_tier_and_then_of_all(engine: Engine, make: Made, store_name: str) -> None:
    tiers = make(
        default_ttl_seconds=1000, tool_ttl_seconds=200, embeddings=EmbeddingCacheOptions(ttl_seconds=50, max_entries=9)
    )
    await use(tiers)
    left = {}
    for key in await keys_of(engine, f"{store_name}:"):
        batch = engine.values.batch()
        reply = batch.get_with_expiry(key)
        await batch.send()
        if key.split(":")[1] in ("llm", "tool", "session", "__embed") and (stored := reply.result()):
            assert stored.left_ms is not None
            left[key.split(":")[1]] = round(stored.left_ms / 1000)
            if "__embed" in key:
                assert int(key.rpartition(":")[2]) < 9
    assert left == {
        "llm": pytest.approx(1000, abs=2),
        "tool": pytest.approx(200, abs=2),
        "session": pytest.approx(1000, abs=2),
        "__embed": pytest.approx(50, abs=2),
    }


def test_nothing_happens_before_the_first_call(tmp_path: Path, store_name: str) -> None:
    engine = EmbeddedEngine(tmp_path / "m.db")
    tiers = tiers_on(engine, store_name, discovery=True)  # no loop runs here
    assert not (tmp_path / "m.db").exists()
    tiers.start()
    assert not (tmp_path / "m.db").exists()

    async def first_call() -> dict[str, Any]:
        await tiers.session.get("thread", "field")
        await tiers.ensure_ready()
        marker = json.loads((await engine.values.read_map("__betterdb:caches"))[store_name])
        assert await engine.values.get(f"__betterdb:heartbeat:{store_name}") is not None
        await tiers.close()
        assert await engine.values.get(f"__betterdb:heartbeat:{store_name}") is None
        await engine.close()
        return dict(marker)

    marker = asyncio.run(first_call())
    assert (marker["type"], marker["prefix"], marker["stats_key"]) == (
        "agent_cache",
        store_name,
        f"{store_name}:__stats",
    )


async def test_work_beside_begins_with_the_first_call_of_any_tier(engine: Engine, make: Made, store_name: str) -> None:
    for number, call in enumerate(
        (
            lambda tiers: tiers.llm.check(ASK),
            lambda tiers: tiers.llm.store(ASK, "answer"),
            lambda tiers: tiers.tool.check("t", {}),
            lambda tiers: tiers.session.get_all("thread"),
            lambda tiers: tiers.embeddings.get_many(["text"], model="m"),
            lambda tiers: tiers.stats(),
        )
    ):
        tiers = make(f"{store_name}{number}", discovery=True)
        await engine.values.write_map(f"{store_name}{number}:__tool_policies", {"t": b'{"ttl":5}'})
        await call(tiers)
        for _ in range(200):
            if tiers.tool.get_policy("t") and await engine.values.get(f"__betterdb:heartbeat:{store_name}{number}"):
                break
            await asyncio.sleep(0.01)
        assert tiers.tool.get_policy("t") is not None
        assert await engine.values.get(f"__betterdb:heartbeat:{store_name}{number}") is not None
        await tiers.close()


async def left_seconds(engine: Engine, key: str) -> float | None:
    batch = engine.values.batch()
    reply = batch.get_with_expiry(key)
    await batch.send()
    stored = reply.result()
    assert stored is not None
    return None if stored.left_ms is None else stored.left_ms / 1000


async def test_the_very_first_result_is_kept_as_its_policy_says(engine: Engine, make: Made, store_name: str) -> None:
    await engine.values.write_map(f"{store_name}:__tool_policies", {"t": b'{"ttl":50}', "cached": b'{"ttl":40}'})
    assert await left_seconds(engine, await make().tool.store("t", {}, "x")) == pytest.approx(50, abs=2)
    together = make()
    for key in await asyncio.gather(*(together.tool.store("t", {"n": number}, "x") for number in range(5))):
        assert await left_seconds(engine, key) == pytest.approx(50, abs=2)

    @make().tool.cached()
    async def cached() -> str:
        return "x"

    await cached()
    assert await left_seconds(engine, cached.cache_key()) == pytest.approx(40, abs=2)
    # One that says how long needs no policy; one that reads no policies knows its own alone.
    assert await left_seconds(engine, await make().tool.store("t", {}, "x", {"ttl": 9})) == pytest.approx(9, abs=2)
    assert await left_seconds(engine, await make(config_refresh=False).tool.store("t", {}, "x")) is None


async def test_policies_that_cannot_be_read_do_not_keep_the_first_result_out(
    engine: Engine, make: Made, store_name: str
) -> None:
    await engine.values.set(f"{store_name}:__tool_policies", b"no map")
    tiers = make(tool_ttl_seconds=77)
    assert await left_seconds(engine, await tiers.tool.store("t", {}, "x")) == pytest.approx(77, abs=2)
    assert tiers.policies.refresh_failures == tiers.watch.background_failure_count == 1


async def test_only_the_very_first_store_waits_and_no_round_trip_is_added(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        tiers = tiers_on(engine, store_name, config_refresh=ConfigRefreshOptions(live_updates=False))
        await engine.values.get("connected")
        for expected in (2, 1, 1):
            before = proxy.round_trips
            await tiers.tool.store("t", {}, "x")
            assert proxy.round_trips - before == expected
        await tiers.close()
        await engine.close()


def test_several_loops_one_after_the_other(tmp_path: Path, store_name: str) -> None:
    engine = EmbeddedEngine(tmp_path / "m.db")
    tiers = tiers_on(engine, store_name, discovery=DiscoveryOptions(heartbeat_interval_ms=20))

    async def work() -> int:
        await tiers.llm.store(ASK, "answer")
        await asyncio.gather(*(tiers.llm.check(ASK) for _ in range(5)))
        await tiers.ensure_ready()
        first = await engine.values.get(f"__betterdb:heartbeat:{store_name}")
        for _ in range(200):
            await asyncio.sleep(0.01)
            if await engine.values.get(f"__betterdb:heartbeat:{store_name}") != first:
                break
        assert await engine.values.get(f"__betterdb:heartbeat:{store_name}") != first  # it beats in this loop
        return (await tiers.stats()).llm.hits

    assert [asyncio.run(work()) for _ in range(3)] == [5, 10, 15]
    asyncio.run(tiers.close())
    asyncio.run(engine.close())


async def test_closing_writes_what_waits_and_a_second_time_does_nothing(
    engine: Engine, make: Made, store_name: str
) -> None:
    tiers = make(discovery=True)
    await use(tiers)
    await tiers.ensure_ready()
    await tiers.close()
    fields = await engine.values.read_map(f"{store_name}:__stats")
    assert (fields["llm:hits"], fields["session:writes"]) == (b"1", b"2")
    assert await engine.values.get(f"__betterdb:heartbeat:{store_name}") is None
    await tiers.close()
    tiers.start()
    await asyncio.sleep(0.05)
    assert await engine.values.get(f"__betterdb:heartbeat:{store_name}") is None


async def test_closing_ends_everything_though_the_server_is_gone(valkey_server: ValkeyServer, store_name: str) -> None:
    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        tiers = tiers_on(engine, store_name, discovery=True)
        await use(tiers)
        await tiers.ensure_ready()
        before = len(asyncio.all_tasks())
        assert before > 1
    with pytest.raises(EngineUnavailableError):
        await tiers.llm.check(ASK)
    await tiers.close()
    await engine.close()
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1
    async with asyncio.timeout(5):
        client = valkey_server.client()
        await client.delete(f"__betterdb:heartbeat:{store_name}")
        await client.aclose()


async def test_a_name_that_belongs_to_something_else_is_told_and_nothing_is_announced(
    engine: Engine, make: Made, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    marker = json.dumps({"type": "semantic_cache", "prefix": store_name}).encode()
    await engine.values.write_map("__betterdb:caches", {store_name: marker})
    tiers = make(discovery=True)
    await tiers.llm.store(ASK, "answer")
    with pytest.raises(AgentCacheUsageError, match=store_name):
        await tiers.ensure_discovery_ready()
    assert (await engine.values.read_map("__betterdb:caches"))[store_name] == marker
    assert await engine.values.get(f"__betterdb:heartbeat:{store_name}") is None
    assert (await tiers.llm.check(ASK)).hit
    assert [record.levelname for record in caplog.records if "not announced" in record.message] == ["ERROR"]


async def test_the_marker_says_what_the_tiers_do(engine: Engine, make: Made, store_name: str) -> None:
    tiers = make(
        default_ttl_seconds=90,
        tool_ttl_seconds=30,
        cost_table={"m": ModelCost(1, 2)},
        discovery=DiscoveryOptions(include_tool_policies=False),
        config_refresh=ConfigRefreshOptions(enabled=False),
    )
    await tiers.ensure_ready()
    marker = json.loads((await engine.values.read_map("__betterdb:caches"))[store_name])
    assert {tier: told["ttl_default"] for tier, told in marker["tiers"].items()} == {
        "llm": 90,
        "tool": 30,
        "session": 90,
    }
    assert (marker["has_cost_table"], marker["uses_default_cost_table"]) == (True, True)
    assert "tool_policies" not in marker


@pytest.mark.parametrize("part", ["llm", "tool", "session", "mem", "gen1", "__stats"])
def test_a_name_within_another_caches_keys_is_refused(tmp_path: Path, part: str) -> None:
    engine = EmbeddedEngine(tmp_path / "m.db")
    for name in (f"demo:{part}", f"demo:{part}:x"):
        with pytest.raises(ConfigurationError, match=f":{part}.*demo"):
            tiers_on(engine, name)
    tiers_on(engine, f"{part.strip('_')}:demo:{part.strip('_')}s")
