from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis.asyncio
import valkey.asyncio

from betterdb_agent_memory.engines.base import Outcome, RecordChange
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from betterdb_agent_memory.errors import EngineUnavailableError, OutcomeUnknownError, PartialBatchError
from tests.engines.searching import nearest
from tests.engines.valkey.samples import collection, record, vector
from tests.proxy import Proxy
from tests.servers import ValkeyServer


@pytest.fixture
def proxy(valkey_server: ValkeyServer) -> Iterator[Proxy]:
    with Proxy(valkey_server.port) as proxy:
        yield proxy


@pytest.fixture(params=["url", "valkey", "redis"])
async def behind_proxy(
    request: pytest.FixtureRequest, proxy: Proxy, store_name: str
) -> AsyncIterator[tuple[ValkeyEngine, ValkeyRecords]]:
    # redis-py repeats a failed request three times unless told otherwise.
    clients: dict[str, Any] = {"valkey": valkey.asyncio.Valkey, "redis": redis.asyncio.Redis}
    engine = (
        ValkeyEngine.from_url(proxy.url)
        if request.param == "url"
        else ValkeyEngine(clients[request.param](port=proxy.port), owns_client=True)
    )
    records = engine.records(collection(store_name))
    await records.prepare(4)
    await records.write_many([record("1")])
    await records.change_many([RecordChange("1", {}, {"access_count": 0})])
    yield engine, records
    await engine.close()


async def access_count(records: ValkeyRecords) -> bytes:
    [fields] = await records.read_many(["1"], ["access_count"])
    assert fields is not None
    return fields["access_count"]


@pytest.mark.parametrize(("fault", "counted"), [("before", b"0"), ("after", b"1")])
async def test_an_increment_is_sent_at_most_once_whatever_breaks(
    proxy: Proxy, behind_proxy: tuple[ValkeyEngine, ValkeyRecords], fault: Any, counted: bytes
) -> None:
    engine, records = behind_proxy
    proxy.fail_next(fault, b"EVALSHA")
    with pytest.raises(OutcomeUnknownError) as failure:
        await records.change_many([RecordChange("1", {}, {"access_count": 1})])
    assert failure.value.ids == ("1",)
    assert await access_count(records) == counted
    key = f"{records._collection.key_prefix}map:x"
    proxy.fail_next(fault, b"HINCRBY")
    with pytest.raises(OutcomeUnknownError):
        await engine.values.increment(key, "n", 1)
    assert (await engine.values.read_map(key)).get("n", b"0") == counted


@pytest.mark.parametrize(("fault", "stored"), [("before", 1), ("after", 4)])
async def test_a_broken_write_names_its_records_and_leaves_each_whole_or_absent(
    proxy: Proxy, behind_proxy: tuple[ValkeyEngine, ValkeyRecords], fault: Any, stored: int
) -> None:
    _, records = behind_proxy
    proxy.fail_next(fault, b"EVALSHA")
    with pytest.raises(OutcomeUnknownError) as failure:
        await records.write_many([record(id, ttl_seconds=60) for id in ("a", "b", "c")])
    assert failure.value.ids == ("a", "b", "c")
    assert await records.count(Filter()) == stored


async def test_a_batch_broken_in_its_second_request_says_what_was_written(
    proxy: Proxy, behind_proxy: tuple[ValkeyEngine, ValkeyRecords]
) -> None:
    _, records = behind_proxy
    ids = [f"r{n:04}" for n in range(1200)]
    proxy.fail_next("before", b"r0700")
    with pytest.raises(PartialBatchError) as failure:
        await records.write_many([record(id) for id in ids])
    assert set(failure.value.done) >= set(ids[:500])
    assert isinstance(failure.value.failed["r0700"], OutcomeUnknownError)
    assert isinstance(failure.value.failed["r1100"], EngineUnavailableError)
    found = {id for id, fields in zip(ids, await records.read_many(ids, ["content"]), strict=True) if fields}
    assert set(failure.value.done) <= found
    assert found.isdisjoint(ids[1000:])


async def test_reads_recover_from_connections_that_the_server_closed(
    proxy: Proxy, behind_proxy: tuple[ValkeyEngine, ValkeyRecords]
) -> None:
    _, records = behind_proxy
    proxy.cut_all()
    await asyncio.sleep(0.05)
    assert await records.count(Filter()) == 1
    proxy.cut_all()
    await asyncio.sleep(0.05)
    assert await records.change_many([RecordChange("1", {}, {"access_count": 1})]) == [Outcome.CHANGED]


async def test_a_request_cancelled_while_it_hangs_leaves_the_client_usable(
    proxy: Proxy, behind_proxy: tuple[ValkeyEngine, ValkeyRecords]
) -> None:
    _, records = behind_proxy
    for command, step in (
        (b"FT.SEARCH", lambda: nearest(records, vector(1, 0, 0, 0), count=1, filter=Filter(), fields=["content"])),
        (b"EVALSHA", lambda: records.write_many([record("2")])),
        (b"HMGET", lambda: records.read_many(["1", "2"], ["content"])),
    ):
        proxy.fail_next("stall", command)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await step()
        proxy.release()
        assert await access_count(records) == b"0"
        assert await records.delete_many(["1", "gone"]) == [True, False]
        await records.write_many([record("1")])


async def test_a_server_that_is_gone_and_comes_back(store_name: str) -> None:
    server = ValkeyServer()
    with server:
        with Proxy(server.port) as proxy:
            engine = ValkeyEngine.from_url(proxy.url)
            records = engine.records(collection(store_name))
            await records.prepare(4)
            proxy.cut_all()
        with pytest.raises(EngineUnavailableError):
            await records.count(Filter())
        with pytest.raises(EngineUnavailableError):
            await records.write_many([record("1")])
        await engine.close()


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_a_question_survives_a_connection_that_breaks_meanwhile(
    proxy: Proxy, behind_proxy: tuple[ValkeyEngine, ValkeyRecords], fault: Any
) -> None:
    _, records = behind_proxy
    for pattern in (b"FT.SEARCH", b"HMGET"):
        proxy.fail_next(fault, pattern)
        near = await nearest(records, vector(1, 0, 0, 0), count=3, filter=Filter(), fields=["content"])
        assert [row.id for row in near] == ["1"]
        assert await records.read_many(["1"], ["access_count"]) == [{"access_count": b"0"}]


async def test_a_server_that_does_not_answer_in_time_is_not_asked_again(
    proxy: Proxy, valkey_server: ValkeyServer, store_name: str
) -> None:
    engine = ValkeyEngine(valkey.asyncio.Valkey(port=proxy.port, socket_timeout=0.2), owns_client=True)
    records = engine.records(collection(store_name))
    await records.prepare(4)
    asked = engine.round_trips
    proxy.fail_next("stall", b"FT.SEARCH")
    with pytest.raises(EngineUnavailableError):
        await nearest(records, vector(1, 0, 0, 0), count=3, filter=Filter(), fields=["content"])
    assert engine.round_trips - asked == 1
    proxy.release()
    assert await nearest(records, vector(1, 0, 0, 0), count=3, filter=Filter(), fields=["content"]) == []
    await engine.close()
