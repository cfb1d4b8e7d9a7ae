"""A memory says with its first breath which others it contradicts."""

from __future__ import annotations

import pytest

from betterdb_agent_memory import (
    InvalidInputError,
    MemoryDraft,
    MemoryNotFoundError,
    MemoryStore,
    SupersededError,
)
from betterdb_agent_memory.engines.base import Engine
from tests.conformance.conftest import FILE, POOLED, URL, MakeStore
from tests.embedding import embed

PARIS, SOFIA, VARNA = "Ann lives in Paris", "Ann lives in Sofia", "Ann lives in Varna"


@pytest.fixture(params=[FILE, URL, POOLED])
def configuration(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def doubts(store: MemoryStore, id: str) -> tuple[object, ...]:
    item = await store.get(id)
    assert item is not None
    return item.dynamics.contradicted_by, item.dynamics.reliability, item.version


async def test_what_a_memory_contradicts_is_trusted_less_and_stands_below_it(
    store: MemoryStore, engine: Engine, configuration: str
) -> None:
    for id, text in (("a", PARIS), ("b", SOFIA), ("c", "the river")):
        await store.remember(text, id=id, importance=1.0)
    await store.recall("warm up")
    before = engine.round_trips
    plain = await store.remember("the ferry", importance=0.0)
    plainly = engine.round_trips - before
    new = await store.remember(VARNA, contradicts=["a", "b", "a"], importance=0.0)
    if configuration == URL:
        assert engine.round_trips - before - plainly == plainly + 2
    for id in ("a", "b"):
        assert await doubts(store, id) == ((new,), pytest.approx(0.8 * 0.3), 2)
    assert await doubts(store, "c") == ((), None, 1)
    hits = [hit.item.id for hit in await store.recall(VARNA, threshold=2)]
    assert hits.index(new) < min(hits.index("a"), hits.index("b"))
    # One id, as text; and another doubt beside the first.
    newer = await store.remember("Ann lives nowhere", contradicts="a")
    assert await doubts(store, "a") == ((new, newer), pytest.approx(0.8 * 0.3 * 0.3), 3)
    assert await doubts(store, plain) == ((), None, 1)


async def test_what_corrects_the_one_that_contradicts_comes_first_as_that_did(store: MemoryStore) -> None:
    await store.remember(PARIS, id="a", importance=1.0)
    other = await store.remember(SOFIA, contradicts="a", importance=0.0)
    assert [hit.item.id for hit in await store.recall(PARIS, threshold=2)] == [other, "a"]
    corrected = await store.correct(other, VARNA)
    first, second = await store.recall(PARIS, threshold=2)
    assert (first.item.id, second.item.id) == (corrected.id, "a")
    assert first.explain is not None
    assert first.explain.outranks == ("a",)


async def test_doing_it_once_more_changes_nothing(store: MemoryStore) -> None:
    await store.remember(PARIS, id="a")
    first = await store.remember(SOFIA, contradicts="a", on_duplicate="merge")
    once = await doubts(store, "a")
    assert await store.remember(SOFIA, contradicts="a", on_duplicate="merge") == first
    [again] = await store.remember_many([MemoryDraft(SOFIA, contradicts=["a"])], on_duplicate="merge")
    assert (again.outcome, again.id) == ("merged", first)
    assert await doubts(store, "a") == once == ((first,), pytest.approx(0.24), 2)


async def test_what_is_not_there_is_refused_before_anything_is_paid_for(make_store: MakeStore) -> None:
    calls = 0

    async def counted(text: str) -> list[float]:
        nonlocal calls
        calls += 1
        return await embed(text)

    store = make_store(embed_fn=counted)
    await store.remember(PARIS, id="a")
    await store.remember(PARIS, id="old")
    await store.correct("old", SOFIA)
    paid, count = calls, (await store.stats()).item_count
    for contradicts, error in (
        ("gone", MemoryNotFoundError),
        (["a", "gone"], MemoryNotFoundError),
        ("old", SupersededError),
        ("a:b", InvalidInputError),
        (3, InvalidInputError),
        ("new", InvalidInputError),
        ([f"m{number}" for number in range(65)], InvalidInputError),
    ):
        with pytest.raises(error):
            await store.remember(VARNA, contradicts=contradicts, id="new")  # type: ignore[arg-type]
    for options in ({}, {"on_duplicate": "merge"}):
        with pytest.raises(InvalidInputError, match="says just that"):
            await store.remember(PARIS, contradicts="a", **options)  # type: ignore[arg-type]
    assert (calls, (await store.stats()).item_count) == (paid, count)
    assert await doubts(store, "a") == ((), None, 1)


async def test_one_refused_draft_harms_no_other(store: MemoryStore) -> None:
    for id in ("a", "b"):
        await store.remember(f"{PARIS} {id}", id=id)
    results = await store.remember_many(
        [
            MemoryDraft(SOFIA, contradicts=["a", "b"]),
            {"content": VARNA, "contradicts": "gone"},
            MemoryDraft("Ann lives in Ruse", contradicts="a"),
            "the river",
        ]
    )
    assert [one.outcome for one in results] == ["stored", "rejected", "stored", "stored"]
    assert isinstance(results[1].error, MemoryNotFoundError)
    assert await doubts(store, "a") == ((results[0].id, results[2].id), pytest.approx(0.8 * 0.3 * 0.3), 2)
    assert await doubts(store, "b") == ((results[0].id,), pytest.approx(0.24), 2)
    [turn] = await store.remember_many([MemoryDraft(VARNA, contradicts="a")], context="window")
    assert (turn.outcome, isinstance(turn.error, InvalidInputError)) == ("rejected", True)
