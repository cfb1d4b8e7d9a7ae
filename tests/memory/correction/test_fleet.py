"""Several workers correct, supersede and change the same memories at once: nothing is lost, nothing is there twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from betterdb_agent_memory import MemoryNotFoundError, MemoryStore, SupersededError, VersionConflictError
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.memory.correction.shelf import shelf_collection
from tests.embedding import embed
from tests.memory.correction.test_in_steps import _ApartClient
from tests.servers import ValkeyServer

WORKERS, STEPS, MEMORIES = 4, 25, 3


@pytest.fixture(params=["file", "server", "apart"])
async def engines(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Engine]]:
    """An engine for each worker, all on one place."""
    made: list[Engine] = []
    server: ValkeyServer | None = None
    if request.param != "file":
        server = request.getfixturevalue("valkey_server")
    for _ in range(WORKERS):
        if server is None:
            made.append(EmbeddedEngine(tmp_path / "memories.db"))
            continue
        client = server.client()
        remote = ValkeyEngine(client, owns_client=True)
        if request.param == "apart":
            remote._client = _ApartClient(client)
        made.append(remote)
    yield made
    for engine in made:
        await engine.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_and_nothing_is_there_twice(engines: list[Engine], store_name: str, seed: int) -> None:
    stores = [MemoryStore(client=engine, name=store_name, embed_fn=embed, default_threshold=2.0) for engine in engines]
    known = [await stores[0].remember(f"memory {number}") for number in range(MEMORIES)]
    written = dict(zip(known, (f"memory {number}" for number in range(MEMORIES)), strict=True))
    conflicts = 0

    async def work(store: MemoryStore, worker: int) -> None:
        nonlocal conflicts
        choose = random.Random(f"{seed}-{worker}")
        for step in range(STEPS):
            id, other = choose.choice(known), choose.choice(known)
            text = f"by {worker} at {step}"
            try:
                match choose.randrange(5):
                    case 0 if id != other:
                        await store.supersede(id, other)
                    case 1:
                        await store.update(id, importance=choose.random())
                    case 2 if id != other:
                        await store.contradict(id, other)
                    case _:
                        new = await store.correct(id, text)
                        written[new.id] = text
                        known.append(new.id)
            except (SupersededError, MemoryNotFoundError, VersionConflictError):
                conflicts += 1
                # As who is told by what it was superseded would: most of the time on what is there.
                known.sort()
                known[:] = [item.id async for item in store.iterate()] + choose.sample(sorted(written), 2)

    await asyncio.gather(*(work(store, worker) for worker, store in enumerate(stores)))
    assert conflicts > WORKERS
    shelf = engines[0].records(shelf_collection(store_name))
    kept = {row.id: row.fields async for rows in shelf.scan(("content", "superseded_by")) for row in rows}
    live = {item.id: item async for item in stores[0].iterate()}
    assert live.keys() | kept.keys() == written.keys()
    assert not live.keys() & kept.keys()
    assert live
    for id, text in written.items():
        assert (live[id].content if id in live else kept[id]["content"].decode()) == text
    # Whoever was superseded is in the history of what took its place, up to one that is there.
    for id, fields in kept.items():
        history = [version.item.id for version in await stores[-1].history(id, limit=1_000)]
        assert id in history
        assert fields["superseded_by"].decode() in history
        assert history[-1] in live
    assert all(item.dynamics.superseded_by is None for item in live.values())
    for store in stores:
        await store.close()
