"""What stands in the registry: our own markers, and what can be told from another's."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

REGISTRY_KEY = "__betterdb:caches"
PROTOCOL_KEY = "__betterdb:protocol"
HEARTBEAT_KEY_PREFIX = "__betterdb:heartbeat:"
PROTOCOL_VERSION = 1
MEMORY_CACHE_TYPE = "agent_memory"
MEMORY_CAPABILITIES = ["recall", "consolidate", "reinforce"]
CACHE_TYPE = "agent_cache"
CACHE_CAPABILITIES = ["tool_ttl_adjust", "invalidate_by_tool", "tool_effectiveness"]
CACHE_TIERS = ("llm", "tool", "session")
MAX_TOOL_POLICIES = 500
"""Names of tools with a policy that a marker lists."""


def timestamp() -> str:
    """The time now, as markers and heartbeats write it: `2026-01-31T12:00:00.000Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def memory_marker(name: str, version: str, stats_key: str, started_at: str) -> dict[str, object]:
    """What the registry says about a memory store, in the contract's member order."""
    return {
        "type": MEMORY_CACHE_TYPE,
        "prefix": name,
        "version": version,
        "protocol_version": PROTOCOL_VERSION,
        "capabilities": list(MEMORY_CAPABILITIES),
        "stats_key": stats_key,
        **_writer(started_at),
    }


@dataclass(frozen=True, slots=True)
class CacheTraits:
    """What a cache tells about itself beside its name.

    `ttl_defaults` are the seconds in force per tier (llm, tool, session), absent or None where entries
    do not expire. `tool_policies` returns the names of the tools that have a policy now; None keeps
    them out of the marker.
    """

    ttl_defaults: Mapping[str, int | None]
    has_cost_table: bool
    uses_default_cost_table: bool
    tool_policies: Callable[[], Sequence[str]] | None = None


def cache_marker(name: str, version: str, started_at: str, traits: CacheTraits) -> dict[str, object]:
    """What the registry says about a cache, in the contract's member order."""
    marker: dict[str, object] = {
        "type": CACHE_TYPE,
        "prefix": name,
        "version": version,
        "protocol_version": PROTOCOL_VERSION,
        "capabilities": list(CACHE_CAPABILITIES),
        "stats_key": f"{name}:__stats",
        "tiers": {tier: _tier(traits.ttl_defaults.get(tier)) for tier in CACHE_TIERS},
        "has_cost_table": traits.has_cost_table,
        "uses_default_cost_table": traits.uses_default_cost_table,
        **_writer(started_at),
    }
    if traits.tool_policies is not None:
        names = list(traits.tool_policies())
        marker["tool_policies"] = names[:MAX_TOOL_POLICIES]
        if len(names) > MAX_TOOL_POLICIES:
            marker["tool_policies_truncated"] = True
    return marker


def encoded(marker: Mapping[str, object]) -> bytes:
    """A marker as it is stored: compact JSON, other scripts as they are."""
    return json.dumps(marker, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class ForeignMarker:
    """What a stored marker tells: whose it is and since when; None for what it does not say.

    `written_by_python` is the spelling of the published Python packages: blanks between members and a
    time zone written out. Their caches (and what shares that code) never beat, though they live.
    """

    type: str | None
    started_at: datetime | None
    written_by_python: bool


def read_marker(stored: bytes) -> ForeignMarker | None:
    """The marker, or None for what is none."""
    try:
        marker = json.loads(stored)
    except ValueError:
        return None
    if not isinstance(marker, dict):
        return None
    kind, started = marker.get("type"), marker.get("started_at")
    started = started if isinstance(started, str) else ""
    return ForeignMarker(
        type=kind if isinstance(kind, str) else None,
        started_at=_parsed(started),
        written_by_python=b'": ' in stored and started.endswith("+00:00"),
    )


def _parsed(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _tier(ttl_seconds: int | None) -> dict[str, object]:
    return {"enabled": True} if ttl_seconds is None else {"enabled": True, "ttl_default": ttl_seconds}


def _writer(started_at: str) -> dict[str, object]:
    return {"started_at": started_at, "pid": os.getpid(), "hostname": socket.gethostname()}
