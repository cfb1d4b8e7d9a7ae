"""How long the next refresh waits after one that brought nothing, on real engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from betterdb_agent_memory.caches import single_flight
from betterdb_agent_memory.caches.single_flight import RefreshPauses
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.servers import free_port


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(single_flight, "monotonic", clock)
    return clock


def seconds_until(is_over: Callable[[], bool], clock: Clock) -> int:
    started = clock.now
    while not is_over():
        clock.now += 1
    return round(clock.now - started)


async def test_each_failure_in_a_row_doubles_the_pause(engine: Engine, store_name: str, clock: Clock) -> None:
    here = RefreshPauses(engine.values)
    assert here.is_over(store_name)
    lasted = []
    for _ in range(8):
        await here.begin(store_name)
        lasted.append(seconds_until(lambda: here.is_over(store_name), clock))
    assert lasted == [1, 2, 4, 8, 16, 32, 60, 60]
    assert here.is_over(f"{store_name}0"), "of another key"


async def test_after_days_of_failures_the_pause_is_the_longest_everywhere(
    engine: Engine, store_name: str, clock: Clock
) -> None:
    here, there = RefreshPauses(engine.values), RefreshPauses(engine.values)
    for _ in range(1_100):
        await here.begin(store_name)
    assert seconds_until(lambda: here.is_over(store_name), clock) == 60
    assert not await there.is_over_everywhere(store_name)
    assert seconds_until(lambda: there.is_over(store_name), clock) == 60


@pytest.mark.parametrize("how", ["success", "time"])
async def test_success_or_a_long_time_begins_anew(engine: Engine, store_name: str, clock: Clock, how: str) -> None:
    here = RefreshPauses(engine.values)
    for _ in range(4):
        await here.begin(store_name)
    if how == "success":
        await here.end(store_name)
        assert await RefreshPauses(engine.values).is_over_everywhere(store_name)
    else:
        clock.now += 8 + 60
    assert here.is_over(store_name)
    await here.begin(store_name)
    assert seconds_until(lambda: here.is_over(store_name), clock) == 1


async def test_another_worker_pauses_too_and_counts_on(engine: Engine, store_name: str, clock: Clock) -> None:
    here, there = RefreshPauses(engine.values), RefreshPauses(engine.values)
    assert await there.is_over_everywhere(store_name)
    for _ in range(3):
        await here.begin(store_name)
    assert there.is_over(store_name)
    assert not await there.is_over_everywhere(store_name)
    assert seconds_until(lambda: there.is_over(store_name), clock) == 4
    await there.begin(store_name)
    assert seconds_until(lambda: there.is_over(store_name), clock) == 8


@pytest.mark.parametrize("written", [b"", b"0", b"-1", b"soon", b"9" * 5000, b"999"], ids=range(6))
async def test_whatever_another_writer_left_is_a_pause(
    engine: Engine, store_name: str, clock: Clock, written: bytes
) -> None:
    await engine.values.set(f"{store_name}:failed", written)
    here = RefreshPauses(engine.values)
    assert not await here.is_over_everywhere(store_name)
    assert 1 <= seconds_until(lambda: here.is_over(store_name), clock) <= 60


async def test_many_keys_that_are_over_are_forgotten(
    engine: Engine, store_name: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_flight, "_MOST_PAUSES", 10)
    here = RefreshPauses(engine.values)
    for number in range(10):
        await here.begin(f"{store_name}{number}")
    clock.now += 2
    await here.begin(store_name)
    assert len(here._pauses) == 1


async def test_without_a_server_this_process_pauses_alone(store_name: str, clock: Clock) -> None:
    nowhere = ValkeyEngine.from_url(f"valkey://127.0.0.1:{free_port()}")
    here = RefreshPauses(nowhere.values)
    await here.begin(store_name)
    assert seconds_until(lambda: here.is_over(store_name), clock) == 1
    await nowhere.close()
