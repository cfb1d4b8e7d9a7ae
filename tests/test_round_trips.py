"""What a call costs on the wire, counted by a proxy between the client and a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis.asyncio
import valkey.asyncio

from betterdb_agent_memory import DeferredReinforcement, Id, Importance, MemoryListOptions, MemoryStore, Tag
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.embedding import AHEAD, at_angle, embed
from tests.near import Stopwatch, near
from tests.proxy import Proxy
from tests.servers import ValkeyServer
from tests.waiting import NEVER_SECONDS


@pytest.fixture
def proxy(valkey_server: ValkeyServer) -> Iterator[Proxy]:
    with Proxy(valkey_server.port) as proxy:
        yield proxy


@pytest.fixture(params=["valkey-2", "valkey-3", "redis-2", "redis-3"])
async def engine(request: pytest.FixtureRequest, proxy: Proxy) -> AsyncIterator[ValkeyEngine]:
    library, protocol = request.param.split("-")
    make = {"valkey": valkey.asyncio.Valkey, "redis": redis.asyncio.Redis}[library]
    client = make(host="127.0.0.1", port=proxy.port, protocol=int(protocol))
    yield ValkeyEngine(client)
    await client.aclose()


@pytest.fixture
def counted(proxy: Proxy, engine: ValkeyEngine) -> Callable[..., int]:
    """Round trips since the last call; what the engine says must agree with the wire."""
    last = {"wire": proxy.round_trips, "engine": engine.round_trips}

    def since(*, begin: bool = False) -> int:
        wire, said = proxy.round_trips - last["wire"], engine.round_trips - last["engine"]
        last.update(wire=proxy.round_trips, engine=engine.round_trips)
        assert begin or wire == said  # before it begins, connections were opened: those cost trips of their own
        return wire

    return since


@pytest.fixture
async def warm_store(engine: ValkeyEngine, store_name: str) -> AsyncIterator[MemoryStore]:
    """A store whose index is known, whose connection is open and whose scripts are loaded."""
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, default_threshold=2.0)
    for number in range(10):
        await store.remember(at_angle(1 - number / 100), thread_id="t", ttl=600)
    await store.recall(AHEAD, thread_id="t")
    yield store
    await store.close()


async def test_remember_is_one(warm_store: MemoryStore, counted: Callable[..., int]) -> None:
    counted(begin=True)
    await warm_store.remember("plain", thread_id="t")
    assert counted() == 1
    await warm_store.remember("with an expiry", thread_id="t", ttl=60, tags=["a"])
    assert counted() == 1


async def test_recall_is_one_and_one_for_immediate_reinforcement(
    warm_store: MemoryStore, counted: Callable[..., int]
) -> None:
    counted(begin=True)
    assert len(await warm_store.recall(AHEAD, thread_id="t", reinforce=False)) == 8
    assert counted() == 1
    assert len(await warm_store.recall(AHEAD, thread_id="t")) == 8
    assert counted() == 2
    assert await warm_store.recall(AHEAD, thread_id="nobody") == []
    assert counted() == 1


async def test_what_is_talked_about_and_believed_costs_no_round_trip(
    warm_store: MemoryStore, counted: Callable[..., int]
) -> None:
    asked: dict[str, Any] = {"thread_id": "t", "reinforce": False, "scoring": "activation", "retrieval": "vector"}
    counted(begin=True)
    for cues in (["river", "Maya Lind"], ["river", "ferry"], ["river"]):
        hits = await warm_store.recall(AHEAD, context=cues, min_confidence=0.5, **asked)
        assert len(hits) == 8
        assert {hit.standing.label for hit in hits} == {"likely"}
        assert counted() == 1
    assert await warm_store.recall(AHEAD, context=["river"], min_confidence=0.99, **asked) == []
    assert counted() == 1


async def test_a_recall_from_near_is_none_and_what_is_kept_takes_one_more(
    warm_store: MemoryStore, engine: ValkeyEngine, counted: Callable[..., int]
) -> None:
    store = MemoryStore(
        client=engine, name=warm_store.name, embed_fn=embed, default_threshold=2.0, near_cache=near(Stopwatch())
    )
    await store.recall(AHEAD, thread_id="t", k=1)
    counted(begin=True)
    for expected in (3, 1, 1):
        assert len(await store.recall(AHEAD, thread_id="t")) == 8
        assert counted() == expected
    assert len(await store.recall(AHEAD, thread_id="t", reinforce=False)) == 8
    assert counted() == 0
    for expected in (1, 0):
        assert await store.recall(AHEAD, thread_id="nobody") == []
        assert counted() == expected
    await store.close()


async def test_deferred_recall_is_one_and_a_flush_is_one(
    warm_store: MemoryStore, engine: ValkeyEngine, counted: Callable[..., int]
) -> None:
    store = MemoryStore(
        client=engine,
        name=warm_store.name,
        embed_fn=embed,
        default_threshold=2.0,
        reinforcement=DeferredReinforcement(interval_seconds=NEVER_SECONDS),
    )
    await store.recall(AHEAD, thread_id="t")
    await store.flush()
    counted(begin=True)
    for _ in range(5):
        assert len(await store.recall(AHEAD, thread_id="t")) == 8
    assert counted() == 5
    await store.flush()
    assert counted() == 1
    await store.close()
    assert counted() == 0


async def test_forget_by_scope_is_two_per_500_and_one_for_superseded_versions(
    warm_store: MemoryStore, counted: Callable[..., int]
) -> None:
    counted(begin=True)
    assert await warm_store.forget_by_scope(thread_id="t") == 10
    assert counted() == 3
    for number in range(1_200):
        await warm_store.remember(f"m{number}", thread_id="u")
    counted(begin=True)
    assert await warm_store.forget_by_scope(thread_id="u") == 1_200
    assert counted() == 7
    assert await warm_store.forget_by_scope(thread_id="u") == 0
    assert counted() == 2


async def test_the_rest(warm_store: MemoryStore, counted: Callable[..., int]) -> None:
    await warm_store.list(MemoryListOptions(thread_id="t"))  # counts beside the page: opens a second connection
    [item] = (await warm_store.list(MemoryListOptions(limit=1))).items
    counted(begin=True)
    await warm_store.get(item.id)
    assert counted() == 1
    await warm_store.list()
    assert counted() == 1
    await warm_store.list(MemoryListOptions(thread_id="t"))
    assert counted() == 2
    await warm_store.refresh_config()
    assert counted() == 1
    warm_store.current_config()
    assert counted() == 0
    assert await warm_store.pin(item.id)
    assert counted() == 1
    await warm_store.update(item.id, importance=0.7)
    assert counted() == 5
    assert await warm_store.unpin(item.id)
    assert counted() == 1
    await warm_store.update(item.id, importance=0.7, kind="fact")
    assert counted() == 2
    await warm_store.forget(item.id)
    assert counted() == 3


async def test_no_read_brings_a_vector_back(valkey_server: ValkeyServer, store_name: str) -> None:
    """With 1,536 dimensions one vector is 6 kB: eight hits with theirs would be 50 kB."""
    dimensions = 1_536

    async def wide(text: str) -> list[float]:
        return [1.0, float(len(text))] + [0.5] * (dimensions - 2)

    client = valkey_server.client()
    store = MemoryStore(client=client, name=store_name, embed_fn=wide, default_threshold=2.0)
    for number in range(20):
        await store.remember("x" * number, thread_id="t")

    async def sent() -> int:
        return int((await client.info("stats"))["total_net_output_bytes"])

    # A server full of other tests' keys goes through them for a new index; asking whether it has is no read.
    await store.recall("x", thread_id="nobody", reinforce=False)
    before = await sent()
    assert len(await store.recall("x", thread_id="t", reinforce=False)) == 8
    await store.list(MemoryListOptions(thread_id="t"))
    await store.forget_by_scope(thread_id="t")
    assert await sent() - before < 60_000  # 20 vectors alone would be 120,000
    await client.aclose()


async def test_remember_many_is_one_per_500(warm_store: MemoryStore, counted: Callable[..., int]) -> None:
    # Two batches are on their way at once, so that a second connection is opened.
    await warm_store.remember_many([f"warm {number}" for number in range(1001)], thread_id="bulk")
    counted(begin=True)
    results = await warm_store.remember_many([f"bulk {number}" for number in range(500)], thread_id="bulk")
    assert counted() == 1
    assert all(result.outcome == "stored" for result in results)
    await warm_store.remember_many([f"more {number}" for number in range(501)], thread_id="bulk")
    assert counted() == 2
    with_expiry = [{"content": f"short {number}", "ttl": 60} for number in range(100)]
    await warm_store.remember_many(with_expiry, thread_id="bulk")
    assert counted() == 1


async def test_merging_is_one_for_what_is_there_and_two_for_what_is_not(
    warm_store: MemoryStore, counted: Callable[..., int]
) -> None:
    await warm_store.remember("known", on_duplicate="merge")
    counted(begin=True)
    await warm_store.remember("known", on_duplicate="merge")
    assert counted() == 1
    await warm_store.remember("unknown", on_duplicate="merge")
    assert counted() == 2
    await warm_store.remember_many([f"text {number}" for number in range(200)], on_duplicate="merge")
    assert counted() == 2
    await warm_store.remember_many([f"text {number}" for number in range(200)], on_duplicate="merge")
    assert counted() == 1


async def test_update_is_two_and_three_with_content(warm_store: MemoryStore, counted: Callable[..., int]) -> None:
    id = await warm_store.remember("before")
    await warm_store.update(id, importance=0.1)
    counted(begin=True)
    await warm_store.update(id, importance=0.9, tags=["x"], ttl=60)
    assert counted() == 2
    await warm_store.update(id, content="after")
    assert counted() == 3


async def test_reading_many_is_one_and_forgetting_many_three(
    warm_store: MemoryStore, counted: Callable[..., int]
) -> None:
    ids = [result.id or "" for result in await warm_store.remember_many([f"bulk {number}" for number in range(300)])]
    counted(begin=True)
    assert all(await warm_store.get_many(ids))
    assert counted() == 1
    assert all(await warm_store.forget_many(ids))
    assert counted() == 3


async def test_correcting_is_four_and_a_recall_costs_what_it_did(
    warm_store: MemoryStore, counted: Callable[..., int]
) -> None:
    first, second, third = [await warm_store.remember(f"wrong {number}", thread_id="c") for number in range(3)]
    await warm_store.correct(first, "right 0")  # the first of a process finds the index
    counted(begin=True)
    corrected = await warm_store.correct(second, "right 1")
    assert counted() == 4
    assert await warm_store.supersede(third, corrected.id)
    assert counted() == 3
    assert await warm_store.contradict(corrected.id, (await warm_store.recall("right 0", reinforce=False))[0].item.id)
    assert counted() == 3
    assert len(await warm_store.recall(AHEAD, thread_id="c", reinforce=False)) == 2
    assert counted() == 1
    for _ in range(2):
        assert len(await warm_store.recall(AHEAD, thread_id="c", reinforce=False, include_superseded=True)) == 5
        counted(begin=True)  # both at once: the first one opens a second connection
    await warm_store.recall(AHEAD, thread_id="c", reinforce=False, include_superseded=True)
    assert counted() == 2


async def test_ids_are_read_by_key_without_a_search(warm_store: MemoryStore, counted: Callable[..., int]) -> None:
    ids = [result.id or "" for result in await warm_store.remember_many([f"bulk {number}" for number in range(50)])]
    await warm_store.recall(AHEAD, where=Id(*ids), reinforce=False)
    counted(begin=True)
    assert len(await warm_store.recall(AHEAD, where=Id(*ids), k=50, reinforce=False)) == 50
    assert counted() == 1


async def test_a_range_costs_no_further_round_trip(warm_store: MemoryStore, counted: Callable[..., int]) -> None:
    await warm_store.recall(AHEAD, where=Importance.at_least(0.4), reinforce=False)
    counted(begin=True)
    found = await warm_store.recall(AHEAD, where=Importance.between(0.4, 0.6) & Tag.none("x"), reinforce=False)
    assert len(found) == 8
    assert counted() == 1


async def test_links_and_what_they_add_to_a_recall(warm_store: MemoryStore, counted: Callable[..., int]) -> None:
    store = MemoryStore(
        client=warm_store._engine, name=warm_store.name, embed_fn=embed, default_threshold=0.1, link_recalled=True
    )
    far = await store.remember(at_angle(-1.0), thread_id="t")
    [near] = await store.recall(AHEAD, thread_id="t", k=1, expand=True)
    await store.link(near.item.id, far)
    await store.recall(AHEAD, thread_id="t", k=2, expand=True)  # loads what it needs
    counted(begin=True)
    assert len(await store.recall(AHEAD, thread_id="t", k=2)) == 2
    assert counted() == 2  # links gain with the write that reinforces
    assert len(await store.recall(AHEAD, thread_id="t", k=2, expand=True)) == 3
    assert counted() == 2  # and are followed by the search itself
    assert len(await store.recall(AHEAD, thread_id="t", k=2, expand=True, scoring="activation")) > 2
    assert counted() == 2
    assert len(await store.recall(AHEAD, thread_id="t", k=2, expand=True, scoring="chain")) > 2
    assert counted() == 4  # what the server cannot weigh is followed behind it
    await store.link(near.item.id, far, 0.5)
    assert counted() == 1
    assert await store.links(near.item.id, least_weight=0)
    assert counted() == 2
    assert await store.unlink(near.item.id, far)
    assert counted() == 1
    assert await store.forget(far)
    assert counted() == 3
    await store.close()
