"""Activation of memories whose uses an engine has weighed: what is left is a sum, and of a few, for which numpy would
take longer to be called than to compute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.uses import Used
from betterdb_agent_memory.memory.recalling.explaining import Component
from betterdb_agent_memory.memory.record import plain_numbers
from betterdb_agent_memory.memory.scoring.activation import Activation
from betterdb_agent_memory.memory.scoring.base import ScoringModel


def components_by_uses(
    model: ScoringModel | None, records: Sequence[Fields], used: Sequence[Used | None], relevance: Sequence[float]
) -> list[tuple[Component, ...]] | None:
    """What the model makes the score of each record of, where an engine has weighed the uses of all; None where it had
    better be asked itself.
    """
    # A model that is made of it may count in another way.
    known = [one for one in used if one is not None]
    if type(model) is not Activation or len(known) < len(records):
        return None
    numbers = plain_numbers(records)
    if numbers is None or not all(math.isfinite(importance) for importance, _, _ in numbers):
        return None
    return [
        tuple(Component(*part) for part in model.parts(uses.level, likeness, 0.0, importance, uses.doubt))
        for (importance, _, _), uses, likeness in zip(numbers, known, relevance, strict=True)
    ]
