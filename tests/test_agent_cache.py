"""AgentCache: the tiers by themselves, on a client of one's own, taken and refused as published."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import valkey.asyncio
from prometheus_client import CollectorRegistry

from betterdb_agent_memory import (
    AgentCache,
    AgentCacheOptions,
    AgentCacheUsageError,
    Analytics,
    AnalyticsOptions,
    ConfigRefreshOptions,
    ConfigurationError,
    DiscoveryOptions,
    ModelCost,
    TelemetryOptions,
    TierDefaults,
    ToolPolicy,
)
from tests.servers import ValkeyServer

ASK: Any = {"model": "m", "messages": [{"role": "user", "content": "What is Valkey?"}]}


async def test_the_published_options_do_what_they_say(valkey_client: valkey.asyncio.Valkey, store_name: str) -> None:
    registry = CollectorRegistry()
    options = AgentCacheOptions(
        valkey_client,
        store_name,
        1000,
        {"tool": TierDefaults(ttl=200), "session": TierDefaults()},
        {"m": ModelCost(1.0, 2.0)},
        False,
        TelemetryOptions(metrics_prefix="mine", registry=registry),
        AnalyticsOptions(disabled=True),
        ConfigRefreshOptions(interval_ms=1000),
        DiscoveryOptions(heartbeat_interval_ms=30_000),
    )
    async with AgentCache(options) as cache:
        key = await cache.llm.store(ASK, "answer", {"tokens": {"input": 1000, "output": 0}})
        assert 990 < await valkey_client.ttl(key) <= 1000
        assert 190 < await valkey_client.ttl(await cache.tool.store("t", {}, "result")) <= 200
        await cache.session.set("thread", "field", "value")
        assert 990 < await valkey_client.ttl(f"{store_name}:session:thread:field") <= 1000
        assert (await cache.llm.check(ASK)).hit
        assert (await cache.stats()).cost_saved_micros == 1_000_000
        marker = json.loads(await valkey_client.execute_command("HGET", "__betterdb:caches", store_name))
        assert marker["tiers"]["tool"]["ttl_default"] == 200
        # A policy that another process writes holds within the interval.
        await valkey_client.execute_command("HSET", f"{store_name}:__tool_policies", "t", '{"ttl": 7}')
        for _ in range(300):
            if cache.tool.get_policy("t") == ToolPolicy(7):
                break
            await asyncio.sleep(0.01)
        assert cache.tool.get_policy("t") == ToolPolicy(7)
        assert [entry.tool for entry in await cache.tool_effectiveness()] == []
        samples = {sample.name for metric in registry.collect() for sample in metric.samples}
        assert "mine_requests_total" in samples
        await cache.flush()
        assert not (await cache.llm.check(ASK)).hit
        assert cache.tool.get_policy("t") == ToolPolicy(7)
    assert await valkey_client.ping()  # it is yours and stays open
    assert not await valkey_client.exists(f"__betterdb:heartbeat:{store_name}")
    await cache.shutdown()


async def test_nothing_is_asked_for_by_making_one(valkey_client: valkey.asyncio.Valkey, store_name: str) -> None:
    def make() -> AgentCache:
        return AgentCache(AgentCacheOptions(client=valkey_client, name=store_name))

    cache = await asyncio.to_thread(make)  # where no loop runs
    await asyncio.sleep(0.05)
    assert not await valkey_client.exists(f"__betterdb:heartbeat:{store_name}")
    await cache.session.get("thread", "field")
    await cache.ensure_discovery_ready()
    assert await valkey_client.exists(f"__betterdb:heartbeat:{store_name}")
    await cache.shutdown()


async def test_a_collision_surfaces_at_the_ready_call(valkey_client: valkey.asyncio.Valkey, store_name: str) -> None:
    marker = json.dumps({"type": "semantic_cache", "prefix": store_name})
    await valkey_client.execute_command("HSET", "__betterdb:caches", store_name, marker)
    cache = AgentCache(AgentCacheOptions(client=valkey_client, name=store_name))
    with pytest.raises(AgentCacheUsageError, match="semantic_cache"):
        await cache.ensure_discovery_ready()
    with pytest.raises(AgentCacheUsageError):
        async with cache:
            raise AssertionError("it must not open")
    await cache.shutdown()


async def test_without_discovery_and_refresh_only_calls_reach_the_server(store_name: str) -> None:
    with ValkeyServer() as server:
        client = server.client()
        options = AgentCacheOptions(
            client=client,
            name=store_name,
            config_refresh=ConfigRefreshOptions(enabled=False),
            discovery=DiscoveryOptions(enabled=False),
        )
        async with AgentCache(options) as cache:
            assert await client.dbsize() == 0
            await cache.llm.check(ASK)
        assert await client.keys() == [f"{store_name}:__stats".encode()]
        await client.aclose()


def test_analytics_mean_nothing() -> None:
    analytics = Analytics()
    analytics.capture("event", {"property": 1})
    analytics.flush()
    asyncio.run(analytics.init(object(), "name", {}))
    asyncio.run(analytics.shutdown())


def test_other_options_are_refused(valkey_client: valkey.asyncio.Valkey) -> None:
    with pytest.raises(ConfigurationError, match="AgentCacheOptions"):
        AgentCache(valkey_client)  # type: ignore[arg-type]
