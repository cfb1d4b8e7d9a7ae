"""What a store of many memories takes and does, to 300,000 on this machine and on paper to a billion.

    python -m benchmarks.scaling --json scaling.json --plots docs/images --page docs/scaling.md
    python -m benchmarks.scaling --quick
    python -m benchmarks.scaling --json scaling.json --engines server --dims 384 --budget-seconds 600
    python -m benchmarks.scaling --json scaling.json --report --page docs/scaling.md

Each figure is kept in --json as soon as it is measured, and what is there is not measured again: a run that was stopped
goes on, one with another file begins anew. A store is loaded again up to where it was. `--report` measures nothing.
Every server is started here on a free port, with nothing else on it; the file lies in a temporary folder.

Memories, questions and scopes are those of `benchmarks.synthetic`: clusters, as texts have them. (Noise without
clusters is harder for a graph, and like no store.) Their vectors are made directly; embedding is a look-up and not part
of any figure. They are written by the engine's verb that `remember_many` ends in. One caller.

Times are marked with ~ where others kept more than a fifth of a core busy meanwhile; sizes and recall@10 do not depend
on that.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from benchmarks.recall_latency import PUBLISHED_NAME
from benchmarks.scale import layouts, many_indexes, peers, real_texts, replica
from benchmarks.scale.charts import plots
from benchmarks.scale.exact import TOP, Exact
from benchmarks.scale.report import report, write_into
from benchmarks.scale.results import BudgetSpentError, Results
from benchmarks.scale.stores import CANDIDATES, EFFORTS, NAME, Effort, InFile, OnServer
from benchmarks.side_by_side import machine
from benchmarks.synthetic import CHUNK, Corpus
from scripts.install_peers import PUBLISHED, install
from tests.servers import ValkeyServer

SERVER, FILE = "server", "file"
SIZES = (10_000, 30_000, 100_000, 300_000)
LARGEST = {256: 300_000, 384: 300_000, 1536: 100_000}
"""Memories beyond which a vector length is not measured: 100,000 of 1536 dimensions take two gigabytes."""

WITH_EFFORTS = 384
"""The vector length at which the effort is varied, the published package runs, and a server is started again."""

RESTARTED = 100_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Which stores are measured, and how long recalls of one kind take at most."""

    engines: Sequence[str]
    dimensions: Sequence[int]
    sizes: Sequence[int]
    stores: Sequence[int]
    effort: Effort
    texts: Path | None

    def sizes_of(self, dimensions: int) -> list[int]:
        """Those that this machine reaches."""
        return [size for size in self.sizes if size <= LARGEST.get(dimensions, min(LARGEST.values()))]


def tell(text: str) -> None:
    """Progress goes to stderr, so that the report can be sent elsewhere."""
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def measure_layouts(results: Results, now_ms: int) -> None:
    """What each part of a memory takes."""
    for layout in layouts.layouts():
        name = f"layout/{layout.name}"
        if name not in results:
            with results.measuring(name) as cell:
                cell |= layouts.measure(layout, now_ms)
            tell(f"{name}: {results.cells[name]['bytes']:.0f} bytes")


async def measure_indexes(results: Results, plan: Plan, corpus: Corpus) -> None:
    """What an index for each of many stores costs."""
    names = {stores: f"indexes/{stores}" for stores in plan.stores}
    if all(name in results for name in names.values()):
        return
    with ValkeyServer() as server:
        many = many_indexes.ManyIndexes(server.url, corpus)
        for stores, name in names.items():
            with results.measuring(name) as cell:
                cell |= await many.grow(stores)
            tell(f"{name}: {cell['bytes_of_an_index']:,.0f} bytes each")
        await many.close()


def measure_replica(results: Results, corpus: Corpus) -> None:
    """What a replica costs and saves."""
    if "replica" not in results:
        with results.measuring("replica") as cell:
            cell |= replica.measure(corpus)
        tell(f"replica: {cell['lost']} of {cell['acknowledged']} lost")


async def measure_server(results: Results, plan: Plan, corpus: Corpus, peer: Path) -> None:
    """One store that grows on a server, with all that is asked of it at each size."""
    sizes = plan.sizes_of(corpus.dimensions)
    wanted = {size: _cells_of_size(corpus.dimensions, size, sizes) for size in sizes}
    left = [size for size in sizes if any(name not in results for name in wanted[size])]
    if not left:
        return
    exact = Exact(corpus, max(left))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(ValkeyServer(arguments=("--dir", folder)))
        store = OnServer(server.url, corpus, max(left))
        for size in [one for one in sizes if one <= max(left)]:
            results.require_time()
            began = perf_counter()
            with results.measuring(f"server/{corpus.dimensions}/{size}/growth") as cell:
                cell |= await store.grow(size)
            tell(f"{size:,} of {corpus.dimensions} dimensions on a server after {perf_counter() - began:.0f} s")
            for name in wanted[size]:
                if name not in results:
                    with results.measuring(name) as cell:
                        match name.rpartition("/")[2]:
                            case "asked":
                                cell |= await store.ask(size, plan.effort, exact)
                            case "efforts":
                                cell |= {"efforts": store.efforts(size, exact)}
                            case "published":
                                cell |= peers.measure(server.url, peer, NAME, corpus, size)
                            case "restart":
                                cell |= store.restart(size, Path(folder))
                    tell(f"{name} after {cell['seconds']:.0f} s")
        await store.close()


def _cells_of_size(dimensions: int, size: int, sizes: Sequence[int]) -> list[str]:
    parts = ["growth", "asked"]
    if dimensions == WITH_EFFORTS:
        parts.append("published")
        if size == max(sizes):
            parts.append("efforts")
        if size == max(one for one in sizes if one <= max(RESTARTED, min(sizes))):
            parts.append("restart")
    return [f"server/{dimensions}/{size}/{part}" for part in parts]


async def measure_file(results: Results, plan: Plan, corpus: Corpus) -> None:
    """One file that grows."""
    sizes = plan.sizes_of(corpus.dimensions)
    left = [size for size in sizes if f"file/{corpus.dimensions}/{size}/asked" not in results]
    if not left:
        return
    exact = Exact(corpus, max(left))
    with tempfile.TemporaryDirectory() as folder:
        store = InFile(Path(folder, "memory.db"), corpus, max(left))
        for size in [one for one in sizes if one <= max(left)]:
            with results.measuring(f"file/{corpus.dimensions}/{size}/growth") as cell:
                cell |= await store.grow(size)
            if size in left:
                name = f"file/{corpus.dimensions}/{size}/asked"
                with results.measuring(name) as cell:
                    cell |= await store.ask(size, plan.effort, exact)
                tell(f"{name} after {cell['seconds']:.0f} s")


def measure(results: Results, plan: Plan) -> None:
    """All that is missing in `results`.

    Raises:
        BudgetSpentError: not all was measured.
    """
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    peer = install(PUBLISHED_NAME, PUBLISHED[PUBLISHED_NAME])
    if not results.machine:
        with ValkeyServer() as server, server.blocking_client() as client:
            results.machine = machine(client, peer) | {"allocator": client.info("memory")["mem_allocator"]}
        results.machine["command"] = " ".join(["python -m benchmarks.scaling", *sys.argv[1:]])
    if SERVER in plan.engines:
        measure_layouts(results, now_ms)
        asyncio.run(measure_indexes(results, plan, Corpus(WITH_EFFORTS, now_ms)))
        measure_replica(results, Corpus(WITH_EFFORTS, now_ms))
        if plan.texts is not None and "texts" not in results:
            with results.measuring("texts") as cell:
                cell |= asyncio.run(real_texts.measure(plan.texts, max(plan.sizes), EFFORTS, CANDIDATES, TOP))
            tell(f"texts after {cell['seconds']:.0f} s")
    for dimensions in plan.dimensions:
        corpus = Corpus(dimensions, now_ms)
        if SERVER in plan.engines:
            asyncio.run(measure_server(results, plan, corpus, peer))
        if FILE in plan.engines:
            asyncio.run(measure_file(results, plan, corpus))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", choices=(SERVER, FILE), nargs="+", default=[SERVER, FILE])
    parser.add_argument("--dims", type=int, nargs="+", help="vector lengths (default 384 256 1536)")
    parser.add_argument("--sizes", type=int, nargs="+", help="memories, whole thousands (default 10000 to 300000)")
    parser.add_argument("--texts", type=Path, metavar="FOLDER", help="also recall@10 among the lines of texts there")
    parser.add_argument("--quick", action="store_true", help="fewer memories and calls: to see that it works")
    parser.add_argument("--budget-seconds", type=float, help="begin nothing further after so long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="figures are kept there, and found there again")
    parser.add_argument("--report", action="store_true", help="measure nothing: figures of --json")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw them there (needs matplotlib)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="replace the tables in this page by these")
    arguments = parser.parse_args()
    if any(size % CHUNK for size in arguments.sizes or ()):
        parser.error(f"--sizes are multiples of {CHUNK:,}")
    return arguments


def main() -> int:
    arguments = _arguments()
    results = Results(arguments.json, arguments.budget_seconds)
    quick = arguments.quick
    plan = Plan(
        arguments.engines,
        arguments.dims or ([384] if quick else [384, 256, 1536]),
        sorted(arguments.sizes or ((2_000, 5_000) if quick else SIZES)),
        (50, 100) if quick else many_indexes.STORES,
        Effort(40, 2) if quick else Effort(300, 10),
        arguments.texts,
    )
    is_whole = True
    if not arguments.report:
        try:
            measure(results, plan)
        except BudgetSpentError:
            is_whole = False
            tell("the budget is spent: the same command goes on")
    found = report(results)
    for title, text in found.items():
        print(f"\n{title}\n\n{text}")
    if arguments.page is not None:
        write_into(arguments.page, found)
    if arguments.plots is not None:
        plots(results, arguments.plots)
    return 0 if is_whole else 3


if __name__ == "__main__":
    raise SystemExit(main())
