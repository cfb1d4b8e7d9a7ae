"""Policies of single tools: what is stored, what is understood, and that no order of arrival matters."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from uuid import uuid4

import pytest
import valkey.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.caches.policies import (
    REFRESH_SECONDS,
    ToolPolicies,
    ToolPolicy,
    decode_policies,
    decode_policy,
    encode_policy,
)
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import EngineUnavailableError, InvalidInputError
from tests.proxy import Proxy
from tests.servers import ValkeyServer, free_port
from tests.waiting import NEVER_SECONDS, until

TOOLS = ["a", "b", "c"]


def policies_on(engine: Engine, name: str, **options: Any) -> ToolPolicies:
    return ToolPolicies(name, values=engine.values, watch=CacheWatch(name), **options)


def ttls(policies: ToolPolicies) -> dict[str, int]:
    return {tool: policy.ttl for tool, policy in policies.current.items()}


async def stored(engine: Engine, name: str) -> dict[str, bytes]:
    return await engine.values.read_map(f"{name}:__tool_policies")


async def write(engine: Engine, name: str, **entries: str | bytes) -> None:
    fields = {tool: entry.encode() if isinstance(entry, str) else entry for tool, entry in entries.items()}
    await engine.values.write_map(f"{name}:__tool_policies", fields)


# What is stored


def test_the_stored_text_is_that_of_the_typescript_package() -> None:
    assert encode_policy(ToolPolicy(300)) == b'{"ttl":300}'


@given(st.integers(1, 10**10))
def test_both_published_spellings_are_read(ttl: int) -> None:
    compact, spaced = json.dumps({"ttl": ttl}, separators=(",", ":")), json.dumps({"ttl": ttl})
    assert decode_policy(compact.encode()) == decode_policy(spaced.encode()) == ToolPolicy(ttl)
    assert decode_policy(encode_policy(ToolPolicy(ttl))) == ToolPolicy(ttl)


UNUSABLE = {
    "no JSON": b"{",
    "empty": b"",
    "no UTF-8": b"\xff",
    "a number": b"5",
    "a list": b"[60]",
    "a text": b'"ttl"',
    "null": b"null",
    "no ttl": b'{"a":1}',
    "ttl null": b'{"ttl":null}',
    "ttl text": b'{"ttl":"60"}',
    "ttl true": b'{"ttl":true}',
    "ttl 0": b'{"ttl":0}',
    "ttl negative": b'{"ttl":-5}',
    "ttl with a fraction": b'{"ttl":1.5}',
    "ttl infinite": b'{"ttl":1e999}',
    "ttl no number": b'{"ttl":NaN}',
    "ttl enormous": b'{"ttl":' + b"9" * 5000 + b"}",
    "very deep": b"[" * 100_000,
}


@pytest.mark.parametrize("value", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_an_entry_that_cannot_be_used_harms_no_other(value: bytes) -> None:
    policies, unusable = decode_policies({"bad": value, "good": b'{"ttl": 42, "extra": 1}', "whole": b'{"ttl":60.0}'})
    assert policies == {"good": ToolPolicy(42), "whole": ToolPolicy(60)}
    assert unusable.keys() == {"bad"}


@given(
    st.dictionaries(
        st.text(),
        st.binary()
        | st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ttl", "x"]), inner, max_size=2)
            ),
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_every_entry_is_either_a_policy_or_named(fields: dict[str, bytes]) -> None:
    policies, unusable = decode_policies(fields)
    assert policies.keys() | unusable.keys() == fields.keys()
    assert not policies.keys() & unusable.keys()
    assert all(type(policy.ttl) is int and policy.ttl >= 1 for policy in policies.values())


@pytest.mark.parametrize("ttl", [0, -1, 1.5, "60", True, None, float("nan")])
def test_a_policy_needs_whole_seconds(ttl: Any) -> None:
    with pytest.raises(InvalidInputError, match="ttl"):
        ToolPolicy(ttl)


# One worker


async def test_a_policy_is_written_and_applied(engine: Engine, store_name: str) -> None:
    policies = policies_on(engine, store_name)
    before = policies.current
    await policies.set("get_weather", ToolPolicy(600))
    assert await stored(engine, store_name) == {"get_weather": b'{"ttl":600}'}
    assert ttls(policies) == {"get_weather": 600}
    assert before == {}
    assert await policies.remove("get_weather")
    assert not await policies.remove("get_weather")
    assert ttls(policies) == {}
    assert await stored(engine, store_name) == {}


@pytest.mark.parametrize("tool", ["x:y", "", "\ud800", 5, None])
async def test_a_name_that_no_tool_can_have_is_refused_before_anything_is_written(
    engine: Engine, store_name: str, tool: Any
) -> None:
    policies = policies_on(engine, store_name)
    with pytest.raises(InvalidInputError, match="tool's name"):
        await policies.set(tool, ToolPolicy(1))
    assert await stored(engine, store_name) == {}
    assert ttls(policies) == {}


async def test_a_policy_that_nobody_can_use_can_be_taken_away(engine: Engine, store_name: str) -> None:
    policies = policies_on(engine, store_name)
    await write(engine, store_name, **{"x:y": '{"ttl":5}'})
    await policies.refresh()
    assert policies.unusable.keys() == {"x:y"}
    assert await policies.remove("x:y")
    assert await stored(engine, store_name) == {}
    for name in ("\ud800", 5, None):
        with pytest.raises(InvalidInputError, match="tool's name"):
            await policies.remove(name)  # type: ignore[arg-type]


async def test_a_refresh_replaces_the_whole_map(engine: Engine, store_name: str) -> None:
    policies = policies_on(engine, store_name)
    await policies.set("mine", ToolPolicy(5))
    await write(engine, store_name, theirs='{"ttl": 42, "extra": 1}', broken="{", nottl='{"a":1}', number="5")
    assert await policies.refresh()
    assert ttls(policies) == {"mine": 5, "theirs": 42}
    assert policies.unusable.keys() == {"broken", "nottl", "number"}
    await engine.values.remove_fields(f"{store_name}:__tool_policies", ["mine", "theirs", "broken"])
    assert await policies.refresh()
    assert ttls(policies) == {}
    assert policies.unusable.keys() == {"nottl", "number"}


async def test_an_unusable_entry_is_logged_and_counted_once(
    engine: Engine, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    watch = CacheWatch(store_name)
    policies = ToolPolicies(store_name, values=engine.values, watch=watch)
    await write(engine, store_name, broken="[1]", good='{"ttl":1}')
    with caplog.at_level(logging.WARNING, logger="betterdb_agent_memory"):
        await policies.refresh()
        await policies.refresh()
        assert [record.getMessage().count("'broken'") for record in caplog.records] == [1]
        assert watch.corrupt_count == 1
        await write(engine, store_name, broken="[2]", other="")
        await policies.refresh()
    assert len(caplog.records) == 3
    assert watch.corrupt_count == 3


async def test_a_read_that_fails_keeps_the_policies_and_is_counted(
    valkey_server: ValkeyServer, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        watch = CacheWatch(store_name)
        policies = ToolPolicies(store_name, values=engine.values, watch=watch)
        await policies.set("a", ToolPolicy(7))
        # A string in the map's place: the server refuses to read it as a map.
        other = ValkeyEngine.from_url(valkey_server.url)
        await other.values.set(f"{store_name}:__tool_policies", b"x")
        assert not await policies.refresh()
        assert ttls(policies) == {"a": 7}
        assert policies.refresh_failures == watch.background_failure_count == 1
        assert "stay" in caplog.text
        await other.values.delete(f"{store_name}:__tool_policies")
        assert await policies.refresh()
        assert ttls(policies) == {}
        await engine.close()
        await other.close()


async def test_a_policy_that_was_not_written_is_not_applied(store_name: str) -> None:
    engine = ValkeyEngine.from_url(f"valkey://127.0.0.1:{free_port()}")
    policies = policies_on(engine, store_name)
    with pytest.raises(EngineUnavailableError):
        await policies.set("a", ToolPolicy(7))
    assert ttls(policies) == {}
    await engine.close()


# The background


def test_the_map_is_read_every_thirty_seconds_and_never_more_often_than_each_second() -> None:
    assert REFRESH_SECONDS == 30


async def test_other_workers_follow_within_an_interval(engine: Engine, store_name: str) -> None:
    await write(engine, store_name, a='{"ttl": 1}')
    policies = policies_on(engine, store_name, interval_seconds=0.001)
    started = asyncio.get_running_loop().time()
    policies.start()
    policies.start()
    try:
        await policies.wait_read()
        assert ttls(policies) == {"a": 1}
        await write(engine, store_name, a="5", b='{"ttl": 2}')
        await until(lambda: ttls(policies) == {"b": 2})
        # The floor of one second holds, and an entry that is no object does not end the reads (F 35).
        assert asyncio.get_running_loop().time() - started > 0.9
        await write(engine, store_name, a='{"ttl": 3}')
        await until(lambda: ttls(policies) == {"a": 3, "b": 2})
    finally:
        await policies.stop()
    await policies.wait_read()
    await write(engine, store_name, a='{"ttl": 4}')
    await asyncio.sleep(1.2)
    assert ttls(policies) == {"a": 3, "b": 2}


async def test_a_change_of_ones_own_hides_no_other_until_the_next_interval(engine: Engine, store_name: str) -> None:
    mine, another = policies_on(engine, store_name), policies_on(engine, store_name)
    mine.start()
    await mine.wait_read()
    await mine.set("a", ToolPolicy(1))
    # Nobody is told of it here, and the next interval is 30 s away.
    assert await another.remove("a")
    for _ in range(100):
        if not ttls(mine):
            break
        await asyncio.sleep(0.05)
    assert ttls(mine) == {}
    await mine.stop()


async def test_the_background_goes_on_after_a_read_that_failed(valkey_server: ValkeyServer, store_name: str) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url)
    await engine.values.set(f"{store_name}:__tool_policies", b"x")
    policies = policies_on(engine, store_name, interval_seconds=1)
    policies.start()
    try:
        await policies.wait_read()
        assert policies.refresh_failures == 1
        await engine.values.delete(f"{store_name}:__tool_policies")
        await write(engine, store_name, a='{"ttl": 3}')
        await until(lambda: ttls(policies) == {"a": 3})
    finally:
        await policies.stop()
        await engine.close()


# The first read


async def test_who_waits_for_the_policies_waits_for_the_first_read_alone(engine: Engine, store_name: str) -> None:
    await write(engine, store_name, a='{"ttl": 1}')
    policies = policies_on(engine, store_name)
    # Nobody reads: there is nothing to wait for.
    await policies.wait_known()
    assert ttls(policies) == {}
    policies.start()
    await asyncio.gather(*(policies.wait_known() for _ in range(10)))
    assert ttls(policies) == {"a": 1}
    await policies.stop()
    await policies.wait_known()


async def test_a_first_read_that_takes_too_long_is_not_waited_for_twice(
    late: LateAnswers, store_name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("betterdb_agent_memory.caches.policies.FIRST_READ_SECONDS", 0.05)
    watch = CacheWatch(store_name)
    policies = ToolPolicies(store_name, values=ValkeyEngine(late).values, watch=watch)
    policies.start()
    await policies.wait_known()
    assert watch.background_failure_count == 1
    assert "not known yet" in caplog.text
    monkeypatch.setattr("betterdb_agent_memory.caches.policies.FIRST_READ_SECONDS", NEVER_SECONDS)
    async with asyncio.timeout(30):
        await policies.wait_known()
    await late.let_all()
    await policies.stop()


# Order of arrival


class LateAnswers:
    """A user's client whose commands are executed at once and whose answers come when the test lets them."""

    def __init__(self, client: valkey.asyncio.Valkey) -> None:
        self._client = client
        self.held: list[asyncio.Event] = []

    async def execute_command(self, *command: Any) -> Any:
        answer = await self._client.execute_command(*command)
        answered = asyncio.Event()
        self.held.append(answered)
        await answered.wait()
        return answer

    async def let(self, number: int) -> None:
        self.held.pop(number).set()
        await settled()

    async def let_all(self) -> None:
        while self.held:
            await self.let(0)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def late(valkey_client: valkey.asyncio.Valkey) -> LateAnswers:
    return LateAnswers(valkey_client)


async def begun(late: LateAnswers, work: Any) -> asyncio.Task[Any]:
    """A task whose command the server has executed, and which has not heard of it yet."""
    before = len(late.held)
    task = asyncio.create_task(work)
    await until(lambda: len(late.held) > before)
    return task


async def test_a_read_sent_before_a_change_does_not_undo_it(late: LateAnswers, store_name: str) -> None:
    policies = policies_on(ValkeyEngine(late), store_name)
    reading = await begun(late, policies.refresh())
    writing = await begun(late, policies.set("a", ToolPolicy(5)))
    await late.let(1)
    await writing
    assert ttls(policies) == {"a": 5}
    await late.let(0)
    assert await reading
    assert ttls(policies) == {"a": 5}


async def test_a_read_sent_before_a_removal_does_not_bring_the_policy_back(late: LateAnswers, store_name: str) -> None:
    policies = policies_on(ValkeyEngine(late), store_name)
    writing = await begun(late, policies.set("a", ToolPolicy(5)))
    await late.let_all()
    await writing
    reading = await begun(late, policies.refresh())
    removing = await begun(late, policies.remove("a"))
    await late.let(1)
    assert await removing
    await late.let(0)
    assert await reading
    assert ttls(policies) == {}


async def test_a_late_answer_does_not_undo_what_a_later_read_found(
    late: LateAnswers, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    policies = policies_on(ValkeyEngine(late), store_name)
    first = await begun(late, policies.refresh())
    await valkey_client.execute_command("HSET", f"{store_name}:__tool_policies", "a", '{"ttl": 9}')
    second = await begun(late, policies.refresh())
    await late.let(1)
    assert await second
    await late.let(0)
    assert await first
    assert ttls(policies) == {"a": 9}


async def test_what_was_read_before_a_reset_does_not_come_back(late: LateAnswers, store_name: str) -> None:
    policies = policies_on(ValkeyEngine(late), store_name)
    writing = await begun(late, policies.set("a", ToolPolicy(5)))
    await late.let_all()
    await writing
    reading = await begun(late, policies.refresh())
    policies.reset()
    assert ttls(policies) == {}
    await late.let_all()
    assert await reading
    assert ttls(policies) == {}


steps = st.lists(
    st.one_of(
        st.just(("read",)),
        st.tuples(st.just("set"), st.sampled_from(TOOLS), st.integers(1, 99)),
        st.tuples(st.just("remove"), st.sampled_from(TOOLS)),
        st.tuples(st.just("answer"), st.integers(0, 9)),
    ),
    max_size=20,
)


@given(steps=steps)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_when_all_has_been_answered_the_policies_are_those_of_the_server(
    late: LateAnswers, valkey_client: valkey.asyncio.Valkey, steps: list[tuple[Any, ...]]
) -> None:
    name = f"t{uuid4().hex}"
    policies = policies_on(ValkeyEngine(late), name)
    changing: list[asyncio.Task[Any]] = []
    reading: list[asyncio.Task[Any]] = []
    for kind, *arguments in steps:
        if kind == "answer" and late.held:
            await late.let(arguments[0] % len(late.held))
        elif kind == "read":
            reading.append(await begun(late, policies.refresh()))
        elif kind == "set":
            changing.append(asyncio.create_task(policies.set(arguments[0], ToolPolicy(arguments[1]))))
        elif kind == "remove":
            changing.append(asyncio.create_task(policies.remove(arguments[0])))
        await settled()
    async with asyncio.timeout(30):
        while not all(task.done() for task in changing + reading):
            await late.let_all()
            await asyncio.sleep(0.001)
    await asyncio.gather(*changing, *reading)
    on_server, _ = decode_policies(await ValkeyEngine(valkey_client).values.read_map(f"{name}:__tool_policies"))
    assert policies.current == on_server


async def test_many_workers_agree_after_a_read(engine: Engine, store_name: str) -> None:
    workers = [policies_on(engine, store_name) for _ in range(5)]
    await asyncio.gather(
        *[
            worker.set(TOOLS[number % 3], ToolPolicy(1 + number * 10 + turn))
            for number, worker in enumerate(workers)
            for turn in range(5)
        ]
    )
    await asyncio.gather(*[worker.refresh() for worker in workers])
    assert len({tuple(sorted(ttls(worker).items())) for worker in workers}) == 1
    assert ttls(workers[0]).keys() == set(TOOLS)
