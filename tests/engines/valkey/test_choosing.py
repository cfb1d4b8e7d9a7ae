"""The server chooses the worthiest neighbours: as an oracle would, or not at all."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from itertools import chain

import pytest
import valkey.asyncio

from betterdb_agent_memory import MemoryStore, RecallWeights
from betterdb_agent_memory.engines.base import Neighbour, Neighbours, RecordWrite, Search, Selection, Tally, Worth
from betterdb_agent_memory.engines.filters import Equals, Filter, HasTag
from betterdb_agent_memory.engines.valkey import ValkeyEngine, choosing
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from betterdb_agent_memory.errors import IndexMissingError
from betterdb_agent_memory.memory.record import NewMemory, encode_memory, memory_collection
from tests.engines.valkey.samples import CREATED_AT_MS, collection, record, vector
from tests.servers import ValkeyServer

QUESTION = vector(1, 0, 0, 0)
FIELDS = ("content", "importance", "created_at", "last_accessed_at", "threadId", "tags")
NOW_MS = CREATED_AT_MS + 1_000_000
WORTH = Worth(
    likeness=0.6,
    value=0.15,
    freshness=0.25,
    value_field="importance",
    time_fields=("created_at", "last_accessed_at"),
    now_ms=NOW_MS,
    half_life_seconds=500.0,
)
EVERYTHING = Filter()
ALICE = Filter((Equals("threadId", "alice"),))


async def found(
    records: ValkeyRecords, filter: Filter = ALICE, *, count: int = 32, selection: Selection | None, question: bytes
) -> Neighbours:
    search = Search(count, filter, selection=selection)
    [neighbours], _ = await records.search_many(question, [search], fields=FIELDS)
    return neighbours


async def chosen(
    records: ValkeyRecords, filter: Filter = ALICE, *, count: int = 32, threshold: float = 2.0
) -> Neighbours:
    return await found(records, filter, count=count, selection=Selection(3, threshold, WORTH), question=QUESTION)


def worth_by_definition(row: Neighbour, worth: Worth) -> float:
    created, accessed = (int(row.fields[name]) for name in worth.time_fields)
    age = (worth.now_ms - max(created, accessed)) / 1000
    if worth.clamps_age:
        age = max(age, 0.0)
    total = worth.likeness * (1 - row.distance / 2) + worth.value * float(row.fields["importance"])
    try:
        return total + (worth.freshness * 2.0 ** (-age / worth.half_life_seconds) if worth.freshness else 0.0)
    except OverflowError:
        return math.inf


def by_oracle(rows: Neighbours, filter: Filter, selection: Selection) -> Sequence[str]:
    """Ids, the worthiest first, by the definition."""
    related = [row for row in rows if row.distance <= selection.threshold and filter.accepts(row.id, row.fields)]
    ranked = sorted(related, key=lambda row: -worth_by_definition(row, selection.worth))
    return [row.id for row in ranked][: selection.count]


@pytest.mark.parametrize("seed", range(6))
async def test_the_server_chooses_what_an_oracle_chooses_from_all_neighbours(
    records: ValkeyRecords, engine: ValkeyEngine, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "_AGAIN_SECONDS", 0.0)
    dice = random.Random(seed)
    writes = [
        record(
            f"id{dice.randrange(10**6)}é{n}",
            threadId=dice.choice(["alice", "alice", "bob"]),
            importance=dice.choice(["0", "1", "0.5", "0.3333333333333333", "1e-05", str(dice.random())]),
            created_at=str(NOW_MS - dice.choice([0, 1000, 1000, dice.randrange(10**7), -dice.randrange(10**6)])),
            last_accessed_at=str(NOW_MS - dice.choice([0, dice.randrange(10**7)])),
            vector=vector(*(dice.choice([1.0, -1.0, 0.5]) for _ in range(4))),
        )
        for n in range(120)
    ]
    await records.write_many(writes)
    for filter in (EVERYTHING, ALICE, Filter((Equals("threadId", "nobody"),))):
        for _ in range(4):
            worth = replace(
                WORTH,
                freshness=dice.choice([0.0, 0.25, 1.0]),
                value=dice.choice([0.0, 0.15]),
                half_life_seconds=dice.choice([0.5, 500.0, 1e9]),
                clamps_age=dice.random() < 0.5,
            )
            selection = Selection(dice.choice([1, 3, 8]), dice.choice([2.0, 0.7, 0.0]), worth)
            question = vector(*(dice.choice([1.0, -0.5, 0.2]) for _ in range(4)))
            count = dice.choice([16, 64, 200])
            every = await found(records, filter, count=count, selection=None, question=question)
            before = engine.round_trips
            rows = await found(records, filter, count=count, selection=selection, question=question)
            worths = {row.id: worth_by_definition(row, worth) for row in every}
            if rows.chosen_from is None:
                # Records so far in the future that their worth is infinite.
                assert (worth.half_life_seconds, worth.clamps_age, worth.freshness > 0) == (0.5, False, True)
                assert engine.round_trips == before + 2
                continue
            assert engine.round_trips == before + 1
            best = by_oracle(every, filter, selection)
            assert {row.id for row in rows} >= set(best)
            # What is worth as much as the last one comes along.
            more = by_oracle(every, filter, replace(selection, count=len(rows)))
            assert {row.id for row in rows} == set(more)
            assert len(more) == len(best) or worths[more[-1]] == pytest.approx(worths[best[-1]], rel=1e-9)
            known = {row.id: row for row in every}
            assert all(row.distance == known[row.id].distance for row in rows)
            assert all(row.fields["content"] == known[row.id].fields["content"] for row in rows)
            assert [row.distance for row in rows] == sorted(row.distance for row in rows)
            related = [row for row in every if row.distance <= selection.threshold]
            assert rows.exhausted == every.exhausted
            assert rows.chosen_from.related == len(related)
            assert rows.chosen_from.nearest == (every[0].distance if every else None)
            assert not every or rows.chosen_from.farthest == every[-1].distance


async def test_what_is_worth_as_much_as_the_last_one_comes_along(records: ValkeyRecords) -> None:
    # A search gives numbers twelve digits: which of these is worth more cannot be seen from it.
    close = [("a", "0.1234567890121"), ("b", "0.1234567890124"), ("c", "0.12345678901239"), ("less", "0.1")]
    await records.write_many([record(id, threadId="alice", importance=importance) for id, importance in close])
    [rows], _ = await records.search_many(
        QUESTION, [Search(32, ALICE, selection=Selection(1, 2.0, WORTH))], fields=FIELDS
    )
    assert {row.id: row.fields["importance"].decode() for row in rows} == dict(close[:3])


async def test_hits_have_all_digits_and_the_order_follows_them(engine: ValkeyEngine, store_name: str) -> None:
    store = MemoryStore(client=engine, name=store_name, default_threshold=2.0)
    records = engine.records(memory_collection(store_name))
    await records.prepare(2)
    written = [("older", 0.1234567890124, 1_000), ("newer", 0.1234567890121, 2_000)]
    await records.write_many(
        [
            RecordWrite(id, encode_memory(NewMemory(id, id, importance, at), vector(1, 0)))
            for id, importance, at in written
        ]
    )
    weights = RecallWeights(similarity=0.5, recency=0.0, importance=0.5)
    for k in (1, 2):
        hits = await store.recall_by_vector([1.0, 0.0], k=k, weights=weights, reinforce=False)
        assert [(hit.item.id, hit.item.importance) for hit in hits] == [(id, value) for id, value, _ in written][:k]
    await store.close()


async def test_the_answer_is_small_however_many_were_found(records: ValkeyRecords, engine: ValkeyEngine) -> None:
    await records.write_many([record(str(n), threadId="alice", content="x" * 1000, at=n) for n in range(64)])
    traffic = engine.traffic
    before = traffic.bytes_received
    rows = await chosen(records, count=32)
    assert (len(rows), rows.chosen_from is not None) == (3, True)
    assert traffic.bytes_received - before < 4_000


async def test_counts_come_in_the_same_round_trip(records: ValkeyRecords, engine: ValkeyEngine) -> None:
    await records.write_many([record(str(n), threadId="alice", importance=str(n / 40)) for n in range(40)])
    before = engine.round_trips
    search = Search(32, ALICE, selection=Selection(3, 2.0, WORTH))
    answers, counts = await records.search_many(QUESTION, [search], fields=FIELDS, tallies=[Tally(ALICE)])
    assert (len(answers[0]), counts, engine.round_trips - before) == (3, (40,), 1)


async def everything(records: ValkeyRecords, filter: Filter = ALICE, *, count: int = 32) -> Neighbours:
    """What comes where the server does not choose."""
    rows = await chosen(records, filter, count=count)
    assert rows.chosen_from is None
    return rows


@pytest.mark.parametrize(
    "odd",
    [
        {"importance": "0x1p-1"},
        {"importance": " 0.5"},
        {"importance": "half"},
        {"importance": ""},
        {"created_at": ""},
        {"last_accessed_at": "nan"},
        {"last_accessed_at": "-inf"},
    ],
    ids=lambda odd: "=".join(*odd.items()),
)
async def test_a_number_that_is_spelt_oddly_is_left_to_the_reader(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, odd: dict[str, str]
) -> None:
    await records.write_many([record(str(n), threadId="alice") for n in range(12)])
    prefix = records._collection.key_prefix
    # Fields that the index does not refuse: it keeps the last number it could read.
    await valkey_client.execute_command("HSET", f"{prefix}3", *chain(*odd.items()))
    rows = await found(records, count=32, selection=None, question=QUESTION)
    got = await chosen(records)
    if got.chosen_from is not None:
        # Such a record is no longer in the index at all.
        assert "3" not in {row.id for row in rows}
    else:
        # In any order: all are as near, and the server's order of such is its own.
        assert sorted(got, key=lambda row: row.id) == sorted(rows, key=lambda row: row.id)


async def test_a_record_without_a_number_or_content_is_left_to_the_reader(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey
) -> None:
    await records.write_many([record(str(n), threadId="alice") for n in range(12)])
    prefix = records._collection.key_prefix
    await valkey_client.execute_command("HDEL", f"{prefix}3", "last_accessed_at")
    assert len(await everything(records)) == 12
    other = Filter((Equals("threadId", "other"),))
    await records.write_many([record(f"o{n}", threadId="other", importance="1") for n in range(12)])
    await valkey_client.execute_command("HDEL", f"{prefix}o3", "content")
    await valkey_client.execute_command("HSET", f"{prefix}o3", "last_accessed_at", str(NOW_MS))
    assert len(await everything(records, other)) == 12


async def test_memories_of_another_scope_do_not_take_the_place_of_those_that_are_asked_for(
    records: ValkeyRecords, engine: ValkeyEngine
) -> None:
    # The index folds case: all sixteen nearest are strangers.
    await records.write_many([record(f"s{n}", threadId="Alice") for n in range(16)])
    await records.write_many([record(f"a{n}", threadId="alice", vector=vector(1, 1, 0, 0)) for n in range(4)])
    before = engine.round_trips
    assert len(await everything(records, count=16)) == 16
    assert engine.round_trips == before + 2
    # For a minute nobody tries again.
    await everything(records, count=16)
    assert engine.round_trips == before + 3
    # Where all were found, or those farther away do not matter, none is missed.
    rows = await chosen(records, Filter((Equals("threadId", "Alice"),)))
    assert {row.id for row in rows} <= {f"s{n}" for n in range(16)}
    assert rows.chosen_from is not None
    assert rows.chosen_from.related == 16


async def test_strangers_beyond_the_threshold_crowd_nobody_out(records: ValkeyRecords) -> None:
    await records.write_many([record(f"a{n}", threadId="alice") for n in range(4)])
    await records.write_many([record(f"s{n}", threadId="ALICE", vector=vector(1, 2, 0, 0)) for n in range(30)])
    rows = await chosen(records, count=16, threshold=0.3)
    assert rows.chosen_from is not None
    assert ({row.id for row in rows} <= {f"a{n}" for n in range(4)}, rows.chosen_from.related) == (True, 4)


async def test_a_key_of_somebody_else_is_never_chosen(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey
) -> None:
    await records.write_many([record(str(n), threadId="alice") for n in range(12)])
    theirs = record("x:1", threadId="alice", importance="1", at=10)
    await valkey_client.execute_command("HSET", f"{records._collection.key_prefix}x:1", *chain(*theirs.fields.items()))
    rows = await everything(records)
    assert {row.id for row in rows} == {str(n) for n in range(12)}


async def test_a_server_that_lost_the_script_is_told_it_again(
    records: ValkeyRecords, engine: ValkeyEngine, forget_scripts: Callable[[], None]
) -> None:
    await records.write_many([record(str(n), threadId="alice") for n in range(12)])
    for cost in (2, 1):
        if cost == 2:
            forget_scripts()
        before = engine.round_trips
        assert (await chosen(records)).chosen_from is not None
        assert engine.round_trips == before + cost


@pytest.fixture
async def without_scripts(
    valkey_server: ValkeyServer, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> AsyncIterator[ValkeyEngine]:
    await valkey_client.execute_command(
        *("ACL", "SETUSER", store_name, "on", ">secret", "~*", "&*", "+@all", "-evalsha", "-eval")
    )
    address = valkey_server.url.partition("://")[2]
    engine = ValkeyEngine.from_url(f"valkey://{store_name}:secret@{address}")
    yield engine
    await engine.close()
    await valkey_client.execute_command("ACL", "DELUSER", store_name)


async def test_a_user_who_may_run_no_scripts_gets_all_neighbours_and_asks_for_the_script_once(
    records: ValkeyRecords, without_scripts: ValkeyEngine, store_name: str
) -> None:
    await records.write_many([record(str(n), threadId="alice") for n in range(12)])
    theirs = without_scripts.records(collection(store_name))
    await theirs.prepare(4)
    for cost in (2, 1, 1):
        before = without_scripts.round_trips
        assert len(await everything(theirs)) == 12
        assert without_scripts.round_trips == before + cost


async def test_after_a_minute_it_is_tried_again(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    await records.write_many([record(str(n), threadId="alice") for n in range(12)])
    prefix = records._collection.key_prefix
    await valkey_client.execute_command("HDEL", f"{prefix}3", "last_accessed_at")
    await everything(records)
    await valkey_client.execute_command("HSET", f"{prefix}3", "last_accessed_at", str(NOW_MS))
    await everything(records)
    monkeypatch.setattr(choosing, "_AGAIN_SECONDS", 0.0)
    assert (await chosen(records)).chosen_from is not None


async def test_a_lost_index_is_told_as_such_whatever_its_name(
    engine: ValkeyEngine, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    records = engine.records(collection(f"timeout-{store_name}"))
    await records.prepare(4)
    await records.write_many([record(str(n), threadId="alice") for n in range(12)])
    assert (await chosen(records)).chosen_from is not None
    await valkey_client.execute_command("FT.DROPINDEX", f"timeout-{store_name}:mem:idx")
    with pytest.raises(IndexMissingError):
        await chosen(records)


async def test_nothing_is_left_to_the_server_where_it_does_not_pay(records: ValkeyRecords) -> None:
    await records.write_many([record(str(n), threadId="alice", tags="a") for n in range(40)])
    assert len(await everything(records, count=4)) == 4  # 3 of 4
    assert len(await everything(records, Filter((HasTag("tags", "a"),)))) == 32
    assert len(await everything(records, count=choosing.MOST_FOUND + 1)) == 40


async def test_what_has_expired_is_not_chosen_and_others_are_chosen_all_the_same(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey
) -> None:
    fields = record("gone", threadId="alice", importance="1").fields
    await records.write_many([record(str(n), threadId="alice") for n in range(12)])
    for _ in range(20):
        await records.write_many([RecordWrite("gone", fields)])
        await valkey_client.execute_command("PEXPIRE", f"{records._collection.key_prefix}gone", 1)
        await asyncio.sleep(0.003)
        rows = await chosen(records)
        assert rows.chosen_from is not None
        assert "gone" not in {row.id for row in rows}
