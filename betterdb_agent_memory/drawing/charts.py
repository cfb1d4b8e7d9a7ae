"""Plots as inline SVG: lines over steps, curves, bars in groups, and graphs. Pure; units are pixels.

Series differ in colour, in the shape of their marks and in their dashes, and each is named beside its mark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from betterdb_agent_memory.drawing.markup import Node, node

WIDTH: Final = 736
_LEFT: Final = 56
_RIGHT: Final = 16
_TOP: Final = 12
_HEIGHT: Final = 240
_LINE: Final = 20
_BAR: Final = 16
_COLOURS: Final = 6
_DASHES: Final = ("none", "7 4", "2 3", "9 3 2 3")
_STEPS: Final = 4
_MARKS: Final = 6
_RING: Final = 110
_LABEL: Final = 28
_LEAST: Final = 1e-9
"""Less than this is drawn as nothing."""


@dataclass(frozen=True, slots=True)
class Series:
    """A name, and one value (not negative) for each step or group."""

    name: str
    values: Sequence[float]


def lines(title: str, steps: Sequence[str], series: Sequence[Series], *, unit: str = "") -> Node:
    """A line for each series, one point a step."""
    top = _ceiling(value for one in series for value in one.values)
    across = (WIDTH - _LEFT - _RIGHT) / max(len(steps) - 1, 1)

    def point(step: int, value: float) -> tuple[float, float]:
        return _LEFT + step * across, _TOP + _HEIGHT * (1 - value / top)

    drawn = [*_grid(top, unit)]
    for step, name in enumerate(steps):
        anchor = "start" if step == 0 else "end" if step == len(steps) - 1 else "middle"
        drawn.append(_text(point(step, 0)[0], _TOP + _HEIGHT + _LINE, name, anchor=anchor))
    for place, one in enumerate(series):
        points = [point(step, value) for step, value in enumerate(one.values)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        style = {"fill": "none", "stroke": _colour(place), "stroke_width": 2, "stroke_dasharray": _dash(place)}
        drawn.append(node("polyline", points=path, **style))
        drawn += [_mark(place, x, y) for x, y in points]
    below = _TOP + _HEIGHT + 2 * _LINE
    drawn += _legend(series, below)
    return _svg(title, below + _LINE * len(series), drawn)


@dataclass(frozen=True, slots=True)
class Curve:
    """A name, and points from left to right; no coordinate is negative."""

    name: str
    points: Sequence[tuple[float, float]]


def curves(title: str, across: str, up: str, drawn: Sequence[Curve], *, most: float | None = None) -> Node:
    """Each curve through its points over one axis from 0 on; `across` and `up` say what the axes are, `most` where the
    upright one ends (None: at a round number).
    """
    top = most or _ceiling(y for one in drawn for _, y in one.points)
    end = max((x for one in drawn for x, _ in one.points), default=0) or 1.0
    width = WIDTH - _LEFT - _RIGHT

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + width * x / end, _TOP + _LINE + _HEIGHT * (1 - y / top)

    parts = [_text(_LEFT, _TOP + 8, up, faint=True)]
    parts += [_moved(one) for one in _grid(top, "")]
    for step in range(_STEPS + 1):
        anchor = "start" if step == 0 else "end" if step == _STEPS else "middle"
        parts.append(
            _text(
                place(end * step / _STEPS, 0)[0], _TOP + _HEIGHT + 2 * _LINE, f"{end * step / _STEPS:g}", anchor=anchor
            )
        )
    parts.append(_text(_LEFT + width / 2, _TOP + _HEIGHT + 3 * _LINE, across, anchor="middle", faint=True))
    for number, one in enumerate(drawn):
        points = [place(x, y) for x, y in one.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        style = {"fill": "none", "stroke": _colour(number), "stroke_width": 2, "stroke_dasharray": _dash(number)}
        parts.append(node("polyline", points=path, **style))
        # Marks not above each other, so that curves that meet can be told apart.
        every = max(len(points) // _MARKS, 1)
        parts += [_mark(number, x, y) for x, y in points[(every * (number + 1)) // (len(drawn) + 1) :: every]]
    below = _TOP + _HEIGHT + 3 * _LINE + 8
    parts += _legend([Series(one.name, ()) for one in drawn], below)
    return _svg(title, below + _LINE * len(drawn), parts)


@dataclass(frozen=True, slots=True)
class Edge:
    """A line between two nodes of a graph, thicker the more `weight` (not negative) it has."""

    one: str
    other: str
    weight: float


def graph(title: str, rings: Sequence[Sequence[str]], labels: Mapping[str, str], edges: Sequence[Edge]) -> Node:
    """Nodes on rings around the middle, the first ring (usually one node) inside, and the edges between them.

    `labels` are shown beside the nodes, shortened; what has none is shown by its name.
    """
    middle, radius = WIDTH / 2, 0.0
    places: dict[str, tuple[float, float]] = {}
    for number, ring in enumerate(rings):
        radius = _RING * (number if len(rings[0]) <= 1 else number + 1)
        for at, name in enumerate(ring):
            angle = 2 * math.pi * at / max(len(ring), 1) - math.pi / 2
            # Wider than high: labels stand beside their nodes.
            places[name] = (middle + 1.5 * radius * math.cos(angle), radius * math.sin(angle))
    height = 2 * radius + 4 * _LINE
    largest = max((edge.weight for edge in edges), default=0) or 1.0
    drawn = []
    for edge in edges:
        if edge.one in places and edge.other in places:
            (x1, y1), (x2, y2) = places[edge.one], places[edge.other]
            ends = {
                "x1": f"{x1:.1f}",
                "y1": f"{y1 + height / 2:.1f}",
                "x2": f"{x2:.1f}",
                "y2": f"{y2 + height / 2:.1f}",
            }
            thick = f"{1 + 5 * edge.weight / largest:.1f}"
            line = node(
                "line",
                node("title", f"{edge.weight:.2f}"),
                stroke=_colour(5),
                stroke_opacity=0.5,
                stroke_width=thick,
                **ends,
            )
            drawn.append(line)
    for number, ring in enumerate(rings):
        for name in ring:
            x, y = places[name]
            said = labels.get(name, name)
            drawn.append(_mark(number, x, y + height / 2))
            shown = said if len(said) <= _LABEL else said[: _LABEL - 1] + "…"
            is_left = x < middle - 1
            drawn.append(
                _text(x + (-9 if is_left else 9), y + height / 2 + 4, shown, anchor="end" if is_left else "start")
            )
    return _svg(title, height, drawn)


def stacked(title: str, drawings: Sequence[Node]) -> Node:
    """Drawings one below the other, as one."""
    placed: list[Node] = []
    below = 0.0
    for one in drawings:
        height = float(one.attrib["viewBox"].split()[3])
        inner = node(
            "svg", *one, x=0, y=f"{below:.0f}", width=WIDTH, height=f"{height:.0f}", viewBox=one.attrib["viewBox"]
        )
        placed.append(inner)
        below += height + _TOP
    return _svg(title, below, placed)


def bars(title: str, groups: Sequence[str], series: Sequence[Series], *, unit: str = "", digits: int = 1) -> Node:
    """A horizontal bar for each series in each group, with its value behind it."""
    top = _ceiling(value for one in series for value in one.values)
    room = WIDTH - _LEFT - _RIGHT - 80
    drawn: list[Node] = []
    y = float(_TOP)
    for group, name in enumerate(groups):
        drawn.append(_text(0, y + _LINE - 6, name))
        y += _LINE
        for place, one in enumerate(series):
            length = max(room * one.values[group] / top, 1)
            drawn.append(
                node("rect", x=_LEFT, y=f"{y:.1f}", width=f"{length:.1f}", height=_BAR - 3, fill=_colour(place))
            )
            drawn.append(_mark(place, _LEFT - 12, y + _BAR / 2 - 1.5))
            drawn.append(_text(_LEFT + length + 6, y + _BAR - 5, f"{one.values[group]:.{digits}f}{unit}"))
            y += _BAR
        y += 8
    drawn += _legend(series, y + 8)
    return _svg(title, y + 8 + _LINE * len(series), drawn)


def _svg(title: str, height: float, drawn: Sequence[Node]) -> Node:
    return node("svg", node("title", title), *drawn, role="img", viewBox=f"0 0 {WIDTH} {height + 4:.0f}")


def _grid(top: float, unit: str) -> Iterator[Node]:
    for step in range(_STEPS + 1):
        y = _TOP + _HEIGHT * (1 - step / _STEPS)
        yield node("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="rule")
        yield _text(_LEFT - 8, y + 4, f"{top * step / _STEPS:g}{unit}", anchor="end", faint=True)


def _moved(part: Node) -> Node:
    """A line lower, where the name of the axis stands above it."""
    for name in ("y", "y1", "y2"):
        if name in part.attrib:
            part.set(name, f"{float(part.attrib[name]) + _LINE:.1f}")
    return part


def _legend(series: Sequence[Series], y: float) -> Iterator[Node]:
    for place, one in enumerate(series):
        yield _mark(place, _LEFT - 12, y + place * _LINE + 8)
        yield _text(_LEFT, y + place * _LINE + 12, one.name)


def _text(x: float, y: float, text: str, *, anchor: str = "start", faint: bool = False) -> Node:
    made = node("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)
    if faint:
        made.set("class", "faint")
    return made


def _mark(place: int, x: float, y: float) -> Node:
    """Round, square, a triangle, a diamond, and so on again."""
    corners = (0, 4, 3, 4)[place % 4]
    if corners == 0:
        return node("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, fill=_colour(place))
    turned = math.pi / 4 if place % 4 == 1 else math.pi / 2
    around = (turned + 2 * math.pi * corner / corners for corner in range(corners))
    points = " ".join(f"{x + 5 * math.cos(angle):.1f},{y - 5 * math.sin(angle):.1f}" for angle in around)
    return node("polygon", points=points, fill=_colour(place))


def _colour(place: int) -> str:
    return f"var(--s{place % _COLOURS})"


def _dash(place: int) -> str:
    return _DASHES[place % len(_DASHES)]


def _ceiling(values: Iterator[float]) -> float:
    """A round number that no value exceeds: 1, 2, 4 or 8 times a power of ten.

    >>> _ceiling(iter([0.3, 71.2])), _ceiling(iter([0.0])), _ceiling(iter([100.0]))
    (80.0, 1.0, 100.0)
    """
    largest = max(values, default=0)
    if largest < _LEAST:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return next(power * factor for factor in (1, 2, 4, 8, 10) if power * factor >= largest)
