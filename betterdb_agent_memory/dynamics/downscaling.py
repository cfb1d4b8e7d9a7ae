"""One factor that keeps the strength of a whole store bounded, as sleep is thought to do for synapses.

Tononi & Cirelli (2014), *Sleep and the price of plasticity*, Neuron 81(1). One factor for all changes no ranking, so it
is applied when traces are read and divided out when they are written: no memory is rewritten for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from betterdb_agent_memory.dynamics.parameters import DownscalingParameters
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.scoring.base import finite
from betterdb_agent_memory.memory.scoring.chain import Traces

LEAST_SCALE: Final = 1e-9
"""Below this, traces that are written become so large that they should be rewritten instead."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What stored traces are multiplied with: above 0, at most 1."""

    factor: float = 1.0

    def __post_init__(self) -> None:
        if not LEAST_SCALE <= self.factor <= 1:
            raise InvalidInputError(f"a scale must be from {LEAST_SCALE:g} to 1, got {self.factor!r}")

    def read(self, stored: Traces) -> Traces:
        """Stored traces as they are."""
        return Traces(np.asarray(stored.working) * self.factor, np.asarray(stored.core) * self.factor)

    def written(self, traces: Traces) -> Traces:
        """Traces as they are stored: what is learnt under a scale is not made smaller by it."""
        return Traces(np.asarray(traces.working) / self.factor, np.asarray(traces.core) / self.factor)

    def smaller(self, factor: float) -> Scale:
        """The scale after all strengths were multiplied by `factor`, never below the least there is.

        Raises:
            InvalidInputError: the factor is not above 0 and at most 1.
        """
        if not 0 < float(finite("factor", factor)) <= 1:
            raise InvalidInputError(f"a factor of downscaling must be above 0 and at most 1, got {factor!r}")
        return Scale(max(self.factor * factor, LEAST_SCALE))


def factor_needed(total_strength: float, memories: int, parameters: DownscalingParameters) -> float:
    """What brings the mean strength of so many memories down to `mean_at_most`; 1 where it is not above.

    Raises:
        InvalidInputError: the total is negative or not finite.
    """
    total = float(finite("total_strength", total_strength))
    if total < 0:
        raise InvalidInputError(f"total_strength must not be negative, got {total_strength!r}")
    allowed = parameters.mean_at_most * memories
    return 1.0 if total <= allowed or allowed <= 0 else allowed / total
