"""What a first review broke, and must stay mended."""

from __future__ import annotations

import asyncio
import enum
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import valkey.asyncio

from betterdb_agent_memory import (
    AgentMemory,
    ConfigurationError,
    DeferredReinforcement,
    EngineError,
    Importance,
    IndexMismatchError,
    InvalidInputError,
    MemoryListOptions,
    MemoryOptions,
    MemoryStore,
    RememberResult,
)
from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.memory import index, parts
from betterdb_agent_memory.memory.generations import reindexing
from tests.embedding import AHEAD, at_angle, embed
from tests.engines.valkey.turns import BRIEF, longest_turn
from tests.servers import ValkeyServer


@pytest.fixture
async def store(valkey_client: valkey.asyncio.Valkey, store_name: str) -> AsyncIterator[MemoryStore]:
    store = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed, default_threshold=2.0)
    yield store
    await store.close()


async def test_expired_memories_that_the_server_still_lists_hide_nothing(store_name: str) -> None:
    """They come back as rows without fields; a page full of them is no end."""
    with ValkeyServer(arguments=("--enable-debug-command", "yes")) as server:
        client = server.client()
        await client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        store = MemoryStore(
            client=client, name=store_name, embed_fn=embed, default_threshold=2.0, max_items_per_scope=1_000
        )
        await store.ensure_index()
        for start in range(0, 600, 50):
            await asyncio.gather(*(store.remember(f"short {start + n}", thread_id="t", ttl=1) for n in range(50)))
        kept = [await store.remember(f"kept {n}", thread_id="t") for n in range(5)]
        await asyncio.sleep(1.2)
        page = await store.list(MemoryListOptions(thread_id="t"))
        assert ({item.id for item in page.items}, page.total) == (set(kept), 5)
        assert {item.id for item in (await store.list(MemoryListOptions(limit=600))).items} == set(kept)
        by_range = await store.list(MemoryListOptions(where=Importance.at_least(0), limit=1))
        assert (len(by_range.items), by_range.total) == (1, 5)
        assert {hit.item.id for hit in await store.recall("kept", thread_id="t")} == set(kept)
        limited = MemoryStore(client=client, name=store_name, embed_fn=embed, max_items_per_scope=5)
        await limited.remember("one more", thread_id="t", importance=1)
        assert (await store.list(MemoryListOptions(thread_id="t"))).total == 5
        assert await store.forget_by_scope(thread_id="t") == 5
        assert (await store.list(MemoryListOptions(thread_id="t"))).total == 0
        await client.aclose()


async def test_forgetting_waits_for_an_index_that_is_being_rebuilt(
    store: MemoryStore, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    for start in range(0, 2_000, 100):
        await asyncio.gather(*(store.remember(f"m{start + n}", thread_id="t") for n in range(100)))
    await valkey_client.execute_command("FT.DROPINDEX", f"{store_name}:mem:idx")
    assert len(await store.recall("m1", thread_id="t", k=5)) == 5
    await valkey_client.execute_command("FT.DROPINDEX", f"{store_name}:mem:idx")
    assert await store.forget_by_scope(thread_id="t") == 2_000
    assert not [key async for key in valkey_client.scan_iter(f"{store_name}:mem:*")]


async def test_a_new_worker_finds_memories_whose_index_is_gone(
    store: MemoryStore, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    ids = {await store.remember(f"m{n}", thread_id="t") for n in range(20)}
    for forget in (False, True):
        await valkey_client.execute_command("FT.DROPINDEX", f"{store_name}:mem:idx")
        worker = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed, default_threshold=2.0)
        if forget:
            assert await worker.forget_by_scope(thread_id="t") == 20
        else:
            assert {hit.item.id for hit in await worker.recall("m", thread_id="t", k=20)} == ids
    blind = MemoryStore(client=valkey_client, name=store_name)
    await valkey_client.execute_command("FT.DROPINDEX", f"{store_name}:mem:idx")
    with pytest.raises(ConfigurationError, match="embed"):
        await blind.forget_by_scope(thread_id="t")


async def test_a_writer_restores_a_lost_index_and_its_limit(
    valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    store = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed, max_items_per_scope=3)
    await store.remember("first", thread_id="t")
    await valkey_client.execute_command("FT.DROPINDEX", f"{store_name}:mem:idx")
    for number in range(10):
        await store.remember(f"m{number}", thread_id="t")
    assert len([key async for key in valkey_client.scan_iter(f"{store_name}:mem:*")]) == 3
    assert (await store.stats()).background_failures == 0


async def test_ensure_index_always_looks(
    store: MemoryStore, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    await store.ensure_index()
    await valkey_client.execute_command("FT.DROPINDEX", f"{store_name}:mem:idx")
    await store.ensure_index()
    assert await valkey_client.execute_command("FT.INFO", f"{store_name}:mem:idx")


async def test_a_plain_function_of_another_dimension_is_refused_at_start(
    store: MemoryStore, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    await store.ensure_index()

    async def four(text: str) -> list[float]:
        return [1.0, 2.0, 3.0, 4.0]

    with pytest.raises(IndexMismatchError, match=r"8.*4"):
        await MemoryStore(client=valkey_client, name=store_name, embed_fn=four).ensure_index()


async def test_an_index_rebuilt_by_others_for_other_vectors_is_noticed(
    store: MemoryStore, valkey_client: valkey.asyncio.Valkey, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.remember("x")
    await valkey_client.execute_command("FT.DROPINDEX", f"{store_name}:mem:idx")

    async def sixteen(text: str) -> list[float]:
        return [1.0] * 16

    await MemoryStore(client=valkey_client, name=store_name, embed_fn=sixteen).ensure_index()
    monkeypatch.setattr(index, "LOOK_AGAIN_SECONDS", 0.0)
    with pytest.raises(IndexMismatchError, match=r"16.*8"):
        await store.remember("y")


async def test_a_key_that_is_no_text_is_counted_and_breaks_nothing(
    store: MemoryStore, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    good = await store.remember(AHEAD, thread_id="t")
    fields = {
        "content": "bad",
        "vector": np.ones(8, "<f4").tobytes(),
        "created_at": "1",
        "last_accessed_at": "1",
        "importance": ".5",
        "threadId": "t",
    }
    await valkey_client.hset(f"{store_name}:mem:".encode() + b"\xff\xfe", mapping=fields)  # type: ignore[arg-type, misc]
    assert [hit.item.id for hit in await store.recall(AHEAD, thread_id="t")] == [good]
    assert (await store.stats()).unreadable_records > 0
    assert await store.forget_by_scope(thread_id="t") == 1


async def test_many_rows_do_not_hold_up_the_event_loop(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on more than 256 rows is done in a thread: a bystander gets its turn meanwhile."""
    used: dict[str, set[int]] = {}

    def note(module: ModuleType, name: str) -> None:
        work = getattr(module, name)

        def noting(*arguments: object) -> object:
            used.setdefault(name, set()).add(threading.get_ident())
            return work(*arguments)

        monkeypatch.setattr(module, name, noting)

    await store.remember_many([f"m{n}" for n in range(1_200)])
    note(reply, "parse_search")
    note(parts, "_decoded")
    ours = threading.get_ident()
    assert len(await store.recall(AHEAD, k=1_200, reinforce=False)) == 1_200
    assert len((await store.list(MemoryListOptions(limit=1_200))).items) == 1_200
    assert set(used) == {"parse_search", "_decoded"}
    assert not any(ours in threads for threads in used.values())
    used.clear()
    assert len((await store.list(MemoryListOptions(limit=10))).items) == 10
    assert used == {"parse_search": {ours}, "_decoded": {ours}}


async def test_large_texts_do_not_hold_up_the_event_loop(store: MemoryStore) -> None:
    texts = [f"{n} " + "x" * 200_000 for n in range(300)]
    results: list[RememberResult] = []

    async def remember() -> None:
        results.extend(await store.remember_many(texts))

    assert await longest_turn(remember()) < BRIEF
    assert {result.outcome for result in results} == {"stored"}


async def test_an_index_of_others_without_dates_is_refused_and_can_be_made_anew(
    store: MemoryStore, valkey_client: valkey.asyncio.Valkey, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the date memories are found: without it the server would answer that there are none."""
    for name in ("_HEARD_SECONDS", "_HELD_SECONDS"):
        monkeypatch.setattr(reindexing, name, 0.0)
    id = await store.remember(AHEAD, thread_id="t")
    await valkey_client.execute_command("FT.DROPINDEX", f"{store_name}:mem:idx")
    await valkey_client.execute_command(
        *("FT.CREATE", f"{store_name}:mem:idx", "ON", "HASH", "PREFIX", "1", f"{store_name}:mem:", "SCHEMA"),
        *("vector", "VECTOR", "HNSW", "6", "TYPE", "FLOAT32", "DIM", "8", "DISTANCE_METRIC", "COSINE"),
        *("threadId", "TAG", "content", "TEXT"),
    )
    found = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed, default_threshold=2.0)
    for call in (
        found.recall(AHEAD, thread_id="t"),
        found.recall(AHEAD),
        found.list(),
        found.forget_by_scope(thread_id="t"),
        found.remember("y"),
        found.stats(),
    ):
        with pytest.raises(IndexMismatchError, match=r"created_at.*reindex\(\)"):
            await call
    result = await found.reindex()
    assert (result.indexed, result.unindexed_fields) == (1, ())
    assert [hit.item.id for hit in await found.recall(AHEAD, thread_id="t")] == [id]
    assert await found.forget_by_scope(thread_id="t") == 1


def test_a_store_with_a_limit_serves_several_event_loops(tmp_path: Path) -> None:
    agent = AgentMemory.open(tmp_path / "m.db", embedder=embed, memory=MemoryOptions(max_items_per_scope=5))

    async def work() -> int:
        await asyncio.gather(*(agent.memory.remember(f"m{n}", thread_id="t") for n in range(8)))
        return (await agent.memory.list(MemoryListOptions(thread_id="t"))).total

    assert [asyncio.run(work()) for _ in range(3)] == [5, 5, 5]
    asyncio.run(agent.close())


TWO_LOOPS = """
import asyncio, sys
from betterdb_agent_memory import AgentMemory
from betterdb_agent_memory.errors import EngineUnavailableError

async def embed(text): return [1.0, 0.0]
agent = AgentMemory.open(sys.argv[1], name=sys.argv[2], embedder=embed)
asyncio.run(agent.initialize())
try:
    asyncio.run(agent.memory.recall("x"))
except EngineUnavailableError as error:
    print(error)
asyncio.run(agent.close())
print("closed")
"""


def test_a_server_in_a_second_event_loop_says_what_is_wrong(valkey_server: ValkeyServer, store_name: str) -> None:
    # In a process of its own: nobody can close the connections of the first loop any more.
    done = subprocess.run(
        [sys.executable, "-c", TWO_LOOPS, valkey_server.url, store_name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told, closed = done.stdout.splitlines() if done.returncode == 0 else (done.stderr, "")
    assert "event loop" in told
    assert closed == "closed"


async def test_opening_does_no_io_until_the_first_call(
    valkey_server: ValkeyServer, store_name: str, tmp_path: Path
) -> None:
    file = tmp_path / "m.db"
    unused = [
        AgentMemory.open(file, embedder=embed),
        AgentMemory.open(valkey_server.url, name=store_name, embedder=embed),
    ]
    await asyncio.sleep(0.1)
    assert not file.exists()
    client = valkey_server.client()
    assert not await client.execute_command("HEXISTS", "__betterdb:caches", f"{store_name}:mem")
    for agent in unused:
        await agent.close()
    await client.aclose()


async def test_a_server_without_search_is_not_announced() -> None:
    with ValkeyServer(search=False) as server:
        agent = AgentMemory.open(server.url, embedder=embed)
        with pytest.raises(EngineError):
            await agent.initialize()
        await agent.close()
        client = server.client()
        assert not await client.exists("__betterdb:caches")
        await client.aclose()


async def test_use_after_close_is_refused(valkey_server: ValkeyServer, store_name: str, tmp_path: Path) -> None:
    for url in (valkey_server.url, str(tmp_path / "m.db")):
        async with AgentMemory.open(url, name=store_name, embedder=embed) as agent:
            await agent.memory.remember(AHEAD)
        for call in (agent.memory.remember(AHEAD), agent.memory.recall(AHEAD), agent.memory.stats()):
            with pytest.raises(EngineError, match="closed"):
                await call


async def test_a_recall_after_close_of_the_store_alone_still_counts(
    valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    store = MemoryStore(
        client=valkey_client, name=store_name, embed_fn=embed, default_threshold=2.0, reinforcement="deferred"
    )
    id = await store.remember(AHEAD)
    await store.close()
    await store.recall(AHEAD)
    item = await store.get(id)
    assert item is not None
    assert item.access_count == 1
    assert (await store.stats()).pending_reinforcements == 0


FORKING = """
import asyncio, os, sys
from betterdb_agent_memory import AgentMemory, DeferredReinforcement, MemoryOptions
from tests.embedding import AHEAD, embed

options = MemoryOptions(threshold=2, reinforcement=DeferredReinforcement(3_600))
agent = AgentMemory.open(sys.argv[1], embedder=embed, memory=options)
id = asyncio.run(agent.memory.remember(AHEAD))
asyncio.run(agent.memory.recall(AHEAD))
child = os.fork()
asyncio.run(agent.memory.recall(AHEAD)) if child == 0 else os.waitpid(child, 0)
asyncio.run(agent.memory.flush())
if child == 0:
    os._exit(0)
print(asyncio.run(agent.memory.get(id)).access_count)
asyncio.run(agent.close())
"""


def test_a_forked_child_does_not_write_its_parents_reinforcement(tmp_path: Path) -> None:
    """In a process without the test runner's threads, which a fork would leave holding their locks."""
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, str(tmp_path / "m.db")],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.stdout == "2\n", finished.stderr


async def test_a_healthy_server_loses_no_deferred_reinforcement(
    valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    options = DeferredReinforcement(interval_seconds=3_600, max_pending=3)
    store = MemoryStore(
        client=valkey_client, name=store_name, embed_fn=embed, default_threshold=2.0, reinforcement=options
    )
    ids = [await store.remember(at_angle(n / 20)) for n in range(20)]
    for _ in range(5):
        assert len(await store.recall(AHEAD, k=20)) == 20
    counts = [item.access_count for id in ids if (item := await store.get(id))]
    assert (counts, (await store.stats()).lost_reinforcements) == ([5] * 20, 0)
    await store.close()


@pytest.mark.parametrize("label", ["source", "subject", "date"])
async def test_labels_have_a_size(store: MemoryStore, label: str) -> None:
    await store.remember("x", **{label: "y" * 4_096})  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=label):
        await store.remember("x", **{label: "y" * 4_097})  # type: ignore[arg-type]


async def test_numpy_numbers_are_numbers(store: MemoryStore) -> None:
    id = await store.remember("x", importance=np.float32(0.5), ttl=np.int64(60))  # type: ignore[arg-type]
    hits = await store.recall("x", k=np.int32(3), threshold=np.float32(2), reinforce=np.False_)  # type: ignore[arg-type]
    assert [hit.item.id for hit in hits] == [id]
    item = await store.get(id)
    assert item is not None
    assert item.access_count == 0
    assert await store.recall_by_vector(np.asarray(await embed("x")), k=1)
    for odd in ("yes", 1, 0):
        with pytest.raises(InvalidInputError, match="reinforce"):
            await store.recall("x", reinforce=odd)  # type: ignore[arg-type]


@pytest.mark.parametrize("offset", [2**70, 1_000_000])
async def test_an_offset_beyond_any_page_is_refused(store: MemoryStore, tmp_path: Path, offset: int) -> None:
    with pytest.raises(InvalidInputError, match="offset"):
        await store.list(MemoryListOptions(offset=offset))
    with pytest.raises(InvalidInputError, match="now"):
        await store.recall("x", now=10**400)
    with pytest.raises(InvalidInputError, match="MemoryListOptions"):
        await store.list({"limit": 3})  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["localhost:6379", "10.0.0.1:6379/0", "valkey:localhost", "redis:6379"])
def test_a_server_without_a_scheme_is_not_taken_for_a_file(url: str) -> None:
    with pytest.raises(ConfigurationError, match="valkey://"):
        AgentMemory.open(url, embedder=embed)


async def test_a_text_enumeration_names_the_store_of_its_value(valkey_client: valkey.asyncio.Valkey) -> None:
    class Name(str, enum.Enum):  # noqa: UP042 - as older code writes it
        MAIN = "main-store"

    assert MemoryStore(client=valkey_client, name=Name.MAIN, embed_fn=embed)._records._key("1") == "main-store:mem:1"  # type: ignore[attr-defined]


async def test_as_many_tags_as_a_filter_holds(store: MemoryStore, tmp_path: Path) -> None:
    tags = [f"t{number}" for number in range(700)]
    async with AgentMemory.open(tmp_path / "m.db", embedder=embed) as agent:
        for memory in (store, agent.memory):
            id = await memory.remember("x", tags=tags)
            assert [hit.item.id for hit in await memory.recall("x", tags=tags, threshold=2)] == [id]
            assert len(await memory.recall("x", tags=["t1"] * 1_000, threshold=2)) == 1


async def test_a_dropped_index_is_made_again_without_a_stated_dimension(
    store: MemoryStore, valkey_client: valkey.asyncio.Valkey, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await store.remember(AHEAD)
    monkeypatch.setattr(index, "LOOK_AGAIN_SECONDS", 0.0)
    await valkey_client.execute_command("FT.DROPINDEX", f"{store_name}:mem:idx")
    assert [item.id for item in (await store.list()).items] == [id]
    await valkey_client.execute_command("FT.DROPINDEX", f"{store_name}:mem:idx")
    assert [hit.item.id for hit in await store.recall_by_vector(await embed(AHEAD))] == [id]
    await valkey_client.execute_command("FT.DROPINDEX", f"{store_name}:mem:idx")
    assert (await store.stats()).item_count in (0, 1)  # it does not wait for the server to take it in
