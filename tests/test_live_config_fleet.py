"""Four processes at work while several writers change the configuration: afterwards all agree.

Each worker recalls and remembers all the time, looks at the configuration after every call, and writes a
configuration of its own now and then. Every writer sets threshold and half-life together so that it shows
when the two come from different writers.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory.engines import open_engine
from tests.servers import ValkeyServer

ROOT = Path(__file__).parents[1]
PROCESSES = 4
CHANGES = 12
TOLD_SECONDS = 30.0
"""How long after the last change everybody knows it at the latest, on a machine that is very busy."""

WORKER = """
import asyncio, json, random, sys, time
from betterdb_agent_memory import (
    AgentMemory, CacheOptions, ConfigRefreshOptions, MemoryConfigRefreshConfig, MemoryOptions
)
from tests.embedding import embed

async def main(place: str, number: int, changes: int, told: bool, patience: float) -> None:
    refresh = {"interval_ms": 30_000 if told else 1_000, "live_updates": told}
    agent = AgentMemory.open(
        place, name="fleet", embedder=embed,
        memory=MemoryOptions(
            threshold=1.0 + number / 10, half_life_seconds=1000.0, config_refresh=MemoryConfigRefreshConfig(**refresh)
        ),
        caches=CacheOptions(config_refresh=ConfigRefreshOptions(**refresh)),
    )
    store, config = agent.memory, agent.config
    await agent.initialize()
    print("ready", flush=True)
    sys.stdin.readline()
    calls = torn = 0
    stop = asyncio.Event()

    async def work() -> None:
        nonlocal calls, torn
        while not stop.is_set():
            calls += 1
            await store.remember(f"{number} {calls}", thread_id=f"t{number}")
            hits = await store.recall("anything", threshold=2.0, thread_id=f"t{number}", reinforce=False)
            current = store.current_config()
            torn += not fits(current.threshold, current.half_life_seconds)
            torn += len({hit.explain.half_life_seconds for hit in hits}) > 1

    def fits(threshold: float, half_life: float) -> bool:
        return half_life == 1000.0 or half_life == round(threshold * 10_000)

    async def change() -> None:
        for _ in range(changes):
            await asyncio.sleep(random.random() / 10)
            if random.random() < 0.2:
                await config.reset("threshold", "half_life_seconds")
            else:
                chosen = random.randrange(1, 20_000)
                await config.set(threshold=chosen / 10_000, half_life_seconds=chosen)
                await config.set_tool_ttl(random.choice("ab"), random.randrange(1, 1000))
            if random.random() < 0.2:
                await config.remove_tool_policy(random.choice("ab"))

    def known() -> dict:
        current = store.current_config()
        return {
            "threshold": current.threshold,
            "half_life": current.half_life_seconds,
            "ttls": {tool: agent.tool.get_policy(tool).ttl for tool in agent.tool.list_policy_names()},
        }

    working = asyncio.gather(work(), work())
    await change()
    print("changed", flush=True)
    stored = json.loads(await asyncio.to_thread(sys.stdin.readline))
    expected = {"threshold": 1.0 + number / 10, "half_life": 1000.0} | stored
    until = time.monotonic() + patience
    while known() != expected and time.monotonic() < until:
        await asyncio.sleep(0.02)
    print(json.dumps({"known": known(), "expected": expected, "calls": calls, "torn": torn}), flush=True)
    stop.set()
    await working
    await agent.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "told", float(sys.argv[5])))
"""


@pytest.fixture(params=["server", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "file":
        yield str(tmp_path / "fleet.db")
    else:
        with ValkeyServer() as server:
            yield server.url


@pytest.mark.parametrize("how", ["told", "interval"])
def test_all_agree_after_several_writers_changed_it_mid_load(place: str, how: str) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WORKER, place, str(number), str(CHANGES), how, str(TOLD_SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(PROCESSES)
    ]
    everyone = [(worker, worker.stdin, worker.stdout) for worker in workers]
    for word in ("ready", "changed"):
        for worker, _, answers in everyone:
            assert answers is not None
            assert answers.readline().strip() == word, worker.wait(10)
        # What the last writer of all left is what everybody is to have.
        order = json.dumps(asyncio.run(stored(place))) if word == "changed" else "go"
        for _, orders, _ in everyone:
            assert orders is not None
            orders.write(f"{order}\n")
            orders.flush()
    reports: list[dict[str, Any]] = []
    for worker, _, answers in everyone:
        assert answers is not None
        reports.append(json.loads(answers.readline()))
        assert worker.wait(20) == 0
        worker.communicate()
    for report in reports:
        assert report["calls"] > 10, "it was at work"
        assert report["torn"] == 0, "never a half of one configuration and a half of another"
        assert report["known"] == report["expected"]


async def stored(place: str) -> dict[str, Any]:
    """What the fleet's hashes say, and nothing of what they leave to each worker."""
    engine = open_engine(place)
    try:
        memory = await engine.values.read_map("fleet:__mem_config")
        policies = await engine.values.read_map("fleet:__tool_policies")
    finally:
        await engine.close()
    fields = {"threshold": "recall.threshold", "half_life": "recall.halfLifeSeconds"}
    settings = {name: float(memory[field]) for name, field in fields.items() if field in memory}
    return settings | {"ttls": {tool: json.loads(text)["ttl"] for tool, text in policies.items()}}
