"""What a caller sets for both tiers at once, as published."""

from __future__ import annotations

from dataclasses import KW_ONLY, field
from typing import Annotated, Any

from betterdb_agent_memory.embedders.base import Embedder, EmbedFn
from betterdb_agent_memory.embedders.function import as_embedder
from betterdb_agent_memory.options.caches import AgentCacheOptions, EmbeddingCacheOptions
from betterdb_agent_memory.options.checks import Accepts, either, options
from betterdb_agent_memory.options.memory import AgentMemoryConfig
from betterdb_agent_memory.options.near import Near
from betterdb_agent_memory.options.tenants import TenantsOptions


def _embedder(value: Any) -> Any:
    as_embedder(value)
    return value


@options
class AgentMemoryOptions(AgentCacheOptions):
    """Everything `AgentMemory(...)` takes when you bring your own client, as published.

    `AgentCacheOptions`, and for the memories, both keyword-only: `embed_fn`, an async function from text
    to vector or an `Embedder`, and `memory`, the long-term tier. Ours, and keyword-only as well: `embeddings`,
    whether vectors of questions are kept (None: where a model's call costs more than a round trip and the
    embedder has a name); `tenants`, how `agent.tenant(...)` keeps those it is asked for; `session_near_cache`,
    whether fields of sessions that were just read come from the memory of this process.
    """

    _: KW_ONLY
    embed_fn: Annotated[EmbedFn | Embedder, Accepts("an async function or an Embedder", _embedder)]
    memory: AgentMemoryConfig = field(default_factory=AgentMemoryConfig)
    embeddings: Annotated[bool | EmbeddingCacheOptions, either(EmbeddingCacheOptions)] | None = None
    session_near_cache: Near = False
    tenants: Annotated[TenantsOptions, Accepts("TenantsOptions(...)")] | None = None
