"""What a store's constructor was given, checked and completed with the defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.live_config import MemoryConfigSnapshot
from betterdb_agent_memory.options import (
    CONTRACT_WEIGHTS,
    DEFAULT_HALF_LIFE_SECONDS,
    DEFAULT_REFRESH_INTERVAL_MS,
    MAX_THRESHOLD,
    MIN_REFRESH_INTERVAL_MS,
    RETRIEVALS,
    ChangeFeedOptions,
    HybridOptions,
    MemoryConfigRefreshConfig,
    MemoryDiscoveryConfig,
    NearCacheOptions,
    RecallWeights,
    Retrieval,
    Scoring,
    count_of_at_least_one,
    finite_number,
)

_T = TypeVar("_T")
_CallableT = TypeVar("_CallableT", bound=Callable[..., Any])


def base_config(
    *,
    threshold: float | None,
    embedder_threshold: float,
    weights: RecallWeights | None,
    half_life_seconds: float | None,
    max_items_per_scope: int | None,
    retrieval: Retrieval = "vector",
    hybrid: HybridOptions | None = None,
    exact: bool = False,
    diversity: float | None = None,
    scoring: Scoring | None = "composite",
) -> MemoryConfigSnapshot:
    """The configuration that live configuration starts from and falls back to.

    Raises:
        ConfigurationError: a value cannot be used; the message names the argument.
    """
    threshold = embedder_threshold if threshold is None else finite_number("default_threshold", threshold)
    if not 0 <= threshold <= MAX_THRESHOLD:
        raise ConfigurationError(f"default_threshold is a cosine distance from 0 to 2, got {threshold!r}")
    half_life = (
        DEFAULT_HALF_LIFE_SECONDS
        if half_life_seconds is None
        else finite_number("half_life_seconds", half_life_seconds)
    )
    if half_life <= 0:
        raise ConfigurationError(f"half_life_seconds must be above 0, got {half_life!r}")
    if weights is not None and not isinstance(weights, RecallWeights):
        raise ConfigurationError(f"weights must be RecallWeights(similarity, recency, importance), got {weights!r}")
    if max_items_per_scope is not None:
        count_of_at_least_one("max_items_per_scope", max_items_per_scope)
    if retrieval not in RETRIEVALS:
        raise ConfigurationError(f"retrieval must be {' or '.join(map(repr, RETRIEVALS))}, got {retrieval!r:.80}")
    if hybrid is not None and not isinstance(hybrid, HybridOptions):
        raise ConfigurationError(f"hybrid must be HybridOptions(...), got {hybrid!r:.80}")
    checked_switch("exact", exact)
    if diversity is not None and not 0 <= finite_number("diversity", diversity) <= 1:
        raise ConfigurationError(f"diversity is a share from 0 to 1, or None, got {diversity!r}")
    return MemoryConfigSnapshot(
        threshold=threshold,
        weights=weights or CONTRACT_WEIGHTS,
        half_life_seconds=half_life,
        max_items_per_scope=max_items_per_scope,
        retrieval=retrieval,
        exact=exact,
        diversity=None if diversity is None else float(diversity),
        hybrid=hybrid or HybridOptions(),
        scoring=scoring,
    )


def refresh_interval_seconds(config: bool | MemoryConfigRefreshConfig | None) -> float | None:
    """How often live configuration is re-read; None when it is not (the default).

    An interval below 1,000 ms becomes 1,000 ms, as published.
    """
    if config is None or config is False:
        return None
    if config is True:
        config = MemoryConfigRefreshConfig()
    if not isinstance(config, MemoryConfigRefreshConfig):
        raise ConfigurationError(f"config_refresh must be true, false or MemoryConfigRefreshConfig, got {config!r}")
    if config.enabled is False:
        return None
    interval_ms = DEFAULT_REFRESH_INTERVAL_MS if config.interval_ms is None else config.interval_ms
    return max(finite_number("config_refresh.interval_ms", interval_ms), MIN_REFRESH_INTERVAL_MS) / 1000


def wants_live_updates(config: bool | MemoryConfigRefreshConfig | None) -> bool:
    """Whether changes of the live configuration are listened for between two readings."""
    return not isinstance(config, MemoryConfigRefreshConfig) or config.live_updates


def checked_discovery(config: object) -> MemoryDiscoveryConfig:
    """How discovery was asked for, with a heartbeat that is positive."""
    if config is True:
        return MemoryDiscoveryConfig()
    if not isinstance(config, MemoryDiscoveryConfig):
        raise ConfigurationError(f"discovery must be true, false or MemoryDiscoveryConfig, got {config!r}")
    if config.heartbeat_interval_ms is not None:
        count_of_at_least_one("discovery.heartbeat_interval_ms", config.heartbeat_interval_ms)
    return config


def checked_feed(config: object) -> ChangeFeedOptions | None:
    """How the change feed was asked for; None where it was not."""
    if config is True:
        return ChangeFeedOptions()
    if config is False or isinstance(config, ChangeFeedOptions):
        return config or None
    raise ConfigurationError(f"change_feed must be true, false or ChangeFeedOptions, got {config!r:.80}")


def checked_near(config: object) -> NearCacheOptions | None:
    """How the near-cache was asked for; None where it was not."""
    if config is True:
        return NearCacheOptions()
    if config is False or isinstance(config, NearCacheOptions):
        return config or None
    raise ConfigurationError(f"near_cache must be true, false or NearCacheOptions, got {config!r:.80}")


def checked_switch(name: str, value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be true or false, got {value!r:.80}")
    return value


def checked_type(name: str, value: _T | None, kind: type[_T]) -> _T | None:
    """None, or a value of the type that the argument takes."""
    if value is not None and not isinstance(value, kind):
        raise ConfigurationError(f"{name} must be {kind.__name__}, got {value!r:.80}")
    return value


def checked_callable(name: str, value: _CallableT) -> _CallableT:
    """Something that can be called."""
    if not callable(value):
        raise ConfigurationError(f"{name} must be callable, got {value!r:.80}")
    return value
