"""Many processes that write into one full scope: it settles at its limit, and those worth least have left."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory import MemoryListOptions, MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.scope import MemoryScope, group_of
from betterdb_agent_memory.memory.victims import EvictionCandidate, select_victims
from betterdb_agent_memory.options import CONTRACT_WEIGHTS, DEFAULT_HALF_LIFE_SECONDS
from tests.embedding import embed
from tests.servers import ValkeyServer

NOW_MS = 1_790_000_000_000

WRITER = f"""
import asyncio, json, random, sys
from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines import open_engine
from tests.embedding import embed

async def write(url, name, cap, worker, count):
    engine = open_engine(url)
    store = MemoryStore(client=engine, name=name, embed_fn=embed, max_items_per_scope=cap, clock=lambda: {NOW_MS})
    await store.ensure_index()
    print("ready", flush=True)
    sys.stdin.readline()
    chance = random.Random(worker)
    written = {{}}
    for number in range(count):
        importance = round(chance.random(), 9)
        written[await store.remember(f"w{{worker}} {{number}}", importance=importance, thread_id="t")] = importance
    await store.close()
    await engine.close()
    print(json.dumps(written))

asyncio.run(write(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
"""


async def written_by(url: str, name: str, cap: int, workers: int, count: int) -> dict[str, float]:
    """What the workers have written, all at the same time."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WRITER,
            url,
            name,
            str(cap),
            str(worker),
            str(count),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for worker in range(workers)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    outputs = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    written: dict[str, float] = {}
    for output, _ in outputs:
        written |= json.loads(output)
    assert len(written) == workers * count
    return written


@pytest.mark.parametrize(
    ("place", "cap", "workers", "count"), [("server", 20, 8, 12), ("server", 60, 2, 70), ("file", 20, 2, 20)]
)
async def test_the_scope_settles_at_its_limit(
    request: pytest.FixtureRequest, tmp_path: Path, store_name: str, place: str, cap: int, workers: int, count: int
) -> None:
    server: ValkeyServer | None = request.getfixturevalue("valkey_server") if place == "server" else None
    url = server.url if server is not None else str(tmp_path / "memories.db")
    engine = open_engine(url)
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, clock=lambda: NOW_MS)
    await store.ensure_index()
    written = await written_by(url, store_name, cap, workers, count)
    left = {item.id for item in (await store.list(MemoryListOptions(thread_id="t", limit=1000))).items}
    assert len(left) == cap
    kept = await engine.records(record.memory_collection(store_name)).read_group(group_of(MemoryScope("t")))
    assert kept.size == cap
    assert (await store.stats()).evictions == workers * count - cap
    candidates = [EvictionCandidate(id, value, NOW_MS) for id, value in written.items() if id != kept.last_id]
    victims = select_victims(candidates, excess=len(written) - cap, **weights())
    assert set(written) - set(victims) == left
    await store.close()
    await engine.close()


def weights() -> dict[str, Any]:
    return {"now_ms": NOW_MS, "weights": CONTRACT_WEIGHTS, "half_life_seconds": DEFAULT_HALF_LIFE_SECONDS}
