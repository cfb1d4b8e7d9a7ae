"""Files of earlier formats open, and mean what new ones mean."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from betterdb_agent_memory.engines.base import Collection, IndexState, RecordChange, SchemaField, Search, Word
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.embedded.records import EmbeddedRecords
from betterdb_agent_memory.engines.filters import Between, Equals, Filter, HasTag
from betterdb_agent_memory.errors import EngineError
from betterdb_agent_memory.memory.record import MEMORY_SCHEMA
from tests.engines.embedded.support import collection, encoded, python, record
from tests.engines.searching import nearest

ZEROS = {1: 10_190, 3: 10_180}
IDS = {"plain", "odd", "fraction", "nothing", "short"}


def restored(path: Path, version: int) -> Path:
    """A file of this format."""
    dump = Path(__file__).with_name(f"format_{version}.sql").read_text()
    database = sqlite3.connect(path)
    database.executescript(dump.replace("{zeros}", "00" * ZEROS[version]))
    database.close()
    return path


@pytest.fixture
def older(path: Path) -> Path:
    return restored(path, 1)


async def test_everything_in_it_is_found(older: Path) -> None:
    for _ in range(2):
        engine = EmbeddedEngine(older, clock=lambda: 1_750_000_001.0)
        records = engine.records(collection())
        assert await records.prepare(2) == IndexState(2)
        found = await nearest(records, encoded([1, 0]), count=9, filter=Filter(), fields=[])
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
    found = await nearest(records, encoded([1, 0, 0]), count=9, filter=Filter(), fields=[])
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


@pytest.mark.parametrize("prepared", [True, False])
async def test_words_are_found_in_the_texts_of_a_file_without_an_index_of_them(path: Path, prepared: bool) -> None:
    engine = EmbeddedEngine(restored(path, 3), clock=lambda: 1_750_000_001.0)
    records = engine.records(collection())
    if prepared:
        # Only now the field is known that holds the stems of other languages.
        assert await records.prepare(2) == IndexState(2)
    assert await holders(records, "runs", "run") == ["english", "passing"]
    assert await holders(records, "munchen", "munch") == ["english"]
    assert await holders(records, "gelaufen", "lauf") == (["german"] if prepared else [])
    assert await holders(records, "走る", "走る") == (["japanese"] if prepared else [])
    assert await holders(records, "gone", "gone") == []
    await records.write_many([record("new", content="a run")])
    await records.delete_many(["english"])
    assert await holders(records, "runs", "run") == ["new", "passing"]
    await engine.close()


async def test_words_of_the_first_format_are_found(older: Path) -> None:
    engine = EmbeddedEngine(older)
    assert await holders(engine.records(collection()), "texts", "text") == ["fraction", "odd", "plain", "short"]
    await engine.close()


async def holders(records: EmbeddedRecords, text: str, stem: str) -> list[str]:
    """Ids of the records with a vector that have the word."""
    search = Search(9, Filter(), (Word(text, stem),))
    return sorted(row.id for row in (await records.search_many(encoded([1, 0]), [search], fields=[])).neighbours[0])


async def test_the_description_is_one_that_earlier_releases_read(path: Path) -> None:
    engine = EmbeddedEngine(path)
    await engine.records(collection()).prepare(2)
    await engine.close()
    for field in described(path):
        assert field.keys() == {"name", "kind", "multiple", "sortable"}
    assert {field["name"]: field["kind"] for field in described(path)}["words"] not in ("tag", "number")


def described(path: Path) -> list[dict[str, Any]]:
    # The engine's own SQLite: a second copy of it in a process takes its locks away when it closes.
    database = apsw.Connection(str(path))
    [(fields,)] = database.execute("SELECT fields FROM collection").fetchall()
    database.close()
    described: list[dict[str, Any]] = json.loads(str(fields))
    return described


async def test_what_a_later_release_says_of_a_field_is_ignored(path: Path) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many([record("1", content="running", words="lauf")])
    later = json.dumps([{**field, "later": True} for field in described(path)])
    await records._database.write(lambda c: c.execute("UPDATE collection SET fields = ?", (later,)))
    assert await holders(records, "runs", "nobody") == await holders(records, "nobody", "lauf") == ["1"]
    await engine.close()


async def test_an_upgrade_by_a_later_release_is_noticed_while_the_file_is_open(path: Path) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many([record("1")])
    later = apsw.Connection(str(path))
    later.execute("PRAGMA user_version = 99")
    for call in (records.count(Filter()), records.write_many([record("2")]), records.delete_many(["1"])):
        with pytest.raises(EngineError, match=r"memory\.db has format version 99, .* upgrade"):
            await call
    await engine.close()
    assert later.execute("SELECT id FROM record_1").fetchall() == [("1",)]
    later.close()


async def test_words_that_format_4_left_behind_are_gone(path: Path) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many([record("1", content="running", words="lauf")])
    await engine.close()
    fields = json.dumps(
        [
            {**field, "kind": "text", "holds_stems": True} if field["name"] == "words" else field
            for field in described(path)
        ]
    )
    database = apsw.Connection(str(path))
    database.execute("INSERT INTO word_1 (rowid, text) VALUES (7, 'secret')")
    database.execute("UPDATE collection SET fields = ?", (fields,))
    for table in ("log", "log_entry", "log_partition", "log_consumer", "link"):
        database.execute(f"DROP TABLE {table}")
    database.execute("PRAGMA user_version = 4")
    database.close()
    assert b"secret" in path.read_bytes()
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    assert await holders(records, "runs", "nobody") == await holders(records, "nobody", "lauf") == ["1"]
    await engine.close()
    assert b"secret" not in path.read_bytes()
    assert all("holds_stems" not in field for field in described(path))


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
