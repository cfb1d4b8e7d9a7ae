"""What writing costs while a scope is full, beside writing without a limit into a scope of the same size.

    python -m benchmarks.capacity_steady
    python -m benchmarks.capacity_steady --engine file --batch 100
    python -m benchmarks.capacity_steady --embed-ms 5

One writer, one memory after another (`--batch`: remember_many of so many), 384 dimensions, an embedder that takes no
time (`--embed-ms`: so long), in scopes of `--cap` memories. All in turn, in the same store, `--rounds` times over:

no limit    from a bit below the cap to as much above it
floor       without a limit, but each write is followed by the bare deletion of one memory, nothing else: what any way
            of keeping a scope at its size costs
limit       with the limit, from a scope that is full and has been trimmed once to one that holds exactly its limit

For each write: ms (all the time there was, closing the store included, so that nothing is left to be done), the median
of one call, CPU time of this process and of the server, round trips, and how these compare with no limit. A server and
a file (`--engine`): a file has no server, and its round trips are none.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from zlib import crc32

import numpy as np

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import Engine, Records
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.memory.record import memory_collection
from tests.servers import ValkeyServer

DIMENSIONS = 384
NAME = "capacity"
ARMS = ("no limit", "floor", "limit")
FILLED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Cost:
    """What one write cost, in ms and round trips."""

    ms: float
    median_ms: float
    own_cpu_ms: float
    server_cpu_ms: float
    round_trips: float


class Bench:
    """A scope of `cap` memories, and writes into it. `client` is a blocking one of the server, None for a file."""

    def __init__(self, engine: Engine, client: Any, cap: int, embed_ms: float) -> None:
        self.engine = engine
        self.client = client
        self.cap = cap
        self.embed_ms = embed_ms
        self.chance = np.random.default_rng(7)
        self.number = 0
        self.records: Records = engine.records(memory_collection(NAME))

    def store(self, limit: int | None) -> MemoryStore:
        """One more worker."""
        return MemoryStore(client=self.engine, name=NAME, embed_fn=self.embed, max_items_per_scope=limit)

    async def embed(self, text: str) -> list[float]:
        """A vector that follows from the text."""
        if self.embed_ms:
            await asyncio.sleep(self.embed_ms / 1000)
        return list(np.random.default_rng(crc32(text.encode())).normal(size=DIMENSIONS))

    def drafts(self, count: int) -> list[dict[str, Any]]:
        """Memories of any importance."""
        self.number += count
        first = self.number - count
        return [
            {"content": f"memory {first + place}", "importance": round(float(self.chance.random()), 6)}
            for place in range(count)
        ]

    async def ids(self) -> list[str]:
        """All there are, the oldest first."""
        return [row.id async for rows in self.records.walk(Filter(), fields=()) for row in rows]

    async def resize(self, size: int) -> list[str]:
        """Make the scope hold `size` memories; the oldest leave. Their ids."""
        ids = await self.ids()
        await self.records.delete_many(ids[: max(0, len(ids) - size)])
        without = self.store(None)
        for begin in range(len(ids), size, FILLED_AT_ONCE):
            embedding, self.embed_ms = self.embed_ms, 0.0
            await without.remember_many(self.drafts(min(FILLED_AT_ONCE, size - begin)), thread_id="t")
            self.embed_ms = embedding
        return await self.ids()

    async def write(self, store: MemoryStore, batch: int) -> None:
        """One call."""
        if batch > 1:
            await store.remember_many(self.drafts(batch), thread_id="t")
        else:
            [draft] = self.drafts(1)
            await store.remember(draft["content"], importance=draft["importance"], thread_id="t")

    async def cost(self, arm: str, writes: int, batch: int) -> Cost:
        """What `writes` memories cost, each."""
        victims = await self.resize(self.cap - writes // 2 if arm == "no limit" else self.cap)
        store = self.store(self.cap if arm == "limit" else None)
        await store.ensure_index()
        if arm == "limit":
            await self.trimmed_once(store)
        own, server, round_trips = process_time(), self.server_cpu(), self.engine.round_trips
        took = []
        began = perf_counter()
        for place in range(0, writes, batch):
            before = perf_counter()
            await self.write(store, batch)
            if arm == "floor":
                await self.records.delete_many(victims[place : place + batch])
            took.append(perf_counter() - before)
        await store.close()
        seconds = perf_counter() - began
        costs = (seconds, process_time() - own, self.server_cpu() - server)
        size = len(await self.ids())
        if size != (self.cap + writes - writes // 2 if arm == "no limit" else self.cap):
            raise RuntimeError(f"{arm}: {size} memories are left of a scope of {self.cap}")
        elapsed, own_cpu, server_cpu = (1000 * cost / writes for cost in costs)
        median = 1000 * float(np.median(took)) / batch
        return Cost(elapsed, median, own_cpu, server_cpu, (self.engine.round_trips - round_trips) / writes)

    async def trimmed_once(self, store: MemoryStore) -> None:
        """Have the scope counted, and trimmed for the first time, which takes a look at all of it."""
        await store.remember_many(self.drafts(self.cap // 10), thread_id="t")
        while len(await self.ids()) != self.cap:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.1)

    def server_cpu(self) -> float:
        """Seconds that the server has computed; 0 for a file."""
        if self.client is None:
            return 0.0
        info: Any = self.client.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


@asynccontextmanager
async def place(engine: str) -> AsyncIterator[tuple[Engine, Any]]:
    """An empty engine, and a client of its server if it has one."""
    with tempfile.TemporaryDirectory() as folder, ValkeyServer() as server:
        opened = open_engine(server.url if engine == "server" else str(Path(folder) / "memories.db"))
        try:
            yield opened, server.blocking_client() if engine == "server" else None
        finally:
            await opened.close()


async def measure(arguments: argparse.Namespace) -> dict[str, list[Cost]]:
    """All rounds of all arms."""
    costs: dict[str, list[Cost]] = {arm: [] for arm in ARMS}
    async with place(arguments.engine) as (engine, client):
        bench = Bench(engine, client, arguments.cap, arguments.embed_ms)
        await bench.store(None).ensure_index()
        for _ in range(arguments.rounds):
            for arm in ARMS:
                costs[arm].append(await bench.cost(arm, arguments.writes, arguments.batch))
    return costs


def mean(costs: Sequence[Cost]) -> list[float]:
    """The mean of each number."""
    return [float(np.mean([getattr(cost, field.name) for cost in costs])) for field in fields(Cost)]


def show(costs: dict[str, list[Cost]]) -> None:
    """The table, with the times of no limit in brackets."""
    print(f"{'':<10}" + "".join(f"{field.name:>22}" for field in fields(Cost)))
    base = mean(costs[ARMS[0]])
    for arm, some in costs.items():
        cells = [
            f"{one:>13.3f} ({one / other:>4.2f}x)" if other else f"{one:>22.3f}"
            for one, other in zip(mean(some), base, strict=True)
        ]
        print(f"{arm:<10}" + "".join(f"{cell:>22}" for cell in cells))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["server", "file"], default="server")
    parser.add_argument("--cap", type=int, default=10_000)
    parser.add_argument("--writes", type=int, default=1_500, help="for each arm and round")
    parser.add_argument("--batch", type=int, default=1, help="memories of one call")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--embed-ms", type=float, default=0.0)
    show(asyncio.run(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
