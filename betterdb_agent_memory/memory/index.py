"""The store's index: found or created once, looked at again now and then."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from time import monotonic

from betterdb_agent_memory.background import LoopLock
from betterdb_agent_memory.engines.base import Fence, IndexState, Records
from betterdb_agent_memory.errors import IndexMismatchError, IndexNotReadyError

LOOK_AGAIN_SECONDS = 60.0
"""How long what is known about the index is believed: other workers may rebuild it."""

_QUICK_LOOK_SECONDS = 0.06
_MOST_TIMES = 5

PATIENCE_SECONDS = 30.0
"""How long a search waits for the server to take existing memories into a new index."""


def believed_seconds(look_seconds: float) -> float:
    """How long what a look has told is believed: longer after one that took long, up to five times.

    RediSearch counts the bytes of every vector for FT.INFO, 0.2 s at 300,000 x 384, and answers nobody meanwhile.
    """
    return LOOK_AGAIN_SECONDS * min(max(look_seconds / _QUICK_LOOK_SECONDS, 1.0), _MOST_TIMES)


class MemoryIndex:
    """Knows whether the index is there, for vectors of which length, and whether it is complete."""

    def __init__(
        self, records: Records, index_name: str, *, on_created: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._records = records
        self._on_created = on_created
        self._index_name = index_name
        self._state = IndexState(dimensions=None)
        self._looked_at = -math.inf
        self._look_seconds = 0.0
        self._expected: int | None = None
        self.last_dimensions: int | None = None
        """Vector length of the index when it was last there."""
        self._preparing = LoopLock()

    @property
    def unindexed(self) -> tuple[str, ...]:
        """Fields of ours that the index lacked when it was last looked at."""
        return self._state.unindexed

    async def find(self, stated: int | None = None, *, look: bool = False) -> int | None:
        """Vector length of the existing index, None when there is none.

        No round trip once known, one every 60 s (up to 300 where looking takes the server long) and with `look`.

        Raises:
            IndexMismatchError: it is not `stated`, the length that the embedder says it makes, or it has
                changed to another than our vectors have.
        """
        if look or self._is_stale():
            async with self._preparing:
                if look or self._is_stale():
                    await self._prepare(None)
        for expected in (stated, self._expected):
            if expected is not None and self._state.dimensions is not None:
                self._require(expected)
        return self._state.dimensions

    async def ensure(self, dimensions: int) -> None:
        """Create the index if there is none. No round trip once known.

        Raises:
            IndexMismatchError: it exists for vectors of another length.
        """
        if self._state.dimensions is None:
            async with self._preparing:
                if self._state.dimensions is None:
                    await self._prepare(dimensions)
        self._require(dimensions)
        self._expected = dimensions

    async def recreate(self) -> None:
        """Create the index again after the server lost it (FLUSHALL, FT.DROPINDEX)."""
        async with self._preparing:
            await self._prepare(self.last_dimensions)

    def forget(self) -> None:
        """Look again before the next use: somebody has rebuilt it, perhaps for vectors of another length."""
        self._looked_at = -math.inf
        self._state = IndexState(dimensions=None)
        self._expected = None

    async def rebuild(self, dimensions: int, *, fence: Fence) -> None:
        """Make the index anew over the memories that are there, for vectors of this length.

        Raises:
            LeaseLostError: somebody else has the lease of `fence` by now.
        """
        async with self._preparing:
            self._state = await self._records.rebuild(dimensions, fence=fence)
            self._looked_at = monotonic()
            self._expected = self.last_dimensions = dimensions

    async def wait_complete(self) -> None:
        """Wait while the server still takes existing memories into the index.

        No round trip unless it did so when last looked at.

        Raises:
            IndexNotReadyError: it has not finished after 30 s.
        """
        deadline = monotonic() + PATIENCE_SECONDS
        pause = 0.01
        while self._state.indexing:
            self._state = await self._records.inspect()
            if not self._state.indexing:
                return  # complete, or dropped meanwhile: then the search will say so
            if monotonic() > deadline:
                raise IndexNotReadyError(
                    f"index {self._index_name} was made anew and the server is still taking in existing memories, so "
                    "an answer would be incomplete; try again later, stats().indexing says when it is done"
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.5)

    def _is_stale(self) -> bool:
        return self._state.dimensions is None or monotonic() - self._looked_at > believed_seconds(self._look_seconds)

    async def _prepare(self, dimensions: int | None) -> None:
        began = monotonic()
        self._state = await self._records.prepare(dimensions)
        self._looked_at = monotonic()
        self._look_seconds = self._looked_at - began
        if self._state.dimensions is not None:
            self.last_dimensions = self._state.dimensions
        if self._state.created and self._on_created is not None:
            await self._on_created()

    def _require(self, dimensions: int) -> None:
        if self._state.dimensions != dimensions:
            raise IndexMismatchError(
                f"index {self._index_name} holds vectors of {self._state.dimensions} dimensions, the embedder makes "
                f"{dimensions}; use the embedder it was made with, or another store name"
            )
