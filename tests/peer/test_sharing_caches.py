"""One server, two packages: hits of the published agent-cache 0.12.0 are hits of ours, and the reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from betterdb_agent_memory import AgentCache, AgentCacheOptions, DiscoveryOptions, LlmStoreOptions, ModelCost
from tests.peer.published import Published

PARAMS: list[dict[str, Any]] = [
    {"model": "m", "messages": [{"role": "user", "content": 'naïve — 日本語 🙂\n\t"q" \\ / \u2028'}]},
    {"model": "m", "messages": [{"role": "user", "content": "integers"}], "temperature": 0, "max_tokens": 100},
    # Where the two languages spell a key differently, what the Python package wrote is found all the same.
    {"model": "m", "messages": [{"role": "user", "content": "integral float"}], "temperature": 0.0},
    {"model": "m", "messages": [{"role": "user", "content": "small"}], "temperature": 1e-7, "top_p": 0.00001},
    {
        "model": "m",
        "messages": [{"role": "user", "content": "tools"}],
        "tools": [
            {"type": "function", "function": {"name": name, "parameters": {"b": 1.0, "a": [1, 2.5]}}}
            for name in ("get_weather", "Zeta", "Calculator", "getWeather")
        ],
        "tool_choice": "auto",
    },
    {"model": "m", "messages": [], "stop": ["a", "b"], "seed": 0, "response_format": {"type": "json_object"}},
]
ARGUMENTS: list[Any] = [{}, None, {"city": "Zürich", "days": 3}, {"days": 3.0, "nested": {"b": 1e21, "a": -0.0}}]


@pytest.fixture
async def ours(valkey_client: Any, store_name: str) -> AsyncIterator[AgentCache]:
    cache = AgentCache(
        AgentCacheOptions(
            client=valkey_client,
            name=store_name,
            cost_table={"m": ModelCost(1.0, 2.0)},
            discovery=DiscoveryOptions(enabled=False),
        )
    )
    yield cache
    await cache.shutdown()


@pytest.mark.parametrize("params", PARAMS, ids=lambda params: str(params["messages"])[:40])
async def test_what_they_store_ours_finds(
    theirs: Published, ours: AgentCache, store_name: str, params: dict[str, Any]
) -> None:
    key = await theirs.cache(store_name, "llm.store", params, "their answer")
    found = await ours.llm.check(params)
    assert (found.hit, found.response, found.key) == (True, "their answer", key)


@pytest.mark.parametrize("params", PARAMS[:2] + PARAMS[5:], ids=lambda params: str(params["messages"])[:40])
async def test_what_ours_stores_they_find(
    theirs: Published, ours: AgentCache, store_name: str, params: dict[str, Any]
) -> None:
    key = await ours.llm.store(params, "our answer", LlmStoreOptions(tokens={"input": 1000, "output": 500}))
    found = await theirs.cache(store_name, "llm.check", params)
    assert (found["hit"], found["response"], found["key"]) == (True, "our answer", key)
    assert (found["input_tokens"], found["output_tokens"]) == (1000, 500)
    stats = await theirs.call("cache_stats", store_name)
    assert (stats["llm"]["hits"], stats["cost_saved_micros"]) == (1, 2_000_000)


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
async def test_tools_are_shared(theirs: Published, ours: AgentCache, store_name: str, arguments: Any) -> None:
    await theirs.cache(store_name, "tool.store", "theirs", arguments, "result")
    assert (await ours.tool.check("theirs", arguments)).response == "result"
    assert await ours.tool.invalidate("theirs", arguments)
    assert not (await theirs.cache(store_name, "tool.check", "theirs", arguments))["hit"]
    if arguments in ARGUMENTS[:3]:
        await ours.tool.store("ours", arguments, "our result")
        assert (await theirs.cache(store_name, "tool.check", "ours", arguments))["response"] == "our result"


async def test_multipart_answers_are_shared(theirs: Published, ours: AgentCache, store_name: str) -> None:
    blocks = [{"type": "text", "text": "Hello "}, {"type": "tool_call", "id": "c", "name": "f", "args": {"z": 1}}]
    await theirs.cache(store_name, "llm.store_multipart", PARAMS[0], blocks)
    assert (await ours.llm.check(PARAMS[0])).content_blocks == blocks
    await ours.llm.store_multipart(PARAMS[1], blocks)  # type: ignore[arg-type]
    found = await theirs.cache(store_name, "llm.check", PARAMS[1])
    assert (found["response"], found["content_blocks"]) == ("Hello ", blocks)


async def test_sessions_and_statistics_are_shared(theirs: Published, ours: AgentCache, store_name: str) -> None:
    await theirs.cache(store_name, "session.set", "t", "their field", "1")
    await ours.session.set("t", "our field", "2")
    both = {"their field": "1", "our field": "2"}
    assert await theirs.cache(store_name, "session.get_all", "t") == both
    assert await ours.session.get_all("t") == both
    assert await ours.session.get("t", "their field") == "1"
    assert await theirs.cache(store_name, "session.get", "t", "our field") == "2"
    await ours.llm.check(PARAMS[0])
    await theirs.cache(store_name, "llm.check", PARAMS[0])
    mine, their = await ours.stats(), await theirs.call("cache_stats", store_name)
    assert (mine.llm.misses, mine.session.writes, mine.session.reads) == (2, 2, 2)
    assert (their["llm"]["misses"], their["session"]["writes"], their["session"]["reads"]) == (2, 2, 2)


async def test_invalidations_reach_what_they_wrote(theirs: Published, ours: AgentCache, store_name: str) -> None:
    for params in PARAMS:
        await theirs.cache(store_name, "llm.store", params, "answer")
    await theirs.cache(store_name, "llm.store", {"model": "other", "messages": []}, "answer")
    assert await ours.llm.invalidate_by_model("m") == len(PARAMS)
    assert not (await theirs.cache(store_name, "llm.check", PARAMS[2]))["hit"]
    assert (await theirs.cache(store_name, "llm.check", {"model": "other", "messages": []}))["hit"]
