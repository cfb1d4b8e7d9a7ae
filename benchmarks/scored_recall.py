"""What a recall takes by each scoring model, alone, with the memories that links add, and where it makes links.

    python -m benchmarks.scored_recall [--sizes 1000 20000] [--dimensions 384] [--scopes 10% 100%]

A server (a Valkey with RediSearch on a free port) and a file, filled with the memories of `benchmarks.synthetic`: a
third of them was recalled before (with the times of the last four recalls), a tenth has traces, stability and counts
of outcomes, a twentieth is doubted, and each is linked to three others of its agent. Vector retrieval, k = 8, no
distance too large, embedding left out, deferred reinforcement, written after each round ("flush": its share of a
call). All sides are asked the same questions in turns, another one first each time.

plain            the model alone
13 hits          the composite alone, with as many more hits as links add at most
expand           expand=True
links            link_recalled=True: what is recalled together is linked
expand, links    both

Milliseconds a call, median (99th percentile in brackets); "x" is the median of the rounds' ratios to the plain
composite, "cpu" the processor time of a call here and on the server in ms, with its ratio behind it: it changes less
where the machine is busy. Bytes are those that came back.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import valkey

from benchmarks.synthetic import Corpus, Question
from betterdb_agent_memory import DeferredReinforcement, MemoryScope, MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import Engine, LinkedRecords, RecordWrite
from betterdb_agent_memory.engines.links import LinkChange, Strength, score_of
from betterdb_agent_memory.memory.record import memory_collection
from betterdb_agent_memory.options import Scoring
from tests.servers import ValkeyServer

K = 8
ADDED = 5
AGENTS = 10
DAY_MS = 86_400_000
MODELS: tuple[Scoring, ...] = ("composite", "activation", "chain", "retrievability")
NEVER_SECONDS = 86_400.0


@dataclass(slots=True)
class Side:
    """One way of asking: through which store, and how. What its rounds took, in ms, and what they moved."""

    label: str
    store: MemoryStore
    scoring: Scoring
    expand: bool
    k: int = K
    rounds: list[list[float]] = field(default_factory=list)
    flushes: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    round_trips: int = 0
    received: int = 0
    added: int = 0

    async def ask(
        self, engine: Engine, questions: Sequence[Question], scope: str, server_cpu: Callable[[], float]
    ) -> None:
        taken = []
        before, worked = replace(engine.traffic), time.process_time() + server_cpu()
        for question in questions:
            began = time.perf_counter()
            hits = await self.store.recall_by_vector(
                question.vector,
                k=self.k,
                threshold=2,
                scoring=self.scoring,
                expand=self.expand,
                scope=MemoryScope(**question.scope(scope)),
            )
            taken.append(1000 * (time.perf_counter() - began))
            self.added += sum(hit.explain is not None and hit.explain.link is not None for hit in hits)
        self.round_trips += engine.traffic.round_trips - before.round_trips
        self.received += engine.traffic.bytes_received - before.bytes_received
        self.rounds.append(taken)
        self.cpu.append(1000 * (time.process_time() + server_cpu() - worked) / len(questions))
        began = time.perf_counter()
        await self.store.flush()
        self.flushes.append(1000 * (time.perf_counter() - began) / len(questions))

    @property
    def calls(self) -> int:
        return sum(map(len, self.rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 20_000])
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--scopes", nargs="+", default=["10%", "100%"], choices=["1%", "10%", "100%"])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--calls", type=int, default=25, help="in each round, of each side")
    parser.add_argument("--places", nargs="+", default=["server", "file"], choices=["server", "file"])
    arguments = parser.parse_args()
    print(f"{'':55}{'ms':>16}{'x':>6}{'cpu':>7}{'x':>6}{'flush':>7}{'trips':>6}{'bytes':>8}{'added':>6}")
    for place in arguments.places:
        for size in arguments.sizes:
            with ExitStack() as stack:
                url: str | Path
                if place == "server":
                    url = stack.enter_context(ValkeyServer()).url
                else:
                    url = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "memory.db"
                asyncio.run(_measure(place, url, size, arguments))


async def _measure(place: str, url: str | Path, size: int, arguments: argparse.Namespace) -> None:
    dimensions, rounds, calls = arguments.dimensions, arguments.rounds, arguments.calls
    engine = open_engine(url)
    server_cpu = _cpu_of(url)
    now_ms = int(time.time() * 1000)

    async def embed(text: str) -> list[float]:
        return [1.0] * dimensions  # asked once, for the length of vectors

    def store(*, link_recalled: bool) -> MemoryStore:
        return MemoryStore(
            client=engine,
            name="scored",
            embed_fn=embed,
            reinforcement=DeferredReinforcement(interval_seconds=NEVER_SECONDS, max_pending=1_000_000),
            link_recalled=link_recalled,
        )

    plain, linking = store(link_recalled=False), store(link_recalled=True)
    await plain.ensure_index()
    corpus = Corpus(dimensions, now_ms)
    await _fill(engine, plain, corpus, size, now_ms)
    await linking.ensure_index()
    for scope in arguments.scopes:
        sides = [
            Side(f"{model}{', expand' if expand else ''}{', links' if links else ''}", store, model, expand)
            for store, links in ((plain, False), (linking, True))
            for model in MODELS
            for expand in (False, True)
            if not links or model in ("composite", "activation")
        ]
        sides.append(Side(f"composite, {K + ADDED} hits", plain, "composite", expand=False, k=K + ADDED))
        questions = corpus.questions(calls * (rounds + 1), range(size))
        for turn in range(rounds + 1):
            asked = questions[turn * calls : (turn + 1) * calls]
            for side in [*sides[turn % len(sides) :], *sides[: turn % len(sides)]]:
                await side.ask(engine, asked, scope, server_cpu)
            if not turn:  # connections, scripts, caches
                sides = [Side(side.label, side.store, side.scoring, side.expand, side.k) for side in sides]
        for side in sides:
            _print_line(f"{place}, {size:,}, {scope}: {side.label}", side, sides[0])
    for one in (plain, linking):
        await one.close()
    await engine.close()


async def _fill(engine: Engine, store: MemoryStore, corpus: Corpus, size: int, now_ms: int) -> None:
    records = (await store.workplace()).records
    drawn = np.random.default_rng(7)
    ids: list[str] = []
    for writes in corpus.writes(size):
        lived = [_lived(write, len(ids) + n, drawn, now_ms) for n, write in enumerate(writes)]
        for start in range(0, len(lived), 250):
            await records.write_many(lived[start : start + 250])
        ids += [write.id for write in writes]
    links = engine.links(LinkedRecords.of(memory_collection("scored")))
    changes = [
        LinkChange(id, ids[other], Strength(score_of(1.0, now_ms), now_ms))
        for n, id in enumerate(ids)
        for other in ((n + AGENTS) % size, int(drawn.integers(size // AGENTS)) * AGENTS + n % AGENTS)
        if other != n
    ]
    for start in range(0, len(changes), 500):
        await links.put(changes[start : start + 500], now_ms=now_ms)


def _lived(write: RecordWrite, n: int, drawn: np.random.Generator, now_ms: int) -> RecordWrite:
    """The memory with what a life leaves: recalls, outcomes, doubt."""
    fields = dict(write.fields)
    created_ms = int(fields["created_at"])
    if n % 3 == 0:
        times = sorted(int(drawn.integers(created_ms, now_ms)) for _ in range(4))
        fields |= {
            "last_accessed_at": b"%d" % times[-1],
            "access_count": b"%d" % (4 + n % 5),
            "recent": ",".join(map(str, times)).encode(),
        }
    if n % 10 == 0:
        fields |= {"working": b"0.8", "core": b"0.3", "strength_at": b"%d" % created_ms, "stability": b"40"}
        fields |= {"uses": b"3", "successes": b"2.4"}
    if n % 20 == 0:
        fields["reliability"] = b"0.4"
    return replace(write, fields=fields)


def _cpu_of(place: str | Path) -> Callable[[], float]:
    """The seconds that the server's process has worked so far; nothing where there is none."""
    if isinstance(place, Path):
        return lambda: 0.0
    client = valkey.Valkey.from_url(place)

    def seconds() -> float:
        info: Any = client.info("cpu")
        return float(info["used_cpu_user"] + info["used_cpu_sys"])

    return seconds


def _print_line(label: str, side: Side, composite: Side) -> None:
    taken = np.sort(np.concatenate(side.rounds))
    ratio = np.median([np.median(one) / np.median(of) for one, of in zip(side.rounds, composite.rounds, strict=True)])
    of_cpu = np.median(np.array(side.cpu) / np.array(composite.cpu))
    print(
        f"{label:55}{f'{np.median(taken):.2f} ({taken[len(taken) * 99 // 100]:.1f})':>16}{ratio:6.2f}"
        f"{np.median(side.cpu):7.2f}{of_cpu:6.2f}{np.median(side.flushes):7.2f}{side.round_trips / side.calls:6.2f}"
        f"{side.received / side.calls:8,.0f}{side.added / side.calls:6.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
