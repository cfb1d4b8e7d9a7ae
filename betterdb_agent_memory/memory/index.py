"""The store's index: found or created once, remembered afterwards."""

from __future__ import annotations

import asyncio

from betterdb_agent_memory.engines.base import IndexState, Records
from betterdb_agent_memory.errors import IndexMismatchError


class MemoryIndex:
    """Knows whether the index is there and for vectors of which length."""

    def __init__(self, records: Records, index_name: str) -> None:
        self._records = records
        self._index_name = index_name
        self._state = IndexState(dimensions=None)
        self._preparing = asyncio.Lock()

    @property
    def unindexed(self) -> tuple[str, ...]:
        """Our own fields that the index lacks, because another client created it."""
        return self._state.unindexed

    async def find(self, stated: int | None = None) -> int | None:
        """Vector length of the existing index, None when there is none. No round trip once known.

        Raises:
            IndexMismatchError: it is not `stated`, the length that the embedder says it makes.
        """
        if self._state.dimensions is None:
            async with self._preparing:
                if self._state.dimensions is None:
                    self._state = await self._records.prepare(None)
        if stated is not None and self._state.dimensions is not None:
            self._require(stated)
        return self._state.dimensions

    async def ensure(self, dimensions: int) -> None:
        """Create the index if there is none. No round trip once known.

        Raises:
            IndexMismatchError: it exists for vectors of another length.
        """
        if self._state.dimensions is None:
            async with self._preparing:
                if self._state.dimensions is None:
                    self._state = await self._records.prepare(dimensions)
        self._require(dimensions)

    async def recreate(self) -> None:
        """Create the index again after the server lost it (FLUSHALL, FT.DROPINDEX)."""
        async with self._preparing:
            self._state = await self._records.prepare(self._state.dimensions)

    def _require(self, dimensions: int) -> None:
        if self._state.dimensions != dimensions:
            raise IndexMismatchError(
                f"index {self._index_name} holds vectors of {self._state.dimensions} dimensions, the embedder makes "
                f"{dimensions}; use the embedder it was made with, or another store name"
            )
