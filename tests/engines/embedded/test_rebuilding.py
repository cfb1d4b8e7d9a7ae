"""Rebuilding and dropping a collection, alone and while other processes have the file open."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import apsw
import numpy as np
import pytest

from betterdb_agent_memory.engines.base import (
    Collection,
    IndexSchema,
    IndexState,
    Outcome,
    RecordChange,
    RecordWrite,
    SchemaField,
)
from betterdb_agent_memory.engines.embedded import EmbeddedEngine, search
from betterdb_agent_memory.engines.embedded.records import EmbeddedRecords
from betterdb_agent_memory.engines.filters import Between, Equals, Filter, HasTag
from betterdb_agent_memory.errors import EngineError, IndexMismatchError, IndexMissingError, InvalidInputError
from tests.engines.embedded.support import collection, encoded, python, record, true_distances
from tests.engines.searching import nearest

EVERYTHING = Filter()
WAYS = pytest.mark.parametrize("way", [0, 1_000_000], ids=["coarse", "one by one"])


async def near(records: EmbeddedRecords, vector: Sequence[float], count: int = 10_000) -> list[str]:
    return [row.id for row in await nearest(records, encoded(vector), count=count, filter=EVERYTHING, fields=[])]


@WAYS
async def test_vectors_of_another_length_are_out_of_the_search_until_they_are_replaced(
    records: EmbeddedRecords, monkeypatch: pytest.MonkeyPatch, way: int
) -> None:
    monkeypatch.setattr(search, "SMALL_SCOPE", way)
    monkeypatch.setattr(search, "COARSE_GAIN", 1_000_000)
    # Twice as many as are asked for and more, or no search goes by the coarse blocks.
    await records.write_many([record(f"{i}", [1, i], tags=f"{i}", created_at=f"{i}") for i in range(20)])
    assert await records.rebuild(3) == IndexState(3, failures=20)
    assert await records.prepare(3) == await records.prepare(None) == await records.inspect()
    assert await records.inspect() == IndexState(3, failures=20)
    assert await near(records, [1, 0, 0], 5) == []
    assert await records.count(EVERYTHING) == 20
    assert [row.fields for row in [row async for page in records.scan(["vector"]) for row in page]] == [
        {"vector": encoded([1, i])} for i in range(20)
    ]
    with pytest.raises(IndexMismatchError, match=r"3 dimensions.*have 2"):
        await records.prepare(2)
    with pytest.raises(InvalidInputError, match="'x' has 8 bytes.*3 dimensions: 12 bytes"):
        await records.write_many([record("x", [1, 0])])
    with pytest.raises(InvalidInputError, match="'0' has 8 bytes.*3 dimensions: 12 bytes"):
        await records.change_many([RecordChange("0", sets={"vector": encoded([1, 0])})])
    with pytest.raises(InvalidInputError, match="query vector has 8 bytes"):
        await near(records, [1, 0])

    # One by one they come back, compared with what was there.
    replaced = [
        RecordChange("2", expected={"vector": encoded([1, 2])}, sets={"vector": encoded([1, 0, 0])}),
        RecordChange("3", expected={"vector": encoded([1, 0])}, sets={"vector": encoded([1, 0, 0])}),
    ]
    assert await records.change_many(replaced) == [Outcome.CHANGED, Outcome.REFUSED]
    await records.write_many([record("4", [1, 1, 0])])
    assert await near(records, [1, 0, 0], 5) == ["2", "4"]
    assert (await records.inspect()).failures == 18
    await records.change_many([RecordChange("0", removes=("vector",))])
    await records.delete_many(["1"])
    assert (await records.inspect()).failures == 16
    # Back again: what still has the old length is searched by, and the others are not.
    assert await records.rebuild(2) == IndexState(2, failures=2)
    assert await near(records, [1, 5], 3) == ["5", "6", "7"]
    assert await near(records, [1, 1], 3) == ["3", "5", "6"]


async def test_a_rebuild_makes_columns_and_tags_anew_from_the_records(path: Path) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many(
        [record(f"{i:04}", [1, i], threadId=f"{i % 3}", tags=f"a,{i % 2}", created_at=f"{i}") for i in range(2500)]
    )

    def spoil(connection: apsw.Connection) -> None:
        connection.execute("UPDATE record_1 SET \"f_threadId\" = x'00', f_created_at = NULL WHERE key % 2")
        connection.execute("DELETE FROM tag_1 WHERE key % 3 = 0")
        connection.execute("INSERT OR IGNORE INTO tag_1 (field, value, key) VALUES ('tags', x'ff', 5)")
        connection.execute("DELETE FROM coarse_1")
        connection.execute("INSERT INTO unfit_1 (key) VALUES (1), (99999)")

    await records._database.write(spoil)
    assert await records.rebuild(2) == IndexState(2)
    assert await records.count(Filter((Equals("threadId", "1"),))) == 833
    assert await records.count(Filter((HasTag("tags", "a"), HasTag("tags", "1")))) == 1250
    assert await records.count(Filter((HasTag("tags", "\x00"),))) == 0
    assert await records._database.read(
        lambda c: c.execute("SELECT count(*), count(DISTINCT value) FROM tag_1").fetchall()
    ) == [(5000, 3)]
    assert await records.count(Filter((Between("created_at"),))) == 2500
    assert len(await near(records, [1, 0])) == 2500
    assert (await near(records, [1, 7]))[0] == "0007"
    await engine.close()


async def test_a_rebuild_creates_what_was_never_prepared_and_adds_fields(engine: EmbeddedEngine) -> None:
    older = engine.records(Collection("s:", "s:idx", IndexSchema("vector", (SchemaField("threadId", "tag"),))))
    assert await older.rebuild(2) == IndexState(2, created=True)
    await older.write_many([RecordWrite("1", {"rank": b" 5 pieces", "vector": encoded([1, 0])})])
    fields = (SchemaField("threadId", "tag"), SchemaField("rank", "number", sortable=True))
    newer = engine.records(Collection("s:", "s:idx", IndexSchema("vector", fields)))
    assert await newer.rebuild(2) == IndexState(2)
    # Through the new column: a page can be ordered by it.
    page = await newer.select(Filter((Between("rank", 5, 5),)), fields=[], limit=1, order_by="rank")
    assert [row.id for row in page.rows] == ["1"]
    with pytest.raises(InvalidInputError, match="positive"):
        await newer.rebuild(0)


async def test_other_processes_notice_a_rebuild_and_a_drop(path: Path) -> None:
    engine, other = EmbeddedEngine(path), EmbeddedEngine(path)
    records, theirs = engine.records(collection()), other.records(collection())
    await records.prepare(2)
    await theirs.prepare(2)
    await theirs.write_many([record("1", [1, 0])])
    assert await near(theirs, [1, 0]) == ["1"]
    await records.rebuild(300)
    with pytest.raises(InvalidInputError, match="300 dimensions"):
        await theirs.write_many([record("2", [1, 0])])
    await theirs.change_many([RecordChange("1", sets={"vector": encoded([1] + [0] * 299)})])
    assert await near(records, [1] + [0] * 299) == await near(theirs, [1] + [0] * 299) == ["1"]
    assert await records.drop() == 1
    assert await theirs.inspect() == IndexState(None)
    for call in (
        theirs.write_many([record("2", [1, 0])]),
        theirs.count(EVERYTHING),
        theirs.select(EVERYTHING, fields=[], limit=1),
        nearest(theirs, encoded([1, 0]), count=1, filter=EVERYTHING, fields=[]),
    ):
        with pytest.raises(IndexMissingError, match="store:mem:idx"):
            await call
    assert await theirs.read_many(["1"], None) == [None]
    assert await theirs.read_expiries(["1"]) == [None]
    assert await theirs.change_many([RecordChange("1")]) == [Outcome.MISSING]
    assert await theirs.delete_many(["1"]) == [False]
    # Made anew, with another length and the same number, it is found by both.
    assert await records.prepare(4) == IndexState(4, created=True)
    await theirs.write_many([record("3", [1, 0, 0, 0])])
    assert await near(records, [1, 0, 0, 0]) == ["3"]
    await other.close()
    await engine.close()


async def test_drop_leaves_other_collections_and_no_trace(path: Path, clock) -> None:
    engine = EmbeddedEngine(path, clock=clock)
    records, others = engine.records(collection()), engine.records(collection("other"))
    assert await records.drop() == 0
    await records.prepare(2)
    await others.prepare(2)
    secret = "a secret that is nowhere else " * 500
    await records.write_many([record(f"{i}", content=secret, tags="x") for i in range(50)])
    await records.write_many([record("gone", ttl_seconds=1)])
    await others.write_many([record("stays", tags="x")])
    await engine.values.set("k", b"1")
    clock.seconds += 1
    assert await records.drop() == 50
    assert await records.prepare(None) == IndexState(None)
    assert await others.count(Filter((HasTag("tags", "x"),))) == 1
    assert await engine.values.get("k") == b"1"
    names = await records._database.read(lambda c: {n for (n,) in c.execute("SELECT name FROM sqlite_schema")})
    assert not {name for name in names if "_1" in name and not name.startswith("sqlite")}
    assert await records.prepare(2) == IndexState(2, created=True)
    assert await records.count(EVERYTHING) == 0
    await engine.close()
    assert b"a secret" not in path.read_bytes()


REBUILDER = """
import asyncio, sys
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from tests.engines.embedded.support import collection

async def main(path):
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    dimensions = (await records.prepare(None)).dimensions
    print("rebuilding", flush=True)
    while True:
        dimensions = 130 - dimensions
        await records.rebuild(dimensions)
        print(dimensions, flush=True)

asyncio.run(main(sys.argv[1]))
"""


async def assert_searchable(path: Path, expected: Mapping[str, Sequence[float]]) -> int:
    """Every record is there with its vector, and those of the file's length are found. The length."""
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    dimensions = (await records.inspect()).dimensions
    assert dimensions is not None
    fitting = [id for id, vector in expected.items() if len(vector) == dimensions]
    query = np.ones(dimensions, dtype="<f4")
    for count in (len(expected), len(expected) // 10):
        # Which is none, if all were written last while the file was for the other length.
        vectors = np.array([expected[id] for id in fitting], dtype="<f4").reshape(-1, dimensions)
        distances = true_distances(vectors, query)
        nearest = [fitting[i] for i in np.argsort(distances, kind="stable")[:count]]
        assert set(await near(records, query.tolist(), count)) == set(nearest)
    assert (await records.inspect()).failures == len(expected) - len(fitting)
    assert await records.count(Filter((HasTag("tags", "x"),))) == len(expected)
    stored = await records.read_many(list(expected), ["vector"])
    assert stored == [{"vector": encoded(vector)} for vector in expected.values()]
    assert await records._database.read(lambda c: c.execute("PRAGMA integrity_check").fetchall()) == [("ok",)]
    await engine.close()
    return dimensions


@WAYS
async def test_a_kill_in_the_middle_of_a_rebuild_leaves_the_old_state_or_the_new(
    path: Path, monkeypatch: pytest.MonkeyPatch, way: int
) -> None:
    monkeypatch.setattr(search, "SMALL_SCOPE", way)
    monkeypatch.setattr(search, "COARSE_GAIN", 1_000_000)
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(50)
    short = {f"short {i}": [1.0] * 49 + [float(i)] for i in range(3000)}
    await records.write_many([record(id, vector, tags="x") for id, vector in short.items()])
    await records.rebuild(80)
    long = {f"long {i}": [1.0] * 79 + [float(i)] for i in range(2000)}
    await records.write_many([record(id, vector, tags="x") for id, vector in long.items()])
    await engine.close()
    seen = set()
    for attempt in range(8):
        rebuilder = python(REBUILDER, path)
        assert rebuilder.stdout is not None
        assert await asyncio.to_thread(rebuilder.stdout.readline) == "rebuilding\n"
        await asyncio.sleep(0.02 + 0.017 * attempt)
        rebuilder.send_signal(signal.SIGKILL)
        await asyncio.to_thread(rebuilder.communicate)
        seen.add(await assert_searchable(path, short | long))
    assert seen <= {50, 80}


WRITER = """
import asyncio, sys
from betterdb_agent_memory.engines.base import RecordChange
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.errors import InvalidInputError
from tests.engines.embedded.support import collection, encoded, record
from tests.engines.searching import nearest

async def main(path, count):
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(None)
    refused, dimensions = 0, 50
    for i in range(count):
        while True:
            vector = [1.0] * (dimensions - 1) + [float(i)]
            try:
                if i % 2:
                    await records.write_many([record(f"{i % 100}", vector, tags="x")])
                else:
                    await records.change_many([RecordChange(f"{i % 100}", sets={"vector": encoded(vector)})])
                await nearest(records, encoded(vector), count=5, filter=Filter(), fields=[])
                break
            except InvalidInputError:
                refused, dimensions = refused + 1, 130 - dimensions
    print(refused, flush=True)
    await engine.close()

asyncio.run(main(sys.argv[1], 600))
"""


async def test_writers_and_searches_of_another_process_go_on_through_rebuilds(path: Path) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(50)
    await records.write_many([record(f"{i}", [1.0] * 49 + [float(i)], tags="x") for i in range(100)])
    writer = python(WRITER, path)
    dimensions = 50
    deadline = time.monotonic() + 60
    while writer.poll() is None and time.monotonic() < deadline:
        dimensions = 130 - dimensions
        await records.rebuild(dimensions)
        await asyncio.sleep(0.03)
    output, errors = await asyncio.to_thread(writer.communicate)
    assert (writer.returncode, errors) == (0, "")
    assert int(output) > 3
    ids = [f"{i}" for i in range(100)]
    stored = await records.read_many(ids, ["vector"])
    await engine.close()
    vectors = [np.frombuffer(fields["vector"], "<f4").tolist() for fields in stored if fields is not None]
    for _ in range(2):
        assert await assert_searchable(path, dict(zip(ids, vectors, strict=True))) == dimensions
        engine = EmbeddedEngine(path)
        dimensions = 130 - dimensions
        await engine.records(collection()).rebuild(dimensions)
        await engine.close()


async def test_a_rebuild_that_fails_changes_nothing(path: Path) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many([record(f"{i}", [1, i], tags="x") for i in range(3000)])
    refuse = "CREATE TRIGGER refuse BEFORE INSERT ON unfit_1 WHEN new.key = 2000 BEGIN SELECT RAISE(ABORT, 'no'); END"
    await records._database.write(lambda c: c.execute(refuse))
    with pytest.raises(EngineError, match="no"):
        await records.rebuild(3)
    await records._database.write(lambda c: c.execute("DROP TRIGGER refuse"))
    assert await records.inspect() == IndexState(2)
    await engine.close()
    await assert_searchable(path, {f"{i}": [1, i] for i in range(3000)})
