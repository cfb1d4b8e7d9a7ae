"""The short-term tiers of one name, wired together: what starts them, counts them, empties and closes them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Final

from betterdb_agent_memory.caches import statistics
from betterdb_agent_memory.caches.deferred import DeferredWrites
from betterdb_agent_memory.caches.embedding import EmbeddingCache
from betterdb_agent_memory.caches.erasing import erase_cache
from betterdb_agent_memory.caches.llm import LlmCache
from betterdb_agent_memory.caches.policies import ToolPolicies
from betterdb_agent_memory.caches.pricing import Prices
from betterdb_agent_memory.caches.results import AgentCacheStats, ToolEffectivenessEntry
from betterdb_agent_memory.caches.session import SessionCache
from betterdb_agent_memory.caches.tool import ToolCache
from betterdb_agent_memory.caches.waking import WakingEngine
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.discovery import WITHDRAWAL_SECONDS, CacheDiscovery, CacheTraits
from betterdb_agent_memory.engines import CLOSE_SECONDS
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.options import (
    CacheOptions,
    ConfigRefreshOptions,
    DiscoveryOptions,
    EmbeddingCacheOptions,
    NearCacheOptions,
    checked_name,
)
from betterdb_agent_memory.options.caches import TIERS
from betterdb_agent_memory.version import package_version

_log = logging.getLogger(__name__)

FLUSHED: Final = ("llm", "tool", "session", "__llm_flight", "__tool_flight", "__embed")
"""What a flush deletes, beside statistics and session indexes: every key `{name}:` + one of these + `:` and more."""


class CacheTiers:
    """`llm`, `tool`, `session` and `embeddings` under one name, on one engine.

    Nothing is read or written before the first call of a tier. With it, in whatever loop it is made, begins
    what goes on beside: re-reading tool policies, and announcing the cache to the Monitor if `options.discovery`
    says so (None: no).
    """

    def __init__(self, engine: Engine, name: str, options: CacheOptions, *, clock: Clock) -> None:
        self._name = name = checked_name(name)
        self._values = engine.values
        self._options = options
        self._stats_key = statistics.stats_key(name)
        self._is_closed = False
        self._registration: asyncio.Task[None] | None = None
        self.watch = watch = CacheWatch(name, options.telemetry)
        watch.export_traffic(engine)
        self._deferred = deferred = DeferredWrites(
            engine.values, self._stats_key, on_failure=lambda: watch.background_failed("statistics")
        )
        self._refresh = _refresh_options(options.config_refresh)
        self.policies = policies = ToolPolicies(
            name,
            values=engine.values,
            watch=watch,
            interval_seconds=self._refresh.interval_seconds,
            listen=engine.watch if self._refresh.live_updates else None,
        )
        self._discovery = self._announcement(engine, options.discovery)
        waking = WakingEngine(engine, self.start)
        self.llm = LlmCache(
            name,
            engine=waking,
            watch=watch,
            deferred=deferred,
            ttl_seconds=options.ttl_seconds("llm"),
            prices=Prices(options.cost_table, use_default_cost_table=options.use_default_cost_table),
            clock=clock,
            key=options.key,
        )
        self.tool = ToolCache(
            name,
            engine=waking,
            watch=watch,
            deferred=deferred,
            policies=policies,
            ttl_seconds=options.ttl_seconds("tool"),
            clock=clock,
        )
        self.session = SessionCache(
            name,
            engine=waking,
            watch=watch,
            deferred=deferred,
            ttl_seconds=options.ttl_seconds("session"),
            clock=clock,
            near=_near_options(options.session_near_cache),
        )
        kept = options.embeddings if isinstance(options.embeddings, EmbeddingCacheOptions) else EmbeddingCacheOptions()
        self.embeddings = EmbeddingCache(
            name,
            engine=waking,
            watch=watch,
            deferred=deferred,
            ttl_seconds=kept.ttl_seconds,
            max_entries=kept.max_entries,
            local_bytes=kept.local_bytes,
        )

    def start(self) -> None:
        """Begin the work beside, in the running loop; nothing outside of one, a second time, or once closed."""
        if self._is_closed or (loop := _running_loop()) is None:
            return
        if self._refresh.enabled:
            self.policies.start()
        registration = self._registration
        if self._discovery is not None and (registration is None or registration.get_loop() is not loop):
            self._registration = loop.create_task(self._discovery.register())
            self._registration.add_done_callback(self._tell_of_refusal)

    async def ensure_ready(self) -> None:
        """Start, and wait until the policies were read once and the cache is announced.

        Raises:
            AgentCacheUsageError: the name belongs to something that is no cache.
        """
        self.start()
        if self._refresh.enabled and not self._is_closed:
            await self.policies.wait_read()
        await self.ensure_discovery_ready()

    async def ensure_discovery_ready(self) -> None:
        """Wait until the cache is announced to the Monitor, if it is to be.

        Raises:
            AgentCacheUsageError: the name belongs to something that is no cache.
        """
        self.start()
        if self._registration is not None:
            await asyncio.shield(self._registration)

    async def stats(self) -> AgentCacheStats:
        """What all workers of this name did so far. One round trip, two when counts of this one wait.

        Counts of other workers follow within a second.
        """
        self.start()
        await self._deferred.flush()
        return statistics.read_stats(await self._values.read_map(self._stats_key), self.policies.current)

    async def tool_effectiveness(self) -> list[ToolEffectivenessEntry]:
        """Which tools' caching pays, most dollars saved first, and what to do about their TTLs. As `stats`."""
        return statistics.tool_effectiveness(await self.stats(), self._options.ttl_seconds("tool"))

    async def flush(self) -> None:
        """Delete all entries of all tiers, and the statistics, and nothing else. A walk over all keys of a server.

        Tool policies stay: they are configuration, which the published packages delete. So do memories and their
        configuration, and whatever else begins with the name. What other workers write meanwhile may stay.
        """
        self.start()
        await self._deferred.flush()
        # First, since the session index is trusted as far as the statistics confirm it.
        await self._values.delete(self._stats_key)
        try:
            await erase_cache(self._values, self._name, only=[f"{part}:" for part in FLUSHED])
        finally:
            self.session.reset_tracker()
            self.session.forget_near()
            self.embeddings.forget_local()

    async def close(self) -> None:
        """Finish what is under way, write what waits, stop the work beside. A second time does nothing.

        All of it is done, whatever fails on the way; the last failure is raised. A server that does not answer
        is waited for 5 s, and 2 s more to take the name off the Monitor's list.
        """
        self._is_closed = True
        async with AsyncExitStack() as steps:
            steps.callback(self.session.reset_tracker)
            steps.callback(self.session.forget_near)
            steps.push_async_callback(self._withdraw)
            steps.push_async_callback(self._write_what_waits)
            steps.push_async_callback(self.policies.stop)
            steps.push_async_callback(self.llm.close)

    async def _write_what_waits(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._deferred.close()
        except TimeoutError:
            _log.warning("counts of cache %s were lost at close: no answer in %g s", self._name, CLOSE_SECONDS)

    async def _withdraw(self) -> None:
        registration, self._registration = self._registration, None
        if self._discovery is None or registration is None:
            return
        if registration.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([registration], timeout=WITHDRAWAL_SECONDS)
            registration.cancel()
        await self._discovery.stop(delete_heartbeat=True)

    def _announcement(self, engine: Engine, asked: bool | DiscoveryOptions | None) -> CacheDiscovery | None:
        how = asked if isinstance(asked, DiscoveryOptions) else DiscoveryOptions(enabled=bool(asked))
        if not how.enabled:
            return None
        options = self._options
        return CacheDiscovery(
            client=engine,
            name=self._name,
            version=package_version(),
            traits=CacheTraits(
                ttl_defaults={tier: options.ttl_seconds(tier) for tier in TIERS},
                has_cost_table=bool(options.cost_table),
                uses_default_cost_table=options.use_default_cost_table,
                tool_policies=(lambda: list(self.policies.current)) if how.include_tool_policies else None,
            ),
            heartbeat_interval_s=how.heartbeat_interval_ms / 1000,
            on_write_failed=lambda: self.watch.background_failed("discovery"),
        )

    def _tell_of_refusal(self, registration: asyncio.Task[None]) -> None:
        if not registration.cancelled() and (error := registration.exception()) is not None:
            _log.error("cache %s is not announced to the Monitor: %s", self._name, error)


def _refresh_options(asked: bool | ConfigRefreshOptions) -> ConfigRefreshOptions:
    return asked if isinstance(asked, ConfigRefreshOptions) else ConfigRefreshOptions(enabled=asked)


def _near_options(asked: bool | NearCacheOptions) -> NearCacheOptions | None:
    return NearCacheOptions() if asked is True else asked or None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
