"""Storing records: new ones, in place of others, or as a change of what is there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest
import valkey
import valkey.asyncio

from betterdb_agent_memory.engines.base import Outcome, RecordChange, RecordWrite
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.engines.valkey import ValkeyEngine, client
from betterdb_agent_memory.engines.valkey.packing import Command, packed
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from betterdb_agent_memory.errors import InvalidInputError, PartialBatchError
from tests.engines.valkey.samples import collection, record, record_of
from tests.engines.valkey.turns import BRIEF, longest_turn
from tests.proxy import Proxy
from tests.servers import ValkeyServer


def new(id: str, **fields: str | bytes) -> RecordWrite:
    write = record_of(id, fields)
    return RecordWrite(id, write.fields, is_new=True)


async def test_every_kind_of_write_goes_in_one_request(
    engine: ValkeyEngine, records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    await records.write_many([record("there", source="old"), record("warm")])
    await records.write_many([RecordWrite("warm", {"content": b"x"}, if_exists=RecordChange("warm"))])
    reinforced = RecordChange("there", increments={"access_count": 1}, unions={"tags": b"a"})
    in_a_minute = int(time.time() * 1000) + 60_000
    writes = [
        new("new"),
        record("replaced"),
        record("replaced", ttl_seconds=50),
        RecordWrite("there", {"content": b"other"}, if_exists=reinforced),
        RecordWrite("absent", {"content": b"stored"}, ttl_seconds=40, if_exists=RecordChange("absent")),
        record("timed", expires_at_ms=in_a_minute),
        RecordWrite("there", {"content": b"other"}, if_exists=RecordChange("there", expected={"content": None})),
    ]
    before = engine.round_trips
    assert await records.write_many(writes) == [
        Outcome.WRITTEN,
        Outcome.WRITTEN,
        Outcome.WRITTEN,
        Outcome.CHANGED,
        Outcome.WRITTEN,
        Outcome.WRITTEN,
        Outcome.REFUSED,
    ]
    assert engine.round_trips - before == 1
    [there] = await records.read_many(["there"], ["content", "access_count", "tags", "source"])
    assert there == {"content": b"text of there", "access_count": b"1", "tags": b"a", "source": b"old"}
    assert await records.read_many(["absent", "new"], ["content"]) == [
        {"content": b"stored"},
        {"content": b"text of new"},
    ]
    ttls = [await valkey_client.ttl(f"{store_name}:mem:{write.id}") for write in writes]
    assert ttls[0] == -1
    assert 45 < ttls[2] <= 50
    assert 35 < ttls[4] <= 40
    assert await records.read_expiries(["timed", "new"]) == [in_a_minute, None]


async def test_a_new_record_takes_no_script(records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey) -> None:
    await valkey_client.config_resetstat()
    await records.write_many([new(f"{n}") for n in range(10)])
    statistics = await valkey_client.info("commandstats")
    assert statistics["cmdstat_hset"]["calls"] >= 10
    assert {"cmdstat_eval", "cmdstat_evalsha"}.isdisjoint(statistics)
    assert await records.count(Filter()) == 10


async def test_a_record_whose_time_is_past_is_not_there_afterwards(records: ValkeyRecords) -> None:
    await records.write_many([record("1", source="old")])
    past = int(time.time() * 1000) - 1000
    assert await records.write_many([record("1", expires_at_ms=past), record("2", expires_at_ms=0)]) == [
        Outcome.WRITTEN,
        Outcome.WRITTEN,
    ]
    assert await records.read_many(["1", "2"], None) == [None, None]
    assert await records.count(Filter()) == 0


async def test_a_fragment_is_no_record_and_is_replaced(engine: ValkeyEngine, records: ValkeyRecords) -> None:
    key = f"{records._collection.key_prefix}1"
    await engine.values.write_map(key, {"access_count": b"7", "tags": b"old"})
    write = RecordWrite("1", {"content": b"whole"}, if_exists=RecordChange("1", increments={"access_count": 1}))
    assert await records.write_many([write]) == [Outcome.WRITTEN]
    assert await engine.values.read_map(key) == {"content": b"whole"}


async def test_however_many_write_the_same_record_at_once_one_stores_it(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    engines = [ValkeyEngine.from_url(valkey_server.url) for _ in range(8)]
    ids = [f"{n}" for n in range(100)]

    def write(id: str, worker: int) -> RecordWrite:
        importance = f"0.{worker}".encode()
        change = RecordChange(id, increments={"access_count": 1}, raises={"importance": importance})
        return RecordWrite(id, record(id, importance=importance).fields, if_exists=change)

    outcomes = await asyncio.gather(
        *(
            engine.records(collection(store_name)).write_many([write(id, n) for id in ids])
            for n, engine in enumerate(engines)
        )
    )
    for of_one in zip(*outcomes, strict=True):
        assert sorted(of_one) == [Outcome.CHANGED] * 7 + [Outcome.WRITTEN]
    stored = await engines[0].records(collection(store_name)).read_many(ids, ["access_count", "importance"])
    assert all(fields == {"access_count": b"7", "importance": b"0.7"} for fields in stored)
    await asyncio.gather(*(engine.close() for engine in engines))


@pytest.mark.parametrize(
    "write",
    [
        record("1", ttl_seconds=5, expires_at_ms=4_000_000_000_000),
        record("1", expires_at_ms=-1),
        record("1", expires_at_ms=10**18),
        record("1", expires_at_ms=1.5),  # type: ignore[arg-type]
        RecordWrite("1", {"content": b"x"}, if_exists=RecordChange("2")),
    ],
)
async def test_writes_that_cannot_be_meant_are_refused(
    engine: ValkeyEngine, records: ValkeyRecords, write: RecordWrite
) -> None:
    before = engine.round_trips
    with pytest.raises(InvalidInputError):
        await records.write_many([new("good"), write])
    assert engine.round_trips == before


async def test_a_new_record_that_fails_is_named_and_its_neighbours_are_there(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    await valkey_client.set(f"{store_name}:mem:2", "not a hash")
    with pytest.raises(PartialBatchError) as failure:
        await records.write_many([new("1"), new("2"), record("3")])
    assert (failure.value.done, set(failure.value.failed)) == (("1", "3"), {"2"})
    assert await records.count(Filter()) == 2


async def test_round_trips_of_the_newer_verbs(valkey_server: ValkeyServer, store_name: str) -> None:
    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        records = engine.records(collection(store_name))
        await records.prepare(4)
        ids = [f"{n}" for n in range(500)]
        change = RecordChange("0", increments={"access_count": 1})
        await records.write_many([RecordWrite("0", {"content": b"x"}, if_exists=change)])
        await records.change_many([change])
        await records.delete_many(["0"], expected=[{"content": b""}])
        await engine.leases.acquire(f"{store_name}:l", "o", ttl_seconds=9)
        for step, expected in (
            (records.write_many([new(id) for id in ids]), 1),
            (records.write_many([RecordWrite(i, {"content": b"x"}, if_exists=RecordChange(i)) for i in ids]), 1),
            (records.change_many([RecordChange(id, sets={"source": b"s"}) for id in ids]), 1),
            (records.read_many(ids, None), 1),
            (records.read_expiries(ids), 1),
            (records.delete_many(ids, expected=[{"source": b"s"}] * 500), 1),
            (records.rebuild(4), 3),
            (engine.leases.renew(f"{store_name}:l", "o", ttl_seconds=9), 1),
            (engine.values.remove_fields(f"{store_name}:l", ["none"]), 1),
            (engine.values.remove_fields(f"{store_name}:l", []), 0),
        ):
            wire, counted = proxy.round_trips, engine.round_trips
            await step
            assert (proxy.round_trips - wire, engine.round_trips - counted) == (expected, expected)
        await engine.close()


async def test_fields_of_a_map_can_be_taken_away(engine: ValkeyEngine, store_name: str) -> None:
    key = f"{store_name}:map"
    await engine.values.write_map(key, {"a": b"1", "b": b"2"})
    assert await engine.values.remove_fields(key, ["a", "c"]) == 1
    assert await engine.values.read_map(key) == {"b": b"2"}
    assert await engine.values.remove_fields(key, ["b"]) == 1
    assert not await engine.values.delete(key)


def test_commands_are_packed_as_the_client_library_does() -> None:
    commands: list[Command] = [
        ("HSET", "k\u00e9y", "field", b"\x00\xff\r\n", "n", 7),
        ("EVALSHA", "0" * 40, 1, "k\u00e9y", b"", "", -(10**15), 1, "1", b"1"),
        ("PING",),
    ]
    connection = valkey.Connection()
    assert packed(commands) == b"".join(connection.pack_commands(commands))


async def test_large_records_are_sent_four_megabytes_at_a_time_beside_the_loop(
    engine: ValkeyEngine, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def noting(commands: Sequence[Command]) -> bytes:
        threads.append(threading.get_ident())
        return packed(commands)

    monkeypatch.setattr(client, "packed", noting)
    records = engine.records(collection(store_name))
    writes = [record(f"{n}", content=bytes([65 + n]) * 1_000_000) for n in range(20)]
    writes.append(record("whole", content=b"w" * 5_000_000))
    before = engine.round_trips
    outcomes: list[Outcome] = []

    async def write() -> None:
        outcomes.extend(await records.write_many(writes))

    held_up = await longest_turn(write())
    assert set(outcomes) == {Outcome.WRITTEN}
    # Four to a request, one beyond the limit by itself; and once the script.
    assert 6 <= engine.round_trips - before <= 12
    assert threading.get_ident() not in threads[:6]
    assert held_up < BRIEF
    read = await records.read_many([write.id for write in writes], ["content"])
    assert [row and row["content"] for row in read] == [write.fields["content"] for write in writes]
    threads.clear()
    await records.write_many([record("small")])
    assert threads == [threading.get_ident()]
