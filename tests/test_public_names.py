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
    MemoryStore.consolidate: "self mode summarize extract_facts older_than_seconds max_importance delete_sources "
    "summary_importance fact_importance tags thread_id agent_id namespace",
    MemoryStore.consolidate_facts: "self extract_facts older_than_seconds max_importance fact_importance tags "
    "thread_id agent_id namespace",
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
    for function in (MemoryStore.remember, MemoryStore.recall, MemoryStore.recall_by_vector, MemoryStore.consolidate):
        published = PUBLISHED_PARAMETERS[function].split()
        for name, parameter in inspect.signature(function).parameters.items():
            if name in ("self", "content", "query", "vector"):
                continue
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name
            assert parameter.default is None or name not in published, name


def test_what_is_added_to_a_published_call_may_be_left_out() -> None:
    for function, names in PUBLISHED_PARAMETERS.items():
        added = [p for name, p in inspect.signature(function).parameters.items() if name not in names.split()]
        assert [parameter.name for parameter in added if parameter.default is inspect.Parameter.empty] == [], function


def test_keeping_duplicates_is_the_default_as_published() -> None:
    for function in (MemoryStore.remember, MemoryStore.remember_many):
        assert inspect.signature(function).parameters["on_duplicate"].default == "keep"


def test_every_public_name_is_explained() -> None:
    for name in betterdb_agent_memory.__all__:
        value = getattr(betterdb_agent_memory, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name


def test_published_fields_keep_their_order() -> None:
    fields = list(betterdb_agent_memory.MemoryItem.__dataclass_fields__)
    assert fields[: len(ITEM_FIELDS.split())] == ITEM_FIELDS.split()
    assert fields[len(ITEM_FIELDS.split()) :] == ["occurred_at", "metadata", "version"]
    assert list(betterdb_agent_memory.MemoryHit.__dataclass_fields__)[:3] == ["item", "similarity", "score"]
    assert list(betterdb_agent_memory.MemoryStats.__dataclass_fields__)[:3] == ["item_count", "evictions", "config"]
