"""How long a recall takes beside the bare search it is made of, and beside the published package's.

    python -m benchmarks.recall_latency
    python -m benchmarks.recall_latency --quick
    python -m benchmarks.recall_latency --dims 384 --sizes 20000 --json figures.json
    python -m benchmarks.recall_latency --url valkey://localhost:6379 --keep

Without --url a Valkey with RediSearch is started on a free port. Memories and questions are those of
`benchmarks.synthetic`; embedding is a look-up. Both packages use valkey-py with its default pool and, unless
--parser says otherwise, with the parser in C; k is 8 and no distance is too large. The sides take turns on batches of
the same questions, another one first each time. One caller awaits each call before the next; 32 are as many tasks
of one event loop, on one client, that take the next question as soon as they have an answer.

bare search            the FT.SEARCH that finds the candidates of our vector recall, with all their fields, sent
                       by the client library, whose answer is thrown away
composite              our recall, vector retrieval, reinforce=False
composite, deferred    the same with deferred reinforcement, written after each batch ("with the flush": counted in)
hybrid                 our recall, retrieval="hybrid", reinforce=False
published              recall of betterdb-agent-memory 0.7.0, reinforce=False
published, reinforced  its default

A ratio is the median of the batches' ratios. Bytes, requests and the server's CPU time are the server's own counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import valkey
import valkey.asyncio
from numpy.typing import NDArray

from benchmarks.peer_worker import NO_CEILING, PackageProcess
from benchmarks.side_by_side import Check, machine
from benchmarks.synthetic import Corpus, Question, load, stored
from betterdb_agent_memory import MemoryScope, MemoryStore
from scripts.install_peers import PUBLISHED, install
from tests.servers import ValkeyServer

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED_NAME = "betterdb-0.7.0"
K = 8
SCOPES = ("1%", "10%", "100%")
QUESTIONS = 2_000

BARE = "bare search"
COMPOSITE, DEFERRED, HYBRID = "composite", "composite, deferred", "hybrid"
THEIRS, THEIRS_REINFORCED = "published", "published, reinforced"

COMPOSITE_TARGET = 1.35
HYBRID_TARGET = 4.0
FASTER_TARGET = 6.0
THROUGHPUT_TARGET = 3.0
KB_TARGET = 8.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked: batches a side, and in each so many calls or so many seconds, whichever comes first."""

    dimensions: Sequence[int]
    sizes: Sequence[int]
    callers: Sequence[int]
    batches: int
    calls: int
    calls_of_many: int
    seconds: float

    def calls_of(self, callers: int) -> int:
        """Calls in one batch."""
        return self.calls if callers == 1 else self.calls_of_many


@dataclass(frozen=True, slots=True)
class Side:
    """One way of asking: in which process, and what the process is told."""

    label: str
    package: PackageProcess
    request: dict[str, Any]


@dataclass(slots=True)
class Measured:
    """What the batches of one side took."""

    seconds: list[list[float]] = field(default_factory=list)
    wall_seconds: list[float] = field(default_factory=list)
    after_seconds: list[float] = field(default_factory=list)
    client_seconds: float = 0.0
    counted: dict[str, float] = field(default_factory=dict)

    def add(self, answer: dict[str, Any], counted: dict[str, float]) -> None:
        """One more batch, and what the server counted meanwhile."""
        self.seconds.append(answer["seconds"])
        self.wall_seconds.append(answer["wall_seconds"])
        self.after_seconds.append(answer["after_seconds"])
        self.client_seconds += answer["cpu_seconds"]
        for name, value in counted.items():
            self.counted[name] = self.counted.get(name, 0.0) + value

    @property
    def calls(self) -> int:
        return sum(map(len, self.seconds))

    def medians(self) -> NDArray[np.float64]:
        """Milliseconds of the median call, batch by batch."""
        return np.array([np.median(batch) * 1000 for batch in self.seconds])

    def all_in(self) -> NDArray[np.float64]:
        """Milliseconds of the median call with its share of the flush, batch by batch."""
        pairs = zip(self.seconds, self.after_seconds, strict=True)
        return np.array([(np.median(batch) + after / len(batch)) * 1000 for batch, after in pairs])

    def rates(self) -> NDArray[np.float64]:
        """Calls a second, batch by batch."""
        return np.array([len(batch) / wall for batch, wall in zip(self.seconds, self.wall_seconds, strict=True)])

    def all_in_rates(self) -> NDArray[np.float64]:
        """Calls a second, batch by batch, the flush counted in."""
        batches = zip(self.seconds, self.wall_seconds, self.after_seconds, strict=True)
        return np.array([len(batch) / (wall + after) for batch, wall, after in batches])

    def summary(self) -> dict[str, float]:
        flat = np.concatenate([np.array(batch) for batch in self.seconds]) * 1000
        return {
            "calls": self.calls,
            "p50_ms": float(np.percentile(flat, 50)),
            "p99_ms": float(np.percentile(flat, 99)),
            "with_flush_ms": float(np.median(self.all_in())),
            "calls_a_second": float(np.median(self.rates())),
            "with_flush_calls_a_second": float(np.median(self.all_in_rates())),
            "client_cpu_ms": self.client_seconds / self.calls * 1000,
            "server_cpu_ms": self.counted["cpu"] / self.calls * 1000,
            "received_kb": self.counted["total_net_output_bytes"] / self.calls / 1000,
            "sent_kb": self.counted["total_net_input_bytes"] / self.calls / 1000,
            "requests": self.counted["total_reads_processed"] / self.calls,
        }


class Meter:
    """What a server counts, with what asking for it costs taken off again."""

    _COUNTS = ("total_net_output_bytes", "total_net_input_bytes", "total_reads_processed")

    def __init__(self, client: valkey.Valkey) -> None:
        self._client = client
        before, after = self._read(), self._read()
        self._own = {name: after[name] - before[name] for name in self._COUNTS}

    @contextmanager
    def counting(self) -> Iterator[dict[str, float]]:
        """Filled when the block ends."""
        counted: dict[str, float] = {}
        before = self._read()
        yield counted
        after = self._read()
        counted.update({name: after[name] - before[name] - self._own.get(name, 0.0) for name in after})

    def _read(self) -> dict[str, float]:
        info: dict[str, Any] = self._client.execute_command("INFO", "stats", "cpu")
        return {name: float(info[name]) for name in self._COUNTS} | {
            "cpu": info["used_cpu_user"] + info["used_cpu_sys"]
        }


class Bench:
    """One store of a server, both packages on it, and what is measured there."""

    def __init__(
        self, url: str, peer: Path, plan: Plan, corpus: Corpus, size: int, c_parser: dict[str, bool], stack: ExitStack
    ) -> None:
        self._url, self._plan, self._size = url, plan, size
        self.dimensions = corpus.dimensions
        self.name = f"bench-{corpus.dimensions}-{size}"
        self._questions = corpus.questions(QUESTIONS, range(size))
        self._asked = 0
        self._meter = Meter(stack.enter_context(valkey.Valkey.from_url(url)))
        workload = Path(stack.enter_context(tempfile.TemporaryDirectory()), "workload.npz")
        np.savez(
            workload,
            texts=np.array([question.text for question in self._questions]),
            vectors=np.array([question.vector for question in self._questions]),
        )
        self._ours = stack.enter_context(PackageProcess(ROOT, url, self.name, workload, c_parser=c_parser["ours"]))
        self._theirs = stack.enter_context(PackageProcess(peer, url, self.name, workload, c_parser=c_parser[THEIRS]))
        self.about = {"ours": self._ours.ask("about"), THEIRS: self._theirs.ask("about")}
        for package in (self._ours, self._theirs):
            package.ask("open_store", store="plain", options={})
        self._ours.ask("open_store", store="deferred", options={"reinforcement": "deferred"})
        self.has_hybrid = self._ours.ask("takes", store="plain", option="retrieval")

    def measure(self) -> Iterator[dict[str, Any]]:
        """One result for each scope and number of callers."""
        for scope in SCOPES:
            sides = self._sides(scope)
            self._take_turns(sides, scope, 32, batches=1, calls=64)
            for callers in self._plan.callers:
                calls = self._plan.calls_of(callers)
                measured = self._take_turns(sides, scope, callers, batches=self._plan.batches, calls=calls)
                yield {
                    "dimensions": self.dimensions,
                    "memories": self._size,
                    "scope": scope,
                    "callers": callers,
                    "sides": compared(measured),
                }

    def _take_turns(
        self, sides: Sequence[Side], scope: str, callers: int, *, batches: int, calls: int
    ) -> dict[str, Measured]:
        measured = {side.label: Measured() for side in sides}
        for turn in range(batches):
            asked = [(question.text, question.scope(scope)) for question in self._next_questions(calls)]
            first = turn % len(sides)
            for side in (*sides[first:], *sides[:first]):
                with self._meter.counting() as counted:
                    answer = side.package.ask(
                        "many_callers",
                        asked=asked,
                        callers=callers,
                        at_most_seconds=self._plan.seconds,
                        **side.request,
                    )
                measured[side.label].add(answer, counted)
        return measured

    def _next_questions(self, count: int) -> list[Question]:
        """Questions that were not asked for as long as possible, so that little is known of their words."""
        places = [(self._asked + number) % len(self._questions) for number in range(count)]
        self._asked += count
        return [self._questions[place] for place in places]

    def _sides(self, scope: str) -> list[Side]:
        unchanged = {"k": K, "reinforce": False}
        sides = [
            Side(BARE, self._ours, {"command": asyncio.run(self._overheard(scope))}),
            self._recalling(COMPOSITE, self._ours, "plain", unchanged),
            self._recalling(DEFERRED, self._ours, "deferred", {"k": K}),
            self._recalling(THEIRS, self._theirs, "plain", unchanged),
            self._recalling(THEIRS_REINFORCED, self._theirs, "plain", {"k": K}),
        ]
        if self.has_hybrid:
            sides.append(self._recalling(HYBRID, self._ours, "plain", unchanged | {"retrieval": "hybrid"}))
        return sides

    def _recalling(self, label: str, package: PackageProcess, store: str, options: dict[str, Any]) -> Side:
        return Side(label, package, {"recall": {"store": store, "options": options}})

    async def _overheard(self, scope: str) -> list[str | None]:
        """The search that our vector recall sends; None where its vector was, `<thread_id>` for its scope."""
        question = self._questions[0]

        async def embed(_: str) -> list[float]:
            return [float(number) for number in question.vector]

        overhearing = Overhearing(valkey.asyncio.Valkey.from_url(self._url))
        store = MemoryStore(client=overhearing, name=self.name, embed_fn=embed, default_threshold=NO_CEILING)
        # The second of two: what a store has to learn about its index and the scope is learnt by the first.
        for _ in range(2):
            await store.recall(question.text, k=K, reinforce=False, scope=MemoryScope(**question.scope(scope)))
        await store.close()
        await overhearing.client.aclose()
        *_, search = [command for command in overhearing.commands if command[0] == "FT.SEARCH"]
        vector = question.vector.tobytes()
        return [None if part == vector else _blanked(_text(part), question.scope(scope)) for part in search]


class Overhearing:
    """The least that our store accepts as a client: passes commands on and keeps them."""

    def __init__(self, client: valkey.asyncio.Valkey) -> None:
        self.client = client
        self.commands: list[tuple[Any, ...]] = []

    async def execute_command(self, *command: Any) -> Any:
        self.commands.append(command)
        return await self.client.execute_command(*command)


def _text(part: Any) -> str:
    return part.decode() if isinstance(part, bytes) else str(part)


def _blanked(part: str, scope: dict[str, str]) -> str:
    for name, value in scope.items():
        part = part.replace("{" + value + "}", "{<" + name + ">}")
    return part


def prepare(url: str, corpus: Corpus, size: int) -> float:
    """Make a store of `size` memories unless it is there; seconds taken."""
    name = f"bench-{corpus.dimensions}-{size}"
    began = perf_counter()
    with valkey.Valkey.from_url(url) as client:
        there = stored(client, name)
        if there == size:
            return 0.0
        if there:
            remove(client, name)
        asyncio.run(_make_index(url, name, corpus.dimensions))
        # A new index looks for memories that are there; those written meanwhile it would take in twice.
        stored(client, name)
        load(client, name, corpus.writes(size))
    return perf_counter() - began


async def _make_index(url: str, name: str, dimensions: int) -> None:
    async def embed(_: str) -> list[float]:
        return [1.0] * dimensions

    client = valkey.asyncio.Valkey.from_url(url)
    store = MemoryStore(client=client, name=name, embed_fn=embed)
    await store.ensure_index()
    await store.close()
    await client.aclose()


def remove(client: valkey.Valkey, name: str) -> None:
    """A store's index and its memories."""
    client.execute_command("FT.DROPINDEX", f"{name}:mem:idx")
    keys: list[bytes] = []
    for key in client.scan_iter(f"{name}:mem:*", count=10_000):
        keys.append(key)
        if len(keys) == 1_000:
            client.unlink(*keys)
            keys.clear()
    if keys:
        client.unlink(*keys)


def compared(measured: dict[str, Measured]) -> dict[str, dict[str, float]]:
    """Every side with how it stands to the bare search and to the published package."""
    bare, theirs = measured[BARE], measured[THEIRS_REINFORCED]
    return {
        label: side.summary()
        | {
            "x_bare": _median(side.medians() / bare.medians()),
            "with_flush_x_bare": _median(side.all_in() / bare.medians()),
            "x_published": _median(theirs.medians() / side.medians()),
            "with_flush_x_published": _median(theirs.medians() / side.all_in()),
            "rate_x_published": _median(side.rates() / theirs.rates()),
            "with_flush_rate_x_published": _median(side.all_in_rates() / theirs.rates()),
            "rate_x_published_unreinforced": _median(side.rates() / measured[THEIRS].rates()),
        }
        for label, side in measured.items()
    }


def _median(ratios: NDArray[np.float64]) -> float:
    return float(np.median(ratios))


def checks(results: Sequence[dict[str, Any]]) -> list[Check]:
    """Every target on every result that it speaks of."""
    made = []
    for result in results:
        sides, callers = result["sides"], result["callers"]
        where = f"{result['dimensions']} dims, {result['memories']:,} memories, scope {result['scope']}"
        composite, deferred, hybrid = sides[COMPOSITE], sides[DEFERRED], sides.get(HYBRID)
        if callers > 1:
            what = f"{callers} callers' rate, times published, {where}"
            made.append(_at_least(f"{DEFERRED}: {what}", deferred["rate_x_published"], THROUGHPUT_TARGET))
            flushed = deferred["with_flush_rate_x_published"]
            made.append(_at_least(f"{DEFERRED} and flushed: {what}", flushed, THROUGHPUT_TARGET))
            continue
        made += [
            _at_most(f"{COMPOSITE}: times bare, {where}", composite["x_bare"], COMPOSITE_TARGET),
            _at_most(f"{DEFERRED}: times bare, {where}", deferred["x_bare"], COMPOSITE_TARGET),
            _at_most(f"{DEFERRED} and flushed: times bare, {where}", deferred["with_flush_x_bare"], COMPOSITE_TARGET),
            _at_least(f"{DEFERRED}: times as fast, {where}", deferred["x_published"], FASTER_TARGET),
            _at_least(
                f"{DEFERRED} and flushed: times as fast, {where}", deferred["with_flush_x_published"], FASTER_TARGET
            ),
            _at_most(f"{COMPOSITE}: kB received, {where}", composite["received_kb"], KB_TARGET),
        ]
        if hybrid is not None:
            made.append(_at_most(f"{HYBRID}: times bare, {where}", hybrid["x_bare"], HYBRID_TARGET))
            made.append(_at_most(f"{HYBRID}: kB received, {where}", hybrid["received_kb"], KB_TARGET))
    return made


def _at_most(what: str, measured: float, target: float) -> Check:
    return Check(f"{what}: at most {target:g}", f"{measured:.2f}", measured <= target)


def _at_least(what: str, measured: float, target: float) -> Check:
    return Check(f"{what}: at least {target:g}", f"{measured:.1f}", measured >= target)


def tables(results: Sequence[dict[str, Any]]) -> str:
    """The figures as Markdown: what callers wait, beside the published package, and what a call moves."""
    parts = []
    for callers in sorted({result["callers"] for result in results}):
        chosen = [result for result in results if result["callers"] == callers]
        who = "1 caller" if callers == 1 else f"{callers} callers"
        parts += [f"\n**{who}**, ms: median (99th percentile), and times the bare search\n", _waits(chosen)]
        parts += [f"\n**{who}, beside the published package**, ms, and how many times as fast\n", _beside(chosen)]
        if callers == 1:
            parts += ["\n**A call**: kB received / sent, requests, ms of CPU here / on the server\n", _costs(chosen)]
        else:
            parts += [f"\n**{who}**, recalls a second\n", _rates(chosen)]
    return "\n".join(parts)


def _waits(results: Sequence[dict[str, Any]]) -> str:
    rows = []
    for result in results:
        sides = result["sides"]
        deferred = sides[DEFERRED]
        rows.append(
            [
                *_place(result),
                _wait(sides[BARE]),
                *_wait_and_times(sides[COMPOSITE]),
                *_wait_and_times(deferred),
                f"{deferred['with_flush_x_bare']:.2f}",
                *_wait_and_times(sides.get(HYBRID)),
            ]
        )
    names = ["dims", "memories", "scope", BARE, COMPOSITE, "x", "deferred", "x", "x with the flush", HYBRID, "x"]
    return _table(names, rows)


def _wait_and_times(side: dict[str, float] | None) -> tuple[str, str]:
    return ("", "") if side is None else (_wait(side), f"{side['x_bare']:.2f}")


def _beside(results: Sequence[dict[str, Any]]) -> str:
    rows = []
    for result in results:
        sides = result["sides"]
        deferred, theirs = sides[DEFERRED], sides[THEIRS]
        rows.append(
            [
                *_place(result),
                _wait(theirs),
                f"{theirs['p50_ms'] / sides[COMPOSITE]['p50_ms']:.1f}",
                _wait(sides[THEIRS_REINFORCED]),
                f"{deferred['x_published']:.1f}",
                f"{deferred['with_flush_x_published']:.1f}",
                f"{sides[HYBRID]['x_published']:.1f}" if HYBRID in sides else "",
            ]
        )
    names = ["dims", "memories", "scope", THEIRS, COMPOSITE, "its default", "deferred", "with the flush", HYBRID]
    return _table(names, rows)


def _rates(results: Sequence[dict[str, Any]]) -> str:
    labels = (BARE, COMPOSITE, HYBRID, THEIRS, THEIRS_REINFORCED, DEFERRED)
    rows = []
    for result in results:
        sides, deferred = result["sides"], result["sides"][DEFERRED]
        rates = [f"{sides[label]['calls_a_second']:,.0f}" if label in sides else "" for label in labels]
        rows.append(
            [
                *_place(result),
                *rates,
                f"{deferred['with_flush_calls_a_second']:,.0f}",
                f"{deferred['rate_x_published']:.1f}",
                f"{deferred['with_flush_rate_x_published']:.1f}",
                f"{sides[COMPOSITE]['rate_x_published_unreinforced']:.2f}",
            ]
        )
    names = ["dims", "memories", "scope", BARE, COMPOSITE, HYBRID, THEIRS, "its default", "deferred", "with the flush"]
    return _table([*names, "deferred / its default", "with the flush", "composite / published"], rows)


def _costs(results: Sequence[dict[str, Any]]) -> str:
    rows = []
    for result in results:
        cells = []
        for label in (BARE, COMPOSITE, HYBRID, THEIRS, THEIRS_REINFORCED):
            side = result["sides"].get(label)
            cells.append(
                ""
                if side is None
                else f"{side['received_kb']:.1f} / {side['sent_kb']:.1f}, {side['requests']:.1f}, "
                f"{side['client_cpu_ms']:.2f} / {side['server_cpu_ms']:.2f}"
            )
        rows.append([*_place(result), *cells])
    return _table(["dims", "memories", "scope", BARE, COMPOSITE, HYBRID, THEIRS, "its default"], rows)


def _place(result: dict[str, Any]) -> list[str]:
    return [str(result["dimensions"]), f"{result['memories']:,}", result["scope"].replace("%", " %")]


def _wait(side: dict[str, float] | None) -> str:
    return "" if side is None else f"{_three(side['p50_ms'])} ({_three(side['p99_ms'])})"


def _three(number: float) -> str:
    """Three digits that say something."""
    return f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:.0f}"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plan(arguments: argparse.Namespace) -> Plan:
    quick = arguments.quick
    return Plan(
        dimensions=arguments.dims or ([384] if quick else [384, 1536]),
        sizes=sorted(arguments.sizes or ([1_000, 20_000] if quick else [1_000, 20_000, 100_000])),
        callers=arguments.callers or [1, 32],
        batches=3 if quick else 4,
        calls=30 if quick else 100,
        calls_of_many=64 if quick else 128,
        seconds=0.5 if quick else 1.2,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", help="vector lengths (default 384 1536; --quick 384)")
    parser.add_argument("--sizes", type=int, nargs="+", help="memories (default 1000 20000 100000; --quick to 20000)")
    parser.add_argument("--callers", type=int, nargs="+", help="calls at the same time (default 1 32)")
    parser.add_argument("--quick", action="store_true", help="fewer memories and calls")
    parser.add_argument("--url", help="your own server with a search module, with nobody else at work on it")
    parser.add_argument("--keep", action="store_true", help="leave the stores there, to be found by the next run")
    parser.add_argument("--peer", type=Path, help=f"folder of the published package (default .peers/{PUBLISHED_NAME})")
    parser.add_argument(
        "--parser",
        choices=("c", "required"),
        default="c",
        help="how valkey-py reads replies: in C for both (default), or for the published package in Python, which is "
        "what its requirements bring",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--check", action="store_true", help="end with 1 when a target is missed")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    plan = _plan(arguments)
    peer = arguments.peer or install(PUBLISHED_NAME, PUBLISHED[PUBLISHED_NAME])
    c_parser = {"ours": True, THEIRS: arguments.parser == "c"}
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    results: list[dict[str, Any]] = []
    with ExitStack() as stack:
        url = arguments.url or stack.enter_context(ValkeyServer()).url
        client = stack.enter_context(valkey.Valkey.from_url(url))
        about = machine(client, peer)
        about["command"] = " ".join(["python -m benchmarks.recall_latency", *sys.argv[1:]])
        print("\n".join(f"{name:<13} {value}" for name, value in about.items()), file=sys.stderr)
        for dimensions in plan.dimensions:
            corpus = Corpus(dimensions, now_ms)
            for size in plan.sizes:
                seconds = prepare(url, corpus, size)
                print(f"{size:,} memories of {dimensions} dims, loaded in {seconds:.0f} s", file=sys.stderr)
                with ExitStack() as bench_stack:
                    bench = Bench(url, peer, plan, corpus, size, c_parser, bench_stack)
                    about["processes"] = bench.about
                    for result in bench.measure():
                        results.append(result)
                        print(_line(result), file=sys.stderr)
                if not arguments.keep:
                    remove(client, bench.name)
    print(tables(results))
    made = checks(results)
    print(
        "\n".join(["", *[f"{'met   ' if check.met else 'MISSED'} {check.target}: {check.measured}" for check in made]])
    )
    if arguments.json:
        targets = [{"target": check.target, "measured": check.measured, "met": check.met} for check in made]
        report = {"machine": about, "results": results, "targets": targets}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if arguments.check and not all(check.met for check in made):
        raise SystemExit(1)


def _line(result: dict[str, Any]) -> str:
    waits = ", ".join(
        f"{label} {_wait(side)} {side['calls_a_second']:.0f}/s" for label, side in result["sides"].items()
    )
    return f"{' '.join(_place(result))}, {result['callers']}: {waits}"


if __name__ == "__main__":
    main()
