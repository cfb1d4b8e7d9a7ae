"""Every call that the published packages accept, ours accept: the same names, parameters, orders and defaults."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.peer.published import PEER, ROOT

TIERS = {"llm": "LlmCache", "tool": "ToolCache", "session": "SessionStore"}
PUBLISHED_ELSEWHERE = {
    **{
        f"AgentCache.{tier}": f"betterdb_agent_cache.tiers.{module}:{cls}"
        for (tier, cls), module in zip(TIERS.items(), ("llm_cache", "tool_cache", "session_store"), strict=True)
    },
    "TelemetryOptions": "betterdb_agent_cache.types:TelemetryOptions",
    "AnalyticsOptions": "betterdb_agent_cache.types:AnalyticsOptions",
}
OURS_ELSEWHERE = {
    "AgentCache.llm": "betterdb_agent_memory:LlmCache",
    "AgentCache.tool": "betterdb_agent_memory:ToolCache",
    "AgentCache.session": "betterdb_agent_memory:SessionCache",
}
NAMES_OF_THE_CONTRACT = 86

DEVIATIONS: dict[str, str] = {
    "MemoryMetrics()": "it is made by create_memory_telemetry, which fills in the metrics that are ours too",
}
"""What ours does not accept as published, and why."""


@functools.cache
def surface(path: Path, **elsewhere: str) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(path), "BETTERDB_TELEMETRY": "false"}
    finished = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("surface.py")), *(f"{k}={v}" for k, v in elsewhere.items())],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def published() -> Any:
    if not PEER.is_dir():
        pytest.fail(f"the published package is not installed in {PEER}: run `make peers`")
    return surface(PEER, **PUBLISHED_ELSEWHERE)


def ours() -> Any:
    return surface(ROOT, **OURS_ELSEWHERE)


def differences() -> dict[str, str]:
    """What of the published surface ours lacks or does differently, by place."""
    found: dict[str, str] = {}
    for name, theirs in published().items():
        if name not in ours():
            found[name] = "is missing"
        else:
            for place, what in compared(theirs, ours()[name]):
                if not (name.startswith("AgentCache.") and place == "()"):  # nobody but the facades makes a tier
                    found[f"{name}{place}"] = what
    return found


def compared(theirs: Any, mine: Any) -> list[tuple[str, str]]:
    if theirs["kind"] != mine["kind"]:
        return [("", f"is a {mine['kind']}, published a {theirs['kind']}")]
    found = [("()", what) for what in compared_calls(theirs, mine)]
    found += [
        ("", f"{key}: {mine.get(key)}, published {theirs.get(key)}")
        for key in ("value", "of", "required", "optional")
        if theirs.get(key) != mine.get(key)
    ]
    if missing := [field for field in theirs.get("fields", []) if field not in mine.get("fields", [])]:
        found.append(("", f"lacks the fields {missing}"))
    elif mine.get("fields", [])[: len(theirs.get("fields", []))] != theirs.get("fields", []):
        found.append(("", f"orders its fields {mine['fields']}"))
    if strange := sorted(set(theirs.get("bases", [])) - set(mine.get("bases", []))):
        found.append(("", f"is no {strange}"))
    for name, member in theirs.get("members", {}).items():
        other = mine["members"].get(name)
        if other is None and name not in mine.get("fields", []):
            found.append((f".{name}", "is missing"))
        elif other is not None:
            found += [(f".{name}", what) for what in compared_calls(member, other)]
    return found


def compared_calls(theirs: Any, mine: Any) -> list[str]:
    """Which published calls of a function ours would refuse or take differently."""
    if "parameters" not in theirs:
        return []
    if "parameters" not in mine:
        return ["cannot be called as published"]
    found = [] if theirs.get("async") == mine.get("async") else ["is awaited differently"]
    taken = {parameter["name"]: (place, parameter) for place, parameter in enumerate(mine["parameters"])}
    for place, parameter in enumerate(theirs["parameters"]):
        name = parameter["name"]
        if name not in taken:
            found.append(f"lacks {name}")
            continue
        own_place, own = taken[name]
        if parameter["kind"] == "POSITIONAL_OR_KEYWORD" and (own["kind"] != parameter["kind"] or own_place != place):
            found.append(f"does not take {name} as argument {place + 1}")
        if own["kind"] == "POSITIONAL_ONLY" != parameter["kind"]:
            found.append(f"does not take {name} by name")
        if "default" in parameter and ("default" not in own or not same_default(parameter["default"], own["default"])):
            found.append(f"{name} is {own.get('default', 'required')!r} by default, published {parameter['default']!r}")
    known = {parameter["name"] for parameter in theirs["parameters"]}
    found += [
        f"requires {own['name']}"
        for own in mine["parameters"]
        if own["name"] not in known and "default" not in own and not own["kind"].startswith("VAR")
    ]
    return found


def same_default(theirs: Any, mine: Any) -> bool:
    """Whether a default means the same; an object may have more fields, which are ours."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        return all(key in mine and same_default(value, mine[key]) for key, value in theirs.items())
    return bool(theirs == mine)


def test_all_86_published_names_are_ours_too() -> None:
    names = set(published()) - set(PUBLISHED_ELSEWHERE)
    assert len(names) == NAMES_OF_THE_CONTRACT
    assert names - set(ours()) == set()


def test_every_published_call_is_accepted() -> None:
    assert {place: what for place, what in differences().items() if place not in DEVIATIONS} == {}


def test_every_allowed_deviation_is_one() -> None:
    assert set(DEVIATIONS) - set(differences()) == set()
