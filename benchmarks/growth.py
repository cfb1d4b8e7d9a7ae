"""What a recall costs as memories and scopes grow, on a server and in a file, as figures and as plots.

    python -m benchmarks.growth
    python -m benchmarks.growth --quick
    python -m benchmarks.growth --json figures.json --plots docs/images
    python -m benchmarks.growth --from figures.json --plots docs/images
    python -m benchmarks.growth --url valkey://localhost:6379 --keep

Memories of `benchmarks.synthetic`, 384 dimensions, k = 8, no ceiling on distance, reinforce=False, one
caller; embedding is a look-up. Milliseconds, median and 99th percentile. First the number of memories
grows, without a scope and within one of 1,000 memories; then the scope, in the store of `--scoped` memories. Without
--url a Valkey with RediSearch is started on a free port. The plots need matplotlib.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from inspect import signature
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import valkey
import valkey.asyncio

from benchmarks.peer_worker import NO_CEILING
from benchmarks.recall_latency import prepare, remove
from benchmarks.side_by_side import PUBLISHED_NAME, machine
from benchmarks.synthetic import CHUNK, SIZES_OF_NAMESPACES, Corpus, Question, members_of_namespace
from betterdb_agent_memory import MemoryScope, MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.memory import record
from scripts.install_peers import PUBLISHED, install
from tests.servers import ValkeyServer

DIMENSIONS = 384
K = 8
FIXED_SCOPE = 1_000
WARM_UP = 20
RECALL_AXIS = "recall, median, ms"
RETRIEVALS = ("vector", "hybrid")
SERVER, FILE = "server", "file"


@dataclass(frozen=True, slots=True)
class Point:
    """What recalls took: `scope` is the number of memories searched, that of all without one."""

    engine: str
    retrieval: str
    memories: int
    scope: int
    calls: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Stores of these sizes, in which of them the scope grows, and how much is asked of each."""

    sizes: Sequence[int]
    scoped: int
    calls: int
    seconds: float

    def scopes(self, size: int) -> list[int]:
        """How many memories are searched in a store of `size`: all, a fixed scope, or growing ones."""
        reaching = [scope for scope in SIZES_OF_NAMESPACES if members_of_namespace(scope).stop <= size]
        return [*(reaching if size == self.scoped else [one for one in reaching if one == FIXED_SCOPE]), size]


class Embedded:
    """An embedder that looks the vectors of questions up."""

    def __init__(self) -> None:
        self._vectors: dict[str, list[float]] = {}

    def learn(self, questions: Sequence[Question]) -> None:
        """Know these questions and no others."""
        self._vectors = {question.text: [float(number) for number in question.vector] for question in questions}

    async def __call__(self, text: str) -> list[float]:
        return self._vectors[text]


async def measure(
    store: MemoryStore, embed: Embedded, corpus: Corpus, plan: Plan, engine: str, size: int
) -> list[Point]:
    """One point for each retrieval and scope of a store."""
    points = []
    for scope in plan.scopes(size):
        among = range(size) if scope == size else members_of_namespace(scope)
        questions = corpus.questions(WARM_UP + plan.calls, among)
        embed.learn(questions)
        kind = "100%" if scope == size else f"s{scope}"
        for retrieval in RETRIEVALS:
            if retrieval == "hybrid" and "retrieval" not in signature(MemoryStore.recall).parameters:
                continue
            seconds = await timed_recalls(store, questions, kind, retrieval, plan.seconds)
            p50, p99 = np.percentile(seconds, [50, 99]) * 1000
            points.append(Point(engine, retrieval, size, scope, len(seconds), float(p50), float(p99)))
            print(
                f"{engine}, {retrieval}, {size:,} memories, {scope:,} searched: {p50:.2f} ({p99:.2f})", file=sys.stderr
            )
    return points


async def timed_recalls(
    store: MemoryStore, questions: Sequence[Question], kind: str, retrieval: str, limit_seconds: float
) -> list[float]:
    """Seconds of one recall after the other, each in the scope of this `kind` that its question is in.

    The first `WARM_UP` are not among them; after `limit_seconds` no further one is asked.
    """
    options: dict[str, Any] = {} if retrieval == "vector" else {"retrieval": retrieval}
    seconds: list[float] = []
    ends = perf_counter() + limit_seconds
    for number, question in enumerate(questions):
        where = MemoryScope(**question.scope(kind))
        began = perf_counter()
        await store.recall(question.text, k=K, threshold=NO_CEILING, scope=where, reinforce=False, **options)
        if number >= WARM_UP:
            seconds.append(perf_counter() - began)
        if seconds and perf_counter() > ends:
            break
    return seconds


async def measure_server(url: str, corpus: Corpus, plan: Plan, size: int) -> list[Point]:
    """The points of one size on a server; its store has to be there."""
    embed = Embedded()
    client = valkey.asyncio.Valkey.from_url(url)
    store = MemoryStore(client=client, name=f"bench-{DIMENSIONS}-{size}", embed_fn=embed)
    points = await measure(store, embed, corpus, plan, SERVER, size)
    await store.close()
    await client.aclose()
    return points


async def measure_file(corpus: Corpus, plan: Plan) -> list[Point]:
    """The points of every size in one file that grows."""
    points = []
    async with _file() as (engine, records):
        written = 0
        writes = corpus.writes(max(plan.sizes))
        for size in plan.sizes:
            while written < size:
                chunk = next(writes)
                await records.write_many(chunk)
                written += len(chunk)
            embed = Embedded()
            store = MemoryStore(client=engine, name="bench", embed_fn=embed)
            points += await measure(store, embed, corpus, plan, FILE, size)
            await store.close()
    return points


@asynccontextmanager
async def _file() -> AsyncIterator[tuple[Any, Any]]:
    with tempfile.TemporaryDirectory() as directory:
        engine = open_engine(Path(directory, "memory.db"))
        records = engine.records(record.memory_collection("bench"))
        await records.prepare(DIMENSIONS)
        try:
            yield engine, records
        finally:
            await engine.close()


def table(points: Sequence[Point], chosen: Callable[[Point], bool]) -> str:
    """Rows of memories and scope, a column for each engine and retrieval, as Markdown."""
    kept = [point for point in points if chosen(point)]
    columns = sorted({(point.engine, point.retrieval) for point in kept}, reverse=True)
    cells = {(point.memories, point.scope, point.engine, point.retrieval): point for point in kept}
    lines = [["memories", "searched", *[f"{engine}, {retrieval}" for engine, retrieval in columns]]]
    lines.append(["---"] * len(lines[0]))
    for memories, scope in sorted({(point.memories, point.scope) for point in kept}):
        row = [cells.get((memories, scope, *column)) for column in columns]
        shown = ["" if point is None else f"{point.p50_ms:.3g} ({point.p99_ms:.3g})" for point in row]
        lines.append([f"{memories:,}", f"{scope:,}", *shown])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plot(points: Sequence[Point], scoped: int, folder: Path) -> None:
    """`recall-by-memories.svg` and `recall-by-scope.svg`, legible on a light and on a dark page."""
    folder.mkdir(parents=True, exist_ok=True)
    by_memories = [
        (label, [(point.memories, point.p50_ms) for point in line])
        for label, line in _lines(points, lambda point: point.scope == point.memories)
    ]
    by_memories += [
        (f"{label}, scope of {FIXED_SCOPE:,}", [(point.memories, point.p50_ms) for point in line])
        for label, line in _lines(points, lambda point: point.scope == FIXED_SCOPE != point.memories)
    ]
    draw(by_memories, "memories in the store", RECALL_AXIS, _COLOURS, folder / "recall-by-memories.svg")
    by_scope = [
        (label, [(point.scope, point.p50_ms) for point in line])
        for label, line in _lines(points, lambda point: point.memories == scoped)
    ]
    draw(by_scope, f"memories in scope, of {scoped:,}", RECALL_AXIS, _COLOURS, folder / "recall-by-scope.svg")


def _lines(points: Sequence[Point], chosen: Callable[[Point], bool]) -> Iterator[tuple[str, list[Point]]]:
    for engine in (SERVER, FILE):
        for retrieval in RETRIEVALS:
            line = [
                point for point in points if (point.engine, point.retrieval) == (engine, retrieval) and chosen(point)
            ]
            if line:
                yield f"{engine}, {retrieval}", sorted(line, key=lambda point: (point.memories, point.scope))


# Of middling lightness, told apart by eyes that see few colours (Okabe and Ito), and by their dashes.
_COLOURS = {
    "server, vector": "#0072b2",
    "server, hybrid": "#d55e00",
    "file, vector": "#009e73",
    "file, hybrid": "#cc79a7",
}
_GREY = "#808080"


Line = tuple[str, Sequence[tuple[float, float]]]
"""A label, and points; dashed where the label says "scope"."""


def draw(lines: Sequence[Line], across: str, up: str, colours: Mapping[str, str], path: Path) -> None:
    """A plot with two logarithmic axes, `colours` by how a label begins; legible on a light and on a dark page."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    # Letters stay letters, and the same figures make the same file.
    with mpl.rc_context():
        mpl.rc("svg", fonttype="none", hashsalt="growth")
        mpl.rc("font", size=10, family="sans-serif")
        mpl.rc("text", color=_GREY)
        mpl.rc("axes", edgecolor=_GREY, labelcolor=_GREY)
        mpl.rc("xtick", color=_GREY)
        mpl.rc("ytick", color=_GREY)
        figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
        for label, line in lines:
            colour = next(colour for name, colour in colours.items() if label.startswith(name))
            style = "--" if "scope" in label else "-"
            axes.plot(*zip(*line, strict=True), style, color=colour, marker="o", markersize=3.5, label=label)
        axes.set(xscale="log", yscale="log", xlabel=across, ylabel=up)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
            axis.set_minor_formatter(NullFormatter())
        axes.grid(which="major", color=_GREY, alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
        figure.savefig(path, transparent=True, metadata={"Date": None})
        plt.close(figure)


def _plan(arguments: argparse.Namespace) -> Plan:
    sizes = sorted(
        arguments.sizes or ([1_000, 5_000, 50_000] if arguments.quick else [1_000, 5_000, 20_000, 100_000, 300_000])
    )
    scoped = arguments.scoped or min(sizes, key=lambda size: abs(size - 100_000))
    return Plan(sizes, scoped, calls=40 if arguments.quick else 200, seconds=2 if arguments.quick else 6)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", help="memories, whole thousands (default 1000 to 300000)")
    parser.add_argument("--scoped", type=int, help="the size in which the scope grows (default 100000)")
    parser.add_argument("--engines", choices=(SERVER, FILE), nargs="+", default=[SERVER, FILE])
    parser.add_argument("--quick", action="store_true", help="fewer memories and calls")
    parser.add_argument("--url", help="your own server with a search module, with nobody else at work on it")
    parser.add_argument("--keep", action="store_true", help="leave the stores there, to be found by the next run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--from", dest="figures", type=Path, metavar="FILE", help="measure nothing: figures of --json")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw them there")
    arguments = parser.parse_args()
    if any(size % CHUNK for size in arguments.sizes or ()):
        parser.error(f"--sizes are multiples of {CHUNK:,}")
    return arguments


def _measured(arguments: argparse.Namespace, plan: Plan, stack: ExitStack) -> dict[str, Any]:
    corpus = Corpus(DIMENSIONS, int(datetime.now(UTC).timestamp() * 1000))
    points: list[Point] = []
    url = arguments.url or stack.enter_context(ValkeyServer()).url
    client = stack.enter_context(valkey.Valkey.from_url(url))
    about = machine(client, install(PUBLISHED_NAME, PUBLISHED[PUBLISHED_NAME]))
    about["command"] = " ".join(["python -m benchmarks.growth", *sys.argv[1:]])
    if SERVER in arguments.engines:
        for size in plan.sizes:
            seconds = prepare(url, corpus, size)
            print(f"{size:,} memories on the server, loaded in {seconds:.0f} s", file=sys.stderr)
            points += asyncio.run(measure_server(url, corpus, plan, size))
            if not arguments.keep:
                remove(client, f"bench-{DIMENSIONS}-{size}")
    if FILE in arguments.engines:
        points += asyncio.run(measure_file(corpus, plan))
    return {"machine": about, "scoped": plan.scoped, "points": [asdict(point) for point in points]}


def main() -> None:
    arguments = _arguments()
    with ExitStack() as stack:
        if arguments.figures is not None:
            figures = json.loads(arguments.figures.read_text(encoding="utf-8"))
        else:
            figures = _measured(arguments, _plan(arguments), stack)
    points, scoped = [Point(**point) for point in figures["points"]], figures["scoped"]
    print("\nmedian (99th percentile), ms, by memories\n")
    print(table(points, lambda point: point.scope in (point.memories, FIXED_SCOPE)))
    print(f"\nby scope, among {scoped:,}\n")
    print(table(points, lambda point: point.memories == scoped))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if arguments.plots:
        plot(points, scoped, arguments.plots)


if __name__ == "__main__":
    main()
