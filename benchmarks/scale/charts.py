"""The figures of `benchmarks.scaling` as plots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.growth import Line, draw
from benchmarks.scale.results import Results

Cell = Mapping[str, Any]


def plots(results: Results, folder: Path) -> None:
    """`scale-bytes.svg`, `scale-writes.svg` and `scale-recall.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    by = "memories in the store"
    each = {"server": ("used_bytes", "server_cpu_ms"), "file": ("file_bytes", "own_cpu_ms")}
    # Time of the processor, which others disturb least.
    drawn = {
        "bytes": ("bytes a memory", "growth", lambda engine, cell: cell[each[engine][0]]),
        "writes": ("CPU, ms a write", "growth", lambda engine, cell: cell[f"{each[engine][1]}_a_write"]),
        "recall": ("CPU, ms a recall", "asked", lambda engine, cell: cell["recalls"]["vector, 100%"][each[engine][1]]),
    }
    for name, (up, kind, figure) in drawn.items():
        lines = list(_lines(results, kind, figure))
        if lines:
            draw(lines, by, up, _COLOURS, folder / f"scale-{name}.svg")


_COLOURS = {
    "server, 256": "#56b4e9",
    "server, 384": "#0072b2",
    "server, 1536": "#d55e00",
    "file, 256": "#e69f00",
    "file, 384": "#009e73",
    "file, 1536": "#cc79a7",
}


def _lines(results: Results, kind: str, figure: Callable[[str, Cell], float]) -> Iterator[Line]:
    for engine in ("server", "file"):
        found: dict[int, list[tuple[float, float]]] = {}
        for dimensions, size, cell in results.stores(engine, kind):
            found.setdefault(dimensions, []).append((size, figure(engine, cell)))
        for dimensions, points in found.items():
            label = f"{engine}, {dimensions} dimensions"
            if any(label.startswith(name) for name in _COLOURS):
                yield label, points
