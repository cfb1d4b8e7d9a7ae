"""Dynamics in several processes at once: nothing that one of them learns is lost, and what one forgets is forgotten."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from betterdb_agent_memory import AgentMemory
from tests.dynamics_worker import TIMES, opened
from tests.embedding import AHEAD, at_angle
from tests.servers import ValkeyServer

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(params=["file", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path, valkey_server: ValkeyServer) -> str:
    return str(tmp_path / "m.db") if request.param == "file" else valkey_server.url


def started(place: str, name: str, action: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.dynamics_worker", place, name, action]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")


def ready(worker: subprocess.Popen[str]) -> None:
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"


def go(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()


async def test_what_two_processes_teach_at_once_is_learnt_whole_and_what_is_forgotten_is_gone_for_a_third(
    place: str, store_name: str
) -> None:
    async with opened(place, store_name) as agent:
        await agent.memory.remember(AHEAD, id="first", importance=1.0)
        await agent.memory.remember(at_angle(0.9), id="second")
        workers = [started(place, store_name, "teach") for _ in range(2)]
        for worker in workers:
            ready(worker)
        for worker in workers:
            go(worker)
        for worker in workers:
            await asyncio.to_thread(worker.communicate, timeout=60)
            assert worker.returncode == 0
        first, second = await agent.memory.get_many(["first", "second"])
        assert first is not None
        assert second is not None
        assert (first.access_count, second.access_count) == (2 * TIMES, 2 * TIMES)
        assert (first.dynamics.uses, first.dynamics.successes) == (2 * TIMES, 2 * TIMES)
        [link] = await agent.memory.links("second")
        assert link.id == "first"
        # Relevance is 1 - distance / 2; what has faded in a minute is less than the tolerance.
        assert link.weight == pytest.approx(2 * TIMES * 0.2 * 1.0 * 0.95, rel=1e-3)

        [strong, weak] = await agent.dynamics.standing(["first", "second"])
        threshold = (strong.strength + weak.strength) / 2
        assert weak.strength < threshold < strong.strength
        assert (await agent.dynamics.forget(threshold)).forgotten == 1
        seen, _ = await asyncio.to_thread(started(place, store_name, "see").communicate, timeout=60)
        assert json.loads(seen) == {"listed": ["first"], "recalled": ["first"], "counted": 1}
        assert await agent.memory.links("first", least_weight=0) == []


async def test_a_worker_that_is_killed_in_the_midst_of_maintenance_leaves_no_half_done_thing(
    place: str, store_name: str
) -> None:
    async with opened(place, store_name) as agent:
        kept, faded = [f"kept{n}" for n in range(8)], [f"faded{n}" for n in range(300)]
        await agent.memory.remember_many([{"content": AHEAD, "id": id} for id in kept + faded])
        await agent.dynamics.outcome(kept, 1.0)
        for one, other in zip(kept, faded, strict=False):
            await agent.memory.link(one, other)
        await agent.memory.link("kept0", "kept1")
        for id in kept:
            await agent.memory.pin(id)
        worker = started(place, store_name, "maintain")
        ready(worker)
        go(worker)
        total = len(kept) + len(faded)
        while (left := (await agent.memory.stats()).item_count) in (None, total):
            assert worker.poll() is None
        worker.kill()
        worker.communicate()
        assert left is not None
        assert len(kept) < left < total, "it was killed in the midst"

        result = await agent.dynamics.forget(1.0, wait_seconds=10)
        assert 0 < result.forgotten < len(faded)
        assert {item.id async for item in agent.memory.iterate()} == set(kept)
        assert [await _links(agent, id) for id in kept] == [["kept1"], ["kept0"], *[[]] * 6]
        await _counts_agree(agent, len(kept))


async def _links(agent: AgentMemory, id: str) -> list[str]:
    return [link.id for link in await agent.memory.links(id, least_weight=0)]


async def _counts_agree(agent: AgentMemory, count: int) -> None:
    assert (await agent.memory.stats()).item_count == count
    assert (await agent.dynamics.stats()).all.memories == count
    assert len(await agent.memory.recall(AHEAD, k=1000, reinforce=False)) == count
