"""Everything that the published package exports can be imported from here, and takes what it took."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

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

PUBLISHED_WITH_THE_CACHES = {
    "AgentCache",
    "AgentCacheOptions",
    "AgentCacheStats",
    "AgentCacheError",
    "AgentCacheUsageError",
    "ValkeyCommandError",
    "Analytics",
    "BinaryBlock",
    "BinaryNormalizer",
    "BinaryRef",
    "BlockHints",
    "ConfigRefreshOptions",
    "ContentBlock",
    "DEFAULT_COST_TABLE",
    "DiscoveryOptions",
    "LlmCacheMessage",
    "LlmCacheParams",
    "LlmCacheResult",
    "LlmStoreOptions",
    "ModelCost",
    "NormalizerConfig",
    "ReasoningBlock",
    "SessionStats",
    "TextBlock",
    "TierDefaults",
    "TierStats",
    "ToolCacheResult",
    "ToolCallBlock",
    "ToolDefinition",
    "ToolEffectivenessEntry",
    "ToolPolicy",
    "ToolResultBlock",
    "ToolStats",
    "ToolStoreOptions",
    "compose_normalizer",
    "default_normalizer",
    "fetch_and_hash",
    "hash_base64",
    "hash_bytes",
    "hash_url",
    "passthrough",
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


def test_all_86_published_names_import() -> None:
    assert (len(PUBLISHED), len(PUBLISHED_WITH_THE_CACHES)) == (45, 41)
    names = PUBLISHED | PUBLISHED_WITH_THE_CACHES
    assert [name for name in names if not hasattr(betterdb_agent_memory, name)] == []
    assert set(betterdb_agent_memory.__all__) >= names


def test_what_is_loaded_when_used_is_what_type_checkers_see() -> None:
    tree = ast.parse(inspect.getsource(betterdb_agent_memory))
    [block] = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    loaded = {name: f"betterdb_agent_memory.{module}.{name}" for name, module in betterdb_agent_memory._MODULES.items()}
    assert seen == loaded
    assert {*betterdb_agent_memory.__all__} == {*loaded}
    assert {*dir(betterdb_agent_memory)} >= {*loaded}
    with pytest.raises(AttributeError, match="Typo"):
        betterdb_agent_memory.Typo  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_loads_next_to_nothing() -> None:
    heavy = ["numpy", "pydantic", "prometheus_client", "opentelemetry", "valkey", "redis", "apsw", "asyncio"]
    program = f"import sys, betterdb_agent_memory; print([name for name in {heavy} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
    program = program.replace("; print", "; from betterdb_agent_memory import ConfigurationError, __version__; print")
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_everything_can_be_imported_at_once() -> None:
    names: dict[str, object] = {}
    exec("from betterdb_agent_memory import *", names)
    assert names["AgentMemory"] is betterdb_agent_memory.AgentMemory
    assert {*names} >= PUBLISHED | PUBLISHED_WITH_THE_CACHES


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
    assert fields[len(ITEM_FIELDS.split()) :] == [
        "occurred_at",
        "metadata",
        "version",
        "session",
        "turn",
        "speaker",
        "kind",
        "entities",
        "pinned",
        "dynamics",
    ]
    assert list(betterdb_agent_memory.MemoryHit.__dataclass_fields__)[:3] == ["item", "similarity", "score"]
    assert list(betterdb_agent_memory.MemoryStats.__dataclass_fields__)[:3] == ["item_count", "evictions", "config"]
