"""Long work that one worker at a time may do, on real engines."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from betterdb_agent_memory import LeaseHeldError, LeaseLostError
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.leasing import HeldLease
from tests.servers import ValkeyServer
from tests.stopping import stop_between_writes

KEY = "store:__lease"

HOLDER = """
import asyncio, sys, time
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.errors import LeaseLostError
from betterdb_agent_memory.leasing import HeldLease

async def hold(url):
    engine = open_engine(url)
    async with HeldLease(engine.leases, "store:__lease", what="work", ttl_seconds=1.0) as lease:
        print("held", flush=True)
        while True:
            try:
                lease.check()
            except LeaseLostError:
                print("lost", flush=True)
                break
            await engine.values.write_map("store:written", {"at": str(time.time()).encode()})
            await asyncio.sleep(0.05)
    await engine.close()

asyncio.run(hold(sys.argv[1]))
"""

ENDING_LOOPS = """
import asyncio, random, sys
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.leasing import HeldLease

chance = random.Random(7)
ended = []

async def end_soon(url):
    engine = open_engine(url)
    ended.append(engine)
    lease = HeldLease(engine.leases, f"store:__lease{len(ended)}", what="work", ttl_seconds=60)
    ended.append(asyncio.create_task(lease.__aenter__()))
    await asyncio.sleep(chance.random() * 0.006)

async def enter_all(url):
    engine = open_engine(url)
    for number in range(1, len(ended), 2):
        if ended[number].cancelled():  # and not one that had entered before
            async with HeldLease(engine.leases, f"store:__lease{number}", what="work", wait_seconds=5.0):
                pass
    await engine.close()

for _ in range(40):
    asyncio.run(end_soon(sys.argv[1]))
assert 5 < sum(task.cancelled() for task in ended[1::2])
asyncio.run(enter_all(sys.argv[1]))
print("nothing is left")
"""


@pytest.fixture(params=["embedded-file", "valkey-url"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place that several processes can open."""
    if request.param == "embedded-file":
        return str(tmp_path / "memory.db")
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    with server.blocking_client() as client:
        client.flushall()
    return server.url


@pytest.fixture
async def engine(url: str) -> AsyncIterator[Engine]:
    opened = open_engine(url)
    yield opened
    await opened.close()


def process_that_holds(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True)


def lease(engine: Engine, *, wait_seconds: float = 0.0, ttl_seconds: float = 1.0) -> HeldLease:
    return HeldLease(engine.leases, KEY, what="work", wait_seconds=wait_seconds, ttl_seconds=ttl_seconds)


async def test_it_is_renewed_while_the_work_goes_on(engine: Engine) -> None:
    async with lease(engine, ttl_seconds=0.8) as held:
        for _ in range(8):
            await asyncio.sleep(0.3)
            held.check()
            with pytest.raises(LeaseHeldError, match="work is being done by another worker"):
                await lease(engine).__aenter__()


async def test_it_is_given_back_at_the_end_and_after_an_error(engine: Engine) -> None:
    tokens = []
    for _ in range(2):
        with suppress(ZeroDivisionError):
            async with lease(engine, ttl_seconds=60) as held:
                tokens.append(held.token or 0)
                raise ZeroDivisionError
    assert 0 < tokens[0] < tokens[1]


async def test_who_waits_gets_it_when_it_is_given_back(engine: Engine) -> None:
    async def wait() -> float:
        async with lease(engine, wait_seconds=10.0, ttl_seconds=60):
            return time.monotonic()

    async with lease(engine, ttl_seconds=60):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0.5)
        assert not waiting.done()
        given_back = time.monotonic()
    assert 0 <= await waiting - given_back < 2


async def test_who_is_cancelled_on_the_way_in_leaves_nothing_behind(engine: Engine) -> None:
    chance = random.Random(7)
    for within_seconds in (0.0005, 0.003, 0.02):
        for _ in range(40):
            entering = asyncio.create_task(lease(engine, ttl_seconds=60).__aenter__())
            await asyncio.sleep(chance.random() * within_seconds)
            if entering.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await entering
            else:
                await (await entering).__aexit__(None, None, None)
            async with lease(engine, wait_seconds=5.0, ttl_seconds=60):
                pass


async def test_who_is_cancelled_again_on_the_way_out_leaves_nothing_behind(engine: Engine) -> None:
    async def hold() -> None:
        async with lease(engine, ttl_seconds=60):
            entered.set()
            await asyncio.sleep(60)

    for pauses in range(8):
        entered = asyncio.Event()
        holding = asyncio.create_task(hold())
        await entered.wait()
        for _ in range(5):
            holding.cancel()
            for _ in range(pauses):
                await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await holding
        async with lease(engine, wait_seconds=5.0, ttl_seconds=60):
            pass


def test_a_loop_that_ends_while_the_lease_is_asked_for_leaves_nothing_behind(url: str) -> None:
    """In a process of its own: connections of a loop that has ended can no longer be closed."""
    run = [sys.executable, "-c", ENDING_LOOPS, url]
    ended = subprocess.run(run, check=False, capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("nothing is left\n", "")


async def test_a_process_that_stood_still_stops_before_its_next_write(engine: Engine, url: str) -> None:
    """Stopped by the system for longer than its lease, while another worker took over."""
    holder = process_that_holds(url)
    assert holder.stdout is not None
    try:
        assert await asyncio.to_thread(holder.stdout.readline) == "held\n"
        await asyncio.sleep(0.2)
        await stop_between_writes(holder.pid, url)
        async with lease(engine, wait_seconds=20.0):
            taken_over = time.time()
            os.kill(holder.pid, signal.SIGCONT)
            assert await asyncio.to_thread(holder.stdout.readline) == "lost\n"
            holder.wait(20)
            written = await engine.values.read_map("store:written")
            assert float(written["at"]) < taken_over
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


async def test_one_that_died_holds_on_until_its_time_is_over(engine: Engine, url: str) -> None:
    holder = process_that_holds(url)
    assert holder.stdout is not None
    assert await asyncio.to_thread(holder.stdout.readline) == "held\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    died = time.monotonic()
    async with lease(engine, wait_seconds=20.0) as held:
        held.check()
    assert time.monotonic() - died < 5


async def test_it_is_gone_once_its_key_is_deleted(engine: Engine, url: str, request: pytest.FixtureRequest) -> None:
    """A server that was flushed has forgotten who holds it."""
    if "://" not in url:
        pytest.skip("nobody deletes it from a file")
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    async with lease(engine, ttl_seconds=0.8) as held:
        with server.blocking_client() as client:
            client.flushall()
        await asyncio.sleep(0.5)
        with pytest.raises(LeaseLostError, match="run it again"):
            held.check()
