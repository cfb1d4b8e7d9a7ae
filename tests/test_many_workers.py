"""Many processes, one store: what they all remember is there once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from betterdb_agent_memory import AgentMemory, MemoryOptions
from tests.embedding import embed
from tests.servers import ValkeyServer

PROCESSES = 8
TEXTS = 1000

WORKER = """
import asyncio, json, sys
from betterdb_agent_memory import AgentMemory, MemoryOptions
from tests.embedding import embed

async def main(place: str, worker: int, count: int) -> None:
    texts = [f"shared text {number}" for number in range(count)]
    texts = texts[worker * 100:] + texts[: worker * 100]  # each begins somewhere else
    async with AgentMemory.open(place, name="fleet", embedder=embed) as agent:
        print("ready", flush=True)
        sys.stdin.readline()
        results = await agent.memory.remember_many(texts, thread_id="t", on_duplicate="merge")
        print(json.dumps([result.outcome for result in results]))

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


@pytest.fixture(params=["file", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "file":
        yield str(tmp_path / "fleet.db")
    else:
        server: ValkeyServer = request.getfixturevalue("valkey_server")
        yield server.url


def test_eight_processes_that_remember_the_same_texts_make_one_memory_of_each(place: str) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, place, str(number), str(TEXTS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        for number in range(PROCESSES)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    outcomes: list[str] = []
    for worker in workers:
        output, _ = worker.communicate(timeout=100)
        assert worker.returncode == 0
        outcomes += json.loads(output)
    assert outcomes.count("stored") == TEXTS
    assert outcomes.count("merged") == (PROCESSES - 1) * TEXTS

    async def look() -> None:
        async with AgentMemory.open(place, name="fleet", embedder=embed) as agent:
            items = [item async for item in agent.memory.iterate()]
            assert len(items) == TEXTS
            assert len({item.content for item in items}) == TEXTS
            assert {item.access_count for item in items} == {PROCESSES - 1}

    asyncio.run(look())


async def test_workers_that_recall_and_pin_at_once_lose_nothing(place: str) -> None:
    options = MemoryOptions(reinforcement="immediate", recent_accesses=True, config_refresh=False, discovery=False)
    async with (
        AgentMemory.open(place, name="pair", embedder=embed, memory=options) as one,
        AgentMemory.open(place, name="pair", embedder=embed, memory=options) as other,
    ):
        id = await one.memory.remember("shared", importance=0.3)
        recalls = [agent.memory.recall("shared", threshold=2.0) for agent in (one, other) for _ in range(20)]
        pins = [agent.memory.pin(id) for agent in (one, other)]
        assert sum((await asyncio.gather(asyncio.gather(*recalls), asyncio.gather(*pins)))[1]) == 1
        item = await other.memory.get(id)
        assert item is not None
        assert (item.access_count, len(item.dynamics.recent), item.version) == (40, 4, 2)
        assert item.dynamics.recent[-1] == item.last_accessed_at
        assert (item.importance, item.dynamics.unpinned_importance) == (1, 0.3)
