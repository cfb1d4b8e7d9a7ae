"""What parameters do, as plots: forgetting curves, strength over time, and the links around a memory. Pure.

Each is a tree that a page may hold; `betterdb_agent_memory.drawing.markup.svg_file` makes a file of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np

from betterdb_agent_memory.drawing.charts import Curve, Edge, curves, graph, stacked
from betterdb_agent_memory.drawing.markup import Node
from betterdb_agent_memory.dynamics.parameters import DynamicsParameters
from betterdb_agent_memory.dynamics.timeline import Timeline
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.scoring.base import FloatArray
from betterdb_agent_memory.memory.scoring.chain import (
    LAYERS,
    ChainParameters,
    Traces,
    ahead,
    layer_numbers,
    reinforced,
)
from betterdb_agent_memory.memory.scoring.retrievability import CURVES

_POINTS: Final = 120
_DAYS: Final = "days"


def forgetting_curves(
    presets: Mapping[Any, DynamicsParameters], *, importances: Sequence[float] = (0.5,), days: float = 360.0
) -> Node:
    """How likely a memory is to be recalled that is never used: a curve for each of the named parameters and each
    importance.
    """
    at = _days(days)
    drawn = []
    for name, parameters in presets.items():
        for importance in importances:
            likely = ahead(_fresh(parameters.chain), importance, at, parameters.chain).probability
            said = f"{name}, importance {importance:g}" if len(importances) > 1 else name
            drawn.append(_curve(said, at, likely))
    return curves("Forgetting of an unused memory", _DAYS, "probability of recall", drawn, most=1.0)


def retrievability_curves(stability_days: float, *, days: float = 120.0) -> Node:
    """What each forgetting curve leaves of a memory of this stability."""
    at = _days(days)
    drawn = [
        _curve(name, at, curve.left(at, stability_days)) for name, curve in CURVES.items() if name != "access_refreshed"
    ]
    return curves(f"Curves of forgetting, stability {stability_days:g} days", _DAYS, "retrievability", drawn, most=1.0)


def strength_of_uses(
    uses_in_days: Mapping[str, Sequence[float]],
    parameters: ChainParameters,
    *,
    importance: float = 0.5,
    days: float = 180,
) -> Node:
    """The core trace over time of memories that were written on day 0 and used on the days given by name.

    Raises:
        InvalidInputError: the days of a memory are negative or do not rise.
    """
    drawn = []
    for name, uses in uses_in_days.items():
        times = [0.0, *uses]
        if any(later < before for before, later in pairwise(times)):
            raise InvalidInputError(
                f"the uses of {name!r:.80} must be days from 0 on that rise, got {list(uses)!r:.80}"
            )
        at = _days(days)
        core = np.empty_like(at)
        found = _fresh(parameters)
        for before, later in pairwise([*times, np.inf]):
            since = (at >= before) & (at < later)
            core[since] = ahead(found, importance, at[since] - before, parameters).core
            if later < np.inf:
                found = reinforced(found, importance, later - before, parameters)
        drawn.append(_curve(name, at, core))
    return curves("The core trace of one memory", _DAYS, "core trace", drawn)


def layers_ahead(
    traces: Traces, importance: FloatArray, since_days: FloatArray, parameters: ChainParameters, *, days: float = 360.0
) -> Node:
    """How many of these memories will be in each layer, if none is used from here on.

    `traces` are as they were `since_days` ago, one entry a memory.
    """
    at = _days(days)
    counts = np.array(
        [np.bincount(layer_numbers(traces, importance, since_days + one, parameters), minlength=3) for one in at]
    )
    drawn = [_curve(name, at, counts[:, place].astype(float)) for place, name in enumerate(LAYERS)]
    return curves("Layers of unused memories", f"{_DAYS} from here on", "memories", drawn)


def strength_over_time(timeline: Timeline, what: str) -> Node:
    """How many memories of `what` were and will be in each layer, and below that their mean strength."""
    began = datetime.fromtimestamp(timeline.began_at_ms / 1000, UTC)
    across = f"{_DAYS} since {began:%Y-%m-%d}; today is day {timeline.today:.0f}"
    layers = [_curve(name, timeline.days, counts) for name, counts in timeline.layers.items()]
    strength = [_curve("mean strength", timeline.days, timeline.mean_strength)]
    title = f"Strength of {what:.200}"
    return stacked(title, [curves(title, across, "memories", layers), curves(title, across, "mean strength", strength)])


def link_graph(id: str, labels: Mapping[str, str], links: Mapping[str, Mapping[str, float]]) -> Node:
    """A memory in the middle, what it is linked with around it, and what those are linked with around them.

    `links` has the weights of those to be drawn, by memory.
    """
    near = links.get(id, {})
    edges = [Edge(id, other, weight) for other, weight in near.items()]
    far: dict[str, None] = {}
    for source in near:
        for other, weight in links.get(source, {}).items():
            if other == id or Edge(other, source, weight) in edges:
                continue
            edges.append(Edge(source, other, weight))
            if other not in near:
                far[other] = None
    return graph(f"Links of {labels.get(id, id):.80}", [[id], list(near), list(far)], labels, edges)


def _fresh(parameters: ChainParameters) -> Traces:
    return Traces(parameters.initial, 0.0)


def _days(days: float) -> FloatArray:
    if not 0 < days <= 1e6:
        raise InvalidInputError(f"a plot must go over more than 0 and at most a million days, got {days!r}")
    return np.linspace(0, days, _POINTS + 1)


def _curve(name: str, at: FloatArray, values: FloatArray) -> Curve:
    return Curve(name, list(zip(at.tolist(), np.asarray(values).tolist(), strict=True)))
