"""One tenant: its memories and its caches, each made when it is first asked for."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from time import monotonic
from typing import Any

from betterdb_agent_memory.agent_config import AgentConfig
from betterdb_agent_memory.caches.embedding import EmbeddingCache
from betterdb_agent_memory.caches.llm import LlmCache
from betterdb_agent_memory.caches.results import AgentCacheStats
from betterdb_agent_memory.caches.session import SessionCache
from betterdb_agent_memory.caches.tiers import CacheTiers
from betterdb_agent_memory.caches.tool import ToolCache
from betterdb_agent_memory.caches.waking import WakingEngine
from betterdb_agent_memory.dynamics.dynamics import Dynamics
from betterdb_agent_memory.dynamics.parameters import DynamicsParameters
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.memory.store import MemoryStore
from betterdb_agent_memory.options import CacheOptions, MemoryTelemetryOptions, TelemetryOptions, TenantsOptions
from betterdb_agent_memory.tenants.accounts import TenantAccounts
from betterdb_agent_memory.tenants.config import TenantConfig
from betterdb_agent_memory.tenants.engine import Pools, TenantEngine, TenantRecords
from betterdb_agent_memory.tenants.state import TenantKeeper
from betterdb_agent_memory.tenants.store import Gate, TenantStore

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class TenantParts:
    """What all tenants of an agent have in common.

    `store` are the arguments of the agent's own store but for those that are a tenant's; `refresh_seconds` is how
    old what operators set may be, None where nothing is re-read.
    """

    engine: Engine
    name: str
    pools: Pools
    options: TenantsOptions
    store: Mapping[str, Any]
    caches: CacheOptions
    refresh_seconds: float | None
    policies_seconds: float | None
    on_growth: Callable[[str, int], None]
    on_use: Callable[[str], object]
    dynamics: DynamicsParameters


class Tenant:
    """What an agent has, for one tenant: `memory`, `dynamics`, the caches `llm`, `tool`, `session` and `embeddings`,
    and `config`.

    Made by `agent.tenant(name)`; nothing has to be closed, the agent does that. All of them share the agent's
    connections and its embedder, and none has work in the background while it is not used.
    """

    def __init__(self, parts: TenantParts, tenant: str, name: str, keeper: TenantKeeper) -> None:
        self._parts = parts
        self._tenant = tenant
        self._name = name
        self.keeper = keeper
        self.accounts = TenantAccounts(
            parts.engine.values, name, tenant, keeper, on_growth=partial(parts.on_growth, tenant)
        )
        self.records = TenantRecords(parts.engine, parts.pools, parts.pools.own(name), keeper, tenant, self.accounts)
        self.accounts.records = self.records
        self._memory: TenantStore | None = None
        self._dynamics: Dynamics | None = None
        self._tiers: CacheTiers | None = None
        self._config: AgentConfig | None = None
        self._policies_read_at = -float("inf")
        self._reading: asyncio.Task[Any] | None = None

    @property
    def tenant(self) -> str:
        """What the tenant is called."""
        return self._tenant

    @property
    def name(self) -> str:
        """What its keys begin with: the name under which a store of its own, in any language, would find them."""
        return self._name

    @property
    def memory(self) -> MemoryStore:
        """Its memories: every verb of a store."""
        if self._memory is None:
            self._memory = self._made_store()
        return self._memory

    @property
    def dynamics(self) -> Dynamics:
        """How its memories strengthen, fade and learn, by the agent's parameters."""
        if self._dynamics is None:
            self._dynamics = Dynamics(self.memory, self._parts.dynamics)
        return self._dynamics

    @property
    def llm(self) -> LlmCache:
        """Its answers of models."""
        return self._made_tiers().llm

    @property
    def tool(self) -> ToolCache:
        """Its results of tools."""
        return self._made_tiers().tool

    @property
    def session(self) -> SessionCache:
        """What it keeps about threads."""
        return self._made_tiers().session

    @property
    def embeddings(self) -> EmbeddingCache:
        """Vectors by text that it keeps by itself; those of its memories go through the agent's."""
        return self._made_tiers().embeddings

    @property
    def config(self) -> AgentConfig:
        """Showing and writing what operators change about this tenant."""
        if self._config is None:
            policies = self._made_tiers().policies
            store = self.memory
            config = TenantConfig(self._parts.engine.values, store.live_config, policies)
            self._config = config.of(self._tenant, self.keeper)
        return self._config

    async def stats(self) -> AgentCacheStats:
        """Hits, misses and dollars saved of its caches, by all workers. At most two round trips."""
        return await self._made_tiers().stats()

    async def flush(self) -> None:
        """Delete its cache entries and the statistics of its caches, and nothing else. A walk over all keys."""
        await self._made_tiers().flush()

    async def write_pending(self) -> None:
        """Write what was put off: touches of recalled memories, scopes above their limit, counts of the caches."""
        if self._memory is not None:
            await self._memory.rest()
        if self._tiers is not None:
            await self._tiers.stats()

    async def close(self) -> None:
        """Write what waits and stop what goes on beside. The agent does it for the tenants that it has made."""
        async with AsyncExitStack() as steps:
            if self._tiers is not None:
                steps.push_async_callback(self._tiers.close)
            if self._memory is not None:
                steps.push_async_callback(self._memory.close)
            reading, self._reading = self._reading, None
            if reading is not None and not reading.done() and reading.get_loop() is asyncio.get_running_loop():
                steps.push_async_callback(asyncio.wait, [reading])
                reading.cancel()

    def _made_store(self) -> TenantStore:
        parts = self._parts
        telemetry = parts.store.get("telemetry") or MemoryTelemetryOptions()
        gate = Gate(
            self.keeper,
            self.accounts,
            self._tenant,
            parts.refresh_seconds,
            on_use=partial(parts.on_use, self._tenant),
        )
        own = {
            "client": TenantEngine(parts.engine, self._name, self.records),
            "name": self._name,
            "discovery": parts.options.discovery and (parts.store.get("discovery") or True),
            "telemetry": dataclasses.replace(telemetry, label=self._label),
        }
        return TenantStore(gate=gate, **{**parts.store, **own})

    def _made_tiers(self) -> CacheTiers:
        if self._tiers is None:
            parts = self._parts
            telemetry = parts.caches.telemetry or TelemetryOptions()
            options = parts.caches.model_copy(
                update={
                    "config_refresh": False,
                    "discovery": parts.options.discovery and (parts.caches.discovery or True),
                    "telemetry": dataclasses.replace(telemetry, label=self._label),
                }
            )
            engine = WakingEngine(parts.engine, self._read_policies)
            clock: Callable[[], int] = parts.store["clock"]
            self._tiers = CacheTiers(engine, self._name, options, clock=clock)
        return self._tiers

    @property
    def _label(self) -> str:
        return self._name if self._parts.options.metrics_by_tenant else self._parts.name

    def _read_policies(self) -> None:
        """Tool policies are read with a call, when they have become old, and not in the background for every tenant."""
        seconds, now = self._parts.policies_seconds, monotonic()
        if seconds is None or self._tiers is None or now - self._policies_read_at < seconds:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._policies_read_at = now
        self._reading = loop.create_task(self._tiers.policies.refresh())
