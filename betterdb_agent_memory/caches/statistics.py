"""What the map `{name}:__stats` says: hits and misses of the tiers, and which tool's caching pays. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from betterdb_agent_memory.caches.policies import ToolPolicy
from betterdb_agent_memory.caches.results import (
    AgentCacheStats,
    Recommendation,
    SessionStats,
    TierStats,
    ToolEffectivenessEntry,
    ToolStats,
)

LLM_HITS: Final = "llm:hits"
LLM_MISSES: Final = "llm:misses"
TOOL_HITS: Final = "tool:hits"
TOOL_MISSES: Final = "tool:misses"
SESSION_READS: Final = "session:reads"
SESSION_WRITES: Final = "session:writes"
COST_SAVED: Final = "cost_saved_micros"

OFTEN: Final = 0.8
"""A hit rate above this is good."""

SELDOM: Final = 0.4
"""A hit rate below this is bad."""

LONG_TTL_SECONDS: Final = 3600
"""A TTL from here on is long enough."""

_OF_ONE_TOOL = re.compile(r"tool:([^:]+):(hits|misses|cost_saved_micros)")
_WHOLE = re.compile(rb"-?[0-9]{1,19}")
"""What the server and the published packages write: an integer of 64 bits."""


def stats_key(name: str) -> str:
    """Where the statistics of all workers of one name are."""
    return f"{name}:__stats"


def tool_hits(tool: str) -> str:
    """The field with the hits of one tool."""
    return f"tool:{tool}:hits"


def tool_misses(tool: str) -> str:
    """The field with the misses of one tool."""
    return f"tool:{tool}:misses"


def tool_cost_saved(tool: str) -> str:
    """The field with what the hits of one tool saved, in millionths of a dollar."""
    return f"tool:{tool}:{COST_SAVED}"


def read_stats(fields: Mapping[str, bytes], policies: Mapping[str, ToolPolicy]) -> AgentCacheStats:
    """The statistics that `fields`, the whole map, hold; a field that is missing or no integer counts as 0.

    `per_tool` has the tools that have any field, in the order in which they first come up in the map,
    each with the TTL of its policy.
    """
    return AgentCacheStats(
        llm=TierStats(_number(fields, LLM_HITS), _number(fields, LLM_MISSES)),
        tool=TierStats(_number(fields, TOOL_HITS), _number(fields, TOOL_MISSES)),
        session=SessionStats(_number(fields, SESSION_READS), _number(fields, SESSION_WRITES)),
        cost_saved_micros=_number(fields, COST_SAVED),
        per_tool={tool: _tool_stats(tool, fields, policies.get(tool)) for tool in _tools(fields)},
    )


def tool_effectiveness(stats: AgentCacheStats, default_ttl_seconds: int | None) -> list[ToolEffectivenessEntry]:
    """How well each tool's caching pays: most dollars saved first, equals in the order of `stats`.

    `default_ttl_seconds` is what entries of a tool without a policy get: that of the tier, else that of all
    tiers; None or 0 when they never expire.
    """
    entries = [
        ToolEffectivenessEntry(
            tool=tool,
            hit_rate=seen.hit_rate,
            cost_saved=seen.cost_saved_micros / 1_000_000,
            recommendation=recommendation(seen.hit_rate, default_ttl_seconds if seen.ttl is None else seen.ttl),
        )
        for tool, seen in stats.per_tool.items()
    ]
    return sorted(entries, key=lambda entry: entry.cost_saved, reverse=True)


def recommendation(hit_rate: float, ttl_seconds: int | None) -> Recommendation:
    """What to do about a tool's TTL; None and 0 say that its entries never expire.

    >>> recommendation(0.9, 300), recommendation(0.9, 7200), recommendation(0.9, None)
    ('increase_ttl', 'optimal', 'optimal')
    >>> recommendation(0.8, 300), recommendation(0.4, 300), recommendation(0.39, 300)
    ('optimal', 'optimal', 'decrease_ttl_or_disable')
    """
    if hit_rate < SELDOM:
        return "decrease_ttl_or_disable"
    if hit_rate > OFTEN and ttl_seconds and ttl_seconds < LONG_TTL_SECONDS:
        return "increase_ttl"
    return "optimal"


def _tools(fields: Mapping[str, bytes]) -> list[str]:
    names = (match[1] for field in fields if (match := _OF_ONE_TOOL.fullmatch(field)))
    return list(dict.fromkeys(names))


def _tool_stats(tool: str, fields: Mapping[str, bytes], policy: ToolPolicy | None) -> ToolStats:
    return ToolStats(
        hits=_number(fields, tool_hits(tool)),
        misses=_number(fields, tool_misses(tool)),
        ttl=policy.ttl if policy else None,
        cost_saved_micros=_number(fields, tool_cost_saved(tool)),
    )


def _number(fields: Mapping[str, bytes], field: str) -> int:
    value = fields.get(field, b"")
    return int(value) if _WHOLE.fullmatch(value) else 0
