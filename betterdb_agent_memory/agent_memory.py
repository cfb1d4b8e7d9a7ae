"""AgentMemory: opens an engine, wires the tiers, starts and stops them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from betterdb_agent_memory.agent_cache import Caches
from betterdb_agent_memory.agent_config import AgentConfig
from betterdb_agent_memory.caches.tiers import CacheTiers
from betterdb_agent_memory.clock import Clock, system_clock
from betterdb_agent_memory.dynamics.dynamics import Dynamics
from betterdb_agent_memory.dynamics.parameters import DEFAULT_PARAMETERS, DynamicsParameters
from betterdb_agent_memory.dynamics.presets import Preset, parameters_of
from betterdb_agent_memory.embedders.base import Embedder, EmbedFn
from betterdb_agent_memory.embedders.cached import CachedEmbedder, cached, has_identity, is_worth_caching
from betterdb_agent_memory.embedders.coalescing import CoalescingEmbedder, coalesced
from betterdb_agent_memory.embedders.function import as_embedder
from betterdb_agent_memory.engines import engine_for, is_server_url, open_engine
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.memory.store import MemoryStore
from betterdb_agent_memory.options import (
    DEFAULT_NAME,
    AgentMemoryOptions,
    CacheOptions,
    EmbeddingCacheOptions,
    MemoryOptions,
    MemoryTelemetryOptions,
    RecallWeights,
    TenantsOptions,
)
from betterdb_agent_memory.options.environment import from_environment, with_environment
from betterdb_agent_memory.tenants.tenant import Tenant
from betterdb_agent_memory.tenants.tenants import Tenants

URL_VARIABLE = "BETTERDB_URL"
TIE_BREAKER_WEIGHTS = RecallWeights(similarity=0.97, recency=0.02, importance=0.01)
"""Recency and importance decide among memories that are about equally related, and nothing else.

The most that costs at most half a point of recall@10 on the development set (benchmarks/tie_breaker_weights.py).
"""
TIE_BREAKER_HALF_LIFE_SECONDS = 30 * 86_400.0
"""A month: with a week nothing older than two months can still be told apart."""


class AgentMemory(Caches):
    """One object that gives a worker its long-term memory and its caches, over one connection.

    `agent.memory` is what is remembered; `agent.llm`, `agent.tool`, `agent.session` and `agent.embeddings` are
    exact and expire; `agent.dynamics` is how memories strengthen, fade and learn; `agent.config` is what operators
    change while it runs. `agent.tenant("acme")` has the same for one
    tenant, and `agent.tenants` what is done about tenants. Three ways in:
    `AgentMemory.open(url)` makes everything, `AgentMemory.from_env()` as the environment says, and
    `AgentMemory(AgentMemoryOptions(...))` takes your own client, as published. Use it with `async with`, or
    call `initialize` and `close`. No I/O happens before the first call.
    """

    memory: MemoryStore
    dynamics: Dynamics
    config: AgentConfig
    tenants: Tenants

    def __init__(self, options: AgentMemoryOptions) -> None:
        if not isinstance(options, AgentMemoryOptions):
            raise ConfigurationError(
                f"AgentMemory takes AgentMemoryOptions, got {type(options).__name__}; "
                "for a URL use AgentMemory.open(url)"
            )
        engine = engine_for(options.client)
        caches = CacheOptions.of(options).model_copy(
            update={"embeddings": options.embeddings, "session_near_cache": options.session_near_cache}
        )
        tiers = CacheTiers(engine, options.name, caches, clock=system_clock)
        published, recall, registry = options.memory, options.memory.recall, options.telemetry.registry
        self._wire(
            engine,
            tiers,
            embedder=options.embed_fn,
            embeddings=options.embeddings,
            name=options.name,
            default_threshold=published.default_threshold,
            weights=recall.weights if recall else None,
            half_life_seconds=recall.half_life_seconds if recall else None,
            max_items_per_scope=published.max_items_per_scope,
            limit_by_tags=published.limit_by_tags,
            discovery=published.discovery,
            config_refresh=published.config_refresh,
            consolidation=published.consolidation,
            telemetry=published.telemetry or MemoryTelemetryOptions(registry=registry),
            cache_options=caches,
            tenants=options.tenants,
            change_feed=published.change_feed,
            near_cache=published.near_cache,
        )

    @classmethod
    def open(
        cls,
        url: str | Path | None = None,
        *,
        name: str = DEFAULT_NAME,
        embedder: Embedder | EmbedFn | None = None,
        next_embedder: Embedder | EmbedFn | None = None,
        memory: MemoryOptions | None = None,
        caches: CacheOptions | None = None,
        tenants: TenantsOptions | None = None,
        dynamics: Preset | DynamicsParameters | None = None,
        clock: Clock = system_clock,
    ) -> AgentMemory:
        """Open a server or a file; no I/O happens before the first call.

        `url` is `valkey://`, `valkeys://`, `redis://`, `rediss://` or `unix://`; nodes of a cluster
        (`valkey+cluster://host:port,host:port`, where `name` has a hash tag, `{acme}`); sentinels
        (`valkey+sentinel://host:port/name`); a file path, or `:memory:`. None reads the environment
        variable BETTERDB_URL, else takes a file in the user's data directory. `embedder` defaults to
        the offline one (extra `local`); `next_embedder` is the model that the store is to be moved to
        (`agent.memory.migration`). `tenants` says how `agent.tenant(...)` keeps those it is asked for. `dynamics` is
        the name of a preset ("chatbot", "task_agent" ...) or `DynamicsParameters`: what `agent.dynamics` goes by, and
        recalls whose scoring is chosen by name.

        Differs from a bare `MemoryStore`: recency and importance only break ties, recalled memories are
        written back later and merged, live configuration is re-read every 30 s, questions that were embedded
        before are not embedded again, and on a server the Monitor is told.

        Raises:
            ConfigurationError: the URL is of no known kind, or an extra is missing; the message names it.
        """
        options = _checked("memory", memory, MemoryOptions) or MemoryOptions()
        caches = _checked("caches", caches, CacheOptions) or CacheOptions()
        tenants = _checked("tenants", tenants, TenantsOptions)
        parameters = parameters_of(dynamics)
        place = url if url is not None else os.environ.get(URL_VARIABLE) or default_file()
        engine = open_engine(place, search_timeout_ms=options.search_timeout_ms, minimum_ef=options.minimum_ef)
        on_server = isinstance(place, str) and is_server_url(place)
        if caches.discovery is None:
            caches = caches.model_copy(update={"discovery": on_server})
        agent = cls.__new__(cls)
        agent._wire(
            engine,
            CacheTiers(engine, name, caches, clock=clock),
            embedder=embedder if embedder is not None else _offline_embedder(),
            next_embedder=next_embedder,
            embeddings=caches.embeddings,
            name=name,
            default_threshold=options.threshold,
            weights=options.weights or TIE_BREAKER_WEIGHTS,
            half_life_seconds=options.half_life_seconds or TIE_BREAKER_HALF_LIFE_SECONDS,
            max_items_per_scope=options.max_items_per_scope,
            limit_by_tags=options.limit_by_tags,
            discovery=on_server if options.discovery is None else options.discovery,
            config_refresh=options.config_refresh,
            consolidation=options.consolidation,
            telemetry=options.telemetry
            or MemoryTelemetryOptions(registry=caches.telemetry.registry if caches.telemetry else None),
            reinforcement=options.reinforcement,
            recent_accesses=options.recent_accesses,
            retrieval=options.retrieval,
            scoring=options.scoring,
            hybrid=options.hybrid,
            language=options.language,
            exact=options.exact,
            exact_budget=options.exact_budget,
            diversity=options.diversity,
            reranker=options.reranker,
            rerank_depth=options.rerank_depth,
            max_content_bytes=options.max_content_bytes,
            change_feed=options.change_feed,
            near_cache=options.near_cache,
            link_recalled=options.link_recalled,
            superseded_ttl=options.superseded_ttl,
            clock=clock,
            cache_options=caches,
            tenants=tenants,
            dynamics=parameters,
        )
        return agent

    @classmethod
    def from_env(
        cls,
        environment: Mapping[str, str] | None = None,
        *,
        memory: MemoryOptions | None = None,
        caches: CacheOptions | None = None,
        tenants: TenantsOptions | None = None,
        dynamics: Preset | DynamicsParameters | None = None,
        clock: Clock = system_clock,
    ) -> AgentMemory:
        """Open what the environment names: BETTERDB_URL, BETTERDB_NAME, BETTERDB_EMBEDDER, BETTERDB_THRESHOLD,
        BETTERDB_RETRIEVAL, BETTERDB_LANGUAGE.

        The same variables, with the same meanings, as those of the command line; one that is not set has the
        default of `open`. What `memory` says goes before a variable. `environment` is that of the process
        by default. An embedder that is made from its name is closed with the agent.

        Raises:
            ConfigurationError: a variable cannot be used; the message names it.
        """
        settings = from_environment(os.environ if environment is None else environment)
        options = with_environment(_checked("memory", memory, MemoryOptions) or MemoryOptions(), settings)
        embedder = _named_embedder(settings["embedder"])
        agent = cls.open(
            settings["url"] or default_file(),
            name=settings["name"],
            embedder=embedder,
            memory=options,
            caches=caches,
            tenants=tenants,
            dynamics=dynamics,
            clock=clock,
        )
        if embedder is not None:
            agent._own_embedders.append(embedder)
        return agent

    def _wire(
        self,
        engine: Engine,
        tiers: CacheTiers,
        *,
        embedder: Embedder | EmbedFn,
        embeddings: bool | EmbeddingCacheOptions | None,
        cache_options: CacheOptions,
        tenants: TenantsOptions | None,
        next_embedder: Embedder | EmbedFn | None = None,
        dynamics: DynamicsParameters = DEFAULT_PARAMETERS,
        **store: Any,
    ) -> None:
        store["scoring_parameters"] = dynamics.scoring
        self._engine = engine
        self._hold(tiers)
        self._own_embedders: list[Embedder] = []
        embedders: dict[str, Any] = {
            "embed_fn": self._shared(self._behind_cache(embedder, embeddings)),
            "next_embed_fn": (
                None if next_embedder is None else self._shared(self._behind_cache(next_embedder, embeddings))
            ),
        }
        self.memory = MemoryStore(client=engine, on_use=tiers.start, **embedders, **store)
        self.dynamics = Dynamics(self.memory, dynamics)
        self.config = AgentConfig(engine.values, self.memory.live_config, tiers.policies)
        self.tenants = Tenants(
            engine,
            self.memory.name,
            options=tenants or TenantsOptions(),
            store={**store, **embedders},
            caches=cache_options,
            dynamics=dynamics,
        )

    def tenant(self, tenant: str) -> Tenant:
        """The store and the caches of one tenant, apart from every other's; no I/O.

        `tenant` is up to 64 letters of ASCII, digits and `_ . @ + = -`. Its keys begin with `{name:tenant}:`, so
        they lie in one slot of a cluster. The index is made with the first use. Asked for again it is the same
        object; many may be held at once (docs/tenants.md).

        Raises:
            InvalidInputError: the name cannot be used.
        """
        return self.tenants.get(tenant)

    def _shared(self, embedder: Embedder | EmbedFn) -> Embedder:
        """The embedder that the store and those of all tenants ask together, in as few calls as can be."""
        given = as_embedder(embedder)
        shared = coalesced(given)
        if shared is not given:
            self._own_embedders.append(shared)
        return shared

    def _behind_cache(
        self, given: Embedder | EmbedFn, embeddings: bool | EmbeddingCacheOptions | None
    ) -> Embedder | EmbedFn:
        """The embedder with the cache of vectors in front, where that is asked for or worth it."""
        embedder = as_embedder(given)
        model = embedder.inner if isinstance(embedder, CoalescingEmbedder) else embedder
        if isinstance(model, CachedEmbedder) or embeddings is False:
            return given
        if embeddings is None and not is_worth_caching(model):
            return given
        if not has_identity(model):
            raise ConfigurationError(
                "vectors of a function without a name cannot be kept: those of another one would be taken for them; "
                "pass FunctionEmbedder(function, name=...) as the embedder, with a name for the model and its version"
            )
        calls = coalesced(embedder)
        if calls is not embedder:
            self._own_embedders.append(calls)
        documents = isinstance(embeddings, EmbeddingCacheOptions) and embeddings.documents
        return cached(calls, self.embeddings, documents=documents)

    async def initialize(self) -> None:
        """Find or create the index, then announce both tiers and read what operators have changed.

        Raises:
            IndexMismatchError, SearchModuleMissingError, AuthenticationFailedError,
            EngineUnavailableError: what is wrong with the server or the file shows here.
            AgentCacheUsageError: the name belongs to something that is no cache.
        """
        await self.memory.ensure_index()
        await asyncio.gather(
            self._tiers.ensure_ready(),
            self.memory.ensure_config_refresh_started(),
            self.memory.ensure_discovery_ready(),
        )

    async def close(self) -> None:
        """Write what waits, stop background work, and close the engine if this object opened it.

        Every tier is closed, whatever fails on the way; a second time does nothing.
        """
        async with AsyncExitStack() as steps:
            steps.push_async_callback(self._engine.close)
            for embedder in self._own_embedders:
                steps.push_async_callback(_close_embedder, embedder)
            steps.push_async_callback(self._tiers.close)
            steps.push_async_callback(self.memory.close)
            steps.push_async_callback(self.tenants.close)

    async def __aenter__(self) -> AgentMemory:
        try:
            await self.initialize()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def default_file() -> Path:
    """The file that is opened when nothing else is said: `memory.db` in the user's data directory."""
    try:
        from platformdirs import user_data_path
    except ImportError:
        raise ConfigurationError(
            f"say where the memories are: AgentMemory.open(url) or {URL_VARIABLE}; the default file in the user's data "
            'directory needs pip install "betterdb-agent-memory[local]"'
        ) from None
    return user_data_path("betterdb-agent-memory") / "memory.db"


def _offline_embedder() -> Embedder:
    missing = [name for name in ("wordllama", "safetensors", "tokenizers") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f'the offline embedder needs {", ".join(missing)}: pip install "betterdb-agent-memory[local]", or pass '
            "embedder= with an embedder or an async function of your own"
        )
    from betterdb_agent_memory.embedders.wordllama import WordLlamaEmbedder

    return WordLlamaEmbedder()


def _named_embedder(name: str | None) -> Embedder | None:
    if name is None:
        return None
    from betterdb_agent_memory.embedders.named import embedder_from_name

    return embedder_from_name(name)


async def _close_embedder(embedder: Embedder) -> None:
    from betterdb_agent_memory.embedders.named import close_embedder

    await close_embedder(embedder)


def _checked(name: str, value: Any, kind: type[Any]) -> Any:
    if value is not None and not isinstance(value, kind):
        raise ConfigurationError(f"{name} must be {kind.__name__}(...), got {type(value).__name__}")
    return value
