"""Up to which score those that leave a full scope next are to be looked for, as its last eviction has shown.

All workers share it, beside the scope's count: whoever trims the scope next need not look at all of it first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from betterdb_agent_memory.engines.groups import REACH
from betterdb_agent_memory.engines.values import Values

_USES = 50
"""So often a scope's lowest are found by the score alone; what lacks a number is seen only by looking at all of it."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The `score`, how often it may be gone by until all of the scope is looked at again, and times of last access
    (ms) at which to cut what lies below it (`Retention.edges`).
    """

    score: float
    uses: int
    edges: tuple[float, ...] = ()

    def to(self, score: float, edges: Sequence[float]) -> Reach:
        """As far as `score`, from now on."""
        return replace(self, score=score, edges=tuple(edges))


class Reaches:
    """The reaches of one store's scopes, in the map of counts. A wrong one costs time and nothing else."""

    def __init__(self, values: Values, key: str) -> None:
        self._values = values
        self._key = key

    async def read(self, group: str) -> Reach | None:
        """The reach of a scope, None where it is not known or was used often enough. One round trip."""
        field = REACH + group
        batch = self._values.batch()
        found = batch.read_fields(self._key, [field])
        await batch.send()
        stored = found.result().get(field, b"").decode(errors="replace")
        try:
            score, uses, edges = stored.split(":")
            reach = Reach(float(score), int(uses), tuple(map(float, edges.split())))
        except ValueError:
            return None
        return reach if reach.uses > 0 and all(map(math.isfinite, (reach.score, *reach.edges))) else None

    async def begin(self, group: str, score: float, edges: Sequence[float]) -> None:
        """All of the scope was looked at. One round trip."""
        await self._write(group, Reach(score, _USES, tuple(edges)))

    async def keep(self, group: str, reach: Reach) -> None:
        """It was used once more. One round trip."""
        await self._write(group, replace(reach, uses=reach.uses - 1))

    async def _write(self, group: str, reach: Reach) -> None:
        edges = " ".join(map(repr, reach.edges))
        await self._values.write_map(self._key, {REACH + group: f"{reach.score!r}:{reach.uses}:{edges}".encode()})
