"""What a near-cache saves where a question comes again, and costs where it does not.

    python -m benchmarks.near_cache [--memories 5000] [--calls 300]

A server (a Valkey with RediSearch on a free port) and a file, each with the memories of 50 threads; the offline
embedder, hybrid retrieval, deferred reinforcement, k = 8, each question about one thread. Three agents are asked the
same in turn:

without    has no near-cache
near       has one, and was asked the same just before
first      has one, and is asked for the first time: what it keeps costs a round trip more

Then a field of 200 characters of a session, without and near. Microseconds a call, median (99th percentile in
brackets); a ratio is the median of the rounds' ratios of medians.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from betterdb_agent_memory import AgentMemory, CacheOptions, MemoryOptions, NearCacheOptions
from tests.servers import ValkeyServer

THREADS = 50
ROUNDS = 5
WORDS = (
    *("tea", "train", "walnut", "garden", "harbour", "ticket", "violin"),
    *("ladder", "winter", "lantern", "meadow", "copper", "letter", "bridge"),
)

Call = Callable[[int], Awaitable[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", type=int, default=5_000)
    parser.add_argument("--calls", type=int, default=300, help="in each of five rounds")
    arguments = parser.parse_args()
    print(f"{'':24}{'without':>18}{'near':>18}{'without / near':>16}{'first':>18}{'first / without':>17}")
    with ValkeyServer() as server, tempfile.TemporaryDirectory() as folder:
        for place, url in (("server", server.url), ("file", Path(folder) / "memory.db")):
            asyncio.run(_measure(place, url, arguments.memories, arguments.calls))


async def _measure(place: str, url: str | Path, memories: int, calls: int) -> None:
    near = NearCacheOptions(max_age_seconds=3_600, max_entries=1_000_000, max_bytes=2**30)
    memory, caches = MemoryOptions(near_cache=near), CacheOptions(session_near_cache=near)
    without = AgentMemory.open(url, name="near")
    known, first = (AgentMemory.open(url, name="near", memory=memory, caches=caches) for _ in range(2))
    drawn = random.Random(7)
    texts = [{"content": _sentence(drawn), "thread_id": f"thread {n % THREADS}"} for n in range(memories)]
    await without.memory.remember_many(texts)
    await without.session.set("thread", "field", "x" * 200)
    for agent in (without, known, first):
        await agent.initialize()
    questions = [f"{_sentence(drawn)}?" for _ in range(calls * ROUNDS)]

    def recall(agent: AgentMemory) -> Call:
        return lambda n: agent.memory.recall(questions[n], thread_id=f"thread {n % THREADS}")

    def get(agent: AgentMemory) -> Call:
        return lambda n: agent.session.get("thread", "field")

    recalls: list[list[list[float]]] = []
    gets: list[list[list[float]]] = []
    for turn in range(ROUNDS):
        numbers = range(turn * calls, (turn + 1) * calls)
        await _timed(recall(known), numbers)
        asked = {agent: await _timed(recall(agent), numbers) for agent in _in_turn((without, known, first), turn)}
        recalls.append([asked[agent] for agent in (without, known, first)])
        await _timed(get(known), numbers[:1])
        read = {agent: await _timed(get(agent), numbers) for agent in _in_turn((without, known), turn)}
        gets.append([read[agent] for agent in (without, known)])
        for agent in (without, known, first):
            await agent.memory.flush()
    _print_line(f"recall, {place}", recalls)
    _print_line(f"session get, {place}", gets)
    for agent in (without, known, first):
        await agent.close()


def _in_turn(agents: Sequence[AgentMemory], turn: int) -> list[AgentMemory]:
    start = turn % len(agents)
    return [*agents[start:], *agents[:start]]


def _sentence(drawn: random.Random) -> str:
    return " ".join(drawn.choices(WORDS, k=8))


async def _timed(call: Call, numbers: Sequence[int]) -> list[float]:
    took = []
    for n in numbers:
        before = time.perf_counter()
        await call(n)
        took.append((time.perf_counter() - before) * 1e6)
    return took


def _print_line(label: str, rounds: Sequence[Sequence[Sequence[float]]]) -> None:
    cells = [f"{label:24}"]
    for place in range(len(rounds[0])):
        took = sorted(one for turn in rounds for one in turn[place])
        cells.append(f"{statistics.median(took):,.0f} ({took[len(took) * 99 // 100]:,.0f})".rjust(18))
    cells.insert(3, f"{_ratio(rounds, 0, 1):16.1f}")
    if len(rounds[0]) > 2:
        cells.append(f"{_ratio(rounds, 2, 0):17.2f}")
    print("".join(cells), flush=True)


def _ratio(rounds: Sequence[Sequence[Sequence[float]]], above: int, below: int) -> float:
    return statistics.median(statistics.median(turn[above]) / statistics.median(turn[below]) for turn in rounds)


if __name__ == "__main__":
    main()
