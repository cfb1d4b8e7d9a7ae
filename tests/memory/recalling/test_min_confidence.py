"""`min_confidence` finds what leaving out by hand what is not believed finds, of a whole scope."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from betterdb_agent_memory import KINDS, Id, InvalidInputError, MemoryHit, MemoryStore, RecallWeights
from betterdb_agent_memory.engines.base import Engine, RecordWrite
from betterdb_agent_memory.memory.dynamics_fields import MemoryDynamics
from betterdb_agent_memory.memory.record import NewMemory, encode_memory, memory_collection

NOW_MS = 1_750_000_000_000
DAY_MS = 86_400_000
SIZE = 400
DIMENSIONS = 8
WORDS = ("river", "ferry", "bridge", "harbour", "lamp")


def random_memories(seed: int) -> list[NewMemory]:
    """Memories of all kinds and ages, some of them pinned, doubted, used, or more stable than their kind."""
    chance = random.Random(seed)

    def maybe(value: float) -> float | None:
        return value if chance.random() < 0.4 else None

    memories = []
    for place in range(SIZE):
        uses = chance.choice([0, 0, 1, 3, 10])
        memories.append(
            NewMemory(
                f"m{place:03d}",
                " ".join(chance.choices(WORDS, (8, 4, 2, 1, 0.2), k=3)),
                round(chance.random(), 3),
                NOW_MS - chance.randrange(200 * DAY_MS),
                kind=chance.choice([*KINDS, None]),
                dynamics=MemoryDynamics(
                    unpinned_importance=maybe(0.5),
                    reliability=maybe(round(chance.random(), 3)),
                    stability=maybe(chance.choice([1.0, 20.0, 500.0])),
                    uses=uses,
                    successes=chance.randint(0, uses),
                ),
            )
        )
    return memories


def confidence_of(memory: NewMemory) -> float:
    """By the formulas of docs/dynamics.md, with the defaults of its tables."""
    profile = KINDS.get(memory.kind) if memory.kind else None  # type: ignore[call-overload]
    promised = profile.reliability if profile else 0.8
    stands = memory.dynamics
    reliability = promised if stands.reliability is None else stands.reliability
    prior = reliability
    if stands.unpinned_importance is not None:
        prior = max(reliability, 0.95 * min(1.0, reliability / promised))
    failures = 0.1 * (stands.uses - stands.successes)
    believed = (prior * 4 + stands.successes) / (4 + stands.successes + failures)
    stability = stands.stability or (profile.stability_days if profile else 33.0)
    days = (NOW_MS - memory.created_at_ms) / DAY_MS
    factor = 0.9 ** (-1 / 0.1542) - 1
    left = (1 + factor * days / (stability * np.log(1 / 0.9))) ** -0.1542
    return float(believed * (0.5 + 0.5 * left))


@pytest.fixture
async def store(engine: Engine, store_name: str) -> MemoryStore:
    numbers = np.random.default_rng(3)
    records = engine.records(memory_collection(store_name))
    await records.prepare(DIMENSIONS)
    await records.write_many(
        [
            RecordWrite(one.id, encode_memory(one, numbers.standard_normal(DIMENSIONS).astype("<f4").tobytes()))
            for one in random_memories(seed=1)
        ]
    )
    return MemoryStore(client=engine, name=store_name, clock=lambda: NOW_MS)


def seen(hits: list[MemoryHit]) -> list[tuple[float, str]]:
    return [(round(hit.score, 5), hit.item.id) for hit in hits]


async def test_only_what_is_believed_is_found_and_nothing_better_is_left(store: MemoryStore) -> None:
    sure = {one.id: confidence_of(one) for one in random_memories(seed=1)}
    assert sum(one >= 0.85 for one in sure.values()) in range(10, 60)
    chance = np.random.default_rng(5)
    proven = 0
    cases: list[tuple[str, str]] = [
        *(("vector", scoring) for scoring in ("composite", "activation", "chain", "retrievability")),
        *(("hybrid", scoring) for scoring in ("composite", "activation")),
    ]
    for retrieval, scoring in cases:
        vector = chance.standard_normal(DIMENSIONS).tolist()
        asked: dict[str, Any] = {
            "query": "the lamp at the harbour",
            "retrieval": retrieval,
            "scoring": scoring,
            "reinforce": False,
        }
        for k, least, threshold in ((5, 0.85, 2.0), (8, 0.5, 0.9), (8, 0.95, 2.0), (3, 0.7, 0.4)):
            asked |= {"k": k, "threshold": threshold}
            every = await store.recall_by_vector(vector, **{**asked, "k": SIZE, "exact": True})
            believed = [hit for hit in every if sure[hit.item.id] >= least]
            exact = await store.recall_by_vector(vector, min_confidence=least, exact=True, **asked)
            assert seen(exact) == seen(believed)[:k], (retrieval, scoring, k, least)
            assert all(hit.explain is not None and hit.explain.exact for hit in exact)
            default = await store.recall_by_vector(vector, min_confidence=least, **asked)
            # Memories that nobody believes take no places.
            assert len(default) == len(exact), (retrieval, scoring, k, least)
            assert all(hit.standing.confidence >= least for hit in default)
            if default and default[0].explain is not None and default[0].explain.exact:
                proven += 1
                assert seen(default) == seen(exact)
    assert proven >= 4


async def test_what_is_added_by_links_is_believed_as_far(store: MemoryStore) -> None:
    sure = {one.id: confidence_of(one) for one in random_memories(seed=1)}
    asked: dict[str, Any] = {"threshold": 2.0, "weights": RecallWeights(1, 0, 0), "reinforce": False}
    near = [hit.item.id for hit in await store.recall_by_vector([1.0] * DIMENSIONS, k=50, **asked)]
    first = next(id for id in near if sure[id] >= 0.8)
    far = [id for id in sure if id not in near]
    firm, vague = max(far, key=sure.__getitem__), min(far, key=sure.__getitem__)
    for other in (firm, vague):
        await store.link(first, other)
    asked |= {"k": 1, "expand": True, "where": Id(first, firm, vague)}
    for least, linked in ((None, {firm, vague}), (0.8, {firm})):
        hits = await store.recall_by_vector([1.0] * DIMENSIONS, min_confidence=least, **asked)
        assert hits[0].item.id == first
        assert {hit.item.id for hit in hits[1:]} == linked


@pytest.mark.parametrize("wrong", [-0.1, 1.1, "0.5", True, float("nan")])
async def test_no_confidence_is_refused_before_the_embedder_is_called(engine: Engine, wrong: Any) -> None:
    async def embed(text: str) -> list[float]:
        raise AssertionError(text)

    store = MemoryStore(client=engine, name="refusing", embed_fn=embed)
    with pytest.raises(InvalidInputError, match="min_confidence is a number from 0 to 1"):
        await store.recall("river", min_confidence=wrong)
