"""Everything that the published package exports can be imported from here, and takes what it took."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import betterdb_agent_memory
from betterdb_agent_memory import MemoryDiscovery, MemoryStore, composite_score, create_memory_telemetry

PUBLISHED = {
    "AgentMemory",
    "AgentMemoryOptions",
    "AgentMemoryConfig",
    "AgentMemoryRecallConfig",
    "MemoryStore",
    "MemoryDiscovery",
    "MEMORY_CACHE_TYPE",
    "MEMORY_CAPABILITIES",
    "create_memory_telemetry",
    "DEFAULT_METRICS_PREFIX",
    "DEFAULT_TRACER_NAME",
    "MemoryTelemetry",
    "MemoryTelemetryOptions",
    "MemoryMetrics",
    "composite_score",
    "similarity_from_distance",
    "recency_decay",
    "EmbedFn",
    "MemoryStoreClient",
    "MemoryScope",
    "MemoryItem",
    "MemoryHit",
    "MemoryListOptions",
    "MemoryListResult",
    "MemoryStats",
    "ConsolidateResult",
    "ConsolidateFactsResult",
    "ConsolidationConfig",
    "Fact",
    "FactExtractor",
    "SummarizeFn",
    "RecallWeights",
    "MemoryConfigSnapshot",
    "MemoryDiscoveryConfig",
    "MemoryConfigRefreshConfig",
    "MATCH_ALL_MEMORY_QUERY",
    "reconcile",
    "apply_ops",
    "subject_key",
    "FactOp",
    "AddOp",
    "UpdateOp",
    "DeleteOp",
    "NoopOp",
    "UnmatchedTombstoneOp",
}

PUBLISHED_PARAMETERS: dict[Callable[..., Any], str] = {
    MemoryStore: "client name embed_fn default_threshold weights half_life_seconds max_items_per_scope discovery "
    "config_refresh consolidation telemetry analytics",
    MemoryStore.remember: "self content importance tags source ttl thread_id agent_id namespace",
    MemoryStore.recall: "self query k threshold tags weights reinforce thread_id agent_id namespace",
    MemoryStore.recall_by_vector: "self vector k threshold tags weights reinforce thread_id agent_id namespace",
    MemoryStore.get: "self id",
    MemoryStore.list: "self options",
    MemoryStore.forget: "self id",
    MemoryStore.forget_by_scope: "self thread_id agent_id namespace tags",
    MemoryDiscovery: "client name version stats_key heartbeat_interval_s on_write_failed",
    composite_score: "similarity age_seconds importance weights half_life_seconds",
    create_memory_telemetry: "options",
}

ITEM_FIELDS = (
    "id content importance tags created_at last_accessed_at access_count "
    "source subject date thread_id agent_id namespace"
)


def test_all_45_published_names_import() -> None:
    assert len(PUBLISHED) == 45
    assert [name for name in PUBLISHED if not hasattr(betterdb_agent_memory, name)] == []
    assert set(betterdb_agent_memory.__all__) >= PUBLISHED


def test_published_parameters_are_taken_in_their_order() -> None:
    for function, names in PUBLISHED_PARAMETERS.items():
        taken = list(inspect.signature(function).parameters)
        assert [name for name in taken if name in names.split()] == names.split(), function


def test_published_defaults_are_none() -> None:
    for function in (MemoryStore.remember, MemoryStore.recall, MemoryStore.recall_by_vector):
        for name, parameter in list(inspect.signature(function).parameters.items())[2:]:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name
            assert parameter.default is None, name


def test_every_public_name_is_explained() -> None:
    for name in betterdb_agent_memory.__all__:
        value = getattr(betterdb_agent_memory, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name


def test_published_fields_keep_their_order() -> None:
    assert list(betterdb_agent_memory.MemoryItem.__dataclass_fields__) == ITEM_FIELDS.split()
    assert list(betterdb_agent_memory.MemoryHit.__dataclass_fields__)[:3] == ["item", "similarity", "score"]
    assert list(betterdb_agent_memory.MemoryStats.__dataclass_fields__)[:3] == ["item_count", "evictions", "config"]
