"""The change of the embedding model as work that is stopped half-way; for benchmarks/paused_worker.py."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import numpy as np

from betterdb_agent_memory import ConfigurationError, LeaseHeldError, MemoryListOptions, MemoryStore
from betterdb_agent_memory.engines.base import Engine, Row
from betterdb_agent_memory.memory.generations import layout, migration, state
from betterdb_agent_memory.memory.generations.generation import generation_collection
from tests.memory.generations.words import following, former

MEMORIES = 50
_BATCH = 10
_STEPS = {
    "none": "start",
    "filling": "run",
    "ready": "switch",
    "switched": "finish",
    "finishing": "finish",
    "closing": "finish",
}

IN_SHORT = (
    *((module, name, 0.1) for module in (state, layout, migration) for name in ("STATE_SECONDS",)),
    *((module, name, 0.1) for module in (state, layout, migration) for name in ("QUIET_SECONDS",)),
    (migration, "_GRACE_SECONDS", 0.2),
    (migration, "_FIRST_GRACE_SECONDS", 0.2),
)
"""How long the state is believed in these rounds, and everybody is waited for: modules, names and seconds."""


def store_on(engine: Engine, name: str) -> MemoryStore:
    """A worker with both models."""
    return MemoryStore(client=engine, name=name, embed_fn=former(), next_embed_fn=following(), default_threshold=2.0)


async def fill(engine: Engine, name: str, chance: random.Random) -> dict[str, str]:
    """The memories whose model is changed: contents by id."""
    contents = {f"old-{number}": f"text {number} {chance.random()}" for number in range(MEMORIES)}
    store = store_on(engine, name)
    await store.remember_many([{"content": content, "id": id} for id, content in contents.items()])
    await store.close()
    return contents


async def change_model(store: MemoryStore, begun: Callable[[], None] = lambda: None) -> str:
    """All steps that are left, from wherever another worker has brought it to."""
    begun()
    while True:
        try:
            status = await store.migration.status()
            if status.phase == "none" and status.embedder == following().name:
                await store.migration.finish()  # deletes what somebody left who stood still at the very end
                return f"generation {status.generation}"
            step = getattr(store.migration, _STEPS[status.phase])
            await (step(batch_size=_BATCH) if step.__name__ in ("run", "finish") else step())
        except LeaseHeldError:
            await asyncio.sleep(0.1)
        except ConfigurationError:
            # Another worker has taken the step between our look and ours.
            await asyncio.sleep(0.01)


async def write_meanwhile(store: MemoryStore, contents: dict[str, str]) -> None:
    """What comes, changes and goes while the stopped one stands still."""
    for number in range(3):
        contents[f"new-{number}"] = f"written while it stood still {number}"
        await store.remember(contents[f"new-{number}"], id=f"new-{number}")
        contents[f"old-{number}"] += " and changed"
        await store.update(f"old-{number}", content=contents[f"old-{number}"])
        del contents[f"old-{MEMORIES - 1 - number}"]
        await store.forget(f"old-{MEMORIES - 1 - number}")


async def problem(engine: Engine, name: str, contents: dict[str, str]) -> str | None:
    """What was lost or written twice, if anything."""
    model = following()
    store = MemoryStore(client=engine, name=name, embed_fn=model, default_threshold=2.0)
    listed = await store.list(MemoryListOptions(limit=1000))
    found = {item.id: item.content for item in listed.items}
    status = await store.migration.status()
    index = await store._records.inspect()
    vectors = {
        row.id: np.frombuffer(row.fields["vector"], "<f4")
        async for rows in store._records.scan(("content", "vector"))
        for row in rows
    }
    left = [row.id async for rows in _left_of(engine, name, status.generation) for row in rows]
    await store.close()
    if found != contents or listed.total != len(contents):
        return f"{listed.total} memories instead of {len(contents)}: {set(found.items()) ^ set(contents.items())}"
    if (status.phase, status.embedder, index.dimensions) != ("none", model.name, model.dimensions):
        return f"it has not come to its end: {status}, {index}"
    for id, content in contents.items():
        wanted = model.vector(content)
        if vectors[id].shape != wanted.shape or not np.allclose(
            vectors[id] / np.linalg.norm(vectors[id]), wanted / np.linalg.norm(wanted), atol=1e-5
        ):
            return f"{id} has a vector of something else than its content"
    return f"{len(left)} vectors were left in the generation: {left[:5]}" if left else None


def _left_of(engine: Engine, name: str, number: int) -> AsyncIterator[tuple[Row, ...]]:
    return engine.records(generation_collection(name, number)).scan(("vector",))
