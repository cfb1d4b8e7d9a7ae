"""The figures of simulated lives as SVG, legible on a light and on a dark page. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.simulation.judging import Bin
from benchmarks.simulation.results import BOUNDS, Lived, by_system

_GREY = "#808080"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999933", "#882255")
_MARKS = "os^Dv<>P"
_EVERY_DAYS = 5
"""Sizes are drawn this often."""
_LEAST_HITS = 20
"""Shares of fewer hits say nothing."""


def plots(found: Sequence[Lived], folder: Path) -> None:
    """`simulated-year-need.svg`, `simulated-year-size.svg` and `simulated-year-calibration.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    systems = by_system(found)
    with _axes(folder / "simulated-year-need.svg", "day", "need-precision@5 of the 30 days before") as axes:
        for style, (name, lives) in zip(_styles(), systems.items(), strict=False):
            days = [month.last_day for month in lives[0].months]
            axes.plot(days, [fmean(one.until(day).precision for one in lives) for day in days], label=name, **style)
        axes.set_ylim(0, 1)
    with _axes(folder / "simulated-year-size.svg", "day", "memories held (dotted: not archived)") as axes:
        for style, (name, lives) in zip(_styles(), systems.items(), strict=False):
            if name in BOUNDS:
                continue
            by_day = list(zip(*(one.sizes for one in lives), strict=True))[_EVERY_DAYS - 1 :: _EVERY_DAYS]
            days, plain = [day[0].day for day in by_day], {**style, "marker": None}
            axes.plot(days, [fmean(size.held for size in day) for day in by_day], label=name, **plain)
            dotted = {**plain, "linestyle": ":", "linewidth": 1}
            axes.plot(days, [fmean(size.active for size in day) for day in by_day], **dotted)
    with _axes(
        folder / "simulated-year-calibration.svg", "confidence that a system gives", "share that is right"
    ) as axes:
        axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, label="perfect")
        for style, (name, lives) in zip(_styles(), systems.items(), strict=False):
            bins = [bin for bin in pooled([bin for one in lives for bin in one.whole.bins]) if bin.hits >= _LEAST_HITS]
            if bins:
                axes.plot([one.confidence for one in bins], [one.right for one in bins], label=name, **style)


def pooled(bins: Sequence[Bin]) -> list[Bin]:
    """Bins of several lives as those of one: the same tenth is one bin.

    >>> pooled([Bin(1, 0.91, 1.0), Bin(3, 0.95, 0.6), Bin(2, 0.25, 0.5)])
    [Bin(hits=2, confidence=0.25, right=0.5), Bin(hits=4, confidence=0.94, right=0.7)]
    """
    tenths: dict[int, list[Bin]] = {}
    for one in bins:
        tenths.setdefault(min(int(one.confidence * 10), 9), []).append(one)
    return [_joined(alike) for _, alike in sorted(tenths.items())]


def _joined(bins: Sequence[Bin]) -> Bin:
    hits = sum(one.hits for one in bins)
    confidence = sum(one.hits * one.confidence for one in bins) / hits
    return Bin(hits, round(confidence, 6), round(sum(one.hits * one.right for one in bins) / hits, 6))


def _styles() -> Iterator[Mapping[str, Any]]:
    for place in range(1_000):
        colour, mark = _COLOURS[place % len(_COLOURS)], _MARKS[place // 2 % len(_MARKS)]
        yield {"color": colour, "marker": mark, "markersize": 3.5, "linestyle": ("-", "--")[place // len(_COLOURS) % 2]}


@contextmanager
def _axes(path: Path, across: str, up: str) -> Iterator[Any]:
    """Axes to draw on; the figure is written behind. The same figures make the same file."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    with mpl.rc_context():
        mpl.rc("svg", fonttype="none", hashsalt="dynamics")
        mpl.rc("font", size=10, family="sans-serif")
        mpl.rc("text", color=_GREY)
        mpl.rc("axes", edgecolor=_GREY, labelcolor=_GREY)
        mpl.rc("xtick", color=_GREY)
        mpl.rc("ytick", color=_GREY)
        figure, axes = plt.subplots(figsize=(9.6, 4.6), layout="constrained")
        yield axes
        axes.set(xlabel=across, ylabel=up)
        axes.grid(which="major", color=_GREY, alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.savefig(path, transparent=True, metadata={"Date": None})
        plt.close(figure)
