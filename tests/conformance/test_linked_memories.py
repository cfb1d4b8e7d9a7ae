"""Memories that are linked: by whom it is said, by being recalled together, and what a recall makes of it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from betterdb_agent_memory import InvalidInputError, Link, MemoryHit, MemoryNotFoundError, MemoryStore, Tag
from betterdb_agent_memory.memory.linking import LINKED
from betterdb_agent_memory.memory.recalling.expanding import MOST_ADDED, MOST_ENTITIES
from tests.conformance.conftest import MakeStore, TestClock
from tests.embedding import AHEAD, at_angle

DAY_SECONDS = 86_400
FAR = -1.0
"""The cosine of what a threshold of 0.25 does not find."""


def ids(found: list[MemoryHit]) -> list[str]:
    return [hit.item.id for hit in found]


async def remember(store: MemoryStore, **cosines: float) -> None:
    for id, cosine in cosines.items():
        await store.remember(at_angle(cosine), id=id, thread_id="t")


async def weights(store: MemoryStore, id: str, **how: Any) -> dict[str, float]:
    return {link.id: round(link.weight, 9) for link in await store.links(id, **how)}


async def test_links_are_said_read_and_taken_back(store: MemoryStore, clock: TestClock) -> None:
    await remember(store, a=1.0, b=0.9, c=0.8)
    begun = clock.now_ms
    await store.link("a", "b")
    await store.link("c", "a", 0.5)
    assert await weights(store, "a") == {"b": 1.0, "c": 0.5}
    [to_b, _] = await store.links("a")
    assert to_b == Link("b", to_b.weight, begun)
    clock.advance(seconds=31 * DAY_SECONDS)
    assert list(await weights(store, "a")) == ["b"]
    assert list(await weights(store, "a", least_weight=0)) == ["b", "c"]
    await store.link("b", "a", 2)
    assert await weights(store, "a") == {"b": 2.0}
    assert await store.unlink("a", "b") is True
    assert await store.unlink("a", "b") is False
    assert await store.links("b") == await store.links("nobody") == []


@pytest.mark.parametrize(
    ("pair", "weight", "said"),
    [
        (("a", "a"), 1.0, "itself"),
        (("a", ""), 1.0, "id"),
        (("a", "b:c"), 1.0, "colon"),
        (("a", "b"), 0, "weight"),
        (("a", "b"), -1.0, "weight"),
        (("a", "b"), math.nan, "weight"),
        (("a", "b"), math.inf, "weight"),
        (("a", "b"), True, "weight"),
        (("a", "b"), "1", "weight"),
    ],
    ids=["self", "empty", "colon", "zero", "negative", "nan", "infinite", "boolean", "text"],
)
async def test_bad_links_are_refused(store: MemoryStore, pair: tuple[str, str], weight: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        await store.link(*pair, weight)
    with pytest.raises(InvalidInputError, match="least_weight"):
        await store.links("a", least_weight=math.nan)


async def test_a_link_needs_both_memories(store: MemoryStore) -> None:
    await remember(store, a=1.0)
    with pytest.raises(MemoryNotFoundError, match="'b'"):
        await store.link("a", "b")
    with pytest.raises(MemoryNotFoundError, match="'c'"):
        await store.link("c", "a")


async def test_forgetting_leaves_no_link_behind(store: MemoryStore) -> None:
    await remember(store, a=1.0, b=0.9, c=0.8, d=0.7)
    for other in "bcd":
        await store.link("a", other)
    await store.forget("b")
    await store.forget_many(["c", "nobody"])
    assert list(await weights(store, "a")) == ["d"]
    await store.forget_by_scope(thread_id="t")
    await remember(store, a=1.0, b=0.9, c=0.8, d=0.7)
    for id in "abcd":
        assert await store.links(id, least_weight=0) == []


async def test_a_correction_takes_over_the_links(store: MemoryStore) -> None:
    await remember(store, a=1.0, b=0.9, c=0.8, later=0.7)
    await store.link("a", "b", 2.0)
    await store.link("a", "later")
    corrected = (await store.correct("a", at_angle(0.95))).id
    assert await weights(store, corrected) == pytest.approx({"b": 2.0, "later": 1.0}, rel=1e-3)
    await store.link("later", "b", 0.5)
    assert await store.supersede(corrected, "later")
    assert await weights(store, "later") == pytest.approx({"b": 2.5}, rel=1e-3)
    assert list(await weights(store, "b")) == ["later"]
    assert await store.links(corrected, least_weight=0) == await store.links("a", least_weight=0) == []


@pytest.mark.parametrize("scoring", ["composite", "activation", "chain"])
async def test_what_is_added_says_how_any_model_sees_it(store: MemoryStore, scoring: Any) -> None:
    await remember(store, first=1.0, near=FAR)
    await store.link("first", "near")
    found = await store.recall(AHEAD, threshold=0.25, retrieval="vector", reinforce=False, expand=True, scoring=scoring)
    assert ids(found) == ["first", "near"]
    parts = [{part.name: part.value for part in hit.explain.components} if hit.explain else {} for hit in found]
    assert list(parts[0]) == list(parts[1])
    assert parts[0]["similarity"] == pytest.approx(1.0, abs=1e-6)
    assert parts[1]["similarity"] == pytest.approx(0.0, abs=1e-6)


async def test_what_leaves_a_full_scope_leaves_no_link(make_store: MakeStore, clock: TestClock) -> None:
    store = make_store(max_items_per_scope=3)
    for id, importance in (("low", 0.0), ("a", 0.9), ("b", 0.9)):
        await store.remember(at_angle(1.0), id=id, thread_id="t", importance=importance)
    await store.link("a", "low")
    for number in range(4):
        clock.advance(seconds=1)
        await store.remember(at_angle(0.5), id=f"n{number}", thread_id="t", importance=0.9)
    await store.close()
    again = make_store()
    assert await again.get("low") is None
    assert await again.links("a", least_weight=0) == []


async def test_recall_adds_what_is_linked_below_what_it_found(store: MemoryStore) -> None:
    await remember(store, first=1.0, second=0.95, near=FAR, far=FAR, third=FAR, other=FAR)
    await store.link("first", "near", 2.0)
    await store.link("near", "far", 1.0)
    await store.link("far", "third", 1.0)
    plain = await store.recall(AHEAD, threshold=0.25, thread_id="t", reinforce=False)
    found = await store.recall(AHEAD, threshold=0.25, thread_id="t", reinforce=False, expand=True)
    assert ids(plain) == ["first", "second"]
    assert ids(found) == ["first", "second", "near", "far"]
    assert found[:2] == plain
    near, far = (hit.explain.link if hit.explain else None for hit in found[2:])
    assert near is not None
    assert far is not None
    assert (near.start, near.via, far.start, far.via) == ("first", None, "first", "near")
    assert near.weight == pytest.approx(2.0)
    assert 0 < far.activation < near.activation < 1
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True)
    assert [hit.distance for hit in found[2:]] == pytest.approx([2.0, 2.0], abs=1e-6)


@pytest.mark.parametrize("retrieval", ["vector", "hybrid"])
async def test_every_way_to_recall_expands(store: MemoryStore, retrieval: Any) -> None:
    await remember(store, first=1.0, second=0.999_999, third=0.95)
    # Not a word of the question's.
    await store.remember("nothing alike", id="near", thread_id="t")
    for found_by_question in ("first", "second", "third"):
        await store.link(found_by_question, "near")
    ways: list[dict[str, Any]] = [{}, {"exact": True}, {"diversity": 0.5}, {"k": 2}]
    for how in ways:
        found = await store.recall(AHEAD, threshold=0.25, retrieval=retrieval, reinforce=False, expand=True, **how)
        assert ids(found)[how.get("k", 3)] == "near", how
        assert set(ids(found)) == {"first", "second", "third", "near"}


async def test_a_link_never_leads_out_of_what_was_asked_for(store: MemoryStore, clock: TestClock) -> None:
    await store.remember(at_angle(1.0), id="start", thread_id="t", tags=["x"])
    await store.remember(at_angle(FAR), id="stranger", thread_id="T", tags=["x"])
    await store.remember(at_angle(FAR), id="beyond", thread_id="t", tags=["x"])
    await store.remember(at_angle(FAR), id="untagged", thread_id="t")
    await store.remember(at_angle(FAR), id="friend", thread_id="t", tags=["x"])
    await store.link("start", "stranger", 9.0)
    await store.link("stranger", "beyond", 9.0)
    await store.link("start", "untagged", 9.0)
    await store.link("start", "friend", 1.0)

    async def found(**asked: Any) -> list[str]:
        return ids(await store.recall(AHEAD, threshold=0.25, reinforce=False, expand=True, **asked))

    assert await found(thread_id="t", tags=["x"]) == ["start", "friend"]
    assert await found(thread_id="t", where=Tag.all("x")) == ["start", "friend"]
    assert await found(thread_id="t") == ["start", "untagged", "friend"]
    assert set(await found()) == {"start", "stranger", "untagged", "friend", "beyond"}


async def test_many_that_may_not_be_seen_leave_room_for_others(store: MemoryStore) -> None:
    await remember(store, found=1.0)
    for bridge in range(3):
        await store.remember(at_angle(FAR), id=f"bridge{bridge}", thread_id="t")
        await store.link("found", f"bridge{bridge}", 2.0)
        for number in range(8):
            id, thread = f"end{bridge}-{number}", "t" if number > 5 else "another"
            await store.remember(at_angle(FAR), id=id, thread_id=thread)
            await store.link(f"bridge{bridge}", id, 9.0 - number)
    hits = await store.recall(AHEAD, thread_id="t", threshold=0.25, expand=True)
    assert ids(hits) == ["found", "bridge0", "bridge1", "bridge2", "end0-6", "end1-6"]
    everywhere = await store.recall(AHEAD, threshold=0.25, expand=True)
    assert ids(everywhere) == ["found", "bridge0", "bridge1", "bridge2", "end0-0", "end1-0"]


@pytest.mark.parametrize("scoring", ["composite", "chain"])
async def test_two_links_are_gone_only_where_one_leads_to_too_few(store: MemoryStore, scoring: Any) -> None:
    near = [f"near{number}" for number in range(MOST_ADDED)]
    await remember(store, found=1.0, beyond=FAR, behind=FAR, **dict.fromkeys(near[1:], FAR))
    await store.remember(at_angle(FAR), id=near[0], thread_id="t", tags=["aside"])
    for number, id in enumerate(near):
        await store.link("found", id, 1.0 + number)
    # More active than the last of those that one link leads to.
    await store.link(near[-1], "beyond", 90.0)
    await store.link("beyond", "behind", 90.0)
    asked: dict[str, Any] = {"threshold": 0.25, "expand": True, "reinforce": False, "scoring": scoring}
    asked |= {"retrieval": "vector", "thread_id": "t"}
    assert ids(await store.recall(AHEAD, **asked)) == ["found", *reversed(near)]
    hits = await store.recall(AHEAD, where=~Tag.any("aside"), **asked)
    assert set(ids(hits)) == {"found", "beyond", *near[1:]}
    await store.forget(near[1])
    assert set(ids(await store.recall(AHEAD, **asked))) == {"found", "beyond", near[0], *near[2:]}


async def test_what_is_about_the_same_entities_is_added(store: MemoryStore) -> None:
    await store.remember(at_angle(1.0), id="start", thread_id="t", entities=["Ada", "Paris, France"])
    await store.remember(at_angle(FAR), id="both", thread_id="t", entities=["Paris, France", "Ada"])
    await store.remember(at_angle(FAR), id="one", thread_id="t", entities=["Ada", "tea"])
    await store.remember(at_angle(FAR), id="other", thread_id="t", entities=["ada", "tea"])
    await store.remember(at_angle(FAR), id="stranger", thread_id="u", entities=["Ada"])
    await store.remember(at_angle(FAR), id="friend", thread_id="t")
    await store.link("one", "friend")
    found = await store.recall(AHEAD, threshold=0.25, thread_id="t", reinforce=False, expand=True)
    assert ids(found) == ["start", "both", "one"]
    by = [hit.explain.link if hit.explain else None for hit in found]
    assert [link and (link.start, link.via, link.entities, link.weight) for link in by] == [
        None,
        ("start", None, ("Ada", "Paris, France"), 2.0),
        ("start", None, ("Ada",), 1.0),
    ]
    await store.link("start", "one", 5.0)
    found = await store.recall(AHEAD, threshold=0.25, thread_id="t", reinforce=False, expand=True)
    assert ids(found) == ["start", "one", "both", "friend"]


async def test_one_of_very_many_shared_entities_counts_as_well(store: MemoryStore) -> None:
    # More than are asked for: the last one makes a memory more active that the links alone leave behind.
    named = [f"E{number:02}" for number in range(MOST_ENTITIES + 1)]
    await store.remember(AHEAD, id="found", thread_id="t", entities=named)
    for hub, weight in (("hub0", 1.0), ("hub1", 0.9)):
        await store.remember(at_angle(FAR), id=hub, thread_id="t")
        await store.link("found", hub, weight)
        for number in range(6):
            id, entities = f"{hub}-{number}", [named[-1]] if (hub, number) == ("hub1", 5) else None
            await store.remember(at_angle(FAR), id=id, thread_id="t", entities=entities)
            await store.link(hub, id, 1.0 if number < 5 else 0.5)
    hits = await store.recall(AHEAD, threshold=0.25, expand=True)
    assert ids(hits)[:2] == ["found", "hub1-5"]
    assert hits[1].explain is not None
    assert hits[1].explain.link is not None
    assert hits[1].explain.link.entities == (named[-1],)


async def test_no_more_than_stated_are_added_and_none_is_reinforced(store: MemoryStore) -> None:
    await remember(store, start=1.0, **{f"m{number}": FAR for number in range(MOST_ADDED + 3)})
    for number in range(MOST_ADDED + 3):
        await store.link("start", f"m{number}", 1.0 + number)
    found = await store.recall(AHEAD, threshold=0.25, expand=True)
    assert ids(found) == ["start", *(f"m{MOST_ADDED + 2 - number}" for number in range(MOST_ADDED))]
    assert [item and item.access_count for item in await store.get_many(["start", "m7"])] == [1, 0]


async def test_what_is_recalled_together_is_linked(make_store: MakeStore, clock: TestClock) -> None:
    store = make_store(link_recalled=True)
    await remember(store, a=1.0, b=0.95, c=FAR)
    await store.recall(AHEAD, threshold=0.25)
    assert await store.links("a") == []
    [link] = await store.links("a", least_weight=0)
    assert link.id == "b"
    assert 0.1 < link.weight < LINKED
    for week in range(8):
        clock.advance(seconds=7 * DAY_SECONDS)
        assert (list(await weights(store, "a")) == ["b"]) is (week >= 1)
        await store.recall(AHEAD, threshold=0.25)
    assert list(await weights(store, "b")) == ["a"]
    clock.advance(seconds=90 * DAY_SECONDS)
    assert await store.links("b") == []
    assert await store.links("c", least_weight=0) == []
    plain = make_store()
    clock.advance(seconds=3_650 * DAY_SECONDS)
    await plain.recall(AHEAD, threshold=0.25)
    assert await plain.links("a", least_weight=0) == []


async def test_deferred_gains_are_merged(make_store: MakeStore) -> None:
    await remember(make_store(), a=1.0, b=0.95, c=0.9)
    found = []
    for reinforcement in ("deferred", "immediate"):
        store = make_store(link_recalled=True, reinforcement=reinforcement)
        for _ in range(3):
            await store.recall(AHEAD, threshold=0.25)
        await store.flush()
        found.append(await weights(store, "a", least_weight=0))
        await store.unlink("a", "b")
        await store.unlink("a", "c")
    assert set(found[0]) == {"b", "c"}
    assert found[0] == pytest.approx(found[1], rel=1e-6)
