from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from betterdb_agent_memory.caches.deferred import DeferredWrites
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.values import ExpiresAt, Stored
from betterdb_agent_memory.errors import EngineUnavailableError, OutcomeUnknownError
from tests.proxy import Proxy
from tests.servers import ValkeyServer


class Failures:
    """How often a background write failed."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def failures() -> Failures:
    return Failures()


@pytest.fixture
async def deferred(engine: Engine, store_name: str, failures: Failures) -> AsyncIterator[DeferredWrites]:
    made = DeferredWrites(engine.values, store_name, interval_seconds=0.05, on_failure=failures)
    yield made
    await made.close()


async def stored(engine: Engine, key: str) -> Stored:
    batch = engine.values.batch()
    found = batch.get_with_expiry(key)
    await batch.send()
    there = found.result()
    assert there is not None
    return there


async def test_counts_are_added_up_and_written_in_one_round_trip(
    engine: Engine, deferred: DeferredWrites, store_name: str
) -> None:
    deferred.count("a")
    await deferred.flush()
    before = engine.round_trips
    for _ in range(10):
        deferred.count("a")
        deferred.count("b", 3)
    await deferred.flush()
    assert engine.round_trips - before <= 1
    assert await engine.values.read_map(store_name) == {"a": b"11", "b": b"30"}
    await deferred.flush()
    assert engine.round_trips - before <= 2


async def test_what_waits_is_written_by_itself_soon(engine: Engine, deferred: DeferredWrites, store_name: str) -> None:
    deferred.count("a")
    assert await engine.values.read_map(store_name) == {}
    for _ in range(100):
        await asyncio.sleep(0.02)
        if await engine.values.read_map(store_name) == {"a": b"1"}:
            break
    deferred.count("a")
    await asyncio.sleep(0.5)
    assert await engine.values.read_map(store_name) == {"a": b"2"}


async def test_an_expiry_is_renewed_unless_it_changed_meanwhile(
    engine: Engine, deferred: DeferredWrites, store_name: str
) -> None:
    keys = [f"{store_name}:{number}" for number in range(3)]
    for key in keys:
        await engine.values.set(key, b"1", ttl_seconds=10)
        deferred.extend(key, 100, seen=ExpiresAt((await stored(engine, key)).expires_at_ms))
    await engine.values.set(keys[1], b"2", ttl_seconds=20)
    deferred.forget(keys[2])
    await deferred.flush()
    left = [(await stored(engine, key)).left_ms or 0 for key in keys]
    assert [round(ms / 10_000) for ms in left] == [10, 2, 1]


async def test_close_writes_what_waits(engine: Engine, store_name: str, failures: Failures) -> None:
    deferred = DeferredWrites(engine.values, store_name, interval_seconds=60, on_failure=failures)
    deferred.count("a", 7)
    await deferred.close()
    assert await engine.values.read_map(store_name) == {"a": b"7"}
    assert (failures.count, deferred.lost_counts) == (0, 0)


async def test_a_server_that_is_away_loses_nothing_but_at_close(
    valkey_server: ValkeyServer, store_name: str, failures: Failures
) -> None:
    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        deferred = DeferredWrites(engine.values, store_name, interval_seconds=60, on_failure=failures)
        deferred.count("a", 5)
    for _ in range(2):
        with pytest.raises(EngineUnavailableError):
            await deferred.flush()
    assert (deferred.lost_counts, failures.count) == (0, 2)
    await deferred.close()
    assert (deferred.lost_counts, failures.count) == (5, 3)
    await engine.close()


async def test_a_value_waits_for_the_next_write_and_the_last_one_wins(
    engine: Engine, deferred: DeferredWrites, store_name: str, failures: Failures
) -> None:
    key = f"{store_name}:value"
    for value in (b"1", b"2"):
        assert deferred.set(key, value, 90, on_failure=failures)
    assert deferred.pending_value(key) == b"2"
    assert await engine.values.get(key) is None
    await deferred.flush()
    there = await stored(engine, key)
    assert (there.value, deferred.pending_value(key), failures.count) == (b"2", None, 0)
    assert there.left_ms is not None
    assert 80_000 < there.left_ms <= 90_000


async def test_values_outlast_a_server_that_is_away_and_are_told_of_when_lost(store_name: str) -> None:
    lost, failures = Failures(), Failures()
    with ValkeyServer() as server:
        engine = ValkeyEngine.from_url(server.url)
        deferred = DeferredWrites(engine.values, store_name, interval_seconds=60, on_failure=failures)
    deferred.set(f"{store_name}:value", b"1", None, on_failure=lost)
    with pytest.raises(EngineUnavailableError):
        await deferred.flush()
    assert (deferred.pending_value(f"{store_name}:value"), lost.count) == (b"1", 0)
    await deferred.close()
    assert lost.count == 1
    await engine.close()


async def test_counts_whose_outcome_is_unknown_are_not_added_twice(
    valkey_server: ValkeyServer, store_name: str, failures: Failures
) -> None:
    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        deferred = DeferredWrites(engine.values, store_name, interval_seconds=60, on_failure=failures)
        deferred.count("warm")
        await deferred.flush()
        deferred.count("a", 4)
        proxy.fail_next("after", store_name.encode())
        with pytest.raises(OutcomeUnknownError):
            await deferred.flush()
        assert (deferred.lost_counts, failures.count) == (4, 1)
        await deferred.close()
        assert (await engine.values.read_map(store_name))["a"] == b"4"
        await engine.close()


@pytest.mark.parametrize("held", [b"text", b"1.5", b"9007199254740990"])
async def test_a_field_that_cannot_be_added_to_loses_its_own_counts_alone(
    engine: Engine, deferred: DeferredWrites, store_name: str, failures: Failures, held: bytes
) -> None:
    await engine.values.write_map(store_name, {"a": held})
    deferred.count("b", 2)
    deferred.count("a", 1 if held != b"9007199254740990" else 10**15)
    deferred.count("c")
    await deferred.flush()
    stored = await engine.values.read_map(store_name)
    assert {name: stored[name] for name in "bc"} == {"b": b"2", "c": b"1"}
    if not isinstance(engine, ValkeyEngine) and held.isdigit():
        return  # a file counts on
    assert stored["a"] == held
    assert (deferred.lost_counts, failures.count) == (1 if not held.isdigit() else 10**15, 1)


async def test_close_says_how_much_it_lost(
    engine: Engine, store_name: str, failures: Failures, caplog: pytest.LogCaptureFixture
) -> None:
    await engine.values.set(store_name, b"no map at all")
    deferred = DeferredWrites(engine.values, store_name, interval_seconds=60, on_failure=failures)
    deferred.count("a", 7)
    await deferred.close()
    assert deferred.lost_counts == 7
    assert "7 counts" in caplog.text


def test_two_loops_at_once_make_one_task(valkey_server: ValkeyServer, store_name: str, failures: Failures) -> None:
    tasks: list[int] = []

    async def both() -> None:
        engine = ValkeyEngine.from_url(valkey_server.url)
        deferred = DeferredWrites(engine.values, store_name, interval_seconds=60, on_failure=failures)

        async def elsewhere() -> None:
            deferred.count("there")
            tasks.append(len(asyncio.all_tasks()))

        for _ in range(50):
            deferred.count("here")
            await asyncio.to_thread(asyncio.run, elsewhere())
        tasks.append(len(asyncio.all_tasks()))
        await deferred.close()
        assert await engine.values.read_map(store_name) == {"here": b"50", "there": b"50"}
        await engine.close()

    asyncio.run(both())
    assert max(tasks) == 2
