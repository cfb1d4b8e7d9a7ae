"""`agent.config`: an operator needs no key names, and nothing unusable is ever written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from betterdb_agent_memory import InvalidInputError, MemoryStore, RecallWeights
from betterdb_agent_memory.agent_config import AgentConfig, SettingInForce
from betterdb_agent_memory.caches.policies import ToolPolicies
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import EngineError
from betterdb_agent_memory.options import HybridOptions
from tests.embedding import embed
from tests.servers import ValkeyServer

WEIGHTS = RecallWeights(similarity=0.5, recency=0.3, importance=0.2)

HYBRID_ZERO = {f"{sign}_weight": 0 for sign in ("similarity", "words", "date", "actor")}


@dataclass
class Worker:
    """One worker's store and its view of the configuration."""

    store: MemoryStore
    config: AgentConfig


@pytest.fixture(params=["server", "file"])
async def engine(request: pytest.FixtureRequest, valkey_server: ValkeyServer, tmp_path: Path) -> AsyncIterator[Engine]:
    server = request.param == "server"
    made: Engine = ValkeyEngine.from_url(valkey_server.url) if server else EmbeddedEngine(tmp_path / "m.db")
    yield made
    await made.close()


def worker(engine: Engine, name: str, *, follows: bool = True, **options: Any) -> Worker:
    given = {"default_threshold": 0.3, "half_life_seconds": 1000, "weights": WEIGHTS, **options}
    store = MemoryStore(client=engine, name=name, embed_fn=embed, **given)
    store.live_config.follows = follows
    policies = ToolPolicies(name, values=engine.values, watch=CacheWatch(name), listen=engine.watch)
    return Worker(store, AgentConfig(engine.values, store.live_config, policies))


async def test_what_one_worker_sets_all_get(engine: Engine, store_name: str) -> None:
    mine, theirs = worker(engine, store_name), worker(engine, store_name, default_threshold=0.9)
    in_force = await mine.config.set(threshold=0.4, weights=RecallWeights(1, 0, 0.5), max_items_per_scope=100)
    assert in_force.memory == mine.store.current_config(), "this worker is up to date at once"
    for each in (mine, theirs):
        seen = await each.config.get()
        assert (seen.memory.threshold, seen.memory.max_items_per_scope) == (0.4, 100)
        assert seen.memory.weights == RecallWeights(1, 0, 0.5)
        assert seen.memory == each.store.current_config()
        assert seen.settings["threshold"] == SettingInForce(0.4, "live")
        assert seen.settings["weights.recency"] == SettingInForce(0, "live")
        assert seen.settings["half_life_seconds"] == SettingInForce(1000, "constructor")
    assert await engine.values.read_map(f"{store_name}:__mem_config") == {
        "recall.threshold": b"0.4",
        "recall.weights.similarity": b"1",
        "recall.weights.recency": b"0",
        "recall.weights.importance": b"0.5",
        "maxItemsPerScope": b"100",
    }


async def test_how_recall_finds_is_set_for_all_workers(engine: Engine, store_name: str) -> None:
    mine, theirs = worker(engine, store_name), worker(engine, store_name)
    assert mine.store.current_config().retrieval == "vector", "the published default"
    await mine.config.set(retrieval="hybrid", exact=True, diversity=0.5, hybrid={"words_weight": 0.6, "candidates": 32})
    seen = await theirs.config.get()
    memory = theirs.store.current_config()
    assert (memory.retrieval, memory.exact, memory.diversity) == ("hybrid", True, 0.5)
    assert memory.hybrid == HybridOptions(words_weight=0.6, candidates=32)
    assert seen.settings["retrieval"] == SettingInForce("hybrid", "live")
    assert seen.settings["exact"] == SettingInForce(True, "live")
    assert seen.settings["hybrid.words_weight"] == SettingInForce(0.6, "live")
    assert seen.settings["hybrid.date_weight"] == SettingInForce(HybridOptions().date_weight, "constructor")
    assert await engine.values.read_map(f"{store_name}:__mem_config") == {
        "recall.retrieval": b"hybrid",
        "recall.exact": b"true",
        "recall.diversity": b"0.5",
        "recall.hybrid.wordsWeight": b"0.6",
        "recall.hybrid.candidates": b"32",
    }
    left = await mine.config.reset("hybrid.words_weight", "exact")
    assert left.live == {"retrieval": "hybrid", "diversity": 0.5, "hybrid.candidates": 32}
    assert (await mine.config.reset("retrieval", "diversity", "hybrid")).live == {}


async def test_a_worker_that_does_not_follow_shows_and_writes_without_obeying(engine: Engine, store_name: str) -> None:
    mine, theirs = worker(engine, store_name, follows=False), worker(engine, store_name)
    before = mine.store.current_config()
    await theirs.config.set(threshold=0.9, half_life_seconds=5)
    for seen in (
        await mine.config.get(),
        await mine.config.set(half_life_seconds=6, max_items_per_scope=7),
        await mine.config.reset("half_life_seconds"),
    ):
        assert not seen.follows
        assert seen.memory == before == mine.store.current_config()
        assert seen.settings["threshold"] == SettingInForce(0.3, "constructor")
        assert seen.live["threshold"] == 0.9
    assert seen.live == {"threshold": 0.9, "max_items_per_scope": 7}
    others = await theirs.config.get()
    assert others.follows
    assert (others.memory.threshold, others.memory.max_items_per_scope, others.live) == (0.9, 7, seen.live)
    await mine.store.refresh_config()  # told to
    assert mine.store.current_config() == others.memory


async def test_what_is_reset_is_each_constructors_again(engine: Engine, store_name: str) -> None:
    mine, theirs = worker(engine, store_name), worker(engine, store_name, default_threshold=0.9)
    before = (await mine.config.get()).memory
    await mine.config.set(threshold=0.4, weights=RecallWeights(1, 1, 1), half_life_seconds=5, max_items_per_scope=7)
    await engine.values.write_map(f"{store_name}:__mem_config", {"ofAnotherRelease": b"1"})
    left = await mine.config.reset("threshold", "weights")
    assert left.memory.threshold == 0.3
    assert left.memory.weights == WEIGHTS
    assert (left.memory.half_life_seconds, left.memory.max_items_per_scope) == (5, 7)
    assert (await theirs.config.get()).memory.threshold == 0.9
    assert (await mine.config.reset()).memory == before
    assert await engine.values.read_map(f"{store_name}:__mem_config") == {"ofAnotherRelease": b"1"}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"threshold": 2.1}, r"threshold is a cosine distance from 0 to 2, got 2.1"),
        ({"threshold": float("nan")}, "threshold must be a finite number, got nan"),
        ({"threshold": True}, "threshold must be a finite number, got True"),
        ({"threshold": "0.3"}, "threshold must be a finite number, got '0.3'"),
        ({"weights": (0.6, 0.2, 0.2)}, "weights must be RecallWeights"),
        ({"half_life_seconds": 0}, "half_life_seconds must be above 0, got 0"),
        ({"half_life_seconds": float("inf")}, "half_life_seconds must be a finite number"),
        ({"max_items_per_scope": 0}, r"max_items_per_scope must be a whole number from 1 to"),
        ({"max_items_per_scope": 2.5}, "max_items_per_scope must be a whole number"),
        ({"max_items_per_scope": 2**53}, "max_items_per_scope must be a whole number"),
        ({"retrieval": "words"}, "retrieval must be 'vector' or 'hybrid', got 'words'"),
        ({"exact": 1}, "exact must be true or false, got 1"),
        ({"diversity": 2}, "diversity is a share from 0 to 1, got 2"),
        ({"diversity": "much"}, "diversity must be a finite number"),
        ({"hybrid": 0.5}, r"hybrid must be HybridOptions\(...\) or a mapping"),
        ({"hybrid": {}}, "hybrid must name what is set, such as 'words_weight'"),
        ({"hybrid": {"word_weight": 1}}, "hybrid cannot be set: HybridOptions.word_weight is unknown"),
        ({"hybrid": {"candidates": 1.5}}, "HybridOptions.candidates must be a whole number from 1 to 2500, got 1.5"),
        ({"hybrid": HYBRID_ZERO}, "must not all be 0"),
        ({}, "nothing to set: give at least one of threshold, weights"),
    ],
)
async def test_nothing_is_written_when_one_value_is_wrong(
    given: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    engine = EmbeddedEngine(tmp_path / "m.db")
    mine = worker(engine, "s")
    with pytest.raises(InvalidInputError, match=complaint):
        await mine.config.set(**given)
    if given:
        others = {"threshold": 0.5, "weights": WEIGHTS, "half_life_seconds": 9.0, "max_items_per_scope": 5}
        with pytest.raises(InvalidInputError, match=complaint):
            await mine.config.set(**{**others, **given})
    with pytest.raises(InvalidInputError, match="there is no setting 'recall'"):
        await mine.config.reset("threshold", "recall")
    assert await engine.values.read_map("s:__mem_config") == {}
    await engine.close()


async def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    engine = EmbeddedEngine(tmp_path / "m.db")
    in_force = await worker(engine, "s").config.set(threshold=np.float64(0.5), max_items_per_scope=np.int64(5))  # type: ignore[arg-type]
    assert (in_force.memory.threshold, in_force.memory.max_items_per_scope) == (0.5, 5)
    await engine.close()


async def test_what_cannot_be_used_is_shown_beside_what_counts(engine: Engine, store_name: str) -> None:
    mine = worker(engine, store_name)
    fields = {"recall.threshold": b"far", "recall.weights.recency": b"0.9"}
    await engine.values.write_map(f"{store_name}:__mem_config", fields)
    await engine.values.write_map(f"{store_name}:__tool_policies", {"search": b'{"ttl":60}', "weather": b"soon"})
    seen = await mine.config.get()
    assert seen.settings["threshold"] == SettingInForce(0.3, "constructor", ignored="far")
    assert seen.settings["weights.recency"] == SettingInForce(0.9, "live")
    assert seen.tool_ttl_seconds == {"search": 60}
    assert list(seen.ignored_tools) == ["weather"]


async def test_tool_policies_are_set_and_taken_away(engine: Engine, store_name: str) -> None:
    mine, theirs = worker(engine, store_name), worker(engine, store_name)
    await mine.config.set_tool_ttl("search", 300)
    await mine.config.set_tool_ttl("geocode", 86_400)
    assert (await theirs.config.get()).tool_ttl_seconds == {"geocode": 86_400, "search": 300}
    assert await theirs.config.remove_tool_policy("search")
    assert not await theirs.config.remove_tool_policy("search")
    assert (await mine.config.get()).tool_ttl_seconds == {"geocode": 86_400}
    assert await engine.values.read_map(f"{store_name}:__tool_policies") == {"geocode": b'{"ttl":86400}'}
    for tool, ttl_seconds in (("a:b", 5), ("", 5), ("search", 0), ("search", 1.5), ("search", "60")):
        with pytest.raises(InvalidInputError):
            await mine.config.set_tool_ttl(tool, ttl_seconds)  # type: ignore[arg-type]
    assert (await theirs.config.get()).tool_ttl_seconds == {"geocode": 86_400}


async def test_a_key_that_holds_something_else_is_an_error(valkey_server: ValkeyServer, store_name: str) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url)
    mine = worker(engine, store_name)
    before = mine.store.current_config()
    await engine.values.set(f"{store_name}:__mem_config", b"text")
    for call in (mine.config.get, lambda: mine.config.set(threshold=0.5), mine.config.reset):
        with pytest.raises(EngineError):
            await call()
    assert mine.store.current_config() == before
    await engine.values.delete(f"{store_name}:__mem_config")
    await engine.values.set(f"{store_name}:__tool_policies", b"text")
    with pytest.raises(EngineError, match="tool policies"):
        await mine.config.get()
    await engine.close()
