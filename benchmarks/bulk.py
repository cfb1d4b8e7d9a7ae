"""remember_many beside a bare pipelined HSET loop, and beside the published package's loop of remember.

    python -m benchmarks.bulk
    python -m benchmarks.bulk --memories 2000 --batches 5 --json bulk.json

All on one server (a Valkey with RediSearch on a free port, unless --url says another), each into an empty index, in
turns, another one first in each batch. 256 dimensions, the default embedder's.

bare HSET      valkey-py's pipeline without a transaction, 500 commands at a time, the same fields; vectors, ids
               and fields are made before the clock starts
remember_many  our call with the same texts; embedding is a look-up (`look-up`), or the default embedder (`wordllama`),
               the latter also into a file of the embedded engine
published      one `remember` after the other; embedding by the wordllama library, one text a call

x bare         memories a second through those of bare HSET, batch by batch, median
x published    the same, through those of the published package
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import numpy as np
import valkey.asyncio

from benchmarks.peer_worker import PackageProcess
from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.embedders.wordllama import WordLlamaEmbedder
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.memory import record
from scripts.install_peers import PUBLISHED, install
from tests.servers import ValkeyServer

PIPELINE = 500
TARGET_BARE = 0.9
TARGET_PUBLISHED = 5.0
BARE, LOOK_UP, DEFAULT = "bare HSET", "remember_many, look-up", "remember_many, wordllama"
FILE, THEIRS = "the same, into a file", "published remember"


class LookUp:
    """Vectors made beforehand."""

    name = "embed_fn"
    default_threshold = 2.0

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        self._vectors = vectors
        self.dimensions = len(next(iter(vectors.values())))

    async def embed_query(self, text: str) -> np.ndarray:
        return self._vectors[text]

    async def embed_documents(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [self._vectors[text] for text in texts]


async def bare(client: valkey.asyncio.Valkey, name: str, texts: Sequence[str], vectors: dict[str, bytes]) -> float:
    """Seconds for the same hashes by valkey-py alone."""
    hashes = [
        (
            f"{name}:mem:{uuid4()}",
            {
                record.CONTENT: text,
                record.VECTOR: vectors[text],
                record.IMPORTANCE: "0.5",
                record.CREATED_AT: "1750000000000",
                record.LAST_ACCESSED_AT: "1750000000000",
                record.ACCESS_COUNT: "0",
                record.TAGS: "bench",
                record.THREAD: "t",
            },
        )
        for text in texts
    ]
    began = perf_counter()
    for start in range(0, len(hashes), PIPELINE):
        pipeline = client.pipeline(transaction=False)
        for key, fields in hashes[start : start + PIPELINE]:
            pipeline.hset(key, mapping=fields)
        await pipeline.execute()
    return perf_counter() - began


async def many(store: MemoryStore, texts: Sequence[str]) -> float:
    """Seconds for one call."""
    began = perf_counter()
    results = await store.remember_many([{"content": text, "tags": ["bench"]} for text in texts], thread_id="t")
    seconds = perf_counter() - began
    if any(result.outcome != "stored" for result in results):
        raise RuntimeError(f"not all were stored: {next(r for r in results if r.error)}")
    return seconds


async def measure(url: str, memories: int, batches: int) -> dict[str, list[float]]:
    """Seconds of each batch, by what was measured."""
    texts = [
        f"note {number}: the user asked about topic {number % 97} on day {number % 365}" for number in range(memories)
    ]
    default = WordLlamaEmbedder()
    vectors = dict(zip(texts, map(np.asarray, await default.embed_documents(texts)), strict=True))
    blobs = {text: vector.astype("<f4").tobytes() for text, vector in vectors.items()}
    name = f"bulk{uuid4().hex[:8]}"
    seconds: dict[str, list[float]] = {BARE: [], LOOK_UP: [], DEFAULT: [], FILE: [], THEIRS: []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        np.savez(folder / "workload.npz", texts=np.array(texts), vectors=np.array(list(vectors.values())))
        peer = stack.enter_context(
            PackageProcess(
                install("betterdb-0.7.0", PUBLISHED["betterdb-0.7.0"]),
                url,
                name,
                folder / "workload.npz",
                c_parser=False,
            )
        )
        client = valkey.asyncio.Valkey.from_url(url)
        engine, file = open_engine(url), open_engine(folder / "bulk.db")
        look_up = MemoryStore(client=engine, name=name, embed_fn=LookUp(vectors))
        embedded = MemoryStore(client=engine, name=name, embed_fn=default)
        in_file = MemoryStore(client=file, name=name, embed_fn=default)
        peer.ask("open_store", store="published", options={}, wordllama=True)

        async def published() -> float:
            answer = peer.ask("remember", store="published", texts=texts, thread="t")
            return float(sum(answer["seconds"]))

        turns: dict[str, Callable[[], Awaitable[float]]] = {
            BARE: lambda: bare(client, name, texts, blobs),
            LOOK_UP: lambda: many(look_up, texts),
            DEFAULT: lambda: many(embedded, texts),
            FILE: lambda: many(in_file, texts),
            THEIRS: published,
        }
        for batch in range(batches + 1):
            labels = list(turns)
            first = batch % len(labels)
            for label in labels[first:] + labels[:first]:
                # Each begins with an empty index: what is there already makes every insertion dearer.
                for place in (engine, file):
                    records = place.records(record.memory_collection(name))
                    await records.drop()
                    await records.prepare(len(blobs[texts[0]]) // 4)
                took = await turns[label]() / memories
                if batch:  # the first round loads models and scripts
                    seconds[label].append(took)
        await engine.close()
        await file.close()
        await client.aclose()
    return seconds


def ratios(seconds: dict[str, list[float]], of: str, to: str) -> float:
    """How many times as fast `of` is as `to`: the median of the batches."""
    return statistics.median(theirs / ours for ours, theirs in zip(seconds[of], seconds[to], strict=True))


def report(seconds: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Memories a second and ratios."""
    return {
        label: {
            "memories_per_second": round(1 / statistics.median(values)),
            "times_bare": round(ratios(seconds, label, BARE), 2),
            "times_published": round(ratios(seconds, label, THEIRS), 1),
        }
        for label, values in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url")
    parser.add_argument("--memories", type=int, default=5_000)
    parser.add_argument("--batches", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        url = arguments.url or stack.enter_context(ValkeyServer()).url
        figures = report(asyncio.run(measure(url, arguments.memories, arguments.batches)))
    print(f"{'':26} {'memories/s':>12} {'x bare':>8} {'x published':>12}")
    for label, row in figures.items():
        print(f"{label:26} {row['memories_per_second']:12,} {row['times_bare']:8} {row['times_published']:12}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    met = figures[LOOK_UP]["times_bare"] >= TARGET_BARE and figures[DEFAULT]["times_published"] >= TARGET_PUBLISHED
    if arguments.check and not met:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
