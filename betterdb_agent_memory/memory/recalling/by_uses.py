"""Activation of a few memories whose uses an engine has weighed: what is left is a sum, for which numpy would take
longer to be called than to compute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.uses import Used
from betterdb_agent_memory.memory.recalling.explaining import Component
from betterdb_agent_memory.memory.record import plain_numbers
from betterdb_agent_memory.memory.scoring.activation import Activation
from betterdb_agent_memory.memory.scoring.base import ScoringModel

_FEW: Final = 64


def components_by_uses(
    model: ScoringModel | None, records: Sequence[Fields], used: Sequence[Used | None], relevance: Sequence[float]
) -> list[tuple[Component, ...]] | None:
    """What the model makes the score of each record of, where nothing but its uses and its importance count; None where
    it had better be asked itself.

    The same to the last bit: `Activation.parts` is what it sums up, too.
    """
    # A model that is made of it may count in another way.
    if type(model) is not Activation or len(records) > _FEW:
        return None
    numbers = plain_numbers(records)
    if numbers is None:
        return None
    found = []
    for (importance, _, _), uses, likeness in zip(numbers, used, relevance, strict=True):
        if uses is None or not math.isfinite(importance):
            return None
        parts = model.parts(uses.level, likeness, 0.0, importance, uses.doubt)
        found.append(tuple(Component(*part) for part in parts))
    return found
