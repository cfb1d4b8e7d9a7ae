"""What is out of the ordinary: how many standard deviations an observation is from a mean that follows slowly.

Exponentially weighted mean and variance in one step each (Finch, *Incremental calculation of weighted mean and
variance*, 2009): three numbers are all that is kept of a metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from betterdb_agent_memory.dynamics.parameters import AnomalyParameters
from betterdb_agent_memory.memory.scoring.base import finite

LARGEST_Z: Final = 100.0
"""A metric that never varied makes any change infinitely surprising; this says as much."""

_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Moments:
    """What is known of a metric: mean and variance of its observations, the latest weighed most, and their count."""

    mean: float = 0.0
    variance: float = 0.0
    count: int = 0


def z_score(moments: Moments, value: float, parameters: AnomalyParameters) -> float:
    """How many standard deviations `value` is from what was observed so far, -100 to 100; 0 in the warm-up.

    Raises:
        InvalidInputError: the value is not finite.
    """
    apart = float(finite("value", value)) - moments.mean
    if moments.count < parameters.warm_up or abs(apart) <= _ROUNDING * max(abs(moments.mean), 1.0):
        return 0.0
    spread = math.sqrt(moments.variance)
    return math.copysign(LARGEST_Z, apart) if spread == 0 else max(-LARGEST_Z, min(apart / spread, LARGEST_Z))


def is_anomalous(z: float, parameters: AnomalyParameters) -> bool:
    """Whether it is to be reported."""
    return abs(z) >= parameters.bound


def observed(moments: Moments, value: float, parameters: AnomalyParameters) -> Moments:
    """The moments with one more observation.

    One that is anomalous counts as one at the bound: a burst must not make the next burst ordinary, while a level that
    lasts is learnt.

    Raises:
        InvalidInputError: the value is not finite.
    """
    value = float(finite("value", value))
    if moments.count == 0:
        return Moments(value, 0.0, 1)
    if is_anomalous(z_score(moments, value, parameters), parameters) and moments.variance > 0:
        value = moments.mean + math.copysign(parameters.bound * math.sqrt(moments.variance), value - moments.mean)
    # The first observations weigh alike, so that the very first does not count for ever.
    smoothing = max(parameters.smoothing, 1 / (moments.count + 1))
    apart = value - moments.mean
    step = smoothing * apart
    return Moments(moments.mean + step, (1 - smoothing) * (moments.variance + apart * step), moments.count + 1)
