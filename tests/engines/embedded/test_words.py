"""Searching by words: exact neighbours and counts, whatever was written, changed and deleted before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import apsw
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import (
    Collection,
    IndexSchema,
    IndexState,
    RecordChange,
    RecordWrite,
    SchemaField,
    Search,
    Tally,
    Word,
)
from betterdb_agent_memory.engines.embedded import EmbeddedEngine, coarse, search, words
from betterdb_agent_memory.engines.embedded.records import EmbeddedRecords
from betterdb_agent_memory.engines.embedded.tables import Tables
from betterdb_agent_memory.engines.filters import Equals, Fields, Filter, HasTag
from betterdb_agent_memory.errors import EngineError, InvalidInputError
from tests.engines.embedded.support import collection, encoded, record, true_distances

EVERYTHING = Filter()
VOCABULARY = ("kilo", "lima", "mike", "oscar", "papa", "quebec")


def word(text: str, stem: str | None = None) -> Word:
    return Word(text, text if stem is None else stem)


async def found(records: EmbeddedRecords, *wanted: Word, filter: Filter = EVERYTHING) -> list[str]:
    answers = await records.search_many(encoded([1, 0]), [Search(100, filter, wanted)], fields=[])
    return [row.id for row in answers.neighbours[0]]


@pytest.fixture(params=["one by one", "coarse"])
def path_taken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(search, "SMALL_SCOPE", 0 if request.param == "coarse" else 1_000_000)
    monkeypatch.setattr(search, "COARSE_GAIN", 1_000_000)
    return str(request.param)


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 150), count=st.integers(0, 30), dimensions=st.integers(2, 32))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_finds_and_counts_what_a_look_at_every_record_does(
    path_taken: str, seed: int, rows: int, count: int, dimensions: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, dimensions)).astype("<f4")
    vectors[::7] = vectors[0]
    query = rng.normal(size=dimensions).astype("<f4")
    shares = rng.choice([0.02, 0.3, 0.95], size=len(VOCABULARY))
    texts = [[w for w, share in zip(VOCABULARY, shares, strict=True) if rng.random() < share] for _ in range(rows)]
    threads = rng.integers(3, size=rows)
    engine = EmbeddedEngine(clock=lambda: 1000.0)
    records = engine.records(collection())
    await records.prepare(dimensions)
    try:
        await records.write_many(
            [
                RecordWrite(
                    f"{i:04}",
                    {
                        "words" if i % 3 else "content": " ".join(texts[i]).encode(),
                        "threadId": b"%d" % threads[i],
                        "tags": b"x,%d" % threads[i],
                        "vector": vectors[i].tobytes(),
                    },
                )
                for i in range(rows)
            ]
        )
        wanted = tuple(word(w) for w in rng.choice(VOCABULARY, size=2, replace=False))
        distances = true_distances(vectors, query)
        filters = [EVERYTHING, Filter((Equals("threadId", "1"),)), Filter((HasTag("tags", "1"),))]
        searches = [Search(count, filter, words) for filter in filters for words in (wanted, wanted[:1], ())]
        tallies = [Tally(filter, word) for filter in filters for word in (*wanted, None)]
        answers = await records.search_many(query.tobytes(), searches, fields=["threadId"], tallies=tallies)
        for asked, rows_found in zip(searches, answers.neighbours, strict=True):
            right = [
                i
                for i in range(rows)
                if (asked.filter is EVERYTHING or threads[i] == 1)
                and (not asked.words or any(w.text in texts[i] for w in asked.words))
            ]
            assert {int(row.id) for row in rows_found} <= set(right)
            assert [row.distance for row in rows_found] == pytest.approx(
                np.sort(distances[right])[:count].tolist(), abs=1e-5
            )
            assert rows_found == sorted(rows_found, key=lambda row: (row.distance, row.id))
            assert rows_found.exhausted == (len(right) < count)
            assert all(row.fields == {"threadId": b"%d" % threads[int(row.id)]} for row in rows_found)
        for tally, counted in zip(tallies, answers.tallies, strict=True):
            assert counted == sum(
                (tally.filter is EVERYTHING or threads[i] == 1) and (tally.word is None or tally.word.text in texts[i])
                for i in range(rows)
            )
    finally:
        await engine.close()


def check_integrity(connection: apsw.Connection) -> None:
    for table in ("word_1", "stem_1"):
        connection.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")


TEXT = st.lists(st.sampled_from(VOCABULARY), max_size=3).map(" ".join)
STEP = st.tuples(
    st.sampled_from(["write", "write", "change", "remove", "delete", "expire", "rebuild", "empty"]),
    st.lists(st.tuples(st.integers(0, 9), TEXT, TEXT), min_size=1, max_size=4),
)


@pytest.mark.parametrize("cost", [0, 1_000_000], ids=["word by word", "all anew"])
@given(steps=st.lists(STEP, max_size=8))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_words_follow_their_texts(
    monkeypatch: pytest.MonkeyPatch, cost: int, steps: list[tuple[str, list[tuple[int, str, str]]]]
) -> None:
    monkeypatch.setattr(words, "_BYTES_FOR_ONE", cost)
    seconds = 1000.0
    engine = EmbeddedEngine(clock=lambda: seconds)
    records = engine.records(collection())
    await records.prepare(2)
    texts: dict[str, str] = {}
    fragments: set[str] = set()
    try:
        for step, items in steps:
            held = {f"{id}": f"{content} {stems}" for id, content, stems in items}
            match step:
                case "write" | "expire":
                    ttl = 10 if step == "expire" else None
                    await records.write_many(
                        [record(f"{id}", content=text, words=stems, ttl_seconds=ttl) for id, text, stems in items]
                    )
                    texts |= held
                    fragments -= held.keys()
                case "change" | "remove":
                    gone = ("words",) if step == "remove" else ()
                    await records.change_many(
                        [
                            RecordChange(f"{id}", sets={"content": c.encode(), "words": s.encode()}, removes=gone)
                            for id, c, s in items
                        ]
                    )
                    changed = {f"{id}": c if gone else f"{c} {s}" for id, c, s in items}
                    texts |= {id: text for id, text in changed.items() if id in texts and id not in fragments}
                case "delete":
                    await records.delete_many(list(held))
                    texts = {id: text for id, text in texts.items() if id not in held}
                case "empty":
                    # Fragments without a text, which no change makes whole.
                    await records.write_many([RecordWrite(id, {"vector": encoded([1, 0])}) for id in held])
                    texts |= dict.fromkeys(held, "")
                    fragments |= held.keys()
                case _:
                    await records.rebuild(2)
            if step == "expire":
                seconds += 10
                texts = {id: text for id, text in texts.items() if id not in held}
            for wanted in VOCABULARY:
                assert sorted(await found(records, word(wanted))) == sorted(
                    id for id, text in texts.items() if wanted in text.split()
                )
        await records._database.write(check_integrity)
    finally:
        await engine.close()


async def test_a_batch_that_failed_left_no_words_behind(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", content="kilo")])
    refuse = "CREATE TRIGGER refuse BEFORE INSERT ON vector_1 BEGIN SELECT RAISE(ABORT, 'no'); END"
    await records._database.write(lambda c: c.execute(refuse))
    with pytest.raises(Exception, match="no"):
        await records.write_many([record("1", content="lima"), record("2", content="lima")])
    assert await found(records, word("lima")) == []
    assert await found(records, word("kilo")) == ["1"]


@pytest.mark.parametrize(
    ("text", "asked", "is_found"),
    [
        ("Über Österreich", "österreich", True),
        ("u\u0308ber", "über", True),
        ("naïve", "naive", True),
        ("हिन्दी में", "हिन्दी", True),
        ("हिन्दी में", "ह", False),
        ("snake_case", "snake_case", True),
        ("snake_case", "snake", False),
        ("it's 42% of x²", "42", True),
        ("a b", "b-a", True),
        ("a b", "a-c", False),
        ("nothing", "😀", False),
        ("nothing", '"', False),
        ("nothing", "", False),
        ("researching agencies", "agency", True),
    ],
)
async def test_what_is_a_word_in_a_text(records: EmbeddedRecords, text: str, asked: str, is_found: bool) -> None:
    await records.write_many([record("1", content=text), record("2", content="other")])
    assert await found(records, Word(asked, "nobody")) == (["1"] if is_found else [])


async def test_stems_are_compared_as_they_are(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", words="größ 東京 京都 running"), record("2", content="größ running")])
    assert await found(records, Word("nobody", "größ")) == ["1"]
    assert await found(records, Word("nobody", "groß")) == []
    assert await found(records, Word("nobody", "京都")) == ["1"]
    assert await found(records, Word("nobody", "run")) == []
    assert await found(records, Word("run", "nobody")) == ["2"]


async def test_bytes_that_are_no_text_are_stored_searched_and_removed(records: EmbeddedRecords) -> None:
    await records.write_many([RecordWrite("1", {"content": b"kilo \xff\x00 lima", "vector": encoded([1, 0])})])
    assert await found(records, word("kilo")) == await found(records, word("lima")) == ["1"]
    await records.delete_many(["1"])
    await records.write_many([record("2", content="mike")])
    assert await found(records, word("kilo"), word("mike")) == ["2"]


async def test_a_text_field_that_became_searchable_is_found_in_older_records(engine: EmbeddedEngine) -> None:
    def schema(*fields: SchemaField) -> Collection:
        return Collection("s:", "s:idx", IndexSchema("vector", fields))

    content = SchemaField("content", "text")
    older = engine.records(schema(content))
    await older.prepare(2)
    await older.write_many([record("1", content="kilo", title="lima", stems="runn")])
    assert await found(older, word("lima")) == []
    newer = engine.records(
        schema(content, SchemaField("title", "text"), SchemaField("stems", "text", holds_stems=True))
    )
    await newer.prepare(2)
    for wanted in ("kilo", "lima", "runn"):
        assert await found(newer, word(wanted)) == ["1"]
    await newer.delete_many(["1"])
    assert await found(newer, word("kilo"), word("lima"), word("runn")) == []


async def test_a_dropped_collection_has_no_words_when_it_is_made_again(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", content="kilo")])
    await records.drop()
    await records.prepare(2)
    await records.write_many([record("2", content="lima")])
    assert await found(records, word("kilo")) == []
    assert await found(records, word("lima")) == ["2"]


async def test_other_processes_words_are_seen_at_once(path: Path) -> None:
    engines = [EmbeddedEngine(path) for _ in range(2)]
    mine, theirs = (engine.records(collection()) for engine in engines)
    await mine.prepare(2)
    for i in range(5):
        await mine.write_many([record("1", content=VOCABULARY[i])])
        assert [await found(theirs, word(w)) for w in VOCABULARY[: i + 1]] == [*[[]] * i, ["1"]]
    for engine in engines:
        await engine.close()


async def test_a_batch_looks_a_word_up_once_and_goes_over_the_vectors_once(
    engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SMALL_SCOPE", 0)
    looked_up: list[str] = []
    passes: list[int] = []
    find, similarities = words.find, coarse.similarities

    def noted_find(connection: apsw.Connection, tables: Tables, word: Word) -> words.Keys:
        looked_up.append(word.text)
        return find(connection, tables, word)

    def noted_pass(connection: apsw.Connection, tables: Tables, query: coarse.Floats) -> tuple[coarse.Floats, ...]:
        passes.append(1)
        return similarities(connection, tables, query)

    monkeypatch.setattr(words, "find", noted_find)
    monkeypatch.setattr(search, "similarities", noted_pass)
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many([record(f"{i:03}", [1, i], content="kilo lima", threadId="t") for i in range(200)])
    thread = Filter((Equals("threadId", "t"),))
    searches: Sequence[Search] = [
        Search(3, EVERYTHING),
        Search(3, EVERYTHING, (word("kilo"),)),
        Search(3, thread, (word("kilo"), word("lima"))),
    ]
    answers = await records.search_many(
        encoded([1, 0]), searches, fields=[], tallies=[Tally(EVERYTHING, word("lima")), Tally(thread, word("kilo"))]
    )
    assert [[row.id for row in rows] for rows in answers.neighbours] == [["000", "001", "002"]] * 3
    assert answers.tallies == (200, 200)
    assert looked_up == ["kilo", "lima"]
    assert passes == [1]


@pytest.mark.parametrize("scope_size", [0, 10**9])
async def test_a_wrong_size_of_the_scope_changes_nothing(
    engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch, scope_size: int
) -> None:
    monkeypatch.setattr(search, "SMALL_SCOPE", 10)
    monkeypatch.setattr(search, "COARSE_GAIN", 1_000_000)
    records = engine.records(collection())
    await records.prepare(2)
    await records.write_many([record(f"{i:02}", [1, i], content="kilo", threadId=f"{i % 2}") for i in range(60)])
    asked = Search(4, Filter((Equals("threadId", "1"),)), scope_size=scope_size)
    for one in (asked, replace(asked, words=(word("kilo"),))):
        [rows] = (await records.search_many(encoded([1, 0]), [one], fields=[])).neighbours
        assert [row.id for row in rows] == ["01", "03", "05", "07"]


async def test_words_that_a_release_without_them_left_behind_find_nobody(records: EmbeddedRecords) -> None:
    await records.write_many([record(f"{i}", content="kilo", threadId="t") for i in range(3)])
    await records._database.write(lambda c: c.execute("DELETE FROM record_1 WHERE key = 2"))
    assert await found(records, word("kilo")) == ["0", "1"]
    thread = Filter((Equals("threadId", "t"),))
    answers = await records.search_many(encoded([1, 0]), [], fields=[], tallies=[Tally(thread, word("kilo"))])
    assert answers.tallies == (2,)


async def test_every_count_of_a_batch_is_checked(records: EmbeddedRecords) -> None:
    searches = [Search(1, EVERYTHING), Search(-1, EVERYTHING)]
    with pytest.raises(InvalidInputError, match="count must be from 0 to 1000000, not -1"):
        await records.search_many(encoded([1, 0]), searches, fields=[])
    with pytest.raises(InvalidInputError, match="12 bytes"):
        await records.search_many(encoded([1, 0, 0]), [], fields=[], tallies=[Tally(EVERYTHING)])


async def test_only_where_less_stays_than_goes_the_rest_is_written_anew(
    records: EmbeddedRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled: list[int] = []
    insert = words.insert

    def noted(connection: apsw.Connection, tables: Tables, taken: Sequence[tuple[int, Fields]]) -> None:
        filled.append(len(taken))
        insert(connection, tables, taken)

    long = " ".join(f"{w}{i}" for i in range(100) for w in VOCABULARY)
    await records.write_many([record(f"{i}", content=long) for i in range(100)])
    monkeypatch.setattr(words, "insert", noted)
    # More characters than there are records many times over, and still little of what there is.
    await records.delete_many(["7"])
    assert filled == []
    await records.delete_many([f"{i}" for i in range(10, 100)])
    assert filled == [9]
    assert len(await found(records, word("kilo1"))) == 9


async def test_the_words_of_a_batch_of_changes_are_taken_out_at_once(
    records: EmbeddedRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[int] = []
    remove = words.remove

    def noted(connection: apsw.Connection, tables: Tables, taken: Sequence[tuple[int, Fields]]) -> None:
        removed.append(len(taken))
        remove(connection, tables, taken)

    await records.write_many([record(f"{i}", content="kilo") for i in range(20)])
    monkeypatch.setattr(words, "remove", noted)
    texts = [(i, text) for text in ("lima", "mike") for i in range(20)]
    await records.change_many([RecordChange(f"{i}", sets={"content": text.encode()}) for i, text in texts])
    assert removed == [20]
    assert [len(await found(records, word(w))) for w in ("kilo", "lima", "mike")] == [0, 0, 20]
    await records._database.write(check_integrity)


DAMAGES = {
    "overwritten": "UPDATE word_1_data SET block = zeroblob(20) WHERE id > 10",
    "emptied": "DELETE FROM word_1_data",
    "without its structure": "DELETE FROM word_1_data WHERE id = 10",
    "dropped": "DROP TABLE word_1; DROP TABLE stem_1",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_a_damaged_index_of_words_says_so_and_a_rebuild_makes_it_anew(path: Path, damage: str) -> None:
    async with opened(path) as records:
        await records.write_many([record(f"{i}", content=f"kilo lima{i}") for i in range(90)])
    connection = apsw.Connection(str(path))
    connection.execute(damage)
    connection.close()
    async with opened(path) as records:
        for call in (found(records, word("kilo")), records.delete_many(["7"])):
            with pytest.raises(EngineError, match=r"index of words in .*memory\.db is damaged: call reindex\(\)"):
                await call
        assert await records.rebuild(2) == IndexState(2)
        assert len(await found(records, word("kilo"))) == 90
        await records.delete_many(["7"])
        assert await found(records, word("lima7"), word("lima8")) == ["8"]
        await records._database.write(check_integrity)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[EmbeddedRecords]:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    yield records
    await engine.close()


async def test_a_collection_is_dropped_whose_words_are_gone(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", content="kilo")])
    await records._database.write(lambda c: c.execute("DROP TABLE word_1"))
    assert await records.drop() == 1
    await records.prepare(2)
    assert await found(records, word("kilo")) == []
