"""Sources go only while they are what they were, and what was begun is finished, on a file and on a server."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import pytest

from betterdb_agent_memory import MemoryItem, MemoryListOptions, MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import Engine, Expiry, Fence, RecordChange, Records, RecordWrite
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import LeaseLostError, OutcomeUnknownError
from betterdb_agent_memory.memory.consolidation.journal import DIGEST_FIELDS, Journal, Source, delete_unchanged, digest
from betterdb_agent_memory.memory.record import (
    ACCESS_COUNT,
    CONTENT,
    CREATED_AT,
    LAST_ACCESSED_AT,
    NAMESPACE,
    TAGS,
    THREAD,
    VERSION,
    NewMemory,
    encode_memory,
    memory_collection,
)
from tests.embedding import embed
from tests.proxy import Proxy
from tests.servers import ValkeyServer

VECTOR = b"\0\0\x80\x3f" * 8


@pytest.fixture(params=["file", "server"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    if request.param == "file":
        engine: Engine = open_engine(":memory:")
    else:
        engine = ValkeyEngine.from_url(request.getfixturevalue("valkey_server").url)
    yield engine
    await engine.close()


class Store:
    """The memories of one name and its journal."""

    def __init__(self, engine: Engine) -> None:
        self.name = f"t{uuid4().hex}"
        self.records: Records = engine.records(memory_collection(self.name))
        self.values = engine.values
        self.key = f"{self.name}:__mem_consolidation"
        self.deleted: list[str] = []
        self.is_lost = False
        self.fence = Fence(f"{self.name}:__lease", 1)

    def journal(self) -> Journal:
        async def on_deleted(ids: Sequence[str]) -> None:
            self.deleted += ids

        return Journal(self.values, self.records, self.key, check=self.check, fence=self.fence, on_deleted=on_deleted)

    def check(self) -> None:
        if self.is_lost:
            raise LeaseLostError("lost")

    async def put(self, *ids: str) -> list[Source]:
        await self.records.prepare(8)
        await self.records.write_many(
            [RecordWrite(id, encode_memory(NewMemory(id, f"content of {id}", 0.5, 1), VECTOR)) for id in ids]
        )
        return await self.seen(*ids)

    async def seen(self, *ids: str) -> list[Source]:
        found = await self.records.read_many(ids, DIGEST_FIELDS)
        return [Source(id, digest(fields or {})) for id, fields in zip(ids, found, strict=True)]

    async def there(self, *ids: str) -> list[bool]:
        return [fields is not None for fields in await self.records.read_many(ids, (CONTENT,))]


@pytest.fixture
async def store(engine: Engine) -> Store:
    store = Store(engine)
    assert await engine.leases.acquire(store.fence.key, "this run", ttl_seconds=60) == store.fence.token
    return store


CHANGES: list[tuple[str, dict[str, Any], bool]] = [
    ("content", {"sets": {CONTENT: b"corrected"}}, True),
    ("tags", {"unions": {TAGS: b"new"}, "revision_field": VERSION}, True),
    ("expiry", {"expiry": Expiry(60), "revision_field": VERSION}, True),
    ("no-expiry", {"expiry": Expiry(None), "revision_field": VERSION}, False),
    ("created", {"sets": {CREATED_AT: b"2"}}, True),
    ("thread", {"sets": {THREAD: b"t"}}, True),
    ("namespace", {"sets": {NAMESPACE: b"n"}}, True),
    ("access", {"maxima": {LAST_ACCESSED_AT: 99}, "increments": {ACCESS_COUNT: 1}}, False),
]


@pytest.mark.parametrize(("changes", "survives"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
async def test_only_what_was_changed_in_what_it_says_survives(
    store: Store, changes: dict[str, Any], survives: bool
) -> None:
    sources = await store.put("changed", "same", "forgotten")
    await store.records.change_many([RecordChange("changed", **changes)])
    await store.records.delete_many(["forgotten"])
    assert await delete_unchanged(store.records, sources, store.fence) == (
        ["same"] if survives else ["changed", "same"]
    )
    assert await store.there("changed", "same") == [survives, False]


async def test_noted_sources_are_deleted_and_the_note_with_them(store: Store) -> None:
    sources = await store.put(*[f"s{number}" for number in range(2_500)])
    await store.put("p")
    journal = store.journal()
    await journal.note({"p": sources})
    assert len(await store.values.read_map(store.key)) == 3
    assert not store.deleted, "noting deletes nothing"
    reported: list[int] = []
    assert await journal.finish(reported.append) == 2_500
    assert reported == [1_000, 2_000, 2_500]
    assert store.deleted == [source.id for source in sources]
    assert await store.values.read_map(store.key) == {}


async def test_another_run_finishes_what_has_a_product_and_drops_what_has_none(store: Store) -> None:
    sources = await store.put("a", "b", "c", "d")
    await store.put("product")
    await store.journal().note({"product": sources[:2], "never-written": sources[2:3], "third": []})
    assert await store.journal().repair() == 2
    assert await store.there("a", "b", "c", "d", "product") == [False, False, True, True, True]
    assert await store.values.read_map(store.key) == {}
    assert await store.journal().repair() == 0


async def test_an_entry_that_cannot_be_read_costs_nobody_a_memory(store: Store) -> None:
    await store.put("product", "a")
    for entry in (b"no json", b"7", b'[["a"]]', b'{"a": 1}', b"\xff"):
        await store.values.write_map(store.key, {"product:0": entry})
        assert await store.journal().repair() == 0
    assert await store.there("product", "a") == [True, True]
    assert await store.values.read_map(store.key) == {}


async def test_the_journal_of_an_earlier_release_costs_nobody_a_memory(store: Store) -> None:
    await store.put("product", "a")
    of_content_and_version = hashlib.sha256(b"content of a\0001").hexdigest()[:32]
    entry = json.dumps([["a", of_content_and_version]]).encode()
    await store.values.write_map(store.key, {"product:0": entry})
    assert await store.journal().repair() == 0
    assert await store.there("product", "a") == [True, True]
    assert await store.values.read_map(store.key) == {}


async def test_what_was_written_anew_after_a_crash_survives_the_repair(store: Store) -> None:
    sources = await store.put("a", "b")
    await store.put("product")
    await store.journal().note({"product": sources})
    await store.records.delete_many(["a"])
    anew = encode_memory(NewMemory("a", "content of a", 0.5, 2), VECTOR)
    await store.records.write_many([RecordWrite("a", anew)])
    assert await store.journal().repair() == 1
    assert await store.there("a", "b") == [True, False]


async def test_nothing_is_deleted_once_the_lease_is_lost(store: Store) -> None:
    sources = await store.put("a")
    await store.put("product")
    journal = store.journal()
    await journal.note({"product": sources, "void": sources})
    store.is_lost = True
    with pytest.raises(LeaseLostError):
        await journal.finish(lambda _: None)
    with pytest.raises(LeaseLostError):
        await store.journal().repair()
    assert await store.there("a") == [True]
    store.is_lost = False
    assert await store.journal().repair() == 1


async def test_nothing_is_deleted_by_a_run_that_does_not_know_yet_that_its_lease_has_passed_on(
    engine: Engine, store: Store
) -> None:
    sources = await store.put("a")
    await store.put("product")
    journal = store.journal()
    await journal.note({"product": sources})
    await engine.leases.release(store.fence.key, "this run")
    assert await engine.leases.acquire(store.fence.key, "another run", ttl_seconds=60)
    with pytest.raises(LeaseLostError):
        await journal.finish(lambda _: None)
    assert await store.there("a") == [True]
    store.fence = Fence(store.fence.key, 2)
    assert await store.journal().repair() == 1


async def test_a_change_between_reading_and_deleting_saves_a_memory(valkey_server: ValkeyServer) -> None:
    direct = ValkeyEngine.from_url(valkey_server.url)
    store = Store(direct)
    assert await direct.leases.acquire(store.fence.key, "this run", ttl_seconds=60) == store.fence.token
    sources = await store.put("a", "b")
    with Proxy(valkey_server.port) as proxy:
        held = ValkeyEngine.from_url(proxy.url)
        records = held.records(memory_collection(store.name))
        await records.prepare(None)
        # The first request to name a content is the one that deletes what still has it.
        proxy.fail_next("stall", containing=b"content of a")
        deleting = asyncio.create_task(delete_unchanged(records, sources, store.fence))
        await asyncio.sleep(0.2)
        assert not deleting.done(), "the deletion is not held back"
        await store.records.change_many([RecordChange("a", sets={CONTENT: b"corrected"}, revision_field=VERSION)])
        proxy.release()
        assert await deleting == ["b"]
        await held.close()
    assert await store.there("a", "b") == [True, False]
    await direct.close()


async def test_a_summary_whose_answer_was_lost_is_finished_by_the_next_run(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    async def summarize(_: list[MemoryItem]) -> str:
        return "a digest of everything"

    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        memories = MemoryStore(client=engine, name=store_name, embed_fn=embed)
        for number in range(3):
            await memories.remember(f"note {number}", thread_id="t")
        proxy.fail_next("after", containing=b"a digest of everything")
        with pytest.raises(OutcomeUnknownError):
            await memories.consolidate(summarize=summarize, thread_id="t")
        assert (await memories.list(MemoryListOptions(thread_id="t"))).total == 4
        assert (await memories.consolidate(summarize=summarize, thread_id="t")).created == []
        assert [item.content for item in (await memories.list()).items] == ["a digest of everything"]
        await memories.close()
        await engine.close()
