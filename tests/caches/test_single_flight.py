"""One works, the others get what comes of it: in one process, and over an engine that processes share.

Two `SingleFlight`s know nothing of each other, as two processes; tests with real ones are in test_llm.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from betterdb_agent_memory import EngineError, EngineUnavailableError, InvalidInputError
from betterdb_agent_memory.caches.single_flight import Patience, SingleFlight
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.options import TelemetryOptions
from tests.servers import free_port
from tests.waiting import until


class Process:
    """A single flight of its own, a value that it looks for, and what it did."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.registry = CollectorRegistry()
        self.watch = CacheWatch(name, TelemetryOptions(registry=self.registry))
        self.flights: SingleFlight[bytes] = SingleFlight(engine.leases, self.watch)
        self.key = f"{name}:__llm_flight:1"
        self.works = 0
        self._name = name
        self._values = engine.values

    async def look(self) -> bytes | None:
        return await self._values.get(f"{self._name}:value")

    def work(self, seconds: float = 0.0, error: BaseException | None = None) -> Callable[[], Awaitable[bytes]]:
        async def work() -> bytes:
            self.works += 1
            await asyncio.sleep(seconds)
            if error is not None:
                raise error
            await self._values.set(f"{self._name}:value", b"made")
            return b"made"

        return work

    async def run(
        self, seconds: float = 0.0, *, error: BaseException | None = None, lease: float = 10.0, wait: float = 60.0
    ) -> tuple[bytes, bool]:
        return await self.flights.run(
            self.key, look=self.look, work=self.work(seconds, error), patience=Patience(lease, wait)
        )

    async def refresh(self, seconds: float = 0.0, *, look: Callable[[], Awaitable[bytes | None]]) -> bool:
        return await self.flights.refresh(self.key, look=look, work=self.work(seconds), patience=Patience())

    def role(self, role: str) -> float:
        name = {"cache_name": self._name, "role": role}
        return self.registry.get_sample_value("agent_cache_single_flight_total", name) or 0.0


async def nothing() -> bytes | None:
    return None


@pytest.fixture
def here(engine: Engine, store_name: str) -> Process:
    return Process(engine, store_name)


@pytest.fixture
def there(engine: Engine, store_name: str) -> Process:
    return Process(engine, store_name)


async def test_of_a_hundred_callers_one_works(here: Process) -> None:
    answers = await asyncio.gather(*(here.run(0.05) for _ in range(100)))
    assert here.works == 1
    assert {value for value, _ in answers} == {b"made"}
    assert [by_another for _, by_another in answers].count(False) == 1
    assert (here.role("leader"), here.role("follower")) == (1, 99)


async def test_of_two_processes_one_works(here: Process, there: Process) -> None:
    answers = await asyncio.gather(*(process.run(0.3) for process in (here, there) for _ in range(5)))
    assert here.works + there.works == 1
    assert [by_another for _, by_another in answers].count(False) == 1


async def test_what_another_process_has_just_made_is_found_behind_the_lease(here: Process, there: Process) -> None:
    await there.run()
    assert await here.run() == (b"made", True)
    assert here.works == 0


async def test_the_lease_goes_when_the_work_is_done(here: Process, engine: Engine) -> None:
    await here.run()
    assert await engine.leases.acquire(here.key, "somebody", ttl_seconds=1, lasting=False) == 1


async def test_work_longer_than_the_lease_keeps_it(here: Process, there: Process) -> None:
    first = asyncio.create_task(here.run(1.5, lease=0.5))
    await until(lambda: here.works)
    assert await there.run(lease=0.5) == (b"made", True)
    assert there.works == 0
    await first


async def test_an_error_reaches_all_who_wait_in_the_process_and_the_next_one_works(here: Process) -> None:
    runs = [here.run(0.1, error=LookupError("no quota")) for _ in range(5)]
    errors = await asyncio.gather(*runs, return_exceptions=True)
    assert [str(error) for error in errors] == ["no quota"] * 5
    assert here.works == 1
    assert await here.run() == (b"made", False)


async def test_another_process_works_when_the_first_one_failed(here: Process, there: Process) -> None:
    first = asyncio.create_task(here.run(0.2, error=LookupError("no quota")))
    await until(lambda: here.works)
    assert await there.run() == (b"made", False)
    assert there.role("takeover") == 1
    with pytest.raises(LookupError, match="no quota"):
        await first


async def test_a_cancelled_worker_is_replaced_by_one_who_waits(here: Process) -> None:
    first = asyncio.create_task(here.run(60))
    await until(lambda: here.works)
    others = [asyncio.create_task(here.run(0.1)) for _ in range(5)]
    await asyncio.sleep(0.05)
    first.cancel()
    assert {value for value, _ in await asyncio.gather(*others)} == {b"made"}
    assert first.cancelled()
    assert here.works == 2


async def test_a_cancelled_worker_gives_its_lease_back(here: Process, there: Process) -> None:
    first = asyncio.create_task(here.run(60))
    await until(lambda: here.works)
    first.cancel()
    await asyncio.wait([first])
    started = monotonic()
    assert await there.run() == (b"made", False)
    assert monotonic() - started < 5


async def test_a_caller_who_gives_up_waiting_disturbs_nobody(here: Process) -> None:
    first = asyncio.create_task(here.run(0.3))
    await until(lambda: here.works)
    impatient = asyncio.create_task(here.run())
    patient = asyncio.create_task(here.run())
    await asyncio.sleep(0.05)
    impatient.cancel()
    assert await first == (b"made", False)
    assert await patient == (b"made", True)
    assert here.works == 1


async def test_a_worker_that_died_is_replaced_when_its_lease_runs_out(here: Process, engine: Engine) -> None:
    assert await engine.leases.acquire(here.key, "a process that was killed", ttl_seconds=1, lasting=False)
    started = monotonic()
    assert await here.run() == (b"made", False)
    assert 0.5 < monotonic() - started < 10
    assert here.role("takeover") == 1


async def test_who_waits_for_another_process_looks_and_seldom_asks_for_its_lease(
    here: Process, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await engine.leases.acquire(here.key, "another process", ttl_seconds=60, lasting=False)
    acquire = engine.leases.acquire
    asked, looked = [], []

    async def counted(*arguments: Any, **options: Any) -> int | None:
        asked.append(1)
        return await acquire(*arguments, **options)

    async def look() -> bytes | None:
        looked.append(1)
        return b"made" if len(looked) == 9 else None

    monkeypatch.setattr(engine.leases, "acquire", counted)
    assert await here.flights.run(here.key, look=look, work=here.work(), patience=Patience()) == (b"made", True)
    assert (here.works, here.role("follower")) == (0, 1)
    assert len(asked) <= 3


async def test_who_waited_long_enough_for_another_process_works_itself(here: Process, engine: Engine) -> None:
    assert await engine.leases.acquire(here.key, "another process", ttl_seconds=60, lasting=False)
    started = monotonic()
    answers = await asyncio.gather(*(here.run(wait=0.3) for _ in range(10)))
    assert 0.25 < monotonic() - started < 20
    assert here.works == 1, "one for the whole process"
    assert [by_another for _, by_another in answers].count(False) == 1
    assert here.role("alone") == 1


async def test_who_waited_long_enough_for_a_neighbour_works_itself(here: Process) -> None:
    first = asyncio.create_task(here.run(60))
    await until(lambda: here.works)
    assert await here.run(wait=0.2) == (b"made", False)
    assert await here.run(wait=0) == (b"made", False)
    assert here.works == 3
    first.cancel()


async def test_who_has_less_patience_than_the_one_who_leads_works_itself(here: Process, engine: Engine) -> None:
    assert await engine.leases.acquire(here.key, "another process", ttl_seconds=60, lasting=False)
    leading = asyncio.create_task(here.run(wait=60))
    await asyncio.sleep(0.1)
    started = monotonic()
    assert await here.run(wait=0.2) == (b"made", False)
    assert monotonic() - started < 20
    assert await leading == (b"made", True)
    assert here.works == 1


async def test_different_keys_do_not_wait_for_each_other(here: Process) -> None:
    first = asyncio.create_task(here.run(60))
    await until(lambda: here.works)
    here.key += "0"
    assert await here.run() == (b"made", False)
    first.cancel()


async def test_a_refresh_waits_for_nobody(here: Process, there: Process) -> None:
    first = asyncio.create_task(here.run(0.3))
    await until(lambda: here.works)
    assert await here.refresh(look=nothing) is False
    assert await there.refresh(look=nothing) is False
    await first
    assert await there.refresh(look=here.look) is False, "somebody has just done it"
    assert here.works + there.works == 1
    assert await there.refresh(look=nothing) is True
    assert there.works == 1


async def test_a_caller_joins_a_refresh_that_is_under_way(here: Process) -> None:
    refreshing = asyncio.create_task(here.refresh(0.2, look=nothing))
    await until(lambda: here.works)
    assert await here.run() == (b"made", True)
    assert await refreshing is True
    assert here.works == 1


async def test_a_refresh_that_may_not_work_leaves_it_to_those_who_joined(here: Process, there: Process) -> None:
    async def not_now() -> bool:
        await asyncio.sleep(0.2)
        return False

    refreshing = asyncio.create_task(
        here.flights.refresh(here.key, look=nothing, work=here.work(), patience=Patience(), may_work=not_now)
    )
    await asyncio.sleep(0.1)
    assert await here.run() == (b"made", False)
    assert await refreshing is False
    assert here.works == 1
    assert await there.refresh(look=nothing) is True, "the lease was given back"


@pytest.fixture
async def nowhere() -> AsyncIterator[ValkeyEngine]:
    engine = ValkeyEngine.from_url(f"valkey://127.0.0.1:{free_port()}")
    yield engine
    await engine.close()


async def test_without_a_server_one_per_process_works(nowhere: ValkeyEngine, store_name: str) -> None:
    here = Process(nowhere, store_name)

    async def work() -> bytes:
        here.works += 1
        await asyncio.sleep(0.05)
        return b"made"

    run = here.flights.run
    runs = [run(here.key, look=nothing, work=work, patience=Patience()) for _ in range(10)]
    assert {value for value, _ in await asyncio.gather(*runs)} == {b"made"}
    assert here.works == 1
    assert here.watch.background_failure_count == 1
    with pytest.raises(EngineUnavailableError):
        await here.flights.refresh(here.key, look=nothing, work=work, patience=Patience())
    assert here.works == 1


async def test_an_engine_error_of_the_work_itself_is_not_taken_for_a_missing_lease(here: Process) -> None:
    with pytest.raises(EngineError, match="of the work"):
        await here.run(error=EngineError("of the work"))
    assert here.works == 1


@pytest.mark.parametrize(
    ("lease", "wait", "named"),
    [
        (0, 1, "lease_seconds"),
        (0.01, 1, "lease_seconds"),
        ("10", 1, "lease_seconds"),
        (float("nan"), 1, "lease_seconds"),
        (float("inf"), 1, "lease_seconds"),
        (1, -1, "wait_seconds"),
        (1, None, "wait_seconds"),
        (True, 1, "lease_seconds"),
    ],
)
def test_strange_times_are_refused_by_name(lease: float, wait: float, named: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{named} must be a number"):
        Patience(lease, wait)
