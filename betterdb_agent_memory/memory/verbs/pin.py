"""Pinning memories."""

from __future__ import annotations

from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.parts import StoreParts


class PinVerbs(StoreParts):
    """pin, unpin."""

    async def pin(self, id: str) -> bool:
        """Keep a memory whatever happens to others; true if it was not pinned before. One round trip.

        It is never evicted by this package, and no consolidation takes its place. Its importance becomes 1, so that
        packages in other languages, which know nothing of pins, evict it last; `unpin` gives the former one back. What
        you delete yourself is deleted, pinned or not, and a time to live goes on running. Raises the version.

        Raises:
            InvalidInputError: `id` cannot be the id of a memory.
            MemoryNotFoundError: there is no such memory.
        """
        return await self._pinner.pin(record.checked_id(id))

    async def unpin(self, id: str) -> bool:
        """Let a pinned memory be as any other, with the importance that it had before, or that `update` has given it
        meanwhile; true if it was pinned. One round trip. Raises the version.

        Raises:
            InvalidInputError: `id` cannot be the id of a memory.
            MemoryNotFoundError: there is no such memory.
        """
        return await self._pinner.unpin(record.checked_id(id))
