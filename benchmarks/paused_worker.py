"""Workers that are stopped in the middle of work that holds a lease, and go on after somebody else has done it.

    python -m benchmarks.paused_worker
    python -m benchmarks.paused_worker --rounds 20 --seed 4
    python -m benchmarks.paused_worker --file

Each round starts a process that consolidates a scope, or evicts from a full one, and stops it with SIGSTOP at some
moment of that. Its lease runs out, this process does the work, and the other one goes on (SIGCONT). Then each memory
that went in must have come out exactly once: it is still there, or in one summary; and of a full scope exactly those
must have left that an oracle names. Prints what became of the stopped ones, and ends with status 1 at the first
double or lost write.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

from betterdb_agent_memory import LeaseLostError, MemoryItem, MemoryListOptions, MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.memory import evicting
from betterdb_agent_memory.memory.victims import EvictionCandidate, select_victims
from betterdb_agent_memory.options import CONTRACT_WEIGHTS, DEFAULT_HALF_LIFE_SECONDS
from tests.embedding import embed
from tests.servers import ValkeyServer

LEASE_SECONDS = 1.0
SOURCES = 300
CAP = 40
NOW_MS = 1_790_000_000_000
SUMMARIES = "betterdb:summary"


class WrittenTwiceOrLostError(AssertionError):
    """Something was written twice, or lost."""


async def summarize(memories: list[MemoryItem]) -> str:
    """The ids that went in, so that what came out tells them."""
    return "\n".join(memory.id for memory in memories)


def store_on(engine: Engine, name: str, cap: int | None = None) -> MemoryStore:
    """A store whose clock stands still, so that everybody weighs memories alike."""
    return MemoryStore(client=engine, name=name, embed_fn=embed, max_items_per_scope=cap, clock=lambda: NOW_MS)


async def consolidate(store: MemoryStore, begun: Callable[[], None] = lambda: None) -> str:
    """One summary of everything; `begun` is called before it is written."""

    async def asked(memories: list[MemoryItem]) -> str:
        text = await summarize(memories)
        begun()
        return text

    result = await store.consolidate(
        summarize=asked, namespace="n", lease_seconds=LEASE_SECONDS, wait_seconds=20, batch_size=10_000
    )
    return f"deleted {result.deleted}"


async def remember(store: MemoryStore, begun: Callable[[], None] = lambda: None) -> str:
    """One memory more for a full scope."""
    begun()
    await store.remember("one more", id=f"new-{uuid4().hex[:8]}", importance=0.0, namespace="n")
    return "remembered"


WORK = {"consolidate": (consolidate, None), "remember": (remember, CAP)}


async def work(url: str, name: str, kind: str) -> None:
    """What the stopped process does."""
    evicting.LEASE_SECONDS = LEASE_SECONDS
    engine = open_engine(url)
    does, cap = WORK[kind]
    store = store_on(engine, name, cap)
    await store.ensure_index()
    try:
        outcome = await does(store, lambda: print(json.dumps("begun"), flush=True))
    except LeaseLostError:
        outcome = "refused"
    await store.close()
    await engine.close()
    print(json.dumps(outcome), flush=True)


async def one_round(engine: Engine, url: str, kind: str, pause_after: float) -> str:
    """Stop a worker `pause_after` seconds into its work, do it ourselves, let it go on; what became of it.

    Raises:
        WrittenTwiceOrLostError: something was written twice, or lost.
    """
    name = f"paused{uuid4().hex[:12]}"
    does, cap = WORK[kind]
    filler, store = store_on(engine, name), store_on(engine, name, cap)
    await filler.ensure_index()
    chance = random.Random(pause_after)
    before = {f"old-{number}": round(chance.random(), 3) for number in range(SOURCES if cap is None else 3 * CAP)}
    await filler.remember_many(
        [{"content": f"text {id}", "id": id, "importance": value} for id, value in before.items()], namespace="n"
    )
    process = subprocess.Popen(  # noqa: ASYNC220 - starting it is a moment
        [sys.executable, "-m", "benchmarks.paused_worker", "--work", kind, "--url", url, "--name", name],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        await asyncio.to_thread(process.stdout.readline)
        await asyncio.sleep(pause_after)
        os.kill(process.pid, signal.SIGSTOP)
        ours = asyncio.create_task(_done(does, store))
        # One that was stopped while it held the lock of a file keeps everybody waiting, whatever leases say.
        await asyncio.wait([ours], timeout=4 * LEASE_SECONDS)
        os.kill(process.pid, signal.SIGCONT)
        await ours
        outcome = json.loads(await asyncio.to_thread(process.stdout.readline))
    finally:
        process.kill()
        process.stdout.close()
        await asyncio.to_thread(process.wait)
    await store.close()
    items: list[MemoryItem] = []
    while page := (await filler.list(MemoryListOptions(namespace="n", limit=100, offset=len(items)))).items:
        items += page
    if cap is None:
        _check_summaries(before, items)
    else:
        _check_eviction(before, items, (await filler.stats()).evictions)
    await filler.close()
    return str(outcome)


async def _done(does: Callable[[MemoryStore], Awaitable[str]], store: MemoryStore) -> str:
    """Do the work, once more where a lock has kept us waiting for longer than our lease."""
    while True:
        try:
            return await does(store)
        except LeaseLostError:
            continue


def _check_summaries(before: dict[str, float], items: list[MemoryItem]) -> None:
    out = Counter(id for item in items for id in ([item.id] if item.id in before else item.content.split("\n")))
    if twice := [id for id, times in out.items() if times > 1]:
        raise WrittenTwiceOrLostError(f"{len(twice)} memories came out twice: {twice[:5]}")
    if lost := [id for id in before if id not in out]:
        raise WrittenTwiceOrLostError(f"{len(lost)} memories were lost: {lost[:5]}")
    if any(id in before for id in (item.id for item in items)):
        raise WrittenTwiceOrLostError("memories were left over: nobody has done the work to its end")


def _check_eviction(before: dict[str, float], items: list[MemoryItem], evictions: int) -> None:
    left = {item.id for item in items}
    written = [id for id in left if id not in before]
    if len(items) != CAP:
        raise WrittenTwiceOrLostError(f"the scope holds {len(items)} memories, not {CAP}")
    # Of the two that were written the earlier one is worth least of all, so it has left, and the last one stays.
    if len(written) != 1 or evictions != len(before) + 2 - CAP:
        raise WrittenTwiceOrLostError(
            f"{len(written)} of the written ones are there, and {evictions} evictions were counted"
        )
    victims = select_victims(
        [EvictionCandidate(id, importance, NOW_MS) for id, importance in before.items()],
        excess=len(before) + 1 - CAP,
        now_ms=NOW_MS,
        weights=CONTRACT_WEIGHTS,
        half_life_seconds=DEFAULT_HALF_LIFE_SECONDS,
    )
    # Among equals any may leave.
    if sorted(map(before.__getitem__, victims)) != sorted(before[id] for id in before if id not in left):
        raise WrittenTwiceOrLostError("others have left than those that are worth least")


async def run(url: str, rounds: int, seed: int) -> Counter[str]:
    """All rounds, half of each kind; how often which outcome was."""
    chance = random.Random(seed)
    engine = open_engine(url)
    evicting.LEASE_SECONDS = LEASE_SECONDS
    outcomes: Counter[str] = Counter()
    for number in range(rounds):
        kind = "consolidate" if number % 2 == 0 else "remember"
        pause_after = chance.random() * (0.06 if kind == "consolidate" else 0.03)
        outcome = await one_round(engine, url, kind, pause_after)
        outcomes[f"{kind}: {outcome}"] += 1
        print(f"round {number + 1}: {kind} stopped after {1000 * pause_after:.1f} ms: {outcome}", flush=True)
    await engine.close()
    return outcomes


def main() -> None:
    """Run the rounds and say what they came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--file", action="store_true", help="on a file instead of a server")
    parser.add_argument("--work", choices=list(WORK), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        asyncio.run(work(arguments.url, arguments.name, arguments.work))
        return
    if arguments.file:
        with tempfile.TemporaryDirectory() as folder:
            outcomes = asyncio.run(run(str(Path(folder) / "memories.db"), arguments.rounds, arguments.seed))
    else:
        with ValkeyServer() as server:
            outcomes = asyncio.run(run(server.url, arguments.rounds, arguments.seed))
    print(f"\n{arguments.rounds} rounds: nothing written twice, nothing lost")
    for outcome, times in sorted(outcomes.items()):
        print(f"{times:>5}  {outcome}")


if __name__ == "__main__":
    main()
