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
ratio       the published package's time through this one: of p50, where reinforced of "all in"; median of the batches
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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import distributions, version
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import UUID

import numpy as np
import valkey
import valkey.asyncio
from numpy.typing import NDArray

from benchmarks.peer_worker import NO_CEILING, PackageProcess
from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import RecordWrite
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.version import package_version
from scripts.install_peers import PEERS, PUBLISHED, install
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
            # Both ways of writing a hit back count the access last.
            "writes": per_call.get("evalsha", per_call.get("hincrby", 0.0)),
            "commands": per_call,
        }


@dataclass(frozen=True, slots=True)
class Variant:
    """One side of a comparison: what is asked of which process."""

    label: str
    package: PackageProcess
    do: str
    arguments: dict[str, Any]


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


def take_turns(
    variants: Sequence[Variant], batches: Sequence[tuple[list[str], str | None]], meter: Meter
) -> dict[str, Measurement]:
    """Every variant on every batch of (texts, thread), another one first each time."""
    measured = {variant.label: Measurement() for variant in variants}
    for turn, (texts, thread) in enumerate(batches):
        first = turn % len(variants)
        for variant in (*variants[first:], *variants[:first]):
            into = measured[variant.label]
            with meter.counting(into):
                arguments = dict(variant.arguments)
                if variant.do == "command":
                    arguments["arguments"] = [thread if part == "{thread}" else part for part in arguments["arguments"]]
                else:
                    arguments["thread"] = thread
                answer = variant.package.ask(variant.do, texts=texts, **arguments)
            into.seconds.append(answer["seconds"])
            into.after_seconds.append(answer["after_seconds"])
            into.ids.extend(answer.get("ids", ()))
    return measured
