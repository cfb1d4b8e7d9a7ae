"""A process that changes the model is killed, and another one goes on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from betterdb_agent_memory import MemoryListOptions, MemoryStore
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.memory.generations.generation import generation_collection
from tests.memory.generations.conftest import Workers
from tests.memory.generations.words import NAME, following
from tests.servers import ValkeyServer

WORDS = Path(__file__).with_name("words.py")
MEMORIES = 120


def step(url: str, name: str, dimensions: int, *, kill_at: tuple[str, int] | None = None) -> bool:
    """Take a step in a process of its own; true when it was killed once it told of `kill_at`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.memory.generations.words", url, name, str(dimensions)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=WORDS.parents[3],
    )
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            stage, _, done = line.strip().rpartition(" ")
            if kill_at is not None and stage == kill_at[0] and int(done) >= kill_at[1]:
                process.kill()
                process.wait()
                return True
        assert process.wait() == 0, process.stderr.read() if process.stderr else ""
    return False


@pytest.mark.parametrize("dimensions", [24, 16], ids=["another length", "the same length"])
async def test_run_and_finish_killed_twice_each(
    url: str, engine: Engine, worker: Workers, dimensions: int, request: pytest.FixtureRequest
) -> None:
    model = following(dimensions)
    store = worker(next_embed_fn=model)
    texts = [f"text number {number} about topic{number}" for number in range(MEMORIES)]
    await store.remember_many(texts, thread_id="t")
    await store.remember("short lived", ttl=3600)
    await store.migration.start()
    for kill_at in (("embedding", 30), ("embedding", 80)):
        assert await asyncio.to_thread(step, url, "run", dimensions, kill_at=kill_at)
        assert await _found(store, texts[7])
    filled = (await store.migration.status()).embedded
    assert 0 < filled < MEMORIES
    assert not await asyncio.to_thread(step, url, "run", dimensions)
    await store.migration.switch()
    for kill_at in (("replacing vectors", 20), ("replacing vectors", 70)):
        assert await asyncio.to_thread(step, url, "finish", dimensions, kill_at=kill_at)
        assert await _found(store, texts[7])
        assert (await store.list(MemoryListOptions(thread_id="t"))).total == MEMORIES
        assert len([item async for item in store.iterate(thread_id="t")]) == MEMORIES
        await store.remember(f"written after {kill_at[1]}")
    assert not await asyncio.to_thread(step, url, "finish", dimensions)

    after = worker(embed_fn=model)
    for reader in (store, after):
        assert all([await _found(reader, text) for text in (texts[0], texts[110], "written after 20")])
    await _assert_exact(after, engine, model.vector, MEMORIES + 3, dimensions)
    if "valkey" in request.node.callspec.id:
        assert _keys(request.getfixturevalue("valkey_server")) == {
            f"{NAME}:__mem_generation",
            f"{NAME}:__mem_generation_lease",
            f"{NAME}:__mem_generation_turn",
        }


async def test_what_a_killed_end_left_behind_is_removed(engine: Engine, worker: Workers) -> None:
    store = worker(next_embed_fn=following())
    await store.remember("something")
    for ending in ("finish", "abandon"):
        if ending == "finish":
            await store.migration.start()
            await store.migration.run()
            await store.migration.switch()
            await store.migration.finish()
        else:
            store = worker(embed_fn=following(), next_embed_fn=following(8).__class__("third", 8, 3))
            await store.migration.start()
            await store.migration.run()
            await store.migration.abandon()
        number = (await store.migration.status()).generation
        # As if it had been killed between its last words and deleting the generation.
        leftover = engine.records(generation_collection(NAME, number))
        await leftover.prepare(24)
        assert (await leftover.inspect()).dimensions == 24
        await getattr(store.migration, ending)()
        assert (await leftover.inspect()).dimensions is None


async def _found(store: MemoryStore, text: str) -> bool:
    hits = await store.recall(text, k=1, reinforce=False)
    return bool(hits) and hits[0].item.content == text and hits[0].similarity < 1e-5


async def _assert_exact(store: MemoryStore, engine: Engine, vector_of: object, count: int, dimensions: int) -> None:
    """Every memory has the new model's vector, in an index that is complete; nothing of the generation is left."""
    records = store._records
    seen = 0
    async for rows in records.scan(("content", "vector")):
        for row in rows:
            expected = np.asarray(vector_of(row.fields["content"].decode()), "<f4")  # type: ignore[operator]
            assert row.fields["vector"] == expected.tobytes()
            seen += 1
    state = await records.inspect()
    assert (seen, state.dimensions, state.failures, state.indexing) == (count, dimensions, 0, False)
    assert await records.count(Filter()) == count
    [expiry] = await records.read_expiries([item.id async for item in store.iterate() if item.content == "short lived"])
    assert expiry is not None
    generation = engine.records(generation_collection(NAME, 1))
    assert (await generation.inspect()).dimensions is None
    assert [rows async for rows in generation.scan(("vector",))] == []


def _keys(server: ValkeyServer) -> set[str]:
    with server.blocking_client() as client:
        return {key.decode() for key in client.keys("*") if not key.startswith(f"{NAME}:mem:".encode())}
