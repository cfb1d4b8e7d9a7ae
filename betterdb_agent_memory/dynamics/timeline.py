"""The strength of many memories over time, from when the first was written to days that are still to come. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from betterdb_agent_memory.dynamics.parameters import DynamicsParameters
from betterdb_agent_memory.memory.scoring.base import MS_A_DAY, Candidates, FloatArray, elapsed_days
from betterdb_agent_memory.memory.scoring.chain import LAYERS, Layer, Traces, ahead, current_traces, layer_numbers

TIMES_A_ROW: Final = 20
"""What a memory of a timeline takes beside one that is only read."""

_POINTS: Final = 120


@dataclass(frozen=True, slots=True)
class Timeline:
    """How memories stood and will stand, at 121 times: `days` from `began_at_ms` on, `today` the day of the present.

    `layers` has how many were in each layer, `mean_strength` that of those that had been written by then.
    """

    began_at_ms: int
    today: float
    days: FloatArray
    layers: Mapping[Layer, FloatArray]
    mean_strength: FloatArray


class Tracing:
    """Sums up pages of memories at evenly spread times, from `began_at_ms` to `ahead_days`, or up to four days more,
    behind the present.

    What is to come is as if none of them were used. What has been is known from the last use of each on: before that it
    counts as if it had not been used since it was written, and what was forgotten in between is not seen.
    """

    def __init__(self, began_at_ms: int, now_ms: int, ahead_days: float, parameters: DynamicsParameters) -> None:
        self._parameters = parameters.chain
        self._now_ms = now_ms
        self._began_at_ms = min(began_at_ms, now_ms)
        self._today = (now_ms - self._began_at_ms) / MS_A_DAY
        # Up to a day whose quarters are whole ones, for the axis.
        self._days = np.linspace(0, 4 * max(math.ceil((self._today + ahead_days) / 4), 1), _POINTS + 1)
        self._layers = np.zeros((_POINTS + 1, len(LAYERS)))
        self._strength = np.zeros(_POINTS + 1)

    def add(self, candidates: Candidates) -> None:
        """Take a page in."""
        chain, importance = self._parameters, candidates.importance
        used, since_used = current_traces(candidates, self._now_ms, chain)
        written_ms = np.minimum(candidates.created_at_ms, self._now_ms)
        fresh = Traces(np.full(len(candidates), chain.initial), np.zeros(len(candidates)))
        for place, day in enumerate(self._days):
            at_ms = self._began_at_ms + day * MS_A_DAY
            behind = elapsed_days(written_ms, at_ms)
            # Days since the last use, below 0 where that was still to come.
            later = since_used + (at_ms - self._now_ms) / MS_A_DAY
            is_used = later >= 0
            before = Traces(np.where(is_used, used.working, fresh.working), np.where(is_used, used.core, fresh.core))
            days = np.where(is_used, later, behind)
            there = written_ms <= at_ms
            layers = layer_numbers(before, importance, days, chain)[there]
            self._layers[place] += np.bincount(layers, minlength=len(LAYERS))
            self._strength[place] += float(ahead(before, importance, days, chain).strength[there].sum())

    def timeline(self) -> Timeline:
        """What came together."""
        memories = self._layers.sum(axis=1)
        mean = np.divide(self._strength, memories, out=np.zeros_like(self._strength), where=memories > 0)
        layers = {name: self._layers[:, place] for place, name in enumerate(LAYERS)}
        return Timeline(self._began_at_ms, self._today, self._days, layers, mean)
