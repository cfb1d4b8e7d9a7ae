"""The facade: two ways in, what it opens and what it closes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import valkey.asyncio
from pydantic import ValidationError

from betterdb_agent_memory import (
    AgentMemory,
    AgentMemoryConfig,
    AgentMemoryOptions,
    AgentMemoryRecallConfig,
    ConfigurationError,
    MemoryDiscovery,
    MemoryOptions,
    MemoryStore,
    RecallWeights,
)
from tests.embedding import AHEAD, embed
from tests.servers import ValkeyServer


async def test_open_on_a_file_with_nothing_but_a_path(tmp_path: Path) -> None:
    async with AgentMemory.open(tmp_path / "m.db") as agent:
        await agent.memory.remember("Ana: I moved to Lisbon last spring", thread_id="t")
        await agent.memory.remember("Ana: the quarterly report is due on Friday", thread_id="t")
        [hit, *_] = await agent.memory.recall("which city does Ana live in, Lisbon?", thread_id="t")
        assert "Lisbon" in hit.item.content
        assert hit.explain is not None
        assert hit.explain.threshold == 0.75
    async with AgentMemory.open(str(tmp_path / "m.db")) as agent:
        assert (await agent.memory.stats()).item_count == 2
        [kept] = await agent.memory.recall("Lisbon", k=1)
        assert kept.item.access_count == 1  # close wrote what was deferred


async def test_open_takes_the_url_from_the_environment(
    valkey_server: ValkeyServer, store_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BETTERDB_URL", valkey_server.url)
    async with AgentMemory.open(name=store_name, embedder=embed) as agent:
        id = await agent.memory.remember("on the server")
    client = valkey_server.client()
    assert await client.execute_command("HGET", f"{store_name}:mem:{id}", "content") == b"on the server"
    await client.aclose()
    monkeypatch.delenv("BETTERDB_URL")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    async with AgentMemory.open(embedder=embed) as agent:
        await agent.memory.remember("in the data directory")
    assert (tmp_path / "betterdb-agent-memory" / "memory.db").exists()


async def test_open_over_a_unix_socket(store_name: str) -> None:
    with ValkeyServer(unix_socket=True) as server:
        async with AgentMemory.open(server.socket_url, name=store_name, embedder=embed) as agent:
            id = await agent.memory.remember(AHEAD)
            assert [hit.item.id for hit in await agent.memory.recall(AHEAD, threshold=2)] == [id]


async def test_bring_your_own_client(valkey_client: valkey.asyncio.Valkey, store_name: str) -> None:
    weights = RecallWeights(similarity=1, recency=0, importance=0)
    options = AgentMemoryOptions(
        client=valkey_client,
        embed_fn=embed,
        name=store_name,
        memory=AgentMemoryConfig(
            default_threshold=0.4,
            recall=AgentMemoryRecallConfig(weights=weights),
            max_items_per_scope=7,
            discovery=False,
        ),
    )
    async with AgentMemory(options) as agent:
        await agent.memory.remember(AHEAD)
        config = agent.memory.current_config()
        assert (config.threshold, config.weights, config.max_items_per_scope) == (0.4, weights, 7)
        assert config.half_life_seconds == 604_800
    assert await valkey_client.ping()  # it is yours and stays open


async def test_defaults_of_the_three_doors(valkey_client: valkey.asyncio.Valkey, tmp_path: Path) -> None:
    bare = MemoryStore(client=valkey_client, name="x", embed_fn=embed).current_config()
    facade = AgentMemory(AgentMemoryOptions(client=valkey_client, embed_fn=embed)).memory.current_config()
    opened = AgentMemory.open(tmp_path / "m.db").memory.current_config()
    assert bare == facade
    assert (bare.threshold, bare.half_life_seconds, bare.max_items_per_scope) == (0.25, 604_800, None)
    assert bare.weights == RecallWeights(similarity=0.6, recency=0.25, importance=0.15)
    assert opened.weights.similarity > 30 * opened.weights.recency


async def test_a_server_is_announced_and_a_file_is_not(
    valkey_server: ValkeyServer, store_name: str, tmp_path: Path
) -> None:
    client = valkey_server.client()
    async with AgentMemory.open(valkey_server.url, name=store_name, embedder=embed):
        marker = json.loads(await client.execute_command("HGET", "__betterdb:caches", f"{store_name}:mem"))
        assert (marker["type"], marker["prefix"], marker["protocol_version"]) == ("agent_memory", store_name, 1)
        assert marker["stats_key"] == f"{store_name}:__mem_stats"
        assert 0 < await client.ttl(f"__betterdb:heartbeat:{store_name}:mem") <= 60
        assert await client.get("__betterdb:protocol") == b"1"
    assert not await client.exists(f"__betterdb:heartbeat:{store_name}:mem")
    await client.aclose()
    async with AgentMemory.open(tmp_path / "m.db", embedder=embed) as agent:
        assert await agent._engine.values.read_map("__betterdb:caches") == {}


async def test_a_heartbeat_goes_on(valkey_client: valkey.asyncio.Valkey, store_name: str) -> None:
    discovery = MemoryDiscovery(
        client=valkey_client, name=store_name, version="1", stats_key="s", heartbeat_interval_s=0.02
    )
    await discovery.register()
    key = f"__betterdb:heartbeat:{store_name}:mem"
    first = await valkey_client.get(key)
    for _ in range(100):
        await asyncio.sleep(0.02)
        if await valkey_client.get(key) != first:
            break
    assert await valkey_client.get(key) != first
    await discovery.stop(delete_heartbeat=False)
    assert await valkey_client.exists(key)
    await discovery.stop(delete_heartbeat=True)
    assert not await valkey_client.exists(key)


async def test_live_configuration_is_in_force_from_the_first_call(valkey_server: ValkeyServer, store_name: str) -> None:
    client = valkey_server.client()
    await client.execute_command("HSET", f"{store_name}:__mem_config", "recall.threshold", "0.123")
    async with AgentMemory.open(valkey_server.url, name=store_name, embedder=embed) as agent:
        assert agent.memory.current_config().threshold == 0.123
    await client.aclose()


def test_one_file_serves_several_event_loops(tmp_path: Path) -> None:
    agent = AgentMemory.open(tmp_path / "m.db", embedder=embed)

    async def work() -> int:
        await agent.initialize()
        await asyncio.gather(*(agent.memory.remember(AHEAD, thread_id="t") for _ in range(5)))
        await asyncio.gather(*(agent.memory.recall(AHEAD, thread_id="t") for _ in range(5)))
        await agent.memory.flush()
        return (await agent.memory.stats()).item_count

    assert [asyncio.run(work()) for _ in range(3)] == [5, 10, 15]
    asyncio.run(agent.close())


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"threshold": 3}, "threshold"),
        ({"half_life_seconds": 0}, "half_life_seconds"),
        ({"max_items_per_scope": 0}, "max_items_per_scope"),
        ({"reinforcement": "sometimes"}, "reinforcement"),
        ({"tresholt": 1}, "tresholt"),
    ],
)
def test_a_wrong_option_is_named_when_it_is_made(options: dict, field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        MemoryOptions(**options)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"default_threshold": 2.5}, "default_threshold"),
        ({"default_threshold": "0.5"}, "default_threshold"),
        ({"half_life_seconds": 0}, "half_life_seconds"),
        ({"max_items_per_scope": 0}, "max_items_per_scope"),
        ({"weights": (1, 2, 3)}, "weights"),
        ({"reinforcement": "later"}, "reinforcement"),
        ({"config_refresh": "yes"}, "config_refresh"),
        ({"embed_fn": "model-name"}, "embed"),
        ({"client": object()}, "client"),
    ],
)
async def test_a_wrong_argument_is_named_when_the_store_is_made(
    valkey_client: valkey.asyncio.Valkey, arguments: dict, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        MemoryStore(**({"client": valkey_client, "name": "x", "embed_fn": embed} | arguments))
