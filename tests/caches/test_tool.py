"""Results of tools: found by anyone who asks the same, gone when asked, and counted, on every engine."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from betterdb_agent_memory.caches.deferred import DeferredWrites
from betterdb_agent_memory.caches.keys import tool_key
from betterdb_agent_memory.caches.policies import ToolPolicies, ToolPolicy
from betterdb_agent_memory.caches.results import ToolStoreOptions
from betterdb_agent_memory.caches.tool import ToolCache
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import EngineUnavailableError, InvalidInputError
from betterdb_agent_memory.options import TelemetryOptions
from tests.proxy import Proxy
from tests.servers import ValkeyServer, free_port
from tests.waiting import NEVER_SECONDS

NOW_MS = 1_750_000_000_000
EMPTY = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
"""The hash of no arguments, as the wire contract states it."""


class Worker:
    """A tool cache with what it stands on."""

    def __init__(self, engine: Engine, name: str, ttl_seconds: int | None = None) -> None:
        self.engine = engine
        self.name = name
        self.registry = CollectorRegistry()
        self.watch = CacheWatch(name, TelemetryOptions(registry=self.registry))
        self.deferred = DeferredWrites(
            engine.values, f"{name}:__stats", interval_seconds=NEVER_SECONDS, on_failure=lambda: None
        )
        self.policies = ToolPolicies(name, values=engine.values, watch=self.watch)
        self.tool = ToolCache(
            name,
            engine=engine,
            watch=self.watch,
            deferred=self.deferred,
            policies=self.policies,
            ttl_seconds=ttl_seconds,
            clock=lambda: NOW_MS,
        )

    def key(self, tool: str, hash: str) -> str:
        return f"{self.name}:tool:{tool}:{hash}"

    async def raw(self, key: str) -> bytes | None:
        return await self.engine.values.get(key)

    async def put(self, key: str, value: bytes) -> None:
        await self.engine.values.set(key, value)

    async def ttl(self, key: str) -> float | None:
        batch = self.engine.values.batch()
        reply = batch.get_with_expiry(key)
        await batch.send()
        stored = reply.result()
        assert stored is not None
        return None if stored.left_ms is None else stored.left_ms / 1000

    async def counts(self) -> dict[str, int]:
        await self.deferred.flush()
        fields = await self.engine.values.read_map(f"{self.name}:__stats")
        return {field: int(value) for field, value in fields.items()}

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"agent_cache_{name}", {"cache_name": self.name, **labels}) or 0


@pytest.fixture
async def worker(engine: Engine, store_name: str) -> AsyncIterator[Worker]:
    made = Worker(engine, store_name)
    yield made
    await made.deferred.close()


async def test_what_was_stored_is_found_by_the_same_arguments_in_any_order(worker: Worker) -> None:
    key = await worker.tool.store("get_weather", {"city": "Sofia", "units": "c"}, "12 °C")
    assert key == worker.key("get_weather", "bb49d3935839cafc7c44c47631f901786906014f61ee11e9a38019253df61092")
    assert (
        await worker.raw(key)
        == (
            '{"response":"12 °C","toolName":"get_weather","args":{"city":"Sofia","units":"c"},"storedAt":1750000000000}'
        ).encode()
    )
    hit = await worker.tool.check("get_weather", {"units": "c", "city": "Sofia"})
    assert (hit.hit, hit.tool_name, hit.tier, hit.response, hit.key) == (True, "get_weather", "tool", "12 °C", key)
    miss = await worker.tool.check("get_weather", {"city": "Sofia"})
    assert (miss.hit, miss.tool_name, miss.tier, miss.response, miss.key) == (False, "get_weather", "tool", None, None)
    assert not (await worker.tool.check("get_weathers", {"city": "Sofia", "units": "c"})).hit


async def test_no_arguments_are_an_empty_mapping_and_stay_as_given(worker: Worker) -> None:
    key = await worker.tool.store("now", None, "12:00")
    assert key == worker.key("now", EMPTY)
    assert json.loads(await worker.raw(key) or b"")["args"] is None
    assert (await worker.tool.check("now", {})).response == "12:00"


async def test_an_empty_text_is_a_result(worker: Worker) -> None:
    await worker.tool.store("t", {}, "")
    hit = await worker.tool.check("t", {})
    assert (hit.hit, hit.response) == (True, "")


@given(
    args=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    response=st.text(),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_json_can_be_asked_for_and_any_text_answered(worker: Worker, args: Any, response: str) -> None:
    await worker.tool.store("t", args, response)
    assert (await worker.tool.check("t", args)).response == response
    assert await worker.tool.invalidate("t", args)
    assert not (await worker.tool.check("t", args)).hit
    assert not await worker.tool.invalidate("t", args)


# Bad input


@pytest.mark.parametrize("name", ["bad:name", "", 5, None, "\ud800"])
async def test_a_name_that_no_tool_can_have_is_refused_before_anything_is_sent(worker: Worker, name: Any) -> None:
    before = worker.engine.round_trips
    for refused in (
        worker.tool.check(name, {}),
        worker.tool.store(name, {}, "x"),
        worker.tool.set_policy(name, ToolPolicy(1)),
    ):
        with pytest.raises(InvalidInputError, match="name"):
            await refused
    assert worker.engine.round_trips == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"response": {"a": 1}}, "response"),
        ({"response": b"x"}, "response"),
        ({"response": None}, "response"),
        ({"args": {"callback": print}}, "callback"),
        ({"options": {"ttl": 0}}, "ttl"),
        ({"options": {"ttl": 1.5}}, "ttl"),
        ({"options": {"ttl": "60"}}, "ttl"),
        ({"options": {"ttl": True}}, "ttl"),
        ({"options": {"cost": -1}}, "cost"),
        ({"options": {"cost": float("nan")}}, "cost"),
        ({"options": {"price": 1}}, "options"),
        ({"options": 60}, "options"),
    ],
)
async def test_what_cannot_be_stored_is_named_and_nothing_is_written(
    worker: Worker, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidInputError, match=named):
        await worker.tool.store(**{"tool_name": "t", "args": {}, "response": "x", **arguments})
    assert [page async for page in worker.engine.values.scan_keys(f"{worker.name}:") if page] == []


# Expiry


async def test_the_first_ttl_that_is_set_holds(engine: Engine, store_name: str) -> None:
    worker = Worker(engine, store_name, ttl_seconds=200)
    await worker.tool.set_policy("p", ToolPolicy(77))
    of_call = await worker.tool.store("p", {}, "x", ToolStoreOptions(ttl=5))
    of_policy = await worker.tool.store("p", {"a": 1}, "x")
    of_tier = await worker.tool.store("q", {}, "x")
    for key, ttl in ((of_call, 5), (of_policy, 77), (of_tier, 200)):
        assert await worker.ttl(key) == pytest.approx(ttl, abs=2)
    await worker.tool.remove_policy("p")
    assert await worker.ttl(await worker.tool.store("p", {"a": 2}, "x")) == pytest.approx(200, abs=2)


async def test_without_any_ttl_a_result_never_expires(worker: Worker) -> None:
    key = await worker.tool.store("q", {}, "x", {"ttl": 100})
    assert await worker.ttl(key) == pytest.approx(100, abs=2)
    assert await worker.ttl(await worker.tool.store("q", {}, "x")) is None


async def test_a_result_is_gone_when_its_time_is_up(worker: Worker) -> None:
    await worker.tool.store("q", {}, "x", {"ttl": 3})
    assert (await worker.tool.check("q", {})).hit
    await asyncio.sleep(3.2)
    assert not (await worker.tool.check("q", {})).hit


# Entries of others


async def test_a_result_under_the_published_python_spelling_is_found_in_the_same_round_trip(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        worker = Worker(engine, store_name)
        args = {"x": 1.0}
        theirs = tool_key(store_name, "t", args).python
        assert theirs is not None
        assert not (await worker.tool.check("t", args)).hit
        await worker.put(theirs, b'{"response":"theirs","toolName":"t","args":{"x":1.0},"storedAt":1}')
        before = proxy.round_trips
        hit = await worker.tool.check("t", args)
        assert proxy.round_trips == before + 1
        assert (hit.response, hit.key) == ("theirs", theirs)
        ours = await worker.tool.store("t", args, "ours")
        assert (await worker.tool.check("t", args)).response == "ours"
        # Both spellings go, else theirs would come back.
        assert await worker.tool.invalidate("t", args)
        assert await worker.raw(theirs) is None
        assert await worker.raw(ours) is None
        await worker.put(theirs, b'{"response":"theirs"}')
        assert await worker.tool.invalidate("t", args)
        assert not await worker.tool.invalidate("t", args)
        await worker.deferred.close()
        await engine.close()


async def test_a_round_trip_each(valkey_server: ValkeyServer, store_name: str) -> None:
    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        worker = Worker(engine, store_name)
        await worker.tool.store("t", {"q": 1}, "x")
        for work in (
            lambda: worker.tool.store("t", {"q": 1}, "x", {"cost": 0.1}),
            lambda: worker.tool.check("t", {"q": 1}),
            lambda: worker.tool.check("t", {"q": 2}),
            lambda: worker.tool.check("t", {"q": 3.0}),
            lambda: worker.tool.invalidate("t", {"q": 1.0}),
            lambda: worker.tool.set_policy("t", ToolPolicy(5)),
            worker.tool.refresh_policies,
            # The counts of everything above.
            worker.deferred.flush,
        ):
            before = proxy.round_trips
            await work()
            assert proxy.round_trips == before + 1
        await engine.close()


@pytest.mark.parametrize(
    "value",
    [b"{broken", b"null", b"5", b"[]", b'"x"', b"{}", b'{"response":null}', b'{"response":5}', b"\xff", b"[" * 100_000],
)
async def test_what_is_no_entry_is_deleted_and_counted_as_a_miss(worker: Worker, value: bytes) -> None:
    key = worker.key("t", EMPTY)
    await worker.put(key, value)
    assert not (await worker.tool.check("t", {})).hit
    assert await worker.raw(key) is None
    assert await worker.counts() == {"tool:misses": 1, "tool:t:misses": 1}
    assert worker.watch.corrupt_count == 1


async def test_an_empty_string_is_a_miss_and_an_entry_of_few_members_a_hit(worker: Worker) -> None:
    key = worker.key("t", EMPTY)
    await worker.put(key, b"")
    assert not (await worker.tool.check("t", {})).hit
    assert worker.watch.corrupt_count == 0
    await worker.put(key, b'{"response":"ok"}')
    assert (await worker.tool.check("t", {})).response == "ok"


async def test_a_corrupt_entry_does_not_hide_the_published_one(worker: Worker) -> None:
    where = tool_key(worker.name, "t", {"x": 1.0})
    assert where.python is not None
    await worker.put(where.shared, b"{")
    await worker.put(where.python, b'{"response":"theirs"}')
    assert (await worker.tool.check("t", {"x": 1.0})).response == "theirs"
    assert await worker.raw(where.shared) is None


# Statistics


async def test_every_check_is_counted(worker: Worker) -> None:
    await worker.tool.store("paid", {"q": 1}, "r", ToolStoreOptions(cost=0.0015))
    await worker.tool.store("free", {}, "r")
    for tool, args in (("paid", {"q": 1}), ("paid", {"q": 1}), ("paid", {"q": 2}), ("free", None)):
        await worker.tool.check(tool, args)
    assert await worker.counts() == {
        "tool:hits": 3,
        "tool:misses": 1,
        "tool:paid:hits": 2,
        "tool:paid:misses": 1,
        "tool:free:hits": 1,
        "cost_saved_micros": 3000,
        "tool:paid:cost_saved_micros": 3000,
    }
    assert worker.metric("requests_total", tier="tool", result="hit", tool_name="paid") == 2
    assert worker.metric("requests_total", tier="tool", result="miss", tool_name="paid") == 1
    assert worker.metric("cost_saved_total", tier="tool", model="", tool_name="paid") == pytest.approx(0.003)
    assert worker.metric("operation_duration_seconds_count", tier="tool", operation="check") == 4


@pytest.mark.parametrize(("dollars", "micros"), [(12.5e-6, 13), (5e-7, 1), (4.9e-7, None), (0, None), (1.5, 1_500_000)])
async def test_half_a_millionth_counts_as_one(worker: Worker, dollars: float, micros: int | None) -> None:
    await worker.tool.store("t", {}, "r", {"cost": dollars})
    await worker.tool.check("t", {})
    assert (await worker.counts()).get("cost_saved_micros") == micros


@pytest.mark.parametrize("cost", ["1e300", "-5", '"x"', "1e400", "NaN", "true", "null", "{}"])
async def test_a_cost_that_somebody_else_left_does_not_spoil_the_counts(worker: Worker, cost: str) -> None:
    await worker.put(worker.key("t", EMPTY), f'{{"response":"ok","cost":{cost}}}'.encode())
    assert (await worker.tool.check("t", {})).hit
    assert await worker.counts() == {"tool:hits": 1, "tool:t:hits": 1}


async def test_the_stored_bytes_are_counted(worker: Worker) -> None:
    key = await worker.tool.store("t", {"ключ": "стойност"}, "RES")
    raw = await worker.raw(key)
    assert raw is not None
    assert worker.metric("stored_bytes_total", tier="tool") == len(raw)


# Invalidation


async def test_a_tool_is_invalidated_without_its_namesakes(worker: Worker) -> None:
    values = worker.engine.values
    await worker.tool.store("a", {"n": 1}, "x")
    await worker.tool.store("a", {"n": 2.0}, "x")
    await worker.put(tool_key(worker.name, "a", {"n": 3.0}).python or "", b'{"response":"theirs"}')
    others = [
        await worker.tool.store("ab", {}, "x"),
        await worker.tool.store("A", {}, "x"),
        await worker.tool.store("*", {}, "x"),
        # Another cache has a name that begins with ours; a lease, and whatever else is no result.
        f"{worker.name}:tool:a:tool:t:{EMPTY}",
        f"{worker.name}:tool:a:llm:{EMPTY}",
        f"{worker.name}:tool:a:{EMPTY}:lease",
        f"{worker.name}:tool:a:{EMPTY.upper()}",
        f"{worker.name}:tool:a:__stats",
        f"{worker.name}:llm:{EMPTY}",
        f"x{worker.name}:tool:a:{EMPTY}",
    ]
    for key in others[3:]:
        await values.set(key, b"x")
    assert await worker.tool.invalidate_by_tool("a:tool:t") == 0
    assert await worker.tool.invalidate_by_tool("a:llm") == 0
    assert await worker.tool.invalidate("a:tool:t", {}) is False
    assert await worker.tool.invalidate_by_tool("a") == 3
    assert await worker.tool.invalidate_by_tool("a") == 0
    for key in others:
        assert await values.get(key) is not None, key
    assert await worker.tool.invalidate_by_tool("*") == 1
    assert await values.get(others[0]) is not None


async def test_thousands_of_results_are_invalidated(worker: Worker) -> None:
    batch = worker.engine.values.batch()
    for number in range(2500):
        batch.set(tool_key(worker.name, "t", {"n": number}).shared, b"{}")
    await batch.send()
    assert await worker.tool.invalidate_by_tool("t") == 2500


# Policies, through the cache


async def test_policies_are_reached_through_the_cache(worker: Worker) -> None:
    await worker.tool.set_policy("b", ToolPolicy(600))
    await worker.engine.values.write_map(
        f"{worker.name}:__tool_policies", {"ext": b'{"ttl": 42, "extra": 1}', "broken": b"{", "nottl": b'{"a":1}'}
    )
    await worker.tool.load_policies()
    assert worker.tool.get_policy("ext") == ToolPolicy(42)
    assert worker.tool.get_policy("b") == ToolPolicy(600)
    assert worker.tool.get_policy("broken") is worker.tool.get_policy("nottl") is None
    assert sorted(worker.tool.list_policy_names()) == ["b", "ext"]
    assert await worker.ttl(await worker.tool.store("ext", {}, "RES")) == pytest.approx(42, abs=2)
    await worker.engine.values.remove_fields(f"{worker.name}:__tool_policies", ["ext"])
    assert await worker.tool.refresh_policies()
    assert worker.tool.get_policy("ext") is None
    worker.tool.reset_policies()
    assert worker.tool.list_policy_names() == []


# Failures


async def test_no_server_is_an_error_and_not_a_miss(store_name: str) -> None:
    engine = ValkeyEngine.from_url(f"valkey://127.0.0.1:{free_port()}")
    worker = Worker(engine, store_name)
    for work in (
        worker.tool.check("t", {}),
        worker.tool.store("t", {}, "x"),
        worker.tool.invalidate("t", {}),
        worker.tool.invalidate_by_tool("t"),
    ):
        with pytest.raises(EngineUnavailableError):
            await work
    assert not await worker.tool.refresh_policies()
    assert worker.metric("requests_total", tier="tool", result="miss", tool_name="t") == 0
    await engine.close()


def test_what_is_published_can_be_called_with_the_published_names() -> None:
    parameters = {
        name: [*inspect.signature(getattr(ToolCache, name)).parameters][1:]
        for name in ("check", "store", "set_policy", "get_policy", "invalidate", "invalidate_by_tool")
    }
    assert parameters == {
        "check": ["tool_name", "args"],
        "store": ["tool_name", "args", "response", "options"],
        "set_policy": ["tool_name", "policy"],
        "get_policy": ["tool_name"],
        "invalidate": ["tool_name", "args"],
        "invalidate_by_tool": ["tool_name"],
    }
