"""What maintenance of a large store takes, and what recalls take meanwhile.

    python -m benchmarks.maintenance
    python -m benchmarks.maintenance --memories 10000 --forget 0.25 --place file

For each share to forget a Valkey with a search module is started, and a file is made, with that many memories of 64
dimensions: the share has faded, one in a hundred is weak and important, so that it is replayed, one in ten has traces
from outcomes. A daily run forgets a few in a thousand to a few in a hundred; a quarter is what the first run in years
may find.

maintain       seconds that `maintain` takes while one caller recalls every 10 ms
alone          the same on a store that nobody asks, of the same contents
nothing left   a second run, which finds nothing to do
p50, p99       of these recalls before (for three seconds) and during it, in ms; "x" is the ratio
bare DEL       seconds that as many records take to be deleted by key from such an index, 16 a request: the floor
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

from betterdb_agent_memory import Dynamics, MaintenanceResult, MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import Engine, RecordWrite
from betterdb_agent_memory.memory.record import NewMemory, encode_memory, memory_collection
from tests.servers import ValkeyServer

DIMENSIONS = 64
DAY_MS = 86_400_000
NOW_MS = 1_790_000_000_000
REPLAYED = 0.01


async def fill(store: MemoryStore, memories: int, forget: float) -> list[str]:
    """The ids of what has faded."""
    rng = np.random.default_rng(0)
    records = (await store.workplace()).records
    lot = rng.permutation(memories) / memories
    faded: list[str] = []
    for start in range(0, memories, 250):
        writes = []
        for n in range(start, min(start + 250, memories)):
            has_faded, is_weak = lot[n] < forget, lot[n] >= 1 - REPLAYED
            memory = NewMemory(
                f"m{n}",
                f"the memory {n} of many",
                0.0 if has_faded else 0.9 if is_weak else 0.2 + 0.4 * (n % 7) / 7,
                NOW_MS - (900 if has_faded else 400 if is_weak else 1 + n % 60) * DAY_MS + n,
                kind=("fact", "episodic", "rule")[n % 3],
            )
            fields = encode_memory(memory, rng.standard_normal(DIMENSIONS, dtype=np.float32).tobytes())
            if n % 10 == 1 and not has_faded and not is_weak:
                fields |= {"working": b"0.8", "core": b"0.3", "strength_at": str(NOW_MS - 40 * DAY_MS).encode()}
            writes.append(RecordWrite(memory.id, fields, is_new=True))
            faded += [memory.id] * int(has_faded)
        await records.write_many(writes)
    return faded


async def recalls(store: MemoryStore, is_over: Callable[[], bool]) -> list[float]:
    rng = np.random.default_rng(1)
    taken = []
    while not is_over():
        began = perf_counter()
        await store.recall_by_vector(rng.standard_normal(DIMENSIONS), reinforce=False, threshold=2)
        taken.append(1000 * (perf_counter() - began))
        await asyncio.sleep(0.01)
    return taken


async def timed(store: MemoryStore) -> tuple[float, MaintenanceResult]:
    began = perf_counter()
    result = await Dynamics(store).maintain()
    return perf_counter() - began, result


async def deleted_bare(engine: Engine, name: str, ids: list[str]) -> float:
    """Seconds that deletions take which look at nothing."""
    records = engine.records(memory_collection(name))
    began = perf_counter()
    for start in range(0, len(ids), 16):
        await records.delete_many(ids[start : start + 16])
    return perf_counter() - began


async def run(place: str, url: str | Path, memories: int, forget: float) -> None:
    async def embed(text: str) -> list[float]:
        return [1.0] * DIMENSIONS  # asked once, for the length of vectors

    engine = open_engine(url)
    stores = [MemoryStore(client=engine, name=name, embed_fn=embed, clock=lambda: NOW_MS) for name in ("a", "b", "c")]
    for store in stores:
        await store.ensure_index()
    asked, alone, bare = stores
    await fill(asked, memories, forget)
    until = perf_counter() + 3
    before = await recalls(asked, lambda: perf_counter() > until)
    task = asyncio.ensure_future(timed(asked))
    during = await recalls(asked, task.done)
    seconds, result = await task
    nothing, _ = await timed(asked)
    await fill(alone, memories, forget)
    by_itself, _ = await timed(alone)
    floor = await deleted_bare(engine, bare.name, await fill(bare, memories, forget))
    p = [float(np.percentile(taken, share)) for share in (50, 99) for taken in (before, during)]
    print(
        f"{place:8}{forget:7.0%}{result.forgotten:11,}{result.replayed:10,}{seconds:10.1f}{by_itself:7.1f}{nothing:9.1f}"
        f"{floor:10.1f}{p[0]:9.1f}{p[1]:7.1f}{p[2]:9.1f}{p[3]:7.1f}{p[3] / p[2]:6.1f}",
        flush=True,
    )
    for store in stores:
        await store.close()
    await engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", type=int, default=50_000)
    parser.add_argument("--forget", type=float, nargs="+", default=[0.0, 0.01, 0.05, 0.25])
    parser.add_argument("--place", choices=["server", "file"], nargs="+", default=["server", "file"])
    arguments = parser.parse_args()
    print(
        f"{'':8}{'share':>7}{'forgotten':>11}{'replayed':>10}{'maintain':>10}{'alone':>7}{'nothing':>9}{'bare DEL':>10}"
        f"{'p50':>9}{'during':>7}{'p99':>9}{'during':>7}{'x':>6}"
    )
    for place in arguments.place:
        for forget in arguments.forget:
            with ExitStack() as stack:
                if place == "file":
                    url: str | Path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "m.db"
                else:
                    url = stack.enter_context(ValkeyServer()).url
                asyncio.run(run(place, url, arguments.memories, forget))


if __name__ == "__main__":
    main()
