"""Which vectors a memory has and where they are searched: one space for each embedding model in use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from betterdb_agent_memory.engines.base import Answers, Counter, Expected, Fence, Page, Position, Row, Search, Tally
from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.memory.embedding import CheckedEmbedder
from betterdb_agent_memory.memory.index import MemoryIndex


class SearchedRecords(Protocol):
    """Memories as one space finds them; the verbs are those of `engines.base.Records`."""

    @property
    def max_neighbours(self) -> int:
        """Largest `count` that a search takes."""

    async def search_many(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally] = ()
    ) -> Answers:
        """Several searches around one `vector`, and counts beside them."""

    async def select(
        self,
        filter: Filter,
        *,
        fields: Sequence[str],
        limit: int,
        offset: int = 0,
        order_by: str | None = None,
        descending: bool = False,
    ) -> Page:
        """A page of memories."""

    async def read_many(self, ids: Sequence[str], fields: Sequence[str]) -> list[Fields | None]:
        """The asked-for fields of each id; the vector is the one that searches compare."""

    async def delete_many(
        self,
        ids: Sequence[str],
        *,
        expected: Sequence[Expected] | None = None,
        fence: Fence | None = None,
        counter: Counter | None = None,
    ) -> list[bool]:
        """Delete memories; true where there was one."""

    async def count(self, filter: Filter) -> int:
        """How many memories `filter` accepts, exactly."""

    def walk(
        self, filter: Filter, *, fields: Sequence[str], after: Position | None = None, page_size: int = 1000
    ) -> AsyncIterator[tuple[Row, ...]]:
        """Pages of all memories that `filter` accepts, oldest first."""


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """The vectors of one model: what makes them, and the index and records they are searched in."""

    embedder: CheckedEmbedder
    index: MemoryIndex
    records: SearchedRecords
