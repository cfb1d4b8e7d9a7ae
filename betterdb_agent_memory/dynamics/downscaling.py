"""One factor that keeps the strength of a whole store bounded, as sleep is thought to do for synapses.

Tononi & Cirelli (2014), *Sleep and the price of plasticity*, Neuron 81(1). One factor for all changes no ranking.
"""

from __future__ import annotations

from betterdb_agent_memory.dynamics.parameters import DownscalingParameters
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.scoring.base import finite


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
