"""A worker that reads every 30 s obeys within a second what an operator writes, and says so when it cannot."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import valkey.asyncio

from betterdb_agent_memory import AgentMemory, MemoryConfigRefreshConfig, MemoryOptions, MemoryStore
from betterdb_agent_memory.caches.policies import ToolPolicies
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.embedding import AHEAD, at_angle, embed
from tests.servers import ValkeyServer


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    """A server of this module alone, so that its connections can be counted."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
async def operator(server: ValkeyServer) -> AsyncIterator[Any]:
    """Somebody with a command line."""
    client = server.client()
    yield client
    await client.aclose()


async def becomes(what: Callable[[], object], value: object, seconds: float = 1.0) -> bool:
    """Whether it is so within a second."""
    for _ in range(int(seconds * 100)):
        if what() == value:
            return True
        await asyncio.sleep(0.01)
    return what() == value


async def listening(operator: Any) -> list[int]:
    return [int(entry["id"]) for entry in await operator.client_list(_type="pubsub")]


@asynccontextmanager
async def worker(client: Any, name: str, *, told: bool = True) -> AsyncIterator[tuple[MemoryStore, ToolPolicies]]:
    """A store and the tool policies of one worker: both read every 30 s."""
    engine = ValkeyEngine(client)
    refresh = MemoryConfigRefreshConfig(interval_ms=30_000, live_updates=told)
    store = MemoryStore(client=engine, name=name, embed_fn=embed, default_threshold=0.3, config_refresh=refresh)
    listen = engine.watch if told else None
    policies = ToolPolicies(name, values=engine.values, watch=CacheWatch(name), listen=listen)
    await store.ensure_index()
    await store.ensure_config_refresh_started()
    policies.start()
    await policies.wait_read()
    await asyncio.sleep(0.3)
    try:
        yield store, policies
    finally:
        await policies.stop()
        await store.close()
        await client.aclose()


CLIENTS = {
    f"{name}-{protocol}": lambda port, client=client, protocol=protocol: client(port=port, protocol=protocol)
    for name, client in (("valkey", valkey.asyncio.Valkey), ("redis", redis.asyncio.Redis))
    for protocol in (2, 3)
}


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_worker_obeys_at_once_and_listens_with_one_connection(
    kind: str, server: ValkeyServer, operator: Any, store_name: str
) -> None:
    tasks = asyncio.all_tasks()
    async with worker(CLIENTS[kind](server.port), store_name) as (store, policies):
        key = f"{store_name}:__mem_config"
        for number in range(3):
            await operator.hset(key, mapping={"recall.threshold": f"0.{number}", "maxItemsPerScope": number + 1})
            assert await becomes(lambda: store.current_config().threshold, number / 10)
            assert store.current_config().max_items_per_scope == number + 1
            await operator.hset(f"{store_name}:__tool_policies", "search", f'{{"ttl":{number + 1}}}')
            assert await becomes(lambda: [policy.ttl for policy in policies.current.values()], [number + 1])
        [own] = await listening(operator)
        await operator.client_kill_filter(_id=own)
        await operator.hset(key, "recall.threshold", "0.7")
        assert await becomes(lambda: store.current_config().threshold, 0.7)
        assert await becomes(lambda: store.current_config().threshold, 0.7)
        await asyncio.sleep(0.5)
        assert len(await listening(operator)) == 1
        await operator.delete(key)
        assert await becomes(lambda: store.current_config().threshold, 0.3)
    assert await listening(operator) == []
    assert asyncio.all_tasks() == tasks


async def test_without_live_updates_there_is_no_connection_more(
    server: ValkeyServer, operator: Any, store_name: str
) -> None:
    async with worker(server.client(), store_name, told=False) as (store, policies):
        assert await listening(operator) == []
        await operator.hset(f"{store_name}:__mem_config", "recall.threshold", "0.7")
        assert not await becomes(lambda: store.current_config().threshold, 0.7, 0.3)
        await store.refresh_config()
        assert store.current_config().threshold == 0.7
        assert policies.current == {}


async def test_where_tracking_is_refused_the_interval_serves(
    server: ValkeyServer, operator: Any, store_name: str
) -> None:
    await operator.acl_setuser(
        "limited", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-client|tracking"]
    )
    client = server.client(username="limited")
    client.connection_pool.connection_kwargs["password"] = "secret"
    refresh = MemoryConfigRefreshConfig(interval_ms=1_000)
    store = MemoryStore(client=client, name=store_name, embed_fn=embed, default_threshold=0.3, config_refresh=refresh)
    await store.remember("x")
    await asyncio.sleep(0.3)
    await operator.hset(f"{store_name}:__mem_config", "recall.threshold", "0.7")
    assert await becomes(lambda: store.current_config().threshold, 0.7, 1.5)
    assert (await store.stats()).background_failures == 0
    await store.close()
    await client.aclose()


@pytest.mark.parametrize("place", ["server", "file"])
async def test_an_opened_agent_recalls_by_what_another_one_sets(
    place: str, server: ValkeyServer, operator: Any, store_name: str, tmp_path: Path
) -> None:
    url = server.url if place == "server" else str(tmp_path / "m.db")
    # By likeness alone: in hybrid retrieval a word is enough, whatever the threshold.
    options = MemoryOptions(threshold=2.0, retrieval="vector")
    async with (
        AgentMemory.open(url, name=store_name, embedder=embed, memory=options) as mine,
        AgentMemory.open(url, name=store_name, embedder=embed, memory=options) as theirs,
    ):
        await mine.memory.remember(AHEAD)
        await mine.memory.remember(at_angle(0.5))
        assert len(await mine.memory.recall(AHEAD, reinforce=False)) == 2
        await theirs.config.set(threshold=0.1)
        assert await becomes(lambda: mine.memory.current_config().threshold, 0.1, 2.0)
        assert len(await mine.memory.recall(AHEAD, reinforce=False)) == 1
        await theirs.config.set_tool_ttl("search", 300)
        assert await becomes(lambda: mine.tool.get_policy("search") is not None, True, 2.0)
        # One for each worker, whatever it listens for.
        assert len(await listening(operator)) == (2 if place == "server" else 0)
    assert await listening(operator) == []


ENDS = """
import asyncio, sys
from betterdb_agent_memory import AgentMemory, EngineUnavailableError

async def embed(text):
    return [1.0, 0.0]

async def forgets(agent):
    await agent.session.set("thread", "field", "value")

for number in range(10):
    agent = AgentMemory.open(sys.argv[1], name="x", embedder=embed)
    asyncio.run(forgets(agent))
    try:
        asyncio.run(forgets(agent))
    except EngineUnavailableError as error:
        print(error)
print("ended")
"""


@pytest.mark.parametrize("place", ["server", "file"])
def test_programs_that_forget_to_close_and_go_on_in_a_second_loop_end(
    place: str, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    url = valkey_server.url if place == "server" else str(tmp_path / "m.db")
    done = subprocess.run([sys.executable, "-c", ENDS, url], timeout=40, capture_output=True, text=True, check=False)
    *refusals, last = done.stdout.splitlines()
    assert last == "ended", done.stderr
    if place == "server":
        # Where the first loop's end has closed the one connection, a second loop makes another.
        assert refusals
        assert all("one client per event loop" in refusal for refusal in refusals)
