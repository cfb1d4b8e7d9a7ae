"""What concerns a collection as a whole: every key of it, its index made anew, its end."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest
import redis.asyncio
import valkey.asyncio

from betterdb_agent_memory.engines.base import IndexState, Row
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from betterdb_agent_memory.errors import IndexMismatchError, InvalidInputError
from tests.engines.searching import nearest
from tests.engines.valkey.samples import collection, record, vector
from tests.servers import ValkeyServer


async def scanned(records: ValkeyRecords, fields: list[str], page_size: int = 1000) -> dict[str, Row]:
    return {row.id: row async for page in records.scan(fields, page_size=page_size) for row in page}


async def indexed(records: ValkeyRecords) -> IndexState:
    while (state := await records.inspect()).indexing:  # noqa: ASYNC110 - the server tells no other way
        await asyncio.sleep(0.01)
    return state


@pytest.mark.parametrize("library", [valkey.asyncio.Valkey, redis.asyncio.Redis])
@pytest.mark.parametrize("options", [{"protocol": 2}, {"protocol": 3}, {"protocol": 3, "decode_responses": True}])
async def test_a_scan_finds_what_no_index_knows(
    valkey_server: ValkeyServer, store_name: str, library: Any, options: dict[str, Any]
) -> None:
    client = library(port=valkey_server.port, **options)
    # Every character that means something in a pattern.
    name = f"{store_name}*?[a-z]^\\é"
    records = ValkeyEngine(client).records(collection(name))
    expected = [f"{n}é" for n in range(1200)]
    await records.write_many([record(id, vector=vector(1, 2)) for id in expected])
    await client.set(f"{name}:mem:text", "no hash")
    await client.hset(f"{name}:mem:idx:other", mapping={"content": "somebody else's"})
    await client.hset(f"{store_name}xyb^\\é:mem:1", mapping={"content": "not ours"})
    await client.hset(f"{name}:mem:fragment", mapping={"access_count": "1"})
    found = await scanned(records, ["content", "vector"], page_size=100)
    assert sorted(found) == sorted(expected)
    assert found["7é"].fields == {"content": "text of 7é".encode(), "vector": vector(1, 2)}
    assert "fragment" in await scanned(records, ["access_count"])
    assert await records.read_many(["7é", "gone"], None) == [
        record("7é", vector=vector(1, 2)).fields,
        None,
    ]
    assert await records.drop() == len(expected) + 1
    await client.aclose()


async def test_a_scan_meets_all_that_stays_while_others_come_and_go(
    records: ValkeyRecords, engine: ValkeyEngine
) -> None:
    staying = {f"stay{n}" for n in range(2000)}
    await records.write_many([record(id) for id in staying])
    seen: set[str] = set()
    pages = 0
    async for page in records.scan(["content"], page_size=100):
        seen |= {row.id for row in page}
        pages += 1
        if pages <= 40:
            # The table of keys grows and shrinks meanwhile.
            await records.write_many([record(f"{pages}-{n}") for n in range(150)])
            await records.delete_many([f"{pages - 2}-{n}" for n in range(150)])
    assert staying <= seen
    assert pages > 5
    with pytest.raises(InvalidInputError):
        await scanned(records, ["content"], page_size=0)


async def test_an_index_made_anew_holds_vectors_of_the_new_length_only(
    engine: ValkeyEngine, records: ValkeyRecords
) -> None:
    await records.write_many([record(f"old{n}") for n in range(30)])
    before = engine.round_trips
    state = await records.rebuild(2)
    assert engine.round_trips - before == 3
    assert (state.dimensions, state.created) == (2, True)
    assert 0 <= state.indexed_fraction <= 1
    await records.write_many([record("new", vector=vector(1, 0))])
    state = await indexed(records)
    assert (state.indexed_fraction, state.failures) == (1.0, 30)
    near = await nearest(records, vector(1, 0), count=50, filter=Filter(), fields=["content"])
    assert [row.id for row in near] == ["new"]
    assert sorted(await scanned(records, ["content"])) == sorted(["new", *(f"old{n}" for n in range(30))])
    assert (await records.rebuild(4)).dimensions == 4
    await indexed(records)
    assert await records.count(Filter()) == 30


async def test_rebuilding_says_how_far_it_is(engine: ValkeyEngine, records: ValkeyRecords) -> None:
    await records.write_many([record(f"{n:05}") for n in range(5000)])
    state = await records.rebuild(4)
    fractions = [state.indexed_fraction]
    while state.indexing:
        state = await records.inspect()
        fractions.append(state.indexed_fraction)
    assert fractions[0] < 1
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert await records.count(Filter()) == 5000


async def test_there_need_be_no_index_to_make_one_anew(engine: ValkeyEngine, store_name: str) -> None:
    records = engine.records(collection(store_name))
    assert (await records.rebuild(4)).created
    with pytest.raises(InvalidInputError):
        await records.rebuild(0)
    assert (await records.inspect()).dimensions == 4


async def test_many_who_rebuild_at_once_agree(valkey_server: ValkeyServer, store_name: str) -> None:
    engines = [ValkeyEngine.from_url(valkey_server.url) for _ in range(10)]
    try:
        await asyncio.gather(*(engine.values.get("nothing") for engine in engines))
        collections = [engine.records(collection(store_name)) for engine in engines]
        states = await asyncio.gather(*(records.rebuild(4) for records in collections))
        assert {state.dimensions for state in states} == {4}
        assert any(state.created for state in states)
        outcomes = await asyncio.gather(
            *(records.rebuild(5 + n) for n, records in enumerate(collections)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} <= {IndexState, IndexMismatchError}
        assert (await collections[0].inspect()).dimensions in range(5, 15)
    finally:
        await asyncio.gather(*(engine.close() for engine in engines))


async def test_dropping_takes_every_record_and_nobody_elses_keys(
    engine: ValkeyEngine, records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    inner = engine.records(collection(f"{store_name}:mem"))
    await inner.prepare(4)
    await inner.write_many([record(f"i{n}") for n in range(20)])
    await records.write_many([record(f"{n}", ttl_seconds=100) for n in range(1500)])
    await records.write_many([record("odd", vector=vector(1, 2, 3))])
    await valkey_client.set(f"{store_name}:stats", "kept")
    assert await records.drop() == 1501
    assert (await records.inspect()).dimensions is None
    assert await scanned(records, ["content"]) == {}
    assert await inner.count(Filter()) == 20
    assert await valkey_client.get(f"{store_name}:stats") == b"kept"
    assert await records.drop() == 0
    assert await inner.drop() == 20


async def test_expiries_are_told_to_the_millisecond(
    engine: ValkeyEngine, records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    at_ms = 4_000_000_000_123
    await records.write_many([record("1"), record("2")])
    await valkey_client.execute_command("PEXPIREAT", f"{store_name}:mem:2", at_ms)
    before = engine.round_trips
    assert await records.read_expiries(["2", "1", "gone", "a:b", "2"]) == [at_ms, None, None, None, at_ms]
    assert engine.round_trips - before == 1


async def test_lifetimes_are_told_in_one_round_trip(engine: ValkeyEngine, records: ValkeyRecords) -> None:
    await records.write_many([record("1"), record("2", expires_at_ms=4_000_000_000_123)])
    before = engine.round_trips
    some, never, gone, strange = await records.read_lifetimes(["2", "1", "gone", "a:b"])
    assert engine.round_trips - before == 1
    assert (never, gone, strange) == (math.inf, 0, 0)
    assert 0 < some < 4_000_000_000_123 - 1000 * time.time() + 60_000


async def test_expiries_are_told_by_servers_that_know_only_the_time_left(store_name: str) -> None:
    with ValkeyServer(arguments=("--rename-command", "PEXPIRETIME", "")) as server:
        engine = ValkeyEngine.from_url(server.url)
        records = engine.records(collection(store_name))
        await records.write_many([record("1"), record("2", expires_at_ms=4_000_000_000_123)])
        never, at_ms, gone = await records.read_expiries(["1", "2", "gone"])
        assert (never, gone) == (None, None)
        assert at_ms is not None
        assert abs(at_ms - 4_000_000_000_123) <= 50
        await engine.close()
