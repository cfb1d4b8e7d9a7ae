"""What was forgotten is nowhere in the files."""

from __future__ import annotations

import asyncio
import os
import random
import re
from pathlib import Path

import apsw
import pytest

from betterdb_agent_memory.engines.base import Outcome, RecordChange
from betterdb_agent_memory.engines.embedded import EmbeddedEngine, database, words
from betterdb_agent_memory.engines.embedded.records import EmbeddedRecords
from betterdb_agent_memory.engines.filters import Filter
from tests.engines.embedded.support import collection, record

PIECES = [f"piece-{i:06d}-{os.urandom(8).hex()}" for i in range(6000)]
PIECE = re.compile(rb"piece-\d{6}-[0-9a-f]{16}")
TEXT = " ".join(PIECES)
MOST = 5900
"""What is found of a text that is there: a piece at the end of a page continues on another one."""


def pieces_left(path: Path) -> int:
    """How many pieces of the text are in the database or any file beside it."""
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    return len({piece.encode() for piece in PIECES}.intersection(PIECE.findall(content)))


async def opened(path: Path, clock=None) -> tuple[EmbeddedEngine, EmbeddedRecords]:
    engine = EmbeddedEngine(path, clock=clock) if clock else EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    return engine, records


async def until_gone(path: Path) -> None:
    while pieces_left(path):  # noqa: ASYNC110 - nobody tells, and a look reads all of it
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("in_the_log", [True, False])
async def test_a_deleted_text_is_gone_after_close(path: Path, in_the_log: bool) -> None:
    engine, records = await opened(path)
    await records.write_many([record("1", content=TEXT), record("2", content="stays")])
    if not in_the_log:
        await engine.close()
        engine, records = await opened(path)
    assert pieces_left(path) > MOST
    assert await records.delete_many(["1"]) == [True]
    await engine.close()
    assert pieces_left(path) == 0
    assert b"stays" in path.read_bytes()


async def test_a_replaced_text_is_gone_after_close(path: Path) -> None:
    engine, records = await opened(path)
    await records.write_many([record("1", content=TEXT)])
    await engine.close()
    engine, records = await opened(path)
    await records.write_many([record("1", content="shorter")])
    await engine.close()
    assert pieces_left(path) == 0


async def test_a_text_that_a_change_replaced_is_gone_after_close(path: Path) -> None:
    engine, records = await opened(path)
    await records.write_many([record("1", content=TEXT, note=TEXT)])
    await engine.close()
    engine, records = await opened(path)
    await records.change_many([RecordChange("1", sets={"content": b"shorter"}, removes=("note",))])
    assert pieces_left(path) > MOST
    await engine.close()
    assert pieces_left(path) == 0


async def test_a_dropped_collection_is_gone_after_close(path: Path) -> None:
    engine, records = await opened(path)
    await records.write_many([record(f"{i}", content=TEXT, tags=",".join(PIECES[:1000])) for i in range(3)])
    assert await records.drop() == 3
    await engine.close()
    assert pieces_left(path) == 0


async def test_a_removed_field_of_a_map_is_gone_after_close(path: Path) -> None:
    engine, _ = await opened(path)
    await engine.values.write_map("m", {"text": TEXT.encode(), "stays": b"1"})
    assert await engine.values.remove_fields("m", ["text"]) == 1
    await engine.close()
    assert pieces_left(path) == 0


async def test_what_expired_is_gone_after_close_whichever_store_it_is_in(path: Path, clock) -> None:
    engine, records = await opened(path, clock)
    others = engine.records(collection("other"))
    await others.prepare(2)
    await others.write_many([record("1", content=TEXT, ttl_seconds=10)])
    await records.write_many([record(f"{i}", ttl_seconds=10) for i in range(2500)] + [record("stays", ttl_seconds=11)])
    await engine.values.set("k", TEXT.encode(), ttl_seconds=10)
    clock.seconds += 10
    assert await records.count(Filter()) == 1
    await engine.close()
    assert pieces_left(path) == 0
    database = apsw.Connection(str(path))
    assert database.execute("SELECT id FROM record_1").fetchall() == [("stays",)]
    assert database.execute("SELECT count(*) FROM record_2").fetchall() == [(0,)]
    database.close()


async def test_a_session_that_only_read_sweeps_too(path: Path, clock) -> None:
    engine, records = await opened(path, clock)
    await records.write_many([record("1", content=TEXT, ttl_seconds=10)])
    await engine.close()
    assert pieces_left(path) > MOST
    clock.seconds += 10
    engine = EmbeddedEngine(path, clock=clock)
    assert await engine.records(collection()).count(Filter()) == 0
    await engine.close()
    assert pieces_left(path) == 0


async def test_closing_empties_the_log_although_others_have_the_file_open(path: Path) -> None:
    other, _ = await opened(path)
    engine, records = await opened(path)
    await records.write_many([record("1", content=TEXT)])
    await records.delete_many(["1"])
    await engine.close()
    assert pieces_left(path) == 0
    await other.close()


async def test_a_deleted_text_is_soon_gone_while_the_file_is_in_use(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_EMPTY_LOG_SECONDS", 0.01)
    engine, records = await opened(path)
    for _ in range(2):
        await records.write_many([record("1", content=TEXT)])
        await records.delete_many(["1"])
        await asyncio.wait_for(until_gone(path), 60)
        await engine.values.set("k", TEXT.encode())
        assert await engine.values.delete("k")
        await asyncio.wait_for(until_gone(path), 60)
        await records.write_many([record("1", content=TEXT)])
        await records.change_many([RecordChange("1", sets={"content": b"shorter"})])
        await asyncio.wait_for(until_gone(path), 60)
        # A new record, since one that is replaced asks for the log to be emptied itself.
        await records.write_many([record("2", content=TEXT)])
        assert await records.drop() == 2
        await asyncio.wait_for(until_gone(path), 60)
        await records.prepare(2)
    await engine.close()


async def test_a_read_in_the_way_delays_it_and_stops_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_EMPTY_LOG_SECONDS", 0.01)
    monkeypatch.setattr(database, "_LONGEST_WAIT_SECONDS", 0.05)
    engine, records = await opened(path)
    await records.write_many([record("1", content=TEXT)])
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM record_1").fetchall()
    assert await records.delete_many(["1"]) == [True]
    for i in range(10):
        await records.write_many([record(f"{i}")])
        await asyncio.sleep(0.02)
    assert pieces_left(path) > MOST
    reader.execute("ROLLBACK")
    await asyncio.wait_for(until_gone(path), 60)
    await engine.close()
    reader.close()


async def test_closing_does_not_wait_for_a_reader_and_does_not_fail(path: Path) -> None:
    engine, records = await opened(path)
    await records.write_many([record("1", content=TEXT, ttl_seconds=1)])
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM record_1").fetchall()
    await records.delete_many(["1"])
    await engine.close()
    reader.execute("ROLLBACK")
    # The last one to close the file empties the log.
    reader.close()
    assert pieces_left(path) == 0


SECRETS = [os.urandom(8).hex() for _ in range(20)]
"""Words of which the index may leave out the beginnings, where the one before begins alike."""


def secrets_left(path: Path) -> int:
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    return sum(secret[6:].encode() in content for secret in SECRETS)


@pytest.mark.parametrize("cost", [0, 1_000_000], ids=["word by word", "all anew"])
@pytest.mark.parametrize("way", ["delete", "replace", "change", "expire", "rebuild", "many"])
async def test_words_of_a_text_that_is_gone_are_in_no_index(
    path: Path, clock, monkeypatch: pytest.MonkeyPatch, cost: int, way: str
) -> None:
    monkeypatch.setattr(words, "_BYTES_FOR_ONE", cost)
    engine, records = await opened(path, clock)
    stays = [record(f"{i}", content=f"{os.urandom(8).hex()} and other words stay") for i in range(3000)]
    await records.write_many(stays[:1500])
    secret, ttl = " ".join(SECRETS[:10]), 10 if way == "expire" else None
    await records.write_many([record("gone", content=secret, words=" ".join(SECRETS[10:]), ttl_seconds=ttl)])
    await records.write_many(stays[1500:])
    await engine.close()
    engine, records = await opened(path, clock)
    assert secrets_left(path) == len(SECRETS)
    match way:
        case "delete":
            await records.delete_many(["gone"])
        case "many":
            await records.delete_many(["gone", *(f"{i}" for i in range(1000, 1500))])
        case "replace":
            await records.write_many([record("gone", content="shorter")])
        case "change":
            await records.change_many([RecordChange("gone", sets={"content": b"shorter"}, removes=("words",))])
        case "expire":
            clock.seconds += 10
        case _:
            await records.delete_many(["gone"])
            await records.rebuild(2)
    await engine.close()
    assert secrets_left(path) == 0
    database = apsw.Connection(str(path))
    for table in ("word_1", "stem_1"):
        database.execute(f"CREATE VIRTUAL TABLE temp.{table}_terms USING fts5vocab(main, {table}, row)")
        terms = {term for (term,) in database.execute(f"SELECT term FROM {table}_terms")}
        assert not terms & set(SECRETS)
        assert ("other" in terms) == (table == "word_1")
    database.close()


@pytest.mark.parametrize(("rows", "first", "stay"), [(4, 2, 0), (50, 1, 0), (50, 1, 5), (300, 5, 100)])
async def test_no_word_stays_of_texts_that_are_forgotten_after_others(
    path: Path, rows: int, first: int, stay: int
) -> None:
    texts = {f"{i}": [os.urandom(6).hex() for _ in range(8)] for i in range(rows)}
    engine, records = await opened(path)
    for id, text in texts.items():
        await records.write_many([record(id, content=" ".join(text))])
    ids = list(texts)
    await records.delete_many(ids[:first])
    await records.delete_many(ids[first : rows - stay])
    await engine.close()
    content = path.read_bytes()
    assert not [word for id in ids[: rows - stay] for word in texts[id] if word[4:].encode() in content]


@pytest.mark.parametrize("seed", range(4))
async def test_no_word_stays_whatever_was_written_and_forgotten(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    held: dict[str, str] = {}
    gone: list[str] = []
    texts = {f"{i}": "" for i in range(chance.choice([5, 40, 200]))}
    lengths = chance.choice([[8], [1, 30], [3, 300]])
    engine, records = await opened(path)
    for _ in range(25):
        chosen = chance.sample(sorted(texts), chance.choice([1, 1, 3, len(texts) // 2, len(texts)]))
        fresh = {id: " ".join(chance.randbytes(8).hex() for _ in range(chance.choice(lengths))) for id in chosen}
        gone += [text for id in chosen if (text := held.pop(id, ""))]
        match chance.choice(["write", "write", "change", "delete", "reopen"]):
            case "write":
                await records.write_many([record(id, content=text) for id, text in fresh.items()])
                held |= fresh
            case "change":
                changes = [RecordChange(id, sets={"content": text.encode()}) for id, text in fresh.items()]
                outcomes = await records.change_many(changes)
                held |= {id: fresh[id] for id, out in zip(chosen, outcomes, strict=True) if out is Outcome.CHANGED}
            case "delete":
                await records.delete_many(chosen)
            case _:
                await records.delete_many(chosen)
                await engine.close()
                engine, records = await opened(path)
    await engine.close()
    # The index and nothing else: rows that SQLite moved may have left a copy in the unused part of a page.
    database = apsw.Connection(str(path))
    database.execute("VACUUM")
    database.close()
    content = path.read_bytes()
    words_of = [word for text in gone for word in text.split()]
    assert not [word for word in words_of if word[5:].encode() in content]
    assert len(words_of) > 10
