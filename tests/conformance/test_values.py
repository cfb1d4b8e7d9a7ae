"""Strings and maps beside the records, the same on every engine and through every client."""

from __future__ import annotations

import asyncio

import pytest

from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.values import ExpiresAt, Stored
from betterdb_agent_memory.errors import EngineError, InvalidInputError
from tests.conformance.conftest import FILE, MEMORY, ONCE_OVER, POOLED, WHOLE

pytestmark = pytest.mark.parametrize(
    "configuration",
    [*(place for place in WHOLE if place != POOLED), *ONCE_OVER],
    indirect=True,
)


@pytest.fixture
def key(store_name: str) -> str:
    return f"{store_name}:é*[k]?\\"


async def stored(engine: Engine, key: str) -> Stored | None:
    batch = engine.values.batch()
    found = batch.get_with_expiry(key)
    await batch.send()
    return found.result()


async def test_a_batch_is_one_round_trip(engine: Engine, key: str, configuration: str) -> None:
    await engine.values.increment(f"{key}s", "warm", 1)
    batch = engine.values.batch()
    batch.increment_many(f"{key}s", {"warm": 1})
    await batch.send()
    before = engine.round_trips
    batch = engine.values.batch()
    absent, stored = batch.get(key), batch.set(key, b"\0\xff", ttl_seconds=100)
    there, fields = batch.get_with_expiry(key), batch.read_map(f"{key}m")
    batch.increment_many(f"{key}s", {"a": 2, "b": -1})
    some = batch.read_fields(f"{key}s", ["b", "none", "a"])
    with pytest.raises(EngineError, match="not sent"):
        absent.result()
    await batch.send()
    assert engine.round_trips - before == (0 if configuration in (FILE, MEMORY) else 1)
    assert absent.result() is None
    assert stored.result() is True
    found = there.result()
    assert found is not None
    assert found.value == b"\0\xff"
    assert found.left_ms is not None
    assert 98_000 < found.left_ms <= 100_000
    assert fields.result() == {}
    assert some.result() == {"a": b"2", "b": b"-1"}


async def test_one_that_fails_takes_no_other_with_it(engine: Engine, key: str) -> None:
    await engine.values.set(key, b"a string")
    await engine.values.write_map(f"{key}m", {"text": b"x", "number": b"1"})
    batch = engine.values.batch()
    first = batch.set(f"{key}1", b"1")
    wrong = batch.write_map(key, {"f": b"v"})
    half = batch.increment_many(f"{key}m", {"number": 5, "text": 1})
    last = batch.get(f"{key}1")
    await batch.send()
    assert first.result() is True
    assert last.result() == b"1"
    for failed in (wrong, half):
        with pytest.raises(EngineError):
            failed.result()
    assert await engine.values.get(key) == b"a string"
    assert await engine.values.read_map(f"{key}m") == {"text": b"x", "number": b"1"}


async def test_only_if_it_is_as_expected(engine: Engine, key: str) -> None:
    values = engine.values
    assert await values.set(key, b"1", only_if_absent=True)
    assert not await values.set(key, b"2", only_if_absent=True)
    assert not await values.delete(key, only_if=b"2")
    assert await values.get(key) == b"1"
    assert await values.delete(key, only_if=b"1")
    assert not await values.delete(key, only_if=b"1")
    await values.write_map(key, {"a": b"1", "b": b"2"})
    assert not await values.delete(key, only_if=b"1")
    batch = values.batch()
    kept, taken = batch.remove_field_if(key, "a", b"2"), batch.remove_field_if(key, "b", b"2")
    await batch.send()
    assert (kept.result(), taken.result()) == (False, True)
    assert await values.read_map(key) == {"a": b"1"}


async def test_exchanging_gives_what_was_there(engine: Engine, key: str) -> None:
    batch = engine.values.batch()
    first, second = batch.exchange(key, b"1"), batch.exchange(key, b"2", ttl_seconds=50)
    await batch.send()
    assert (first.result(), second.result()) == (None, b"1")
    found = await stored(engine, key)
    assert found is not None
    assert found.value == b"2"
    assert found.expires_at_ms is not None
    await engine.values.delete(key)
    await engine.values.write_map(key, {"a": b"1"})
    batch = engine.values.batch()
    refused = batch.exchange(key, b"3")
    await batch.send()
    with pytest.raises(EngineError):
        refused.result()
    assert await engine.values.read_map(key) == {"a": b"1"}


@pytest.mark.waits
async def test_a_string_is_not_read_as_a_map_nor_a_map_as_a_string(engine: Engine, key: str) -> None:
    await engine.values.set(key, b"1")
    await engine.values.write_map(f"{key}m", {"a": b"1"})
    batch = engine.values.batch()
    refused = batch.read_map(key), batch.read_fields(key, ["a"]), batch.get(f"{key}m"), batch.get_with_expiry(f"{key}m")
    read = batch.get(key), batch.read_map(f"{key}m")
    await batch.send()
    for reply in refused:
        with pytest.raises(EngineError):
            reply.result()
    assert [reply.result() for reply in read] == [b"1", {"a": b"1"}]
    await engine.values.set(f"{key}m", b"1", ttl_seconds=1)
    await engine.values.delete(key)
    assert await engine.values.read_map(key) == {}
    await asyncio.sleep(1.1)
    assert await engine.values.read_map(f"{key}m") == {}


async def test_an_expiry_moves_only_from_where_it_was_seen(engine: Engine, key: str) -> None:
    await engine.values.set(key, b"1", ttl_seconds=10)
    seen = await stored(engine, key)
    assert seen is not None
    batch = engine.values.batch()
    wrong, never = (
        batch.expire(key, 100, only_if=ExpiresAt((seen.expires_at_ms or 0) + 1)),
        batch.expire(key, 100, only_if=ExpiresAt(None)),
    )
    right, again = (batch.expire(key, 100, only_if=ExpiresAt(seen.expires_at_ms)) for _ in range(2))
    absent, absent_unless = batch.expire(f"{key}none", 9), batch.expire(f"{key}none", 9, only_if=ExpiresAt(None))
    await batch.send()
    assert [reply.result() for reply in (wrong, never, right, again, absent, absent_unless)] == [
        *(False, False, True, False, False, False)
    ]
    moved = await stored(engine, key)
    assert moved is not None
    assert moved.left_ms is not None
    assert 98_000 < moved.left_ms <= 100_000
    batch = engine.values.batch()
    ended, twice = batch.persist(key), batch.persist(key)
    unconditional = batch.expire(key, 7, only_if=ExpiresAt(None))
    await batch.send()
    assert (ended.result(), twice.result(), unconditional.result()) == (True, False, True)


async def test_a_field_that_is_there_is_not_added(engine: Engine, key: str) -> None:
    batch = engine.values.batch()
    added, again = batch.add_field(key, "model", b"one"), batch.add_field(key, "model", b"two")
    beside = batch.add_field(key, "other", b"")
    await batch.send()
    assert (added.result(), again.result(), beside.result()) == (True, False, True)
    assert await engine.values.read_map(key) == {"model": b"one", "other": b""}


@pytest.mark.waits
async def test_a_map_outlives_what_it_must(engine: Engine, key: str) -> None:
    short, longer, lasting = key, f"{key}longer", f"{key}lasting"

    async def never_expires(key: str) -> bool:
        batch = engine.values.batch()
        moved = batch.expire(key, 1000, only_if=ExpiresAt(None))
        batch.persist(key)
        await batch.send()
        return moved.result()

    async def write(key: str, fields: dict[str, bytes], outlive_seconds: int | None) -> None:
        batch = engine.values.batch()
        done = batch.write_map(key, fields, outlive_seconds=outlive_seconds)
        await batch.send()
        done.result()

    await write(longer, {"c": b"3"}, 1)
    await write(longer, {"d": b"4"}, 100)
    await write(longer, {"e": b"5"}, 1)
    await write(lasting, {"f": b"6"}, None)
    await write(lasting, {"g": b"7"}, 1)
    assert await never_expires(lasting)
    await write(short, {"a": b"1"}, 3)
    await write(short, {"b": b"2"}, None)
    assert await engine.values.read_map(short) == {"a": b"1", "b": b"2"}
    await asyncio.sleep(3.1)
    assert await engine.values.read_map(short) == {}
    assert not await engine.values.delete(short)
    assert set(await engine.values.read_map(longer)) == {"c", "d", "e"}
    assert set(await engine.values.read_map(lasting)) == {"f", "g"}


@pytest.mark.waits
async def test_keys_below_a_prefix_and_no_others(engine: Engine, key: str) -> None:
    values = engine.values
    names = {f"{key}{number:03}" for number in range(120)} | {key}
    for name in sorted(names)[:60]:
        await values.set(name, b"1")
    for name in sorted(names)[60:]:
        await values.write_map(name, {"a": b"1", "b": b"2"})
    for other in (key[:-1], key.upper(), key.replace("*", "x"), "a" + key):
        await values.set(other, b"1")
    await values.set(f"{key}gone", b"1", ttl_seconds=1)
    batch = values.batch()
    batch.write_map(f"{key}gone too", {"a": b"1"}, outlive_seconds=1)
    await batch.send()
    await asyncio.sleep(1.1)
    pages = [page async for page in values.scan_keys(key, page_size=10)]
    assert {name for page in pages for name in page} == names
    assert [name async for page in values.scan_keys(f"{key}nothing") for name in page] == []


@pytest.mark.parametrize("ttl", [0, -1, 1.5, True])
async def test_a_time_to_live_is_whole_seconds(engine: Engine, key: str, ttl: int) -> None:
    batch = engine.values.batch()
    for refuse in (
        lambda: batch.set(key, b"1", ttl_seconds=ttl),
        lambda: batch.exchange(key, b"1", ttl_seconds=ttl),
        lambda: batch.expire(key, ttl),
        lambda: batch.write_map(key, {"a": b"1"}, outlive_seconds=ttl),
    ):
        with pytest.raises(InvalidInputError):
            refuse()
    await batch.send()
    assert await engine.values.get(key) is None


@pytest.mark.waits
async def test_a_lease_that_does_not_last_leaves_nothing(engine: Engine, key: str) -> None:
    leases = engine.leases
    assert await leases.acquire(key, "a", ttl_seconds=60, lasting=False) == 1
    assert await leases.acquire(key, "b", ttl_seconds=5, lasting=False) is None
    assert await leases.renew(key, "a", ttl_seconds=0.3)
    await asyncio.sleep(0.4)
    assert not await leases.renew(key, "a", ttl_seconds=5)
    assert [name async for page in engine.values.scan_keys(key) for name in page] == []
    assert await leases.acquire(key, "b", ttl_seconds=5, lasting=False) is not None
    assert not await leases.release(key, "a")
    assert await leases.release(key, "b")
    assert [name async for page in engine.values.scan_keys(key) for name in page] == []
    assert await leases.acquire(key, "c", ttl_seconds=5, lasting=False) == 1
    await leases.release(key, "c")
