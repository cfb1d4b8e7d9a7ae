"""Saying which memories belong together."""

from __future__ import annotations

import builtins

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.linking import LINKED, Link, checked_pair, checked_weight
from betterdb_agent_memory.memory.parts import StoreParts
from betterdb_agent_memory.memory.record import checked_id
from betterdb_agent_memory.options import is_number


class LinkVerbs(StoreParts):
    """link, unlink, links."""

    async def link(self, one: str, other: str, weight: float = 1.0) -> None:
        """Link two memories, both ways: each then leads to the other in `recall(..., expand=True)`.

        `weight` is 0.01 to 1,000,000 and what the link has from now on, whatever it had; it halves every 30 days, and
        counts down to 0.3. A memory keeps its 32 strongest links. One round trip.

        Raises:
            InvalidInputError: the ids are the same, or something is out of range.
            MemoryNotFoundError: one of the memories is not there; nothing was done.
        """
        pair = checked_pair(one, other)
        await self._linker.link(*pair, checked_weight(weight))

    async def unlink(self, one: str, other: str) -> bool:
        """Take the link between two memories away; true when there was one. One round trip."""
        return await self._linker.unlink(*checked_pair(one, other))

    async def links(self, id: str, *, least_weight: float = LINKED) -> builtins.list[Link]:
        """What a memory is linked to, strongest first; empty for a memory that is not there.

        Links with a weight of `least_weight` or more now: by default those that count. Only to memories that are there:
        a link to another one is removed. Two round trips, one for a memory without links.

        Raises:
            InvalidInputError: `least_weight` is no number from 0 on.
        """
        if not is_number(least_weight) or not least_weight >= 0:
            raise InvalidInputError(f"least_weight must be a number from 0 on, got {least_weight!r:.80}")
        return await self._linker.links(checked_id(id), float(least_weight))
