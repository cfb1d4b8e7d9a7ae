"""Pinning: a memory that is neither evicted nor faded out, and how its importance is kept meanwhile.

Readers in other languages know nothing of pins, and evict by importance and age: so a pinned memory has the importance
1, and what it had before stands in the field that marks it.
"""

from __future__ import annotations

from betterdb_agent_memory.engines.base import Outcome, RecordChange, Records
from betterdb_agent_memory.errors import MemoryNotFoundError
from betterdb_agent_memory.memory.changes.cause import because
from betterdb_agent_memory.memory.dynamics_fields import PINNED
from betterdb_agent_memory.memory.generations.following import Follower
from betterdb_agent_memory.memory.generations.layout import Models
from betterdb_agent_memory.memory.record import IMPORTANCE, VERSION

PINNED_IMPORTANCE = b"1"
_UNKNOWN_IMPORTANCE = b"0"
"""As which a missing importance is read."""


class Pinner:
    """Pins memories of a store and unpins them: each one atomic step on its record, so that of several workers one
    does it and the others find it done.
    """

    def __init__(self, records: Records, models: Models, follower: Follower) -> None:
        self._records = records
        self._models = models
        self._follower = follower

    async def pin(self, id: str) -> bool:
        """Whether it was pinned by this; false where it was already. Raises MemoryNotFoundError."""
        plain = RecordChange(
            id,
            expected={PINNED: None},
            copies={PINNED: IMPORTANCE},
            sets={IMPORTANCE: PINNED_IMPORTANCE},
            revision_field=VERSION,
        )
        without_importance = RecordChange(
            id,
            expected={PINNED: None, IMPORTANCE: None},
            sets={PINNED: _UNKNOWN_IMPORTANCE, IMPORTANCE: PINNED_IMPORTANCE},
            revision_field=VERSION,
        )
        return await self._changed(id, plain, without_importance)

    async def unpin(self, id: str) -> bool:
        """Whether it was unpinned by this; false where it was not pinned. Raises MemoryNotFoundError."""
        return await self._changed(
            id, RecordChange(id, copies={IMPORTANCE: PINNED}, removes=(PINNED,), revision_field=VERSION)
        )

    async def _changed(self, id: str, *changes: RecordChange) -> bool:
        """Whether one of the changes, of which the record allows at most one, was made."""
        layout = await self._models.layout()
        with because("updated"):
            outcomes = await self._records.change_many(changes)
        if all(outcome is Outcome.MISSING for outcome in outcomes):
            raise MemoryNotFoundError(
                f"there is no memory {id!r}; it was forgotten, evicted, has expired, or never was"
            )
        if Outcome.CHANGED not in outcomes:
            return False
        await self._follower.follow(layout.generation, [id])
        return True
