"""One server, two packages: the published 0.7.0 and ours share one memory.

The published package runs in a process of its own (tests/peer/worker.py).
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from betterdb_agent_memory import MemoryItem, MemoryListOptions, MemoryStore
from tests.embedding import AHEAD, at_angle, embed
from tests.peer.published import Published, PublishedError

RICH: dict[str, Any] = {
    "content": f'{AHEAD} naïve café — 日本語 🙂\nline2\t"quoted" \\back',
    "importance": 0.8,
    "tags": ["été", "日本", "🙂", "a b", "c-d", "CaSe"],
    "source": "chat",
    "thread_id": "user:42/α β",
    "agent_id": "aGent@x.com",
    "namespace": "ns {1} [2] (3)",
}
SCOPE: dict[str, Any] = {name: RICH[name] for name in ("thread_id", "agent_id", "namespace", "tags")}


ADDITIONS = {
    "occurred_at",
    "metadata",
    "version",
    "session",
    "turn",
    "speaker",
    "kind",
    "entities",
    "pinned",
    "dynamics",
}
"""Fields of a memory that the published package does not know."""


def members(item: MemoryItem | None) -> dict[str, Any]:
    assert item is not None
    return {name: getattr(item, name) for name in item.__slots__ if name not in ADDITIONS}


# Index


async def test_on_an_index_created_by_them_everything_of_ours_works(
    theirs: Published, ours: MemoryStore, store_name: str
) -> None:
    await theirs.call("ensure_index", store_name)
    mine = await ours.remember(f"{AHEAD} lives in Sofia", thread_id="t", subject="city", date="2024-01-01")
    await ours.remember(f"{AHEAD} has a cat", thread_id="t", subject="pet")

    assert (await ours.stats()).unindexed_fields == ("subject", "occurred_at", "words", "kind", "entities")
    assert [hit.item.id for hit in await ours.recall(AHEAD, thread_id="t", subject="city")] == [mine]
    assert len(await ours.recall(AHEAD, thread_id="t")) == 2
    listed = await ours.list(MemoryListOptions(thread_id="t", subject="city"))
    assert ([item.id for item in listed.items], listed.total) == ([mine], 1)


async def test_a_subject_is_found_behind_many_others_when_the_index_does_not_know_subjects(
    theirs: Published, ours: MemoryStore, store_name: str
) -> None:
    await theirs.call("ensure_index", store_name)
    wanted = await ours.remember(at_angle(0.9, "the one"), thread_id="t", subject="rare")
    for number in range(150):
        await ours.remember(f"{AHEAD} nearer {number}", thread_id="t", subject="common")

    assert [hit.item.id for hit in await ours.recall(AHEAD, thread_id="t", subject="rare")] == [wanted]
    assert (await ours.stats()).recall_refills > 0
    assert (await ours.list(MemoryListOptions(subject="rare", limit=0))).total == 1


async def test_on_an_index_created_by_us_everything_of_theirs_works(
    theirs: Published, ours: MemoryStore, store_name: str
) -> None:
    await ours.ensure_index()
    assert (await ours.stats()).unindexed_fields == ()

    await theirs.call("ensure_index", store_name)
    id = await theirs.call("remember", store_name, content=f"{AHEAD} theirs", thread_id="t", tags=["k"], importance=0.9)
    [hit] = await theirs.call("recall", store_name, query=AHEAD, thread_id="t")
    assert hit["item"]["id"] == id
    listed = await theirs.call("list", store_name, thread_id="t", tags=["k"])
    assert (listed["items"][0]["id"], listed["total"]) == (id, 1)
    assert (await theirs.call("stats", store_name))["item_count"] == 1
    assert await theirs.call("forget", store_name, id=id) is True
    assert (await theirs.call("list", store_name, thread_id="t"))["total"] == 0


async def test_either_may_create_the_index_at_the_same_moment(
    theirs: Published, ours: MemoryStore, store_name: str
) -> None:
    await asyncio.gather(
        ours.ensure_index(),
        # Theirs may lose the race and raise, which is F23.
        asyncio.gather(theirs.call("ensure_index", store_name), return_exceptions=True),
    )
    id = await theirs.call("remember", store_name, content=f"{AHEAD} x")
    assert [hit.item.id for hit in await ours.recall(AHEAD)] == [id]


# Memories


async def test_we_read_whole_what_they_remember(theirs: Published, ours: MemoryStore, store_name: str) -> None:
    await theirs.call("ensure_index", store_name)
    id = await theirs.call("remember", store_name, **RICH)
    [theirs_sees] = (await theirs.call("list", store_name, **SCOPE))["items"]

    [hit] = await ours.recall(AHEAD, reinforce=False, **SCOPE)
    listed = await ours.list(MemoryListOptions(**SCOPE))
    assert hit.item == listed.items[0] == await ours.get(id)
    assert members(hit.item) == theirs_sees
    assert {name: theirs_sees[name] for name in RICH} == RICH


async def test_they_read_whole_what_we_remember(theirs: Published, ours: MemoryStore, store_name: str) -> None:
    id = await ours.remember(
        **RICH, occurred_at="2023-05-08", metadata={"theirs": "pass over it"}, kind="rule", entities=["Ada, Countess"]
    )

    [hit] = await theirs.call("recall", store_name, query=AHEAD, reinforce=False, **SCOPE)
    [listed] = (await theirs.call("list", store_name, **SCOPE))["items"]
    assert hit["item"] == listed == members(await ours.get(id))
    assert {name: listed[name] for name in RICH} == RICH


async def test_a_pin_is_an_importance_to_them_and_outlives_their_recalls(
    theirs: Published, ours: MemoryStore, store_name: str
) -> None:
    id = await ours.remember(**RICH, kind="rule", entities=["Ada, Countess"])
    await ours.pin(id)
    [hit] = await theirs.call("recall", store_name, query=AHEAD, **SCOPE)
    assert (hit["item"]["id"], hit["item"]["importance"]) == (id, 1)
    pinned = await ours.get(id)
    assert pinned is not None
    assert (pinned.pinned, pinned.access_count, pinned.kind, pinned.entities) == (True, 1, "rule", ["Ada, Countess"])
    await ours.unpin(id)
    [listed] = (await theirs.call("list", store_name, **SCOPE))["items"]
    assert listed["importance"] == RICH["importance"]


@pytest.mark.parametrize("importance", [0, 1, 1.0, 0.5, 1e-5, 1e-7, 0.123456789012])
async def test_importance_reads_the_same_whoever_wrote_it(
    importance: float, theirs: Published, ours: MemoryStore, store_name: str
) -> None:
    by_us = await ours.remember("ours", importance=importance)
    by_them = await theirs.call("remember", store_name, content="theirs", importance=importance)
    they_read = {item["id"]: item["importance"] for item in (await theirs.call("list", store_name))["items"]}
    we_read = {item.id: item.importance for item in (await ours.list()).items}
    assert they_read == we_read == {by_us: importance, by_them: importance}


async def test_distances_and_scores_are_the_same_for_both(
    theirs: Published, ours: MemoryStore, store_name: str
) -> None:
    await ours.ensure_index()
    for number, cosine in enumerate((1.0, 0.96, 0.9, 0.8, 0.7)):
        if number % 2:
            await ours.remember(at_angle(cosine), importance=number / 5)
        else:
            await theirs.call("remember", store_name, content=at_angle(cosine), importance=number / 5)

    they_rank = await theirs.call("recall", store_name, query=AHEAD, reinforce=False)
    we_rank = await ours.recall(AHEAD, reinforce=False)
    assert [hit["item"]["id"] for hit in they_rank] == [hit.item.id for hit in we_rank]
    assert len(we_rank) == 5
    for theirs_hit, hit in zip(they_rank, we_rank, strict=True):
        assert hit.similarity == pytest.approx(theirs_hit["similarity"], abs=1e-6)
        # A moment passes between the two.
        assert hit.score == pytest.approx(theirs_hit["score"], abs=1e-5)


async def test_expiry_holds_for_both_whoever_set_it(
    theirs: Published, ours: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    await ours.ensure_index()
    by_them = await theirs.call("remember", store_name, content=f"{AHEAD} theirs", ttl=100)
    by_us = await ours.remember(f"{AHEAD} ours", ttl=100)
    for id in (by_them, by_us):
        assert 90 < await valkey_client.ttl(f"{store_name}:mem:{id}") <= 100

    await theirs.call("recall", store_name, query=AHEAD)
    await ours.recall(AHEAD)
    for id in (by_them, by_us):
        assert 90 < await valkey_client.ttl(f"{store_name}:mem:{id}") <= 100, "reinforcing changed the expiry"
        await valkey_client.pexpire(f"{store_name}:mem:{id}", 1)
    await asyncio.sleep(0.02)
    assert await ours.recall(AHEAD) == []
    assert await theirs.call("recall", store_name, query=AHEAD) == []


async def test_reinforcement_by_either_is_seen_by_the_other(
    theirs: Published, ours: MemoryStore, store_name: str
) -> None:
    await ours.ensure_index()
    by_them = await theirs.call("remember", store_name, content=f"{AHEAD} theirs", thread_id="a")
    by_us = await ours.remember(f"{AHEAD} ours", thread_id="b")
    written = {id: members(await ours.get(id)) for id in (by_them, by_us)}

    await ours.recall(AHEAD)
    [seen] = (await theirs.call("list", store_name, thread_id="a"))["items"]
    assert seen["access_count"] == 1
    assert seen["last_accessed_at"] >= written[by_them]["last_accessed_at"]

    await theirs.call("recall", store_name, query=AHEAD)
    seen_by_us = members(await ours.get(by_us))
    assert seen_by_us["access_count"] == 2
    assert seen_by_us["last_accessed_at"] >= seen["last_accessed_at"]
    assert seen_by_us["created_at"] == written[by_us]["created_at"]


async def test_each_forgets_what_the_other_remembered(theirs: Published, ours: MemoryStore, store_name: str) -> None:
    await ours.ensure_index()
    by_them = await theirs.call("remember", store_name, content="one", thread_id="t")
    by_us = await ours.remember("two", thread_id="t")
    assert await ours.forget(by_them) is True
    assert await theirs.call("forget", store_name, id=by_us) is True
    assert (await ours.list()).total == 0

    await theirs.call("remember", store_name, content="three", thread_id="t", tags=["k"])
    await ours.remember("four", thread_id="t", tags=["k"])
    assert await ours.forget_by_scope(thread_id="t", tags=["k"]) == 2
    await theirs.call("remember", store_name, content="five", thread_id="u")
    await ours.remember("six", thread_id="u")
    assert await theirs.call("forget_by_scope", store_name, thread_id="u") == 2
    assert (await ours.list()).total == 0


async def test_a_full_scope_counts_the_memories_of_both(theirs: Published, valkey_client: Any, store_name: str) -> None:
    capped = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed, max_items_per_scope=2)
    await theirs.call("ensure_index", store_name)
    await theirs.call("remember", store_name, content="unimportant", thread_id="t", importance=0.1)
    kept = await theirs.call("remember", store_name, content="important", thread_id="t", importance=0.9)
    newest = await capped.remember("new", thread_id="t", importance=0.5)

    listed = await theirs.call("list", store_name, thread_id="t")
    assert {item["id"] for item in listed["items"]} == {kept, newest}
    assert (await theirs.call("stats", store_name))["evictions"] == 1
    await capped.close()


async def test_an_operator_sets_one_configuration_for_both(
    theirs: Published, ours: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    await valkey_client.hset(
        f"{store_name}:__mem_config",
        mapping={"recall.threshold": "0.4", "recall.weights.recency": "0.5", "maxItemsPerScope": "7.9"},
    )
    await ours.refresh_config()
    await theirs.call("refresh_config", store_name)
    theirs_now = await theirs.call("current_config", store_name)
    config = ours.current_config()
    assert (config.threshold, config.weights.recency, config.max_items_per_scope) == (0.4, 0.5, 7)
    assert theirs_now["threshold"] == config.threshold
    assert theirs_now["weights"] == {"similarity": 0.6, "recency": 0.5, "importance": 0.15}
    assert theirs_now["max_items_per_scope"] == config.max_items_per_scope


# Isolation, where theirs has none


async def test_we_do_not_mix_scopes_that_differ_in_case_as_they_do(
    theirs: Published, ours: MemoryStore, store_name: str
) -> None:
    await theirs.call("ensure_index", store_name)
    id = await theirs.call("remember", store_name, content=f"{AHEAD} upper", thread_id="ABC", tags=["TagOne"])
    assert (await theirs.call("list", store_name, thread_id="abc"))["total"] == 1, "F7 is what this is about"

    assert await ours.recall(AHEAD, thread_id="abc") == []
    assert (await ours.list(MemoryListOptions(thread_id="abc"))).total == 0
    assert (await ours.list(MemoryListOptions(tags=["tagone"]))).items == []
    assert await ours.forget_by_scope(thread_id="abc") == 0
    assert await ours.forget_by_scope(tags=["TAGONE"]) == 0
    assert [hit.item.id for hit in await ours.recall(AHEAD, thread_id="ABC", tags=["TagOne"])] == [id]


async def test_we_find_their_scope_with_a_comma_under_exactly_that_name(
    theirs: Published, ours: MemoryStore, store_name: str
) -> None:
    await theirs.call("ensure_index", store_name)
    id = await theirs.call("remember", store_name, content=f"{AHEAD} comma", thread_id="a,b")
    assert (await theirs.call("list", store_name, thread_id="a,b"))["total"] == 0, "F8 is what this is about"

    assert [hit.item.id for hit in await ours.recall(AHEAD, thread_id="a,b")] == [id]
    for part in ("a", "b", "a, b", "b,a"):
        assert await ours.recall(AHEAD, thread_id=part) == []
        assert (await ours.list(MemoryListOptions(thread_id=part))).total == 0
        assert await ours.forget_by_scope(thread_id=part) == 0
    assert await ours.forget_by_scope(thread_id="a,b") == 1


@pytest.mark.parametrize("thread", ["  pad  ", "p`q", "p?q", "p\tq", "p\nq", "p\x01q"])
async def test_we_find_their_scopes_that_they_cannot_find_themselves(
    thread: str, theirs: Published, ours: MemoryStore, store_name: str
) -> None:
    await theirs.call("ensure_index", store_name)
    id = await theirs.call("remember", store_name, content=f"{AHEAD} odd", thread_id=thread)
    assert (await theirs.call("list", store_name, thread_id=thread))["total"] == 0, "F28, F29 are what this is about"
    assert [hit.item.id for hit in await ours.recall(AHEAD, thread_id=thread)] == [id]
    assert (await ours.list(MemoryListOptions(thread_id=thread))).total == 1
    assert await ours.forget_by_scope(thread_id=thread) == 1


async def test_their_empty_scope_is_a_scope_for_us(theirs: Published, ours: MemoryStore, store_name: str) -> None:
    await theirs.call("ensure_index", store_name)
    empty = await theirs.call("remember", store_name, content=f"{AHEAD} empty", thread_id="")
    await theirs.call("remember", store_name, content=f"{AHEAD} other", thread_id="t")
    await theirs.call("remember", store_name, content=f"{AHEAD} none")
    with pytest.raises(PublishedError):
        await theirs.call("list", store_name, thread_id="")
    assert [hit.item.id for hit in await ours.recall(AHEAD, thread_id="")] == [empty]
    assert await ours.forget_by_scope(thread_id="") == 1


async def test_a_published_store_whose_keys_lie_below_ours_stays_apart(
    theirs: Published, ours: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    nested = f"{store_name}:mem"
    mine = await ours.remember(f"{AHEAD} ours", thread_id="t", tags=["k"])
    await theirs.call("ensure_index", nested)
    other = await theirs.call("remember", nested, content=f"{AHEAD} theirs", thread_id="t", tags=["k"])
    assert (await theirs.call("list", store_name, thread_id="t"))["total"] == 2, "F45 is what this is about"

    assert [hit.item.id for hit in await ours.recall(AHEAD, thread_id="t")] == [mine]
    for options in (MemoryListOptions(thread_id="t"), MemoryListOptions(tags=["k"])):
        listed = await ours.list(options)
        assert ([item.id for item in listed.items], listed.total) == ([mine], 1)
    assert [item.id for item in (await ours.list()).items] == [mine]
    assert (await ours.stats()).item_count == 1
    assert await ours.get(other) is None
    assert await ours.forget(other) is False
    assert await ours.forget_by_scope(thread_id="t") == 1
    assert (await theirs.call("list", nested, thread_id="t"))["total"] == 1
    assert await valkey_client.exists(f"{nested}:mem:{other}")


async def test_the_total_of_all_our_memories_leaves_out_a_published_store_below_ours(
    theirs: Published, ours: MemoryStore, store_name: str
) -> None:
    nested = f"{store_name}:mem"
    mine = await ours.remember("ours")
    await theirs.call("ensure_index", nested)
    await theirs.call("remember", nested, content="theirs")
    listed = await ours.list()
    assert ([item.id for item in listed.items], listed.total) == ([mine], 1)


async def test_many_nearer_memories_of_a_store_below_ours_do_not_hide_our_own(
    theirs: Published, ours: MemoryStore, store_name: str
) -> None:
    nested = f"{store_name}:mem"
    mine = await ours.remember(at_angle(0.9, "ours"))
    await theirs.call("ensure_index", nested)
    for number in range(120):
        await theirs.call("remember", nested, content=f"{AHEAD} theirs {number}")
    assert [hit.item.id for hit in await ours.recall(AHEAD)] == [mine]
    assert [item.id for item in (await ours.list()).items] == [mine]


async def test_a_full_scope_of_ours_does_not_evict_a_store_below_ours(
    theirs: Published, store_name: str, valkey_client: Any
) -> None:
    nested = f"{store_name}:mem"
    capped = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed, max_items_per_scope=2)
    await capped.ensure_index()
    await theirs.call("ensure_index", nested)
    for number in range(5):
        await theirs.call("remember", nested, content=f"theirs {number}", thread_id="t", importance=0)
    ids = {await capped.remember(f"ours {number}", thread_id="t") for number in range(2)}
    assert {item.id for item in (await capped.list()).items} == ids
    assert (await capped.stats()).evictions == 0
    assert (await theirs.call("list", nested, thread_id="t"))["total"] == 5
    await capped.close()


async def test_fragments_that_their_reinforcement_leaves_are_no_memories(
    ours: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    mine = await ours.remember(f"{AHEAD} ours", thread_id="t")
    # F15: what a published recall writes for a memory that was deleted after its EXISTS.
    fragment = {"last_accessed_at": "1750000000000", "access_count": "1"}
    await valkey_client.hset(f"{store_name}:mem:gone", mapping=fragment)

    assert [hit.item.id for hit in await ours.recall(AHEAD)] == [mine]
    assert await ours.get("gone") is None
    for options in (MemoryListOptions(), MemoryListOptions(thread_id="t")):
        listed = await ours.list(options)
        assert ([item.id for item in listed.items], listed.total) == ([mine], 1)
    assert (await ours.stats()).item_count == 1
