"""Options are checked when they are made: the error names the field, the value, and what is accepted."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
import redis
import valkey
import valkey.asyncio

from betterdb_agent_memory import (
    AgentCacheOptions,
    AgentMemoryConfig,
    AgentMemoryOptions,
    AgentMemoryRecallConfig,
    AnalyticsOptions,
    CacheOptions,
    ConfigRefreshOptions,
    ConfigurationError,
    ConsolidationConfig,
    DiscoveryOptions,
    EmbeddingCacheOptions,
    MemoryConfigRefreshConfig,
    MemoryDiscoveryConfig,
    MemoryOptions,
    MemoryTelemetryOptions,
    ModelCost,
    RecallWeights,
    TelemetryOptions,
    TierDefaults,
)
from betterdb_agent_memory.live_config import SETTINGS
from betterdb_agent_memory.options import HybridOptions, checked_name
from betterdb_agent_memory.options.environment import KEYS, from_environment, with_environment
from tests.docs.pages import ROOT, table
from tests.embedding import embed

CLIENT = valkey.asyncio.Valkey()

HYBRID_WEIGHTS = ("similarity_weight", "words_weight", "date_weight", "actor_weight")

WRONG: list[tuple[type, dict[str, Any], str]] = [
    (AgentCacheOptions, {"client": CLIENT, "name": ""}, "AgentCacheOptions.name"),
    (AgentCacheOptions, {"client": CLIENT, "name": "demo:llm"}, "AgentCacheOptions.name"),
    (AgentCacheOptions, {"client": CLIENT, "default_ttl": 0}, "AgentCacheOptions.default_ttl must be whole seconds"),
    (AgentCacheOptions, {"client": CLIENT, "default_ttl": "60"}, "AgentCacheOptions.default_ttl .* got '60'"),
    (AgentCacheOptions, {"client": CLIENT, "default_ttl": True}, "AgentCacheOptions.default_ttl .* got True"),
    (AgentCacheOptions, {"client": CLIENT, "default_ttl": 1.5}, "AgentCacheOptions.default_ttl .* got 1.5"),
    (AgentCacheOptions, {"client": CLIENT, "tier_defaults": {"lm": TierDefaults(1)}}, "tier_defaults.lm.*'llm'"),
    (AgentCacheOptions, {"client": CLIENT, "tier_defaults": {"llm": 60}}, r"tier_defaults.llm must be TierDefaults\("),
    (AgentCacheOptions, {"client": CLIENT, "cost_table": {"m": (1, 2)}}, "AgentCacheOptions.cost_table.m"),
    (AgentCacheOptions, {"client": CLIENT, "telemetry": True}, "AgentCacheOptions.telemetry must be Telemetry"),
    (AgentCacheOptions, {"client": CLIENT, "discovery": True}, "AgentCacheOptions.discovery must be Discovery"),
    (AgentCacheOptions, {"client": "valkey://me:secret@host"}, "AgentCacheOptions.client.*got str.*AgentMemory.open"),
    (AgentCacheOptions, {"client": valkey.Valkey()}, "AgentCacheOptions.client: .* is a blocking .*valkey.asyncio"),
    (AgentCacheOptions, {"client": redis.Redis()}, "AgentCacheOptions.client: .* is a blocking .*redis.asyncio"),
    (AgentCacheOptions, {}, "AgentCacheOptions.client is missing"),
    (AgentCacheOptions, {"client": CLIENT, "ttl": 5}, "AgentCacheOptions.ttl is unknown.*default_ttl"),
    (AgentMemoryOptions, {"client": CLIENT}, "AgentMemoryOptions.embed_fn is missing"),
    (AgentMemoryOptions, {"client": valkey.Valkey(), "embed_fn": embed}, "AgentMemoryOptions.client: .* blocking"),
    (AgentMemoryOptions, {"client": CLIENT, "embed_fn": "model"}, "AgentMemoryOptions.embed_fn"),
    (AgentMemoryOptions, {"client": CLIENT, "embed_fn": embed, "memory": {"recall": 1}}, "memory.recall must be Agent"),
    (AgentMemoryConfig, {"default_threshold": 2.5}, "AgentMemoryConfig.default_threshold must be a number from 0 to 2"),
    (AgentMemoryConfig, {"max_items_per_scope": 0}, "AgentMemoryConfig.max_items_per_scope"),
    (AgentMemoryConfig, {"limit_by_tags": "yes"}, "AgentMemoryConfig.limit_by_tags must be true or false"),
    (AgentMemoryConfig, {"discovery": "yes"}, "AgentMemoryConfig.discovery must be true, false or MemoryDiscovery"),
    (AgentMemoryConfig, {"config_refresh": 1}, "AgentMemoryConfig.config_refresh must be true, false or"),
    (AgentMemoryRecallConfig, {"weights": (1, 2, 3)}, r"AgentMemoryRecallConfig.weights must be RecallWeights\("),
    (AgentMemoryRecallConfig, {"half_life_seconds": 0}, "AgentMemoryRecallConfig.half_life_seconds .* above 0"),
    (MemoryConfigRefreshConfig, {"enabled": "no"}, "MemoryConfigRefreshConfig.enabled must be true or false"),
    (MemoryConfigRefreshConfig, {"interval_ms": float("nan")}, "MemoryConfigRefreshConfig.interval_ms"),
    (MemoryDiscoveryConfig, {"heartbeat_interval_ms": 0}, "MemoryDiscoveryConfig.heartbeat_interval_ms"),
    (MemoryDiscoveryConfig, {"version": 7}, "MemoryDiscoveryConfig.version"),
    (MemoryTelemetryOptions, {"registry": "global"}, "MemoryTelemetryOptions.registry must be a prometheus_client"),
    (ConsolidationConfig, {"fact_importance": 1.5}, "ConsolidationConfig.fact_importance must be a number from 0 to 1"),
    (ConfigRefreshOptions, {"interval_ms": 0}, "ConfigRefreshOptions.interval_ms"),
    (DiscoveryOptions, {"heartbeat_interval_ms": -1}, "DiscoveryOptions.heartbeat_interval_ms"),
    (TelemetryOptions, {"span_names": "rust"}, "TelemetryOptions.span_names must be 'python' or 'typescript'"),
    (TelemetryOptions, {"metrics_prefix": ""}, "TelemetryOptions.metrics_prefix"),
    (AnalyticsOptions, {"disabled": None}, "AnalyticsOptions.disabled"),
    (ModelCost, {"input_per_1k": -1, "output_per_1k": 1}, "ModelCost.input_per_1k"),
    (ModelCost, {"input_per_1k": 1, "output_per_1k": float("inf")}, "ModelCost.output_per_1k"),
    (TierDefaults, {"ttl": 10**11}, "TierDefaults.ttl"),
    (CacheOptions, {"key": "all"}, "CacheOptions.key must be 'shared' or 'complete', got 'all'"),
    (CacheOptions, {"llm_ttl_seconds": -5}, "CacheOptions.llm_ttl_seconds"),
    (CacheOptions, {"embeddings": 5}, "CacheOptions.embeddings must be true, false or EmbeddingCacheOptions"),
    (CacheOptions, {"config_refresh": 30}, "CacheOptions.config_refresh"),
    (CacheOptions, {"default_ttl": 30}, "CacheOptions.default_ttl is unknown.*default_ttl_seconds"),
    (EmbeddingCacheOptions, {"max_entries": 1}, "EmbeddingCacheOptions.max_entries"),
    (EmbeddingCacheOptions, {"local_bytes": -1}, "EmbeddingCacheOptions.local_bytes"),
    (
        TelemetryOptions,
        {"metrics_prefix": "bad prefix!"},
        "TelemetryOptions.metrics_prefix must be letters.* got 'bad",
    ),
    (MemoryTelemetryOptions, {"metrics_prefix": "1st"}, "MemoryTelemetryOptions.metrics_prefix must be letters"),
    (MemoryOptions, {"threshold": 3}, "MemoryOptions.threshold must be a number from 0 to 2, got 3"),
    (MemoryOptions, {"half_life_seconds": 0}, "MemoryOptions.half_life_seconds"),
    (MemoryOptions, {"max_items_per_scope": 0}, "MemoryOptions.max_items_per_scope"),
    (MemoryOptions, {"reinforcement": "sometimes"}, "MemoryOptions.reinforcement must be 'immediate'"),
    (MemoryOptions, {"minimum_ef": 5000}, "MemoryOptions.minimum_ef must be a whole number from 1 to 4096"),
    (MemoryOptions, {"retrieval": "words"}, "MemoryOptions.retrieval must be 'vector' or 'hybrid', got 'words'"),
    (MemoryOptions, {"hybrid": 0.5}, r"MemoryOptions.hybrid must be HybridOptions\("),
    (MemoryOptions, {"hybrid": {"words_weight": -1}}, "MemoryOptions.hybrid.words_weight must be a number from 0"),
    (MemoryOptions, {"hybrid": dict.fromkeys(HYBRID_WEIGHTS, 0)}, "HybridOptions.similarity_weight.* must not all be"),
    (MemoryOptions, {"language": ""}, "MemoryOptions.language must be a text that is not empty"),
    (MemoryOptions, {"exact": 1}, "MemoryOptions.exact must be true or false, got 1"),
    (MemoryOptions, {"exact_budget": 0}, "MemoryOptions.exact_budget must be a whole number from 1 to 1000000, got 0"),
    (MemoryOptions, {"diversity": 1.5}, "MemoryOptions.diversity must be a number from 0 to 1, got 1.5"),
    (MemoryOptions, {"reranker": "fastembed"}, "MemoryOptions.reranker"),
    (MemoryOptions, {"rerank_depth": 0}, "MemoryOptions.rerank_depth must be a whole number from 1 to 2500, got 0"),
    (HybridOptions, {"candidates": 0}, "HybridOptions.candidates must be a whole number from 1 to 2500, got 0"),
    (HybridOptions, {"words_weight": -0.5}, "HybridOptions.words_weight must be a number from 0 to 1000, got -0.5"),
    (HybridOptions, {"neighbour_share": float("nan")}, "HybridOptions.neighbour_share must be a number from 0 to 1"),
    (HybridOptions, {"word_weight": 1}, "HybridOptions.word_weight is unknown; HybridOptions has candidates"),
    (HybridOptions, dict.fromkeys(HYBRID_WEIGHTS, 0), "HybridOptions.similarity_weight.* must not all be 0"),
    (MemoryOptions, {"tresholt": 1}, "MemoryOptions.tresholt is unknown; MemoryOptions has threshold"),
]


@pytest.mark.parametrize(("options", "values", "says"), WRONG, ids=[f"{o.__name__}-{says}" for o, _, says in WRONG])
def test_a_wrong_option_is_named_when_it_is_made(options: type, values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        options(**values)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_that_is_wrong_is_said_at_once_by_position_as_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"AgentCacheOptions.name.*; AgentCacheOptions.default_ttl"):
        AgentCacheOptions(CLIENT, "", -1)
    with pytest.raises(ConfigurationError, match="ModelCost takes fewer arguments"):
        ModelCost(1, 2, 3)  # type: ignore[call-arg]


def test_what_is_accepted_is_kept_as_given() -> None:
    int_of_numpy: Any = np.int64(60)
    options = AgentMemoryOptions(
        CLIENT,
        "demo",
        int_of_numpy,
        {"llm": TierDefaults(5)},
        embed_fn=embed,
        memory=AgentMemoryConfig(0.5),
    )
    assert options.client is CLIENT
    assert options.embed_fn is embed
    assert (options.default_ttl, type(options.default_ttl)) == (60, int)
    assert options.tier_defaults == {"llm": TierDefaults(ttl=5)}
    assert options.memory == AgentMemoryConfig(default_threshold=0.5)
    assert dataclasses.replace(options, name="other").name == "other"
    assert [field.name for field in dataclasses.fields(TierDefaults)] == ["ttl"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.name = "other"  # type: ignore[misc]


def test_options_can_be_copied_and_sent_to_another_process() -> None:
    config = AgentMemoryConfig(recall=AgentMemoryRecallConfig(RecallWeights(1, 0, 0), 60))
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config
    caches = CacheOptions(default_ttl_seconds=5, cost_table={"m": ModelCost(1, 2)})
    assert pickle.loads(pickle.dumps(caches)) == caches


def test_the_published_options_and_ours_say_the_same() -> None:
    published = AgentCacheOptions(
        CLIENT, default_ttl=60, tier_defaults={"tool": TierDefaults(5)}, cost_table={"m": ModelCost(1, 2)}
    )
    assert CacheOptions.of(published) == CacheOptions(
        default_ttl_seconds=60,
        tool_ttl_seconds=5,
        cost_table={"m": ModelCost(1, 2)},
        config_refresh=ConfigRefreshOptions(),
        discovery=DiscoveryOptions(),
        telemetry=TelemetryOptions(),
    )
    assert [CacheOptions.of(published).ttl_seconds(tier) for tier in ("llm", "tool", "session")] == [60, 5, 60]


def test_an_interval_is_never_below_a_second_as_published() -> None:
    assert ConfigRefreshOptions(interval_ms=10).interval_seconds == 1
    assert ConfigRefreshOptions(interval_ms=2500).interval_seconds == 2.5


@pytest.mark.parametrize("name", ["a", "betterdb_ac", "llm", "tool:x", "a:b", "a:llms", "mem", "a:gen", "__x", "ü:ß"])
def test_ordinary_names_are_names(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("part", ["llm", "tool", "session", "mem", "gen7", "__stats", "__embed"])
def test_names_within_the_keys_of_another_are_refused(part: str) -> None:
    for name in (f"a:{part}", f"a:b:{part}:c"):
        with pytest.raises(ConfigurationError, match=f"':{part}'"):
            checked_name(name)


def test_the_environment_says_what_the_command_line_reads() -> None:
    assert [key.variable for key in KEYS][:6] == [
        "BETTERDB_URL",
        "BETTERDB_NAME",
        "BETTERDB_EMBEDDER",
        "BETTERDB_THRESHOLD",
        "BETTERDB_RETRIEVAL",
        "BETTERDB_LANGUAGE",
    ]
    assert from_environment({}) == {
        "url": None,
        "name": "betterdb_ac",
        "embedder": None,
        "threshold": None,
        "retrieval": None,
        "language": None,
        "model": None,
    }
    said = from_environment({"BETTERDB_THRESHOLD": "0.5", "BETTERDB_NAME": "n", "BETTERDB_URL": ""})
    assert (said["threshold"], said["name"], said["url"]) == (0.5, "n", None)
    with pytest.raises(ConfigurationError, match="BETTERDB_THRESHOLD"):
        from_environment({"BETTERDB_THRESHOLD": "much"})
    with pytest.raises(
        ConfigurationError, match="environment BETTERDB_RETRIEVAL must be 'vector' or 'hybrid', got 'w'"
    ):
        from_environment({"BETTERDB_RETRIEVAL": "w"})


def test_what_a_program_says_goes_before_the_environment() -> None:
    settings = from_environment(
        {"BETTERDB_RETRIEVAL": "vector", "BETTERDB_LANGUAGE": "german", "BETTERDB_THRESHOLD": "0.5"}
    )
    found = with_environment(MemoryOptions(exact=True), settings)
    assert (found.retrieval, found.language, found.threshold, found.exact) == ("vector", "german", 0.5, True)
    said = with_environment(MemoryOptions(retrieval="hybrid", threshold=0.4), settings)
    assert (said.retrieval, said.language, said.threshold) == ("hybrid", "german", 0.4)
    assert with_environment(MemoryOptions(), from_environment({})) == MemoryOptions()


def test_the_table_of_hybrid_options_says_what_they_are() -> None:
    documented = {row[0]: row[1:] for row in table(ROOT / "docs" / "configuration.md", "hybrid")}
    settings = {setting.name: setting for setting in SETTINGS}
    assert documented == {
        option.name: [
            repr(option.default),
            settings[f"hybrid.{option.name}"].effect,
            settings[f"hybrid.{option.name}"].accepts,
        ]
        for option in dataclasses.fields(HybridOptions)
    }
