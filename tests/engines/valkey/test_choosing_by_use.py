"""What a server makes of uses and of links while it searches is what is made of them here."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import valkey.asyncio

from betterdb_agent_memory import ActivationParameters, MemoryHit, MemoryStore
from betterdb_agent_memory.engines.base import LinkedRecords, RecordWrite
from betterdb_agent_memory.engines.links import LinkChange, Strength, score_of
from betterdb_agent_memory.engines.valkey import ValkeyEngine, choosing
from betterdb_agent_memory.memory.kinds import KINDS
from betterdb_agent_memory.memory.recalling.explaining import Component
from betterdb_agent_memory.memory.record import memory_collection
from betterdb_agent_memory.memory.scoring import activation
from betterdb_agent_memory.memory.scoring.activation import Activation
from betterdb_agent_memory.memory.scoring.base import Candidates, Scored, Term, summed
from betterdb_agent_memory.memory.scoring.choice import ScoringChoice
from tests.embedding import embed
from tests.engines.valkey.samples import record_of, vector

NOW_MS = 1_790_000_000_000
MEMORIES = 160
MODELS: tuple[ScoringChoice, ...] = (
    "composite",
    "activation",
    Activation(ActivationParameters(decay=0.35, recall_share=0.3, doubt_weight=9.0)),
)


def lived(dice: random.Random, n: int) -> RecordWrite:
    """A memory with any of the marks that a life leaves, and some that it does not."""
    created_ms = NOW_MS - dice.choice([0, 1, 1_000, dice.randrange(10**10), -5_000])
    # Also before it was written: by a client whose clock is behind that of who wrote it.
    accessed_ms = NOW_MS - dice.choice([0, 10, dice.randrange(10**9), dice.randrange(10**10)])
    accessed_ms = dice.choice([accessed_ms, max(created_ms, accessed_ms)])
    fields: dict[str, str | bytes] = {
        "importance": dice.choice(["0", "1", "0.5", "0.3333333333333333", str(dice.random())]),
        "created_at": str(created_ms),
        "last_accessed_at": str(accessed_ms),
        "access_count": str(dice.choice([0, 1, 5, 40])),
        "vector": vector(*(dice.choice([1.0, -1.0, 0.5]) for _ in range(4)), 0, 0, 0, 0),
    }
    if dice.random() < 0.8:
        fields["threadId"] = dice.choice(["alice", "alice", "alice", "bob"])
    if dice.random() < 0.5:
        times = sorted(NOW_MS - dice.randrange(10**9) for _ in range(dice.randrange(1, 5)))
        fields["recent"] = ",".join(map(str, times))
    if dice.random() < 0.3:
        fields |= {"uses": "3", "successes": dice.choice(["0.25", "2.5", "-1"])}
    if dice.random() < 0.3:
        fields |= {"reliability": dice.choice(["0.1", "0.79", "1.5"]), "kind": dice.choice([*KINDS, "unheard of"])}
    return record_of(f"m{n}", fields)


@pytest.fixture
async def store(engine: ValkeyEngine, store_name: str) -> AsyncIterator[MemoryStore]:
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, clock=lambda: NOW_MS, default_threshold=1.2)
    await store.ensure_index()
    yield store
    await store.close()


async def recalled(store: MemoryStore, seed: int, model: ScoringChoice, *, expand: bool) -> list[MemoryHit]:
    dice = random.Random(seed)
    question = [dice.choice([1.0, -0.5, 0.2]) for _ in range(4)]
    thread = "alice" if dice.random() < 0.5 else None
    return await store.recall_by_vector(
        [*question, 0, 0, 0, 0],
        k=dice.choice([1, 2, 4, 8]),
        scoring=model,
        expand=expand,
        reinforce=False,
        thread_id=thread,
    )


def told(hits: list[MemoryHit]) -> tuple[list[object], list[float]]:
    """What a caller sees: what must be the same, and numbers that may differ by rounding."""
    links = [hit.explain.link if hit.explain else None for hit in hits]
    numbers = [number for hit in hits for number in (hit.distance, hit.score)]
    numbers += [part.value for hit in hits if hit.explain for part in hit.explain.components]
    numbers += [number for by in links if by for number in (by.weight, by.activation)]
    numbers += [hit.item.importance for hit in hits]  # to twelve digits, where a search told it
    return [
        (replace(hit.item, importance=0.0), by and (by.start, by.via)) for hit, by in zip(hits, links, strict=True)
    ], numbers


@pytest.mark.parametrize("links_each", [1, 4])
async def test_recalls_are_those_without_it(
    store: MemoryStore,
    engine: ValkeyEngine,
    valkey_client: valkey.asyncio.Valkey,
    links_each: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice = random.Random(links_each)
    records = engine.records(memory_collection(store.name))
    await records.write_many([lived(dice, n) for n in range(MEMORIES)])
    links = engine.links(LinkedRecords.of(memory_collection(store.name)))
    pairs = {tuple(sorted(dice.sample(range(MEMORIES), 2))) for _ in range(links_each * MEMORIES)}
    weights = (0.01, 0.29, 0.31, 1.0, 1.0, 7.5, 1e6)
    changes = [
        LinkChange(f"m{one}", f"m{other}", Strength(score_of(dice.choice(weights), NOW_MS), NOW_MS))
        for one, other in sorted(pairs)
    ]
    assert all(await links.put(changes, now_ms=NOW_MS))
    # Gone without their links, and fragments of what is gone.
    prefix = memory_collection(store.name).key_prefix
    await valkey_client.delete(*(f"{prefix}m{n}" for n in range(0, MEMORIES, 20)))
    for n in range(1, MEMORIES, 40):
        await valkey_client.execute_command("HDEL", f"{prefix}m{n}", "content", "vector")

    asked = [(n, model, n % 4 > 0) for n in range(20) for model in MODELS]
    with monkeypatch.context() as patched:
        # Removes links to what is gone, by which others count for more; a server looks only where it has to.
        patched.setattr(choosing, "MOST_FOUND", 0)
        for n, model, expand in asked:
            await recalled(store, n, model, expand=expand)
    before = engine.round_trips
    with monkeypatch.context() as patched:
        # What uses come to is said by the server, and not computed again.
        patched.delattr(activation, "level_of_uses")
        by_server = [await recalled(store, n, model, expand=expand) for n, model, expand in asked]
    assert engine.round_trips - before == len(asked)
    added = [hit.explain.link for hits in by_server for hit in hits if hit.explain and hit.explain.link]
    assert len(added) > 100
    # Over one link alone, and over two where that leads to too few.
    assert sum(by.via is None for by in added) > 50
    assert sum(by.via is not None for by in added) > 10
    monkeypatch.setattr(choosing, "MOST_FOUND", 0)
    here = [await recalled(store, n, model, expand=expand) for n, model, expand in asked]
    assert engine.round_trips - before > 3 * len(asked)  # links and what they lead to, but for a quarter of them
    for one, other in zip(by_server, here, strict=True):
        assert told(one)[0] == told(other)[0]
        assert told(one)[1] == pytest.approx(told(other)[1], rel=1e-9, abs=1e-9)


async def test_where_a_hit_is_about_an_entity_links_are_followed_as_ever(
    store: MemoryStore, engine: ValkeyEngine
) -> None:
    for id, entities in (("start", ["Ada"]), ("same", ["Ada"]), ("linked", []), ("plain", [])):
        first = 1.0 if id == "start" else 0.5 if id == "plain" else -1.0
        await store.remember(f"v({first},1,0,0,0,0,0,0)", id=id, entities=entities)
    await store.link("start", "linked")
    found = await store.recall_by_vector([1.0, 0.2, *6 * [0]], k=1, threshold=0.4, expand=True, reinforce=False)
    assert [hit.item.id for hit in found] == ["start", "linked", "same"]


async def test_a_number_of_uses_that_is_spelt_oddly_is_left_to_the_reader(
    store: MemoryStore, engine: ValkeyEngine
) -> None:
    writes = [record_of(f"m{n}", {"vector": vector(1, n / 10, *6 * [0.0])}) for n in range(12)]
    odd = {"access_count": b"0x10", "recent": b"1,,2", "successes": b"two", "reliability": b"half"}
    for (name, value), write in zip(odd.items(), writes, strict=False):
        records = engine.records(memory_collection(store.name))
        await records.write_many([*writes, record_of(write.id, {**write.fields, name: value})])
        hits = await store.recall_by_vector(np.eye(8)[0], k=3, threshold=2, scoring="activation", reinforce=False)
        assert len(hits) == 3


DAMAGED = [
    ("successes", b"1e300"),
    ("successes", b"1e999"),
    ("access_count", b"1e999"),
    ("last_accessed_at", b"1e999"),
    ("recent", b"99999999999999999999"),
    ("reliability", b"-1e999"),
]


@pytest.mark.parametrize(("name", "value"), DAMAGED)
async def test_a_damaged_number_counts_for_what_the_reader_takes_it_for(
    store: MemoryStore, engine: ValkeyEngine, monkeypatch: pytest.MonkeyPatch, name: str, value: bytes
) -> None:
    writes = [record_of(f"m{n}", {"vector": vector(1, n / 10, *6 * [0.0])}) for n in range(8)]
    damaged = [record_of(id, {**writes[0].fields, name: value}) for id in ("m0", "linked")]
    damaged[1] = record_of("linked", {**damaged[1].fields, "vector": vector(-1, *7 * [0.0])})
    await engine.records(memory_collection(store.name)).write_many([*writes[1:], *damaged])
    await store.link("m1", "linked")

    async def hits() -> list[MemoryHit]:
        return await store.recall_by_vector(
            np.eye(8)[0], k=3, threshold=1.0, scoring="activation", expand=True, reinforce=False
        )

    by_server = await hits()
    monkeypatch.setattr(choosing, "MOST_FOUND", 0)
    here = await hits()
    assert [hit.item.id for hit in by_server] == [hit.item.id for hit in here]
    assert "linked" in {hit.item.id for hit in here}
    for one, other in zip(by_server, here, strict=True):
        values = [part.value for part in terms_of(other)]
        assert [part.value for part in terms_of(one)] == pytest.approx(values, rel=1e-9, abs=1e-9)


@dataclass(frozen=True)
class Counting(Activation):
    """A model of somebody's own that goes by nothing but counts."""

    def score(self, candidates: Candidates, now_ms: int) -> Scored:
        return summed(Term("count", candidates.access_count, 1.0))


async def test_a_model_that_is_made_of_activation_gets_its_numbers(store: MemoryStore, engine: ValkeyEngine) -> None:
    writes = [record_of(f"m{n}", {"vector": vector(1, n / 10, *6 * [0.0]), "access_count": str(n)}) for n in range(12)]
    await engine.records(memory_collection(store.name)).write_many(writes)
    hits = await store.recall_by_vector(np.eye(8)[0], k=3, threshold=2, scoring=Counting(), reinforce=False)
    assert [(hit.item.id, hit.score) for hit in hits] == [("m11", 11), ("m10", 10), ("m9", 9)]


async def test_what_a_link_leads_to_is_scored_here_where_its_numbers_are_spelt_oddly(
    store: MemoryStore, engine: ValkeyEngine
) -> None:
    writes = [record_of(f"m{n}", {"vector": vector(1, n / 10, *6 * [0.0])}) for n in range(8)]
    odd = record_of("odd", {"vector": vector(-1, *7 * [0.0]), "access_count": b"7", "successes": b" 2"})
    await engine.records(memory_collection(store.name)).write_many([*writes, odd])
    await store.link("m0", "odd")
    asked: dict[str, Any] = {"k": 2, "threshold": 1.0, "scoring": "activation", "expand": True, "reinforce": False}
    await store.recall_by_vector(np.eye(8)[0], **asked)  # the server learns the script
    before = engine.round_trips
    *_, added = await store.recall_by_vector(np.eye(8)[0], **asked)
    assert engine.round_trips == before + 1
    plain = record_of("odd", {**odd.fields, "successes": b"2"})
    await engine.records(memory_collection(store.name)).write_many([plain])
    *_, as_usual = await store.recall_by_vector(np.eye(8)[0], **asked)
    assert added.item.id == as_usual.item.id == "odd"
    assert [part.name for part in terms_of(added)] == [part.name for part in terms_of(as_usual)]
    assert [part.value for part in terms_of(added)] == pytest.approx([part.value for part in terms_of(as_usual)])


def terms_of(hit: MemoryHit) -> tuple[Component, ...]:
    assert hit.explain is not None
    return hit.explain.terms
