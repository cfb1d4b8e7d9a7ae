"""Several searches at once, by words too: what both engines answer alike."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

import numpy as np
import pytest

from betterdb_agent_memory.engines.base import Answers, Collection, Engine, Records, RecordWrite, Search, Tally, Word
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.filters import Equals, Filter, HasTag, IdIn
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.record import MEMORY_SCHEMA
from tests.conformance.conftest import CLUSTER, FILE, POOLED, URL
from tests.engines.searching import nearest

EVERYTHING = Filter()
FIELDS = ("content", "threadId", "tags")
CREATED_AT_MS = 1_750_000_000_000

pytestmark = pytest.mark.parametrize(
    "configuration", [FILE, URL, POOLED, "redis-resp3-decoded", CLUSTER], indirect=True
)


def collection(name: str) -> Collection:
    return Collection(f"{name}:mem:", f"{name}:mem:idx", MEMORY_SCHEMA)


def direction(degrees: float) -> bytes:
    radians = np.radians(degrees)
    return np.array([np.cos(radians), np.sin(radians), 0], dtype="<f4").tobytes()


def record(id: str, content: str, *, degrees: float, **fields: str) -> RecordWrite:
    """A record whose vector lies so many degrees from that of the question."""
    stored = {
        "content": content.encode(),
        "vector": direction(degrees),
        "importance": b"0.5",
        "created_at": str(CREATED_AT_MS).encode(),
        "last_accessed_at": str(CREATED_AT_MS).encode(),
        "access_count": b"0",
    }
    return RecordWrite(id, stored | {name: value.encode() for name, value in fields.items()})


def word(text: str, stem: str | None = None) -> Word:
    return Word(text, text if stem is None else stem)


async def prepared(engine: Engine, *writes: RecordWrite) -> Records:
    records = engine.records(collection(f"{{t{uuid4().hex[:12]}}}"))
    await records.prepare(3)
    await records.write_many(writes)
    return records


async def found(records: Records, *words: Word, count: int = 50, filter: Filter = EVERYTHING) -> list[str]:
    """Ids of the records with one of the words that are exactly in scope, nearest first."""
    answers = await records.search_many(direction(0), [Search(count, filter, words)], fields=FIELDS)
    return [row.id for row in answers.neighbours[0] if filter.accepts(row.id, row.fields)]


async def totals(records: Records, *tallies: Tally) -> tuple[int, ...]:
    return (await records.search_many(direction(0), [], fields=FIELDS, tallies=tallies)).tallies


@pytest.fixture
async def diary(engine: Engine) -> Records:
    """Nine records of two threads, the further in the alphabet the further from the question."""
    return await prepared(
        engine,
        record("a", "Running beside the river", degrees=1, threadId="one"),
        record("b", "She runs every morning", degrees=10, threadId="two"),
        record("c", "A red bicycle, almost new", degrees=20, threadId="one", tags="x,y"),
        record("d", "The river froze over", degrees=30, threadId="two", tags="x"),
        record("e", "bicycle repair: 42 crowns", degrees=40, threadId="two"),
        record("f", "nothing of the kind", degrees=50, threadId="one"),
        record("g", "Wir laufen am Fluss", degrees=60, threadId="one", words="lauf fluss"),
        record("h", "東京で走る", degrees=70, threadId="two", words="東京 京で で走 走る"),
        record("i", "red river, red bicycle", degrees=80, threadId="one"),
    )


async def test_words_keep_what_has_one_of_them_and_vectors_order_it(diary: Records) -> None:
    assert await found(diary, word("bicycle", "bicycl")) == ["c", "e", "i"]
    assert await found(diary, word("bicycle", "bicycl"), word("river")) == ["a", "c", "d", "e", "i"]
    assert await found(diary, word("bicycle", "bicycl"), word("river"), count=2) == ["a", "c"]
    assert await found(diary, word("zeppelin")) == []


async def test_distances_and_fields_are_those_of_a_search_without_words(diary: Records) -> None:
    answers = await diary.search_many(
        direction(0), [Search(50, EVERYTHING), Search(50, EVERYTHING, (word("crowns", "crown"),))], fields=FIELDS
    )
    everything, [crowns] = answers.neighbours
    [same] = [row for row in everything if row.id == "e"]
    assert crowns.fields == same.fields == {"content": b"bicycle repair: 42 crowns", "threadId": b"two"}
    assert crowns.distance == pytest.approx(same.distance, abs=1e-5)
    assert crowns.distance == pytest.approx(1 - np.cos(np.radians(40)), abs=1e-5)


@pytest.mark.parametrize("text", ["running", "run", "runs"])
async def test_english_words_are_found_in_every_form(diary: Records, text: str) -> None:
    assert await found(diary, word(text, "run")) == ["a", "b"]


async def test_stems_are_found_in_the_field_that_holds_them_and_as_they_are(diary: Records) -> None:
    assert await found(diary, word("gelaufen", "lauf")) == ["g"]
    assert await found(diary, word("lief", "lief")) == []
    assert await found(diary, word("東京", "東京")) == ["h"]
    assert await found(diary, word("走る", "走る"), word("flüsse", "fluss")) == ["g", "h"]
    # A stem is not brought to a stem once more.
    assert await found(diary, word("flusz", "flus")) == []


async def test_a_scope_holds_for_words_and_tallies_too(diary: Records) -> None:
    one, two = (Filter((Equals("threadId", thread),)) for thread in ("one", "two"))
    assert await found(diary, word("river"), filter=one) == ["a", "i"]
    assert await found(diary, word("river"), filter=two) == ["d"]
    assert await found(diary, word("river"), filter=Filter((HasTag("tags", "x"),))) == ["d"]
    assert await found(diary, word("river"), filter=Filter((Equals("threadId", "three"),))) == []
    river = word("river")
    counted = await totals(
        diary, Tally(one), Tally(two), Tally(one, river), Tally(two, river), Tally(EVERYTHING, river)
    )
    assert counted == (5, 4, 2, 1, 3)


async def test_tallies_count_records_with_a_word_in_any_form_and_field(diary: Records) -> None:
    words = (word("running", "run"), word("bicycle", "bicycl"), word("laufend", "lauf"), word("zeppelin"), word("the"))
    counted = await totals(diary, Tally(EVERYTHING), *(Tally(EVERYTHING, word) for word in words))
    assert counted[:5] == (9, 2, 3, 1, 0)
    assert await totals(diary) == ()


async def test_many_searches_are_answered_in_order_beside_tallies(diary: Records) -> None:
    searches = [
        Search(2, EVERYTHING),
        Search(50, EVERYTHING, (word("42"),)),
        Search(50, Filter((IdIn(frozenset({"i", "f", "nobody"})),))),
        Search(0, EVERYTHING),
        Search(50, Filter((Equals("threadId", "one"),)), (word("red"),)),
        Search(50, Filter((IdIn(frozenset({"i", "e"})),)), (word("red"),)),
        Search(50, EVERYTHING, exhaustive=True),
    ]
    tallies = [Tally(EVERYTHING, word("red")), Tally(EVERYTHING)]
    answers = await diary.search_many(direction(0), searches, fields=FIELDS, tallies=tallies)
    assert [[row.id for row in rows] for rows in answers.neighbours] == [
        ["a", "b"],
        ["e"],
        ["f", "i"],
        [],
        ["c", "i"],
        ["i"],
        list("abcdefghi"),
    ]
    assert [rows.exhausted for rows in answers.neighbours] == [False, True, True, False, True, True, True]
    assert answers.tallies == (2, 9)


async def test_exhausted_says_whether_there_are_more(diary: Records) -> None:
    river = (word("river"),)
    searches = [Search(count, EVERYTHING, river) for count in (1, 2, 4)]
    answers = await diary.search_many(direction(0), searches, fields=FIELDS)
    assert [len(rows) for rows in answers.neighbours] == [1, 2, 3]
    assert [rows.exhausted for rows in answers.neighbours] == [False, False, True]


async def test_one_search_is_nearest(diary: Records) -> None:
    thread = Filter((Equals("threadId", "two"),))
    answers = await diary.search_many(direction(0), [Search(3, thread)], fields=FIELDS)
    near = await nearest(diary, direction(0), count=3, filter=thread, fields=FIELDS)
    assert answers.neighbours == (near,)
    assert [row.id for row in near] == ["b", "d", "e"]
    with pytest.raises(InvalidInputError):
        await diary.search_many(direction(0), [Search(diary.max_neighbours + 1, EVERYTHING)], fields=FIELDS)


@pytest.mark.parametrize("size", [None, 0, 1, 6, 9, 10_000])
async def test_a_wrong_idea_of_the_scope_changes_no_answer(diary: Records, size: int | None) -> None:
    thread = Filter((Equals("threadId", "one"),))
    search = Search(3, thread, scope_size=size)
    [near] = (await diary.search_many(direction(0), [search], fields=FIELDS)).neighbours
    assert [row.id for row in near if thread.accepts(row.id, row.fields)] == ["a", "c", "f"]


async def test_keys_of_others_are_not_found_by_words(engine: Engine) -> None:
    name = f"{{t{uuid4().hex[:12]}}}"
    outer, inner = engine.records(collection(name)), engine.records(collection(f"{name}:mem"))
    for records, degrees in ((outer, 50.0), (inner, 1.0)):
        await records.prepare(3)
        await records.write_many([record(f"{n}", "a river of ours", degrees=degrees + n) for n in range(8)])
    for records in (outer, inner):
        assert await found(records, word("river"), count=3) == ["0", "1", "2"]
        assert await found(records, word("river")) == [f"{n}" for n in range(8)]


TRICKY = ["nan", "inf", "infinity", "7", "007", "42", "1e5", "e5", "12abc", "_", "__", "_private", "and_or", "1_000"]
TRICKY += ["über", "größe", "straße", "éclair", "ångström", "日本語", "テスト", "привет", "шоколад", "null", "or_"]


async def test_any_word_is_a_word_and_no_syntax(engine: Engine) -> None:
    records = await prepared(engine, *(record(str(n), text, degrees=n + 1) for n, text in enumerate(TRICKY)))
    for n, text in enumerate(TRICKY):
        assert await found(records, word(text)) == [str(n)], text
    assert await found(records, *map(word, TRICKY)) == [str(n) for n in range(len(TRICKY))]
    assert await totals(records, *(Tally(EVERYTHING, word(text)) for text in TRICKY)) == (1,) * len(TRICKY)


async def test_any_stem_is_a_stem_and_no_syntax(engine: Engine) -> None:
    records = await prepared(
        engine, *(record(str(n), "nichts", degrees=n + 1, words=f"vorher {text}") for n, text in enumerate(TRICKY))
    )
    for n, text in enumerate(TRICKY):
        assert await found(records, Word("anders", text)) == [str(n)], text


async def test_capitals_of_every_alphabet_are_folded(engine: Engine) -> None:
    texts = ["Äpfel und Birnen", "ÄPFEL", "drei äpfel", "Привет", "Red", "RED"]
    records = await prepared(engine, *(record(str(n), text, degrees=n + 1) for n, text in enumerate(texts)))
    assert await found(records, word("äpfel")) == ["0", "1", "2"]
    assert await found(records, word("привет")) == ["3"]
    assert await found(records, word("red")) == ["4", "5"]


async def test_words_that_servers_never_index_find_nothing_or_what_has_them(engine: Engine) -> None:
    records = await prepared(
        engine, record("1", "the cat or not", degrees=1), record("2", "a dog and the rest", degrees=2)
    )
    assert await found(records, word("or"), word("cat")) == ["1"]
    assert await found(records, word("not"), word("dog"), word("or")) in (["2"], ["1", "2"])
    assert await found(records, word("zeppelin"), word("the")) in ([], ["1", "2"])
    answers = await records.search_many(direction(0), [Search(9, EVERYTHING, (word("with"),))], fields=FIELDS)
    assert answers.neighbours[0] == []
    assert answers.neighbours[0].exhausted == isinstance(engine, EmbeddedEngine)  # a file indexes every word


async def test_very_long_words_and_very_many_are_searched_for(engine: Engine) -> None:
    long = "x" * 200
    records = await prepared(
        engine,
        record("1", f"before {long} after", degrees=1),
        record("2", "x" * 20, degrees=2),
        record("3", "last499", degrees=3),
        record("4", "anders", degrees=4, words=f"kurz {'ü' * 90}"),
    )
    assert await found(records, word(long)) == ["1"]
    assert await found(records, word("y" * 200)) == []
    assert await found(records, word("ü" * 90)) == ["4"]
    many = [word(f"last{n}") for n in range(500)]
    assert await found(records, *many) == ["3"]
    scoped = Filter((Equals("threadId", "t" * 4000),))
    assert await found(records, *many, filter=scoped) == []
    longest: Sequence[Word] = [word(f"{n}" + "z" * 200) for n in range(60)]
    assert await found(records, *longest, word("last499")) == ["3"]


async def test_an_empty_collection_answers_with_nothing(engine: Engine) -> None:
    records = await prepared(engine)
    answers = await records.search_many(
        direction(0),
        [Search(5, EVERYTHING), Search(5, EVERYTHING, (word("x"),))],
        fields=FIELDS,
        tallies=[Tally(EVERYTHING)],
    )
    assert [len(rows) for rows in answers.neighbours] == [0, 0]
    assert [rows.exhausted for rows in answers.neighbours] == [True, True]
    assert answers.tallies == (0,)
    assert await records.search_many(direction(0), [], fields=FIELDS) == Answers((), ())


async def test_words_are_found_at_once_and_no_longer_when_they_are_gone(engine: Engine) -> None:
    records = await prepared(engine, record("1", "an old heron", degrees=1))
    assert await found(records, word("heron")) == ["1"]
    await records.write_many([record("1", "a young otter", degrees=1)])
    assert await found(records, word("heron")) == []
    assert await found(records, word("otter")) == ["1"]
    await records.delete_many(["1"])
    assert await found(records, word("otter")) == []
    assert await totals(records, Tally(EVERYTHING, word("otter"))) == (0,)
