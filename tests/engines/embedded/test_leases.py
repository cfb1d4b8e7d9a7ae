"""Leases: one owner at a time, and tokens that only grow."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.errors import InvalidInputError
from tests.engines.embedded.support import python


async def test_one_owner_at_a_time(engine: EmbeddedEngine, clock) -> None:
    leases = engine.leases
    assert await leases.acquire("job", "a", ttl_seconds=10) == 1
    assert await leases.acquire("job", "b", ttl_seconds=10) is None
    assert await leases.acquire("other", "b", ttl_seconds=10) == 1
    assert await leases.acquire("job", "a", ttl_seconds=10) == 1
    assert not await leases.renew("job", "b", ttl_seconds=10)
    assert not await leases.release("job", "b")
    clock.seconds += 9.5
    assert await leases.renew("job", "a", ttl_seconds=10)
    clock.seconds += 9.5
    assert await leases.acquire("job", "b", ttl_seconds=10) is None
    assert await leases.release("job", "a")
    assert not await leases.release("job", "a")
    assert await leases.acquire("job", "b", ttl_seconds=0.5) == 2


async def test_a_lease_ends_with_its_time_and_tokens_only_grow(engine: EmbeddedEngine, clock) -> None:
    leases = engine.leases
    for token in range(1, 5):
        assert await leases.acquire("job", f"{token % 2}", ttl_seconds=0.25) == token
        clock.seconds += 0.25
        assert not await leases.renew("job", f"{token % 2}", ttl_seconds=1)
        assert not await leases.release("job", f"{token % 2}")
    assert await leases.acquire("job", "0", ttl_seconds=1e300) == 5
    clock.seconds += 10**9
    assert await leases.acquire("job", "1", ttl_seconds=1) is None
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InvalidInputError, match="positive"):
            await leases.acquire("job", "0", ttl_seconds=bad)
        with pytest.raises(InvalidInputError, match="positive"):
            await leases.renew("job", "0", ttl_seconds=bad)


async def test_a_token_survives_the_engine(path: Path) -> None:
    for token in (1, 2, 3):
        engine = EmbeddedEngine(path)
        assert await engine.leases.acquire("job", f"{token}", ttl_seconds=100) == token
        assert await engine.leases.release("job", f"{token}")
        await engine.close()


WORKER = """
import asyncio, sys
from betterdb_agent_memory.engines.embedded import EmbeddedEngine

async def main(path, owner):
    engine = EmbeddedEngine(path)
    done = 0
    while done < 40:
        token = await engine.leases.acquire("job", owner, ttl_seconds=30)
        if token is None:
            await asyncio.sleep(0.001)
            continue
        # Not atomic: only the lease keeps two workers from losing each other's step.
        seen = int(await engine.values.get("counter") or b"0")
        await asyncio.sleep(0.001)
        await engine.values.set("counter", b"%d" % (seen + 1))
        print(token, flush=True)
        assert await engine.leases.release("job", owner)
        done += 1
    await engine.close()

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


async def test_two_processes_never_hold_a_lease_at_once(path: Path) -> None:
    workers = [python(WORKER, path, owner) for owner in "ab"]
    tokens: list[int] = []
    for worker in workers:
        output, errors = await asyncio.to_thread(worker.communicate, timeout=100)
        assert (worker.returncode, errors) == (0, "")
        own = [int(line) for line in output.split()]
        assert own == sorted(own)
        tokens += own
    assert sorted(tokens) == list(range(1, 81))
    engine = EmbeddedEngine(path)
    assert await engine.values.get("counter") == b"80"
    await engine.close()
