"""AgentCache: the short-term tiers by themselves, on a client of your own."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from betterdb_agent_memory.caches.embedding import EmbeddingCache
from betterdb_agent_memory.caches.llm import LlmCache
from betterdb_agent_memory.caches.results import AgentCacheStats, ToolEffectivenessEntry
from betterdb_agent_memory.caches.session import SessionCache
from betterdb_agent_memory.caches.tiers import CacheTiers
from betterdb_agent_memory.caches.tool import ToolCache
from betterdb_agent_memory.clock import Clock, system_clock
from betterdb_agent_memory.engines import engine_for
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.options import AgentCacheOptions, CacheOptions


class Caches:
    """What has the short-term tiers: answers of models, results of tools, sessions, and vectors by text."""

    llm: LlmCache
    tool: ToolCache
    session: SessionCache
    embeddings: EmbeddingCache
    _tiers: CacheTiers

    def _hold(self, tiers: CacheTiers) -> None:
        self._tiers = tiers
        self.llm, self.tool, self.session, self.embeddings = tiers.llm, tiers.tool, tiers.session, tiers.embeddings

    async def stats(self) -> AgentCacheStats:
        """Hits, misses and dollars saved of the caches, by all workers of this name. At most two round trips.

        Counts of other workers follow within a second.
        """
        return await self._tiers.stats()

    async def tool_effectiveness(self) -> list[ToolEffectivenessEntry]:
        """Which tools' caching pays, most dollars saved first, and what to do about their TTLs. As `stats`."""
        return await self._tiers.tool_effectiveness()

    async def flush(self) -> None:
        """Delete all cache entries of this name and the statistics of the caches, and nothing else.

        Memories, configuration, tool policies and other names stay. It walks over all keys of a server:
        a round trip per 1,000 of them.
        """
        await self._tiers.flush()


class AgentCache(Caches):
    """The short-term tiers on a client of your own, as published: `cache.llm`, `.tool`, `.session`.

    No I/O happens before the first call; work in the background begins with it, in whatever loop it is made.
    Use it with `async with`, or call `shutdown`. The client stays open; it is yours.
    """

    def __init__(self, options: AgentCacheOptions, *, clock: Clock = system_clock) -> None:
        if not isinstance(options, AgentCacheOptions):
            raise ConfigurationError(f"AgentCache takes AgentCacheOptions, got {type(options).__name__}")
        engine = engine_for(options.client)
        self._hold(CacheTiers(engine, options.name, CacheOptions.of(options), clock=clock))
        self._own_engine = None if engine is options.client else engine

    async def ensure_discovery_ready(self) -> None:
        """Wait until the cache is announced to the Monitor, if the options ask for it.

        Raises:
            AgentCacheUsageError: the name belongs to something that is no cache.
        """
        await self._tiers.ensure_discovery_ready()

    async def shutdown(self) -> None:
        """Write what waits and stop background work. A second time does nothing.

        Connections that were opened to the nodes of a cluster beside those of your client are closed.
        """
        try:
            await self._tiers.close()
        finally:
            if self._own_engine is not None:
                await self._own_engine.close()

    async def __aenter__(self) -> Self:
        try:
            await self._tiers.ensure_ready()
        except BaseException:
            await self.shutdown()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()
