"""Answers of models by the exact request: found, stored, fetched once, refreshed and deleted."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from betterdb_agent_memory import (
    AgentMemoryError,
    ConfigurationError,
    EngineUnavailableError,
    InvalidInputError,
)
from betterdb_agent_memory.caches import single_flight
from betterdb_agent_memory.caches.deferred import DeferredWrites
from betterdb_agent_memory.caches.entries import encode_llm
from betterdb_agent_memory.caches.keys import llm_key
from betterdb_agent_memory.caches.llm import LlmCache
from betterdb_agent_memory.caches.pricing import Prices
from betterdb_agent_memory.caches.results import LlmAnswer, LlmCacheResult, LlmStoreOptions
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import AuthenticationFailedError
from betterdb_agent_memory.options import ModelCost, TelemetryOptions
from tests.servers import ValkeyServer, free_port
from tests.waiting import NEVER_SECONDS

ROOT = Path(__file__).resolve().parents[2]
WHAT_IS_VALKEY: Any = {"model": "priced", "messages": [{"role": "user", "content": "What is Valkey?"}]}
BLOCKS: Any = [{"type": "text", "text": "Hello "}, {"type": "text", "text": "world"}]


def llm_hash(name: str, question: str) -> str:
    return llm_key(name, asking(question)).shared.rpartition(":")[2]


def asking(question: object, **further: Any) -> Any:
    return {"model": "m", "messages": [{"role": "user", "content": str(question)}], **further}


class Cache(LlmCache):
    """The cache as `AgentMemory` builds it, with a clock that is moved by hand and calls that are counted."""

    def __init__(self, engine: Engine, name: str, **options: Any) -> None:
        self.now_ms = 1_750_000_000_000
        self.calls = 0
        self.name = name
        self.engine = engine
        self.registry = CollectorRegistry()
        self.watched = CacheWatch(name, TelemetryOptions(registry=self.registry))
        self.statistics = DeferredWrites(
            engine.values, f"{name}:__stats", interval_seconds=NEVER_SECONDS, on_failure=lambda: None
        )
        prices = Prices({"priced": ModelCost(0.0025, 0.01)})
        given = {"ttl_seconds": None, "prices": prices, "clock": lambda: self.now_ms, **options}
        super().__init__(name, engine=engine, watch=self.watched, deferred=self.statistics, **given)

    async def counted(self) -> dict[str, int]:
        await self.statistics.flush()
        return {field: int(text) for field, text in (await self.engine.values.read_map(f"{self.name}:__stats")).items()}

    async def raw(self, key: str) -> tuple[bytes, int | None]:
        """The stored bytes, and the seconds they are kept."""
        batch = self.engine.values.batch()
        reply = batch.get_with_expiry(key)
        await batch.send()
        stored = reply.result()
        assert stored is not None
        return stored.value, None if stored.left_ms is None else round(stored.left_ms / 1000)

    async def call(self) -> str:
        self.calls += 1
        await asyncio.sleep(0.02)
        return f"answer {self.calls}"

    async def failing_call(self) -> str:
        self.calls += 1
        raise LookupError("no quota")


@pytest.fixture
async def cache(engine: Engine, store_name: str) -> AsyncIterator[Cache]:
    cache = Cache(engine, store_name)
    yield cache
    await cache.close()
    await cache.statistics.close()


@pytest.fixture
async def other(engine: Engine, store_name: str) -> AsyncIterator[Cache]:
    """Another worker with the same name."""
    cache = Cache(engine, store_name)
    yield cache
    await cache.close()
    await cache.statistics.close()


# check and store


async def test_a_stored_answer_is_found_and_counted(cache: Cache) -> None:
    assert await cache.check(WHAT_IS_VALKEY) == LlmCacheResult(hit=False)
    key = await cache.store(WHAT_IS_VALKEY, "R", LlmStoreOptions(tokens={"input": 1234, "output": 567}))
    cache.now_ms += 2_000
    assert await cache.check(WHAT_IS_VALKEY) == LlmCacheResult(
        hit=True, response="R", key=key, input_tokens=1234, output_tokens=567, origin="cache", age_seconds=2.0
    )
    await cache.check(WHAT_IS_VALKEY)
    assert await cache.counted() == {"llm:hits": 2, "llm:misses": 1, "cost_saved_micros": 17510}


async def test_key_and_value_are_those_that_typescript_recorded(cache: Cache) -> None:
    options = {"ttl": 30, "tokens": {"input": 1, "output": 1}}
    blocks: Any = [BLOCKS[0], {"type": "tool_call", "id": "c1", "name": "f", "args": {"z": 1, "a": None}}, BLOCKS[1]]
    key = await cache.store_multipart(WHAT_IS_VALKEY, blocks, options)
    assert key == f"{cache.name}:llm:f45998442fb4612c8bfb0e513f52f40ba973d6a5f46a3f03781eb92bbfcb701b"
    assert await cache.raw(key) == (
        b'{"response":"Hello world","contentBlocks":[{"type":"text","text":"Hello "},{"type":"tool_call","id":"c1",'
        b'"name":"f","args":{"z":1,"a":null}},{"type":"text","text":"world"}],"model":"priced",'
        b'"storedAt":1750000000000,"tokens":{"input":1,"output":1},"cost":0.0000125}',
        30,
    )
    result = await cache.check(WHAT_IS_VALKEY)
    assert (result.response, result.content_blocks) == ("Hello world", blocks)
    assert await cache.counted() == {"llm:hits": 1, "cost_saved_micros": 13}


async def test_a_request_may_be_an_object_with_these_members(cache: Cache) -> None:
    class Params(BaseModel):
        model: str
        messages: list[dict[str, str]]

    await cache.store(asking("what"), "so")
    given: Any = Params(**asking("what"))
    assert (await cache.check(given)).response == "so"
    nameless: Any = {**asking("what"), "model": ""}
    await cache.store(nameless, "so too")
    given = Params(**nameless)
    assert (await cache.check(given)).response == "so too"


async def test_a_large_request_and_a_large_answer_let_other_tasks_go_on(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_thread: list[object] = []
    to_thread = asyncio.to_thread

    async def seen(work: Any, *arguments: Any) -> Any:
        in_a_thread.append(work)
        return await to_thread(work, *arguments)

    monkeypatch.setattr(asyncio, "to_thread", seen)
    small, large = asking("x"), asking("x" * 300_000)
    await cache.store(small, "small")
    assert in_a_thread == []
    await cache.store(large, "small")
    assert len(in_a_thread) == 1
    assert encode_llm not in in_a_thread
    await cache.store(small, "large" * 100_000)
    assert encode_llm in in_a_thread
    assert (await cache.check(large)).response == "small"
    assert (await cache.check(small)).response == "large" * 100_000


async def test_an_answer_is_kept_for_its_ttl_else_the_default_else_for_ever(engine: Engine, store_name: str) -> None:
    cache = Cache(engine, store_name, ttl_seconds=1000)
    assert (await cache.raw(await cache.store(asking(1), "r")))[1] == 1000
    assert (await cache.raw(await cache.store(asking(2), "r", {"ttl": 9})))[1] == 9
    forever = Cache(engine, store_name)
    assert (await forever.raw(await forever.store(asking(3), "r")))[1] is None


@pytest.mark.parametrize("ttl", [0, -1, 1.5, "60", True, 10**11])
async def test_f52_a_ttl_of_nothing_is_refused_by_name_before_anything_is_written(cache: Cache, ttl: Any) -> None:
    for storing in (
        lambda: cache.store(asking("f52"), "r", {"ttl": ttl}),
        lambda: cache.store_multipart(asking("f52"), BLOCKS, {"ttl": ttl}),
        lambda: cache.get_or_call(asking("f52"), cache.call, ttl=ttl),
    ):
        with pytest.raises(InvalidInputError, match=r"^ttl must be whole seconds from 1"):
            await storing()
    with pytest.raises(InvalidInputError, match="^stale_seconds must be"):
        await cache.get_or_call(asking("f52"), cache.call, ttl=5, stale_seconds=ttl)
    assert cache.calls == 0
    assert not (await cache.check(asking("f52"))).hit


@pytest.mark.parametrize(
    ("tokens", "stored", "cost"),
    [
        ({"input": 1000}, b'"tokens":{"input":1000},"cost":0.0025}', 2500),
        ({"output": 1000}, b'"tokens":{"output":1000},"cost":0.01}', 10000),
        ({}, b'"storedAt":1750000000000}', 0),
    ],
)
async def test_f53_tokens_with_a_member_missing_are_kept_and_it_counts_as_none(
    cache: Cache, tokens: dict[str, int], stored: bytes, cost: int
) -> None:
    key = await cache.store(WHAT_IS_VALKEY, "r", LlmStoreOptions(tokens=tokens))
    assert (await cache.raw(key))[0].endswith(stored)
    result = await cache.check(WHAT_IS_VALKEY)
    assert (result.input_tokens, result.output_tokens) == (tokens.get("input", 0), tokens.get("output", 0))
    assert (await cache.counted()).get("cost_saved_micros", 0) == cost


@pytest.mark.parametrize(
    "options",
    [
        {"tokens": {"prompt": 1}},
        {"tokens": {"input": -1}},
        {"tokens": {"input": "1"}},
        {"tokens": {"input": 0.5}},
        {"tokens": [1, 2]},
        {"TTL": 5},
        "60",
    ],
)
async def test_options_that_cannot_be_kept_are_refused(cache: Cache, options: Any) -> None:
    with pytest.raises(InvalidInputError):
        await cache.store(asking("x"), "r", options)
    assert not (await cache.check(asking("x"))).hit


@pytest.mark.parametrize("response", [None, 5, b"bytes", ["a"]])
async def test_a_response_that_is_no_text_is_refused(cache: Cache, response: Any) -> None:
    with pytest.raises(InvalidInputError, match="^response must be a text"):
        await cache.store(asking("x"), response)


@pytest.mark.parametrize("blocks", ["text", [1], [{"text": "no type"}], [{"type": "text"}], {"type": "text"}, None])
async def test_blocks_that_are_none_are_refused(cache: Cache, blocks: Any) -> None:
    with pytest.raises(InvalidInputError, match="^blocks must be a list of content blocks"):
        await cache.store_multipart(asking("x"), blocks)


async def test_an_entry_of_the_published_python_package_is_found_where_its_key_differs(cache: Cache) -> None:
    params = asking("hi", temperature=0.0)
    key = llm_key(cache.name, params)
    assert key.python is not None
    assert key.python != key.shared
    await cache.engine.values.set(key.python, b'{"response":"theirs","model":"m","storedAt":1}')
    result = await cache.check(params)
    assert (result.response, result.key) == ("theirs", key.python)
    await cache.store(params, "ours")
    assert (await cache.check(params)).response == "ours"


@pytest.mark.parametrize(
    "stored",
    [b"{broken", b"null", b"5", b"[]", b"{}", b"\xff", b'{"response":{"a":1}}', b'{"response":5,"contentBlocks":[]}'],
    ids=range(8),
)
async def test_an_unreadable_entry_is_a_miss_and_goes(cache: Cache, stored: bytes) -> None:
    key = llm_key(cache.name, asking("x")).shared
    await cache.engine.values.set(key, stored)
    assert await cache.check(asking("x")) == LlmCacheResult(hit=False)
    assert await cache.engine.values.get(key) is None
    assert await cache.counted() == {"llm:misses": 1}
    assert cache.watched.corrupt_count == 1


async def test_an_empty_entry_is_a_plain_miss(cache: Cache) -> None:
    await cache.engine.values.set(llm_key(cache.name, asking("x")).shared, b"")
    assert await cache.check(asking("x")) == LlmCacheResult(hit=False)
    assert cache.watched.corrupt_count == 0


async def test_a_request_that_is_none_is_refused(cache: Cache) -> None:
    for params in ({}, {"model": "m"}, {"model": 5, "messages": []}, None, "m"):
        with pytest.raises(InvalidInputError):
            await cache.check(params)  # type: ignore[arg-type]


# which requests are the same


async def test_f37_parameters_that_the_shared_key_leaves_out_are_named_once(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await cache.store(asking("x", n=1), "one")
        result = await cache.check(asking("x", n=3))
        await cache.check(asking("x", n=3, presence_penalty=1))
        await cache.check(asking("x", n=3, presence_penalty=1))
    assert result.response == "one", "as the published packages do"
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    assert "leaves out n," in warnings[0]
    assert 'key="complete"' in warnings[0]
    assert "leaves out presence_penalty," in warnings[1]


async def test_f37_each_request_with_a_parameter_that_is_left_out_is_counted(cache: Cache) -> None:
    def counted(parameter: str) -> float | None:
        labels = {"cache_name": cache.name, "parameter": parameter}
        return cache.registry.get_sample_value("agent_cache_ignored_parameters_total", labels)

    await cache.check(asking("x"))
    assert (counted("n"), counted("user")) == (None, None)
    await cache.check(asking("x", n=3, user="u"))
    await cache.store(asking("x", n=3), "one")
    await cache.get_or_call(asking("x", n=3), cache.call)
    await cache.get_or_call(asking("y", n=3), cache.call)
    assert (counted("n"), counted("user")) == (4, 1)
    await cache.check(asking("x", n=3), key="complete")
    assert counted("n") == 4


async def test_f37_the_complete_key_tells_them_apart(
    engine: Engine, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(engine, store_name, key="complete")
    with caplog.at_level(logging.WARNING):
        await cache.store(asking("x", n=1), "one")
        assert not (await cache.check(asking("x", n=3))).hit
        assert (await cache.check(asking("x", n=1))).response == "one"
        await cache.store(asking("plain"), "shared with all")
    assert caplog.records == []
    assert (await cache.check(asking("plain"), key="shared")).response == "shared with all"
    assert not (await cache.check(asking("x", n=1), key="shared")).hit
    await cache.store(asking("y", n=1), "two", key="shared")
    assert (await cache.check(asking("y"), key="shared")).response == "two"


async def test_an_unknown_choice_of_key_is_refused(engine: Engine, cache: Cache) -> None:
    with pytest.raises(ConfigurationError, match='key must be "shared" or "complete", got \'full\''):
        Cache(engine, "n", key="full")
    with pytest.raises(InvalidInputError, match='key must be "shared" or "complete"'):
        await cache.check(asking("x"), key="full")  # type: ignore[arg-type]


# get_or_call


async def test_a_miss_calls_and_keeps_and_the_next_one_hits(cache: Cache) -> None:
    first = await cache.get_or_call(asking("x"), cache.call, ttl=60)
    assert (first.hit, first.origin, first.response, first.age_seconds) == (False, "call", "answer 1", 0.0)
    second = await cache.get_or_call(asking("x"), cache.call)
    assert (second.hit, second.origin, second.response, second.key) == (True, "cache", "answer 1", first.key)
    assert first.key is not None
    assert await cache.raw(first.key) == (b'{"response":"answer 1","model":"m","storedAt":1750000000000}', 60)
    assert (await cache.check(asking("x"))).response == "answer 1"
    assert cache.calls == 1


async def test_of_all_who_ask_in_two_workers_one_calls(cache: Cache, other: Cache) -> None:
    results = await asyncio.gather(
        *(worker.get_or_call(WHAT_IS_VALKEY, worker.call) for worker in (cache, other) for _ in range(20))
    )
    assert cache.calls + other.calls == 1
    assert {result.response for result in results} == {"answer 1"}
    # Who is so slow to ask that the answer is there by then has it from the cache.
    assert {result.origin for result in results} - {"cache"} == {"call", "shared"}
    assert [result.hit for result in results].count(False) == 1


async def test_what_waiting_for_anothers_call_saved_is_counted(cache: Cache) -> None:
    async def call() -> LlmAnswer:
        await asyncio.sleep(0.1)
        return LlmAnswer("r", tokens={"input": 1000, "output": 0})

    await asyncio.gather(*(cache.get_or_call(WHAT_IS_VALKEY, call) for _ in range(3)))
    assert await cache.counted() == {"llm:misses": 3, "llm:hits": 2, "cost_saved_micros": 5000}


async def test_a_call_may_return_blocks_or_say_more(cache: Cache) -> None:
    async def blocks() -> Any:
        return BLOCKS

    async def more() -> LlmAnswer:
        return LlmAnswer("r", tokens={"input": 7, "output": 3}, ttl=11)

    result = await cache.get_or_call(asking("blocks"), blocks)
    assert (result.response, result.content_blocks) == ("Hello world", BLOCKS)
    assert (await cache.check(asking("blocks"))).content_blocks == BLOCKS
    result = await cache.get_or_call(asking("more"), more, ttl=99)
    assert (result.input_tokens, result.output_tokens) == (7, 3)
    assert result.key is not None
    assert (await cache.raw(result.key))[1] == 11


async def test_an_answer_may_be_handed_out_without_being_kept(cache: Cache) -> None:
    async def cut_short() -> LlmAnswer:
        cache.calls += 1
        await asyncio.sleep(0.05)
        return LlmAnswer("half an ans", store=False)

    results = await asyncio.gather(*(cache.get_or_call(asking("x"), cut_short) for _ in range(3)))
    assert {result.response for result in results} == {"half an ans"}
    assert cache.calls == 1
    assert not (await cache.check(asking("x"))).hit


async def test_nobody_changes_the_blocks_of_another(cache: Cache) -> None:
    returned: list[Any] = [{"type": "text", "text": "as it was", "hints": {"of": (1, 2)}}]

    async def call() -> Any:
        await asyncio.sleep(0.05)
        return returned

    results = await asyncio.gather(*(cache.get_or_call(asking("x"), call) for _ in range(3)))
    as_found = [{"type": "text", "text": "as it was", "hints": {"of": [1, 2]}}]
    assert [result.content_blocks for result in results] == [as_found] * 3, "the first as who finds it later"
    for result in results:
        blocks: Any = result.content_blocks
        assert blocks[0]["text"] == "as it was"
        blocks[0]["text"] = "changed"
    assert returned[0]["text"] == "as it was"


async def test_an_error_of_the_call_is_raised_and_nothing_is_kept(cache: Cache) -> None:
    with pytest.raises(LookupError, match="no quota"):
        await cache.get_or_call(asking("x"), cache.failing_call)
    assert not (await cache.check(asking("x"))).hit
    assert (await cache.get_or_call(asking("x"), cache.call)).response == "answer 2"


@pytest.mark.parametrize("returned", [None, 5, [1], {"a": 1}])
async def test_an_answer_that_cannot_be_kept_is_refused(cache: Cache, returned: Any) -> None:
    async def call() -> Any:
        return returned

    with pytest.raises(InvalidInputError, match="blocks must be a list"):
        await cache.get_or_call(asking("x"), call)


async def test_a_call_that_is_no_async_function_is_refused(cache: Cache) -> None:
    with pytest.raises(InvalidInputError, match="^call must be an async function"):
        await cache.get_or_call(asking("x"), lambda: "at once")  # type: ignore[arg-type, return-value]
    for call in (None, "x", 5):
        with pytest.raises(InvalidInputError, match="^call must be an async function"):
            await cache.get_or_call(asking("x"), call)  # type: ignore[arg-type]


def test_an_answer_has_either_a_text_or_blocks() -> None:
    for arguments in ({}, {"response": "r", "content_blocks": []}):
        with pytest.raises(InvalidInputError, match="either a response or content_blocks"):
            LlmAnswer(**arguments)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="^ttl must be"):
        LlmAnswer("r", ttl=0)
    for response in (5, b"r", {"a": 1}, [BLOCKS[0]]):
        with pytest.raises(InvalidInputError, match="^response must be a text"):
            LlmAnswer(response)  # type: ignore[arg-type]
    for blocks in (5, "text", [5], [{"type": "text"}]):
        with pytest.raises(InvalidInputError, match="^blocks must be a list"):
            LlmAnswer(content_blocks=blocks)  # type: ignore[arg-type]


async def test_who_is_cancelled_while_asking_makes_nobody_wait(cache: Cache, other: Cache) -> None:
    chance = random.Random(3)

    async def trial(number: int) -> float:
        first = asyncio.create_task(cache.get_or_call(asking(number), cache.call, lease_seconds=8))
        await asyncio.sleep(chance.random() * 0.02)
        first.cancel()
        await asyncio.wait([first])
        started = monotonic()
        await other.get_or_call(asking(number), other.call, lease_seconds=8)
        return monotonic() - started

    assert max(await asyncio.gather(*map(trial, range(60)))) < 4


async def test_a_clear_while_a_call_is_under_way_disturbs_nobody(cache: Cache, other: Cache) -> None:
    async def slow() -> str:
        cache.calls += 1
        await asyncio.sleep(0.5)
        return "slow"

    first = asyncio.create_task(cache.get_or_call(asking("x"), slow))
    while not cache.calls:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert await cache.clear() == 0
    assert await cache.invalidate_by_model("m") == 0
    assert (await other.get_or_call(asking("x"), other.call)).response == "slow"
    assert (await first).origin == "call"
    assert other.calls == 0


# stale-while-revalidate


async def test_a_stale_answer_is_handed_out_at_once_and_refreshed_once(cache: Cache, other: Cache) -> None:
    first = await cache.get_or_call(asking("x"), cache.call, ttl=60, stale_seconds=40)
    assert first.key is not None
    raw, kept_seconds = await cache.raw(first.key)
    assert kept_seconds == 100
    assert json.loads(raw)["freshUntil"] == 1_750_000_060_000
    cache.now_ms += 59_999
    assert (await cache.get_or_call(asking("x"), cache.call, ttl=60, stale_seconds=40)).origin == "cache"
    cache.now_ms += 2
    other.now_ms = cache.now_ms
    results = await asyncio.gather(
        *(w.get_or_call(asking("x"), w.call, ttl=60, stale_seconds=40) for w in (cache, other) for _ in range(10))
    )
    assert {(result.hit, result.origin, result.response) for result in results} == {(True, "stale", "answer 1")}
    await cache.close()
    await other.close()
    assert cache.calls + other.calls == 2
    fresh = await cache.get_or_call(asking("x"), cache.call, ttl=60, stale_seconds=40)
    assert (fresh.origin, fresh.age_seconds) == ("cache", 0.0)
    assert cache.calls + other.calls == 2


async def test_who_takes_nothing_stale_gets_a_new_answer(cache: Cache) -> None:
    await cache.get_or_call(asking("x"), cache.call, ttl=60, stale_seconds=40)
    cache.now_ms += 60_000
    assert (await cache.check(asking("x"))).origin == "stale"
    result = await cache.get_or_call(asking("x"), cache.call, ttl=60)
    assert (result.origin, result.response) == ("call", "answer 2")


async def test_an_entry_of_another_writer_is_stale_by_ones_own_ttl(cache: Cache) -> None:
    key = llm_key(cache.name, asking("x")).shared
    await cache.engine.values.set(key, b'{"response":"old","model":"m","storedAt":1749999900000}')
    assert (await cache.get_or_call(asking("x"), cache.call, ttl=60)).origin == "cache"
    assert (await cache.get_or_call(asking("x"), cache.call, ttl=200, stale_seconds=60)).origin == "cache"
    assert (await cache.get_or_call(asking("x"), cache.call, ttl=60, stale_seconds=60)).origin == "stale"
    await cache.close()
    assert (await cache.check(asking("x"))).response == "answer 1"


async def test_a_refresh_that_fails_is_counted_and_the_stale_answer_stays(cache: Cache) -> None:
    await cache.get_or_call(asking("x"), cache.call, ttl=60, stale_seconds=60)
    cache.now_ms += 61_000
    result = await cache.get_or_call(asking("x"), cache.failing_call, ttl=60, stale_seconds=60)
    assert (result.origin, result.response) == ("stale", "answer 1")
    await cache.close()
    assert cache.watched.background_failure_count == 1
    assert (await cache.check(asking("x"))).response == "answer 1"


@pytest.mark.parametrize("returned", [None, LlmAnswer("half an ans", store=False)], ids=["error", "not kept"])
async def test_after_a_refresh_that_brought_nothing_all_workers_wait_before_the_next(
    cache: Cache, other: Cache, monkeypatch: pytest.MonkeyPatch, returned: LlmAnswer | None
) -> None:
    monkeypatch.setattr(single_flight, "FIRST_REFRESH_PAUSE_SECONDS", 3)
    attempts: list[str] = []

    async def call() -> LlmAnswer:
        attempts.append("failing")
        if returned is None:
            raise LookupError("no quota")
        return returned

    async def ask(worker: Cache, call: Any) -> str | None:
        result = await worker.get_or_call(asking("x"), call, ttl=60, stale_seconds=60)
        await worker.close()
        return result.origin

    await ask(cache, cache.call)
    cache.now_ms = other.now_ms = cache.now_ms + 61_000
    for _ in range(20):
        assert await ask(cache, call) == "stale"
        assert await ask(other, call) == "stale"
    assert len(attempts) == 1
    await asyncio.sleep(3.1)
    assert await ask(cache, call) == "stale"
    assert len(attempts) == 2
    assert (await cache.get_or_call(asking("x"), cache.call, ttl=60)).origin == "call", "who waits for it may call"
    cache.now_ms += 61_000
    await cache.engine.values.set(llm_key(cache.name, asking("x")).shared, b'{"response":"old","storedAt":1}')
    before = cache.calls
    assert await ask(cache, cache.call) == "stale"
    assert cache.calls == before + 1, "and what it brought ended the pause"


async def test_times_that_are_too_long_together_are_refused_and_lose_no_answer(cache: Cache) -> None:
    with pytest.raises(InvalidInputError, match="^ttl=10000000000 and stale_seconds=1 must not be more than"):
        await cache.get_or_call(asking("x"), cache.call, ttl=10**10, stale_seconds=1)
    assert cache.calls == 0

    async def call() -> LlmAnswer:
        return LlmAnswer("paid for", ttl=10**10)

    result = await cache.get_or_call(asking("x"), call, ttl=60, stale_seconds=60)
    assert (result.response, result.origin, result.key) == ("paid for", "call", llm_key(cache.name, asking("x")).shared)
    assert (await cache.check(asking("x"))).origin == "cache"


async def test_stale_seconds_without_a_ttl_is_refused(cache: Cache) -> None:
    with pytest.raises(InvalidInputError, match="^stale_seconds=5 needs a ttl"):
        await cache.get_or_call(asking("x"), cache.call, stale_seconds=5)
    assert cache.calls == 0


# deleting


async def test_the_answers_of_a_model_go_and_no_others(cache: Cache) -> None:
    for number in range(3):
        await cache.store(asking(number), "r")
    python = llm_key(cache.name, asking("p", temperature=0.0)).python
    assert python is not None
    await cache.engine.values.set(python, b'{"response":"theirs","model":"m","storedAt":1}')
    kept = await cache.store(asking(0) | {"model": "m2"}, "r")
    corrupt = llm_key(cache.name, asking("corrupt")).shared
    await cache.engine.values.set(corrupt, b"{{{")
    assert await cache.invalidate_by_model("m") == 4
    assert await cache.invalidate_by_model("m") == 0
    assert await cache.engine.values.get(kept)
    assert await cache.engine.values.get(corrupt)
    with pytest.raises(InvalidInputError, match="^model must be a text"):
        await cache.invalidate_by_model(None)  # type: ignore[arg-type]


async def test_a_clear_touches_nothing_but_the_answers_of_this_cache(cache: Cache) -> None:
    values, name = cache.engine.values, cache.name
    inner = Cache(cache.engine, f"{name}:llm")
    neighbours = [await inner.store(asking(1), "r"), await Cache(cache.engine, f"{name}2").store(asking(1), "r")]
    for key in (f"{name}:tool:t:{'0' * 64}", f"{name}:session:llm:f", f"{name}:mem:1", f"{name}:__llm_flight:1"):
        await values.set(key, b"v")
        neighbours.append(key)
    await values.write_map(f"{name}:llm:__stats", {"llm:hits": b"1"})
    for number in range(3):
        await cache.store(asking(number), "r")
    await values.set(llm_key(name, asking("corrupt")).shared, b"{{{")
    assert await cache.clear() == 4
    assert await cache.clear() == 0
    assert [key for key in neighbours if await values.get(key) is None] == []
    assert await values.read_map(f"{name}:llm:__stats") == {"llm:hits": b"1"}
    assert (await inner.check(asking(1))).hit


async def test_an_answer_that_is_stored_anew_while_its_model_is_deleted_stays(cache: Cache) -> None:
    keys = [await cache.store(asking(number), "old") for number in range(1_000)]
    new = json.dumps({"response": "new", "model": "another", "storedAt": 1}).encode()

    async def store_anew() -> None:
        for key in keys:
            await cache.engine.values.set(key, new)

    await asyncio.gather(store_anew(), *(cache.invalidate_by_model("m") for _ in range(5)))
    lost = [key for key in keys if await cache.engine.values.get(key) != new]
    assert lost == []


# round trips, and no server


async def test_round_trips(valkey_server: ValkeyServer, store_name: str) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url)
    cache = Cache(engine, store_name)

    async def trips(work: Any) -> int:
        before = engine.round_trips
        await work
        return engine.round_trips - before

    await engine.leases.acquire("warm", "up", ttl_seconds=1, lasting=False)
    await engine.leases.release("warm", "up")
    await cache.clear()
    warm_up = asking("warm up", temperature=0.0)
    await cache.get_or_call(warm_up, cache.call)
    await cache.statistics.flush()
    params = asking("counted", temperature=0.0)
    assert llm_key(store_name, params).python is not None
    assert await trips(cache.check(params)) == 1, "a miss, under both keys"
    assert await trips(cache.store(params, "r")) == 1
    assert await trips(cache.check(params)) == 1, "a hit"
    assert await trips(cache.get_or_call(params, cache.call)) == 1
    assert await trips(cache.get_or_call(asking("missing"), cache.call)) == 5

    async def refresh(call: Any) -> None:
        await cache.get_or_call(asking("stale"), call, ttl=60, stale_seconds=60)
        await cache.close()

    await refresh(cache.call)
    cache.now_ms += 61_000
    assert await trips(refresh(cache.call)) == 1 + 5, "a stale hit, and the refresh"
    await Cache(engine, store_name)._pauses.begin(f"{store_name}:__llm_flight:{llm_hash(store_name, 'stale')}")
    cache.now_ms += 61_000
    assert await trips(refresh(cache.failing_call)) == 1 + 3, "another worker's has just failed"
    assert await trips(refresh(cache.failing_call)) == 1
    await cache.statistics.flush()
    await cache.check(params)
    assert await trips(cache.statistics.flush()) == 1
    await engine.close()


async def test_without_a_server_the_call_is_made_once_all_the_same(
    store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = ValkeyEngine.from_url(f"valkey://127.0.0.1:{free_port()}")
    cache = Cache(engine, store_name)
    with pytest.raises(EngineUnavailableError):
        await cache.check(asking("x"))
    with pytest.raises(AgentMemoryError):
        await cache.store(asking("x"), "r")
    results = await asyncio.gather(*(cache.get_or_call(asking("x"), cache.call) for _ in range(5)))
    assert {result.response for result in results} == {"answer 1"}
    assert cache.calls == 1
    assert cache.watched.background_failure_count >= 5
    said = [record.getMessage() for record in caplog.records if "cannot be asked" in record.getMessage()]
    assert len(said) == 1, "not for each of them"
    await engine.close()


async def test_an_answer_that_was_paid_for_is_handed_out_when_the_server_has_gone(store_name: str) -> None:
    with ValkeyServer(search=False) as server:
        engine = ValkeyEngine.from_url(server.url)
        cache = Cache(engine, store_name)

        async def call() -> str:
            await asyncio.to_thread(server.stop)
            return "paid for"

        result = await cache.get_or_call(asking("x"), call)
        assert (result.response, result.origin) == ("paid for", "call")
        assert cache.watched.background_failure_count >= 1
        await engine.close()


async def test_a_wrong_password_is_an_error_before_anything_is_paid(store_name: str) -> None:
    with ValkeyServer(search=False, password="right") as server:
        engine = ValkeyEngine.from_url(f"valkey://:wrong@127.0.0.1:{server.port}")
        cache = Cache(engine, store_name)
        with pytest.raises(AuthenticationFailedError):
            await cache.get_or_call(asking("x"), cache.call)
        assert cache.calls == 0
        await engine.close()


# several processes


class Workers:
    """Processes of `llm_worker` on one place."""

    def __init__(self, place: str, name: str, stack: ExitStack) -> None:
        self._place = place
        self._name = name
        self._stack = stack

    def start(self, callers: int, seconds: float) -> subprocess.Popen[str]:
        """A process that is ready to begin."""
        arguments = ["tests.caches.llm_worker", self._place, self._name, str(callers), str(seconds)]
        process = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-W", "error", "-m", *arguments],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        self._stack.callback(process.kill)
        assert self.line(process) == "ready"
        return process

    def go(self, *processes: subprocess.Popen[str]) -> None:
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()

    def line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout
        return process.stdout.readline().strip()

    def origins(self, process: subprocess.Popen[str]) -> dict[str, int]:
        while (line := self.line(process)) == "calling":
            pass
        counts: dict[str, int] = json.loads(line)
        return counts

    async def calls(self) -> int:
        engine: Engine = ValkeyEngine.from_url(self._place) if "://" in self._place else EmbeddedEngine(self._place)
        made = await engine.values.read_map(f"{self._name}:__calls")
        await engine.close()
        return int(made.get("made", b"0"))


@pytest.fixture(params=["server", "file"])
def workers(
    request: pytest.FixtureRequest, valkey_server: ValkeyServer, tmp_path: Path, store_name: str
) -> Iterator[Workers]:
    place = valkey_server.url if request.param == "server" else str(tmp_path / "memory.db")
    with ExitStack() as stack:
        yield Workers(place, store_name, stack)


async def test_a_hundred_misses_at_once_on_four_processes_are_one_call(workers: Workers) -> None:
    processes = [workers.start(25, 0.5) for _ in range(4)]
    workers.go(*processes)
    origins = [workers.origins(process) for process in processes]
    assert await workers.calls() == 1
    assert sum(sum(counts.values()) for counts in origins) == 100
    assert sum(counts.get("call", 0) for counts in origins) == 1


async def test_when_the_leader_is_killed_there_is_one_more_call_and_nobody_hangs(workers: Workers) -> None:
    leader = workers.start(5, 600)
    followers = [workers.start(10, 0.5) for _ in range(3)]
    workers.go(leader)
    assert workers.line(leader) == "calling"
    workers.go(*followers)
    await asyncio.sleep(0.5)
    leader.kill()
    started = monotonic()
    origins = [workers.origins(process) for process in followers]
    assert monotonic() - started < 30, "the lease of two seconds and the call; the killed one would have taken 600"
    assert await workers.calls() == 2
    assert sum(counts.get("call", 0) for counts in origins) == 1
