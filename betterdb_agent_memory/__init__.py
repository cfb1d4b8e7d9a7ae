"""A distributed memory tier for AI agents on Valkey, Redis or one embedded file."""

from betterdb_agent_memory.agent_memory import AgentMemory
from betterdb_agent_memory.discovery import MEMORY_CACHE_TYPE, MEMORY_CAPABILITIES, MemoryDiscovery
from betterdb_agent_memory.embedders.base import Embedder, EmbedFn
from betterdb_agent_memory.embedders.function import FunctionEmbedder
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    AuthenticationFailedError,
    ConfigurationError,
    EmbeddingError,
    EngineError,
    EngineUnavailableError,
    IndexMismatchError,
    IndexMissingError,
    IndexNotReadyError,
    InvalidInputError,
    OutcomeUnknownError,
    PartialBatchError,
    SearchModuleMissingError,
    SearchTimeoutError,
)
from betterdb_agent_memory.live_config import MemoryConfigSnapshot
from betterdb_agent_memory.memory.consolidation.facts import (
    AddOp,
    ConsolidateFactsResult,
    ConsolidateResult,
    DeleteOp,
    Fact,
    FactExtractor,
    FactOp,
    NoopOp,
    SummarizeFn,
    UnmatchedTombstoneOp,
    UpdateOp,
    apply_ops,
    reconcile,
    subject_key,
)
from betterdb_agent_memory.memory.ranking import Component, Explanation, MemoryHit
from betterdb_agent_memory.memory.record import MATCH_ALL_MEMORY_QUERY, MemoryItem
from betterdb_agent_memory.memory.requests import MemoryListOptions
from betterdb_agent_memory.memory.results import MemoryListResult, MemoryStats
from betterdb_agent_memory.memory.scope import MemoryScope
from betterdb_agent_memory.memory.scoring import composite_score, recency_decay, similarity_from_distance
from betterdb_agent_memory.memory.store import MemoryStore
from betterdb_agent_memory.options import (
    AgentMemoryConfig,
    AgentMemoryOptions,
    AgentMemoryRecallConfig,
    ConsolidationConfig,
    DeferredReinforcement,
    MemoryConfigRefreshConfig,
    MemoryDiscoveryConfig,
    MemoryOptions,
    MemoryStoreClient,
    MemoryTelemetryOptions,
    RecallWeights,
)
from betterdb_agent_memory.telemetry import (
    DEFAULT_METRICS_PREFIX,
    DEFAULT_TRACER_NAME,
    MemoryMetrics,
    MemoryTelemetry,
    create_memory_telemetry,
)
from betterdb_agent_memory.version import package_version

__version__ = package_version()

__all__ = [
    "DEFAULT_METRICS_PREFIX",
    "DEFAULT_TRACER_NAME",
    "MATCH_ALL_MEMORY_QUERY",
    "MEMORY_CACHE_TYPE",
    "MEMORY_CAPABILITIES",
    "AddOp",
    "AgentMemory",
    "AgentMemoryConfig",
    "AgentMemoryError",
    "AgentMemoryOptions",
    "AgentMemoryRecallConfig",
    "AuthenticationFailedError",
    "Component",
    "ConfigurationError",
    "ConsolidateFactsResult",
    "ConsolidateResult",
    "ConsolidationConfig",
    "DeferredReinforcement",
    "DeleteOp",
    "EmbedFn",
    "Embedder",
    "EmbeddingError",
    "EngineError",
    "EngineUnavailableError",
    "Explanation",
    "Fact",
    "FactExtractor",
    "FactOp",
    "FunctionEmbedder",
    "IndexMismatchError",
    "IndexMissingError",
    "IndexNotReadyError",
    "InvalidInputError",
    "MemoryConfigRefreshConfig",
    "MemoryConfigSnapshot",
    "MemoryDiscovery",
    "MemoryDiscoveryConfig",
    "MemoryHit",
    "MemoryItem",
    "MemoryListOptions",
    "MemoryListResult",
    "MemoryMetrics",
    "MemoryOptions",
    "MemoryScope",
    "MemoryStats",
    "MemoryStore",
    "MemoryStoreClient",
    "MemoryTelemetry",
    "MemoryTelemetryOptions",
    "NoopOp",
    "OutcomeUnknownError",
    "PartialBatchError",
    "RecallWeights",
    "SearchModuleMissingError",
    "SearchTimeoutError",
    "SummarizeFn",
    "UnmatchedTombstoneOp",
    "UpdateOp",
    "apply_ops",
    "composite_score",
    "create_memory_telemetry",
    "recency_decay",
    "reconcile",
    "similarity_from_distance",
    "subject_key",
]
