"""A cluster of three primaries: commands go where the keys are, and come back as from one server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis.asyncio
import valkey.asyncio
import valkey.cluster
from valkey.asyncio.cluster import ClusterNode

from betterdb_agent_memory import AgentCache, AgentCacheOptions, AgentMemory, MemoryStore
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.clients import client_for
from betterdb_agent_memory.engines.valkey.cluster import ClusterClient
from betterdb_agent_memory.engines.valkey.slots import slot_of
from betterdb_agent_memory.engines.valkey.urls import client_from_url
from betterdb_agent_memory.errors import ConfigurationError, EngineError, EngineUnavailableError, OutcomeUnknownError
from tests.clusters import ValkeyCluster, tell, wait_for
from tests.embedding import AHEAD, at_angle, embed
from tests.engines.valkey.test_watching import Ear
from tests.proxy import Proxy
from tests.servers import ValkeyServer, free_port
from tests.test_agent_memory import use_every_tier
from tests.waiting import until


@pytest.fixture
async def client(valkey_cluster: ValkeyCluster) -> AsyncIterator[ClusterClient]:
    made = client_from_url(valkey_cluster.url)
    assert isinstance(made, ClusterClient)
    yield made
    await made.close()


@pytest.fixture
async def engine(valkey_cluster: ValkeyCluster) -> AsyncIterator[ValkeyEngine]:
    made = ValkeyEngine.from_url(valkey_cluster.url)
    yield made
    await made.close()


def searches(cluster: ValkeyCluster, node: ValkeyServer) -> int:
    """How many searches a node has answered."""
    found = dict(
        line.split(":", 1) for line in tell(node, "INFO", "commandstats").decode().split("\r\n") if ":" in line
    )
    stats = found.get("cmdstat_FT.SEARCH") or found.get("cmdstat_ft.search") or "calls=0,"
    return int(stats.split(",")[0].removeprefix("calls="))


async def test_tagged_stores_live_whole_on_their_primaries(
    valkey_cluster: ValkeyCluster, engine: ValkeyEngine, store_name: str
) -> None:
    before = {node.port: searches(valkey_cluster, node) for node in valkey_cluster.primaries}
    for primary in valkey_cluster.primaries:
        name = f"{{{valkey_cluster.tag_on(primary, store_name)}}}"
        store = MemoryStore(client=engine, name=name, embed_fn=embed, default_threshold=2.0)
        ids = {await store.remember(at_angle(1 - n / 10), thread_id="t") for n in range(3)}
        assert {hit.item.id for hit in await store.recall(AHEAD, thread_id="t")} == ids
        keys = tell(primary, "KEYS", f"{name}:mem:*")
        assert {key.decode().rpartition(":")[2] for key in keys} == ids
        await store.close()
    assert all(searches(valkey_cluster, node) > before[node.port] for node in valkey_cluster.primaries)


async def test_it_costs_as_many_round_trips_as_one_server(
    valkey_cluster: ValkeyCluster, engine: ValkeyEngine, valkey_server: ValkeyServer, store_name: str
) -> None:
    spent: list[list[int]] = []
    alone = ValkeyEngine.from_url(valkey_server.url)
    for place in (alone, engine):
        store = MemoryStore(client=place, name=f"{{{store_name}}}", embed_fn=embed, default_threshold=2.0)
        for number in range(40):
            await store.remember(at_angle(1 - number / 100), thread_id="t", ttl=600)
        await store.recall(AHEAD, thread_id="t")
        costs: list[int] = []
        for _ in range(2):
            before = place.round_trips
            await store.remember("plain", thread_id="t")
            costs.append(place.round_trips - before)
            await store.recall(AHEAD, thread_id="t", k=4, reinforce=False)
            costs.append(place.round_trips - before)
            await store.recall(AHEAD, thread_id="t", k=4)
            costs.append(place.round_trips - before)
        spent.append(costs)
        await store.close()
    await alone.close()
    assert spent[0] == spent[1]
    assert spent[1][:2] == [1, 2]


async def test_the_server_chooses_where_index_and_memories_are_in_one_slot(
    valkey_cluster: ValkeyCluster, engine: ValkeyEngine, store_name: str
) -> None:
    owner = valkey_cluster.owner(f"{{{store_name}}}")
    store = MemoryStore(client=engine, name=f"{{{store_name}}}", embed_fn=embed, default_threshold=2.0)
    for number in range(40):
        await store.remember(at_angle(1 - number / 100), thread_id="t")
    expected = [hit.item.id for hit in await store.recall(AHEAD, thread_id="t", k=20, reinforce=False)]
    tell(owner, "CONFIG", "RESETSTAT")
    hits = await store.recall(AHEAD, thread_id="t", k=3, reinforce=False)
    assert [hit.item.id for hit in hits] == expected[:3]
    assert b"cmdstat_evalsha:calls=1," in tell(owner, "INFO", "commandstats")
    await store.close()


async def test_a_name_without_a_tag_is_refused_where_the_search_does_not_fan_out(
    valkey_cluster: ValkeyCluster, engine: ValkeyEngine, store_name: str
) -> None:
    embedded: list[str] = []

    async def counted(text: str) -> list[float]:
        embedded.append(text)
        return await embed(text)

    # Wherever the index's slot is: also where this client would have asked the owner by chance.
    for number in range(4):
        store = MemoryStore(client=engine, name=f"{store_name}{number}", embed_fn=counted)
        with pytest.raises(ConfigurationError, match=rf'name="{{{store_name}{number}}}"'):
            await store.remember("x")
        with pytest.raises(ConfigurationError, match="hash tag"):
            await store.recall("x")
        await store.close()
    assert embedded == []
    assert [page async for page in engine.values.scan_keys(f"{store_name}") if page] == []


async def test_a_name_without_a_tag_is_refused_on_a_cluster_of_one_node_too(store_name: str) -> None:
    with ValkeyServer(arguments=("--cluster-enabled", "yes", "--cluster-port", str(free_port()))) as server:
        tell(server, "CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        wait_for("the cluster", lambda: b"cluster_state:ok" in tell(server, "CLUSTER", "INFO"))
        engine = ValkeyEngine.from_url(f"valkey+cluster://127.0.0.1:{server.port}")
        untagged = MemoryStore(client=engine, name=store_name, embed_fn=embed)
        with pytest.raises(ConfigurationError, match="hash tag"):
            await untagged.remember("x")
        assert tell(server, "FT._LIST") == []
        tagged = MemoryStore(client=engine, name=f"{{{store_name}}}", embed_fn=embed, default_threshold=2.0)
        id = await tagged.remember(AHEAD)
        assert [hit.item.id for hit in await tagged.recall(AHEAD)] == [id]
        await engine.close()


@pytest.mark.parametrize("tagged", [True, False])
async def test_every_tier_of_the_facade(valkey_cluster: ValkeyCluster, store_name: str, tagged: bool) -> None:
    name = f"{{{store_name}}}" if tagged else store_name
    async with AgentMemory.open(valkey_cluster.url, name=f"{{{store_name}}}", embedder=embed) as agent:
        await use_every_tier(agent)
        assert [hit.item.content for hit in await agent.memory.recall(AHEAD, threshold=2)] == [AHEAD]
    engine = ValkeyEngine.from_url(valkey_cluster.url)
    values = engine.values
    keys = [f"{name}:{n}" for n in range(60)]
    batch = values.batch()
    for key in keys:
        batch.set(key, key.encode())
        batch.increment(f"{key}:n", "a", 1)
    before = engine.round_trips
    await batch.send()
    # The map of the slots; then one request to each primary that has some of the keys, and again with the scripts.
    assert engine.round_trips - before == (2 if tagged else 4)
    batch = values.batch()
    read = [batch.get(key) for key in keys]
    await batch.send()
    assert [reply.result() for reply in read] == [key.encode() for key in keys]
    pages = [page async for page in values.scan_keys(f"{name}:", page_size=10)]
    assert {key for page in pages for key in page} >= {*keys, *(f"{key}:n" for key in keys)}
    await engine.close()


async def test_a_batch_over_all_slots_is_answered_in_order(client: ClusterClient, store_name: str) -> None:
    keys = [f"{store_name}{n}" for n in range(1200)]
    assert len({slot_of(key) for key in keys}) > 1000
    written = await client.tell_many([("SET", key, key) for key in keys])
    assert written == [b"OK"] * len(keys)
    replies = await client.ask_many([("GET", key) for key in [*keys, "nothing", *reversed(keys)]])
    assert replies == [*(key.encode() for key in keys), None, *(key.encode() for key in reversed(keys))]


async def test_what_is_about_one_key_keeps_its_order(client: ClusterClient, store_name: str) -> None:
    keys = [f"{store_name}{n}" for n in range(20)]
    await client.tell_many([("RPUSH", key, str(n)) for n in range(30) for key in keys])
    for reply in await client.ask_many([("LRANGE", key, "0", "-1") for key in keys]):
        assert reply == [str(n).encode() for n in range(30)]


async def test_a_refused_command_is_an_error_at_its_place(client: ClusterClient, store_name: str) -> None:
    await client.tell_many([("SET", f"{store_name}a", "text")])
    replies = await client.ask_many([("GET", f"{store_name}b"), ("HGETALL", f"{store_name}a"), ("GET", "c")])
    assert isinstance(replies[1], EngineError)
    assert (replies[0], replies[2]) == (None, None)
    with pytest.raises(EngineError, match="WRONGTYPE"):
        await client.ask("HGETALL", f"{store_name}a")


async def test_one_script_may_touch_keys_of_one_slot(client: ClusterClient) -> None:
    assert client.are_together("{a}:1", "{a}:2", "x{a}")
    assert not client.are_together("{a}:1", "{b}:1")
    assert client_for(valkey.asyncio.Valkey()).are_together("{a}:1", "{b}:1")


async def test_a_prefix_with_a_tag_is_listed_on_one_node(client: ClusterClient, store_name: str) -> None:
    tagged = [f"{{{store_name}}}:{n}" for n in range(30)]
    await client.tell_many([("SET", key, "1") for key in [*tagged, *(f"{store_name}:{n}" for n in range(30))]])

    async def listed(prefix: str) -> tuple[set[str], int]:
        before = client.traffic.round_trips
        keys = {key.decode() async for page in client.scan(prefix, page_size=100_000) for key in page}
        return keys, client.traffic.round_trips - before

    one, few = await listed(f"{{{store_name}}}:")
    everything, many = await listed(store_name)
    assert one == set(tagged)
    assert everything == {f"{store_name}:{n}" for n in range(30)}
    assert many == few + 2  # the other two primaries


OWN_CLIENTS: dict[str, Callable[[int], Any]] = {
    "valkey": lambda port: valkey.asyncio.ValkeyCluster(host="127.0.0.1", port=port),
    "valkey-decoded": lambda port: valkey.asyncio.ValkeyCluster(
        startup_nodes=[ClusterNode("127.0.0.1", port)], decode_responses=True, protocol=3
    ),
    "redis": lambda port: redis.asyncio.RedisCluster(host="127.0.0.1", port=port),
    "redis-decoded": lambda port: redis.asyncio.RedisCluster(
        host="127.0.0.1", port=port, decode_responses=True, protocol=2
    ),
}


@pytest.mark.parametrize("kind", OWN_CLIENTS)
async def test_a_client_of_your_own_stays_yours(valkey_cluster: ValkeyCluster, kind: str, store_name: str) -> None:
    yours = OWN_CLIENTS[kind](valkey_cluster.nodes[5].port)
    engine = ValkeyEngine(yours)
    keys = [f"{store_name}{n}" for n in range(20)]
    for key in keys:
        await engine.values.set(key, b"\xff\0")
        assert await engine.values.get(key) == b"\xff\0"
    await engine.close()
    with pytest.raises(EngineError, match="closed"):
        await engine.values.get(store_name)
    assert await yours.exists(keys[0]) == 1
    await yours.aclose()


async def test_a_store_and_a_cache_leave_no_connection_behind(valkey_cluster: ValkeyCluster, store_name: str) -> None:
    def connections() -> int:
        lists = [tell(node, "CLIENT", "LIST", "TYPE", "normal").decode() for node in valkey_cluster.nodes]
        return sum(len(clients.splitlines()) for clients in lists)

    yours = valkey.asyncio.ValkeyCluster(host="127.0.0.1", port=valkey_cluster.nodes[0].port)
    before = connections()
    store = MemoryStore(client=yours, name=f"{{{store_name}}}", embed_fn=embed)
    cache = AgentCache(AgentCacheOptions(client=yours, name=store_name))
    await store.remember(AHEAD)
    await cache.tool.store("t", {"a": 1}, "result")
    assert connections() > before
    await store.close()
    await cache.shutdown()
    await until(lambda: connections() == before)
    await yours.aclose()


async def test_another_loop_is_refused_while_the_first_one_runs(client: ClusterClient, store_name: str) -> None:
    await client.ask("GET", store_name)
    with pytest.raises(EngineUnavailableError, match="another event loop"):
        await asyncio.to_thread(asyncio.run, client.ask("GET", store_name))


def test_a_blocking_cluster_client_is_refused(valkey_cluster: ValkeyCluster) -> None:
    blocking = valkey.cluster.ValkeyCluster(host="127.0.0.1", port=valkey_cluster.nodes[0].port)
    with pytest.raises(ConfigurationError, match="blocking"):
        ValkeyEngine(blocking)
    blocking.close()


async def test_a_server_that_is_no_cluster_says_how_to_open_it(valkey_server: ValkeyServer) -> None:
    engine = ValkeyEngine.from_url(f"valkey+cluster://127.0.0.1:{valkey_server.port}")
    with pytest.raises(ConfigurationError, match="valkey://"):
        await engine.values.get("x")
    await engine.close()


async def test_a_cluster_that_is_not_there_is_told_at_once_without_the_password() -> None:
    engine = ValkeyEngine.from_url(f"valkey+cluster://u:SeCrEt@127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
    with pytest.raises(EngineUnavailableError, match="no node of the cluster") as refusal:
        await engine.values.set("x", b"1")
    assert "SeCrEt" not in f"{refusal.value!r} {refusal.value.__cause__!r} {engine!r}"
    await engine.close()


async def test_nodes_of_which_some_are_away_are_found_by_the_others(valkey_cluster: ValkeyCluster) -> None:
    port = valkey_cluster.nodes[3].port
    engine = ValkeyEngine.from_url(f"valkey+cluster://127.0.0.1:{free_port()},127.0.0.1:{port}")
    assert await engine.values.get("x") is None
    await engine.close()


async def test_a_write_whose_answer_is_lost_is_not_repeated(valkey_cluster: ValkeyCluster, store_name: str) -> None:
    with Proxy(valkey_cluster.owner(store_name).port) as proxy:
        owner = valkey_cluster.owner(store_name).port

        def through_the_proxy(address: tuple[str, int]) -> tuple[str, int]:
            return ("127.0.0.1", proxy.port) if address[1] == owner else address

        yours = valkey.asyncio.ValkeyCluster(
            host="127.0.0.1", port=valkey_cluster.nodes[4].port, address_remap=through_the_proxy
        )
        engine = ValkeyEngine(yours)
        other = next(key for key in (f"{store_name}{n}" for n in range(100)) if valkey_cluster.owner(key).port != owner)
        assert await engine.values.increment(store_name, "n", 1) == 1
        proxy.fail_next("after", b"HINCRBY")
        batch = engine.values.batch()
        lost, kept = batch.increment(store_name, "n", 1), batch.increment(other, "n", 1)
        await batch.send()
        assert kept.result() == 1
        with pytest.raises(OutcomeUnknownError):
            lost.result()
        assert await engine.values.increment(store_name, "n", 1) == 3
        proxy.fail_next("before", b"HGETALL")
        assert await engine.values.read_map(store_name) == {"n": b"3"}  # a question is asked again
        await engine.close()
        await yours.aclose()


async def test_a_cancelled_call_leaves_no_reply_behind(client: ClusterClient, store_name: str) -> None:
    keys = [f"{store_name}{n}" for n in range(50)]
    await client.tell_many([("SET", key, key) for key in keys])
    for delay in range(20):
        task = asyncio.create_task(client.ask_many([("GET", key) for key in keys]))
        await asyncio.sleep(delay / 10_000)
        task.cancel()
        await asyncio.wait([task])
        assert await client.ask("GET", keys[delay]) == keys[delay].encode()


async def test_changes_are_heard_of_on_every_node(engine: ValkeyEngine, client: ClusterClient, store_name: str) -> None:
    keys = [f"{store_name}{n}" for n in range(8)]
    ear = Ear()
    watch = engine.watch(keys, ear)
    assert await ear.hears(5)  # listening has begun somewhere
    while await ear.hears(0.5):
        pass
    for key in keys:
        await client.tell_many([("HSET", key, "a", "1")])
        assert await ear.hears(), key
    await client.tell_many([("HSET", f"x{store_name}", "a", "1")])
    assert not await ear.hears(0.2)
    await watch.close()


async def test_a_search_of_an_index_that_is_missing_is_told_as_on_one_server(
    engine: ValkeyEngine, store_name: str
) -> None:
    store = MemoryStore(client=engine, name=f"{{{store_name}}}", embed_fn=embed, default_threshold=2.0)
    await store.remember(AHEAD)
    client = engine._client
    await client.tell_many([("FT.DROPINDEX", f"{{{store_name}}}:mem:idx")])
    assert [hit.item.content for hit in await store.recall(AHEAD)] == [AHEAD]  # made again
    await store.close()
