"""What is read out of the statistics map, compared with what both published packages made of the same one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.caches.policies import ToolPolicy, decode_policies
from betterdb_agent_memory.caches.results import AgentCacheStats, TierStats
from betterdb_agent_memory.caches.statistics import read_stats, recommendation, tool_effectiveness

FIXTURES = Path(__file__).resolve().parents[1] / "interop" / "fixtures"
EFFECTIVENESS = ["cache_tool_effectiveness", "cache_tool_effectiveness_tier_ttl"]

TOOLS = ["t", "T", "tool", "hits", "a.b-c d", "日本", "x*", ""]
counts = st.integers(min_value=0, max_value=10**15)


def recorded(writer: str, scenario: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FIXTURES / writer / f"{scenario}.json").read_text(encoding="utf-8"))
    return document


def stored_map(scenario: dict[str, Any], key: str) -> dict[str, bytes]:
    values = scenario["keys"].get(f"demo:{key}", {"value": {}})["value"]
    return {field: value.encode() for field, value in values.items()}


def stats_of(scenario: dict[str, Any]) -> AgentCacheStats:
    policies, unusable = decode_policies(stored_map(scenario, "__tool_policies"))
    assert unusable == {}
    return read_stats(stored_map(scenario, "__stats"), policies)


def result_of(scenario: dict[str, Any], operation: str) -> Any:
    return next(entry["result"] for entry in scenario["results"] if entry["op"] == operation)


def tier(stats: TierStats) -> dict[str, Any]:
    return {"hits": stats.hits, "misses": stats.misses, "total": stats.total, "hit_rate": stats.hit_rate}


def as_recorded(stats: AgentCacheStats) -> dict[str, Any]:
    return {
        "llm": tier(stats.llm),
        "tool": tier(stats.tool),
        "session": {"reads": stats.session.reads, "writes": stats.session.writes},
        "cost_saved_micros": stats.cost_saved_micros,
        "per_tool": {
            tool: {
                "hits": seen.hits,
                "misses": seen.misses,
                "hit_rate": seen.hit_rate,
                "cost_saved_micros": seen.cost_saved_micros,
                **({} if seen.ttl is None else {"ttl": seen.ttl}),
            }
            for tool, seen in stats.per_tool.items()
        },
    }


@pytest.mark.parametrize("writer", ["ts", "python"])
def test_stats_are_those_that_the_published_packages_read(writer: str) -> None:
    scenario = recorded(writer, "cache_tool_effectiveness")
    expected = result_of(scenario, "cache_stats")
    assert as_recorded(stats_of(scenario)) == expected
    assert list(stats_of(scenario).per_tool) == list(expected["per_tool"])


@pytest.mark.parametrize("writer", ["ts", "python"])
@pytest.mark.parametrize("name", EFFECTIVENESS)
def test_effectiveness_is_what_the_published_packages_say(writer: str, name: str) -> None:
    scenario = recorded(writer, name)
    default = scenario["input"]["options"].get("tier_ttl", {}).get("tool")
    entries = [
        {
            "tool": entry.tool,
            "hit_rate": entry.hit_rate,
            "cost_saved": entry.cost_saved,
            "recommendation": entry.recommendation,
        }
        for entry in tool_effectiveness(stats_of(scenario), default)
    ]
    assert entries == result_of(scenario, "tool_effectiveness")


def test_an_empty_map_is_no_traffic() -> None:
    stats = read_stats({}, {})
    assert as_recorded(stats) == {
        "llm": {"hits": 0, "misses": 0, "total": 0, "hit_rate": 0},
        "tool": {"hits": 0, "misses": 0, "total": 0, "hit_rate": 0},
        "session": {"reads": 0, "writes": 0},
        "cost_saved_micros": 0,
        "per_tool": {},
    }
    assert tool_effectiveness(stats, None) == []


@pytest.mark.parametrize(
    "value", [b"", b"x", b"1.5", b" 1", b"1\n", b"\xff", b"9" * 5000, "٣".encode(), b"0x1", b"1_0"]
)
def test_a_field_that_is_no_integer_counts_as_nothing_and_harms_no_other(value: bytes) -> None:
    stats = read_stats({"llm:hits": value, "llm:misses": b"2", "tool:t:hits": value, "tool:t:misses": b"3"}, {})
    assert stats.llm == TierStats(hits=0, misses=2)
    assert (stats.per_tool["t"].hits, stats.per_tool["t"].misses) == (0, 3)


@given(
    fields=st.dictionaries(
        st.one_of(
            st.tuples(st.sampled_from(TOOLS), st.sampled_from(["hits", "misses", "cost_saved_micros", "ttl"])).map(
                lambda parts: f"tool:{parts[0]}:{parts[1]}"
            ),
            st.sampled_from(
                ["tool:hits", "tool:a:b:hits", "xtool:t:hits", "tool:t:hitsx", "tool:t:hits\n", "llm:t:hits"]
            ),
        ),
        counts,
    )
)
def test_a_tool_is_found_by_its_own_fields_and_by_nothing_else(fields: dict[str, int]) -> None:
    stats = read_stats({field: str(count).encode() for field, count in fields.items()}, {})
    expected: dict[str, dict[str, int]] = {}
    for tool in TOOLS:
        for what in ("hits", "misses", "cost_saved_micros"):
            if tool and f"tool:{tool}:{what}" in fields:
                expected.setdefault(tool, {})[what] = fields[f"tool:{tool}:{what}"]
    assert stats.per_tool.keys() == expected.keys()
    for tool, seen in stats.per_tool.items():
        for what in ("hits", "misses", "cost_saved_micros"):
            assert getattr(seen, what) == expected[tool].get(what, 0)
        assert seen.hit_rate == (seen.hits / (seen.hits + seen.misses) if seen.hits + seen.misses else 0)


@given(
    tools=st.dictionaries(
        st.sampled_from(TOOLS[:-1]), st.tuples(counts, counts, counts, st.none() | st.integers(1, 9999))
    ),
    default=st.none() | st.integers(0, 9999),
)
def test_effectiveness_is_sorted_by_dollars_and_follows_the_table(
    tools: dict[str, tuple[int, int, int, int | None]], default: int | None
) -> None:
    fields: dict[str, bytes] = {}
    for tool, (hits, misses, saved, _) in tools.items():
        fields[f"tool:{tool}:hits"] = b"%d" % hits
        fields[f"tool:{tool}:misses"] = b"%d" % misses
        fields[f"tool:{tool}:cost_saved_micros"] = b"%d" % saved
    policies = {tool: ToolPolicy(ttl) for tool, (_, _, _, ttl) in tools.items() if ttl is not None}
    entries = tool_effectiveness(read_stats(fields, policies), default)
    # Stable: equal savings stay in the order of the map.
    assert [entry.tool for entry in entries] == sorted(tools, key=lambda tool: -tools[tool][2])
    for entry in entries:
        hits, misses, saved, ttl = tools[entry.tool]
        assert entry.cost_saved == saved / 1_000_000
        effective = default if ttl is None else ttl
        rate = hits / (hits + misses) if hits + misses else 0
        if rate > 0.8:
            expected = "increase_ttl" if effective and effective < 3600 else "optimal"
        else:
            expected = "optimal" if rate >= 0.4 else "decrease_ttl_or_disable"
        assert entry.recommendation == expected


def test_a_policy_outweighs_the_default_and_no_expiry_needs_no_more_time() -> None:
    fields = {"tool:t:hits": b"9", "tool:t:misses": b"1"}
    with_policy = read_stats(fields, {"t": ToolPolicy(7200)})
    assert tool_effectiveness(with_policy, 10)[0].recommendation == "optimal"
    assert tool_effectiveness(read_stats(fields, {}), 10)[0].recommendation == "increase_ttl"
    assert recommendation(0.8, 3599) == "optimal"
    assert recommendation(0.9, 3599) == "increase_ttl"
    assert recommendation(0.9, 3600) == "optimal"
    assert recommendation(0.9, 0) == "optimal"
