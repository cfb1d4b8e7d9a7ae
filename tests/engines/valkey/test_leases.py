"""One owner at a time, by the server's clock."""

from __future__ import annotations

import asyncio

import pytest
import valkey.asyncio

from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import EngineError, InvalidInputError
from tests.servers import ValkeyServer


async def test_one_of_many_gets_the_lease_and_the_next_a_larger_token(engine: ValkeyEngine, store_name: str) -> None:
    key = f"{store_name}:lease"
    before = engine.round_trips
    first = await engine.leases.acquire(key, "warm", ttl_seconds=60)
    assert first is not None
    assert await engine.leases.release(key, "warm")
    assert engine.round_trips - before <= 3
    tokens = await asyncio.gather(*(engine.leases.acquire(key, f"o{n}", ttl_seconds=60) for n in range(20)))
    [owner] = [n for n, token in enumerate(tokens) if token is not None]
    token = tokens[owner]
    assert token is not None
    assert token > first
    before = engine.round_trips
    assert await engine.leases.acquire(key, f"o{owner}", ttl_seconds=60) == token
    assert await engine.leases.renew(key, f"o{owner}", ttl_seconds=60)
    assert not await engine.leases.renew(key, "somebody", ttl_seconds=60)
    assert not await engine.leases.release(key, "somebody")
    assert await engine.leases.acquire(key, "somebody", ttl_seconds=60) is None
    assert await engine.leases.release(key, f"o{owner}")
    assert not await engine.leases.release(key, f"o{owner}")
    assert await engine.leases.acquire(key, "somebody", ttl_seconds=60) == token + 1
    assert engine.round_trips - before == 8


async def test_a_lease_that_ran_out_passes_on_and_its_owner_is_told(
    engine: ValkeyEngine, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    key = f"{store_name}:lease"
    first = await engine.leases.acquire(key, "a", ttl_seconds=0.05)
    assert await engine.leases.acquire(key, "b", ttl_seconds=60) is None
    await asyncio.sleep(0.08)
    assert not await engine.leases.renew(key, "a", ttl_seconds=60)
    assert not await engine.leases.release(key, "a")
    # The tokens outlive every lease.
    assert await valkey_client.ttl(key) == -1
    second = await engine.leases.acquire(key, "b", ttl_seconds=60)
    assert first is not None
    assert second == first + 1
    assert await engine.leases.acquire(key, "a", ttl_seconds=60) is None


async def test_one_who_comes_back_after_its_lease_ran_out_gets_a_new_token(
    engine: ValkeyEngine, store_name: str
) -> None:
    key = f"{store_name}:lease"
    first = await engine.leases.acquire(key, "a", ttl_seconds=0.01)
    await asyncio.sleep(0.03)
    second = await engine.leases.acquire(key, "a", ttl_seconds=60)
    assert first is not None
    assert second == first + 1


async def test_renewing_holds_on_from_now(engine: ValkeyEngine, store_name: str) -> None:
    key = f"{store_name}:lease"
    await engine.leases.acquire(key, "a", ttl_seconds=0.15)
    for _ in range(4):
        await asyncio.sleep(0.06)
        assert await engine.leases.renew(key, "a", ttl_seconds=0.15)
    assert await engine.leases.acquire(key, "b", ttl_seconds=1) is None


async def test_tokens_grow_through_many_hands(valkey_server: ValkeyServer, store_name: str) -> None:
    key = f"{store_name}:lease"
    engines = [ValkeyEngine.from_url(valkey_server.url) for _ in range(4)]
    held: list[int] = []

    async def work(engine: ValkeyEngine, owner: str) -> None:
        for _ in range(15):
            while (token := await engine.leases.acquire(key, owner, ttl_seconds=5)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            held.append(token)
            await asyncio.sleep(0)
            assert held[-1] == token
            assert await engine.leases.release(key, owner)

    await asyncio.gather(*(work(engine, f"o{n}") for n, engine in enumerate(engines)))
    assert held == sorted(set(held))
    assert len(held) == 60
    await asyncio.gather(*(engine.close() for engine in engines))


@pytest.mark.parametrize("ttl_seconds", [0, -1, float("nan"), 10**12])
async def test_a_lease_that_lasts_no_time_is_refused(engine: ValkeyEngine, store_name: str, ttl_seconds: float) -> None:
    with pytest.raises(InvalidInputError):
        await engine.leases.acquire(store_name, "a", ttl_seconds=ttl_seconds)


async def test_a_key_that_is_something_else_is_an_error(engine: ValkeyEngine, store_name: str) -> None:
    await engine.values.set(f"{store_name}:text", b"x")
    with pytest.raises(EngineError, match="wrong kind"):
        await engine.leases.acquire(f"{store_name}:text", "a", ttl_seconds=1)
