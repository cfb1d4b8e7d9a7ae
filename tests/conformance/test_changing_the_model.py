"""Moving a store to another embedding model while everybody goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from betterdb_agent_memory import (
    ConfigurationError,
    EmbeddingError,
    IndexMismatchError,
    LeaseHeldError,
    MemoryStore,
    Progress,
)
from betterdb_agent_memory.memory.generations import migration as migration_module
from tests.conformance.conftest import CLUSTER, FILE, MEMORY, SINGLE, URL, MakeStore

# What differs between clients is below the verbs used here, and a change of models takes its time.
pytestmark = pytest.mark.parametrize(
    "configuration", [FILE, MEMORY, URL, SINGLE, "redis-resp3-decoded", CLUSTER], indirect=True
)


class WordEmbedder:
    """Words hashed into a vector; another `seed` or length is another model."""

    default_threshold = 2.0

    def __init__(self, name: str, dimensions: int, seed: int, refuses: str | None = None) -> None:
        self.name = name
        self.dimensions = dimensions
        self.texts = 0
        self.refuses = refuses
        self._seed = seed

    def _vector(self, text: str) -> np.ndarray:
        vector = np.zeros(self.dimensions)
        for word in text.lower().split():
            numbers = np.random.default_rng([self._seed, *word.encode()])
            vector += numbers.standard_normal(self.dimensions)
        return vector

    async def embed_query(self, text: str) -> np.ndarray:
        return self._vector(text)

    async def embed_documents(self, texts: Sequence[str]) -> list[np.ndarray]:
        if self.refuses in texts:
            raise ValueError("cannot embed this")
        self.texts += len(texts)
        return [self._vector(text) for text in texts]


def old() -> WordEmbedder:
    return WordEmbedder("old-model", 16, 1)


@pytest.fixture(params=[24, 16], ids=["another length", "the same length"])
def new(request: pytest.FixtureRequest) -> WordEmbedder:
    return WordEmbedder("new-model", request.param, 2)


async def _found(store: MemoryStore, text: str) -> bool:
    hits = await store.recall(text, k=1, reinforce=False)
    return bool(hits) and hits[0].item.content == text and hits[0].similarity < 1e-5


async def test_the_whole_way(make_store: MakeStore, new: WordEmbedder) -> None:
    before = make_store(embed_fn=old())
    texts = [f"memory number {number} about topic{number}" for number in range(60)]
    await before.remember_many(texts, thread_id="t")
    store = make_store(embed_fn=old(), next_embed_fn=new)
    started = await store.migration.start()
    assert (started.phase, started.embedder, started.next_embedder) == ("filling", "old-model", "new-model")
    await store.remember("written while it is filled")
    await before.remember("written by a worker with the old model")
    told: list[Progress] = []
    filled = await store.migration.run(on_progress=told.append, batch_size=20)
    assert (filled.phase, filled.memories, filled.embedded) == ("ready", 62, 62)
    assert any(progress.stage == "embedding" for progress in told)
    assert await _found(store, texts[3])

    switched = await store.migration.switch()
    assert switched.phase == "switched"
    other_worker = make_store(embed_fn=old(), next_embed_fn=new)
    for worker in (store, other_worker):
        assert await _found(worker, texts[3])
        assert await _found(worker, "written by a worker with the old model")
    id = await store.remember("written after the switch", tags=["late"])
    assert await _found(other_worker, "written after the switch")
    await other_worker.update(id, content="changed after the switch")
    assert await _found(store, "changed after the switch")
    assert [hit.item.id for hit in await store.recall("changed", tags=["late"])] == [id]
    assert await _found(before, texts[3])
    await store.forget(id)
    assert not await _found(store, "changed after the switch")

    finished = await store.migration.finish(batch_size=20)
    assert (finished.phase, finished.embedder) == ("none", "new-model")
    after = make_store(embed_fn=new)
    for worker in (store, after):
        assert all([await _found(worker, text) for text in texts[:5]])
        assert (await worker.list()).total == 62
    with pytest.raises(IndexMismatchError, match="new-model|24"):
        await make_store(embed_fn=old()).recall("memory")
    await after.remember("afterwards")
    assert await _found(store, "afterwards")


async def test_recall_meets_the_scope_in_every_phase(make_store: MakeStore, new: WordEmbedder) -> None:
    store = make_store(embed_fn=old(), next_embed_fn=new)
    for thread in ("a", "A", "b"):
        await store.remember_many([f"text {number}" for number in range(10)], thread_id=thread)
    rule = await store.remember("text of a rule", kind="rule", entities=["Smith, John"])
    migration = store.migration
    await migration.start()
    await migration.run()
    await store.pin(rule)
    for step in (migration.switch, migration.finish):
        await step()
        [hit] = await store.recall("text", k=50, kind="rule", where={"entities": "Smith, John"})
        assert (hit.item.id, hit.item.kind, hit.item.entities, hit.item.pinned) == (rule, "rule", ["Smith, John"], True)
        assert await store.recall("text", where={"entities": "Smith"}) == []
        hits = await store.recall("text 1", k=50, thread_id="a")
        assert {hit.item.thread_id for hit in hits} == {"a"}
        assert len(hits) == 10
        assert (await store.list()).total == 31


async def test_roll_back_and_abandon(make_store: MakeStore, new: WordEmbedder) -> None:
    store = make_store(embed_fn=old(), next_embed_fn=new)
    await store.remember("one thing")
    migration = store.migration
    await migration.start()
    await migration.run()
    await migration.switch()
    texts = new.texts
    assert (await migration.roll_back()).phase == "ready"
    await store.remember("another thing")
    assert await _found(make_store(embed_fn=old()), "another thing")
    assert new.texts == texts + 1
    assert (await migration.switch()).phase == "switched"
    assert await _found(store, "another thing")
    await migration.roll_back()
    assert (await migration.abandon()).phase == "none"
    assert await _found(store, "another thing")
    assert (await migration.start()).generation == 2


async def test_filling_again_embeds_nothing_twice(make_store: MakeStore, new: WordEmbedder) -> None:
    store = make_store(embed_fn=old(), next_embed_fn=new)
    ids = [result.id or "" for result in await store.remember_many([f"text {n}" for n in range(30)])]
    await store.migration.start()
    await store.migration.run(batch_size=10)
    assert new.texts == 30
    worker = make_store(embed_fn=old())
    await worker.update(ids[0], content="changed by an old worker")
    await worker.forget(ids[1])
    await worker.update(ids[2], tags=["tagged"])
    await worker.remember("new from an old worker")
    status = await store.migration.run()
    assert (status.memories, status.embedded) == (30, 30)
    assert new.texts == 32
    await store.migration.switch()
    assert await _found(store, "changed by an old worker")
    assert [hit.item.id for hit in await store.recall("text", tags=["tagged"])] == [ids[2]]


async def test_a_memory_that_cannot_be_embedded_stops_nothing_but_the_switch(make_store: MakeStore) -> None:
    new = WordEmbedder("new-model", 24, 2, refuses="poison")
    store = make_store(embed_fn=old(), next_embed_fn=new)
    await store.remember_many(["fine", "poison", "also fine"])
    await store.migration.start()
    with pytest.raises(EmbeddingError, match="1 memories could not"):
        await store.migration.run()
    status = await store.migration.status()
    assert (status.phase, status.embedded) == ("filling", 2)
    with pytest.raises(ConfigurationError, match=r"run\(\) comes first"):
        await store.migration.switch()
    new.refuses = None
    assert (await store.migration.run()).phase == "ready"


async def test_memories_keep_their_expiry(make_store: MakeStore, new: WordEmbedder) -> None:
    store = make_store(embed_fn=old(), next_embed_fn=new)
    await store.remember("short lived", ttl=2)
    await store.remember("for ever")
    await store.migration.start()
    await store.migration.run()
    await store.migration.switch()
    await asyncio.sleep(2.3)
    assert [hit.item.content for hit in await store.recall("short lived")] == ["for ever"]
    assert (await store.migration.run()).embedded == 1


async def test_only_one_worker_fills(make_store: MakeStore, new: WordEmbedder) -> None:
    store, other = (make_store(embed_fn=old(), next_embed_fn=new) for _ in range(2))
    await store.remember_many([f"text {n}" for n in range(200)])
    await store.migration.start()
    outcomes = await asyncio.gather(
        store.migration.run(batch_size=5), other.migration.run(batch_size=5), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["LeaseHeldError", "MigrationStatus"]
    assert isinstance(next(o for o in outcomes if isinstance(o, BaseException)), LeaseHeldError)


async def test_what_is_said_to_the_wrong_order(make_store: MakeStore, new: WordEmbedder) -> None:
    with pytest.raises(ConfigurationError, match="both embedders"):
        await make_store(embed_fn=old()).migration.start()
    with pytest.raises(ConfigurationError, match="another name"):
        await make_store(embed_fn=old(), next_embed_fn=old()).migration.start()
    store = make_store(embed_fn=old(), next_embed_fn=new)
    with pytest.raises(ConfigurationError, match=r"start\(\) begins"):
        await store.migration.run()
    await store.migration.start()
    with pytest.raises(ConfigurationError, match=r"run\(\) comes first"):
        await store.migration.finish()
    third = make_store(embed_fn=old(), next_embed_fn=WordEmbedder("third", 8, 3))
    with pytest.raises(ConfigurationError, match="being moved to new-model"):
        await third.migration.run()


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process: nobody else has to hear of a phase before it is relied on."""
    monkeypatch.setattr(migration_module, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(migration_module, "_FIRST_GRACE_SECONDS", 0.0)
