"""What is measured in a store of each size while it grows, on a server and in a file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

import apsw
import numpy as np
import valkey
import valkey.asyncio

from benchmarks.growth import WARM_UP, Embedded, timed_recalls
from benchmarks.peer_worker import NO_CEILING
from benchmarks.recall_latency import Meter
from benchmarks.scale.exact import TOP, Exact
from benchmarks.scale.layouts import used_bytes
from benchmarks.synthetic import CHUNK, Corpus, Question, stored
from betterdb_agent_memory import MemoryListOptions, MemoryScope, MemoryStore, RecallWeights
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import Engine, RecordWrite
from betterdb_agent_memory.engines.valkey import commands
from betterdb_agent_memory.memory import record
from tests.servers import ValkeyServer

NAME = "scale"
KINDS = ("1%", "10%", "100%")
RETRIEVALS = ("vector", "hybrid")
QUESTIONS = 200
EFFORTS = (10, 50, 100, 200, 400, 800, 1600)
CANDIDATES = 4 * TOP
"""What a recall with k = 10 looks at."""

BY_SIMILARITY = RecallWeights(1, 0, 0)
LATE = 0.1
"""The last part of a growth, whose writes meet a store of nearly the size."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long is measured: recalls of one kind, at most so many and so many seconds."""

    calls: int
    seconds: float


class Loading:
    """The memories of a corpus on their way into a store, and what it took this process to write them."""

    def __init__(self, corpus: Corpus, size: int) -> None:
        self._writes: Iterator[list[RecordWrite]] = corpus.writes(size)
        self.written = 0
        self.cpu_seconds = 0.0

    async def until(self, size: int, write: Callable[[Sequence[RecordWrite]], Awaitable[object]]) -> list[float]:
        """Write up to `size` memories; seconds of each thousand, without the time to make them."""
        seconds = []
        while self.written < size:
            chunk = next(self._writes)
            cpu, began = process_time(), perf_counter()
            await write(chunk)
            seconds.append(perf_counter() - began)
            self.cpu_seconds += process_time() - cpu
            self.written += len(chunk)
        return seconds


def rates(seconds: Sequence[float]) -> dict[str, float]:
    """Memories a second of a growth, and of its end."""
    late = seconds[-max(1, round(len(seconds) * LATE)) :]
    return {"writes_a_second": len(seconds) * 1000 / sum(seconds), "late_a_second": len(late) * 1000 / sum(late)}


async def recalls(
    store: MemoryStore, embed: Embedded, questions: Sequence[Question], effort: Effort, meter: Meter | None = None
) -> dict[str, dict[str, float]]:
    """Milliseconds of recalls by retrieval and scope, of this process's CPU; with a `meter` what a server counted."""
    embed.learn(questions)
    measured = {}
    for kind in KINDS:
        for retrieval in RETRIEVALS:
            cpu = process_time()
            if meter is None:
                seconds, counted = await timed_recalls(store, questions, kind, retrieval, effort.seconds), {}
            else:
                with meter.counting() as counted:
                    seconds = await timed_recalls(store, questions, kind, retrieval, effort.seconds)
            calls = len(seconds) + WARM_UP
            own_ms = (process_time() - cpu) * 1000 / calls
            p50, p99 = np.percentile(seconds, [50, 99]) * 1000
            figures = {"calls": len(seconds), "p50_ms": float(p50), "p99_ms": float(p99), "own_cpu_ms": own_ms}
            if counted:
                figures |= {
                    "server_cpu_ms": counted["cpu"] * 1000 / calls,
                    "received_kb": counted["total_net_output_bytes"] / calls / 1000,
                    "sent_kb": counted["total_net_input_bytes"] / calls / 1000,
                }
            measured[f"{retrieval}, {kind}"] = figures
    return measured


async def found_of_exact(
    store: MemoryStore, embed: Embedded, questions: Sequence[Question], exact: Exact, size: int
) -> dict[str, float]:
    """Recall@10 by scope: the mean share of the ten nearest that a recall by similarity returns."""
    embed.learn(questions)
    found = {}
    for kind in KINDS:
        shares = []
        for question in questions[:QUESTIONS]:
            hits = await store.recall(
                question.text,
                k=TOP,
                threshold=NO_CEILING,
                scope=MemoryScope(**question.scope(kind)),
                weights=BY_SIMILARITY,
                reinforce=False,
            )
            shares.append(exact.share_found(question, kind, size, [hit.item.id for hit in hits]))
        found[kind] = float(np.mean(shares))
    return found


async def whole_scope_calls(store: MemoryStore, questions: Sequence[Question]) -> dict[str, float]:
    """Median milliseconds of calls that may have to look at more memories than they return."""

    def page(kind: str) -> Callable[[], Awaitable[object]]:
        scope: dict[str, Any] = dict(questions[0].scope(kind))
        return lambda: store.list(MemoryListOptions(limit=10, **scope))

    calls = {"stats": store.stats, **{f"list of 10, {kind}": page(kind) for kind in KINDS}}
    return {name: await _median_ms(call, 5) for name, call in calls.items()}


async def _median_ms(call: Callable[[], Awaitable[object]], times: int) -> float:
    seconds = []
    for _ in range(times):
        began = perf_counter()
        await call()
        seconds.append(perf_counter() - began)
    return float(np.median(seconds)) * 1000


class OnServer:
    """A store on a server that has nothing else, for as long as it grows."""

    def __init__(self, url: str, corpus: Corpus, largest: int) -> None:
        self.corpus = corpus
        self._url = url
        self._loading = Loading(corpus, largest)
        self._client = valkey.Valkey.from_url(url)
        self._meter = Meter(self._client)
        self._engine: Engine | None = None
        self._empty_bytes = 0

    async def grow(self, size: int) -> dict[str, Any]:
        """Bytes and speed of writing, up to `size` memories. Writes as `remember_many` does, 500 in a pipeline."""
        if self._engine is None:
            self._engine = open_engine(self._url)
            await self._engine.records(record.memory_collection(NAME)).prepare(self.corpus.dimensions)
            stored(self._client, NAME)
            self._empty_bytes = used_bytes(self._client)
        before = self._loading.written
        with self._meter.counting() as counted:
            seconds = await self._loading.until(size, self._engine.records(record.memory_collection(NAME)).write_many)
        if stored(self._client, NAME) != size:
            raise RuntimeError(f"the index has {stored(self._client, NAME):,} memories instead of {size:,}")
        memory: Any = self._client.info("memory")
        return {
            **rates(seconds),
            "server_cpu_ms_a_write": counted["cpu"] * 1000 / (size - before),
            "used_bytes": (used_bytes(self._client) - self._empty_bytes) / size,
            "rss_bytes": memory["used_memory_rss"] / size,
            **self._index_info(),
        }

    async def ask(self, size: int, effort: Effort, exact: Exact) -> dict[str, Any]:
        """Recalls, recall@10, and calls that may look at much."""
        embed = Embedded()
        client = valkey.asyncio.Valkey.from_url(self._url, socket_timeout=60)
        store = MemoryStore(client=client, name=NAME, embed_fn=embed)
        questions = self.corpus.questions(WARM_UP + max(effort.calls, QUESTIONS), range(size))
        figures = {
            "recalls": await recalls(store, embed, questions[: WARM_UP + effort.calls], effort, self._meter),
            "recall_at_10": await found_of_exact(store, embed, questions, exact, size),
            "calls": await whole_scope_calls(store, questions) | {"FT.INFO": await self._info_ms()},
        }
        await store.close()
        await client.aclose()
        return figures

    def efforts(self, size: int, exact: Exact) -> dict[str, Any]:
        """Bare searches for 40 candidates at several EF, without a scope: milliseconds and recall@10."""
        collection = record.memory_collection(NAME)
        questions = self.corpus.questions(QUESTIONS, range(size))
        figures = {}
        for ef in EFFORTS:
            seconds, shares = [], []
            for question in questions:
                command = commands.nearest(
                    collection, "*", question.vector.tobytes(), count=CANDIDATES, ef=ef, fields=(), timeout_ms=5000
                )
                began = perf_counter()
                answer: Any = self._client.execute_command(*command)
                seconds.append(perf_counter() - began)
                shares.append(exact.share_found(question, "100%", size, _nearest_ids(collection.key_prefix, answer)))
            p50, p99 = np.percentile(seconds, [50, 99]) * 1000
            figures[str(ef)] = {"p50_ms": float(p50), "p99_ms": float(p99), "recall_at_10": float(np.mean(shares))}
        return figures

    def restart(self, size: int, folder: Path) -> dict[str, float]:
        """Seconds to save all in the server's `folder`, and until another server that was given it finds everything."""
        began = perf_counter()
        self._client.save()
        saved = perf_counter() - began
        file_bytes = (folder / "dump.rdb").stat().st_size
        began = perf_counter()
        with ValkeyServer(arguments=("--dir", str(folder))) as server, server.blocking_client() as client:
            while int(client.info("persistence")["loading"]):
                sleep(0.1)
            loaded = perf_counter() - began
            if stored(client, NAME) != size:
                raise RuntimeError(f"after loading the index has not all of {size:,} memories")
            return {
                "save_seconds": saved,
                "file_bytes": file_bytes / size,
                "load_seconds": loaded,
                "found_seconds": perf_counter() - began,
            }

    async def close(self) -> None:
        """Close what it opened; the server is its caller's."""
        if self._engine is not None:
            await self._engine.close()
        self._client.close()

    def _index_info(self) -> dict[str, Any]:
        """The sizes that FT.INFO states, in MB as it counts them, the distinct terms, and the mean content in bytes."""
        answer: Any = self._client.execute_command("FT.INFO", f"{NAME}:mem:idx")
        pairs = dict(zip(answer[::2], answer[1::2], strict=True))
        contents = [len(write.fields[record.CONTENT]) for write in next(self.corpus.writes(CHUNK))]
        return {
            "info": {name.decode(): float(value) for name, value in pairs.items() if name.endswith(b"_mb")},
            "terms": int(pairs[b"num_terms"]),
            "content_bytes": sum(contents) / len(contents),
        }

    async def _info_ms(self) -> float:
        async def ask() -> object:
            return self._client.execute_command("FT.INFO", f"{NAME}:mem:idx")

        return await _median_ms(ask, 5)


def _nearest_ids(prefix: str, answer: Any) -> list[str]:
    """Ids of the ten nearest rows of a search's answer."""
    rows = sorted(zip(answer[1::2], answer[2::2], strict=True), key=lambda row: float(row[1][1]))
    return [key.decode().removeprefix(prefix) for key, _ in rows[:TOP]]


class InFile:
    """A store in one file, for as long as it grows; opened anew for each size, so that the file is whole."""

    def __init__(self, path: Path, corpus: Corpus, largest: int) -> None:
        self._path = path
        self._corpus = corpus
        self._loading = Loading(corpus, largest)

    async def grow(self, size: int) -> dict[str, Any]:
        """Bytes of the file and speed of writing, up to `size` memories."""
        engine = open_engine(self._path)
        records = engine.records(record.memory_collection(NAME))
        await records.prepare(self._corpus.dimensions)
        before, cpu = self._loading.written, self._loading.cpu_seconds
        seconds = await self._loading.until(size, records.write_many)
        await engine.close()
        parts = await asyncio.to_thread(_parts_of_file, self._path)
        return {
            **rates(seconds),
            "own_cpu_ms_a_write": (self._loading.cpu_seconds - cpu) * 1000 / (size - before),
            "file_bytes": self._path.stat().st_size / size,
            "parts": {name: total / size for name, total in parts.items()},
        }

    async def ask(self, size: int, effort: Effort, exact: Exact) -> dict[str, Any]:
        """Recalls, recall@10, and calls that may look at much."""
        embed = Embedded()
        engine = open_engine(self._path)
        store = MemoryStore(client=engine, name=NAME, embed_fn=embed)
        questions = self._corpus.questions(WARM_UP + max(effort.calls, QUESTIONS), range(size))
        figures = {
            "recalls": await recalls(store, embed, questions[: WARM_UP + effort.calls], effort),
            "recall_at_10": await found_of_exact(store, embed, questions, exact, size),
            "calls": await whole_scope_calls(store, questions),
        }
        await store.close()
        await engine.close()
        return figures


def _parts_of_file(path: Path) -> dict[str, float]:
    """Bytes of each table and index."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    found = list(connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC"))
    connection.close()
    return {str(name): float(str(total)) for name, total in found}
