"""The figures of `benchmarks.scaling` as tables, and in a page of the documentation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scale import layouts
from benchmarks.scale.peers import ASKED
from benchmarks.scale.results import QUIET_CORES, Results
from benchmarks.scale.sizing import GIB, Fleet, Growing, Parts, Shard, fleet, middle
from benchmarks.scale.stores import KINDS, RETRIEVALS

Cell = Mapping[str, Any]
SHARD = Shard(64 * GIB)
FLEETS = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
TENANT = 10_000
CONTENT_BYTES = 110
CONTENT_OF_NOTES = 400


def report(results: Results) -> dict[str, str]:
    """Markdown tables by name, of those that have figures."""
    tables: dict[str, Callable[[Results], Sequence[Sequence[str]]]] = {
        "machine": _machine,
        "growth": _growth,
        "formula": _formula,
        "parts": _parts,
        "recall": _recall,
        "effort": _effort,
        "file": _file,
        "file recall": _file_recall,
        "file parts": _file_parts,
        "whole scopes": _whole_scopes,
        "published": _published,
        "own index": _own_index,
        "indexes": _indexes,
        "restart": _restart,
        "replica": _replica,
        "fleet": _fleet,
    }
    made = {name: table(results) for name, table in tables.items()}
    return {name: markdown(rows) for name, rows in made.items() if len(rows) > 1}


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its head."""
    head, *rest = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join((head, "|" + "---|" * len(rows[0]), *rest))


def write_into(page: Path, found: Mapping[str, str]) -> None:
    """Put each table where the page has `<!-- figures: name -->`, up to the next blank line behind it.

    Raises:
        ValueError: the page has no such place for a table.
    """
    text = page.read_text(encoding="utf-8")
    for name, table in found.items():
        mark = f"<!-- figures: {name} -->\n"
        if mark not in text:
            raise ValueError(f"{page} has no place for the table {name!r}: it needs a line {mark.strip()}")
        before, behind = text.split(mark)
        text = before + mark + table + "\n" + re.sub(r"\A(?:\|.*\n)*", "", behind)
    page.write_text(text, encoding="utf-8")


def _measured_parts(results: Results) -> Parts | None:
    cells = {name.removeprefix("layout/"): cell for name, cell in results.cells.items() if name.startswith("layout/")}
    is_whole = all(layout.name in cells for layout in layouts.layouts())
    return layouts.parts(cells).rounded() if is_whole else None


def _machine(results: Results) -> list[list[str]]:
    about = results.machine
    if not about or not results.cells:
        return []
    modules = ", ".join(about["modules"])
    days = sorted({cell["date"][:10] for cell in results.cells.values()})
    loudest = max((cell["noise"] for cell in results.cells.values()), default=0.0)
    return [
        ["measured", "with"],
        [
            "on",
            " to ".join(dict.fromkeys((days[0], days[-1]))) + f", commit `{about['commit'].removesuffix('-dirty')}`",
        ],
        ["machine", f"{about['cores']} cores of {about['cpu']}; server and client share them"],
        ["server", f"{about['server']}, {modules}, allocator {about['allocator']}, nothing saved to disk"],
        ["client", f"Python {about['python']}, valkey-py {about['valkey_py']}, parser in C"],
        ["others", f"up to {loudest:.1f} cores while a figure was measured; above {QUIET_CORES}, times are marked ~"],
    ]


def _time(cell: Cell, value: str) -> str:
    """A figure that depends on how quiet the machine was."""
    return f"~{value}" if cell["noise"] > QUIET_CORES else value


def _latency(cell: Cell, figures: Mapping[str, float]) -> str:
    return _time(cell, f"{figures['p50_ms']:.3g} ({figures['p99_ms']:.3g})")


def _growth(results: Results) -> list[list[str]]:
    parts = _measured_parts(results)
    rows = [
        [
            *("dims", "memories", "bytes a memory", "by the formula", "resident", "FT.INFO: vectors", "FT.INFO: rest"),
            *("writes/s, all", "at the end", "server ms a write"),
        ]
    ]
    for dimensions, size, cell in results.stores("server", "growth"):
        formula = ""
        if parts is not None:
            stated = parts.bytes_of(dimensions, cell["content_bytes"], terms_a_memory=cell["terms"] / size)
            formula = f"{stated:,.0f} ({100 * (stated / cell['used_bytes'] - 1):+.1f} %)"
        mib = 2**20 / size
        rows.append(
            [
                f"{dimensions}",
                f"{size:,}",
                f"{cell['used_bytes']:,.0f}",
                formula,
                f"{cell['rss_bytes']:,.0f}",
                f"{cell['info']['vector_index_sz_mb'] * mib:,.0f}",
                f"{cell['info']['total_index_memory_sz_mb'] * mib:,.0f}",
                _time(cell, f"{cell['writes_a_second']:,.0f}"),
                _time(cell, f"{cell['late_a_second']:,.0f}"),
                _time(cell, f"{cell['server_cpu_ms_a_write']:.2f}"),
            ]
        )
    return rows


def _formula(results: Results) -> list[list[str]]:
    parts = _measured_parts(results)
    if parts is None:
        return []
    return [
        ["where", "bytes, with `d` dimensions, `c` bytes of content, `M` links"],
        ["hash", f"{parts.record:.0f} + c + 4 d + {parts.vector:.0f}"],
        ["index, entry of the memory", f"{parts.document:.0f}"],
        ["index, vector and graph", f"4 d + 8 M + {parts.graph:.0f}"],
        ["index, tags and numbers", f"{parts.tags:.0f} + {parts.numbers:.0f}"],
        ["index, words", f"{parts.words:.0f} + {parts.words_of_a_byte:.2f} c"],
        ["index, each word or stem that the store did not have", f"{parts.term:.0f}"],
    ]


def _parts(results: Results) -> list[list[str]]:
    parts = _measured_parts(results)
    if parts is None:
        return []
    shapes = [(256, CONTENT_BYTES), (384, CONTENT_BYTES), (384, CONTENT_OF_NOTES), (1536, CONTENT_OF_NOTES)]
    columns = [parts.of_memory(*shape) for shape in shapes]
    rows = [["part", *(f"d = {dimensions}, c = {content}" for dimensions, content in shapes)]]
    rows += [[part, *(f"{column[part]:,.0f}" for column in columns)] for part in columns[0] if "met first" not in part]
    return [*rows, ["together", *(f"{sum(column.values()):,.0f}" for column in columns)]]


def _recall(results: Results) -> list[list[str]]:
    rows = [["dims", "memories", "scope", "vector", "server", "hybrid", "server", "kB, vector", "hybrid", "recall@10"]]
    for dimensions, size, cell in results.stores("server", "asked"):
        for kind in KINDS:
            vector, hybrid = (cell["recalls"][f"{retrieval}, {kind}"] for retrieval in RETRIEVALS)
            rows.append(
                [
                    f"{dimensions}",
                    f"{size:,}",
                    kind.replace("%", " %"),
                    _latency(cell, vector),
                    _time(cell, f"{vector['server_cpu_ms']:.2g}"),
                    _latency(cell, hybrid),
                    _time(cell, f"{hybrid['server_cpu_ms']:.2g}"),
                    f"{vector['received_kb']:.1f}",
                    f"{hybrid['received_kb']:.0f}",
                    f"{cell['recall_at_10'][kind]:.3f}",
                ]
            )
    return rows


def _effort(results: Results) -> list[list[str]]:
    stores = {
        f"{size:,} made, {dimensions} dims": cell for dimensions, size, cell in results.stores("server", "efforts")
    }
    if (texts := results.cells.get("texts")) is not None:
        stores[f"{texts['memories']:,} lines of text, {texts['dimensions']} dims"] = texts
    head = ["EF_RUNTIME", *(text for name in stores for text in (f"ms, {name}", "recall@10"))]
    efforts = list(dict.fromkeys(ef for cell in stores.values() for ef in cell["efforts"]))
    return [head, *([ef, *(text for cell in stores.values() for text in _effort_of(cell, ef))] for ef in efforts)]


def _effort_of(cell: Cell, ef: str) -> list[str]:
    if (figures := cell["efforts"].get(ef)) is None:
        return ["", ""]
    return [_latency(cell, figures), f"{figures['recall_at_10']:.3f}"]


def _file(results: Results) -> list[list[str]]:
    rows = [["dims", "memories", "bytes a memory", "writes/s, all", "at the end", "CPU ms a write"]]
    for dimensions, size, cell in results.stores("file", "growth"):
        rows.append(
            [
                f"{dimensions}",
                f"{size:,}",
                f"{cell['file_bytes']:,.0f}",
                _time(cell, f"{cell['writes_a_second']:,.0f}"),
                _time(cell, f"{cell['late_a_second']:,.0f}"),
                _time(cell, f"{cell['own_cpu_ms_a_write']:.2g}"),
            ]
        )
    return rows


def _file_recall(results: Results) -> list[list[str]]:
    rows = [["dims", "memories", "scope", "vector", "CPU", "hybrid", "CPU", "recall@10"]]
    for dimensions, size, cell in results.stores("file", "asked"):
        for kind in KINDS:
            recalls = [cell["recalls"][f"{retrieval}, {kind}"] for retrieval in RETRIEVALS]
            times = [(_latency(cell, one), _time(cell, f"{one['own_cpu_ms']:.2g}")) for one in recalls]
            found = f"{cell['recall_at_10'][kind]:.3f}"
            rows.append([f"{dimensions}", f"{size:,}", kind.replace("%", " %"), *times[0], *times[1], found])
    return rows


_FILE_PARTS = {
    "the vector": "vector_",
    "a quarter of it, for the coarse pass": "coarse_",
    "content and the other fields": "body_",
    "id, scope, numbers, and their indexes": "record_|sqlite_autoindex_record_",
    "tags": "tag_",
    "index of words": "word_|stem_",
}


def _file_parts(results: Results) -> list[list[str]]:
    largest = {dimensions: cell for dimensions, _, cell in results.stores("file", "growth")}
    rows = [["part", *(f"d = {dimensions}" for dimensions in largest)]]
    for name, pattern in _FILE_PARTS.items():
        rows.append([name, *(f"{_sum_of(cell['parts'], pattern):,.0f}" for cell in largest.values())])
    return rows if largest else []


def _sum_of(parts: Mapping[str, float], pattern: str) -> float:
    return sum(size for name, size in parts.items() if re.match(pattern, name))


def _whole_scopes(results: Results) -> list[list[str]]:
    calls = ["FT.INFO", "stats", *(f"list of 10, {kind}" for kind in KINDS)]
    rows = [["engine", "dims", "memories", *(call.replace("%", " %") for call in calls)]]
    for engine in ("server", "file"):
        for dimensions, size, cell in results.stores(engine, "asked"):
            shown = [_time(cell, f"{cell['calls'][call]:.3g}") if call in cell["calls"] else "" for call in calls]
            rows.append([engine, f"{dimensions}", f"{size:,}", *shown])
    return rows


def _published(results: Results) -> list[list[str]]:
    rows = [["memories", "call", "ours", "published", "published / ours"]]
    for _, size, cell in results.stores("server", "published"):
        for asked in ASKED:
            ours, theirs = cell["ours"][asked], cell["published"][asked]
            ratio = f"{theirs['p50_ms'] / ours['p50_ms']:.2g}"
            rows.append([f"{size:,}", asked.replace("%", " %"), _latency(cell, ours), _latency(cell, theirs), ratio])
    return rows


def _own_index(results: Results) -> list[list[str]]:
    """The same number of memories as a tenth of a store, and as a store."""
    asked = {store[:2]: store[2] for store in results.stores("server", "asked")}
    growth = {store[:2]: store[2] for store in results.stores("server", "growth")}
    rows = [["dims", "memories", "where", "vector", "server", "hybrid", "server", "server ms a write", "recall@10"]]
    for dimensions, size in asked:
        if (dimensions, size * 10) in asked:
            places = ((f"a tenth of {size * 10:,}", size * 10, "10%"), ("an index of their own", size, "100%"))
            for where, total, kind in places:
                cell, grown = asked[dimensions, total], growth[dimensions, total]
                recalls = [cell["recalls"][f"{retrieval}, {kind}"] for retrieval in RETRIEVALS]
                times = [(_latency(cell, one), _time(cell, f"{one['server_cpu_ms']:.2g}")) for one in recalls]
                write = _time(grown, f"{grown['server_cpu_ms_a_write']:.2f}")
                found = f"{cell['recall_at_10'][kind]:.3f}"
                rows.append([f"{dimensions}", f"{size:,}", where, *times[0], *times[1], write, found])
    return rows


def _indexes(results: Results) -> list[list[str]]:
    rows = [["stores", "bytes of an empty index", "to make one", "to look at one", "remember", "recall"]]
    for name, cell in results.cells.items():
        if name.startswith("indexes/"):
            times = [f"{cell[f'{call}_ms']:.2g}" for call in ("create", "look", "remember", "recall")]
            stores = int(name.removeprefix("indexes/"))
            rows.append(
                [f"{stores:,}", f"{cell['bytes_of_an_index']:,.0f}", *(_time(cell, one) for one in times)],
            )
    return rows


def _restart(results: Results) -> list[list[str]]:
    rows = [["dims", "memories", "to save, s", "bytes a memory in the file", "until a new server finds them all, s"]]
    for dimensions, size, cell in results.stores("server", "restart"):
        times = [_time(cell, f"{cell[name]:.3g}") for name in ("save_seconds", "found_seconds")]
        rows.append([f"{dimensions}", f"{size:,}", times[0], f"{cell['file_bytes']:,.0f}", times[1]])
    return rows


def _replica(results: Results) -> list[list[str]]:
    if (cell := results.cells.get("replica")) is None:
        return []
    return [
        [
            *(
                "remember",
                "with WAIT 1 behind it",
                "server ms a write, primary",
                "replica",
                "bytes a memory",
                "replica",
            ),
            *("acknowledged when the primary was killed", "missing on the replica"),
        ],
        [
            *(_time(cell, f"{cell[name]:.2g}") for name in ("remember_ms", "remember_and_wait_ms")),
            *(_time(cell, f"{cell[name]:.2f}") for name in ("primary_cpu_ms", "replica_cpu_ms")),
            *(f"{cell[name]:,.0f}" for name in ("primary_bytes", "replica_bytes")),
            f"{cell['acknowledged']:,} in {cell['rounds']} rounds",
            f"{cell['lost']:,}",
        ],
    ]


def _fleet(results: Results) -> list[list[str]]:
    parts = _measured_parts(results)
    indexes = [cell for name, cell in results.cells.items() if name.startswith("indexes/")]
    if parts is None or not indexes or not results.stores("server", "asked"):
        return []
    head = ["memories", "dims", "stores", "memory of all", "shards", "to build", "writes/s of all"]
    rows = [[*head, *(f"{retrieval} recalls/s of all" for retrieval in RETRIEVALS)]]
    for dimensions in sorted({dimensions for dimensions, _, _ in results.stores("server", "growth")}):
        write, recalls = _writing(results, dimensions), _recalling(results, dimensions)
        largest = max(size for size, _ in _of(results, dimensions, "growth"))
        each = parts.bytes_of(dimensions, CONTENT_OF_NOTES)
        with_index = each + indexes[-1]["bytes_of_an_index"] / TENANT
        for memories in FLEETS:
            for store_memories, size in ((None, each), (TENANT, with_index)):
                made = fleet(memories, size, SHARD, write, store_memories=store_memories)
                rows.append(
                    [
                        f"{memories:,}",
                        f"{dimensions}",
                        f"{made.stores:,} of {made.store_memories:,}",
                        f"{made.bytes / GIB:,.0f} GiB",
                        f"{made.shards:,}",
                        _hours(made.build_seconds),
                        f"{_two_digits(made.writes_a_second):,}",
                        _rate(made, recalls["vector"]),
                        # What words take grows with how many memories have them, not with a logarithm.
                        _rate(made, recalls["hybrid"]) if made.store_memories <= largest else "",
                    ]
                )
    return rows


def _writing(results: Results, dimensions: int) -> Growing:
    """The server's time for a write: each figure is the mean of a growth, and counts for its middle."""
    points, before = [], 0
    for size, cell in _of(results, dimensions, "growth"):
        points.append((middle(before, size), cell["server_cpu_ms_a_write"]))
        before = size
    return Growing.through(points)


def _recalling(results: Results, dimensions: int) -> dict[str, Growing]:
    """The server's time for a recall of a whole store, by retrieval."""
    asked = _of(results, dimensions, "asked")
    return {
        retrieval: Growing.through(
            [(size, cell["recalls"][f"{retrieval}, 100%"]["server_cpu_ms"]) for size, cell in asked]
        )
        for retrieval in RETRIEVALS
    }


def _rate(made: Fleet, recall: Growing) -> str:
    """Recalls a second of all shards."""
    return f"{_two_digits(made.shards * 1000 / recall.at(made.store_memories)):,}"


def _of(results: Results, dimensions: int, kind: str) -> list[tuple[int, Cell]]:
    return [(size, cell) for found, size, cell in results.stores("server", kind) if found == dimensions]


def _hours(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def _two_digits(value: float) -> int:
    return int(float(f"{value:.1e}"))
