"""docs/coming-from-engram.md: each call in its table is a test, and together they are what that package offers.

What it offers is asked of the package itself, in a process of its own (engram_surface.py). Hits, presets and settings
are in test_engram_tables.py, commands in tests/apps/test_commands_of_engram.py.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from betterdb_agent_memory import AgentMemory, Dynamics, InvalidInputError, MemoryHit, MemoryNotFoundError, MemoryStore
from betterdb_agent_memory.dynamics.parameters import DEFAULT_PARAMETERS
from betterdb_agent_memory.dynamics.presets import PRESETS
from betterdb_agent_memory.memory.kinds import KINDS
from tests.embedding import AHEAD, at_angle, embed
from tests.peer.conftest import DAY_MS, Clock, Open, strength
from tests.peer.of_engram import rows, surface

FAR = at_angle(-1.0)
"""What a question that is `AHEAD` does not find."""

Check = Callable[..., Awaitable[None]]
CALLS: dict[str, Check] = {}
"""The test of each row of the calls."""


def call(row: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        assert row not in CALLS
        CALLS[row] = check
        return check

    return register


@call("Memory(path)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    id = await agent.memory.remember("tea")
    other = open_agent()
    await other.initialize()
    assert await other.memory.get(id) == await agent.memory.get(id) is not None


@call("Memory(config)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    assert agent.dynamics.parameters == DEFAULT_PARAMETERS
    for dynamics in ("task_agent", PRESETS["task_agent"]):
        assert open_agent(dynamics=dynamics).dynamics.parameters == PRESETS["task_agent"]


@call("add(content, type, importance)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    for kind in surface()["kinds"]:
        id = await agent.memory.remember("tea", kind=kind)
        item, said = await agent.memory.get_many([id, await agent.memory.remember("tea", kind=kind, importance=0.7)])
        assert item is not None
        assert said is not None
        assert (item.kind, item.importance, said.importance) == (kind, KINDS[kind].importance, 0.7)
    with pytest.raises(InvalidInputError, match="kind"):
        await agent.memory.remember("tea", kind="whim")  # type: ignore[arg-type]


@call("add(source, tags)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    await agent.memory.remember(AHEAD, source="deploy", tags=["aws", "prod"])
    await agent.memory.remember(AHEAD)
    [hit] = await agent.memory.recall(AHEAD, tags=["prod"])
    assert (hit.item.content, hit.item.source, hit.item.tags) == (AHEAD, "deploy", ["aws", "prod"])


@call("add(entities)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    await agent.memory.remember(AHEAD, id="found", entities=["Alice"])
    await agent.memory.remember(FAR, id="shared", entities=["Alice", "Bob"])
    await agent.memory.remember(FAR, id="other", entities=["Bob"])
    assert ids(await agent.memory.recall(AHEAD, expand=True)) == ["found", "shared"]


@call("add(contradicts)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    await agent.memory.remember(AHEAD, id="wrong", importance=1.0)
    await agent.memory.remember(at_angle(0.9), id="right", importance=0.0)
    assert ids(await agent.memory.recall(AHEAD)) == ["wrong", "right"]
    before = [one.confidence for one in await agent.dynamics.standing(["wrong", "right"])]
    assert await agent.memory.forget("right")
    await agent.memory.remember(at_angle(0.9), id="right", importance=0.0, contradicts=["wrong"])
    assert ids(await agent.memory.recall(AHEAD)) == ["right", "wrong"]
    wrong, right = [one.confidence for one in await agent.dynamics.standing(["wrong", "right"])]
    assert wrong < 0.5 * before[0]
    assert right >= before[1]


@call("recall(query, limit)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    for place, cosine in enumerate((1.0, 0.95, 0.9)):
        await agent.memory.remember(at_angle(cosine), id=f"m{place}")
    assert ids(await agent.memory.recall(AHEAD, k=2)) == ["m0", "m1"]
    [hit] = await agent.memory.recall(AHEAD, k=1, scoring="activation")
    assert hit.explain is not None
    assert "base_level" in [part.name for part in hit.explain.components]
    for question in ('what is "port"?', "it's", "a AND", "don't (x", "NEAR(", "*", "日本語 ñ"):
        await agent.memory.recall(question, retrieval="hybrid")


@call("recall(context)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    await agent.memory.remember(AHEAD, id="wine", entities=["Porto"])
    await agent.memory.remember(AHEAD, id="server", entities=["network"])
    for cue, first in (("network", "server"), ("Porto", "wine")):
        assert ids(await agent.memory.recall(AHEAD, context=[cue], scoring="activation"))[0] == first


@call("recall(types)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    for kind in ("factual", "opinion", "rule"):
        await agent.memory.remember(AHEAD, id=kind, kind=kind)
    assert set(ids(await agent.memory.recall(AHEAD, kind=["factual", "rule"]))) == {"factual", "rule"}


@call("recall(min_confidence)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    for kind in ("opinion", "rule"):
        await agent.memory.remember(AHEAD, id=kind, kind=kind)
    assert ids(await agent.memory.recall(AHEAD, min_confidence=0.8)) == ["rule"]
    counts = [item and item.access_count for item in await agent.memory.get_many(["rule", "opinion"])]
    assert counts == [1, 0]


@call("recall(graph_expand)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    await agent.memory.remember(AHEAD, id="found", thread_id="t")
    await agent.memory.remember(FAR, id="linked", thread_id="t")
    await agent.memory.remember(FAR, id="another's", thread_id="u")
    await agent.memory.link("found", "linked")
    await agent.memory.link("found", "another's", 9.0)
    assert ids(await agent.memory.recall(AHEAD, thread_id="t")) == ["found"]
    assert ids(await agent.memory.recall(AHEAD, thread_id="t", expand=True)) == ["found", "linked"]


@call("consolidate(days)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    await agent.memory.remember("weighty", id="weighty", importance=1.0)
    await agent.memory.remember("trivial", id="trivial", importance=0.0)
    soon = await agent.dynamics.consolidate(days=10)
    assert (soon.promoted, soon.archived, soon.forgotten) == (1, 0, 0)
    later = await agent.dynamics.consolidate(days=700)
    assert later.forgotten == 1
    assert await agent.memory.get("trivial") is None
    # A memory fades by itself.
    before = await strength(agent, "weighty")
    clock.now_ms += 7 * DAY_MS
    assert await strength(agent, "weighty") < before


@call("forget(memory_id)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    id = await agent.memory.remember("tea")
    assert await agent.memory.forget(id)
    assert not await agent.memory.forget(id)
    assert await agent.memory.get(id) is None


@call("forget(threshold)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    for id in ("weak", "pinned"):
        await agent.memory.remember("tea", id=id, importance=0.0)
    await agent.memory.remember("tea", id="strong", importance=1.0)
    await agent.memory.pin("pinned")
    clock.now_ms += 60 * DAY_MS
    assert (await agent.dynamics.forget(0.2, dry_run=True)).forgotten == 1
    assert (await agent.dynamics.forget(0.2)).forgotten == 1
    other = open_agent()
    await other.initialize()
    assert {item.id async for item in other.memory.iterate()} == {"strong", "pinned"}


@call("reward(feedback, recent_n)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    await agent.memory.remember(AHEAD, id="asked for")
    await agent.memory.remember(FAR, id="added last")
    clock.now_ms += DAY_MS
    hits = await agent.dynamics.recall(AHEAD)
    before = [await strength(agent, id) for id in ("asked for", "added last")]
    assert await agent.dynamics.reward("I know") is None
    praised = await agent.dynamics.reward("perfect, exactly right!")
    assert praised is not None
    assert praised.value > 0
    after = [await strength(agent, id) for id in ("asked for", "added last")]
    assert after[0] > before[0]
    assert after[1] == before[1]
    blamed = await agent.dynamics.reward("no, that's wrong", hits)
    assert blamed is not None
    assert await strength(agent, "asked for") < after[0]


@call("downscale(factor)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    await agent.memory.remember("tea", id="m")
    clock.now_ms += DAY_MS
    before = await strength(agent, "m")
    assert (await agent.dynamics.downscale()).downscaled == 1
    assert await strength(agent, "m") == before
    assert (await agent.dynamics.downscale(0.95)).downscaled == 0.95
    assert await strength(agent, "m") == pytest.approx(0.95 * before)


@call("stats()")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    await agent.memory.remember("tea", kind="opinion")
    await agent.memory.pin(await agent.memory.remember("green", kind="rule"))
    stats = await agent.dynamics.stats()
    assert (stats.all.memories, stats.all.pinned, stats.all.layers) == (2, 1, {"archive": 0, "working": 2, "core": 0})
    assert {kind: one.memories for kind, one in stats.by_kind.items()} == {"opinion": 1, "rule": 1}
    assert stats.by_kind["opinion"].mean_strength == pytest.approx(1.0)
    assert (await agent.memory.stats()).item_count == 2


@call("export(path)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    for id in ("one", "other"):
        await agent.memory.remember(AHEAD, id=id, kind="rule")
    await agent.memory.link("one", "other", 2.0)
    await agent.dynamics.outcome(["one"], 1.0)
    [before] = await agent.dynamics.standing(["one"])
    path = Path.cwd() / "backup.jsonl"
    assert (await agent.memory.export_to(path)).exported == 2
    async with AgentMemory.open(":memory:", embedder=embed, clock=clock) as restored:
        assert (await restored.memory.import_from(path)).imported == 2
        assert await restored.dynamics.standing(["one"]) == [before]
        assert [link.id for link in await restored.memory.links("other")] == ["one"]


@call("update_memory(memory_id, new_content, reason)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    before_ms = clock.now_ms
    old = await agent.memory.remember(AHEAD, importance=1.0)
    clock.now_ms += DAY_MS
    new = await agent.memory.correct(old, at_angle(0.9), metadata={"reason": "moved"})
    assert ids(await agent.memory.recall(AHEAD)) == [new.id]
    assert [version.item.id for version in await agent.memory.history(new.id)] == [old, new.id]
    assert ids(await agent.memory.recall(AHEAD, as_of=before_ms)) == [old]
    assert new.metadata == {"reason": "moved"}


@call("pin(memory_id)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    await agent.memory.remember("tea", id="m", importance=0.0)
    assert await agent.memory.pin("m")
    clock.now_ms += 2_000 * DAY_MS
    assert (await agent.dynamics.maintain()).forgotten == 0
    with pytest.raises(MemoryNotFoundError):
        await agent.memory.pin("nobody")


@call("unpin(memory_id)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    await agent.memory.remember("tea", id="m", importance=0.0)
    await agent.memory.pin("m")
    assert await agent.memory.unpin("m")
    item = await agent.memory.get("m")
    assert item is not None
    assert item.importance == 0
    clock.now_ms += 2_000 * DAY_MS
    assert (await agent.dynamics.maintain()).forgotten == 1


@call("hebbian_links(memory_id)")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    for id, text in (("one", AHEAD), ("other", at_angle(0.95)), ("far", FAR)):
        await agent.memory.remember(text, id=id)
    weights = []
    for _ in range(6):
        await agent.memory.recall(AHEAD)
        weights.append({link.id: link.weight for link in await agent.memory.links("one")})
    assert weights[0] == {}
    assert list(weights[-1]) == ["other"]
    assert weights[-1]["other"] > weights[-2]["other"]


@call("hebbian_links()")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    for id in "abc":
        await agent.memory.remember("tea", id=id)
    await agent.memory.link("a", "b")
    await agent.memory.link("c", "b")
    pairs = {(item.id, link.id) async for item in agent.memory.iterate() for link in await agent.memory.links(item.id)}
    assert pairs == {("a", "b"), ("b", "a"), ("c", "b"), ("b", "c")}


@call("close()")
async def _(agent: AgentMemory, open_agent: Open, clock: Clock) -> None:
    await agent.close()
    with pytest.raises(Exception, match="closed"):
        await agent.memory.remember("tea")


def ids(hits: list[MemoryHit]) -> list[str]:
    return [hit.item.id for hit in hits]


@pytest.mark.parametrize("row", rows("calls"))
async def test_a_call_has_a_counterpart(
    row: str, agent: AgentMemory, open_agent: Open, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await CALLS[row](agent, open_agent, clock)


def test_every_call_with_every_parameter_is_in_the_table_and_tested() -> None:
    offered: dict[str, set[str]] = {}
    for row in rows("calls"):
        name, parameters = row.removesuffix(")").split("(")
        offered.setdefault(name, set()).update(filter(None, parameters.split(", ")))
    assert offered == {name: set(parameters) for name, parameters in surface()["calls"].items()}
    assert list(CALLS) == list(rows("calls"))


ROOMS = {"AgentMemory": AgentMemory, "agent": AgentMemory, "memory": MemoryStore, "dynamics": Dynamics}


@pytest.mark.parametrize(("mark", "least"), [("calls", 20), ("presets", 5)])
def test_what_the_tables_say_to_call_can_be_called_so(mark: str, least: int) -> None:
    said = [cell for cells in rows(mark).values() for cell in cells]
    # A cell that is one piece of code comes without its backticks.
    found = [one for cell in said for one in re.findall(r"\b(\w+)\.(\w+)\(([^)]*)\)", cell) if one[0] in ROOMS]
    assert len(found) >= least
    for room, name, given in found:
        parameters = inspect.signature(getattr(ROOMS[room], name)).parameters
        takes_more = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
        for argument in filter(None, given.split(", ")):
            assert takes_more or argument.split("=")[0] in parameters, f"{room}.{name}({given})"
