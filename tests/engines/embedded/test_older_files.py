"""Files of the first format open, and mean what new ones mean."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from betterdb_agent_memory.engines.base import Collection, IndexState, RecordChange, SchemaField
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.filters import Between, Equals, Filter, HasTag
from betterdb_agent_memory.memory.record import MEMORY_SCHEMA
from tests.engines.embedded.support import collection, encoded, python, record

ZEROS = "00" * 10_190
DUMP = Path(__file__).with_name("format_1.sql")
IDS = {"plain", "odd", "fraction", "nothing", "short"}


@pytest.fixture
def older(path: Path) -> Path:
    database = sqlite3.connect(path)
    database.executescript(DUMP.read_text().replace("{zeros}", ZEROS))
    database.close()
    return path


async def test_everything_in_it_is_found(older: Path) -> None:
    for _ in range(2):
        engine = EmbeddedEngine(older, clock=lambda: 1_750_000_001.0)
        records = engine.records(collection())
        assert await records.prepare(2) == IndexState(2)
        found = await records.nearest(encoded([1, 0]), count=9, filter=Filter(), fields=[])
        assert [row.id for row in found] == ["plain", "fraction", "short", "odd"]
        assert await records.count(Filter((Equals("threadId", "t"), HasTag("tags", "b")))) == 1
        assert await records.read_expiries(["plain", "short"]) == [None, 2_750_000_000_000]
        assert await engine.values.get("k") == b"v"
        assert await engine.values.read_map("m") == {"n": b"1"}
        walked = [row.id async for page in records.walk(Filter(), fields=[], page_size=2) for row in page]
        assert walked == ["fraction", "nothing", "short", "odd", "plain"]
        await engine.close()


async def test_numbers_mean_what_every_language_reads(older: Path) -> None:
    engine = EmbeddedEngine(older)
    records = engine.records(collection())
    fields = ("importance", "created_at", "access_count")
    stored = dict(zip(sorted(IDS), await records.read_many(sorted(IDS), fields), strict=True))
    for name in fields:
        for low, high in ((None, None), (1, 1), (5, 5), (1000, 1000), (0, 0.5), (1.75e12, None), (None, 3)):
            clause = Between(name, low, high)
            page = await records.select(Filter((clause,)), fields=[], limit=9)
            assert {row.id for row in page.rows} == {
                id for id, found in stored.items() if clause.accepts(id, found or {})
            }
    await engine.close()


async def test_it_is_written_changed_and_rebuilt_like_a_new_one(older: Path) -> None:
    engine = EmbeddedEngine(older)
    records = engine.records(collection())
    assert await records.rebuild(3) == IndexState(3, failures=4)
    await records.write_many([record("new", [1, 0, 0]), record("odd", [0, 1, 0])])
    await records.change_many([RecordChange("plain", sets={"vector": encoded([1, 1, 0])})])
    found = await records.nearest(encoded([1, 0, 0]), count=9, filter=Filter(), fields=[])
    assert [row.id for row in found] == ["new", "plain", "odd"]
    assert await engine.leases.acquire("job", "a", ttl_seconds=1) == 1
    assert await records.drop() == 6
    await engine.close()


async def test_a_number_that_became_searchable_is_found_in_older_records(older: Path) -> None:
    subject, *_ = MEMORY_SCHEMA.own
    grown = replace(MEMORY_SCHEMA, own=(subject, SchemaField("occurred_at", "number", sortable=True)))
    engine = EmbeddedEngine(older)
    records = engine.records(Collection("store:mem:", "store:mem:idx", grown))
    assert await records.prepare(2) == IndexState(2)
    assert await records.count(Filter((Between("occurred_at"),))) == 2
    assert await records.count(Filter((Between("occurred_at", 7, 7),))) == 1
    page = await records.select(Filter(), fields=[], limit=2, order_by="occurred_at", descending=True)
    assert [row.id for row in page.rows] == ["plain", "odd"]
    # The order of a walk stays that of the first sortable number.
    walked = [row.id async for page in records.walk(Filter(), fields=[]) for row in page]
    assert walked == ["fraction", "nothing", "short", "odd", "plain"]
    await engine.close()


OPENER = """
import asyncio, sys
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.filters import Filter
from tests.engines.embedded.support import collection

async def main(path):
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    print(await records.count(Filter()), await engine.leases.acquire("job", "a", ttl_seconds=1000), flush=True)
    await engine.close()

asyncio.run(main(sys.argv[1]))
"""


async def test_several_processes_bring_it_to_the_new_format_at_once(older: Path) -> None:
    openers = [python(OPENER, older) for _ in range(4)]
    for opener in openers:
        output, errors = await asyncio.to_thread(opener.communicate, timeout=60)
        assert (output, errors) == ("5 1\n", "")
