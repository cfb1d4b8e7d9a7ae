"""Links where no script may touch two keys, as in an untagged store on a cluster; and files without links."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from betterdb_agent_memory.engines.base import LinkedRecords, RecordChange
from betterdb_agent_memory.engines.links import MAX_LINKS, LinkChange, LinkReach
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.memory.record import memory_collection
from tests.acl import make_user
from tests.conformance.test_links import NOW_MS, Place, of
from tests.engines.test_beside import _ApartClient
from tests.servers import ValkeyServer


@pytest.fixture
async def place(valkey_server: ValkeyServer, store_name: str) -> AsyncIterator[Place]:
    client = valkey_server.client()
    engine = ValkeyEngine(client)
    engine._client = _ApartClient(client)
    made = Place(engine, store_name)
    await made.records.prepare(4)
    yield made
    await client.aclose()


async def test_links_are_written_end_by_end(place: Place) -> None:
    await place.write("a", "b", "c")
    changes = [LinkChange("a", "b", of(0.5)), LinkChange("b", "a", of(0.25)), LinkChange("a", "nobody", of(1.0))]
    assert await place.links.strengthen(changes, now_ms=NOW_MS) == [True, True, False]
    assert await place.links.put([LinkChange("b", "c", of(2.0))], now_ms=NOW_MS) == [True]
    assert await place.weights("b") == {"a": 0.75, "c": 2.0}
    assert await place.weights("a") == {"b": 0.75}
    found = await place.links.around(["a"], LinkReach(0.25, followed=2, enough=2), now_ms=NOW_MS)
    assert {id: [end.id for end in ends] for id, ends in found.items()} == {"a": ["b"], "b": ["c", "a"]}
    assert await place.links.remove([("a", "b"), ("a", "b")]) == [True, False]
    await place.links.forget(["c"])
    assert await place.weights("b") == {}


async def test_the_strongest_stay_at_both_ends(place: Place) -> None:
    ids = [f"m{number}" for number in range(MAX_LINKS + 3)]
    await place.write("hub", *ids)
    changes = [LinkChange("hub", id, of(1 + number)) for number, id in enumerate(ids)]
    await place.links.strengthen(changes, now_ms=NOW_MS)
    assert set(await place.weights("hub")) == set(ids[3:])
    assert await place.weights(ids[2]) == {}
    assert await place.weights(ids[3]) == {"hub": 4.0}


async def test_links_gain_beside_a_change(place: Place) -> None:
    await place.write("a", "b")
    await place.records.change_many([RecordChange("a", sets={"source": b"s"}, links={"b": of(0.5)})])
    assert await place.weights("b") == {"a": 0.5}


async def test_a_deletion_goes_on_without_the_links(place: Place) -> None:
    await place.write("a", "b")
    await place.links.put([LinkChange("a", "b", of(1.0))], now_ms=NOW_MS)
    assert await place.records.delete_many(["b"]) == [True]
    assert await place.weights("a") == {"b": 1.0}
    assert await place.records.drop() == 1


async def test_round_trips(valkey_server: ValkeyServer, store_name: str) -> None:
    client = valkey_server.client()
    engine = ValkeyEngine(client)
    place = Place(engine, store_name)
    await place.records.prepare(4)
    await place.write("a", "b", "c")
    changes = [LinkChange("a", "b", of(0.5)), LinkChange("a", "c", of(0.5))]

    async def once() -> list[int]:
        counts = []
        for call in (
            place.links.strengthen(changes, now_ms=NOW_MS),
            place.links.put(changes, now_ms=NOW_MS),
            place.links.neighbours(["a", "b", "c"], now_ms=NOW_MS),
            place.links.around(["a", "b"], LinkReach(0.1, followed=4, enough=9), now_ms=NOW_MS),
            place.records.change_many([RecordChange(id, links={"a": of(0.1)}) for id in "bc"]),
            place.links.remove([("a", "b")]),
            place.links.forget(["a", "b"]),
            place.records.delete_many(["a"]),
        ):
            before = engine.round_trips
            await call
            counts.append(engine.round_trips - before)
        return counts

    await once()
    assert await once() == [1] * 8
    await client.aclose()


async def test_the_documented_rights_are_enough(valkey_server: ValkeyServer, store_name: str) -> None:
    user = await make_user(valkey_server, store_name)
    engine = ValkeyEngine.from_url(f"valkey://{user}@127.0.0.1:{valkey_server.port}")
    place = Place(engine, store_name)
    await place.records.prepare(4)
    ids = [f"m{number}" for number in range(MAX_LINKS + 2)]
    await place.write("hub", *ids)
    changes = [LinkChange("hub", id, of(1 + number)) for number, id in enumerate(ids)]
    assert all(await place.links.strengthen(changes, now_ms=NOW_MS))
    assert len(await place.links.around(["hub"], LinkReach(0.1, followed=4, enough=9), now_ms=NOW_MS)) == 5
    await place.records.change_many([RecordChange("hub", links={"m7": of(0.5)})])
    assert await place.links.remove([("hub", "m7")]) == [True]
    assert await place.records.delete_many(["hub"]) == [True]
    await place.links.forget(["m8"])
    assert await place.weights("m9") == {}
    await engine.close()


async def test_a_deletion_costs_one_command_whether_there_are_links_or_not(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    client = valkey_server.client()
    engine = ValkeyEngine(client)
    records = engine.records(memory_collection(store_name))
    place = Place(engine, store_name)
    await place.write("a", "b", "c")
    await records.delete_many(["a"])
    calls = await client.info("commandstats")
    before = {name: stats["calls"] for name, stats in calls.items()}
    await records.delete_many(["b"])
    after = {name: stats["calls"] for name, stats in (await client.info("commandstats")).items()}
    done = {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)}
    # Of which the script does all but one.
    assert done == {"cmdstat_evalsha": 1, "cmdstat_del": 1, "cmdstat_exists": 1, "cmdstat_info": 1}
    assert LinkedRecords.of(memory_collection(store_name)).prefix == f"{store_name}:link:"
    await client.aclose()
