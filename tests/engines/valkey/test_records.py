from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import valkey.asyncio

from betterdb_agent_memory.engines.base import Outcome, RecordChange, RecordWrite, Row
from betterdb_agent_memory.engines.filters import Equals, Filter, HasTag
from betterdb_agent_memory.engines.valkey import ValkeyEngine, commands
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from betterdb_agent_memory.errors import (
    EngineError,
    InvalidInputError,
    PartialBatchError,
    SearchTimeoutError,
)
from tests.engines.searching import nearest
from tests.engines.valkey.samples import CREATED_AT_MS, collection, record, vector
from tests.proxy import Proxy
from tests.servers import ValkeyServer

ANY = Filter()


async def test_writing_replaces_the_whole_record_and_its_expiry(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    key = f"{store_name}:mem:1"
    await records.write_many([record("1", ttl_seconds=100, threadId="t", source="s")])
    assert 95 <= await valkey_client.ttl(key) <= 100
    await records.write_many([record("1", agentId="a")])
    assert await valkey_client.ttl(key) == -1
    stored = await valkey_client.execute_command("HGETALL", key)
    assert b"threadId" not in stored
    assert stored[b"agentId"] == b"a"
    assert await records.count(Filter((Equals("threadId", "t"),))) == 0
    await records.write_many([record("1", ttl_seconds=7)])
    assert 5 <= await valkey_client.ttl(key) <= 7


async def test_no_record_is_ever_seen_without_its_expiry(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    ids = [str(n) for n in range(40)]
    seen: set[int] = set()
    writing = asyncio.create_task(_rewrite(records, ids))
    while not writing.done():
        pipeline = valkey_client.pipeline(transaction=False)
        for id in ids:
            pipeline.ttl(f"{store_name}:mem:{id}")
        seen |= set(await pipeline.execute())
    await writing
    assert -1 not in seen
    assert seen - {-2}


async def _rewrite(records: ValkeyRecords, ids: list[str]) -> None:
    for _ in range(30):
        await asyncio.gather(*(records.write_many([record(id, ttl_seconds=50)]) for id in ids))


async def test_a_refused_expiry_leaves_no_record_behind(valkey_server: ValkeyServer, store_name: str) -> None:
    admin = valkey_server.client()
    user = f"u{store_name}"
    await admin.execute_command("ACL", "SETUSER", user, "on", ">pw", "~*", "+@all", "-expire")
    engine = ValkeyEngine(valkey.asyncio.Valkey(port=valkey_server.port, username=user, password="pw"), True)
    with pytest.raises(EngineError):
        await engine.records(collection(store_name)).write_many([record("1", ttl_seconds=5)])
    assert await admin.exists(f"{store_name}:mem:1") == 0
    await engine.close()
    await admin.execute_command("ACL", "DELUSER", user)
    await admin.aclose()


@pytest.mark.parametrize(
    "write",
    [
        record("a:b"),
        record(""),
        RecordWrite("1", {}),
        record("1", ttl_seconds=0),
        record("1", ttl_seconds=-1),
        record("1", ttl_seconds=10**18),
        record("1", ttl_seconds=1.5),  # type: ignore[arg-type]
    ],
)
async def test_bad_input_is_refused_before_anything_is_sent(
    records: ValkeyRecords, engine: ValkeyEngine, write: RecordWrite
) -> None:
    before = engine.round_trips
    with pytest.raises(InvalidInputError):
        await records.write_many([record("good"), write])
    assert engine.round_trips == before


async def test_a_batch_that_partly_fails_says_which(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    await valkey_client.set(f"{store_name}:mem:2", "not a hash")
    with pytest.raises(PartialBatchError) as failure:
        await records.write_many([record("1"), record("2"), record("3")])
    assert failure.value.done == ("1", "3")
    assert set(failure.value.failed) == {"2"}
    assert await records.count(ANY) == 2


async def test_touching_never_brings_a_record_or_a_fragment_back(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    await records.write_many([record("1", ttl_seconds=100)])
    await valkey_client.execute_command("HSET", f"{store_name}:mem:fragment", "access_count", "1")
    maxima, increments = {"last_accessed_at": CREATED_AT_MS + 5}, {"access_count": 1}
    touched = await records.change_many(
        [RecordChange(id, maxima, increments) for id in ("1", "gone", "fragment", "a:b")]
    )
    assert touched == [Outcome.CHANGED, Outcome.MISSING, Outcome.MISSING, Outcome.MISSING]
    assert await valkey_client.exists(f"{store_name}:mem:gone", f"{store_name}:mem:a:b") == 0
    fragment = await valkey_client.execute_command("HGETALL", f"{store_name}:mem:fragment")
    assert fragment == {b"access_count": b"1"}
    assert 90 < await valkey_client.ttl(f"{store_name}:mem:1") <= 100


async def test_maxima_rise_only_and_increments_add_up_under_concurrency(records: ValkeyRecords) -> None:
    await records.write_many([record("1", access_count="not a number", importance="0.5")])
    await asyncio.gather(
        *(
            records.change_many([RecordChange("1", {"last_accessed_at": CREATED_AT_MS + n}, {"access_count": 1})])
            for n in (*range(50), *range(50, 0, -1))
        )
    )
    [fields] = await records.read_many(["1"], ["last_accessed_at", "access_count", "importance"])
    assert fields == {
        "last_accessed_at": str(CREATED_AT_MS + 50).encode(),
        "access_count": b"100",
        "importance": b"0.5",
    }


async def test_touching_writes_the_record_once(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    while (await records.inspect()).indexing:  # noqa: ASYNC110 - the server tells no other way
        await asyncio.sleep(0.01)
    await records.write_many([record("1")])

    async def last_document() -> int:
        info = await valkey_client.execute_command("FT.INFO", f"{store_name}:mem:idx")
        return int(info[info.index(b"max_doc_id") + 1])

    before = await last_document()
    await records.change_many([RecordChange("1", {"last_accessed_at": CREATED_AT_MS + 9}, {"access_count": 1})])
    assert await last_document() - before == 1
    await records.change_many([RecordChange("1", {"last_accessed_at": CREATED_AT_MS})])
    assert await last_document() - before == 1


async def test_round_trips_on_the_wire(valkey_server: ValkeyServer, store_name: str) -> None:
    with Proxy(valkey_server.port) as proxy:
        engine = ValkeyEngine.from_url(proxy.url)
        records = engine.records(collection(store_name))
        await records.prepare(4)
        await records.write_many([record("warm")])
        await records.change_many([RecordChange("warm", {}, {"access_count": 1})])

        async def cost(step: object) -> tuple[int, int]:
            wire, counted = proxy.round_trips, engine.round_trips
            await step  # type: ignore[misc]
            return proxy.round_trips - wire, engine.round_trips - counted

        ids = [str(n) for n in range(500)]
        thread = Filter((Equals("threadId", "t"),))
        for step, expected in (
            (records.write_many([record("1", ttl_seconds=5, threadId="t")]), 1),
            (records.write_many([record(id, threadId="t") for id in ids]), 1),
            (records.write_many([record(id, threadId="t") for id in [*ids, "x"]]), 2),
            (records.read_many(ids, ["content"]), 1),
            (records.change_many([RecordChange(id, {}, {"access_count": 1}) for id in ids]), 1),
            (nearest(records, vector(1, 0, 0, 0), count=32, filter=thread, fields=["threadId"]), 1),
            (records.select(thread, fields=["threadId"], limit=10), 1),
            (records.count(ANY), 1),
            (records.count(thread), 1),
            (records.delete_many(ids), 1),
            (engine.values.get("k"), 1),
            (records.write_many([]), 0),
            (records.read_many([], ["content"]), 0),
        ):
            assert await cost(step) == (expected, expected)
        await engine.close()


async def test_a_server_that_forgot_the_scripts_costs_one_more_round_trip_and_no_record(
    engine: ValkeyEngine, records: ValkeyRecords, forget_scripts: Callable[[], None]
) -> None:
    forget_scripts()
    before = engine.round_trips
    await records.write_many([record(str(n)) for n in range(20)])
    assert engine.round_trips - before == 2
    forget_scripts()
    changes = [RecordChange(str(n % 20), {}, {"access_count": 1}) for n in range(40)]
    assert await records.change_many(changes) == [Outcome.CHANGED] * 40
    assert await records.read_many(["3"], ["access_count"]) == [{"access_count": b"2"}]


async def test_fewer_neighbours_than_asked_for_mean_that_there_are_no_more(records: ValkeyRecords) -> None:
    await records.write_many([record(str(n), vector=vector(1, n, 0, 0), threadId="t") for n in range(7)])
    near = await nearest(records, vector(1, 0, 0, 0), count=50, filter=Filter((Equals("threadId", "t"),)), fields=[])
    assert [row.id for row in near] == [str(n) for n in range(7)]
    assert await nearest(records, vector(1, 0, 0, 0), count=0, filter=ANY, fields=[]) == []
    with pytest.raises(InvalidInputError):
        await nearest(records, vector(1, 0, 0, 0), count=records.max_neighbours + 1, filter=ANY, fields=[])


async def test_largest_neighbour_count_is_accepted(records: ValkeyRecords) -> None:
    await records.write_many([record("1")])
    near = await nearest(records, vector(1, 0, 0, 0), count=records.max_neighbours, filter=ANY, fields=["content"])
    assert [row.id for row in near] == ["1"]


async def test_pages_do_not_overlap_and_hold_only_what_was_asked_for(records: ValkeyRecords) -> None:
    await records.write_many([record(str(n), at=n, source="s") for n in range(25)])
    rows: list[Row] = []
    for offset in range(0, 30, 10):
        page = await records.select(ANY, fields=["source"], limit=10, offset=offset, order_by="created_at")
        assert page.total == 25
        rows += page.rows
    assert [row.id for row in rows] == [str(n) for n in range(25)]
    assert all(row.fields == {"source": b"s"} for row in rows)
    assert (await records.select(ANY, fields=["source"], limit=0)).total == 25
    assert len((await records.select(ANY, fields=[], limit=5)).rows) == 5


async def test_times_come_back_to_the_millisecond(records: ValkeyRecords) -> None:
    await records.write_many([record("1", at=7)])
    [near] = await nearest(records, vector(1, 0, 0, 0), count=1, filter=ANY, fields=["created_at", "last_accessed_at"])
    page = await records.select(ANY, fields=["created_at", "last_accessed_at"], limit=1, order_by="created_at")
    exact = str(CREATED_AT_MS + 7).encode()
    assert near.fields == page.rows[0].fields == {"created_at": exact, "last_accessed_at": exact}


async def test_counting_more_distinct_values_than_the_server_groups_is_exact(
    records: ValkeyRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    await records.write_many([record(str(n), tags=f"x,{n},Y") for n in range(2500)])
    await records.write_many([record(f"n{n}", tags="X") for n in range(5)])
    assert await records.count(Filter((HasTag("tags", "x"),))) == 2500
    monkeypatch.setattr(commands, "MAX_GROUPS", 100)
    assert await records.count(Filter((HasTag("tags", "x"),))) == 2500
    assert await records.count(Filter((HasTag("tags", "y"),))) == 0


async def test_a_search_cut_short_is_an_error_and_not_a_short_answer(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url, search_timeout_ms=1)
    records = engine.records(collection(store_name))
    await records.prepare(4)
    await records.write_many([record(str(n), threadId=f"t{n}") for n in range(5000)])
    with pytest.raises(SearchTimeoutError):
        await records.count(Filter((Equals("threadId", ""),)))
    await engine.close()
