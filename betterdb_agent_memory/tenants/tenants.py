"""The tenants of an agent: made when asked for, kept in bounds, moved and limited by operators."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from weakref import WeakValueDictionary

from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.dynamics.parameters import DEFAULT_PARAMETERS, DynamicsParameters
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.errors import AgentMemoryError, ConfigurationError, LeaseHeldError
from betterdb_agent_memory.memory.progress import ProgressFn
from betterdb_agent_memory.memory.settings import refresh_interval_seconds
from betterdb_agent_memory.options import CacheOptions, ConfigRefreshOptions, TenantLimits, TenantsOptions
from betterdb_agent_memory.tenants.deletion import DeletedTenant, Deletion
from betterdb_agent_memory.tenants.engine import Pools
from betterdb_agent_memory.tenants.names import checked_tenant, is_tenant, promoted_name, tenant_name, tenants_prefix
from betterdb_agent_memory.tenants.promotion import Promotion
from betterdb_agent_memory.tenants.state import Phase, TenantKeeper
from betterdb_agent_memory.tenants.tenant import Tenant, TenantParts

_log = logging.getLogger(__name__)
_PLACE = "}:__tenant"
_LOOKS = 8
"""How often a tenant is counted while a worker writes as many memories as make it large."""


@dataclass(frozen=True, slots=True)
class TenantStatus:
    """Where a tenant's memories are and how much it uses.

    `phase` is `own`, `pooled`, or how far the way out of the pool has come (`announced`, `moving`); `pool` is the
    number of the pool it is or was in. `store` is the name under which a store finds its memories, None while they are
    in a pool. `memories` and `bytes` are counted now.
    """

    tenant: str
    name: str
    phase: Phase
    pool: int | None
    store: str | None
    memories: int
    bytes: int
    limits: TenantLimits


class Tenants:
    """What is done about tenants: `agent.tenants`.

    They share the agent's engine, its embedder and the options of its tiers. `store` are the arguments of the agent's
    own store.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        *,
        options: TenantsOptions,
        store: Mapping[str, Any],
        caches: CacheOptions,
        dynamics: DynamicsParameters = DEFAULT_PARAMETERS,
    ) -> None:
        self._engine = engine
        self._name = name
        self._options = options
        own = {key: value for key, value in store.items() if key not in ("name", "on_use")}
        own.setdefault("clock", system_clock)
        refresh = caches.config_refresh
        refresh = refresh if isinstance(refresh, ConfigRefreshOptions) else ConfigRefreshOptions(enabled=refresh)
        self._parts = TenantParts(
            engine=engine,
            name=name,
            pools=Pools(engine, name, by_tags=bool(store.get("limit_by_tags"))),
            options=options,
            store=own,
            caches=caches,
            refresh_seconds=refresh_interval_seconds(store.get("config_refresh")),
            policies_seconds=refresh.interval_seconds if refresh.enabled else None,
            on_growth=self._grown,
            on_use=self.get,
            dynamics=dynamics,
        )
        self._kept: OrderedDict[str, Tenant] = OrderedDict()
        self._alive: WeakValueDictionary[str, Tenant] = WeakValueDictionary()
        self._leaving: set[asyncio.Task[None]] = set()
        self._growth: dict[str, int] = {}
        self._promoting: dict[str, asyncio.Task[None]] = {}

    def get(self, tenant: str) -> Tenant:
        """As `agent.tenant`."""
        tenant = checked_tenant(tenant)
        known = self._alive.get(tenant)
        if known is None:
            known = self._alive[tenant] = self._made(tenant)
        self._kept[tenant] = known
        self._kept.move_to_end(tenant)
        while len(self._kept) > self._options.kept:
            self._let_go(self._kept.popitem(last=False)[1])
        return known

    async def status(self, tenant: str) -> TenantStatus:
        """Where the tenant's memories are and how much it uses: a walk over all its memories.

        Raises:
            ConfigurationError: it is being deleted, or was.
        """
        known = self.get(tenant)
        state = await known.keeper.current(look=True)
        memories, size_bytes = await known.accounts.usage()
        pool = state.pool
        own = known.name if pool is None else promoted_name(self._name, pool, tenant)
        store = own if state.phase == "own" else None
        return TenantStatus(tenant, known.name, state.phase, pool, store, memories, size_bytes, state.limits)

    async def set_limits(self, tenant: str, limits: TenantLimits) -> None:
        """Limit what a tenant may use; every worker goes by it within `placement_seconds`. Three round
        trips.

        They stand in the store, in place of `TenantsOptions.limits`, until they are set again.

        Raises:
            ConfigurationError: it is being deleted, or was; `limits` are none.
        """
        if not isinstance(limits, TenantLimits):
            raise ConfigurationError(f"limits must be TenantLimits(...), got {type(limits).__name__}")
        keeper = self.get(tenant).keeper
        await keeper.refuse_deleted(tenant)
        await keeper.set_limits(limits)

    async def promote(self, tenant: str, *, on_progress: ProgressFn | None = None) -> TenantStatus:
        """Give a tenant of a pool an index of its own, while everybody goes on reading and writing.

        It takes twice `placement_seconds`, until every worker has heard, and the moving itself: each memory in one
        step, about six round trips per 500. Recalls ask both places meanwhile. Goes on where one that was killed
        stopped. For a tenant that has its own already it moves what late workers may have left in the pool.

        Raises:
            LeaseHeldError: another worker is promoting it.
            LeaseLostError: this process stood still for longer than its lease; promote again.
        """
        known = self.get(tenant)
        await Promotion(self._engine, known.name, tenant, known.keeper, known.records).run(on_progress)
        return await self.status(tenant)

    async def delete(self, tenant: str) -> DeletedTenant:
        """Delete a tenant whole: memories, index, caches, sessions, change feed, settings, limits; how much there was.

        No other tenant is touched, nor the pool's index. First all workers are told, for `placement_seconds`, and
        refuse what is asked of its memories. Then everything goes, by two looks at all keys of a server. One that was
        killed is gone on with by the next `delete`, once its lease has run out (30 s). The name is not used again: its
        memories are refused for good, so that no worker that was busy all the time brings anything back. Of the
        tenant's caches nobody is kept away: what is stored in them meanwhile may stay.

        Raises:
            LeaseHeldError: another worker is deleting or promoting it.
            LeaseLostError: this process stood still for longer than its lease; delete again.
        """
        known = self.get(tenant)
        for kept in (self._kept, self._alive):
            kept.pop(tenant, None)
        if (promoting := self._promoting.get(tenant)) is not None:
            promoting.cancel()
            await asyncio.wait([promoting])
        # What it has put off is written first, and not after that.
        await known.close()
        return await Deletion(self._engine, known.name, tenant, known.keeper, known.records).run()

    async def names(self) -> list[str]:
        """The tenants that somebody has used, in order; a server looks at all its keys for it."""
        prefix = tenants_prefix(self._name)
        found: set[str] = set()
        async for keys in self._engine.values.scan_keys(prefix):
            found.update(key[len(prefix) : -len(_PLACE)] for key in keys if key.endswith(_PLACE))
        # Keys of other agents, and what users call their sessions, may look like that; no tenant's name does.
        return sorted(filter(is_tenant, found))

    async def close(self) -> None:
        """Write what waits for every tenant that was made here. The agent does it."""
        loop = asyncio.get_running_loop()
        promoting = [task for task in self._promoting.values() if task.get_loop() is loop and not task.done()]
        for task in promoting:
            task.cancel()
        if promoting:
            await asyncio.wait(promoting)
        async with AsyncExitStack() as steps:
            for tenant in [*self._alive.values()]:
                steps.push_async_callback(tenant.close)
            leaving = [task for task in self._leaving if task.get_loop() is loop]
            if leaving:
                await asyncio.wait(leaving)
        self._kept.clear()

    def _made(self, tenant: str) -> Tenant:
        options = self._options
        name = tenant_name(self._name, tenant)
        # By the tenant's name alone, so that all workers who come first at the same time think of the same pool.
        number = int.from_bytes(sha256(tenant.encode()).digest()[:8]) % options.pools
        keeper = TenantKeeper(
            self._engine.values,
            name,
            default=number if options.place == "pool" else None,
            limits=options.limits,
            believed_seconds=options.placement_seconds,
        )
        return Tenant(self._parts, tenant, name, keeper)

    def _grown(self, tenant: str, stored: int) -> None:
        """So many memories came; a tenant of a pool is looked at when it may have become too large for it."""
        limit = self._options.promote_at
        if limit is None:
            return
        self._growth[tenant] = self._growth.get(tenant, 0) + stored
        busy = self._promoting.get(tenant)
        if self._growth[tenant] * _LOOKS >= limit and (busy is None or busy.done()):
            self._growth[tenant] = 0
            task = asyncio.get_running_loop().create_task(self._promote_if_large(tenant, limit))
            self._promoting[tenant] = task
            task.add_done_callback(lambda _: self._promoting.pop(tenant, None))

    async def _promote_if_large(self, tenant: str, limit: int) -> None:
        known = self.get(tenant)
        try:
            if (await known.keeper.current()).phase != "own" and await known.records.count(Filter()) >= limit:
                await Promotion(self._engine, known.name, tenant, known.keeper, known.records).run(None)
                _log.info("tenant %s has an index of its own", tenant)
        except LeaseHeldError:
            return  # another worker is at it
        except AgentMemoryError as error:
            _log.warning("tenant %s stays in its pool for now: %s", tenant, error)

    def _let_go(self, tenant: Tenant) -> None:
        """One more than are kept: what it has put off is written. Whoever holds it can go on using it."""
        try:
            task = asyncio.get_running_loop().create_task(self._written(tenant))
        except RuntimeError:
            return  # outside of a loop it has put nothing off, or the loop that it did so in is over
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _written(self, tenant: Tenant) -> None:
        try:
            if self._options.discovery:
                self._alive.pop(tenant.tenant, None)
                await tenant.close()
            else:
                await tenant.write_pending()
        except AgentMemoryError as error:
            _log.warning("what tenant %s had put off could not be written: %s", tenant.tenant, error)
