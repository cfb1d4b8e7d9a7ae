"""This package and the published one on the same memories of the same server, in turn; and the embedded engine.

    python -m benchmarks.side_by_side
    python -m benchmarks.side_by_side --quick --check
    python -m benchmarks.side_by_side --dims 384 --sizes 10000 --json figures.json
    python -m benchmarks.side_by_side --url valkey://localhost:6379

Without --url a Valkey with RediSearch is started on a free port. Embedding is a look-up, so its time is not part
of any figure. Both packages use valkey-py with its default settings, one index, the same questions and k = 8
without a ceiling on distance; they take turns in batches, so that a noisy neighbour disturbs both. Columns:

p50, p99    of one call, ms
all in      mean of one call, ms, with the flush at the end of each batch where reinforcement is deferred
x p50       the published package's p50 through this one, batch by batch, median of the batches
x all in    the same of "all in"; the targets are about p50, what a caller waits
kB, trips   what the server sent, and requests that it read, a call
writes      memories written, a call
server      CPU time of the server, ms a call

`bare search` is our own FT.SEARCH, sent by the client library and its answer thrown away. `scoped` questions come
in one thread a batch, `unscoped` ones go to all memories. Questions fall on 200 topics by Zipf's law.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import distributions, version
from pathlib import Path
from time import perf_counter
from typing import Any, cast
from uuid import UUID

import numpy as np
import valkey
import valkey.asyncio
from numpy.typing import NDArray

from benchmarks.peer_worker import C_PARSER, NO_CEILING, PackageProcess
from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import RecordWrite
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.version import package_version
from scripts.install_peers import PUBLISHED, install
from tests.servers import ValkeyServer

PUBLISHED_NAME = "betterdb-0.7.0"
ROOT = Path(__file__).resolve().parent.parent
K = 8
TOPICS = 200
THREAD_MEMORIES = 200
EMBEDDED_DIMENSIONS = 384
EMBEDDED_MEMORIES = 50_000
EMBEDDED_SCOPE = 1_000
DAY_MS = 24 * 3600 * 1000
SEED = 20260229

OURS, THEIRS, BARE = "ours", "published", "bare search"
DEFERRED = "ours, deferred"

READ_TARGETS = {384: 2.0, 1536: 3.0}
IMMEDIATE_TARGET = 2.5
DEFERRED_TARGET = 6.0
EMBEDDED_TARGET_MS = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How many batches of how many calls, and of what."""

    dimensions: list[int]
    sizes: list[int]
    read_batches: int
    read_calls: int
    reinforced_batches: int
    reinforced_calls: int
    remember_batches: int
    remember_calls: int
    embedded_calls: int

    @property
    def questions(self) -> int:
        """Questions enough for every batch to have its own."""
        return max(self.read_batches * self.read_calls, self.reinforced_batches * self.reinforced_calls)


class Texts:
    """Memories and questions with vectors that gather around topics, as those of real texts do."""

    def __init__(self, dimensions: int) -> None:
        self._random = np.random.default_rng(SEED)
        self._topics = _unit(self._random.normal(size=(TOPICS, dimensions)))
        self._popularity = 1 / np.arange(1, TOPICS + 1)
        self._popularity /= self._popularity.sum()
        self._words = [f"word{number}" for number in range(5_000)]

    def vectors(self, count: int) -> NDArray[np.float32]:
        """Unit vectors, shape (count, dimensions); two of one topic have a cosine of about 0.67."""
        dimensions = self._topics.shape[1]
        topics = self._topics[self._random.choice(TOPICS, size=count, p=self._popularity)]
        noise = self._random.normal(scale=0.7 / np.sqrt(dimensions), size=(count, dimensions))
        return _unit(topics + noise).astype(np.float32)

    def records(self, first: int, vectors: NDArray[np.float32], now_ms: int, per_thread: int) -> list[RecordWrite]:
        """Memories of the last 30 days, `per_thread` of them to a thread, numbered from `first`."""
        ages = self._random.uniform(0, 30 * DAY_MS, len(vectors))
        importances = self._random.beta(2, 2, len(vectors)).round(2)
        writes = []
        for position, vector in enumerate(vectors):
            number = first + position
            words = self._random.zipf(1.2, size=20) % len(self._words)
            memory = record.NewMemory(
                id=str(UUID(bytes=self._random.bytes(16), version=4)),
                content=" ".join(self._words[word] for word in words),
                importance=float(importances[position]),
                created_at_ms=now_ms - int(ages[position]),
                tags=("bench",),
                thread_id=f"thread-{number // per_thread}",
                agent_id=f"agent-{number % 7}",
            )
            writes.append(RecordWrite(memory.id, record.encode_memory(memory, vector.tobytes())))
        return writes


@dataclass(slots=True)
class Measurement:
    """What the batches of one side took."""

    seconds: list[list[float]] = field(default_factory=list)
    after_seconds: list[float] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)
    sent_bytes: int = 0
    requests: int = 0
    server_seconds: float = 0.0
    commands: dict[str, int] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        return sum(map(len, self.seconds))

    def medians(self) -> NDArray[np.float64]:
        """Seconds of the median call, batch by batch."""
        return np.array([np.median(batch) for batch in self.seconds])

    def all_in(self) -> NDArray[np.float64]:
        """Mean seconds of a call and its share of the flush, batch by batch."""
        pairs = zip(self.seconds, self.after_seconds, strict=True)
        return np.array([(sum(batch) + after) / len(batch) for batch, after in pairs])

    def summary(self) -> dict[str, Any]:
        flat = np.concatenate([np.array(batch) for batch in self.seconds]) * 1000
        per_call = {name: round(count / self.calls, 3) for name, count in sorted(self.commands.items())}
        return {
            "calls": self.calls,
            "p50_ms": float(np.percentile(flat, 50)),
            "p99_ms": float(np.percentile(flat, 99)),
            "all_in_ms": float(np.median(self.all_in()) * 1000),
            "sent_kb": self.sent_bytes / self.calls / 1000,
            "requests": self.requests / self.calls,
            "server_ms": self.server_seconds / self.calls * 1000,
            # Ours is one script a memory; theirs an HSET, with an HINCRBY after it when a hit is written back.
            "writes": per_call.get("evalsha", per_call.get("hset", 0.0)),
            "commands": per_call,
        }


@dataclass(frozen=True, slots=True)
class Variant:
    """One side of a comparison: what is asked of which process, for questions in a thread (None: in all)."""

    label: str
    package: PackageProcess
    do: str
    arguments: Callable[[str | None], dict[str, Any]]


Batch = tuple[list[str], str | None]
"""Texts, and the thread that they belong to or are asked in."""


class Meter:
    """What a server says that it did, with what asking costs taken off again."""

    def __init__(self, client: valkey.Valkey) -> None:
        self._client = client
        before, after = self._read(), self._read()
        self._own = {name: after[name] - before[name] for name in before if not name.startswith("cmdstat_")}

    @contextmanager
    def counting(self, into: Measurement) -> Iterator[None]:
        before = self._read()
        yield
        after = self._read()
        used = {name: value - before.get(name, 0) for name, value in after.items()}
        into.sent_bytes += int(used["total_net_output_bytes"] - self._own["total_net_output_bytes"])
        into.requests += int(used["total_reads_processed"] - self._own["total_reads_processed"])
        into.server_seconds += used["cpu"]
        for name, count in used.items():
            command = name.removeprefix("cmdstat_")
            if command != name and command != "info" and count:
                into.commands[command] = into.commands.get(command, 0) + int(count)

    def _read(self) -> dict[str, float]:
        info: dict[str, Any] = self._client.execute_command("INFO", "stats", "cpu", "commandstats")
        numbers = {name: float(info[name]) for name in ("total_net_output_bytes", "total_reads_processed")}
        numbers["cpu"] = info["used_cpu_user"] + info["used_cpu_sys"]
        stats = {name.lower(): value["calls"] for name, value in info.items() if name.startswith("cmdstat_")}
        return numbers | stats


def take_turns(variants: Sequence[Variant], batches: Sequence[Batch], meter: Meter) -> dict[str, Measurement]:
    """Every variant on every batch, another one first each time."""
    measured = {variant.label: Measurement() for variant in variants}
    for turn, (texts, thread) in enumerate(batches):
        first = turn % len(variants)
        for variant in (*variants[first:], *variants[:first]):
            into, arguments = measured[variant.label], variant.arguments(thread)
            with meter.counting(into):
                answer = variant.package.ask(variant.do, texts=texts, **arguments)
            into.seconds.append(answer["seconds"])
            into.after_seconds.append(answer["after_seconds"])
            into.ids.extend(answer.get("ids", ()))
    return measured


class Bench:
    """One store of one vector length on a server, both packages on it, and what is measured there."""

    def __init__(
        self, url: str, peer: Path, plan: Plan, dimensions: int, parsers: dict[str, bool], stack: ExitStack
    ) -> None:
        self._url, self._plan, self._dimensions = url, plan, dimensions
        self._name = f"bench{os.getpid()}-{dimensions}"
        self._client = valkey.Valkey.from_url(url)
        self._texts = Texts(dimensions)
        self._now_ms = int(datetime.now(UTC).timestamp() * 1000)
        self._ids: list[str] = []
        self._matrix = np.empty((0, dimensions), dtype=np.float32)
        self._questions = {f"question {number}": row for number, row in enumerate(self._texts.vectors(plan.questions))}
        new = self._texts.vectors(plan.remember_batches * plan.remember_calls)
        self._new = {f"new memory {number} of the benchmark": row for number, row in enumerate(new)}
        workload = Path(stack.enter_context(tempfile.TemporaryDirectory()), "workload.npz")
        known = self._questions | self._new
        np.savez(workload, texts=np.array(list(known)), vectors=np.array(list(known.values())))
        stack.callback(self._remove_everything)
        asyncio.run(self._with_recorder(lambda store: store.ensure_index()))
        self._ours = stack.enter_context(PackageProcess(ROOT, url, self._name, workload, c_parser=parsers[OURS]))
        self._theirs = stack.enter_context(PackageProcess(peer, url, self._name, workload, c_parser=parsers[THEIRS]))
        self._meter = Meter(self._client)
        self.about = {OURS: self._ours.ask("about"), THEIRS: self._theirs.ask("about")}

    def grow(self, size: int) -> float:
        """Load memories until there are `size`, past both packages; seconds taken."""
        began = perf_counter()
        vectors = self._texts.vectors(size - len(self._ids))
        writes = self._texts.records(len(self._ids), vectors, self._now_ms, THREAD_MEMORIES)
        for start in range(0, len(writes), 500):
            pipeline = self._client.pipeline(transaction=False)
            for write in writes[start : start + 500]:
                pipeline.hset(f"{self._name}:mem:{write.id}", mapping=dict(write.fields))
            pipeline.execute()
        self._ids += [write.id for write in writes]
        self._matrix = np.concatenate([self._matrix, vectors])
        # A worker that starts on a store of this size: ours asks how large the index is.
        for package in (self._ours, self._theirs):
            package.ask("open_store", store="immediate", options={})
        self._ours.ask("open_store", store="deferred", options={"reinforcement": "deferred"})
        return perf_counter() - began

    def measure(self) -> Iterator[dict[str, Any]]:
        """One result per comparison at the present size."""
        warm_up = self._batches(1, 20, scoped=False)
        take_turns(self._readers(), warm_up, self._meter)
        for scoped in (False, True):
            yield self._result("recall", scoped, self._read(scoped))
        yield self._result("remember", True, self._remember())
        for scoped in (False, True):
            yield self._result("recall, reinforced", scoped, self._reinforce(scoped))

    def agreement(self) -> dict[str, Any]:
        """How far both return the same memories, and how many of the truly nearest, unscoped and scoped."""
        rows = {}
        for scoped in (False, True):
            batches = self._batches(5, 20, scoped=scoped)
            ranked = take_turns(self._recalls(weights=None), batches, self._meter)
            by_similarity = {"similarity": 1.0, "recency": 0.0, "importance": 0.0}
            nearest = take_turns(self._recalls(weights=by_similarity), batches, self._meter)
            truth = [self._nearest(text, thread) for texts, thread in batches for text in texts]
            rows["scoped" if scoped else "unscoped"] = {
                "same_hits": _overlap(ranked[OURS].ids, ranked[THEIRS].ids),
                "same_hits_by_similarity": _overlap(nearest[OURS].ids, nearest[THEIRS].ids),
                "nearest_found_ours": _overlap(nearest[OURS].ids, truth),
                "nearest_found_published": _overlap(nearest[THEIRS].ids, truth),
            }
        return rows

    def _read(self, scoped: bool) -> dict[str, Measurement]:
        batches = self._batches(self._plan.read_batches, self._plan.read_calls, scoped=scoped)
        return take_turns(self._readers(), batches, self._meter)

    def _reinforce(self, scoped: bool) -> dict[str, Measurement]:
        variants = (
            self._recalling(THEIRS, self._theirs, "immediate", reinforce=True),
            self._recalling(OURS, self._ours, "immediate", reinforce=True),
            self._recalling(DEFERRED, self._ours, "deferred", reinforce=True),
        )
        batches = self._batches(self._plan.reinforced_batches, self._plan.reinforced_calls, scoped=scoped)
        return take_turns(variants, batches, self._meter)

    def _remember(self) -> dict[str, Measurement]:
        variants = [
            Variant(label, package, "remember", lambda thread: {"store": "immediate", "thread": thread})
            for label, package in ((THEIRS, self._theirs), (OURS, self._ours))
        ]
        texts, calls = list(self._new), self._plan.remember_calls
        batches: list[Batch] = [(texts[start : start + calls], f"new-{start}") for start in range(0, len(texts), calls)]
        measured = take_turns(variants, batches, self._meter)
        for measurement in measured.values():
            self._delete(measurement.ids)
        return measured

    def _readers(self) -> tuple[Variant, ...]:
        bare = Variant(BARE, self._ours, "command", lambda thread: {"arguments": self._our_search(thread)})
        return (*self._recalls(weights=None), bare)

    def _recalls(self, weights: dict[str, float] | None) -> tuple[Variant, ...]:
        return (
            self._recalling(THEIRS, self._theirs, "immediate", reinforce=False, weights=weights),
            self._recalling(OURS, self._ours, "immediate", reinforce=False, weights=weights),
        )

    def _recalling(self, label: str, package: PackageProcess, store: str, **options: Any) -> Variant:
        return Variant(label, package, "recall", lambda thread: {"store": store, "thread": thread, "k": K, **options})

    def _our_search(self, thread: str | None) -> list[str | None]:
        """The search that our recall sends, overheard; None where its vector was."""
        commands = asyncio.run(
            self._with_recorder(lambda store: store.recall("any", k=K, thread_id=thread, reinforce=False))
        )
        [search] = [command for command in commands if command[0] == "FT.SEARCH"]
        return [None if isinstance(part, bytes) else str(part) for part in search]

    async def _with_recorder(self, use: Callable[[MemoryStore], Awaitable[Any]]) -> list[tuple[Any, ...]]:
        """Every command that a store of ours sends while `use` has it."""

        async def embed(_: str) -> list[float]:
            return [1.0] * self._dimensions

        recorder = _Recorder(valkey.asyncio.Valkey.from_url(self._url))
        await use(MemoryStore(client=recorder, name=self._name, embed_fn=embed, default_threshold=NO_CEILING))
        await recorder.client.aclose()
        return recorder.commands

    def _batches(self, count: int, calls: int, *, scoped: bool) -> list[Batch]:
        texts = list(self._questions)
        threads = len(self._ids) // THREAD_MEMORIES
        return [
            (texts[turn * calls : (turn + 1) * calls], f"thread-{turn * 7 % threads}" if scoped else None)
            for turn in range(count)
        ]

    def _nearest(self, text: str, thread: str | None) -> list[str]:
        """The ids of the memories truly nearest to a question."""
        first = 0 if thread is None else int(thread.removeprefix("thread-")) * THREAD_MEMORIES
        last = len(self._ids) if thread is None else first + THREAD_MEMORIES
        cosines = self._matrix[first:last] @ self._questions[text]
        return [self._ids[first + place] for place in np.argsort(-cosines)[:K]]

    def _result(self, what: str, scoped: bool, measured: dict[str, Measurement]) -> dict[str, Any]:
        theirs = measured[THEIRS]
        sides = {}
        for label, side in measured.items():
            sides[label] = side.summary() | {
                "p50_ratio": float(np.median(theirs.medians() / side.medians())),
                "all_in_ratio": float(np.median(theirs.all_in() / side.all_in())),
            }
        return {
            "what": what,
            "scope": "scoped" if scoped else "unscoped",
            "dimensions": self._dimensions,
            "memories": len(self._ids),
            "sides": sides,
        }

    def _delete(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), 500):
            self._client.unlink(*(f"{self._name}:mem:{id}" for id in ids[start : start + 500]))

    def _remove_everything(self) -> None:
        try:
            self._client.execute_command("FT.DROPINDEX", f"{self._name}:mem:idx")
        except valkey.ResponseError as error:
            print(f"the index is not there to be dropped: {error}", file=sys.stderr)
        self._delete(self._ids)
        self._client.close()


class _Recorder:
    """The least that our store accepts as a client: passes commands on and keeps them."""

    def __init__(self, client: valkey.asyncio.Valkey) -> None:
        self.client = client
        self.commands: list[tuple[Any, ...]] = []

    async def execute_command(self, *command: Any) -> Any:
        self.commands.append(command)
        return await self.client.execute_command(*command)


async def measure_embedded(plan: Plan) -> list[dict[str, Any]]:
    """The embedded engine on a file of 50,000 memories."""
    texts = Texts(EMBEDDED_DIMENSIONS)
    vectors = texts.vectors(plan.embedded_calls).tolist()
    questions: dict[str, list[float]] = {f"question {number}": row for number, row in enumerate(vectors)}

    async def embed(text: str) -> list[float]:
        return questions[text]

    results = []
    with tempfile.TemporaryDirectory() as directory:
        engine = open_engine(Path(directory, "memory.db"))
        records = engine.records(record.memory_collection("bench"))
        await records.prepare(EMBEDDED_DIMENSIONS)
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        for first in range(0, EMBEDDED_MEMORIES, 1_000):
            await records.write_many(texts.records(first, texts.vectors(1_000), now_ms, EMBEDDED_SCOPE))
        store = MemoryStore(client=engine, name="bench", embed_fn=embed, default_threshold=NO_CEILING)
        scopes = (("scope of 1,000", "thread-20"), ("unscoped", None))
        for scope, thread in scopes:
            for reinforce in (False, True):
                seconds = []
                for text in questions:
                    began = perf_counter()
                    await store.recall(text, k=K, thread_id=thread, reinforce=reinforce)
                    seconds.append(perf_counter() - began)
                results.append(_embedded_result("recall, reinforced" if reinforce else "recall", scope, seconds))
        seconds = []
        for text in questions:
            began = perf_counter()
            await store.remember(text, thread_id="thread-20")
            seconds.append(perf_counter() - began)
        results.append(_embedded_result("remember", "scope of 1,000", seconds))
        await store.close()
        await engine.close()
    return results


def _embedded_result(what: str, scope: str, seconds: Sequence[float]) -> dict[str, Any]:
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return {"what": what, "scope": scope, "calls": len(seconds), "p50_ms": float(p50), "p99_ms": float(p99)}


@dataclass(frozen=True, slots=True)
class Check:
    """A target, and what was measured."""

    target: str
    measured: str
    met: bool


def checks(results: Sequence[dict[str, Any]], embedded: Sequence[dict[str, Any]]) -> list[Check]:
    """Every target on every result that it speaks of."""
    made = []
    for result in results:
        for label, target in _targets(result):
            ratio = result["sides"][label]["p50_ratio"]
            where = f"{result['scope']}, {result['memories']:,} memories, {result['dimensions']} dims"
            made.append(
                Check(f"{label}: {result['what']}, {where}: {target:g}x", f"{ratio:.1f}x", bool(ratio >= target))
            )
    for row in embedded:
        if row["what"] == "recall" and row["scope"] != "unscoped":
            target_text = f"embedded recall, {row['scope']} among 50,000: under {EMBEDDED_TARGET_MS:g} ms"
            made.append(Check(target_text, f"{row['p50_ms']:.1f} ms", row["p50_ms"] < EMBEDDED_TARGET_MS))
    return made


def _targets(result: dict[str, Any]) -> list[tuple[str, float]]:
    if result["what"] == "recall" and result["dimensions"] in READ_TARGETS:
        return [(OURS, READ_TARGETS[result["dimensions"]])]
    if result["what"] == "recall, reinforced":
        return [(OURS, IMMEDIATE_TARGET), (DEFERRED, DEFERRED_TARGET)]
    return []


def machine(client: valkey.Valkey, peer: Path) -> dict[str, Any]:
    """What the figures were measured on, and with."""
    [published] = [found.version for found in distributions(path=[str(peer)], name="betterdb-agent-memory")]
    server = cast("dict[str, Any]", client.info("server"))
    modules = client.execute_command("MODULE", "LIST")
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": " ".join(["python -m benchmarks.side_by_side", *sys.argv[1:]]),
        "commit": _commit(),
        "ours": package_version(),
        "published": published,
        "python": platform.python_version(),
        "valkey_py": version("valkey"),
        "server": f"{server.get('server_name', 'redis')} {server.get('valkey_version', server['redis_version'])}",
        "modules": [_module(entry) for entry in modules],
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(terse=True),
    }


def _module(entry: Any) -> str:
    pairs = entry if isinstance(entry, dict) else dict(zip(entry[::2], entry[1::2], strict=True))
    return f"{pairs[b'name'].decode()} {pairs[b'ver']}"


def _commit() -> str:
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=9"]
    found = subprocess.run(git, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _parsers(choice: str, peer: Path) -> dict[str, bool]:
    """Which package may use the C parser: as its own requirements bring it, or both, or neither."""
    if choice != "required":
        return dict.fromkeys((OURS, THEIRS), choice == "c")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {OURS: any(C_PARSER in one for one in project["dependencies"]), THEIRS: (peer / C_PARSER).is_dir()}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _overlap(some: Sequence[Sequence[str]], others: Sequence[Sequence[str]]) -> float:
    """Mean share of ids that both answers hold."""
    shares = [len(set(one) & set(other)) / max(len(other), 1) for one, other in zip(some, others, strict=True)]
    return float(np.mean(shares))


def _print_result(result: dict[str, Any]) -> None:
    where = f"{result['dimensions']} dims, {result['memories']:,} memories, {result['scope']}"
    print(f"\n{result['what']}: {where}")
    names = ("p50", "p99", "all in", "x p50", "x all in", "kB", "trips", "writes", "server")
    print(f"  {'':<16}" + "".join(f"{name:>9}" for name in names))
    for label, side in result["sides"].items():
        numbers = (side["p50_ms"], side["p99_ms"], side["all_in_ms"], side["p50_ratio"], side["all_in_ratio"])
        rest = (side["sent_kb"], side["requests"], side["writes"], side["server_ms"])
        print(f"  {label:<16}" + "".join(f"{number:9.2f}" for number in (*numbers, *rest)))


def _print_agreement(agreement: dict[str, Any]) -> None:
    for scope, shares in agreement.items():
        print(
            f"  hits, {scope}: " + ", ".join(f"{name.replace('_', ' ')} {share:.3f}" for name, share in shares.items())
        )


def _print_embedded(rows: Sequence[dict[str, Any]]) -> None:
    print(f"\nembedded engine: {EMBEDDED_MEMORIES:,} memories of {EMBEDDED_DIMENSIONS} dims in a file, ms")
    for row in rows:
        print(f"  {row['what']:<20}{row['scope']:<16}p50 {row['p50_ms']:7.2f}  p99 {row['p99_ms']:7.2f}")


def _print_checks(made: Sequence[Check]) -> None:
    print("\ntargets")
    for check in made:
        print(f"  {'met   ' if check.met else 'MISSED'} {check.target}: {check.measured}")


def _plan(arguments: argparse.Namespace) -> Plan:
    quick = arguments.quick
    return Plan(
        dimensions=arguments.dims or [384, 1536],
        sizes=arguments.sizes or ([1_000, 10_000] if quick else [1_000, 10_000, 50_000]),
        read_batches=10 if quick else 25,
        read_calls=10 if quick else 20,
        reinforced_batches=3 if quick else 6,
        reinforced_calls=arguments.recalls_per_flush or 50,
        remember_batches=3 if quick else 10,
        remember_calls=10 if quick else 20,
        embedded_calls=50 if quick else 300,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", help="vector lengths (default 384 1536)")
    parser.add_argument("--sizes", type=int, nargs="+", help="memories (default 1000 10000 50000; --quick up to 10000)")
    parser.add_argument("--quick", action="store_true", help="fewer memories and calls")
    parser.add_argument("--url", help="your own server with a search module, with nobody else at work on it")
    parser.add_argument("--peer", type=Path, help=f"folder of the published package (default .peers/{PUBLISHED_NAME})")
    parser.add_argument(
        "--parser",
        choices=("required", "python", "c"),
        default="required",
        help="how valkey-py reads replies: as each package's requirements have it (default), or in both the same way",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--check", action="store_true", help="end with 1 when a target is missed")
    parser.add_argument("--recalls-per-flush", type=int, metavar="N", help="reinforced recalls in a batch (default 50)")
    parser.add_argument("--no-embedded", action="store_true", help="leave the embedded engine out")
    arguments = parser.parse_args()
    if arguments.sizes and min(arguments.sizes) < THREAD_MEMORIES:
        parser.error(f"--sizes must be at least {THREAD_MEMORIES}, the size of one thread")
    return arguments


def main() -> None:
    arguments = _arguments()
    plan = _plan(arguments)
    peer = arguments.peer or install(PUBLISHED_NAME, PUBLISHED[PUBLISHED_NAME])
    results: list[dict[str, Any]] = []
    agreements: list[dict[str, Any]] = []
    with ExitStack() as stack:
        url = arguments.url or stack.enter_context(ValkeyServer()).url
        client = stack.enter_context(valkey.Valkey.from_url(url))
        about = machine(client, peer)
        print("\n".join(f"{name:<13} {value}" for name, value in about.items()))
        for dimensions in plan.dimensions:
            with ExitStack() as bench_stack:
                bench = Bench(url, peer, plan, dimensions, _parsers(arguments.parser, peer), bench_stack)
                about["processes"] = bench.about
                print("\n" + "\n".join(f"{label:<13} {process}" for label, process in bench.about.items()))
                for size in sorted(plan.sizes):
                    print(f"\nloaded up to {size:,} memories of {dimensions} dims in {bench.grow(size):.0f} s")
                    agreement = bench.agreement()
                    agreements.append({"dimensions": dimensions, "memories": size, **agreement})
                    _print_agreement(agreement)
                    for result in bench.measure():
                        results.append(result)
                        _print_result(result)
    embedded: list[dict[str, Any]] = []
    if not arguments.no_embedded:
        embedded = asyncio.run(measure_embedded(plan))
        _print_embedded(embedded)
    made = checks(results, embedded)
    _print_checks(made)
    if arguments.json:
        report = {
            "machine": about,
            "results": results,
            "agreement": agreements,
            "embedded": embedded,
            "targets": [{"target": check.target, "measured": check.measured, "met": check.met} for check in made],
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if arguments.check and not all(check.met for check in made):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
