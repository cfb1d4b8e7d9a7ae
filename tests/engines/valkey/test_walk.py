"""Walking a collection: everything once, in order, whatever others do meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from uuid import uuid4

import pytest
import valkey.asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import Position, Row
from betterdb_agent_memory.engines.filters import AnyOf, Between, Equals, Filter, HasTag, IdIn, Not
from betterdb_agent_memory.engines.valkey import ValkeyEngine, commands
from betterdb_agent_memory.engines.valkey import walk as walk_module
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from betterdb_agent_memory.errors import EngineError, IndexMissingError, InvalidInputError
from tests.engines.valkey.samples import CREATED_AT_MS, collection, record, record_of, vector
from tests.servers import ValkeyServer

ANY = Filter()


async def walked(
    records: ValkeyRecords,
    filter: Filter = ANY,
    *,
    fields: Sequence[str] = ("content",),
    after: Position | None = None,
    page_size: int = 1000,
) -> list[Row]:
    rows: list[Row] = []
    async for page in records.walk(filter, fields=fields, after=after, page_size=page_size):
        assert 1 <= len(page) <= page_size
        rows += page
    return rows


@pytest.fixture(scope="module")
def served(valkey_server: ValkeyServer) -> Iterator[tuple[asyncio.Runner, ValkeyEngine]]:
    with asyncio.Runner() as runner:
        engine = ValkeyEngine.from_url(valkey_server.url)
        yield runner, engine
        runner.run(engine.close())


# Milliseconds apart, crowded, in bursts, across centuries.
times = st.lists(
    st.integers(-3, 3) | st.integers(0, 10**4) | st.sampled_from([-CREATED_AT_MS, -5, 10**9, 10**12]),
    max_size=60,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=times, page_size=st.integers(1, 9), by_key=st.booleans(), numbers=st.booleans(), data=st.data())
@example(at=[0] * 30, page_size=4, by_key=False, numbers=True, data=None)
def test_any_page_size_gives_everything_once_in_order_and_from_any_place(
    served: tuple[asyncio.Runner, ValkeyEngine],
    at: list[int],
    page_size: int,
    by_key: bool,
    numbers: bool,
    data: st.DataObject | None,
) -> None:
    runner, engine = served
    ids = [f"{n * 7 % 60:02}é" for n in range(len(at))]
    expected = sorted(Position(CREATED_AT_MS + time, id) for time, id in zip(at, ids, strict=True))
    after = None if data is None or not expected else data.draw(st.none() | st.sampled_from(expected))
    fields = ["created_at", "importance"] if numbers else ["created_at"]

    async def check() -> None:
        records = engine.records(collection(f"w{uuid4().hex}"))
        await records.prepare(4)
        await records.write_many([record(id, at=time) for time, id in zip(at, ids, strict=True)])
        filter = Filter((IdIn(frozenset([*ids, "gone", "x:y"])),)) if by_key else ANY
        rows = await walked(records, filter, fields=fields, after=after, page_size=page_size)
        assert [Position(int(row.fields["created_at"]), row.id) for row in rows] == [
            place for place in expected if after is None or place > after
        ]
        assert all(set(row.fields) == set(fields) for row in rows)
        await records.drop()

    runner.run(check())


async def test_fields_come_as_stored_to_the_last_digit_and_the_vector_too(records: ValkeyRecords) -> None:
    stored: dict[str, str | bytes] = {
        "importance": b"0.5000000000004",
        "vector": vector(1, 2, 3, 4),
        "content": b"\xff\0x",
    }
    await records.write_many([record_of("1", stored), record("2", at=1)])
    [first, second] = await walked(records, fields=["content", "vector", "importance", "source"])
    assert first.fields == stored
    assert second.fields["importance"] == b"0.5"


async def test_a_walk_costs_about_a_round_trip_a_page(engine: ValkeyEngine, records: ValkeyRecords) -> None:
    spread = random.Random(3)
    await records.write_many([record(f"{n:05}", at=spread.randrange(10**9), threadId=f"t{n % 4}") for n in range(6000)])
    thread = Filter((Equals("threadId", "t1"),))
    several = Filter((AnyOf((Equals("threadId", "t1"), Equals("threadId", "t2"))),))
    for filter, fields, count, most in (
        (ANY, ["content"], 6000, 8),
        (ANY, ["importance"], 6000, 8 + 14),
        (thread, ["content"], 1500, 3),
        (several, ["content"], 3000, 5),
        (Filter((IdIn(frozenset(["00001", "x"])),)), ["content"], 1, 2),
        (Filter((Equals("threadId", "none"),)), ["content"], 0, 1),
    ):
        before = engine.round_trips
        assert len(await walked(records, filter, fields=fields)) == count
        assert engine.round_trips - before <= most


async def test_the_server_looks_at_few_records_more_than_there_are(
    records: ValkeyRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page without an upper end makes the server sort all that follow: n records, n*n/page in all."""
    looked_at = 0
    listed = walk_module.Walk._listed

    async def counting(*arguments: object) -> object:
        nonlocal looked_at
        found, places = await listed(*arguments)  # type: ignore[arg-type]
        looked_at += found.total
        return found, places

    monkeypatch.setattr(walk_module.Walk, "_listed", counting)
    # Bursts of all sizes with gaps of all sizes between them.
    dice = random.Random(5)
    at, number, writes = 0, 0, []
    while number < 8000:
        for _ in range(dice.choice([1, 10, 300])):
            writes.append(record(f"{number:05}", at=at))
            number, at = number + 1, at + dice.choice([0, 1, 5])
        at += dice.choice([10, 10**4, 10**7, 10**10])
    await records.write_many(writes)
    assert len(await walked(records, page_size=100)) == number
    assert looked_at < 8 * number


async def test_twenty_thousand_records_of_one_millisecond(engine: ValkeyEngine, records: ValkeyRecords) -> None:
    count = 20_000
    await records.write_many([record(f"{n:05}", threadId=f"t{n % 2}") for n in range(count)])
    await records.write_many([record("before", at=-1), record("behind", at=1)])
    ids = ["before", *(f"{n:05}" for n in range(count)), "behind"]
    before = engine.round_trips
    assert [row.id for row in await walked(records)] == ids
    assert engine.round_trips - before <= 2 + 2 + count / 500
    rest = await walked(records, after=Position(CREATED_AT_MS, "19000"))
    assert [row.id for row in rest] == ids[19_002:]
    thread = Filter((Equals("threadId", "t1"),))
    assert len(await walked(records, thread)) == count / 2
    assert await records.count(Filter((Not(HasTag("threadId", "t1")),))) == count / 2 + 2


async def test_more_records_of_one_millisecond_than_a_server_lists_are_an_error_and_no_short_walk(
    records: ValkeyRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "LARGEST_LIMIT", 20)
    await records.write_many([record(f"{n}") for n in range(30)])
    with pytest.raises(EngineError, match="30 records have the created_at"):
        await walked(records, page_size=10)


async def test_nothing_that_stays_is_skipped_or_repeated_while_others_write(
    valkey_server: ValkeyServer, engine: ValkeyEngine, records: ValkeyRecords, store_name: str
) -> None:
    dice = random.Random(11)
    staying = [f"stay{n:05}" for n in range(3000)]
    passing = [f"pass{n:05}" for n in range(1500)]
    times = {id: dice.choice([0, dice.randrange(50), dice.randrange(10**7)]) for id in (*staying, *passing)}
    await records.write_many([record(id, at=at) for id, at in times.items()])
    other = ValkeyEngine.from_url(valkey_server.url)
    stopping = asyncio.Event()
    stirring = _stir(other.records(collection(store_name)), passing, times, random.Random(12), stopping)
    writing = asyncio.create_task(stirring)
    try:
        for page_size in (37, 100, 400):
            for fields in (["content"], ["created_at", "importance"]):
                rows = await walked(records, fields=fields, page_size=page_size)
                stayed = [row.id for row in rows if row.id.startswith("stay")]
                assert stayed == sorted(staying, key=lambda id: (times[id], id))
                assert len({row.id for row in rows}) == len(rows)
        assert not writing.done()
    finally:
        stopping.set()
        await writing
        await other.close()


async def _stir(
    records: ValkeyRecords, ids: list[str], times: dict[str, int], dice: random.Random, stopping: asyncio.Event
) -> None:
    """Delete, write, touch and rewrite: staying records keep their time, the others their time as well."""
    staying = [id for id in times if id.startswith("stay")]
    while not stopping.is_set():
        await records.delete_many(dice.sample(ids, 40))
        await records.write_many([record(id, at=times[id]) for id in dice.sample(ids, 40)])
        await records.write_many([record(id, at=times[id], source="again") for id in dice.sample(staying, 40)])
        await records.write_many([record(f"new{dice.random()}", at=dice.randrange(10**7), ttl_seconds=1)])


async def test_records_that_have_expired_are_stepped_over(store_name: str) -> None:
    with ValkeyServer(arguments=("--enable-debug-command", "local")) as server:
        client, engine = server.client(), ValkeyEngine.from_url(server.url)
        # Not removed from the index until somebody looks at the key.
        await client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        records = engine.records(collection(store_name))
        await records.prepare(4)
        await records.write_many([record(f"{n:03}", at=n) for n in range(300)])
        await records.write_many([record(f"same{n:03}", at=400) for n in range(50)])
        for n in range(40, 290):
            await client.pexpire(f"{store_name}:mem:{n:03}", 1)
        await asyncio.sleep(0.02)
        expected = [f"{n:03}" for n in (*range(40), *range(290, 300))] + [f"same{n:03}" for n in range(50)]
        for page_size in (7, 60, 1000):
            for fields in (["content"], ["importance"]):
                assert [row.id for row in await walked(records, fields=fields, page_size=page_size)] == expected
        await engine.close()
        await client.aclose()


async def test_other_peoples_keys_below_the_prefix_are_stepped_over(engine: ValkeyEngine, store_name: str) -> None:
    outer, inner = engine.records(collection(store_name)), engine.records(collection(f"{store_name}:mem"))
    await outer.prepare(4)
    await outer.write_many([record(f"o{n:02}", at=n // 3) for n in range(30)])
    await inner.write_many([record(f"i{n:02}", at=n // 5, threadId="t") for n in range(60)])
    for page_size in (2, 7, 1000):
        assert [row.id for row in await walked(outer, page_size=page_size)] == [f"o{n:02}" for n in range(30)]
    assert await outer.count(Filter((Not(Equals("threadId", "t")),))) == 30


async def test_a_time_with_a_fraction_belongs_to_its_millisecond(records: ValkeyRecords) -> None:
    texts = [f"{CREATED_AT_MS}.75", f"{CREATED_AT_MS}", f"{CREATED_AT_MS}.25", f"{CREATED_AT_MS + 1}"]
    await records.write_many([record(f"{n}", created_at=text) for n, text in enumerate(texts)])
    for page_size in (1, 2, 10):
        rows = await walked(records, fields=["created_at"], page_size=page_size)
        assert [row.id for row in rows] == ["0", "1", "2", "3"]
    rest = await walked(records, after=Position(CREATED_AT_MS, "1"), page_size=1)
    assert [row.id for row in rest] == ["2", "3"]


async def test_walks_that_cannot_be_are_refused(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    with pytest.raises(InvalidInputError):
        await walked(records, page_size=0)
    with pytest.raises(InvalidInputError):
        await walked(records, after=Position(2**60, ""))
    await valkey_client.execute_command("FT.DROPINDEX", f"{store_name}:mem:idx")
    with pytest.raises(IndexMissingError):
        await walked(records)
    assert await walked(records, Filter((IdIn(frozenset(["1"])), Between("created_at", 0, 1)))) == []
