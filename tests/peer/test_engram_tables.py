"""docs/coming-from-engram.md: hits, presets and settings, each row a test."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest

from betterdb_agent_memory import AgentMemory, DynamicsParameters, MemoryOptions, Replay, Standing
from betterdb_agent_memory.memory.kinds import KindProfile
from tests.embedding import AHEAD, at_angle
from tests.peer.conftest import DAY_MS, Clock, Open, strength
from tests.peer.of_engram import rows, surface

FAR = at_angle(-1.0)


@pytest.mark.parametrize("row", rows("hits"))
async def test_what_a_hit_had_is_there(row: str, agent: AgentMemory, clock: Clock) -> None:
    await agent.memory.remember(AHEAD, id="m", kind="rule", importance=0.7)
    await agent.memory.remember(FAR, id="n")
    await agent.memory.contradict("m", "n")
    clock.now_ms += 2 * DAY_MS
    [hit] = await agent.dynamics.recall(AHEAD)
    value: Any = {"hit": hit}
    for step in rows("hits")[row][0].split("."):
        value = value[step] if isinstance(value, dict) else getattr(value, step)
    expected = {
        "id": "m",
        "content": AHEAD,
        "type": "rule",
        "confidence_label": "vague",
        "age_days": 2.0,
        "layer": "working",
        "importance": 0.7,
        "contradicted": ("n",),
    }
    between = {"confidence": (0.1, 0.4), "strength": (0.6, 1.0), "activation": (-100.0, 100.0)}
    assert row in expected or row in between
    if row in expected:
        assert value == expected[row]
    else:
        low, high = between[row]
        assert low < value < high


def test_every_key_of_a_hit_is_in_the_table() -> None:
    assert list(rows("hits")) == surface()["hit"]
    of_standing = {cells[0].split(".")[2] for cells in rows("hits").values() if cells[0].startswith("hit.standing.")}
    assert of_standing <= {one.name for one in fields(Standing)}


@pytest.mark.parametrize("row", rows("presets"))
async def test_a_preset_has_a_counterpart(row: str, open_agent: Open, clock: Clock) -> None:
    name = re.fullmatch(r"MemoryConfig\.(\w+)\(\)", row)
    here = re.fullmatch(r'AgentMemory\.open\(dynamics="(\w+)"\)', rows("presets")[row][0])
    assert name is not None
    assert here is not None
    assert here[1] == name[1]
    agent, usual = open_agent(dynamics=here[1]), open_agent()
    await agent.initialize()
    await usual.initialize()
    await agent.memory.remember(AHEAD, id="m")
    clock.now_ms += 20 * DAY_MS
    assert (await strength(agent, "m") == await strength(usual, "m")) is (name[1] == "default")
    for scoring in ("activation", "chain"):
        [hit], [other] = [await one.memory.recall(AHEAD, scoring=scoring, reinforce=False) for one in (agent, usual)]
        assert (hit.score == other.score) is (name[1] == "default")


def test_every_preset_is_in_the_table() -> None:
    assert [re.sub(r".*\.(\w+)\(\)", r"\1", row) for row in rows("presets")] == surface()["presets"]


@pytest.mark.parametrize("row", rows("settings"))
def test_a_setting_has_a_counterpart(row: str) -> None:
    here, differs = rows("settings")[row]
    offered = surface()["settings"]
    for name in re.findall(r"\w+", row):
        assert name in offered
    if not here:
        assert differs
        return
    part, name = here.split(".")
    owner: Any = getattr(DynamicsParameters(), part, None) or {
        "Replay": Replay(),
        "MemoryOptions": MemoryOptions(),
        "KindProfile": KindProfile(0, 0, 0, 0),
    }.get(part)
    assert owner is not None, here
    assert hasattr(owner, name), here
    if differs == "the same" and part in ("chain", "activation"):
        assert getattr(owner, name) == offered[row]


def test_every_setting_is_in_the_table_once() -> None:
    named = [name for row in rows("settings") for name in re.findall(r"\w+", row)]
    assert sorted(named) == sorted(surface()["settings"])
