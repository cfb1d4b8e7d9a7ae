"""Batches around the number of rows that one statement is about: each record stored and replaced, none beside it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from betterdb_agent_memory.engines.base import Outcome, RecordChange, RecordWrite, Search, Tally, Word
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.embedded.queries import AT_ONCE
from betterdb_agent_memory.engines.embedded.records import EmbeddedRecords
from betterdb_agent_memory.engines.filters import Filter, HasTag
from betterdb_agent_memory.errors import InvalidInputError
from tests.engines.embedded.support import collection, encoded, record

EVERYTHING = Filter()
COUNTS = pytest.mark.parametrize("count", [AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 3])


def direction(number: int) -> tuple[float, float]:
    """A point of a circle that belongs to this number alone, up to 600."""
    return math.cos(number / 100), math.sin(number / 100)


def numbered(number: int, word: str) -> RecordWrite:
    """A record that can be told from every other one by each of its fields."""
    return record(
        f"id-{number}",
        direction(number),
        content=f"{word} word{number}",
        threadId=f"t{number}",
        tags=f"{word},tag{number}",
        importance=f"0.{number:04}",
        created_at=str(1_750_000_000_000 + number),
        metadata=str(number),
    )


async def words_found(records: EmbeddedRecords, *words: str) -> list[int]:
    """How many records have each of the words."""
    tallies = [Tally(EVERYTHING, Word(word, word)) for word in words]
    return list((await records.search_many(encoded([1, 0]), [], fields=[], tallies=tallies)).tallies)


async def nearest_ids(records: EmbeddedRecords, *numbers: int) -> list[str]:
    """The record nearest to the vector that each of the numbers has."""
    return [
        (await records.search_many(encoded(direction(number)), [Search(1, EVERYTHING)], fields=[])).neighbours[0][0].id
        for number in numbers
    ]


@COUNTS
async def test_every_record_of_a_batch_is_read_and_found(records: EmbeddedRecords, count: int) -> None:
    writes = [numbered(number, "fresh") for number in range(count)]
    assert await records.write_many(writes) == [Outcome.WRITTEN] * count
    ids = [write.id for write in writes]
    assert await records.read_many(ids, None) == [write.fields for write in writes]
    page = await records.select(EVERYTHING, fields=[], limit=count + 1, order_by="created_at")
    assert [row.id for row in page.rows] == ids
    edges = (0, AT_ONCE - 2, count - 1)
    assert await words_found(records, "fresh", *(f"word{number}" for number in edges)) == [count, 1, 1, 1]
    assert await nearest_ids(records, *edges) == [f"id-{number}" for number in edges]
    for number in edges:
        assert await records.count(Filter((HasTag("tags", f"tag{number}"),))) == 1


@COUNTS
async def test_a_batch_replaces_what_is_there_and_adds_the_rest(records: EmbeddedRecords, count: int) -> None:
    await records.write_many([numbered(number, "former") for number in range(0, count, 2)])
    await records.write_many([numbered(-1, "other")])
    writes = [numbered(number, "latter") for number in range(count)]
    await records.write_many(writes)
    assert await records.count(EVERYTHING) == count + 1
    assert await records.read_many([write.id for write in writes], None) == [write.fields for write in writes]
    assert await words_found(records, "former", "latter", "other") == [0, count, 1]
    assert await records.count(Filter((HasTag("tags", "former"),))) == 0


async def test_a_batch_with_one_bad_record_stores_none(records: EmbeddedRecords) -> None:
    writes = [numbered(number, "fresh") for number in range(AT_ONCE + 10)]
    with pytest.raises(InvalidInputError, match="dimensions"):
        await records.write_many([*writes, record("bad", (1.0, 2.0, 3.0))])
    with pytest.raises(InvalidInputError, match="surrogate"):
        await records.write_many([*writes[:5], record("\udc00"), *writes[5:]])
    assert await records.count(EVERYTHING) == 0
    await records.write_many(writes)
    assert await records.count(EVERYTHING) == len(writes)


async def test_an_id_twice_in_a_batch_is_one_record(records: EmbeddedRecords) -> None:
    writes = [numbered(number, "fresh") for number in range(AT_ONCE)]
    twice = RecordWrite("id-0", dict(writes[0].fields), if_exists=RecordChange("id-0", increments={"access_count": 1}))
    assert await records.write_many([*writes, twice, numbered(1, "again")]) == [
        *[Outcome.WRITTEN] * AT_ONCE,
        Outcome.CHANGED,
        Outcome.WRITTEN,
    ]
    assert await records.count(EVERYTHING) == AT_ONCE
    assert await words_found(records, "fresh", "again") == [AT_ONCE - 1, 1]
    assert await records.read_many(["id-0"], ["access_count"]) == [{"access_count": b"1"}]


async def test_a_batch_is_there_after_the_file_was_closed(path: Path) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    writes = [numbered(number, "fresh") for number in range(2 * AT_ONCE + 3)]
    await records.write_many(writes)
    await engine.close()
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    assert await records.read_many([write.id for write in writes], None) == [write.fields for write in writes]
    assert await words_found(records, "fresh") == [len(writes)]
    await engine.close()
