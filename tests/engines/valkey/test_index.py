from __future__ import annotations

import asyncio
from typing import Any

import pytest
import valkey.asyncio

from betterdb_agent_memory.engines.base import IndexState
from betterdb_agent_memory.engines.filters import Equals, Filter, HasTag
from betterdb_agent_memory.engines.valkey import ValkeyEngine, index
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from betterdb_agent_memory.errors import (
    AuthenticationFailedError,
    EngineUnavailableError,
    IndexMismatchError,
    IndexMissingError,
    SearchModuleMissingError,
)
from tests.engines.searching import nearest
from tests.engines.valkey.samples import collection, record, vector
from tests.servers import ValkeyServer, free_port


async def create(
    client: valkey.asyncio.Valkey,
    name: str,
    *,
    prefix: str | None = None,
    dimensions: int = 4,
    metric: str = "COSINE",
    kind: str = "FLOAT32",
    algorithm: str = "HNSW",
    without: str = "",
) -> None:
    """An index as another program would create it: without our own fields."""
    published = "threadId TAG agentId TAG namespace TAG tags TAG SEPARATOR , source TAG importance NUMERIC"
    published += " created_at NUMERIC SORTABLE last_accessed_at NUMERIC access_count NUMERIC content TEXT"
    await client.execute_command(
        *("FT.CREATE", f"{name}:mem:idx", "ON", "HASH", "PREFIX", "1", prefix or f"{name}:mem:", "SCHEMA"),
        *("vector", "VECTOR", algorithm, "6", "TYPE", kind, "DIM", str(dimensions), "DISTANCE_METRIC", metric),
        *published.replace(without, "", 1).split(),
    )


async def test_prepare_without_dimensions_finds_nothing_and_creates_nothing(
    engine: ValkeyEngine, store_name: str
) -> None:
    records = engine.records(collection(store_name))
    assert await records.prepare(None) == IndexState(dimensions=None)
    assert await records.inspect() == IndexState(dimensions=None)


async def test_prepare_creates_once_and_costs_one_round_trip_afterwards(engine: ValkeyEngine, store_name: str) -> None:
    records = engine.records(collection(store_name))
    state = await records.prepare(4)
    assert (state.dimensions, state.created, state.unindexed) == (4, True, ())
    before = engine.round_trips
    state = await records.prepare(4)
    assert (state.dimensions, state.created) == (4, False)
    assert engine.round_trips - before == 1


async def test_one_of_twenty_racing_workers_creates_the_index_and_none_fails(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    engines = [ValkeyEngine.from_url(valkey_server.url) for _ in range(20)]
    try:
        # Connected first, so that all of them really arrive together.
        await asyncio.gather(*(engine.values.get("nothing") for engine in engines))
        states = await asyncio.gather(*(engine.records(collection(store_name)).prepare(4) for engine in engines))
    finally:
        await asyncio.gather(*(engine.close() for engine in engines))
    assert [state.created for state in states].count(True) == 1
    assert {state.dimensions for state in states} == {4}


async def test_loser_of_a_race_with_another_dimension_is_told(valkey_server: ValkeyServer, store_name: str) -> None:
    engines = [ValkeyEngine.from_url(valkey_server.url) for _ in range(2)]
    try:
        await asyncio.gather(*(engine.values.get("nothing") for engine in engines))
        outcomes = await asyncio.gather(
            *(engine.records(collection(store_name)).prepare(4 + n) for n, engine in enumerate(engines)),
            return_exceptions=True,
        )
    finally:
        await asyncio.gather(*(engine.close() for engine in engines))
    assert {type(outcome) for outcome in outcomes} == {IndexState, IndexMismatchError}


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"dimensions": 8}, ("8", "4")),
        ({"metric": "L2"}, ("L2", "COSINE")),
        ({"kind": "FLOAT64"}, ("FLOAT64", "FLOAT32")),
        ({"prefix": "elsewhere:"}, ("elsewhere:", ":mem:")),
    ],
)
async def test_an_index_that_does_not_fit_is_refused_and_both_values_are_named(
    engine: ValkeyEngine,
    valkey_client: valkey.asyncio.Valkey,
    store_name: str,
    other: dict[str, Any],
    named: tuple[str, str],
) -> None:
    await create(valkey_client, store_name, **other)
    with pytest.raises(IndexMismatchError) as refusal:
        await engine.records(collection(store_name)).prepare(4)
    assert all(value in str(refusal.value) for value in named)


async def test_an_index_of_the_published_packages_serves_and_our_filters_stay_exact(
    engine: ValkeyEngine, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    await create(valkey_client, store_name)
    records = engine.records(collection(store_name))
    assert (await records.prepare(4)).unindexed == ("subject",)
    await records.write_many([record("1", subject="s"), record("2", subject="S"), record("3")])
    about = Filter((Equals("subject", "s"),))
    assert await records.count(about) == 1
    page = await records.select(about, fields=["subject"], limit=10)
    assert [row.id for row in page.rows if about.accepts(row.id, row.fields)] == ["1"]


async def test_a_flat_index_can_be_searched(
    engine: ValkeyEngine, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    await create(valkey_client, store_name, algorithm="FLAT")
    records = engine.records(collection(store_name))
    await records.prepare(4)
    await records.write_many([record("1")])
    assert [row.id for row in await nearest(records, vector(1, 0, 0, 0), count=1, filter=Filter(), fields=[])] == ["1"]


async def test_existing_records_and_unindexable_ones_are_reported(
    engine: ValkeyEngine, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    records = engine.records(collection(store_name))
    await records.write_many([record(str(n)) for n in range(50)])
    await records.prepare(4)
    while (await records.inspect()).indexing:  # noqa: ASYNC110 - the server tells no other way
        await asyncio.sleep(0.01)
    assert await records.count(Filter()) == 50
    await records.write_many([record("wrong", vector=vector(1, 2))])
    assert (await records.inspect()).failures == 1


async def test_a_dropped_index_is_named_as_such(
    records: ValkeyRecords, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    await valkey_client.execute_command("FT.DROPINDEX", f"{store_name}:mem:idx")
    for question in (
        nearest(records, vector(1, 0, 0, 0), count=1, filter=Filter(), fields=["content"]),
        records.select(Filter(), fields=["content"], limit=1),
        records.count(Filter()),
        records.count(Filter((Equals("threadId", "t"),))),
    ):
        with pytest.raises(IndexMissingError):
            await question
    assert (await records.prepare(4)).created


async def test_a_server_without_search_says_how_to_get_it(store_name: str) -> None:
    with ValkeyServer(search=False) as server:
        engine = ValkeyEngine.from_url(server.url)
        records = engine.records(collection(store_name))
        for step in (records.prepare(4), records.inspect(), records.count(Filter())):
            with pytest.raises(SearchModuleMissingError, match="valkey-bundle"):
                await step
        await engine.close()


async def test_wrong_password_is_named_and_never_shown() -> None:
    with ValkeyServer(password="right/w@rd", unix_socket=True) as server:
        for url in (server.url, server.socket_url):
            engine = ValkeyEngine.from_url(url)
            assert await engine.values.set("k", b"v")
            assert "w@rd" not in repr(engine)
            await engine.close()
        for url in (f"valkey://:SeCrEt@127.0.0.1:{server.port}", f"redis://127.0.0.1:{server.port}"):
            engine = ValkeyEngine.from_url(url)
            records = engine.records(collection("n"))
            for step in (records.prepare(4), records.write_many([record("1")]), engine.values.get("k")):
                with pytest.raises(AuthenticationFailedError) as refusal:
                    await step
                assert "SeCrEt" not in f"{refusal.value!r} {refusal.value.__cause__!r} {engine!r}"
            await engine.close()


async def test_no_server_means_unavailable_for_reads_and_writes() -> None:
    engine = ValkeyEngine.from_url(f"valkey://:SeCrEt@127.0.0.1:{free_port()}")
    records = engine.records(collection("n"))
    for step in (records.prepare(4), records.write_many([record("1")]), records.delete_many(["1"])):
        with pytest.raises(EngineUnavailableError) as refusal:
            await step
        assert "SeCrEt" not in str(refusal.value)
    await engine.close()


@pytest.fixture
async def neighbours(engine: ValkeyEngine, store_name: str) -> tuple[ValkeyRecords, ValkeyRecords]:
    """Store `d` with ten records, and store `d:mem` whose thirty keys lie below its prefix."""
    outer, inner = engine.records(collection(store_name)), engine.records(collection(f"{store_name}:mem"))
    await outer.prepare(4)
    await outer.write_many(
        [record(f"o{n}", at=10 * n, vector=vector(1, n + 1, 0, 0), threadId="t", tags="x,y") for n in range(10)]
    )
    return outer, inner


async def test_other_stores_below_the_prefix_are_never_seen(neighbours: tuple[ValkeyRecords, ValkeyRecords]) -> None:
    outer, inner = neighbours
    own = [f"o{n}" for n in range(10)]
    everything, thread = Filter(), Filter((Equals("threadId", "t"), HasTag("tags", "y")))
    assert await outer.count(everything) == 10
    # The neighbour moves in after we have looked.
    await inner.prepare(4)
    await inner.write_many(
        [record(f"i{n}", at=n, vector=vector(1, 0, 0, 0), threadId="t", tags="x,y") for n in range(30)]
    )
    for filter in (everything, thread):
        assert await outer.count(filter) == 10
        assert await inner.count(filter) == 30
        near = await nearest(outer, vector(1, 0, 0, 0), count=5, filter=filter, fields=["threadId", "tags"])
        assert [row.id for row in near] == own[:5]
        pages = [
            await outer.select(filter, fields=["tags"], limit=4, offset=offset, order_by="created_at")
            for offset in (0, 4, 8)
        ]
        assert [row.id for page in pages for row in page.rows] == own
    assert await outer.delete_many(["mem:i1"]) == [False]
    assert await outer.read_many(["mem:i1"], ["content"]) == [None]
    assert await inner.count(everything) == 30


@pytest.mark.parametrize("dimensions", [None, 4])
async def test_an_index_without_the_order_field_is_refused_until_it_is_rebuilt(
    engine: ValkeyEngine, valkey_client: valkey.asyncio.Valkey, store_name: str, dimensions: int | None
) -> None:
    await create(valkey_client, store_name, without=" created_at NUMERIC SORTABLE")
    records = engine.records(collection(store_name))
    await records.write_many([record("1")])
    with pytest.raises(IndexMismatchError, match=r"created_at.*reindex\(\)"):
        await records.prepare(dimensions)
    state = await records.inspect()
    assert (state.dimensions, state.unindexed) == (4, ("created_at", "subject"))
    assert (await records.rebuild(4)).unindexed == ()
    async with asyncio.timeout(30):
        while await records.count(Filter()) != 1:  # noqa: ASYNC110 - the server tells no other way
            await asyncio.sleep(0.01)
    assert (await records.prepare(4)).dimensions == 4


async def test_shared_fields_that_the_index_lacks_are_told(
    engine: ValkeyEngine, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    await create(valkey_client, store_name, without=" source TAG")
    state = await engine.records(collection(store_name)).prepare(4)
    assert state.unindexed == ("source", "subject")


async def test_keys_of_others_hardly_move_the_estimate_of_records(
    engine: ValkeyEngine, valkey_client: valkey.asyncio.Valkey, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await valkey_client.flushall()
    monkeypatch.setattr(index, "_STALE_SECONDS", 0.0)
    records = engine.records(collection(store_name))
    await records.prepare(4)
    await records.write_many([record(str(n)) for n in range(100)])
    await records.prepare(4)

    async def estimate() -> int:
        before = engine.round_trips
        await nearest(records, vector(1, 0, 0, 0), count=3, filter=Filter(), fields=[])
        assert engine.round_trips - before == 1
        return records._index.documents

    async def infos() -> int:
        stats: dict[str, dict[str, int]] = await valkey_client.info("commandstats")
        return next((calls["calls"] for name, calls in stats.items() if name.lower() == "cmdstat_ft.info"), 0)

    assert await estimate() == 100
    await valkey_client.mset({f"other:{n}": "x" for n in range(1000)})
    asked = await infos()
    assert await estimate() == 125
    assert await infos() == asked
    # That is far: the next search asks for the number itself, once until the next regular look.
    assert await estimate() == 100
    assert await infos() == asked + 1
    await valkey_client.delete(*(f"other:{n}" for n in range(1000)))
    assert [await estimate() for _ in range(3)] == [100] * 3
    assert await infos() == asked + 1
    # What is written and deleted here counts in full.
    await records.prepare(4)
    await records.write_many([record(f"more{n}") for n in range(100)])
    assert await estimate() == 200
    await records.delete_many([f"more{n}" for n in range(100)])
    await records.delete_many([str(n) for n in range(60)])
    assert await estimate() == 40
