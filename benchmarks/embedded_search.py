# ruff: noqa: S608 - table names are literals of this file
"""How long the embedded engine's searches take, against other ways of doing them in SQLite.

    python benchmarks/embedded_search.py --records 50000 --dimensions 384

Fills one file with clustered (or random) vectors in 50 threads and 2 agents, then measures at the
level of the engine's verbs, with recall@k against a comparison of every vector in 64 bits, and at
the level of SQL the alternatives that were not chosen. Milliseconds, median and 95th percentile.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import numpy as np
import sqlite_vec

from betterdb_agent_memory.engines.base import Collection, IndexSchema, RecordWrite, SchemaField, Search
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.filters import Equals, Filter

THREADS, AGENTS = 50, 2
SCHEMA = IndexSchema(
    "vector",
    (
        SchemaField("threadId", "tag"),
        SchemaField("agentId", "tag"),
        SchemaField("namespace", "tag"),
        SchemaField("tags", "tag", multiple=True),
        SchemaField("created_at", "number", sortable=True),
        SchemaField("importance", "number"),
    ),
)


def vectors_of(kind: str, records: int, dimensions: int, rng: np.random.Generator) -> np.ndarray:
    noise = rng.normal(size=(records, dimensions))
    if kind == "random":
        return noise.astype("<f4")
    centres = rng.normal(size=(max(1, records // 250), dimensions))
    return (centres[rng.integers(len(centres), size=records)] + 0.7 * noise).astype("<f4")


def report(name: str, seconds: list[float], note: str = "") -> None:
    low, high = np.percentile(np.array(seconds) * 1000, [50, 95])
    print(f"| {name:<44} | {low:8.2f} | {high:8.2f} | {note:<28} |", flush=True)


async def measure_engine(path: Path, vectors: np.ndarray, queries: np.ndarray, batch: int, count: int) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(Collection("bench:mem:", "bench:mem:idx", SCHEMA))
    await records.prepare(vectors.shape[1])
    started = time.perf_counter()
    for first in range(0, len(vectors), batch):
        await records.write_many([write(i, vectors[i]) for i in range(first, min(first + batch, len(vectors)))])
    took = time.perf_counter() - started
    size = sum(file.stat().st_size for file in path.parent.glob(path.name + "*"))
    print(f"{len(vectors)} inserts in batches of {batch}: {took:.2f} s; file {size / 1e6:.0f} MB\n")
    print(f"| {'engine':<44} | {'p50 ms':>8} | {'p95 ms':>8} | {'':<28} |\n|---|---|---|---|")

    numbers = np.arange(len(vectors))
    unit = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    for name, scope, members in (
        (f"nearest, scope of {len(vectors) // THREADS}", Filter((Equals("threadId", "7"),)), numbers % THREADS == 7),
        (f"nearest, scope of {len(vectors) // AGENTS}", Filter((Equals("agentId", "1"),)), numbers % AGENTS == 1),
        ("nearest, no scope", Filter(), numbers >= 0),
    ):
        seconds, right, ids = [], 0, np.flatnonzero(members)
        scoped = unit[ids]
        for query in queries:
            started = time.perf_counter()
            answers = await records.search_many(
                query.tobytes(), [Search(count, scope)], fields=["content", "created_at"]
            )
            seconds.append(time.perf_counter() - started)
            distances = 1 - scoped @ (query / np.linalg.norm(query.astype(np.float64)))
            truth = ids[np.argsort(distances, kind="stable")[:count]]
            right += len({int(row.id) for row in answers.neighbours[0]} & set(truth.tolist()))
        report(name, seconds, f"recall@{count} {right / (len(queries) * min(count, len(ids))):.4f}")

    thread = Filter((Equals("threadId", "7"),))
    verbs: dict[str, Callable[[], Awaitable[object]]] = {
        "write one": lambda: records.write_many([write(len(vectors), vectors[0])]),
        "20 newest of all": lambda: records.select(
            Filter(), fields=["content"], limit=20, order_by="created_at", descending=True
        ),
        "20 newest of a thread": lambda: records.select(
            thread, fields=["content"], limit=20, order_by="created_at", descending=True
        ),
        "count a thread": lambda: records.count(thread),
    }
    for name, verb in verbs.items():
        seconds = []
        for _ in range(50):
            started = time.perf_counter()
            await verb()
            seconds.append(time.perf_counter() - started)
        report(name, seconds)
    await engine.close()


def write(i: int, vector: np.ndarray) -> RecordWrite:
    return RecordWrite(
        f"{i}",
        {
            "content": b"x" * 200,
            "vector": vector.tobytes(),
            "importance": b"0.5",
            "created_at": b"%d" % (1_750_000_000_000 + i),
            "tags": b"a,%d" % (i % 100),
            "threadId": b"%d" % (i % THREADS),
            "agentId": b"%d" % (i % AGENTS),
        },
    )


def measure_alternatives(path: Path, vectors: np.ndarray, queries: np.ndarray, count: int) -> None:
    """The whole table searched in other ways, by SQL alone; recall of the coarse ones after rescoring."""
    connection = apsw.Connection(str(path))
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.execute("PRAGMA page_size = 8192")
    connection.execute("PRAGMA cache_size = -65536")
    dimensions = vectors.shape[1]
    bytes_of = np.rint(vectors / np.abs(vectors).max(axis=1, keepdims=True) * 127).astype("i1")
    bits_of = np.packbits(vectors > 0, axis=1) if dimensions % 8 == 0 else None
    with connection:
        for table, column, rows in (("exact", "vector BLOB", vectors), ("bytes", "v BLOB", bytes_of)):
            connection.execute(f"CREATE TABLE {table} (key INTEGER PRIMARY KEY, {column})")
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", ((i, r.tobytes()) for i, r in enumerate(rows)))
        if bits_of is not None:
            connection.execute("CREATE TABLE bits (key INTEGER PRIMARY KEY, v BLOB)")
            connection.executemany("INSERT INTO bits VALUES (?, ?)", ((i, r.tobytes()) for i, r in enumerate(bits_of)))
            connection.execute(f"CREATE VIRTUAL TABLE vec0_bits USING vec0(v bit[{dimensions}])")
            connection.executemany(
                "INSERT INTO vec0_bits (rowid, v) VALUES (?, vec_bit(?))",
                ((i, r.tobytes()) for i, r in enumerate(bits_of)),
            )

    def query_bytes(q: np.ndarray) -> bytes:
        return bytes(np.rint(q / np.abs(q).max() * 127).astype("i1"))

    def query_bits(q: np.ndarray) -> bytes:
        return np.packbits(q > 0).tobytes()

    def coarse(sql: str, encode: Callable[[np.ndarray], bytes], factor: int) -> Callable[[np.ndarray], list]:
        text = (
            f"SELECT key FROM exact WHERE key IN ({sql}) ORDER BY vec_distance_cosine(vector, ?) LIMIT {count}"
        ).replace("@", str(factor * count))
        return lambda q: connection.execute(text, (encode(q), q.tobytes())).fetchall()

    ways: dict[str, Callable[[np.ndarray], list]] = {
        "exact scan of float32": lambda q: connection.execute(
            f"SELECT key FROM exact ORDER BY vec_distance_cosine(vector, ?) LIMIT {count}", (q.tobytes(),)
        ).fetchall(),
        "int8 cosine, 4 x oversampled": coarse(
            "SELECT key FROM bytes ORDER BY vec_distance_cosine(vec_int8(v), vec_int8(?)) LIMIT @", query_bytes, 4
        ),
    }
    if bits_of is not None:
        for factor in (8, 64):
            ways[f"bits, Hamming, {factor} x oversampled"] = coarse(
                "SELECT key FROM bits ORDER BY vec_distance_hamming(vec_bit(v), vec_bit(?)) LIMIT @", query_bits, factor
            )
        ways["vec0 table of bits, 8 x oversampled"] = coarse(
            "SELECT rowid FROM vec0_bits WHERE v MATCH vec_bit(?) AND k = @", query_bits, 8
        )
    print(f"\n| {'alternative, no scope':<44} | {'p50 ms':>8} | {'p95 ms':>8} | {'':<28} |\n|---|---|---|---|")
    unit = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    for name, way in ways.items():
        seconds, right = [], 0
        for query in queries[:20]:
            started = time.perf_counter()
            found = way(query)
            seconds.append(time.perf_counter() - started)
            truth = np.argsort(-(unit @ query.astype(np.float64)), kind="stable")[:count]
            right += len({key for (key,) in found} & set(truth.tolist()))
        report(name, seconds, f"recall@{count} {right / (20 * count):.4f}")
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--vectors", choices=("clustered", "random"), default="clustered")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--count", type=int, default=32, help="neighbours asked for")
    parser.add_argument("--batch", type=int, default=500, help="records written at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--alternatives", action="store_true", help="also measure what was not chosen")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    vectors = vectors_of(options.vectors, options.records, options.dimensions, rng)
    near = vectors[rng.integers(len(vectors), size=options.queries)]
    queries = (near + 0.7 * rng.normal(size=near.shape)).astype("<f4")
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure_engine(Path(directory) / "engine.db", vectors, queries, options.batch, options.count))
        if options.alternatives:
            measure_alternatives(Path(directory) / "alternatives.db", vectors, queries, options.count)


if __name__ == "__main__":
    main()
