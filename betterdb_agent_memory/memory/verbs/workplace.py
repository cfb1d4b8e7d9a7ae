"""The store as a place to work in, for the layers above it."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from betterdb_agent_memory.engines.base import Expected, Fence
from betterdb_agent_memory.leasing import HeldLease
from betterdb_agent_memory.memory.changes.cause import because
from betterdb_agent_memory.memory.verbs.consolidate import ConsolidateVerbs
from betterdb_agent_memory.memory.workplace import Workplace


class WorkplaceVerbs(ConsolidateVerbs):
    """What dynamics need of a store."""

    async def workplace(self) -> Workplace:
        """What work on all memories needs of this store; for parts of this library. No round trip."""
        return Workplace(
            name=self.name,
            records=self._records,
            values=self._engine.values,
            clock=self._clock,
            searched=self._searched_records,
            forget=self._forget_unchanged,
            archive=self._archiver.archive,
            restore=self._archiver.restore,
            reinforce=self._reinforcer.reinforce,
            alone=self._maintenance_lease,
        )

    def _maintenance_lease(self, wait_seconds: float, lease_seconds: float) -> HeldLease:
        return HeldLease(
            self._engine.leases,
            f"{self.name}:__mem_dynamics_lease",
            what=f"the maintenance of store {self.name}",
            wait_seconds=wait_seconds,
            ttl_seconds=lease_seconds,
        )

    async def _forget_unchanged(
        self, ids: Sequence[str], expected: Sequence[Expected], fence: Fence
    ) -> builtins.list[bool]:
        """Delete those that still hold what is expected; true where that was done. Turns beside them are mixed anew."""
        layout = await self._models.layout()
        with self._mender.removal() as removal, because("forgotten", "faded"):
            await removal.note(ids)
            existed = await self._records.delete_many(ids, expected=expected, fence=fence)
            self._watch.forgotten(sum(existed))
            gone = [id for id, was in zip(ids, existed, strict=True) if was]
            await self._follower.follow(layout.generation, gone)
            await removal.mix()
        return existed
