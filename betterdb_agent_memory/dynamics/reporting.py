"""What an operator is told: how memories stand by kind and layer, and which metric is out of the ordinary. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from betterdb_agent_memory.dynamics.anomalies import Moments, is_anomalous, observed, z_score
from betterdb_agent_memory.dynamics.maintenance import MaintenanceResult
from betterdb_agent_memory.dynamics.parameters import DynamicsParameters
from betterdb_agent_memory.dynamics.state import (
    COUNTS,
    MAINTAINED_AT,
    METRIC,
    OUTCOMES,
    OUTCOMES_THOUSANDTHS,
    RECALLS,
    RECALLS_EMPTY,
    SEEN,
    Metric,
    count,
    decode_metric,
    encode_metric,
)
from betterdb_agent_memory.memory.scoring.chain import LAYERS, Layer, current_traces, layer_numbers
from betterdb_agent_memory.memory.standing.figures import Figures
from betterdb_agent_memory.memory.standing.standing import confidences, traces_at

NO_KIND: Final = "none"
"""Under which memories stand that say no kind."""

_GROWTH = "memories_a_day"
_EMPTY = "empty_recalls"
_OUTCOME = "outcome"
_DOUBTED = "doubted"
_DAY_MS = 86_400_000.0
_SIZE = SEEN + "memories"


@dataclass(frozen=True, slots=True)
class GroupStats:
    """Memories of one kind, or all: how many, in which layer, how many pinned, mean strength and confidence."""

    memories: int
    layers: Mapping[Layer, int]
    pinned: int
    mean_strength: float
    mean_confidence: float


@dataclass(frozen=True, slots=True)
class DynamicsStats:
    """All memories, and those of each kind that there is; "none" for those that say none."""

    all: GroupStats
    by_kind: Mapping[str, GroupStats]


@dataclass(frozen=True, slots=True)
class MetricHealth:
    """A metric as it was last observed: how many standard deviations (`z`) it was from its `mean` so far, and whether
    that is out of the ordinary. `observations` are how often it was observed.
    """

    name: str
    value: float
    mean: float
    z: float
    anomalous: bool
    observations: int


@dataclass(frozen=True, slots=True)
class DynamicsHealth:
    """What the last maintenance observed; `maintained_at` is when (ms), None for never."""

    metrics: tuple[MetricHealth, ...]
    maintained_at: int | None

    @property
    def anomalies(self) -> tuple[MetricHealth, ...]:
        """What is out of the ordinary."""
        return tuple(metric for metric in self.metrics if metric.anomalous)


@dataclass(slots=True)
class _Sum:
    layers: np.ndarray = field(default_factory=lambda: np.zeros(len(LAYERS), dtype=np.int64))
    pinned: int = 0
    strength: float = 0.0
    confidence: float = 0.0

    def stats(self) -> GroupStats:
        memories = int(self.layers.sum())
        return GroupStats(
            memories,
            {name: int(number) for name, number in zip(LAYERS, self.layers, strict=True)},
            self.pinned,
            self.strength / memories if memories else 0.0,
            self.confidence / memories if memories else 0.0,
        )


class Tallying:
    """Sums up pages of memories by kind."""

    def __init__(self, now_ms: int, parameters: DynamicsParameters) -> None:
        self._now_ms = now_ms
        self._parameters = parameters
        self._all = _Sum()
        self._kinds: dict[str, _Sum] = defaultdict(_Sum)

    def add(self, figures: Figures) -> None:
        """Take a page in."""
        before, days = current_traces(figures.candidates, self._now_ms, self._parameters.chain)
        layers = layer_numbers(before, figures.candidates.importance, days, self._parameters.chain)
        strength = traces_at(figures, self._now_ms, self._parameters.chain).strength
        sure = confidences(figures, self._now_ms, self._parameters.scoring)
        kinds = np.array([kind or NO_KIND for kind in figures.kinds], dtype=object)
        for kind in (None, *dict.fromkeys(kinds)):
            chosen = np.ones(len(figures), dtype=bool) if kind is None else kinds == kind
            group = self._all if kind is None else self._kinds[kind]
            group.layers += np.bincount(layers[chosen], minlength=len(LAYERS))
            group.pinned += int(figures.pinned[chosen].sum())
            group.strength += float(strength[chosen].sum())
            group.confidence += float(sure[chosen].sum())

    def stats(self) -> DynamicsStats:
        """What came together, kinds in order of the alphabet."""
        return DynamicsStats(self._all.stats(), {kind: self._kinds[kind].stats() for kind in sorted(self._kinds)})


def observations(
    state: Mapping[str, bytes], result: MaintenanceResult, now_ms: int, parameters: DynamicsParameters
) -> dict[str, bytes]:
    """The fields of the state after a maintenance with this result: each metric that something is known of, with its
    moments, and what counts were.

    `memories_a_day` is the growth since the last one, forgotten memories not taken off; `empty_recalls` the share of
    recalls through dynamics that found nothing, `outcome` the mean outcome told since; `doubted` the share of memories
    whose reliability is below that of their kind.
    """
    stayed = result.looked_at - result.forgotten
    fields: dict[str, bytes] = {
        MAINTAINED_AT: str(now_ms).encode(),
        _SIZE: str(stayed).encode(),
        **{SEEN + name: str(int(count(state, name))).encode() for name in COUNTS},
    }
    for name, value in _values(state, result, now_ms).items():
        known = decode_metric(state.get(METRIC + name))
        moments = (known or Metric(0.0, 0.0, Moments())).moments
        z = z_score(moments, value, parameters.anomalies)
        fields[METRIC + name] = encode_metric(Metric(value, z, observed(moments, value, parameters.anomalies)))
    return fields


def health_of(state: Mapping[str, bytes], parameters: DynamicsParameters) -> DynamicsHealth:
    """What the state of a store says."""
    found = {name: decode_metric(stored) for name, stored in state.items() if name.startswith(METRIC)}
    return DynamicsHealth(
        tuple(
            MetricHealth(
                name.removeprefix(METRIC),
                metric.value,
                metric.moments.mean,
                metric.z,
                is_anomalous(metric.z, parameters.anomalies),
                metric.moments.count,
            )
            for name, metric in sorted(found.items())
            if metric is not None
        ),
        int(count(state, MAINTAINED_AT)) if MAINTAINED_AT in state else None,
    )


def _values(state: Mapping[str, bytes], result: MaintenanceResult, now_ms: int) -> dict[str, float]:
    since = {name: count(state, name) - count(state, SEEN + name) for name in COUNTS}
    values: dict[str, float] = {}
    days = (now_ms - count(state, MAINTAINED_AT)) / _DAY_MS
    if MAINTAINED_AT in state and days > 0:
        values[_GROWTH] = (result.looked_at - count(state, _SIZE)) / days
    if since[RECALLS] > 0:
        values[_EMPTY] = since[RECALLS_EMPTY] / since[RECALLS]
    if since[OUTCOMES] > 0:
        values[_OUTCOME] = since[OUTCOMES_THOUSANDTHS] / 1000 / since[OUTCOMES]
    if result.looked_at:
        values[_DOUBTED] = result.doubted / result.looked_at
    return values
