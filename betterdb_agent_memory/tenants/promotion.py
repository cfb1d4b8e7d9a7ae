"""A tenant leaves its pool for an index of its own while everybody goes on reading and writing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic

from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.engines.groups import LAST_WRITTEN
from betterdb_agent_memory.engines.partitioned import group_of
from betterdb_agent_memory.errors import IndexMissingError
from betterdb_agent_memory.leasing import LEASE_SECONDS, HeldLease
from betterdb_agent_memory.memory.progress import Progress, ProgressFn
from betterdb_agent_memory.tenants.engine import TenantRecords
from betterdb_agent_memory.tenants.state import TenantKeeper

STAGE = "moving"
_PAGE = 500
_SLICE = 8
"""Memories that are moved in one request. RediSearch takes about a millisecond for each, in which it does nothing
else, so a server is given as long for others after each slice."""

_MARGIN = 1.1
"""A worker's clock may run a little slower than ours."""


def tenant_lease(engine: Engine, name: str, what: str) -> HeldLease:
    """For what only one worker at a time may do about the place of the tenant whose keys begin with `name`."""
    return HeldLease(engine.leases, f"{name}:__tenant_lease", what=what, ttl_seconds=LEASE_SECONDS)


async def forget_counts(engine: Engine, records: TenantRecords, number: int, tenant: str) -> None:
    """How many memories its scopes have is counted anew where these are by now; what the pool knew of it goes."""
    key, begin = records.pooled(number).shared.collection.counts_key, group_of(tenant)
    if key is None:
        return
    kept = await engine.values.read_map(key)
    await engine.values.remove_fields(key, [name for name in kept if name.removeprefix(LAST_WRITTEN).startswith(begin)])


class Promotion:
    """Takes the memories of one tenant out of its pool, step by step, each of which may be done again.

    1. The index of its own is made, and everybody is told to look in both places (`announced`).
    2. When all have heard, everybody is told that memories move (`moving`): what is written goes to their own index,
       what is changed is moved before.
    3. When all have heard of that, what is left in the pool is moved, a page at a time, until nothing is.
    4. Everybody is told (`own`).

    No step depends on what this process remembers: one that was killed is gone on with by whoever promotes next.
    """

    def __init__(self, engine: Engine, name: str, tenant: str, keeper: TenantKeeper, records: TenantRecords) -> None:
        self._engine = engine
        self._name = name
        self._tenant = tenant
        self._keeper = keeper
        self._records = records

    async def run(self, on_progress: ProgressFn | None) -> None:
        """See `Tenants.promote`."""
        state = await self._keeper.current(look=True)
        state.refuse_deleted(self._tenant)
        if state.phase == "own" and state.pool is None:
            return
        async with tenant_lease(self._engine, self._name, f"the promotion of tenant {self._tenant}") as lease:
            state = await self._keeper.current(look=True)
            state.refuse_deleted(self._tenant)
            number = state.pool
            if number is None:
                return
            if state.phase == "own":
                # Who stood still while the others were told may have come into the pool since.
                await self._empty(number, lease, on_progress)
                await self._sweep(number, lease)
                return
            pooled = self._records.pooled(number)
            dimensions = (await pooled.inspect()).dimensions
            if dimensions is not None:
                await self._records.own(number).prepare(dimensions)
            if state.phase == "pooled":
                await self._keeper.step("announced", lease)
            if state.phase != "moving":
                await self._heard()
                await self._keeper.step("moving", lease)
            await self._empty(number, lease, on_progress)
            await self._heard()
            await self._empty(number, lease, on_progress)
            await self._sweep(number, lease)
            await self._keeper.step("own", lease)
            await forget_counts(self._engine, self._records, number, self._tenant)

    async def _heard(self) -> None:
        """Wait until nobody believes what was so before."""
        await asyncio.sleep(self._keeper.believed_seconds * _MARGIN)

    async def _empty(self, number: int, lease: HeldLease, on_progress: ProgressFn | None) -> None:
        """Move what the pool's index has, until a look finds nothing."""
        pooled = self._records.pooled(number)
        try:
            left = await pooled.count(Filter())
        except IndexMissingError:
            left = 0
        moved = 0
        while left:
            page: list[str] = []
            async for rows in pooled.walk(Filter(), fields=(self._records.order_by,), page_size=_PAGE):
                page = [row.id for row in rows]
                break
            lease.check()
            done = await self._moved(number, page)
            if not done:
                break
            moved += done
            if on_progress is not None:
                on_progress(Progress(STAGE, min(moved, left), left))

    async def _sweep(self, number: int, lease: HeldLease) -> None:
        """Move what the pool's index does not have, a vector of another length, say: it is found by its key alone."""
        async for rows in self._records.pooled(number).scan((self._records.order_by,)):
            lease.check()
            await self._moved(number, [row.id for row in rows])

    async def _moved(self, number: int, ids: Sequence[str]) -> int:
        moved = 0
        for start in range(0, len(ids), _SLICE):
            began = monotonic()
            moved += await self._records.move(number, ids[start : start + _SLICE])
            await asyncio.sleep(monotonic() - began)
        return moved
