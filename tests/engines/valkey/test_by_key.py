"""Questions that name the ids they are about."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import numpy as np
import pytest
import valkey.asyncio

from betterdb_agent_memory.engines.base import Position
from betterdb_agent_memory.engines.filters import AllOf, AnyOf, Between, Equals, Filter, IdIn, Not
from betterdb_agent_memory.engines.valkey import ValkeyEngine, by_key
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from tests.engines.searching import nearest
from tests.engines.valkey.samples import CREATED_AT_MS, collection, record, vector
from tests.engines.valkey.turns import BRIEF, longest_turn


def of(*ids: str) -> IdIn:
    return IdIn(frozenset(ids))


async def test_ids_are_read_and_not_searched_for(engine: ValkeyEngine, store_name: str) -> None:
    # No index at all: none is asked.
    records = engine.records(collection(store_name))
    await records.write_many([record(f"{n}", at=-n, vector=vector(1, n, 0, 0), threadId="t") for n in range(20)])
    some = Filter((of("3", "1", "2", "gone", "x:y"), Equals("threadId", "t")))
    before = engine.round_trips
    near = await nearest(records, vector(1, 0, 0, 0), count=2, filter=some, fields=["threadId"])
    assert ([row.id for row in near], near.exhausted) == (["1", "2"], False)
    assert near[0].fields == {"threadId": b"t"}
    page = await records.select(some, fields=["created_at"], limit=2, order_by="created_at")
    assert ([row.id for row in page.rows], page.total, page.scanned) == (["3", "2"], 3, 2)
    page = await records.select(some, fields=[], limit=2, offset=2, order_by="created_at", descending=True)
    assert ([row.id for row in page.rows], page.total) == (["3"], 3)
    assert await records.count(some) == 3
    assert engine.round_trips - before == 4
    walked = [row.id async for page in records.walk(some, fields=["content"]) for row in page]
    assert walked == ["3", "2", "1"]
    after = Position(CREATED_AT_MS - 2, "2")
    assert [row.id async for page in records.walk(some, fields=[], after=after) for row in page] == ["1"]


async def test_only_ids_that_must_hold_are_read_instead(records: ValkeyRecords) -> None:
    await records.write_many([record(f"{n}", threadId="t" if n else "u") for n in range(10)])
    for filter, expected in (
        (Filter((of("1", "2"), AllOf((of("2", "3"),)))), {"2"}),
        (Filter((of(),)), set()),
        (Filter((Not(of("1", "2")), Equals("threadId", "t"))), {f"{n}" for n in range(3, 10)}),
        (Filter((AnyOf((of("1"), Equals("threadId", "u"))),)), {"0", "1"}),
    ):
        assert await records.count(filter) == len(expected)
        page = await records.select(filter, fields=["threadId"], limit=50)
        assert {row.id for row in page.rows if filter.accepts(row.id, row.fields)} == expected
        near = await nearest(records, vector(1, 0, 0, 0), count=50, filter=filter, fields=["threadId"])
        assert {row.id for row in near if filter.accepts(row.id, row.fields)} == expected


async def test_distances_are_exact_and_vectors_that_cannot_be_compared_are_left_out(records: ValkeyRecords) -> None:
    dice = random.Random(1)
    vectors = {f"{n:03}": [dice.uniform(-1, 1) for _ in range(4)] for n in range(700)}
    await records.write_many([record(id, vector=vector(*numbers)) for id, numbers in vectors.items()])
    await records.write_many([record("short", vector=vector(1, 2)), record("zero", vector=vector(0, 0, 0, 0))])
    await records.write_many([record("odd", vector=vector(float("nan"), 1, 0, 0))])
    query = [0.3, -0.2, 0.9, 0.1]
    ids = Filter((of(*vectors, "short", "zero", "odd", "gone"),))
    near = await nearest(records, vector(*query), count=4000, filter=ids, fields=["content"])
    assert near.exhausted

    def distance(numbers: list[float]) -> float:
        one, other = np.array(numbers, dtype=np.float32), np.array(query, dtype=np.float32)
        return float(1 - one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))

    found = {row.id: row.distance for row in near}
    assert found == pytest.approx(
        {id: distance(numbers) for id, numbers in vectors.items()} | {"zero": 1, "odd": 1}, abs=1e-5
    )
    assert [row.distance for row in near] == sorted(row.distance for row in near)
    searched = await nearest(records, vector(*query), count=20, filter=Filter(), fields=["content"])
    assert [row.id for row in near][:20] == [row.id for row in searched]
    nowhere = await nearest(records, vector(0, 0, 0, 0), count=3, filter=ids, fields=[])
    assert [(row.id, row.distance) for row in nowhere] == [("000", 1), ("001", 1), ("002", 1)]


async def test_a_fragment_is_no_record(engine: ValkeyEngine, records: ValkeyRecords) -> None:
    await engine.values.write_map(f"{records._collection.key_prefix}f", {"access_count": b"1"})
    fragment = Filter((of("f"), Between("access_count", 1, 1)))
    assert await records.count(fragment) == 0
    assert (await records.select(fragment, fields=["access_count"], limit=5)).rows == ()


async def test_many_ids_cost_a_round_trip_per_five_hundred(engine: ValkeyEngine, records: ValkeyRecords) -> None:
    ids = [f"{n}" for n in range(1100)]
    await records.write_many([record(id) for id in ids])
    filter = Filter((of(*ids),))
    before = engine.round_trips
    assert await records.count(filter) == 1100
    assert engine.round_trips - before == 3
    await nearest(records, vector(1, 0, 0, 0), count=5, filter=filter, fields=["content"])
    assert engine.round_trips - before == 6


async def test_many_ids_do_not_hold_up_the_event_loop(engine: ValkeyEngine, store_name: str) -> None:
    records = engine.records(collection(store_name))
    ids = [f"{n}" for n in range(6_000)]
    await records.write_many([record(id, at=int(id)) for id in ids])
    all_of = Filter((of(*ids),))
    fields = ["content", "importance", "created_at", "access_count"]
    walked: list[str] = []

    async def walk() -> None:
        walked.extend([row.id async for page in records.walk(all_of, fields=fields, page_size=6_000) for row in page])

    assert await longest_turn(walk()) < BRIEF
    assert walked == ids
    selecting = records.select(all_of, fields=fields, limit=6_000, order_by="created_at", descending=True)
    assert await longest_turn(selecting) < BRIEF
    assert await longest_turn(records.read_many(ids, fields)) < BRIEF


async def test_what_is_sorted_and_decoded_for_many_ids_is_so_beside_the_loop(
    engine: ValkeyEngine, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = engine.records(collection(store_name))
    ids = [f"{n}" for n in range(600)]
    await records.write_many([record(id) for id in ids])
    threads: dict[str, set[int]] = {}
    watched = [(by_key, name) for name in ("_parsed", "_sort_by_number", "_sort_nearest")]
    for owner, name in (*watched, (Filter, "accepted")):
        work = getattr(owner, name)

        def noting(*arguments: object, name: str = name, work: Callable[..., object] = work) -> object:
            threads.setdefault(name, set()).add(threading.get_ident())
            return work(*arguments)

        monkeypatch.setattr(owner, name, noting)
    await records.read_many(ids, ["content"])
    await records.select(Filter((of(*ids),)), fields=["content"], limit=600)
    await nearest(records, vector(1, 0, 0, 0), count=600, filter=Filter((of(*ids),)), fields=["content"])
    assert all(used - {threading.get_ident()} for used in threads.values())
    assert len(threads) == 4


async def test_a_key_that_holds_no_record_is_none_and_hides_no_other(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    await records.write_many([record("mine")])
    await valkey_client.execute_command("LPUSH", f"{store_name}:mem:list", "x")
    await valkey_client.execute_command("SET", f"{store_name}:mem:text", "x")
    ids = ["list", "mine", "text"]
    for fields in (["content"], None):
        read = await records.read_many(ids, fields)
        assert [row is not None for row in read] == [False, True, False]
    some = Filter((of(*ids),))
    near = await nearest(records, vector(1, 0, 0, 0), count=9, filter=some, fields=["content"])
    assert [row.id for row in near] == ["mine"]
    assert (await records.count(some), (await records.select(some, fields=[], limit=9)).total) == (1, 1)
