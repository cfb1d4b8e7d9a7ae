"""AgentMemory: opens an engine, wires the tiers, starts and stops them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from betterdb_agent_memory.clock import Clock, system_clock
from betterdb_agent_memory.embedders.base import Embedder, EmbedFn
from betterdb_agent_memory.engines import engine_for, is_server_url, open_engine
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.memory.store import MemoryStore
from betterdb_agent_memory.options import DEFAULT_NAME, AgentMemoryOptions, MemoryOptions, RecallWeights

URL_VARIABLE = "BETTERDB_URL"
TIE_BREAKER_WEIGHTS = RecallWeights(similarity=0.97, recency=0.02, importance=0.01)
"""Recency and importance decide among memories that are about equally related, and nothing else.

The most that costs at most half a point of recall@10 on the development set (benchmarks/tie_breaker_weights.py).
"""
TIE_BREAKER_HALF_LIFE_SECONDS = 30 * 86_400.0
"""A month: with a week nothing older than two months can still be told apart."""


class AgentMemory:
    """One object that gives a worker its memory: `agent.memory` is the long-term tier.

    Two ways in: `AgentMemory.open(url)` makes everything; `AgentMemory(AgentMemoryOptions(...))` takes
    your own client, as published. Use it with `async with`, or call `initialize` and `close`.
    """

    memory: MemoryStore

    def __init__(self, options: AgentMemoryOptions) -> None:
        if not isinstance(options, AgentMemoryOptions):
            raise ConfigurationError(
                f"AgentMemory takes AgentMemoryOptions, got {type(options).__name__}; "
                "for a URL use AgentMemory.open(url)"
            )
        recall = options.memory.recall
        engine = engine_for(options.client)
        self._wire(
            engine,
            MemoryStore(
                client=engine,
                name=options.name,
                embed_fn=options.embed_fn,
                default_threshold=options.memory.default_threshold,
                weights=recall.weights if recall else None,
                half_life_seconds=recall.half_life_seconds if recall else None,
                max_items_per_scope=options.memory.max_items_per_scope,
                discovery=options.memory.discovery,
                config_refresh=options.memory.config_refresh,
                consolidation=options.memory.consolidation,
                telemetry=options.telemetry,
            ),
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
        clock: Clock = system_clock,
    ) -> AgentMemory:
        """Open a server or a file; no I/O happens before the first call.

        `url` is `valkey://`, `valkeys://`, `redis://`, `rediss://` or `unix://`, a file path, or
        `:memory:`; None reads the environment variable BETTERDB_URL, else takes a file in the user's
        data directory. `embedder` defaults to the offline one (extra `local`); `next_embedder` is the
        model that the store is to be moved to (`agent.memory.migration`).

        Differs from a bare `MemoryStore`: recency and importance only break ties, recalled memories are
        written back later and merged, live configuration is re-read every 30 s, and on a server
        the Monitor is told.

        Raises:
            ConfigurationError: the URL is of no known kind, or an extra is missing; the message names it.
        """
        options = memory if memory is not None else MemoryOptions()
        place = url if url is not None else os.environ.get(URL_VARIABLE) or default_file()
        engine = open_engine(place, search_timeout_ms=options.search_timeout_ms, minimum_ef=options.minimum_ef)
        on_server = isinstance(place, str) and is_server_url(place)
        agent = cls.__new__(cls)
        agent._wire(
            engine,
            MemoryStore(
                client=engine,
                name=name,
                embed_fn=embedder if embedder is not None else _offline_embedder(),
                next_embed_fn=next_embedder,
                default_threshold=options.threshold,
                weights=options.weights or TIE_BREAKER_WEIGHTS,
                half_life_seconds=options.half_life_seconds or TIE_BREAKER_HALF_LIFE_SECONDS,
                max_items_per_scope=options.max_items_per_scope,
                discovery=on_server if options.discovery is None else options.discovery,
                config_refresh=options.config_refresh,
                consolidation=options.consolidation,
                telemetry=options.telemetry,
                reinforcement=options.reinforcement,
                max_content_bytes=options.max_content_bytes,
                clock=clock,
            ),
        )
        return agent

    def _wire(self, engine: Engine, memory: MemoryStore) -> None:
        self._engine = engine
        self.memory = memory

    async def initialize(self) -> None:
        """Find or create the index, then announce the store and start re-reading live configuration.

        Raises:
            IndexMismatchError, SearchModuleMissingError, AuthenticationFailedError,
            EngineUnavailableError: what is wrong with the server or the file shows here.
        """
        await self.memory.ensure_index()
        await self.memory.ensure_config_refresh_started()
        await self.memory.ensure_discovery_ready()

    async def close(self) -> None:
        """Write what waits, stop background work, and close the engine if this object opened it."""
        try:
            await self.memory.close()
        finally:
            await self._engine.close()

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
