"""Slots that move while they are used: every write happens once and in order, every key is found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import valkey.asyncio

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.cluster import ClusterClient, _in_order, _Verdict
from betterdb_agent_memory.engines.valkey.routing import Later
from betterdb_agent_memory.engines.valkey.slots import slot_of
from betterdb_agent_memory.engines.valkey.urls import client_from_url
from betterdb_agent_memory.errors import EngineError
from tests.clusters import ValkeyCluster, tell
from tests.embedding import AHEAD, at_angle, embed
from tests.engines.valkey.test_watching import Ear
from tests.proxy import Proxy


class Moving:
    """One slot on its way from its owner to another primary, step by step, as `valkey-cli` does it."""

    def __init__(self, cluster: ValkeyCluster, key: str) -> None:
        self.cluster = cluster
        self.slot = slot_of(key)
        self.source = cluster.owner(key)
        self.target = next(node for node in cluster.primaries if node is not self.source)

    def begin(self) -> None:
        """From now on the source says ASK for keys that it does not have."""
        source, target = self.cluster.id_of(self.source), self.cluster.id_of(self.target)
        tell(self.target, "CLUSTER", "SETSLOT", self.slot, "IMPORTING", source)
        tell(self.source, "CLUSTER", "SETSLOT", self.slot, "MIGRATING", target)

    def move(self, *keys: str) -> None:
        """Hand these keys over, or all that there are."""
        chosen = keys or tell(self.source, "CLUSTER", "GETKEYSINSLOT", self.slot, 1000)
        for key in chosen:
            tell(self.source, "MIGRATE", "127.0.0.1", self.target.port, key, 0, 5000)

    def end(self) -> None:
        """Give the slot to the target; the source says MOVED."""
        self.move()
        owner = self.cluster.id_of(self.target)
        for node in (self.target, self.source, *self.cluster.primaries):
            tell(node, "CLUSTER", "SETSLOT", self.slot, "NODE", owner)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    """One of this module alone: its slots do not stay where they were."""
    with ValkeyCluster() as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: ValkeyCluster) -> AsyncIterator[ClusterClient]:
    made = client_from_url(cluster.url)
    assert isinstance(made, ClusterClient)
    yield made
    await made.close()


async def test_a_slot_that_has_moved_is_followed(
    cluster: ValkeyCluster, client: ClusterClient, store_name: str
) -> None:
    keys = [f"{{{store_name}}}{n}" for n in range(20)]
    assert await client.tell_many([("INCR", key) for key in keys]) == [1] * 20
    moving = Moving(cluster, keys[0])
    moving.begin()
    moving.end()
    assert cluster.owner(keys[0]) is moving.target
    before = client.traffic.round_trips
    assert await client.tell_many([("INCR", key) for key in keys]) == [2] * 20
    # MOVED, the map perhaps read anew, and the commands again.
    assert client.traffic.round_trips - before in (2, 3)
    before = client.traffic.round_trips
    assert await client.ask_many([("GET", key) for key in keys]) == [b"2"] * 20
    assert client.traffic.round_trips - before == 1


async def test_keys_on_both_sides_of_a_slot_on_its_way(
    cluster: ValkeyCluster, client: ClusterClient, store_name: str
) -> None:
    keys = [f"{{{store_name}}}{n}" for n in range(10)]
    await client.tell_many([("INCR", key) for key in keys])
    moving = Moving(cluster, keys[0])
    moving.begin()
    moving.move(*keys[:5])
    fresh = f"{{{store_name}}}new"
    assert await client.tell_many([("INCR", key) for key in [*keys, fresh]]) == [2] * 10 + [1]
    assert await client.ask_many([("GET", key) for key in [*keys, fresh]]) == [b"2"] * 10 + [b"1"]
    ordered = await client.tell_many([("RPUSH", f"{{{store_name}}}list", str(n)) for n in range(250)])
    assert ordered == list(range(1, 251))
    assert cluster.owner(keys[0]) is moving.source  # the map has not changed
    moving.end()
    assert await client.tell_many([("INCR", key) for key in [*keys, fresh]]) == [3] * 10 + [2]
    listed = await client.ask("LRANGE", f"{{{store_name}}}list", "0", "-1")
    assert listed == [str(n).encode() for n in range(250)]


async def test_a_key_on_its_way_is_reached_by_the_address_that_leads_there(
    cluster: ValkeyCluster, client: ClusterClient, store_name: str
) -> None:
    await client.tell_many([("SET", store_name, "1")])
    moving = Moving(cluster, store_name)
    moving.begin()
    moving.move(store_name)
    with Proxy(moving.target.port) as proxy:

        def through_the_proxy(address: tuple[str, int]) -> tuple[str, int]:
            return ("127.0.0.1", proxy.port) if address[1] == moving.target.port else address

        yours = valkey.asyncio.ValkeyCluster(host="127.0.0.1", port=moving.source.port, address_remap=through_the_proxy)
        engine = ValkeyEngine(yours)
        assert await engine.values.get(store_name) == b"1"
        assert proxy.round_trips > 0
        await engine.close()
        await yours.aclose()
    moving.end()


async def test_a_script_follows_its_keys(cluster: ValkeyCluster, client: ClusterClient, store_name: str) -> None:
    engine = ValkeyEngine(client)
    key = f"{{{store_name}}}"
    assert await engine.leases.acquire(key, "me", ttl_seconds=60) == 1
    moving = Moving(cluster, key)
    moving.begin()
    moving.move(key)
    assert await engine.leases.acquire(key, "me", ttl_seconds=60) == 1
    assert await engine.leases.acquire(key, "you", ttl_seconds=60) is None
    moving.end()
    assert await engine.leases.release(key, "me")
    assert await engine.leases.acquire(key, "you", ttl_seconds=60) == 2


async def test_every_write_happens_once_while_a_slot_moves(
    cluster: ValkeyCluster, client: ClusterClient, store_name: str
) -> None:
    keys = [f"{{{store_name}}}{n}" for n in range(200)]
    moving = Moving(cluster, keys[0])
    rounds = 0
    is_over = False

    async def count() -> None:
        nonlocal rounds
        while not is_over:
            rounds += 1
            assert await client.tell_many([("INCR", key) for key in keys]) == [rounds] * len(keys)

    counting = asyncio.create_task(count())
    await asyncio.sleep(0.02)
    await asyncio.to_thread(moving.begin)
    for key in keys:
        await asyncio.to_thread(moving.move, key)
    await asyncio.to_thread(moving.end)
    await asyncio.sleep(0.02)
    is_over = True
    await counting
    assert rounds > 5
    assert await client.ask_many([("GET", key) for key in keys]) == [str(rounds).encode()] * len(keys)


@pytest.mark.parametrize("tagged", [True, False])
async def test_a_key_that_moves_behind_the_listing_is_found(
    cluster: ValkeyCluster, client: ClusterClient, store_name: str, tagged: bool
) -> None:
    # From a primary that is listed late to one that is listed early.
    first, *_, last = (await client._topology.current()).primaries
    source = next(node for node in cluster.nodes if node.port == last.port)
    target = next(node for node in cluster.nodes if node.port == first.port)
    tag = cluster.tag_on(source, store_name)
    keys = {f"{{{tag}}}{n}" for n in range(30)}
    others = {} if tagged else {f"{store_name}:{n}" for n in range(30)}
    await client.tell_many([("SET", key, "1") for key in [*keys, *others]])
    moving = Moving(cluster, f"{{{tag}}}")
    moving.target = target
    prefix = f"{{{tag}}}" if tagged else ""
    seen: set[str] = set()
    pages = 0
    moving.begin()
    async for page in client.scan(prefix, page_size=100_000):
        seen |= {key.decode() for key in page}
        pages += 1
        if pages == 1:
            await asyncio.to_thread(moving.move)
    assert seen >= keys | set(others)
    moving.end()
    again = {key.decode() async for page in client.scan(prefix, page_size=10) for key in page}
    assert again >= keys | set(others)


async def test_a_store_moves_with_its_slot(cluster: ValkeyCluster, client: ClusterClient, store_name: str) -> None:
    store = MemoryStore(client=ValkeyEngine(client), name=f"{{{store_name}}}", embed_fn=embed, default_threshold=2.0)
    ids = {await store.remember(at_angle(1 - n / 20), thread_id="t") for n in range(10)}
    assert {hit.item.id for hit in await store.recall(AHEAD, k=20, thread_id="t")} == ids
    moving = Moving(cluster, f"{{{store_name}}}")
    moving.begin()
    moving.end()
    # The index does not come along by itself: it is made again where the memories are.
    assert {hit.item.id for hit in await store.recall(AHEAD, k=20, thread_id="t")} == ids
    ids.add(await store.remember("after the move", thread_id="t"))
    assert {hit.item.id for hit in await store.recall(AHEAD, k=20, thread_id="t")} == ids
    await store.close()


async def test_changes_are_heard_of_where_the_key_has_gone(
    cluster: ValkeyCluster, client: ClusterClient, store_name: str
) -> None:
    engine = ValkeyEngine(client)
    ear = Ear()
    watch = engine.watch([store_name], ear)
    assert await ear.hears(5)
    moving = Moving(cluster, store_name)
    moving.begin()
    moving.end()
    await client.tell_many([("HSET", store_name, "a", "1")])  # learns of it
    assert await ear.hears(5)  # listens anew
    while await ear.hears(1):
        pass
    tell(moving.target, "HSET", store_name, "a", "2")
    assert await ear.hears()
    await watch.close()


def test_a_write_that_a_later_one_has_overtaken_is_not_sent_again() -> None:
    commands = [("SET", "a", "1"), ("SET", "b", "1"), ("SET", "a", "2"), ("SET", "b", "2")]
    verdicts: dict[int, _Verdict] = {0: Later.NOT_DONE, 1: Later.NOT_DONE, 2: None, 3: Later.NOT_DONE}
    replies: list[object] = [EngineError("TRYAGAIN")] * 2 + [b"OK", EngineError("TRYAGAIN")]
    assert _in_order(commands, range(4), verdicts, replies, is_write=True) == [1, 3]
    assert "later write" in str(replies[0])
    assert _in_order(commands, range(4), verdicts, replies, is_write=False) == [0, 1, 3]
