"""Making the search index anew over the memories that are there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from betterdb_agent_memory import IndexNotReadyError, LeaseHeldError, MemoryListOptions, Progress
from betterdb_agent_memory.engines.base import (
    Collection,
    Engine,
    IndexSchema,
    Outcome,
    RecordChange,
    RecordWrite,
    Search,
    Word,
)
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.generations import layout, reindexing
from tests.memory.generations.conftest import Workers
from tests.memory.generations.words import NAME, following, former
from tests.servers import ValkeyServer

MEMORIES = 300


@pytest.fixture
def server(request: pytest.FixtureRequest, url: str) -> ValkeyServer:
    """The server; these tests are about what only a server does."""
    if "://" not in url:
        pytest.skip("an index in a file is replaced in one transaction")
    found: ValkeyServer = request.getfixturevalue("valkey_server")
    return found


async def everything(engine: Engine) -> dict[str, tuple[object, object]]:
    """Every memory byte for byte, with its expiry."""
    records = engine.records(record.memory_collection(NAME))
    ids = [row.id async for rows in records.scan(("content",)) for row in rows]
    whole, expiries = await records.read_many(ids, None), await records.read_expiries(ids)
    return {id: (fields, expiry) for id, fields, expiry in zip(ids, whole, expiries, strict=True)}


async def test_an_index_of_another_client_gains_our_fields_and_no_memory_changes(
    engine: Engine, worker: Workers, server: ValkeyServer
) -> None:
    shared = IndexSchema(record.VECTOR, record.MEMORY_SCHEMA.shared)
    await engine.records(Collection(f"{NAME}:mem:", f"{NAME}:mem:idx", shared)).prepare(16)
    store = worker()
    for number in range(20):
        await store.remember(
            f"fact {number}", subject="maya" if number % 2 else "ann", ttl=3600 if number % 3 else None
        )
    assert (await store.stats()).unindexed_fields == ("subject", "occurred_at", "words", "kind", "entities")
    before = await everything(engine)
    told: list[Progress] = []
    result = await store.reindex(on_progress=told.append)
    assert (result.indexed, result.dimensions, result.unindexed_fields, result.index_failures) == (20, 16, (), 0)
    indexed = [(one.done, one.total) for one in told if one.stage == "indexing"]
    assert indexed[-1] == (20, 20)
    assert await everything(engine) == before
    assert (await store.stats()).unindexed_fields == ()
    assert len(await store.recall("fact", subject="maya", k=20)) == 10


async def holders(engine: Engine, word: Word) -> set[str]:
    """Ids of the memories that a search for one word finds."""
    records = engine.records(record.memory_collection(NAME))
    await records.prepare(None)
    found = await records.search_many(bytes(60) + b"\0\0\x80\x3f", [Search(500, Filter(), (word,))], fields=["content"])
    return {row.id for row in found.neighbours[0]}


async def test_memories_of_others_are_found_by_their_words_after_it(
    engine: Engine, worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As earlier releases and other packages leave them: without stems, or with those of another language."""
    monkeypatch.setattr(reindexing, "_PAGE", 50)
    contents = [f"Die Kinder spielten im Garten {number}" for number in range(120)]
    store = worker(language="german", retrieval="hybrid")
    written = await store.remember_many([{"content": text, "ttl": 3600} for text in contents])
    ids = [one.id for one in written if one.id is not None]
    records = engine.records(record.memory_collection(NAME))
    await records.change_many([RecordChange(id, removes=(record.WORDS,)) for id in ids[:80]])
    await records.change_many([RecordChange(id, sets={record.WORDS: b"die kinder"}) for id in ids[80:90]])
    assert await holders(engine, Word("kind", "kind")) == set(ids[90:])
    fragment = RecordWrite("fragment", {record.ACCESS_COUNT: b"1"})
    await records.write_many([fragment])
    told: list[Progress] = []
    result = await store.reindex(on_progress=told.append)
    assert result.worded == 90
    assert max(one.done for one in told if one.stage == "words") >= 120
    words = await records.read_many(ids, (record.WORDS, record.VERSION))
    assert words == [{record.WORDS: (store._analyzer.stored(text) or "").encode()} for text in contents]
    assert all(expiry is not None for expiry in await records.read_expiries(ids))
    assert await records.read_many(["fragment"], None) == [fragment.fields]
    assert await holders(engine, Word("kind", "kind")) == set(ids)
    assert (await store.reindex()).worded == 0


async def test_a_memory_that_is_changed_meanwhile_keeps_the_words_of_its_change(
    engine: Engine, worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = worker(language="german")
    id = await store.remember("Kinder spielten")
    records = engine.records(record.memory_collection(NAME))
    await records.change_many([RecordChange(id, removes=(record.WORDS,))])
    change = store._records.change_many
    overtaken: list[str] = []

    async def overtake(changes: list[RecordChange], **how: Any) -> list[Outcome]:
        overtaken.extend(one.id for one in changes)
        await worker(language="german").update(id, content="Hunde schliefen")
        return await change(changes, **how)

    monkeypatch.setattr(store._records, "change_many", overtake)
    assert (await store.reindex()).worded == 0
    assert overtaken == [id]
    assert await records.read_many([id], (record.WORDS,)) == [{record.WORDS: b"hund schlief"}]


async def test_stems_of_another_language_leave_a_store_that_needs_none(engine: Engine, worker: Workers) -> None:
    id = await worker(language="german").remember("The children were playing")
    store = worker()
    assert (await store.reindex()).worded == 1
    assert await engine.records(record.memory_collection(NAME)).read_many([id], (record.WORDS,)) == [None]


async def test_the_next_model_finds_by_the_new_words(engine: Engine, worker: Workers) -> None:
    store = worker(language="german", next_embed_fn=following())
    id = await store.remember("Kinder spielten")
    await engine.records(record.memory_collection(NAME)).change_many([RecordChange(id, removes=(record.WORDS,))])
    await store.migration.start()
    await store.migration.run()
    assert (await store.reindex()).worded == 1
    layout = await store._models.layout()
    assert layout.generation is not None
    assert await layout.generation.records.read_many([id], (record.WORDS,)) == [{record.WORDS: b"kind spielt"}]


async def test_a_file_is_reindexed_in_an_instant(engine: Engine, worker: Workers, url: str) -> None:
    if "://" in url:
        pytest.skip("on a server others are told first")
    store = worker()
    await store.remember_many([f"text {number}" for number in range(50)], thread_id="t")
    before = await everything(engine)
    reindexed = asyncio.create_task(store.reindex())
    while not reindexed.done():
        assert (await store.list(MemoryListOptions(thread_id="t"))).total == 50
        assert len(await store.recall("text", k=50)) == 50
    assert (await reindexed).indexed == 50
    assert (await everything(engine)).keys() == before.keys()


async def test_no_worker_gets_a_partial_answer_meanwhile(
    worker: Workers, server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others believe for a while that the index is complete; a server would answer from what is in it."""
    # Long vectors: a server takes its time with them.
    model = former()
    model.dimensions = 512
    store, other = worker(embed_fn=model), worker(embed_fn=model)
    await store.remember_many([f"text {number}" for number in range(2_000)], thread_id="t")
    assert (await other.list(MemoryListOptions(thread_id="t"))).total == 2_000
    walk = other.iterate(thread_id="t", page_size=100)
    walked = {(await anext(walk)).id}
    states: list[bool] = []

    async def read_on() -> None:
        nonlocal walked
        while not reindexed.done():
            assert (await other.list(MemoryListOptions(thread_id="t"))).total == 2_000
            assert len(await other.recall("text 3", k=200, thread_id="t", reinforce=False)) == 200
            for _ in range(20):
                item = await anext(walk, None)
                if item is not None:
                    walked.add(item.id)

    async def watch() -> None:
        while not reindexed.done():
            states.append((await store._records.inspect()).indexing)
            await asyncio.sleep(0.005)

    reindexed = asyncio.create_task(store.reindex())
    await asyncio.gather(read_on(), watch())
    await reindexed
    assert any(states), "the server was never seen to fill the index: the test tells nothing"
    walked |= {item.id async for item in walk}
    assert len(walked) == 2_000


async def test_who_waits_too_long_is_told(
    worker: Workers, server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = worker(), worker()
    await store.remember("something", thread_id="t")
    await other.recall("something")
    monkeypatch.setattr(layout, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(reindexing, "_HELD_SECONDS", 1.5)
    reindexed = asyncio.create_task(store.reindex())
    await asyncio.sleep(0.6)
    with pytest.raises(IndexNotReadyError, match=r"stats\(\)"):
        await other.recall("something")
    assert (await other.stats()).item_count == 1
    with pytest.raises(LeaseHeldError):
        await worker(next_embed_fn=following()).migration.start()
    await reindexed
    assert await other.recall("something")


async def test_one_that_was_killed_stops_nobody_for_long(
    engine: Engine, worker: Workers, server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = worker(), worker()
    await store.remember_many([f"text {number}" for number in range(20)])
    await other.recall("text 1")
    monkeypatch.setattr(layout, "SILENCE_SECONDS", 0.3)
    reindexed = asyncio.create_task(store.reindex())
    await asyncio.sleep(0.3)
    reindexed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reindexed
    # As it leaves the state when it is killed and cannot clean up, its index dropped and not made.
    async with store.migration._lease() as lease:
        await store._models.state.note_rebuilding("now", 0, lease)
    with server.blocking_client() as client:
        client.execute_command("FT.DROPINDEX", f"{NAME}:mem:idx")
    await asyncio.sleep(0.2)
    assert len(await other.recall("text 1", k=20)) == 20
    assert (await store.reindex()).indexed == 20
    state = await engine.values.read_map(f"{NAME}:__mem_generation")
    assert state["rebuilding"] == b""
