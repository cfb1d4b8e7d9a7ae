"""Two collections as one, while records go from the first into the second: every verb, wherever a record is."""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import (
    Answers,
    Collection,
    Engine,
    Expiry,
    Outcome,
    Position,
    RecordChange,
    Records,
    RecordWrite,
    Row,
    Search,
    Tally,
)
from betterdb_agent_memory.engines.filters import Equals, Fields, Filter
from betterdb_agent_memory.engines.on_the_move import RecordsOnTheMove, order_field
from betterdb_agent_memory.engines.partitioned import PartitionedRecords, SharedRecords, shared_collection
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.client import ValkeyClient
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.memory.record import MEMORY_SCHEMA, TENANT, memory_collection
from tests.embedding import DIMENSIONS
from tests.servers import ValkeyServer

EVERYTHING = Filter()
FIELDS = ("content", "created_at")


def tagged(name: str) -> str:
    """The name with a hash tag: records move within a slot."""
    return name if "{" in name else f"{{{name}}}"


def record(id: str, number: int) -> RecordWrite:
    vector = [1.0, number / 10] + [0.0] * (DIMENSIONS - 2)
    fields = {
        "content": f"record {id}".encode(),
        "vector": b"".join(_float32(one) for one in vector),
        "created_at": str(1_750_000_000_000 + number).encode(),
        "importance": b"0.5",
        "threadId": b"odd" if number % 2 else b"even",
    }
    return RecordWrite(id, fields)


def _float32(number: float) -> bytes:
    return struct.pack("<f", number)


@dataclass
class Two:
    """Records 0 to 9: the even ones have moved already."""

    engine: Engine
    source: Collection
    target: Collection
    former: PartitionedRecords
    later: Records

    async def move(self, ids: Sequence[str]) -> None:
        shared = {self.former.shared_id(id): id for id in ids}
        await self.engine.move_many(self.source, self.target, shared, without=(TENANT,))

    def both(self, *, moves: bool, former: Records | None = None) -> RecordsOnTheMove:
        order_by = order_field(self.target)
        return RecordsOnTheMove(former or self.former, self.later, moves=moves, move=self.move, order_by=order_by)


@pytest.fixture
async def two(url: str, store_name: str) -> AsyncIterator[Two]:
    engine = open_engine(url)
    source = shared_collection(memory_collection(f"{tagged(store_name)}pool"), TENANT)
    target = memory_collection(tagged(store_name))
    shared = SharedRecords(engine, source, TENANT)
    made = Two(engine, source, target, PartitionedRecords(shared, "acme"), engine.records(target))
    for records in (made.former, made.later):
        await records.prepare(DIMENSIONS)
    writes = [record(str(number), number) for number in range(10)]
    await made.former.write_many(writes)
    await PartitionedRecords(shared, "globex").write_many(writes)
    await made.move([str(number) for number in range(0, 10, 2)])
    yield made
    await engine.close()


BOTH = pytest.mark.parametrize("moves", [False, True], ids=["announced", "moving"])


async def walked(records: Records, filter: Filter = EVERYTHING, **how: int) -> list[str]:
    return [row.id async for rows in records.walk(filter, fields=FIELDS, **how) for row in rows]  # type: ignore[arg-type]


@BOTH
async def test_lifetimes_are_told_wherever_a_record_is(two: Two, moves: bool) -> None:
    await two.former.change_many([RecordChange("1", expiry=Expiry(60))])
    await two.later.change_many([RecordChange("2", expiry=Expiry(60))])
    odd, even, *rest = await two.both(moves=moves).read_lifetimes(["1", "2", "3", "4", "gone"])
    assert rest == [math.inf, math.inf, 0]
    assert 0 < odd < 60_000
    assert 0 < even < 60_000


@BOTH
async def test_questions_see_both(two: Two, moves: bool) -> None:
    both = two.both(moves=moves)
    ids = [str(number) for number in range(10)]
    assert await walked(both, page_size=3) == ids
    assert await walked(both, Filter((Equals("threadId", "odd"),)), page_size=2) == ids[1::2]
    after = Position(1_750_000_000_003, "3")
    rows = [row async for page in both.walk(EVERYTHING, fields=(), after=after, page_size=4) for row in page]
    assert rows == [Row(id, {}) for id in ids[4:]]
    assert {row.id async for page in both.scan(FIELDS) for row in page} == set(ids)
    assert await both.count(EVERYTHING) == 10
    found = await both.read_many([*ids, "none"], ("content",))
    assert found == [*({"content": f"record {id}".encode()} for id in ids), None]
    assert await both.read_expiries(ids) == [None] * 10
    page = await both.select(EVERYTHING, fields=("content",), limit=4, offset=3, order_by="created_at", descending=True)
    assert [row.id for row in page.rows] == ["6", "5", "4", "3"]
    assert (page.total, page.scanned, page.rows[0].fields) == (10, 4, {"content": b"record 6"})


@BOTH
async def test_the_nearest_of_both_are_found(two: Two, moves: bool) -> None:
    vector = record("x", 0).fields["vector"]
    searches = [Search(4, EVERYTHING), Search(20, Filter((Equals("threadId", "even"),)))]
    answers = await two.both(moves=moves).search_many(vector, searches, fields=FIELDS, tallies=[Tally(EVERYTHING)])
    nearest, even = answers.neighbours
    assert [row.id for row in nearest] == ["0", "1", "2", "3"]
    assert not nearest.exhausted
    assert [row.id for row in even] == ["0", "2", "4", "6", "8"]
    assert even.exhausted
    assert answers.tallies == (10,)


@BOTH
async def test_changes_and_deletions_reach_a_record_wherever_it_is(two: Two, moves: bool) -> None:
    both = two.both(moves=moves)
    changes = [RecordChange(id, sets={"content": b"changed"}) for id in ("0", "1", "none")]
    assert await both.change_many(changes) == [Outcome.CHANGED, Outcome.CHANGED, Outcome.MISSING]
    assert await both.read_many(["0", "1"], ("content",)) == [{"content": b"changed"}] * 2
    assert await both.delete_many(["2", "3", "none"]) == [True, True, False]
    assert await walked(both) == ["0", "1", *"456789"]
    refused = [{"content": b"other"}, {"content": b"other"}]
    assert await both.delete_many(["4", "5"], expected=refused) == [False, False]
    assert await both.drop() == 8


@BOTH
async def test_a_write_takes_the_place_of_the_record_wherever_it_is(two: Two, moves: bool) -> None:
    both = two.both(moves=moves)
    await both.write_many([record("0", 10), record("1", 11), record("new", 12)])
    assert await walked(both) == [*"23456789", "0", "1", "new"]
    existing = [
        RecordWrite(id, record(id, 5).fields, if_exists=RecordChange(id, sets={"content": b"merged"}))
        for id in ("2", "3", "fresh")
    ]
    assert await both.write_many(existing) == [Outcome.CHANGED, Outcome.CHANGED, Outcome.WRITTEN]
    assert await both.read_many(["2", "3"], ("content",)) == [{"content": b"merged"}] * 2
    await two.move(await walked(two.former))
    assert len(await walked(two.later)) == 12


@BOTH
async def test_what_moves_between_two_looks_is_not_missed(two: Two, moves: bool) -> None:
    """The former collection loses a record at the very moment in which it is asked."""

    left = ["1", "3", "5", "7", "9"]

    class Leaving(PartitionedRecords):
        async def leave(self) -> None:
            if left:
                await two.move([left.pop(0)])

        async def read_many(self, ids: Sequence[str], fields: Sequence[str] | None) -> list[Fields | None]:
            await self.leave()
            return await super().read_many(ids, fields)

        async def search_many(
            self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally] = ()
        ) -> Answers:
            await self.leave()
            return await super().search_many(vector, searches, fields=fields, tallies=tallies)

        async def walk(
            self, filter: Filter, *, fields: Sequence[str], after: Position | None = None, page_size: int = 1000
        ) -> AsyncIterator[tuple[Row, ...]]:
            await self.leave()
            async for rows in super().walk(filter, fields=fields, after=after, page_size=page_size):
                yield rows

    leaving = Leaving(two.former.shared, "acme")
    both = two.both(moves=moves, former=leaving)
    assert await walked(both, page_size=20) == [str(number) for number in range(10)]
    vector = record("x", 0).fields["vector"]
    [found] = (await both.search_many(vector, [Search(20, EVERYTHING)], fields=FIELDS)).neighbours
    assert len(found) == 10
    assert None not in await both.read_many([str(number) for number in range(10)], FIELDS)


async def test_the_neighbour_keeps_all_and_the_index_is_left_alone(two: Two) -> None:
    neighbour = PartitionedRecords(two.former.shared, "globex")
    await two.both(moves=True).drop()
    assert len(await walked(neighbour)) == 10
    with pytest.raises(ConfigurationError, match="moving into an index of their own"):
        await two.both(moves=True).rebuild(DIMENSIONS)


async def test_a_move_keeps_expiry_replaces_and_counts(two: Two) -> None:
    await two.former.write_many([RecordWrite("soon", record("soon", 1).fields, ttl_seconds=600)])
    await two.later.write_many([record("soon", 99)])
    [expiry] = await two.former.read_expiries(["soon"])
    ids = {two.former.shared_id(id): id for id in ("soon", "never there")}
    assert await two.engine.move_many(two.source, two.target, ids, without=(TENANT,)) == 1
    assert await two.engine.move_many(two.source, two.target, ids, without=(TENANT,)) == 0
    [moved] = await two.later.read_expiries(["soon"])
    assert moved == pytest.approx(expiry, abs=50)
    [fields] = await two.later.read_many(["soon"], None)
    assert fields == record("soon", 1).fields
    assert MEMORY_SCHEMA.vector_field in (fields or {})


async def test_nothing_moves_between_slots(
    valkey_server: ValkeyServer, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster a script may not touch keys of two slots, so that no step would be one."""
    monkeypatch.setattr(ValkeyClient, "are_together", lambda client, *keys: False)
    engine = ValkeyEngine.from_url(valkey_server.url)
    source, target = memory_collection(f"{store_name}a"), memory_collection(f"{store_name}b")
    await engine.records(source).write_many([record("1", 1)])
    with pytest.raises(ConfigurationError, match="same hash tag"):
        await engine.move_many(source, target, {"1": "1"})
    assert await engine.records(source).read_many(["1"], ("content",)) == [{"content": b"record 1"}]
    await engine.close()
