"""Corrections where no script touches two keys, as on a cluster whose store has no hash tag."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from betterdb_agent_memory import MemoryItem, MemoryStore, SupersededError
from betterdb_agent_memory.engines.base import RecordChange, RecordWrite
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.client import ValkeyClient
from betterdb_agent_memory.memory.correction.shelf import shelf_collection
from tests.conformance.test_changes import ALL, told
from tests.embedding import embed
from tests.servers import ValkeyServer


class _ApartClient(ValkeyClient):
    """As on a cluster whose keys all lie in different slots: no script touches two of them."""

    def are_together(self, *keys: str) -> bool:
        return len(set(keys)) < 2


@pytest.fixture
async def engine(valkey_server: ValkeyServer) -> AsyncIterator[ValkeyEngine]:
    client = valkey_server.client()
    engine = ValkeyEngine(client)
    engine._client = _ApartClient(client)
    yield engine
    await client.aclose()


def made(engine: ValkeyEngine, name: str, **options: object) -> MemoryStore:
    return MemoryStore(client=engine, name=name, embed_fn=embed, default_threshold=2.0, **options)  # type: ignore[arg-type]


async def live(store: MemoryStore) -> set[str]:
    return {item.content async for item in store.iterate()}


async def test_of_workers_who_correct_one_memory_at_once_one_does(engine: ValkeyEngine, store_name: str) -> None:
    stores = [made(engine, store_name) for _ in range(5)]
    for turn in range(5):
        id = await stores[0].remember(f"wrong {turn}", thread_id=f"t{turn}")
        answers = await asyncio.gather(
            *(store.correct(id, f"right {turn} {number}") for number, store in enumerate(stores)),
            return_exceptions=True,
        )
        [winner] = [answer for answer in answers if isinstance(answer, MemoryItem)]
        losers = [answer for answer in answers if isinstance(answer, SupersededError)]
        assert [loser.superseded_by for loser in losers] == [winner.id] * 4
        assert [version.item.content for version in await stores[1].history(id)] == [f"wrong {turn}", winner.content]
        assert await stores[2].forget_by_scope(thread_id=f"t{turn}") == 1
        assert await stores[3].history(id) == []


@pytest.mark.parametrize("steps", [1, 2, 3])
async def test_who_is_killed_in_between_leaves_nothing_lost(engine: ValkeyEngine, store_name: str, steps: int) -> None:
    store = made(engine, store_name)
    first = await store.remember("first")
    await store.correct(first, "second")  # so that there is a shelf
    old = await store.remember("wrong")
    records, shelf = store._records, engine.records(shelf_collection(store_name))
    # One step after another, as retire_in_steps does them: the successor, what the old one is told, the copy.
    [fields] = await records.read_many([old], None)
    assert fields is not None
    successor = {**fields, "content": b"right", "supersedes": old.encode()}
    await records.write_many([RecordWrite("new", successor)])
    if steps > 1:
        await records.change_many([RecordChange(old, sets={"superseded_by": b"new"})])
    if steps > 2:
        await shelf.write_many([RecordWrite(old, {**fields, "superseded_by": b"new", "embedder": b"embed"})])

    # The correction is told first while both are there.
    order = [hit.item.content for hit in await store.recall("wrong", reinforce=False)]
    assert order.index("right") == order.index("wrong") - 1
    if steps == 1:
        # Nobody was told: whoever corrects it does so anew, and no text is lost.
        again = await store.correct(old, "right once more")
        assert await live(store) == {"second", "right", "right once more"}
        assert [version.item.content for version in await store.history(again.id)] == ["wrong", "right once more"]
        # What only says to have superseded it has no part in it.
        assert [version.item.content for version in await store.history("new")] == ["right"]
        assert await store.forget("new")
        assert [version.item.content for version in await store.history(old)] == ["wrong", "right once more"]
        return
    with pytest.raises(SupersededError) as refused:
        await store.correct(old, "right once more")
    assert refused.value.superseded_by == "new"
    assert await live(store) == {"second", "right"}
    assert [version.item.content for version in await store.history(old)] == ["wrong", "right"]
    assert await store.forget("new")
    assert await store.history(old) == []


async def test_what_is_superseded_is_told_once(engine: ValkeyEngine, store_name: str) -> None:
    store = made(engine, store_name, change_feed=ALL)
    old = await store.remember("wrong", thread_id="t")
    new = (await store.correct(old, "right")).id
    other = await store.remember("another")
    await store.supersede(new, other)
    changes = [(one.kind, one.memory_id, one.superseded_by) for one in await told(store)]
    assert changes == [
        ("remembered", old, None),
        ("remembered", new, None),
        ("superseded", old, new),
        ("remembered", other, None),
        ("superseded", new, other),
    ]
