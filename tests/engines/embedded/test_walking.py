"""Walking a collection page by page while others write."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import Collection, IndexSchema, Position, RecordWrite, SchemaField
from betterdb_agent_memory.engines.embedded import EmbeddedEngine, walking
from betterdb_agent_memory.engines.embedded.matching import matching
from betterdb_agent_memory.engines.embedded.queries import rows
from betterdb_agent_memory.engines.embedded.records import EmbeddedRecords
from betterdb_agent_memory.engines.filters import Between, Equals, Filter, HasTag, IdIn, Not, leading_number
from betterdb_agent_memory.errors import IndexMissingError, InvalidInputError
from tests.engines.embedded.support import collection, encoded, python, record

EVERYTHING = Filter()
TIMES = (
    *("5", "5", "5", "1750000000000", "0.5", "0.2", "-0.5", "-7.5", "-7", "1e300", "-1e300", "x", "", "5 o'clock", "0"),
    *("9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808"),
)


def order(row_id: str, stored: bytes | None) -> Position:
    number = int(leading_number(stored) or 0)
    return Position(min(max(number, -(2**63)), 2**63 - 1), row_id)


async def walked(records: EmbeddedRecords, filter: Filter = EVERYTHING, **options) -> list[str]:
    return [row.id async for page in records.walk(filter, fields=[], **options) for row in page]


@pytest.mark.parametrize("small_pages", [0, 4], ids=["by order", "by scope"])
@given(
    times=st.lists(st.none() | st.sampled_from(TIMES) | st.integers(-3, 3).map(str), max_size=25),
    page_size=st.integers(1, 8),
    scoped=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_record_comes_once_in_order_and_from_any_position(
    monkeypatch: pytest.MonkeyPatch, small_pages: int, times: list[str | None], page_size: int, scoped: bool
) -> None:
    monkeypatch.setattr(walking, "_SMALL_SCOPE_PAGES", 1000 * small_pages)
    engine = EmbeddedEngine()
    records = engine.records(collection())
    await records.prepare(2)
    try:
        ids = [f"{'éaZ｡😀'[i % 5]}{i}" for i in range(len(times))]
        stored = {id: None if time is None else time.encode() for id, time in zip(ids, times, strict=True)}
        await records.write_many(
            [
                RecordWrite(id, {"content": b"", "threadId": b"t"} | ({} if time is None else {"created_at": time}))
                for id, time in stored.items()
            ]
        )
        filter = Filter((Equals("threadId", "t"),)) if scoped else EVERYTHING
        ordered = sorted(order(id, time) for id, time in stored.items())
        assert await walked(records, filter, page_size=page_size) == [position.id for position in ordered]
        for start, position in enumerate(ordered):
            assert await walked(records, filter, page_size=page_size, after=position) == [
                p.id for p in ordered[start + 1 :]
            ]
        # Positions between those of records, such as those of a record that was deleted.
        for number in (-8, 0, 5, 2**53 + 1, 2**63 - 1):
            rest = [position.id for position in ordered if position > Position(number, "")]
            assert await walked(records, filter, page_size=page_size, after=Position(number, "")) == rest
    finally:
        await engine.close()


async def test_pages_have_the_asked_fields_and_the_asked_size(records: EmbeddedRecords) -> None:
    await records.write_many([record(f"{i:03}", created_at=f"{i // 7}", tags=f"{i % 2}") for i in range(50)])
    pages = [page async for page in records.walk(EVERYTHING, fields=["tags", "vector", "absent"], page_size=20)]
    assert [len(page) for page in pages] == [20, 20, 10]
    assert pages[0][1].fields == {"tags": b"1", "vector": encoded([1, 0])}
    scope = Filter((HasTag("tags", "1"), Not(IdIn(frozenset({"001"}))), Between("created_at", 0, 3)))
    assert await walked(records, scope, page_size=3) == [f"{i:03}" for i in range(3, 28, 2)]
    for call in (records.walk(EVERYTHING, fields=[], page_size=0), records.scan([], page_size=0)):
        with pytest.raises(InvalidInputError, match="page_size"):
            await anext(call)


async def test_expired_records_are_left_out(records: EmbeddedRecords, clock) -> None:
    await records.write_many([record("1", ttl_seconds=1), record("2")])
    clock.seconds += 1
    assert await walked(records) == ["2"]
    assert [[row.id for row in page] async for page in records.scan([])] == [["2"]]


async def test_without_a_number_to_order_by_ids_decide(engine: EmbeddedEngine) -> None:
    records = engine.records(Collection("s:", "s:idx", IndexSchema("v", (SchemaField("n", "number"),))))
    await records.prepare(2)
    await records.write_many([RecordWrite(id, {"n": b"1"}) for id in "cab"])
    assert await walked(records, page_size=1) == ["a", "b", "c"]
    assert await walked(records, page_size=2, after=Position(0, "a")) == ["b", "c"]


async def test_a_walk_goes_by_the_index_of_its_order(records: EmbeddedRecords) -> None:
    for i in range(0, 2000, 500):
        await records.write_many(
            [record(f"{j}", created_at=f"{j}", threadId="all", agentId=f"{j}") for j in range(i, i + 500)]
        )

    def plan(connection: apsw.Connection) -> str:
        tables = records._lookup.prepared(connection)
        condition = matching(Filter((Equals("threadId", "all"),)), tables, 0, by_index=False)
        sql, parameters = walking._in_order(tables, condition, Position(7, "7"), 100)
        return "\n".join(row[3] for row in rows(connection, f"EXPLAIN QUERY PLAN {sql}", parameters))

    steps = await records._database.read(plan)
    assert "USING INDEX record_1_created_at ((f_created_at,id)>(?,?))" in steps
    assert "USING INDEX record_1_created_at_odd" in steps
    assert await records._database.read(
        lambda c: walking.is_small_scope(c, records._lookup.prepared(c), Filter((Equals("agentId", "7"),)), 10, 0)
    )
    assert not await records._database.read(
        lambda c: walking.is_small_scope(c, records._lookup.prepared(c), Filter((Equals("threadId", "all"),)), 10, 0)
    )


OTHERS = """
import asyncio, itertools, sys
from betterdb_agent_memory.engines.base import RecordChange
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from tests.engines.embedded.support import collection, record

async def main(path):
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    print("writing", flush=True)
    for i in itertools.count():
        time = f"{i * 37 % 500}"
        await records.write_many([record(f"new {i} {j}", created_at=time, threadId="t") for j in range(5)])
        same = i * 31 % 3000
        await records.write_many([record(f"stays {same:04}", created_at=f"{same // 6}", threadId="t")])
        await records.change_many([RecordChange(f"stays {i * 17 % 3000:04}", increments={"access_count": 1})])
        await records.delete_many([f"goes {i % 3000}", f"new {i - 3} 0", f"new {i - 3} 1"])

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("filter", [EVERYTHING, Filter((Equals("threadId", "t"),))], ids=["everything", "scope"])
async def test_nothing_that_stays_is_skipped_or_repeated_while_another_process_writes(
    path: Path, filter: Filter
) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    stay = [f"stays {i:04}" for i in range(3000)]
    await records.write_many([record(id, created_at=f"{i // 6}", threadId="t") for i, id in enumerate(stay)])
    await records.write_many([record(f"goes {i}", created_at=f"{i // 6}", threadId="t") for i in range(3000)])
    others = python(OTHERS, path)
    try:
        assert others.stdout is not None
        assert await asyncio.to_thread(others.stdout.readline) == "writing\n"
        counts = []
        for _ in range(4):
            seen: list[str] = []
            async for page in records.walk(filter, fields=[], page_size=50):
                seen += [row.id for row in page]
                await asyncio.sleep(0.002)
            assert len(set(seen)) == len(seen)
            assert [id for id in seen if id.startswith("stays")] == stay
            scanned = [row.id async for page in records.scan([], page_size=50) for row in page]
            assert sorted(id for id in scanned if id.startswith("stays")) == stay
            counts.append(len(seen))
        # They did write meanwhile.
        assert len(set(counts)) > 1
        assert others.poll() is None
    finally:
        others.kill()
        await asyncio.to_thread(others.communicate)
    await engine.close()


async def test_a_collection_dropped_on_the_way_ends_a_walk(records: EmbeddedRecords) -> None:
    await records.write_many([record(f"{i}") for i in range(5)])
    walk, scan = records.walk(EVERYTHING, fields=[], page_size=2), records.scan([], page_size=2)
    await anext(walk)
    await anext(scan)
    await records.drop()
    with pytest.raises(IndexMissingError):
        await anext(walk)
    assert [page async for page in scan] == []
