from __future__ import annotations

from betterdb_agent_memory.engines.base import Outcome, RecordChange
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.embedded.queries import scalar
from betterdb_agent_memory.engines.embedded.records import EmbeddedRecords
from betterdb_agent_memory.engines.filters import Filter, HasTag
from tests.engines.embedded.support import collection, encoded, record
from tests.engines.searching import nearest

TAGGED = Filter((HasTag("tags", "a"),))


async def rows_in_file(records: EmbeddedRecords) -> dict[str, int]:
    tables = ("record_1", "body_1", "vector_1", "tag_1")
    return await records._database.read(
        lambda c: {table: scalar(c, f"SELECT count(*) FROM {table}") for table in tables}
    )


async def test_an_expired_record_is_invisible_to_every_verb(records: EmbeddedRecords, clock) -> None:
    await records.write_many([record("1", tags="a", ttl_seconds=10), record("2", tags="a", ttl_seconds=11)])
    clock.seconds += 9.9
    assert await records.count(TAGGED) == 2
    clock.seconds += 0.1
    assert [row.id for row in await nearest(records, encoded([1, 0]), count=5, filter=Filter(), fields=[])] == ["2"]
    page = await records.select(TAGGED, fields=[], limit=5, order_by="created_at")
    assert ([row.id for row in page.rows], page.total) == (["2"], 1)
    assert await records.count(Filter()) == await records.count(TAGGED) == 1
    assert await records.read_many(["1", "2"], ["tags"]) == [None, {"tags": b"a"}]
    assert await records.change_many([RecordChange("1", {}, {"access_count": 1})]) == [Outcome.MISSING]
    assert await records.delete_many(["1", "2"]) == [False, True]
    assert await rows_in_file(records) == {"record_1": 0, "body_1": 0, "vector_1": 0, "tag_1": 0}


async def test_writes_remove_what_expired_from_the_file(records: EmbeddedRecords, clock) -> None:
    await records.write_many([record(f"{i}", tags="a", ttl_seconds=1 + i) for i in range(200)])
    clock.seconds += 1000
    await records.write_many([record("new", tags="a")])
    # One write pays for a bounded part of it, and the next ones for the rest.
    assert (await rows_in_file(records))["record_1"] == 200 - 65 + 1
    for _ in range(3):
        await records.write_many([record("new", tags="a")])
    assert await rows_in_file(records) == {"record_1": 1, "body_1": 1, "vector_1": 1, "tag_1": 1}


async def test_an_expired_id_can_be_written_again(records: EmbeddedRecords, clock) -> None:
    await records.write_many([record("1", ttl_seconds=1)])
    clock.seconds += 5
    await records.write_many([record("1", content="again")])
    clock.seconds += 10**9
    assert await records.read_many(["1"], ["content"]) == [{"content": b"again"}]


async def test_a_distant_expiry_is_no_overflow(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", ttl_seconds=10**18)])
    assert await records.count(Filter()) == 1


async def test_values_expire(engine: EmbeddedEngine, clock) -> None:
    values = engine.values
    assert await values.set("k", b"1", ttl_seconds=5)
    assert not await values.set("k", b"2", only_if_absent=True)
    clock.seconds += 5
    assert await values.get("k") is None
    assert not await values.delete("k")
    assert await values.set("k", b"3", only_if_absent=True)
    assert await values.get("k") == b"3"
    await values.set("k", b"4", ttl_seconds=1)
    clock.seconds += 1
    assert await values.increment("k", "n", 1) == 1
    assert await values.read_map("k") == {"n": b"1"}


async def test_the_wall_clock_decides(path) -> None:
    import asyncio

    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many([record("1", ttl_seconds=1), record("2", ttl_seconds=100)])
    assert await records.count(Filter()) == 2
    await asyncio.sleep(1.1)
    assert await records.count(Filter()) == 1
    await engine.close()
