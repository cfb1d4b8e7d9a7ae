"""What maintenance of a large store takes, and what recalls take meanwhile.

    python -m benchmarks.maintenance
    python -m benchmarks.maintenance --memories 10000 --file

A Valkey with a search module is started, or a file is made. One memory in ten has traces; a quarter of the memories has
faded and is forgotten by the first run, the second one finds nothing to do. The p99 of a recall is taken before and
during the first run.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import numpy as np

from betterdb_agent_memory import Dynamics, MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import RecordWrite
from betterdb_agent_memory.memory.record import NewMemory, encode_memory
from tests.servers import ValkeyServer

DIMENSIONS = 64
DAY_MS = 86_400_000
NOW_MS = 1_790_000_000_000


async def fill(store: MemoryStore, memories: int) -> None:
    rng = np.random.default_rng(0)
    records = (await store.workplace()).records
    for start in range(0, memories, 1_000):
        writes = []
        for n in range(start, min(start + 1_000, memories)):
            faded = n % 4 == 0
            memory = NewMemory(
                f"m{n}",
                f"the memory {n} of many",
                0.0 if faded else 0.2 + 0.7 * (n % 7) / 7,
                NOW_MS - (900 if faded else 1 + n % 200) * DAY_MS + n,
                kind=("fact", "episodic", "rule")[n % 3],
            )
            fields = encode_memory(memory, rng.standard_normal(DIMENSIONS, dtype=np.float32).tobytes())
            if n % 10 == 1:
                fields |= {"working": b"0.8", "core": b"0.3", "strength_at": str(NOW_MS - 40 * DAY_MS).encode()}
            writes.append(RecordWrite(f"m{n}", fields, is_new=True))
        await records.write_many(writes)


async def recalls(store: MemoryStore, is_over: Callable[[], bool]) -> list[float]:
    rng = np.random.default_rng(1)
    taken = []
    while not is_over():
        began = perf_counter()
        await store.recall_by_vector(rng.standard_normal(DIMENSIONS), reinforce=False, threshold=2)
        taken.append(1000 * (perf_counter() - began))
        await asyncio.sleep(0.01)
    return taken


async def run(place: str | Path, memories: int) -> None:
    async def embed(text: str) -> list[float]:
        return [float(number) for number in np.random.default_rng(len(text)).standard_normal(DIMENSIONS)]

    engine = open_engine(place)
    store = MemoryStore(client=engine, name="m", embed_fn=embed, clock=lambda: NOW_MS)
    await store.ensure_index()
    began = perf_counter()
    await fill(store, memories)
    print(f"{memories:,} memories written in {perf_counter() - began:.1f} s")
    dynamics = Dynamics(store)
    until = perf_counter() + 3
    before = await recalls(store, lambda: perf_counter() > until)
    for label in ("first", "second"):
        began = perf_counter()
        task = asyncio.ensure_future(dynamics.maintain())
        during = await recalls(store, task.done) if label == "first" else []
        result = await task
        print(f"{label} maintain: {perf_counter() - began:.1f} s; {result}")
        if during:
            for name, taken in (("before", before), ("during", during)):
                print(f"recall {name}: p50 {np.percentile(taken, 50):.1f} ms, p99 {np.percentile(taken, 99):.1f} ms")
    began = perf_counter()
    stats = await dynamics.stats()
    print(f"stats: {perf_counter() - began:.1f} s; {stats.all}")
    await store.close()
    await engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", type=int, default=50_000)
    parser.add_argument("--file", action="store_true")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        if arguments.file:
            place: str | Path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "m.db"
        else:
            place = stack.enter_context(ValkeyServer()).url
        asyncio.run(run(place, arguments.memories))


if __name__ == "__main__":
    main()
