"""Many memories at once, one memory from many writers, and changing what is there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest

from betterdb_agent_memory import (
    EmbeddingError,
    InvalidInputError,
    MemoryDraft,
    MemoryExistsError,
    MemoryListOptions,
    MemoryNotFoundError,
    MemoryStore,
    Progress,
    VersionConflictError,
)
from betterdb_agent_memory.engines.base import Engine, RecordChange
from betterdb_agent_memory.memory import record
from tests.conformance.conftest import MakeStore, TestClock, expiry_of
from tests.embedding import embed


class CountingEmbedder:
    """The tests' embedding, with the batches it was asked for."""

    name = "counting"
    default_threshold = 2.0

    def __init__(self, refuses: str | None = None) -> None:
        self.batches: list[list[str]] = []
        self._refuses = refuses
        self.dimensions: int | None = None

    async def embed_query(self, text: str) -> list[float]:
        return await embed(text)

    async def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.batches.append(list(texts))
        if self._refuses is not None and self._refuses in texts:
            raise ValueError(f"cannot embed {self._refuses}")
        return [await embed(text) for text in texts]


async def test_remember_many_stores_all_with_one_embedding_call(make_store: MakeStore) -> None:
    embedder = CountingEmbedder()
    store = make_store(embed_fn=embedder)
    results = await store.remember_many([f"fact {number}" for number in range(30)], thread_id="t")
    assert [result.outcome for result in results] == ["stored"] * 30
    assert len(embedder.batches) == 1
    items = await store.get_many([result.id or "" for result in results])
    assert [item.content for item in items if item] == [f"fact {number}" for number in range(30)]
    assert all(item.thread_id == "t" for item in items if item)


async def test_a_bad_memory_harms_no_neighbour(make_store: MakeStore) -> None:
    store = make_store(embed_fn=CountingEmbedder(refuses="poison"))
    given: list[str | MemoryDraft | dict[str, Any]] = [
        "first",
        {"content": "second", "importance": 7},
        {"content": "third", "colour": "red"},
        "poison",
        MemoryDraft("fifth", tags=["a,b"]),
        MemoryDraft("last", tags=["ok"], metadata={"n": 1}),
    ]
    results = await store.remember_many(given)
    assert [result.outcome for result in results] == ["stored", *["rejected"] * 4, "stored"]
    errors = [result.error for result in results]
    assert isinstance(errors[1], InvalidInputError)
    assert "importance" in str(errors[1])
    assert "colour" in str(errors[2])
    assert "content, importance, tags" in str(errors[2])
    assert isinstance(errors[3], EmbeddingError)
    assert "comma" in str(errors[4])
    assert (await store.stats()).item_count == 2


@pytest.mark.parametrize("given", ["text", b"bytes", {"content": "x"}, 5, None])
async def test_what_is_no_list_of_memories(store: MemoryStore, given: Any) -> None:
    with pytest.raises(InvalidInputError, match="list of memories"):
        await store.remember_many(given)


async def test_a_draft_that_contradicts_the_scope_of_all_is_rejected(store: MemoryStore) -> None:
    same, other = MemoryDraft("a", thread_id="t"), MemoryDraft("b", thread_id="u")
    results = await store.remember_many([same, other, "c"], thread_id="t")
    assert [result.outcome for result in results] == ["stored", "rejected", "stored"]
    assert "the memory says thread_id 'u', the call says 't'" in str(results[1].error)


async def test_progress_is_told(store: MemoryStore) -> None:
    told: list[Progress] = []
    await store.remember_many([f"n {n}" for n in range(1100)], on_progress=told.append)
    assert [(progress.done, progress.total) for progress in told] == [(500, 1100), (1000, 1100), (1100, 1100)]


async def test_merge_makes_one_memory_of_the_same_content(make_store: MakeStore, clock: TestClock) -> None:
    embedder = CountingEmbedder()
    store = make_store(embed_fn=embedder)
    first = await store.remember("likes tea", tags=["a"], thread_id="t", ttl=100, on_duplicate="merge")
    clock.advance(seconds=10)
    second = await store.remember(
        "likes tea", tags=["b", "a"], importance=0.9, thread_id="t", ttl=5000, on_duplicate="merge"
    )
    third = await store.remember("likes tea", importance=0.1, thread_id="t", on_duplicate="merge", ttl=1)
    assert first == second == third
    item = await store.get(first)
    assert item is not None
    assert (item.tags, item.importance, item.access_count) == (["a", "b"], 0.9, 2)
    assert item.last_accessed_at == item.created_at + 10_000
    assert item.version == 2
    assert (await store.stats()).item_count == 1
    assert embedder.batches == [["likes tea"]]


async def test_merge_raises_nothing_that_was_not_said(store: MemoryStore) -> None:
    id = await store.remember("quiet", importance=0.2, on_duplicate="merge")
    await store.remember("quiet", on_duplicate="merge")
    item = await store.get(id)
    assert item is not None
    assert (item.importance, item.version) == (0.2, 1)


@pytest.mark.parametrize(("ttl", "version"), [(None, 2), (200, 2), (50, 1)])
async def test_a_merge_that_lengthens_a_life_is_a_change(store: MemoryStore, ttl: int | None, version: int) -> None:
    id = await store.remember("quiet", on_duplicate="merge", ttl=100)
    await store.remember("quiet", on_duplicate="merge", ttl=ttl)
    item = await store.get(id)
    assert item is not None
    assert item.version == version


@pytest.mark.parametrize("other", [{"thread_id": "T"}, {"thread_id": "t", "agent_id": "a"}, {}, {"namespace": "t"}])
async def test_merge_never_joins_scopes(store: MemoryStore, other: dict[str, str]) -> None:
    first = await store.remember("same words", thread_id="t", on_duplicate="merge")
    second = await store.remember("same words", on_duplicate="merge", **other)  # type: ignore[arg-type]
    assert first != second
    assert (await store.stats()).item_count == 2


async def test_merge_within_one_batch(store: MemoryStore) -> None:
    results = await store.remember_many(["x", "y", "x", "x"], on_duplicate="merge")
    assert [result.outcome for result in results] == ["stored", "stored", "merged", "merged"]
    assert results[0].id == results[2].id == results[3].id
    assert (await store.stats()).item_count == 2
    item = await store.get(results[0].id or "")
    assert item is not None
    assert item.access_count == 2


async def test_merge_after_the_content_was_changed_takes_another_id(store: MemoryStore) -> None:
    first = await store.remember("the sky is blue", on_duplicate="merge")
    await store.update(first, content="the sky is grey")
    second = await store.remember("the sky is blue", on_duplicate="merge")
    third = await store.remember("the sky is blue", on_duplicate="merge")
    assert first != second == third
    contents = {item.content for item in await store.get_many([first, second]) if item}
    assert contents == {"the sky is grey", "the sky is blue"}


async def test_many_writers_of_the_same_texts_make_one_memory_each(make_store: MakeStore) -> None:
    stores = [make_store() for _ in range(4)]
    texts = [f"shared {number}" for number in range(50)]
    await asyncio.gather(*(store.remember_many(texts, on_duplicate="merge", thread_id="t") for store in stores))
    assert (await stores[0].stats()).item_count == 50
    page = await stores[0].list()
    assert all(item.access_count == 3 for item in page.items)


async def test_an_id_of_ones_own(store: MemoryStore) -> None:
    assert await store.remember("first", id="my-id") == "my-id"
    with pytest.raises(MemoryExistsError, match="my-id"):
        await store.remember("second", id="my-id")
    item = await store.get("my-id")
    assert item is not None
    assert item.content == "first"
    await store.remember("third", id="my-id", tags=["new"], on_duplicate="replace")
    item = await store.get("my-id")
    assert item is not None
    assert (item.content, item.tags) == ("third", ["new"])


async def test_a_replacement_is_another_version_and_keeps_nothing_of_the_old(
    engine: Engine, store: MemoryStore
) -> None:
    await store.remember("old", id="x", tags=["a"], source="chat", thread_id="t", metadata={"k": 1}, ttl=600)
    await store.recall("old")
    await store.remember("new", id="x", on_duplicate="replace")
    item = await store.get("x")
    assert item is not None
    assert (item.content, item.tags, item.source, item.thread_id, item.metadata) == ("new", [], None, None, {})
    assert (item.access_count, item.version) == (0, 2)
    with pytest.raises(VersionConflictError):
        await store.update("x", content="on top of the old one", if_version=1)
    assert await expiry_of(engine, store, "x") is None
    assert await store.get("x") is not None
    [hit] = await store.recall("new")
    assert hit.similarity == pytest.approx(0, abs=1e-5)


async def test_merge_under_an_id_of_ones_own_refuses_other_content(store: MemoryStore) -> None:
    await store.remember("first", id="x", on_duplicate="merge")
    assert await store.remember("first", id="x", on_duplicate="merge") == "x"
    with pytest.raises(MemoryExistsError):
        await store.remember("other", id="x", on_duplicate="merge")
    with pytest.raises(MemoryExistsError):
        await store.remember("first", id="x", thread_id="t", on_duplicate="merge")


async def test_an_unknown_word_for_duplicates_is_refused(store: MemoryStore) -> None:
    with pytest.raises(InvalidInputError, match="keep, merge, replace"):
        await store.remember("x", on_duplicate="skip")  # type: ignore[arg-type]


async def test_when_it_happened_and_metadata_come_back(store: MemoryStore) -> None:
    metadata = {"message": 17, "lang": "de", "nested": {"list": [1, 2.5, None, True], "ü": "é"}}
    id = await store.remember("met Eve", occurred_at="2023-05-08T14:30:00+02:00", metadata=metadata)
    [hit] = await store.recall("met Eve", k=1)
    item = await store.get(id)
    assert item is not None
    assert item == hit.item or hit.item.access_count == 0
    assert item.occurred_at == int(datetime(2023, 5, 8, 12, 30, tzinfo=UTC).timestamp() * 1000)
    assert item.metadata == hit.item.metadata == metadata


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"metadata": {"a": float("nan")}}, "JSON"),
        ({"metadata": {"a": {1, 2}}}, "JSON"),
        ({"metadata": {1: "a"}}, "texts"),
        ({"metadata": ["a"]}, "mapping"),
        ({"metadata": {"a": "x" * 70_000}}, "65,536"),
        ({"metadata": {"a": "\ud800"}}, "JSON"),
        ({"occurred_at": "yesterday"}, "ISO 8601"),
        ({"occurred_at": datetime(2023, 1, 1)}, "time zone"),  # noqa: DTZ001
        ({"occurred_at": 1.5}, "milliseconds"),
        ({"occurred_at": True}, "milliseconds"),
        ({"id": "a:b"}, "colon"),
        ({"id": ""}, "non-empty"),
        ({"id": "a\0b"}, "control character"),
        ({"id": "a\nb"}, "control character"),
    ],
)
async def test_bad_values_are_refused_before_anything_is_paid_for(
    make_store: MakeStore, arguments: dict[str, object], what: str
) -> None:
    embedder = CountingEmbedder()
    store = make_store(embed_fn=embedder)
    with pytest.raises(InvalidInputError, match=what):
        await store.remember("x", **arguments)  # type: ignore[arg-type]
    assert embedder.batches == []


async def test_update_changes_what_is_given_and_nothing_else(make_store: MakeStore) -> None:
    embedder = CountingEmbedder()
    store = make_store(embed_fn=embedder)
    id = await store.remember("old words", tags=["a"], source="chat", thread_id="t", metadata={"k": 1})
    item = await store.update(id, importance=0.8, tags=["b", "c"])
    assert (item.content, item.importance, item.tags, item.source) == ("old words", 0.8, ["b", "c"], "chat")
    assert (item.metadata, item.thread_id, item.version) == ({"k": 1}, "t", 2)
    assert len(embedder.batches) == 1
    assert [hit.item.id for hit in await store.recall("old words", tags=["b"])] == [id]
    assert await store.recall("old words", tags=["a"]) == []
    cleared = await store.update(id, tags=None, metadata=None, source=None, importance=None)
    assert (cleared.tags, cleared.metadata, cleared.source, cleared.importance) == ([], {}, None, 0.5)


async def test_a_new_content_is_found_by_its_own_words(make_store: MakeStore) -> None:
    embedder = CountingEmbedder()
    store = make_store(embed_fn=embedder)
    id = await store.remember("cats sleep all day")
    await store.remember("dogs bark at night")
    await store.update(id, content="the harbour opens at nine")
    assert embedder.batches[-1] == ["the harbour opens at nine"]
    [hit, *_] = await store.recall("the harbour opens at nine")
    assert hit.item.id == id
    assert hit.similarity == pytest.approx(0, abs=1e-5)


async def test_the_same_content_is_not_embedded_again(make_store: MakeStore) -> None:
    embedder = CountingEmbedder()
    store = make_store(embed_fn=embedder)
    id = await store.remember("same")
    item = await store.update(id, content="same", importance=0.1)
    assert (item.content, item.importance) == ("same", 0.1)
    assert len(embedder.batches) == 1


async def test_update_only_of_the_version_that_was_read(store: MemoryStore) -> None:
    id = await store.remember("x")
    await store.update(id, importance=0.6, if_version=1)
    with pytest.raises(VersionConflictError) as conflict:
        await store.update(id, content="lost", if_version=1)
    assert conflict.value.current == 2
    item = await store.update(id, content="won", if_version=2)
    assert (item.content, item.version) == ("won", 3)


async def test_recalling_changes_no_version(store: MemoryStore) -> None:
    id = await store.remember("x")
    await store.recall("x")
    item = await store.update(id, importance=0.6, if_version=1)
    assert item.access_count == 1


async def test_racing_updates_of_one_version_have_one_winner(store: MemoryStore) -> None:
    id = await store.remember("x")
    tries = await asyncio.gather(
        *(store.update(id, content=f"by {n}", if_version=1) for n in range(8)), return_exceptions=True
    )
    winners = [outcome for outcome in tries if not isinstance(outcome, BaseException)]
    assert len(winners) == 1
    assert all(isinstance(outcome, VersionConflictError) for outcome in tries if isinstance(outcome, BaseException))
    item = await store.get(id)
    assert item is not None
    [hit] = await store.recall(item.content, k=1)
    assert hit.similarity == pytest.approx(0, abs=1e-5)


async def test_update_of_nothing_and_of_nobody(store: MemoryStore) -> None:
    await store.remember("x")
    with pytest.raises(MemoryNotFoundError, match="gone"):
        await store.update("gone", importance=0.1)
    with pytest.raises(MemoryNotFoundError):
        await store.update("gone", content="words")
    assert (await store.stats()).item_count == 1
    id = await store.remember("y")
    with pytest.raises(InvalidInputError, match="something to change"):
        await store.update(id)
    with pytest.raises(InvalidInputError, match="if_version"):
        await store.update(id, importance=0.2, if_version=0)


@pytest.mark.waits
async def test_update_of_the_time_to_live(engine: Engine, store: MemoryStore) -> None:
    id = await store.remember("x", ttl=600)
    assert (await store.update(id, ttl=None)).version == 2
    assert (await store.update(id, ttl=None)).version == 2, "it made no difference"
    other = await store.remember("y")
    await store.update(other, ttl=timedelta(seconds=1))
    with pytest.raises(VersionConflictError):
        await store.update(other, ttl=None, if_version=1)
    assert await expiry_of(engine, store, id) is None
    await asyncio.sleep(1.3)
    assert await store.get(id) is not None
    assert await store.get(other) is None


async def test_forget_many_says_which_were_there(store: MemoryStore) -> None:
    ids = [result.id or "" for result in await store.remember_many(["a", "b", "c"])]
    assert await store.forget_many([ids[0], "nobody", ids[2]]) == [True, False, True]
    assert [item is not None for item in await store.get_many(ids)] == [False, True, False]
    with pytest.raises(InvalidInputError, match="list of ids"):
        await store.forget_many("abc")


async def test_iterate_gives_each_memory_once_and_goes_on_after_a_cursor(
    make_store: MakeStore, clock: TestClock
) -> None:
    store = make_store()
    for start in range(0, 90, 30):
        await store.remember_many([f"memory {number}" for number in range(start, start + 30)], thread_id="t")
        clock.advance(seconds=1)
    await store.remember("elsewhere", thread_id="other")
    seen = [item async for item in store.iterate(thread_id="t", page_size=7)]
    assert sorted(item.content for item in seen) == sorted(f"memory {number}" for number in range(90))
    assert [item.created_at for item in seen] == sorted(item.created_at for item in seen)
    rest = [item async for item in store.iterate(thread_id="t", after=seen[40].cursor)]
    assert [item.id for item in rest] == [item.id for item in seen[41:]]
    with pytest.raises(InvalidInputError, match="cursor"):
        [item async for item in store.iterate(after="nonsense")]


async def test_iterate_while_others_write_and_forget(make_store: MakeStore) -> None:
    store, writer = make_store(), make_store()
    staying = {result.id or "" for result in await store.remember_many([f"stays {number}" for number in range(300)])}
    leaving = [result.id or "" for result in await store.remember_many([f"leaves {number}" for number in range(300)])]
    seen: list[str] = []
    async for item in store.iterate(page_size=20):
        seen.append(item.id)
        if len(seen) % 20 == 0 and leaving:
            await writer.forget_many([leaving.pop() for _ in range(10)])
            await writer.remember(f"new {len(seen)}")
            await writer.update(item.id if item.id in staying else min(staying), importance=0.9)
    assert len(seen) == len(set(seen))
    assert staying <= set(seen)


async def test_iterate_an_empty_store(store: MemoryStore) -> None:
    assert [item async for item in store.iterate()] == []


async def test_a_text_that_was_changed_again_and_again_is_still_stored(store: MemoryStore) -> None:
    for turn in range(10):
        id = await store.remember("status: unknown", namespace="t", on_duplicate="merge")
        await store.update(id, content=f"status: done {turn}")
    assert (await store.stats()).item_count == 10


async def test_a_value_that_cannot_even_be_looked_at_harms_no_neighbour(store: MemoryStore) -> None:
    class Nowhere(tzinfo):
        def utcoffset(self, moment: datetime | None) -> None:
            return None

        dst = utcoffset

        def tzname(self, moment: datetime | None) -> None:
            return None

    class Explosive(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError("boom")

        __iter__ = items

    bad: list[dict[str, Any]] = [
        {"content": "b", "occurred_at": datetime(2020, 1, 1, tzinfo=Nowhere())},
        {"content": "c", "metadata": Explosive(a=1)},
    ]
    results = await store.remember_many(["a", *bad, "d"])
    assert [result.outcome for result in results] == ["stored", "rejected", "rejected", "stored"]
    assert "time zone" in str(results[1].error)
    assert "boom" in str(results[2].error)


@pytest.mark.parametrize("metadata", [{"a": {1: "x", "1": "y"}}, {"a": [{None: 1}]}])
async def test_names_inside_metadata_are_not_changed_into_texts(store: MemoryStore, metadata: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="names in metadata"):
        await store.remember("x", metadata=metadata)


@pytest.mark.parametrize("stored", [b"1", b"1.0", b"what"])
async def test_a_version_that_is_spelt_otherwise_can_be_asked_for(
    store: MemoryStore, engine: Engine, stored: bytes
) -> None:
    id = await store.remember("x")
    records = engine.records(record.memory_collection(store.name))
    await records.prepare(8)
    await records.change_many([RecordChange(id, sets={record.VERSION: stored})])
    item = await store.get(id)
    assert item is not None
    assert item.version == 1
    changed = await store.update(id, importance=0.9, if_version=1)
    assert changed.importance == 0.9
    assert changed.version == 2
    with pytest.raises(VersionConflictError):
        await store.update(id, importance=0.1, if_version=1)


@pytest.mark.parametrize("cursor", [f"{2**70}:x", "1:\ud800", ":x", "1:", "x", 5])
async def test_what_is_no_cursor_is_refused_on_every_engine(store: MemoryStore, cursor: Any) -> None:
    await store.remember("x")
    with pytest.raises(InvalidInputError, match="cursor"):
        [item async for item in store.iterate(after=cursor)]


async def test_a_batch_evicts_as_if_its_memories_came_one_by_one(make_store: MakeStore) -> None:
    store = make_store(max_items_per_scope=10)
    await store.remember_many([{"content": f"old {n}", "importance": 0.9} for n in range(10)], namespace="n")
    [result] = await store.remember_many([{"content": "new", "importance": 0.1}], namespace="n")
    assert await store.get(result.id or "") is not None
    assert (await store.list(MemoryListOptions(namespace="n"))).total == 10
    many = await store.remember_many([{"content": f"more {n}", "importance": 0.1} for n in range(25)], namespace="n")
    assert [result.outcome for result in many] == ["stored"] * 25
    # Each but the last one leaves for the next one, being worth least of all others by then.
    kept = await store.get_many([result.id or "" for result in many])
    assert [item is not None for item in kept] == [False] * 24 + [True]
    assert (await store.list(MemoryListOptions(namespace="n"))).total == 10
