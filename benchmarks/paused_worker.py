"""Workers that are stopped in the middle of work that holds a lease, and go on after somebody else has done it.

    python -m benchmarks.paused_worker
    python -m benchmarks.paused_worker --rounds 20 --seed 4
    python -m benchmarks.paused_worker --file

Each round starts a process that consolidates a scope, evicts from a full one, or changes the embedding model, and
stops it with SIGSTOP at some moment of that. Its lease runs out, this process does the work, and the other one goes on
(SIGCONT). Then each memory that went in must have come out exactly once: it is still there, or in one summary. Of a
full scope exactly those must have left that an oracle names. After a change of models each memory must have the next
model's vector of its content, those included that were written and changed meanwhile. Prints what became of the stopped
ones, and ends with status 1 at the first double or lost write.
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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks import paused_migration
from betterdb_agent_memory import LeaseLostError, MemoryItem, MemoryListOptions, MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.memory import evicting
from betterdb_agent_memory.memory.generations import migration
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


async def fill(engine: Engine, name: str, chance: random.Random, count: int) -> dict[str, float]:
    """Memories to be worked on: what each is worth, by id."""
    worth = {f"old-{number}": round(chance.random(), 3) for number in range(count)}
    filler = store_on(engine, name)
    await filler.remember_many(
        [{"content": f"text {id}", "id": id, "importance": value} for id, value in worth.items()], namespace="n"
    )
    await filler.close()
    return worth


async def check(engine: Engine, name: str, worth: dict[str, float], *, evicted: bool) -> None:
    """Compare what is there by now with what was there before."""
    reader = store_on(engine, name)
    items: list[MemoryItem] = []
    while page := (await reader.list(MemoryListOptions(namespace="n", limit=100, offset=len(items)))).items:
        items += page
    evictions = (await reader.stats()).evictions
    await reader.close()
    if evicted:
        _check_eviction(worth, items, evictions)
    else:
        _check_summaries(worth, items)


async def check_model(engine: Engine, name: str, contents: dict[str, str]) -> None:
    """Every memory has the vector of its content, by the next model."""
    if said := await paused_migration.problem(engine, name, contents):
        raise WrittenTwiceOrLostError(said)


@dataclass(frozen=True, slots=True)
class Kind:
    """Work that is stopped: `does` it, on a `store` made for it; `fill` prepares it, and `check` compares what came of
    it with what `fill` has returned. `meanwhile` is written while it stands still.
    """

    store: Callable[[Engine, str], MemoryStore]
    fill: Callable[[Engine, str, random.Random], Awaitable[Any]]
    does: Callable[..., Awaitable[str]]
    check: Callable[[Engine, str, Any], Awaitable[None]]
    longest_seconds: float
    meanwhile: Callable[[MemoryStore, Any], Awaitable[None]] | None = None


KINDS = {
    "consolidate": Kind(
        store=store_on,
        fill=lambda engine, name, chance: fill(engine, name, chance, SOURCES),
        does=consolidate,
        check=lambda engine, name, before: check(engine, name, before, evicted=False),
        longest_seconds=0.06,
    ),
    "remember": Kind(
        store=lambda engine, name: store_on(engine, name, CAP),
        fill=lambda engine, name, chance: fill(engine, name, chance, 3 * CAP),
        does=remember,
        check=lambda engine, name, before: check(engine, name, before, evicted=True),
        longest_seconds=0.03,
    ),
    "migrate": Kind(
        store=paused_migration.store_on,
        fill=paused_migration.fill,
        does=paused_migration.change_model,
        check=check_model,
        longest_seconds=1.6,
        meanwhile=paused_migration.write_meanwhile,
    ),
}

IN_SHORT = (
    (evicting, "LEASE_SECONDS", LEASE_SECONDS),
    (migration, "_LEASE_SECONDS", LEASE_SECONDS),
    *paused_migration.IN_SHORT,
)
"""What both processes go by in these rounds: modules, names and seconds."""


def hurry() -> None:
    """Let this process go by `IN_SHORT`."""
    for module, name, seconds in IN_SHORT:
        setattr(module, name, seconds)


async def work(url: str, name: str, kind: str) -> None:
    """What the stopped process does."""
    hurry()
    engine = open_engine(url)
    store = KINDS[kind].store(engine, name)
    await store.ensure_index()
    try:
        outcome = await KINDS[kind].does(store, lambda: print(json.dumps("begun"), flush=True))
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
    what = KINDS[kind]
    store = what.store(engine, name)
    await store.ensure_index()
    before = await what.fill(engine, name, random.Random(pause_after))
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
        ours = asyncio.create_task(_done(what, store, before))
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
    await what.check(engine, name, before)
    return str(outcome)


async def _done(what: Kind, store: MemoryStore, before: Any) -> str:
    """Do the work, once more where a lock has kept us waiting for longer than our lease."""
    if what.meanwhile is not None:
        await what.meanwhile(store, before)
    while True:
        try:
            return await what.does(store)
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


async def run(url: str, rounds: int, seed: int, kinds: Sequence[str]) -> Counter[str]:
    """All rounds, one kind after the other; how often which outcome was."""
    chance = random.Random(seed)
    engine = open_engine(url)
    hurry()
    outcomes: Counter[str] = Counter()
    for number in range(rounds):
        kind = kinds[number % len(kinds)]
        pause_after = chance.random() * KINDS[kind].longest_seconds
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
    parser.add_argument("--kind", choices=list(KINDS), help="only this kind of work")
    parser.add_argument("--file", action="store_true", help="on a file instead of a server")
    parser.add_argument("--work", choices=list(KINDS), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        asyncio.run(work(arguments.url, arguments.name, arguments.work))
        return
    kinds = [arguments.kind] if arguments.kind else list(KINDS)
    if arguments.file:
        with tempfile.TemporaryDirectory() as folder:
            outcomes = asyncio.run(run(str(Path(folder) / "memories.db"), arguments.rounds, arguments.seed, kinds))
    else:
        with ValkeyServer() as server:
            outcomes = asyncio.run(run(server.url, arguments.rounds, arguments.seed, kinds))
    print(f"\n{arguments.rounds} rounds: nothing written twice, nothing lost")
    for outcome, times in sorted(outcomes.items()):
        print(f"{times:>5}  {outcome}")


if __name__ == "__main__":
    main()
