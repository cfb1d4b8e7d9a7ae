"""What was wrong in the published packages and is not in ours, by number.

The numbers are those of docs/wire-contract.md, section F: the ones that concern the memory tier. Every
test fails on the published behaviour. Those of consolidation (5, 6, 18 to 21, 40 to 44) are in
tests/conformance/test_consolidation_*.py, on every engine. Where the published package runs beside
ours, see tests/peer/test_sharing.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import valkey.asyncio

from betterdb_agent_memory import (
    AgentMemoryError,
    ConfigurationError,
    Fact,
    FunctionEmbedder,
    IndexMismatchError,
    InvalidInputError,
    MemoryItem,
    MemoryListOptions,
    MemoryStore,
    RecallWeights,
)
from tests.embedding import AHEAD, at_angle, embed
from tests.proxy import Proxy
from tests.servers import ValkeyServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def store(valkey_client: Any, store_name: str) -> AsyncIterator[MemoryStore]:
    store = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed)
    try:
        yield store
    finally:
        await store.close()


class CountedEmbedder:
    """Counts the calls that would be paid for."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, text: str) -> list[float]:
        self.calls += 1
        return await embed(text)


async def ids_listed(store: MemoryStore, **options: Any) -> list[str]:
    return [item.id for item in (await store.list(MemoryListOptions(**options))).items]


async def test_f01_expiring_writes_do_not_capture_other_calls_on_the_same_client(
    store: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    await store.remember(f"{AHEAD} known", thread_id="known")
    counter = f"{store_name}:counter"

    async def bystander() -> tuple[Any, Any, int]:
        counted = await valkey_client.incr(counter)
        value = await valkey_client.get(counter)
        hits = await store.recall(AHEAD, thread_id="known", reinforce=False)
        return counted, value, len(hits)

    written = [store.remember(f"note {number}", ttl=100, thread_id="t") for number in range(100)]
    others = [bystander() for _ in range(100)]
    ids, answers = await asyncio.gather(asyncio.gather(*written), asyncio.gather(*others))

    assert sorted(counted for counted, _, _ in answers) == list(range(1, 101))
    assert all(value.isdigit() and hits == 1 for _, value, hits in answers)
    assert (await store.list(MemoryListOptions(thread_id="t", limit=0))).total == 100
    assert all([90 < await valkey_client.ttl(f"{store_name}:mem:{id}") <= 100 for id in ids])


@pytest.mark.parametrize("library", [valkey.asyncio.Valkey, redis.asyncio.Redis], ids=["valkey", "redis"])
async def test_f02_expiring_writes_work_on_a_client_with_a_single_connection(
    library: Any, valkey_server: ValkeyServer, store_name: str
) -> None:
    async with library(port=valkey_server.port, single_connection_client=True) as client:
        store = MemoryStore(client=client, name=store_name, embed_fn=embed)
        await client.set(f"{store_name}:bystander", "1")
        reads = [client.get(f"{store_name}:bystander") for _ in range(50)]
        writes = [store.remember(f"note {number}", ttl=100) for number in range(50)]
        values, ids = await asyncio.gather(asyncio.gather(*reads), asyncio.gather(*writes))
        assert set(values) == {b"1"}
        assert all([90 < await client.ttl(f"{store_name}:mem:{id}") <= 100 for id in ids])
        await store.close()


@pytest.fixture(scope="module")
def cluster_server() -> Iterator[ValkeyServer]:
    """One server that owns all slots of a cluster and refuses commands with keys of two slots."""
    with ValkeyServer(arguments=("--cluster-enabled", "yes")) as server:
        client = server.blocking_client()
        try:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            deadline = time.monotonic() + 20
            while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                assert time.monotonic() < deadline, "the cluster does not come up"
                time.sleep(0.05)
            with pytest.raises(valkey.exceptions.ResponseError, match="CROSSSLOT"):
                client.execute_command("DEL", "a", "b")
        finally:
            client.close()
        yield server


async def test_f04_memories_of_different_slots_are_deleted_together(
    cluster_server: ValkeyServer, store_name: str
) -> None:
    async def summarize(_: list[MemoryItem]) -> str:
        return "digest"

    async def extract(_: list[MemoryItem]) -> list[Fact]:
        return facts

    async with cluster_server.client() as client:
        store = MemoryStore(client=client, name=store_name, embed_fn=embed)
        for number in range(5):
            await store.remember(f"note {number}", thread_id="t")
        facts = [Fact("city", "lives in Sofia"), Fact("pet", "has a cat"), Fact("job", "works at Acme")]
        await store.consolidate(extract_facts=extract, thread_id="t")
        facts = [Fact("city", "lives in Bonn"), Fact("pet", "", tombstone=True), Fact("job", "works at Globex")]
        assert (await store.consolidate(extract_facts=extract, thread_id="t")).deleted == 3
        assert (await store.consolidate(summarize=summarize, thread_id="t")).deleted == 5
        # This module's searches return no fields of keys in other slots; walking reads them by key.
        left = {item.content: item.id async for item in store.iterate(thread_id="t")}
        assert set(left) == {"digest", "lives in Bonn", "works at Globex"}
        # What forgetting a scope and eviction delete with, too.
        assert await store.forget_many([*left.values(), "nobody"]) == [True, True, True, False]
        await store.close()


async def test_f07_scopes_and_tags_that_differ_in_case_are_different(store: MemoryStore) -> None:
    upper = await store.remember(f"{AHEAD} upper", thread_id="ABC", agent_id="A", namespace="N", tags=["Tag"])
    for other in ({"thread_id": "abc"}, {"agent_id": "a"}, {"namespace": "n"}, {"tags": ["tag"]}):
        assert await store.recall(AHEAD, **other) == []
        assert (await store.list(MemoryListOptions(**other))).total == 0
        assert await store.forget_by_scope(**other) == 0
    assert [hit.item.id for hit in await store.recall(AHEAD, thread_id="ABC", tags=["Tag"])] == [upper]


async def test_f07_memories_of_another_case_do_not_use_up_the_capacity_of_a_scope(
    valkey_client: Any, store_name: str
) -> None:
    store = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed, max_items_per_scope=2)
    upper = {await store.remember(f"upper {number}", thread_id="ABC", importance=0) for number in range(2)}
    lower = {await store.remember(f"lower {number}", thread_id="abc") for number in range(2)}
    assert set(await ids_listed(store)) == upper | lower
    await store.close()


async def test_f08_a_scope_with_a_comma_is_one_scope(store: MemoryStore) -> None:
    id = await store.remember(f"{AHEAD} comma", thread_id="a,b")
    assert [hit.item.id for hit in await store.recall(AHEAD, thread_id="a,b")] == [id]
    assert await ids_listed(store, thread_id="a,b") == [id]
    for part in ("a", "b", "b,a"):
        assert await store.recall(AHEAD, thread_id=part) == []
        assert await store.forget_by_scope(thread_id=part) == 0
    assert await store.forget_by_scope(thread_id="a,b") == 1


async def test_f12_get_returns_a_memory_whatever_its_vector(store: MemoryStore) -> None:
    id = await store.remember("User prefers dark mode", importance=0.8, tags=["ui"], thread_id="t-1")
    item = await store.get(id)
    assert item is not None
    assert (item.content, item.importance, item.tags, item.thread_id) == ("User prefers dark mode", 0.8, ["ui"], "t-1")


@pytest.mark.parametrize("library", [valkey.asyncio.Valkey, redis.asyncio.Redis], ids=["valkey", "redis"])
@pytest.mark.parametrize(
    "options",
    [{}, {"decode_responses": True}, {"protocol": 3}, {"protocol": 3, "decode_responses": True}],
    ids=["plain", "decoding", "resp3", "resp3-decoding"],
)
async def test_f13_every_kind_of_client_gives_the_same_answers(
    options: dict[str, Any], library: Any, valkey_server: ValkeyServer, store_name: str
) -> None:
    async with library(port=valkey_server.port, **options) as client:
        store = MemoryStore(client=client, name=store_name, embed_fn=embed)
        id = await store.remember(f"{AHEAD} naïve 🙂", thread_id="t", ttl=100, tags=["é"])
        [hit] = await store.recall(AHEAD, thread_id="t", tags=["é"])
        read = await store.get(id)
        assert read is not None
        assert (hit.item.id, hit.item.content) == (id, f"{AHEAD} naïve 🙂")
        assert hit.distance == pytest.approx(0, abs=1e-6)
        assert (read.content, read.access_count) == (hit.item.content, 1)
        assert await ids_listed(store, thread_id="t") == [id]
        assert (await store.stats()).item_count == 1
        assert await store.forget_by_scope(thread_id="t") == 1
        await store.close()


async def test_f15_reinforcing_never_brings_back_a_part_of_a_deleted_memory(
    store: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    for round in range(20):
        ids = [await store.remember(f"{AHEAD} {number}", thread_id="t") for number in range(4)]
        await asyncio.gather(
            store.recall(AHEAD, thread_id="t"),
            *[store.forget(id) for id in ids],
            store.recall(AHEAD, thread_id="t"),
        )
        left = [key async for key in valkey_client.scan_iter(f"{store_name}:mem:*")]
        assert left == [], f"round {round}"


async def test_f15_a_memory_deleted_between_search_and_reinforcement_stays_gone(
    store: MemoryStore, store_name: str, valkey_client: Any, valkey_server: ValkeyServer
) -> None:
    with Proxy(valkey_server.port) as proxy:
        async with valkey.asyncio.Valkey(port=proxy.port) as held_client:
            held = MemoryStore(client=held_client, name=store_name, embed_fn=embed)
            id = await held.remember(f"{AHEAD} short lived")
            await held.recall(AHEAD)
            proxy.fail_next("stall", containing=b"last_accessed_at\r\n$13")
            recall = asyncio.create_task(held.recall(AHEAD))
            await asyncio.sleep(0.1)
            assert not recall.done(), "the reinforcement is not held back"
            await store.forget(id)
            proxy.release()
            assert [hit.item.id for hit in await recall] == [id]
            assert not await valkey_client.exists(f"{store_name}:mem:{id}")
            assert (await store.stats()).item_count == 0


async def test_f17_the_memory_just_written_is_not_the_one_that_leaves(valkey_client: Any, store_name: str) -> None:
    now_ms = 1_750_000_000_000
    store = MemoryStore(
        client=valkey_client, name=store_name, embed_fn=embed, max_items_per_scope=3, clock=lambda: now_ms
    )
    # The recorded scenario memory_eviction: its fifth write deleted itself.
    for number, importance in enumerate((0.9, 0.1, 0.5, 0.5, 0.2)):
        id = await store.remember(f"e{number}", thread_id="t", importance=importance)
        assert await store.get(id) is not None
        now_ms += 1000
    assert [item.content for item in (await store.list()).items] == ["e4", "e3", "e0"]
    await store.close()


async def embed_short(text: str) -> list[float]:
    return (await embed(text))[:4]


async def test_f22_an_index_for_other_vectors_is_refused_at_the_start(
    store: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    await store.remember("eight numbers")
    other = MemoryStore(client=valkey_client, name=store_name, embed_fn=FunctionEmbedder(embed_short, dimensions=4))
    with pytest.raises(IndexMismatchError, match=r"8.*4"):
        await other.ensure_index()
    await other.close()


async def test_f22_a_vector_that_the_index_could_not_take_in_is_not_stored(
    store: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    await store.remember("eight numbers")
    # Of a plain function nobody knows how long its vectors are, until it has made one.
    other = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed_short)
    with pytest.raises(AgentMemoryError, match=r"4 numbers, expected 8"):
        await other.remember("four numbers")
    with pytest.raises(AgentMemoryError, match=r"4 numbers, expected 8"):
        await other.recall("four numbers")
    keys = [key async for key in valkey_client.scan_iter(f"{store_name}:mem:*")]
    assert len(keys) == 1
    assert (await store.stats()).index_failures == 0
    await other.close()


async def test_f22_records_that_the_published_package_stored_unindexed_are_counted(
    store: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    id = await store.remember("eight numbers")
    record = await valkey_client.hgetall(f"{store_name}:mem:{id}")
    await valkey_client.hset(f"{store_name}:mem:short", mapping={**record, b"vector": record[b"vector"][:16]})
    # At least once: an index that is just being built may try a second time.
    assert (await store.stats()).index_failures >= 1


async def test_f23_racing_workers_all_find_the_index(valkey_server: ValkeyServer, store_name: str) -> None:
    clients = [valkey_server.client() for _ in range(12)]
    stores = [MemoryStore(client=client, name=store_name, embed_fn=embed) for client in clients]
    try:
        await asyncio.gather(*[store.ensure_index() for store in stores])
        ids = await asyncio.gather(*[store.remember(f"from {n}", thread_id="t") for n, store in enumerate(stores)])
        assert set(await ids_listed(stores[0], thread_id="t")) == set(ids)
    finally:
        for client in clients:
            await client.aclose()


async def test_f24_a_recall_does_not_transfer_vectors(store_name: str, valkey_client: Any) -> None:
    dimensions = 1536

    async def embed_wide(text: str) -> list[float]:
        return [*(await embed(text)), *[0.0] * (dimensions - 8)]

    store = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed_wide)
    for number in range(8):
        await store.remember(f"{AHEAD} {number}")
    await store.recall(AHEAD, reinforce=False)  # looks at the index, too
    before = await bytes_sent(valkey_client)
    assert len(await store.recall(AHEAD, reinforce=False)) == 8
    # The vectors alone would be 49 kB; published this was 205 kB.
    assert await bytes_sent(valkey_client) - before < 16_000
    await store.close()


async def bytes_sent(client: Any) -> int:
    return int((await client.info("stats"))["total_net_output_bytes"])


async def test_f25_reinforcing_eight_hits_is_one_round_trip_and_one_write_each(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    with Proxy(valkey_server.port) as proxy:
        async with valkey.asyncio.Valkey(port=proxy.port) as client:
            store = MemoryStore(client=client, name=store_name, embed_fn=embed)
            for number in range(8):
                await store.remember(f"{AHEAD} {number}")
            await store.recall(AHEAD)
            trips, writes = proxy.round_trips, await hash_writes(valkey_server)
            assert len(await store.recall(AHEAD)) == 8
            assert proxy.round_trips - trips == 2, "one to search, one to reinforce"
            assert await hash_writes(valkey_server) - writes == 8
            assert {item.access_count for item in (await store.list()).items} == {2}
            await store.close()


async def hash_writes(server: ValkeyServer) -> int:
    """Commands that changed a hash so far, also from inside scripts: each re-indexes a record."""
    async with server.client() as client:
        statistics = await client.info("commandstats")
    writing = ("cmdstat_hset", "cmdstat_hincrby", "cmdstat_hincrbyfloat", "cmdstat_hsetnx", "cmdstat_hmset")
    return sum(int(statistics[name]["calls"]) for name in writing if name in statistics)


@pytest.mark.parametrize("ttl", [1.5, 0.4, "60", float("nan"), True])
async def test_f26_a_time_to_live_that_is_no_whole_number_is_refused(ttl: Any, store: MemoryStore) -> None:
    with pytest.raises(InvalidInputError, match="ttl"):
        await store.remember("would live for ever", ttl=ttl)
    assert (await store.list()).total == 0


async def test_f27_an_empty_scope_value_is_a_scope_like_any_other(valkey_client: Any, store_name: str) -> None:
    store = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed, max_items_per_scope=2)
    others = {await store.remember(f"{AHEAD} none"), await store.remember(f"{AHEAD} t", thread_id="t")}
    empty = [await store.remember(f"{AHEAD} {n}", thread_id="", importance=n / 2) for n in range(3)]
    assert set(await ids_listed(store, thread_id="")) == set(empty[1:]), "the limit holds for it too"
    assert {hit.item.id for hit in await store.recall(AHEAD, thread_id="")} == set(empty[1:])
    assert await store.forget_by_scope(thread_id="") == 2
    assert set(await ids_listed(store)) == others
    await store.close()


@pytest.mark.parametrize("character", ["`", "?", "\t", "\n", "\x01", "\x00", "\x7f", "\u2028"])
async def test_f28_every_character_can_be_part_of_a_scope(character: str, store: MemoryStore) -> None:
    thread = f"p{character}q"
    id = await store.remember(f"{AHEAD} odd", thread_id=thread)
    await store.remember(f"{AHEAD} other", thread_id="pq")
    await store.remember(f"{AHEAD} other", thread_id="p q")
    assert [hit.item.id for hit in await store.recall(AHEAD, thread_id=thread)] == [id]
    assert await ids_listed(store, thread_id=thread) == [id]
    assert await store.forget_by_scope(thread_id=thread) == 1
    assert (await store.list()).total == 2


@pytest.mark.parametrize("tag", ["a`b", "what?", "x_y", "p\xa0q"])
async def test_f28_every_printable_character_can_be_part_of_a_tag(tag: str, store: MemoryStore) -> None:
    id = await store.remember(f"{AHEAD} odd", tags=["plain", tag])
    assert await ids_listed(store, tags=[tag]) == [id]


@pytest.mark.parametrize("tag", ["a\tb", "a\nb", "a\x01b", "a\x7fb"])
async def test_f28_a_tag_that_an_index_could_not_find_is_refused(tag: str, store: MemoryStore) -> None:
    with pytest.raises(InvalidInputError, match="control character"):
        await store.remember("x", tags=[tag])


async def test_f29_blanks_around_a_value_belong_to_it(store: MemoryStore) -> None:
    padded = await store.remember(f"{AHEAD} padded", thread_id="  pad  ", tags=[" k "])
    plain = await store.remember(f"{AHEAD} plain", thread_id="pad", tags=["k"])
    assert await ids_listed(store, thread_id="  pad  ") == [padded]
    assert await ids_listed(store, tags=[" k "]) == [padded]
    assert [hit.item.id for hit in await store.recall(AHEAD, thread_id="pad")] == [plain]
    assert await store.forget_by_scope(thread_id="pad") == 1
    assert await ids_listed(store) == [padded]


async def test_f32_workers_started_at_different_times_have_the_same_weights(
    store_name: str, valkey_client: Any
) -> None:
    key = f"{store_name}:__mem_config"
    early = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed)
    await valkey_client.hset(key, mapping={"recall.weights.similarity": "0.9", "recall.weights.recency": "0"})
    await early.refresh_config()
    await valkey_client.hdel(key, "recall.weights.recency")
    await early.refresh_config()
    late = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed)
    await late.refresh_config()
    assert early.current_config() == late.current_config()
    assert early.current_config().weights == RecallWeights(similarity=0.9, recency=0.25, importance=0.15)


@pytest.mark.parametrize("text", ["", "  "])
async def test_f33_an_empty_field_is_ignored_and_shown_as_such(
    text: str, store: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    constructed = store.current_config()
    await valkey_client.hset(
        f"{store_name}:__mem_config", mapping={"recall.threshold": text, "recall.weights.recency": text}
    )
    await store.refresh_config()
    assert store.current_config() == constructed
    assert (await store.stats()).ignored_config_fields == ("recall.threshold", "recall.weights.recency")


async def test_f45_a_name_whose_keys_would_lie_below_another_store_is_refused(valkey_client: Any) -> None:
    for name in ("d:mem", "d:mem:x", "a:b:mem"):
        with pytest.raises(ConfigurationError, match=":mem"):
            MemoryStore(client=valkey_client, name=name)
    MemoryStore(client=valkey_client, name="memory:d")


async def test_f45_records_of_a_store_below_ours_are_never_ours(
    store: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    # What a published store called `{name}:mem` holds; with its process see tests/peer.
    mine = await store.remember(f"{AHEAD} ours", thread_id="t")
    record = await valkey_client.hgetall(f"{store_name}:mem:{mine}")
    await valkey_client.hset(f"{store_name}:mem:mem:theirs", mapping=record)
    await valkey_client.hset(f"{store_name}:mem:__mem_config", mapping={"recall.threshold": "1"})

    assert [hit.item.id for hit in await store.recall(AHEAD, thread_id="t")] == [mine]
    listed = await store.list(MemoryListOptions(thread_id="t"))
    assert ([item.id for item in listed.items], listed.total) == ([mine], 1)
    assert (await store.stats()).item_count == 1
    assert await store.forget_by_scope(thread_id="t") == 1
    assert await valkey_client.exists(f"{store_name}:mem:mem:theirs")


async def test_f45_the_total_of_an_unscoped_list_leaves_out_records_of_a_store_below_ours(
    store: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    mine = await store.remember("ours")
    record = await valkey_client.hgetall(f"{store_name}:mem:{mine}")
    await valkey_client.hset(f"{store_name}:mem:mem:theirs", mapping=record)
    listed = await store.list()
    assert ([item.id for item in listed.items], listed.total) == ([mine], 1)


USE_EVERYTHING = """
import asyncio, json, sys
connections = []
def record(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        connections.append([event, repr(arguments[1:2] if event == "socket.connect" else arguments[:2])])
sys.addaudithook(record)

import valkey.asyncio
from betterdb_agent_memory import AgentMemory, AgentMemoryOptions, MemoryStore

async def embed(text):
    return [1.0, 0.5, 0.25, 0.125]

async def main(port, name):
    client = valkey.asyncio.Valkey(host="127.0.0.1", port=port)
    agent = AgentMemory(AgentMemoryOptions(client=client, embed_fn=embed, name=name))
    bare = MemoryStore(client=client, name=name, embed_fn=embed, analytics=True)
    async with agent:
        for store in (agent.memory, bare):
            await store.remember("x", thread_id="t", ttl=60)
            await store.recall("x", thread_id="t")
            await store.list()
            await store.stats()
            await store.forget_by_scope(thread_id="t")
            await store.close()
    await client.aclose()

asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
print(json.dumps(connections))
"""


async def test_f46_f56_no_connection_is_opened_but_the_configured_one_and_no_id_is_written(
    valkey_server: ValkeyServer, valkey_client: Any, store_name: str, tmp_path: Path
) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BETTERDB_")}
    # Nobody opted out, and whatever is written at home would show.
    environment |= {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", USE_EVERYTHING, str(valkey_server.port), store_name),
        env=environment,
        stdout=subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    connections = json.loads(output)
    assert connections, "the audit hook saw nothing at all"
    assert all(f"'127.0.0.1', {valkey_server.port}" in where for _, where in connections), connections
    assert not await valkey_client.exists(f"{store_name}:__instance_id")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("importance", [True, False])
async def test_f49_a_boolean_is_no_importance(importance: bool, store: MemoryStore) -> None:
    with pytest.raises(InvalidInputError, match="importance"):
        await store.remember("x", importance=importance)


async def test_f49_a_boolean_that_the_published_package_stored_reads_as_a_number(
    store: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    id = await store.remember(f"{AHEAD} x")
    await valkey_client.hset(f"{store_name}:mem:{id}", "importance", "True")
    item = await store.get(id)
    assert item is not None
    assert item.importance == 0
    assert (await store.stats()).unreadable_records > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"importance": 1.5},
        {"importance": -0.1},
        {"importance": float("nan")},
        {"tags": ["a,b"]},
        {"ttl": 1.5},
        {"thread_id": 7},
    ],
    ids=str,
)
async def test_f50_nothing_is_paid_for_what_is_then_refused(
    wrong: dict[str, Any], valkey_client: Any, store_name: str
) -> None:
    counted = CountedEmbedder()
    store = MemoryStore(client=valkey_client, name=store_name, embed_fn=counted)
    with pytest.raises(InvalidInputError):
        await store.remember("x", **wrong)
    assert counted.calls == 0


async def test_f50_nothing_is_paid_for_a_recall_that_is_refused(valkey_client: Any, store_name: str) -> None:
    counted = CountedEmbedder()
    store = MemoryStore(client=valkey_client, name=store_name, embed_fn=counted)
    refused: list[dict[str, Any]] = [{"k": 0}, {"threshold": 3}, {"tags": ["a,b"]}, {"thread_id": 7}]
    for wrong in refused:
        with pytest.raises(InvalidInputError):
            await store.recall("x", **wrong)
    assert counted.calls == 0


async def test_f52_a_time_to_live_of_zero_means_for_ever(
    store: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    id = await store.remember("stays", ttl=0)
    assert await valkey_client.ttl(f"{store_name}:mem:{id}") == -1


async def test_f55_list_shows_subject_and_date(store: MemoryStore) -> None:
    await store.remember("[2024-05-01] lives in Sofia", source="fact", subject="Home City", date="2024-05-01")
    [item] = (await store.list()).items
    assert (item.subject, item.date) == ("Home City", "2024-05-01")


async def test_f55_before_anything_is_stored_everything_is_empty(store: MemoryStore) -> None:
    listed = await store.list()
    assert (listed.items, listed.total) == ([], 0)
    statistics = await store.stats()
    assert (statistics.item_count, statistics.evictions) == (0, 0)
    assert await store.recall("x") == []
    assert await store.get("nobody") is None
    assert await store.forget("nobody") is False
    assert await store.forget_by_scope(thread_id="t") == 0


@pytest.mark.parametrize("k", [0, -1, 1.5, True, 1_000_000])
async def test_f55_an_impossible_k_is_refused_before_it_reaches_the_server(k: Any, store: MemoryStore) -> None:
    await store.remember(at_angle(1))
    with pytest.raises(InvalidInputError, match="k must be"):
        await store.recall(AHEAD, k=k)
