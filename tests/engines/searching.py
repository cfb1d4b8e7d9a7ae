"""A search by vector alone, as many tests ask for it."""

from __future__ import annotations

from collections.abc import Sequence

from betterdb_agent_memory.engines.base import Neighbours, Records, Search
from betterdb_agent_memory.engines.filters import Filter


async def nearest(records: Records, vector: bytes, *, count: int, filter: Filter, fields: Sequence[str]) -> Neighbours:
    """Up to `count` records nearest to `vector`, nearest first."""
    answers = await records.search_many(vector, [Search(count, filter)], fields=fields)
    return answers.neighbours[0]
