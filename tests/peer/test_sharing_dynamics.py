"""Memories with every field of dynamics, in the hands of the published 0.7.0, which knows none of them.

It runs in a process of its own (tests/peer/worker.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from betterdb_agent_memory import Dynamics, MemoryStore
from betterdb_agent_memory.memory.dynamics_fields import DYNAMICS_FIELDS, SUPERSEDED_BY
from tests.embedding import AHEAD, at_angle, embed
from tests.peer.published import Published

RECALLED = {b"access_count", b"last_accessed_at"}
"""What a recall of either changes."""


async def rich(ours: MemoryStore, valkey_client: Any) -> str:
    """The id of a memory to which everything has happened, linked to the memory `friend`."""
    keeping = MemoryStore(client=valkey_client, name=ours.name, embed_fn=embed, recent_accesses=True)
    wrong = await ours.remember(
        f"{AHEAD} wrong", thread_id="t", kind="rule", entities=["Ada"], valid_until="2099-01-01"
    )
    memory = await ours.correct(wrong, f"{AHEAD} right", valid_from="2024-01-01")
    await ours.remember(at_angle(0.9, "friend"), id="friend", thread_id="t")
    await ours.link(memory.id, "friend", 2.0)
    await ours.contradict(memory.id, await ours.remember("another view", id="view"))
    await Dynamics(ours).outcome([memory.id], 1.0)
    await keeping.recall(AHEAD, threshold=0.01, thread_id="t")
    await keeping.close()
    await ours.pin(memory.id)
    return memory.id


async def test_what_they_recall_stays_whole_and_their_use_counts(
    theirs: Published, ours: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    id = await rich(ours, valkey_client)
    key = f"{store_name}:mem:{id}"
    before, [stood] = await valkey_client.hgetall(key), await Dynamics(ours).standing([id])
    # All that there is, but what only memories have that have left.
    unknown = {name.encode() for name in DYNAMICS_FIELDS} - before.keys()
    assert unknown <= {SUPERSEDED_BY.encode(), b"valid_until", b"archived_at"}

    hits = await theirs.call("recall", store_name, query=AHEAD, thread_id="t")
    assert {hit["item"]["id"] for hit in hits} == {id, "friend"}, "they find no superseded version"
    after = await valkey_client.hgetall(key)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} <= RECALLED
    assert int(after[b"access_count"]) == int(before[b"access_count"]) + 1

    item, [stands] = await ours.get(id), await Dynamics(ours).standing([id])
    assert item is not None
    assert item.dynamics.uses == item.dynamics.successes == 1
    assert (stands.label, stands.pinned, stands.kind, stands.reliability) == (
        stood.label,
        True,
        "rule",
        stood.reliability,
    )
    assert item.access_count == 2, "a recall of theirs is one"
    assert [link.id for link in await ours.links(id)] == ["friend"]
    assert [version.item.content for version in await ours.history(id)] == [f"{AHEAD} wrong", f"{AHEAD} right"]
    found = await ours.recall(AHEAD, thread_id="t", threshold=0.01, expand=True, scoring="chain")
    assert [hit.item.id for hit in found] == [id, "friend"]
    assert await ours.unpin(id)


async def test_what_they_forget_leaves_nothing_that_brings_it_back(
    theirs: Published, ours: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    id = await rich(ours, valkey_client)
    assert await theirs.call("forget", store_name, id=id) is True
    dynamics = Dynamics(ours)
    assert (await dynamics.outcome([id], 1.0)).missing == (id,)
    assert await dynamics.standing([id]) == []
    assert await ours.links("friend") == []
    for how in ({}, {"scoring": "activation"}, {"expand": True}):
        assert [hit.item.id for hit in await ours.recall(AHEAD, thread_id="t", **how)] == ["friend"]
    assert (await dynamics.maintain()).looked_at == (await dynamics.stats()).all.memories == 2
    assert not await valkey_client.exists(f"{store_name}:mem:{id}")


async def test_their_summary_takes_what_it_condenses_and_ours_goes_on(
    theirs: Published, ours: MemoryStore, store_name: str, valkey_client: Any
) -> None:
    id = await rich(ours, valkey_client)
    done = await theirs.call("consolidate", store_name, mode="summary", thread_id="t")
    assert (done["consolidated"], done["deleted"]) == (2, 2)
    [hit] = await ours.recall(AHEAD, thread_id="t", expand=True, threshold=2)
    assert hit.item.content == f"{at_angle(0.9, 'friend')} and {AHEAD} right", "nothing superseded is in a summary"
    assert await ours.get_many([id, "friend"]) == [None, None]
    dynamics = Dynamics(ours)
    learnt = await dynamics.outcome([hit, id], 1.0)
    assert ([lesson.id for lesson in learnt.lessons], learnt.missing) == ([hit.item.id], (id,))
    [stands] = await dynamics.standing([hit.item.id])
    assert stands.strength == pytest.approx(learnt.lessons[0].strength_after, rel=1e-6)
