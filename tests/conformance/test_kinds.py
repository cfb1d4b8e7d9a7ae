"""A memory may have a kind and entities; both are stored, found and changed alike on every engine."""

from __future__ import annotations

from typing import Any, cast

import pytest

from betterdb_agent_memory import (
    KINDS,
    Entity,
    InvalidInputError,
    Kind,
    MemoryItem,
    MemoryKind,
    MemoryListOptions,
    MemoryStore,
)
from betterdb_agent_memory.engines.base import Engine, RecordChange
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.dynamics_fields import DYNAMICS_FIELDS, MemoryDynamics
from tests.conformance.conftest import CLUSTER, FILE, POOLED, URL, MakeStore
from tests.embedding import AHEAD, DIMENSIONS, at_angle

pytestmark = pytest.mark.parametrize("configuration", [FILE, URL, POOLED, CLUSTER], indirect=True)

PECULIAR = ["Ada", "Smith, John", "50% off", "%2C", "nul\0x", " Ada ", "日本", ","]


async def stored(store: MemoryStore, id: str) -> MemoryItem:
    item = await store.get(id)
    assert item is not None
    return item


async def raw(engine: Engine, store: MemoryStore, id: str) -> dict[str, bytes]:
    [fields] = await engine.records(record.memory_collection(store.name)).read_many([id], None)
    assert fields is not None
    return dict(fields)


async def put(engine: Engine, store: MemoryStore, id: str, **sets: bytes) -> None:
    await engine.records(record.memory_collection(store.name)).change_many([RecordChange(id, sets=sets)])


async def test_the_importance_is_that_of_the_kind_if_nobody_says_another(make_store: MakeStore) -> None:
    store = make_store()
    for kind, profile in KINDS.items():
        assert (await stored(store, await store.remember(kind, kind=kind))).importance == profile.importance
    said = await stored(store, await store.remember("x", kind="emotional", importance=0.2))
    assert (said.kind, said.importance) == ("emotional", 0.2)
    without = await stored(store, await store.remember("y"))
    assert (without.kind, without.importance) == (None, 0.5)


async def test_an_unknown_kind_is_refused_before_anything_is_paid_for(make_store: MakeStore) -> None:
    store = make_store()
    id = await store.remember("here", kind="fact")
    for kind in ("rumour", "", "Fact", 5):
        unknown = cast("MemoryKind", kind)
        with pytest.raises(InvalidInputError, match="known are factual, episodic, .*summary"):
            await store.remember("x", kind=unknown)
        with pytest.raises(InvalidInputError, match="known are factual"):
            await store.update(id, kind=unknown)
        with pytest.raises(InvalidInputError, match="known are factual"):
            Kind(unknown)
        [result] = await store.remember_many([{"content": "x", "kind": unknown}])
        assert isinstance(result.error, InvalidInputError)
    assert (await store.stats()).item_count == 1


async def test_names_of_any_characters_come_back_and_are_found(make_store: MakeStore) -> None:
    store = make_store()
    all_of_them = await store.remember("everybody", entities=[*PECULIAR, "Ada"])
    only_ada = await store.remember("Ada alone", entities=["Ada"])
    assert (await stored(store, all_of_them)).entities == PECULIAR
    for name in PECULIAR:
        found = {item.id async for item in store.iterate(where=Entity(name))}
        assert found == ({all_of_them, only_ada} if name == "Ada" else {all_of_them}), name
    hits = await store.recall(AHEAD, threshold=2.0, where={"entities": ["Ada", ","]})
    assert [hit.item.id for hit in hits] == [all_of_them]


@pytest.mark.parametrize("entities", ["Ada", [""], [5], ["x" * 600], ["\ud800"], [str(n) for n in range(65)]])
async def test_bad_entities_are_refused(make_store: MakeStore, entities: Any) -> None:
    with pytest.raises(InvalidInputError, match="entit"):
        await make_store().remember("x", entities=entities)


async def test_an_update_changes_kind_and_entities_and_leaves_the_importance(make_store: MakeStore) -> None:
    store = make_store()
    id = await store.remember("x", kind="fact", entities=["Ada"])
    changed = await store.update(id, kind="rule", entities=["Grace", "Ada, too"])
    assert (changed.kind, changed.entities, changed.importance) == (
        "rule",
        ["Grace", "Ada, too"],
        KINDS["fact"].importance,
    )
    assert [item.id async for item in store.iterate(where=Kind("rule") & Entity("Grace"))] == [id]
    assert [item async for item in store.iterate(where=Kind("fact") | Entity("Ada"))] == []
    bare = await store.update(id, kind=None, entities=None)
    assert (bare.kind, bare.entities, bare.version) == (None, [], 3)


async def test_merging_unites_entities_and_keeps_the_first_kind(make_store: MakeStore) -> None:
    store = make_store()
    id = await store.remember("once", kind="fact", entities=["Ada", "a, b"], on_duplicate="merge")
    assert await store.remember("once", kind="rule", entities=["a, b", "Paris"], on_duplicate="merge") == id
    item = await stored(store, id)
    assert (item.kind, item.entities, item.importance) == ("fact", ["Ada", "a, b", "Paris"], KINDS["fact"].importance)


async def test_kinds_narrow_a_recall_with_everything_else(make_store: MakeStore) -> None:
    store = make_store()
    for number in range(40):
        await store.remember(at_angle(1 - number / 100, str(number)), kind="context", thread_id="t")
    fact = await store.remember(at_angle(0.3), kind="fact", thread_id="t", tags=["a"])
    await store.remember(at_angle(0.3, "other"), kind="fact", thread_id="u", tags=["a"])
    await store.remember(at_angle(0.3, "none"), thread_id="t", tags=["a"])
    for where in (Kind("fact"), Kind.any("fact", "rule"), Kind.none("context") & Kind("fact"), {"kind": "fact"}):
        hits = await store.recall(AHEAD, k=5, threshold=2.0, thread_id="t", tags=["a"], where=where)
        assert [hit.item.id for hit in hits] == [fact]
    about: dict[str, Any] = {"thread_id": "t", "tags": ["a"]}
    asked: list[MemoryKind | list[MemoryKind]] = ["fact", ["fact", "rule"]]
    for kind in asked:
        [hit] = await store.recall(AHEAD, threshold=2.0, kind=kind, **about)
        [again] = await store.recall_by_vector([1.0] + [0.0] * (DIMENSIONS - 1), threshold=2.0, kind=kind, **about)
        context = await store.context(AHEAD, threshold=2.0, kind=kind, **about)
        assert hit.item.id == again.item.id == context.hits[0].item.id == fact
        assert [item.id async for item in store.iterate(kind=kind, **about)] == [fact]
        page = await store.list(MemoryListOptions(kind=kind, **about))
        assert (page.total, page.items[0].id) == (1, fact)
    with pytest.raises(InvalidInputError, match="known are factual"):
        await store.recall(AHEAD, kind=cast("MemoryKind", "rumour"))
    with pytest.raises(InvalidInputError, match="at least one"):
        await store.recall(AHEAD, kind=[])
    assert await store.forget_by_scope(kind="context") == 40
    assert (await store.stats()).item_count == 3


STANDING = MemoryDynamics(
    unpinned_importance=0.3,
    stability=33.5,
    working=1e-7,
    core=0.25,
    strength_at=1_750_000_000_123,
    reliability=0.85,
    recent=(1, 2, 1_750_000_000_123),
    uses=7,
    successes=3,
    supersedes=("an, old% id", "older"),
    valid_from=-5,
    valid_until=1_760_000_000_000,
    superseded_by="newer",
    contradicted_by=("a", "b"),
    archived_at=1_755_000_000_000,
)


async def test_how_a_memory_stands_is_shown_as_it_is_stored(make_store: MakeStore, engine: Engine) -> None:
    store = make_store()
    id = await store.remember(AHEAD)
    assert (await stored(store, id)).dynamics == MemoryDynamics()
    made = record.encode_memory(record.NewMemory(id, AHEAD, 1, 0, dynamics=STANDING), b"")
    await put(engine, store, id, **{field: made[field] for field in DYNAMICS_FIELDS})
    [hit] = await store.recall(AHEAD, reinforce=False)
    for item in (await stored(store, id), hit.item):
        assert (item.dynamics, item.pinned) == (STANDING, True)
    assert (await store.stats()).unreadable_records == 0


async def test_what_cannot_be_read_is_counted_and_counts_as_absent(make_store: MakeStore, engine: Engine) -> None:
    store = make_store()
    id = await store.remember("kept", kind="fact")
    await put(engine, store, id, reliability=b"high", recent=b"1,x", uses=b"", pinned=b"?", core=b"0.5 or so")
    item = await stored(store, id)
    assert (item.content, item.pinned) == ("kept", True)
    assert item.dynamics == MemoryDynamics(unpinned_importance=0.0, core=0.5)
    assert (await store.stats()).unreadable_records == 4
    await put(engine, store, id, kind=b"\xff", entities=b"a%2Cb,\xfe")
    item = await stored(store, id)
    assert (item.kind, item.entities) == ("\ufffd", ["a,b", "\ufffd"])


async def test_a_memory_replaced_whole_keeps_nothing_of_how_the_other_stood(
    make_store: MakeStore, engine: Engine
) -> None:
    store = make_store()
    await store.remember("first", id="m", kind="fact", entities=["Ada"])
    await put(engine, store, "m", pinned=b"0.5", recent=b"1", reliability=b"0.2")
    await store.remember("second", id="m", on_duplicate="replace")
    assert set(await raw(engine, store, "m")) == {
        *("content", "vector", "importance", "created_at", "last_accessed_at", "access_count", "version")
    }
