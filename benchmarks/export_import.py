"""Export and import of many memories: how fast, in how much memory, and whether all came back.

    python -m benchmarks.export_import --count 100000 --dimensions 256 --engines file,server

Fills a store, exports it, imports the file into a second store, and compares the two field by field and
expiry by expiry. The memory of the process is sampled four times a second: what is its own and resident, without
the pages of a database that are mapped into it. The slope is that of a line through the samples of the second
half, in MB for 100,000 memories. Reading a file fills SQLite's page cache first, 64 MB a connection; with
fewer than about 60,000 memories that is what the slope shows. A server runs for as long as it is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from betterdb_agent_memory import FunctionEmbedder, MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import RecordWrite
from betterdb_agent_memory.memory.progress import Progress
from betterdb_agent_memory.memory.record import memory_collection
from tests.servers import ValkeyServer

BATCH = 1_000
CREATED_MS = 1_750_000_000_000


def own_mb() -> float:
    """Resident memory that belongs to the process alone."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024 / 1e6


@dataclass
class Watched:
    """Samples of resident memory, with how many memories were done by then."""

    done: int = 0
    samples: list[tuple[int, float]] = field(default_factory=list)

    def follow(self, progress: Progress) -> None:
        self.done = progress.done

    @property
    def growth_mb(self) -> float:
        return max(mb for _, mb in self.samples) - self.samples[0][1]

    @property
    def slope_mb(self) -> float:
        """MB for 100,000 memories, over the second half."""
        half = [(done, mb) for done, mb in self.samples if done >= self.done / 2]
        if len({done for done, _ in half}) < 2:
            return 0.0
        return float(np.polyfit([done for done, _ in half], [mb for _, mb in half], 1)[0] * 100_000)


@contextmanager
def watched() -> Iterator[Watched]:
    watch = Watched()
    stop = threading.Event()

    def sample() -> None:
        while True:
            watch.samples.append((watch.done, own_mb()))
            if stop.wait(0.25):
                return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()


async def fill(store: MemoryStore, count: int, dimensions: int) -> None:
    await store.ensure_index()
    records = store._engine.records(memory_collection(store.name))
    rng = np.random.default_rng(7)
    for first in range(0, count, BATCH):
        vectors = rng.normal(size=(BATCH, dimensions)).astype("<f4")
        writes = [
            RecordWrite(
                f"{n:036}",
                {
                    "content": f"memory {n}: {'what was said in that conversation, ' * 4}".encode(),
                    "vector": vectors[n - first].tobytes(),
                    "importance": str(n % 100 / 100).encode(),
                    "created_at": str(CREATED_MS + n // 3).encode(),
                    "last_accessed_at": str(CREATED_MS + n).encode(),
                    "access_count": b"0",
                    "tags": b"a,b",
                    "threadId": str(n % 50).encode(),
                    "namespace": b"bench",
                    "metadata": f'{{"n":{n}}}'.encode(),
                },
                ttl_seconds=864_000 + n if n % 4 == 0 else None,
            )
            for n in range(first, min(first + BATCH, count))
        ]
        await records.write_many(writes)


async def different(left: MemoryStore, right: MemoryStore) -> tuple[int, int]:
    """How many records were compared, and how many of them differ in a field or by a second of expiry."""
    records = [store._engine.records(memory_collection(store.name)) for store in (left, right)]
    compared = unequal = 0
    async for rows in records[0].scan(("content",), page_size=500):
        ids = [row.id for row in rows]
        fields = [await side.read_many(ids, None) for side in records]
        expiries = [await side.read_expiries(ids) for side in records]
        for one, other, ends, other_ends in zip(*fields, *expiries, strict=True):
            compared += 1
            same_end = (ends is None) == (other_ends is None) and abs((ends or 0) - (other_ends or 0)) < 1000
            unequal += one != other or not same_end
    return compared, unequal


async def measure(url: str, other_url: str, kind: str, count: int, dimensions: int, folder: Path) -> None:
    async def no_text(text: str) -> list[float]:
        raise AssertionError("nothing is embedded here")

    embedder = FunctionEmbedder(no_text, name="bench", dimensions=dimensions)
    engines = [open_engine(url), open_engine(other_url)]
    source, target = (
        MemoryStore(client=engine, name=name, embed_fn=embedder)
        for engine, name in zip(engines, ("source", "target"), strict=True)
    )
    await fill(source, count, dimensions)
    path = folder / f"{kind}.jsonl"
    for what in ("export", "import"):
        started = time.perf_counter()
        with watched() as watch:
            if what == "export":
                await source.export_to(path, on_progress=watch.follow)
            else:
                await target.import_from(path, on_progress=watch.follow)
        seconds = time.perf_counter() - started
        print(
            f"| {kind:<6} | {what} | {count:,} | {seconds:6.1f} | {count / seconds:7,.0f} | {watch.growth_mb:5.1f} "
            f"| {watch.slope_mb:+6.1f} | {path.stat().st_size / 1e6:,.0f} |",
            flush=True,
        )
    compared, unequal = await different(source, target)
    print(f"  compared {compared:,} records field by field and by expiry: {unequal:,} differ", flush=True)
    for store, engine in zip((source, target), engines, strict=True):
        await store.close()
        await engine.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description="Export and import of many memories.")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--engines", default="file,server")
    options = parser.parse_args()
    print("| engine | what | memories | s | memories/s | most above start, MB | slope, MB per 100,000 | file, MB |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in options.engines.split(","):
            if kind == "file":
                urls = (str(folder / "a.db"), str(folder / "b.db"))
                await measure(*urls, kind, options.count, options.dimensions, folder)
            else:
                with ValkeyServer() as server:
                    await measure(server.url, server.url, kind, options.count, options.dimensions, folder)


if __name__ == "__main__":
    asyncio.run(main())
