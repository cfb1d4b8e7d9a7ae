"""A tenant is deleted whole: its memories wherever they are, its caches, and all that is kept about it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from betterdb_agent_memory.caches.erasing import delete_entries
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.leasing import HeldLease
from betterdb_agent_memory.memory.changes.feed import feed_key
from betterdb_agent_memory.memory.correction.shelf import shelf_collection
from betterdb_agent_memory.memory.generations.generation import drop_generation
from betterdb_agent_memory.memory.generations.layout import state_key
from betterdb_agent_memory.memory.generations.state import GenerationState
from betterdb_agent_memory.tenants.engine import TenantRecords
from betterdb_agent_memory.tenants.promotion import forget_counts, tenant_lease
from betterdb_agent_memory.tenants.state import TenantKeeper

_MARGIN = 1.1
_LEASES = (
    *("__tenant_lease", "__mem_generation_lease", "__mem_generation_turn", "__mem_consolidation_lease"),
    "__mem_dynamics_lease",
    "__mem_eviction_lease:",
)
"""What the keys of leases begin with behind the tenant's name. They stay, with the last token in them: one that began
anew could let in a worker that stood still since before the deletion."""


@dataclass(frozen=True, slots=True)
class DeletedTenant:
    """What was deleted of a tenant: its memories, and the entries beside them (cached answers, sessions, settings)."""

    tenant: str
    memories: int
    entries: int


class Deletion:
    """Deletes one tenant step by step, each of which may be done again.

    1. Everybody is told (`deleting`), and refuses every call of the tenant's memories once he has heard.
    2. When all have heard, the memories go: those in the pool and those in an index of its own, with the index, their
       links, superseded versions, the vectors of a next model and the change feed.
    3. Everything else below the tenant's name goes, and last of all where its memories were. That it was deleted stays:
       a worker that has been busy since before then could otherwise write into what the next customer of that name has.

    Until that last step the tenant is among `Tenants.names`, and whoever deletes it next goes on. The name of a tenant
    whose memories nobody has ever asked for is as before.
    """

    def __init__(self, engine: Engine, name: str, tenant: str, keeper: TenantKeeper, records: TenantRecords) -> None:
        self._engine = engine
        self._name = name
        self._tenant = tenant
        self._keeper = keeper
        self._records = records

    async def run(self) -> DeletedTenant:
        """See `Tenants.delete`."""
        async with tenant_lease(self._engine, self._name, f"the deletion of tenant {self._tenant}") as lease:
            was_used = await self._keeper.is_used()
            state = await self._keeper.current(look=True)
            if state.phase not in ("deleting", "deleted"):
                await self._keeper.step("deleting", lease)
            await asyncio.sleep(self._keeper.believed_seconds * _MARGIN)
            memories = await self._delete_memories(state.pool, lease)
            entries = await self._delete_entries(lease)
            lease.check()
            if was_used:
                await self._keeper.end(lease)
            else:
                await self._keeper.forget()
        return DeletedTenant(self._tenant, memories, entries)

    async def _delete_memories(self, pool: int | None, lease: HeldLease) -> int:
        # Said again, and refused if it comes late: on a cluster memories may lie in another slot than the lease, where
        # nothing in them tells that they are those of the next customer.
        await self._keeper.step("deleting", lease)
        deleted = 0
        if pool is not None:
            deleted += await self._records.pooled(pool).drop(fence=lease.fence)
            await forget_counts(self._engine, self._records, pool, self._tenant)
        deleted += await self._records.own(pool).drop(fence=lease.fence)
        if pool is not None:
            # Links of memories that have expired. Those of a tenant that was in no pool are below its name.
            await self._delete_below(self._records.linked(pool).prefix, lease)
        deleted += await self._engine.records(shelf_collection(self._name)).drop(fence=lease.fence)
        fields = await self._engine.values.read_map(state_key(self._name))
        number = GenerationState.decoded(state_key(self._name), fields).number
        # The next one may have been begun, and not yet noted.
        for generation in (number, number + 1) if fields else ():
            await drop_generation(self._engine, self._name, generation, lease.fence)
        lease.check()
        await self._engine.event_log(feed_key(self._name)).drop()
        return deleted

    async def _delete_entries(self, lease: HeldLease) -> int:
        """Strings and maps below the tenant's name, but for leases, and for what says that it is being deleted."""
        prefix = f"{self._name}:"
        return await self._delete_below(prefix, lease, kept=tuple(prefix + begin for begin in _LEASES))

    async def _delete_below(self, prefix: str, lease: HeldLease, *, kept: tuple[str, ...] = ()) -> int:
        deleted = 0
        async for keys in self._engine.values.scan_keys(prefix):
            lease.check()
            gone = [key for key in keys if not key.startswith(kept) and key not in self._keeper.last_keys]
            deleted += await delete_entries(self._engine.values, dict.fromkeys(gone))
        return deleted
