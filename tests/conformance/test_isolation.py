"""Promise 1: a scope is exactly what was said, byte for byte."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory import MemoryListOptions, MemoryScope, MemoryStore
from tests.conformance.conftest import FILE, POOL, POOLED_FILE, MakeStore
from tests.embedding import AHEAD, at_angle

STRANGE = [
    "alice",
    "Alice",
    "ALICE",
    " alice",
    "alice ",
    " alice ",
    "alice,bob",
    "bob,alice",
    "alice, bob",
    ",",
    ",alice",
    "bob",
    "",
    " ",
    "x" * 300,
    "x" * 299 + "X",
    "\U0001f600" * 75,
    "\U0001f469\u200d\U0001f4bb",
    "line\nbreak",
    "tab\tbed",
    "\r\n",
    "back`tick",
    "question?",
    'double"quote',
    "single'quote",
    "bra{ce}s",
    "{alice}",
    "pi|pe",
    "st*r",
    "*",
    "back\\slash",
    "\\",
    "a:b@c#d$e%f^g&h(i)j-k=l+m~n!o;p<q>r.s/t[u]v",
    "nul\x00byte",
    "bell\x07",
    "\x7f",
    "İstanbul",
    "istanbul",
    "straße",
    "STRASSE",
    "ΑΣ",
    "ας",
    "e\u0301",
    "\u00e9",
    "\u00a0nbsp\u00a0",
    "\u2028",
    "\ufeffbom",
    "-inf",
    "$vec",
    "@threadId:{alice}",
    "true|false",
    "0",
    "00",
]


async def test_every_strange_value_sees_its_own_memory_and_no_other(store: MemoryStore) -> None:
    for value in STRANGE:
        await store.remember(f"for {value!r}", thread_id=value)
    for value in STRANGE:
        mine = [f"for {value!r}"]
        assert [hit.item.content for hit in await store.recall("for", thread_id=value, reinforce=False)] == mine
        page = await store.list(MemoryListOptions(thread_id=value))
        assert ([item.content for item in page.items], page.total) == (mine, 1)
    assert (await store.stats()).item_count == len(STRANGE)


async def test_forgetting_a_scope_leaves_its_look_alikes(store: MemoryStore) -> None:
    for value in STRANGE:
        await store.remember(f"for {value!r}", namespace=value)
    left = len(STRANGE)
    for value in STRANGE:
        assert await store.forget_by_scope(namespace=value) == 1
        left -= 1
        assert (await store.stats()).item_count == left


def one(field: str, value: str) -> dict[str, Any]:
    return {field: value}


@pytest.mark.parametrize("field", ["thread_id", "agent_id", "namespace"])
async def test_each_scope_field_counts(store: MemoryStore, field: str) -> None:
    await store.remember("lower", **one(field, "abc"))
    await store.remember("upper", **one(field, "ABC"))
    await store.remember("none")
    assert [hit.item.content for hit in await store.recall("x", reinforce=False, **one(field, "abc"))] == ["lower"]
    assert await store.recall("x", reinforce=False, **one(field, "ab")) == []
    assert await store.forget_by_scope(**one(field, "ABC")) == 1
    assert {item.content for item in (await store.list()).items} == {"lower", "none"}


async def test_scope_fields_and_tags_are_all_required(store: MemoryStore) -> None:
    await store.remember("both", thread_id="t", namespace="n", tags=["a", "b"])
    await store.remember("thread only", thread_id="t", tags=["a"])
    await store.remember("other namespace", thread_id="t", namespace="m", tags=["b", "a", "c"])

    async def contents(**scope: Any) -> set[str]:
        return {hit.item.content for hit in await store.recall("x", reinforce=False, **scope)}

    assert await contents(thread_id="t") == {"both", "thread only", "other namespace"}
    assert await contents(thread_id="t", namespace="n") == {"both"}
    assert await contents(tags=["a", "b"]) == {"both", "other namespace"}
    assert await contents(tags=["A"]) == set()
    assert await contents(tags=["c"], namespace="n") == set()


async def test_tags_are_exact(store: MemoryStore) -> None:
    for tag in ["ui", "UI", " ui", "ui ", "u i", "ui?", "ui`", "ui|x", "", "日本", "x" * 300]:
        await store.remember(f"tagged {tag!r}", tags=["common", tag])
    for tag in ["ui", "UI", " ui", "ui ", "u i", "ui?", "ui`", "ui|x", "日本", "x" * 300]:
        assert [h.item.content for h in await store.recall("x", tags=[tag], reinforce=False)] == [f"tagged {tag!r}"]
        assert (await store.list(MemoryListOptions(tags=["common", tag]))).total == 1
    assert (await store.list(MemoryListOptions(tags=["common"]))).total == 11


async def test_a_crowd_of_look_alikes_does_not_shorten_the_answer(store: MemoryStore) -> None:
    """The index returns `ALICE` too, and nearer: more is asked for until all of `alice` are found."""
    for number in range(150):
        await store.remember(at_angle(1 - number / 10_000), thread_id="ALICE")
    mine = [await store.remember(at_angle(0.5 - number / 100), thread_id="alice") for number in range(10)]
    hits = await store.recall(AHEAD, k=10, thread_id="alice", reinforce=False)
    assert {hit.item.id for hit in hits} == set(mine)
    page = await store.list(MemoryListOptions(thread_id="alice", limit=4, offset=3))
    assert page.total == 10
    assert len(page.items) == 4
    assert await store.forget_by_scope(thread_id="alice") == 10
    assert (await store.stats()).item_count == 150


async def test_empty_values_are_values(store: MemoryStore) -> None:
    await store.remember("empty thread", thread_id="")
    await store.remember("no thread")
    await store.remember("some thread", thread_id="t")
    await store.remember("empty thread, namespace", thread_id="", namespace="n")
    page = await store.list(MemoryListOptions(thread_id=""))
    assert {item.content for item in page.items} == {"empty thread", "empty thread, namespace"}
    assert page.total == 2
    hits = await store.recall("x", thread_id="", namespace="n", reinforce=False)
    assert [hit.item.content for hit in hits] == ["empty thread, namespace"]
    assert hits[0].item.thread_id == ""
    assert await store.forget_by_scope(thread_id="") == 2
    assert (await store.list()).total == 2


unicode_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize("configuration", [FILE, POOL, POOLED_FILE], indirect=True)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mine=unicode_text, other=unicode_text)
async def test_any_unicode_value_is_a_scope_of_its_own(make_store: MakeStore, mine: str, other: str) -> None:
    store = make_store(name=f"p{uuid4().hex}")  # each example its own, so that one failure is one failure
    await store.ensure_index()
    await store.remember("mine", agent_id=mine)
    lookalikes = {other, mine.upper(), mine.lower(), mine.strip(), f" {mine} ", f"{mine},{other}", *mine.split(",")}
    for value in lookalikes - {mine}:
        await store.remember("theirs", scope=MemoryScope(agent_id=value))
    hits = await store.recall("x", agent_id=mine, k=50, reinforce=False)
    assert [hit.item.content for hit in hits] == ["mine"]
    assert (await store.list(MemoryListOptions(agent_id=mine))).total == 1
    assert await store.forget_by_scope(agent_id=mine) == 1
    remaining = (await store.list(MemoryListOptions(limit=100))).items
    assert {item.content for item in remaining} == ({"theirs"} if lookalikes - {mine} else set())
    for item in remaining:
        await store.forget(item.id)


@pytest.mark.parametrize("configuration", [FILE, POOL], indirect=True)
async def test_a_crowd_larger_than_any_search_does_not_hide_a_memory(make_store: MakeStore) -> None:
    """4,200 look-alikes are nearer than the one asked for; no search returns more than 4,096."""
    store = make_store()
    await store.ensure_index()
    for start in range(0, 4_200, 40):
        await asyncio.gather(
            *(store.remember(at_angle(1 - (start + n) / 100_000), thread_id="ALICE") for n in range(40))
        )
    mine = [await store.remember(at_angle(0.1 * n), thread_id="alice") for n in range(3)]
    hits = await store.recall(AHEAD, k=2, thread_id="alice", reinforce=False)
    assert [hit.item.id for hit in hits] == [mine[2], mine[1]]
    assert hits[0].distance == pytest.approx(0.8, abs=1e-5)
    everyone = await store.recall(AHEAD, k=2_500, thread_id="ALICE", reinforce=False)
    assert len(everyone) == 2_500
