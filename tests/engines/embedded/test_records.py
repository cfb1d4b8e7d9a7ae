from __future__ import annotations

import string
from itertools import product

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import (
    Collection,
    IndexSchema,
    IndexState,
    Outcome,
    RecordChange,
    RecordWrite,
    SchemaField,
)
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.embedded.matching import matching
from betterdb_agent_memory.engines.embedded.queries import rows
from betterdb_agent_memory.engines.embedded.records import EmbeddedRecords
from betterdb_agent_memory.engines.filters import MAX_FILTER_BYTES, Equals, Filter, HasTag
from betterdb_agent_memory.errors import IndexMismatchError, IndexMissingError, InvalidInputError
from betterdb_agent_memory.memory.record import MEMORY_SCHEMA
from tests.engines.embedded.support import collection, encoded, record
from tests.engines.searching import nearest

EVERYTHING = Filter()
texts = st.one_of(
    st.text(max_size=300),
    st.sampled_from(["", " ", ",", "a,b", "A", "a", "\0", "a\0b", "line\nbreak", "İ", "ß", "é", "é", "*", "a" * 300]),
)


async def found(records: EmbeddedRecords, filter: Filter) -> set[str]:
    """The ids that every search and count agrees on."""
    page = await records.select(filter, fields=[], limit=10_000)
    near = await nearest(records, encoded([1, 0]), count=10_000, filter=filter, fields=[])
    ids = {row.id for row in page.rows}
    assert ids == {row.id for row in near}
    assert len(ids) == page.total == await records.count(filter)
    return ids


async def test_a_record_is_read_back_byte_for_byte(records: EmbeddedRecords) -> None:
    fields = {
        "content": "NUL \0 and \n and 😀".encode(),
        "importance": b"1e-07",
        "created_at": b"1750000000000",
        "tags": b"y,x,y",
        "unknown": bytes(range(256)),
        "": b"",
        "vector": encoded([0.5, -2]),
    }
    await records.write_many([RecordWrite("1", fields)])
    assert await records.read_many(["1"], list(fields)) == [fields]
    assert await records.read_many(["1", "2"], ["vector", "absent"]) == [{"vector": fields["vector"]}, None]
    assert await records.read_many(["1"], ["absent"]) == [None]


async def test_writing_an_id_again_replaces_the_whole_record(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", [1, 0], threadId="old", tags="a,b", extra="x", ttl_seconds=5)])
    await records.write_many([record("1", [0, 1], threadId="new", tags="b,c"), record("2"), record("2", [0, 1])])
    assert await records.read_many(["1"], ["threadId", "extra"]) == [{"threadId": b"new"}]
    assert await found(records, Filter((Equals("threadId", "old"),))) == set()
    assert await found(records, Filter((HasTag("tags", "a"),))) == set()
    assert await found(records, Filter((HasTag("tags", "c"),))) == {"1"}
    assert await records.count(EVERYTHING) == 2
    near = await nearest(records, encoded([0, 1]), count=5, filter=EVERYTHING, fields=["vector"])
    assert [(row.id, row.distance, row.fields) for row in near] == [
        ("1", 0.0, {"vector": encoded([0, 1])}),
        ("2", 0.0, {"vector": encoded([0, 1])}),
    ]


async def test_a_vector_of_another_length_is_refused_and_nothing_is_written(records: EmbeddedRecords) -> None:
    with pytest.raises(InvalidInputError, match=r"'bad' has 12 bytes.*2 dimensions: 8 bytes"):
        await records.write_many([record("good"), record("bad", [1, 2, 3])])
    with pytest.raises(InvalidInputError, match="query vector has 4 bytes"):
        await nearest(records, encoded([1]), count=1, filter=EVERYTHING, fields=[])
    with pytest.raises(InvalidInputError, match="ttl_seconds"):
        await records.write_many([record("bad", ttl_seconds=0)])
    assert await records.count(EVERYTHING) == 0


async def test_text_that_is_not_unicode_is_refused_and_nothing_is_written(records: EmbeddedRecords) -> None:
    with pytest.raises(InvalidInputError, match="surrogate"):
        await records.write_many([record("good"), record("\ud800")])
    with pytest.raises(InvalidInputError, match="surrogate"):
        await records.write_many([record("good"), RecordWrite("bad", {"\ud800": b""})])
    with pytest.raises(InvalidInputError, match="surrogate"):
        await records.count(Filter((Equals("threadId", "\ud800"),)))
    assert await records.count(EVERYTHING) == 0


async def test_a_record_without_a_vector_is_kept_but_never_near(records: EmbeddedRecords) -> None:
    await records.write_many([RecordWrite("plain", {"content": b"x"}), record("near")])
    rows = await nearest(records, encoded([1, 0]), count=5, filter=EVERYTHING, fields=["vector"])
    assert [row.id for row in rows] == ["near"]
    assert await records.count(EVERYTHING) == 2
    assert await records.read_many(["plain"], ["vector"]) == [None]


async def test_delete_says_what_was_there(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", tags="a"), record("2", tags="a")])
    assert await records.delete_many(["1", "absent", "1"]) == [True, False, False]
    assert await found(records, Filter((HasTag("tags", "a"),))) == {"2"}
    assert await records.read_many(["1"], ["content"]) == [None]


async def test_keys_of_deleted_records_are_used_again(records: EmbeddedRecords) -> None:
    for generation in range(5):
        await records.write_many([record(f"{generation}-{i}", [1, i]) for i in range(50)])
        rows = await nearest(records, encoded([1, 3]), count=50, filter=EVERYTHING, fields=[])
        assert rows[0].id == f"{generation}-3"
        assert await found(records, EVERYTHING) == {f"{generation}-{i}" for i in range(50)}
        assert all(await records.delete_many([f"{generation}-{i}" for i in range(0, 50, 2)]))
        assert await found(records, EVERYTHING) == {f"{generation}-{i}" for i in range(1, 50, 2)}
        await records.delete_many([f"{generation}-{i}" for i in range(50)])
    largest = await records._database.read(lambda c: c.execute("SELECT max(key) FROM free_1").fetchall())
    assert largest == [(49,)]


async def test_changes_touch_only_records_that_exist(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", last_accessed_at="100", access_count="4", extra="kept")])
    changes = [
        RecordChange("1", {"last_accessed_at": 90}, {"access_count": 1}),
        RecordChange("1", {"last_accessed_at": 120}, {"access_count": 2, "fresh": -3}),
        RecordChange("gone", {"last_accessed_at": 5}, {"access_count": 1}),
    ]
    assert await records.change_many(changes) == [Outcome.CHANGED, Outcome.CHANGED, Outcome.MISSING]
    names = ["last_accessed_at", "access_count", "fresh", "extra"]
    assert await records.read_many(["1", "gone"], names) == [
        {"last_accessed_at": b"120", "access_count": b"7", "fresh": b"-3", "extra": b"kept"},
        None,
    ]
    with pytest.raises(InvalidInputError, match="threadId"):
        await records.change_many([RecordChange("1", {}, {"access_count": 1}), RecordChange("1", {"threadId": 1})])
    assert await records.read_many(["1"], ["access_count"]) == [{"access_count": b"7"}]


async def test_a_changed_number_changes_the_order(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", access_count="5"), record("2", access_count="6")])
    await records.change_many([RecordChange("1", {}, {"access_count": 10})])
    page = await records.select(EVERYTHING, fields=[], limit=1, order_by="access_count", descending=True)
    assert page.rows[0].id == "1"


@given(values=st.lists(texts, min_size=1, max_size=12, unique=True))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_scopes_are_compared_byte_for_byte(values: list[str]) -> None:
    engine = EmbeddedEngine()
    records = engine.records(collection())
    await records.prepare(2)
    try:
        await records.write_many(
            [record(f"{i}", threadId=value, note=value, tags=value) for i, value in enumerate(values)]
        )
        await records.write_many([record("without")])
        for i, value in enumerate(values):
            assert await found(records, Filter((Equals("threadId", value),))) == {f"{i}"}
            assert await found(records, Filter((Equals("note", value),))) == {f"{i}"}
            assert await found(records, Filter((Equals("tags", value), Equals("threadId", value)))) == {f"{i}"}
            tagged = {f"{j}" for j, other in enumerate(values) if value in other.split(",")}
            for field in ("tags", "note", "threadId"):
                assert await found(records, Filter((HasTag(field, value),))) == tagged
    finally:
        await engine.close()


async def test_all_clauses_hold(records: EmbeddedRecords) -> None:
    await records.write_many(
        [
            record("1", threadId="t", agentId="a", tags="x,y"),
            record("2", threadId="t", agentId="b", tags="x"),
            record("3", threadId="T", agentId="a", tags="y"),
        ]
    )
    assert await found(records, Filter((Equals("threadId", "t"), HasTag("tags", "x"), HasTag("tags", "y")))) == {"1"}
    assert await found(records, Filter((Equals("threadId", "t"), Equals("agentId", "b")))) == {"2"}
    assert await found(records, EVERYTHING) == {"1", "2", "3"}


async def test_pages_are_ordered_by_number_then_id(records: EmbeddedRecords) -> None:
    stamps = {"b": "5", "a": "5", "c": "1750000000000", "d": "0.5", "e": "1e-07", "f": "not a number"}
    await records.write_many([record(id, created_at=stamp) for id, stamp in stamps.items()])
    await records.write_many([record("g")])

    async def ordered(*, descending: bool, limit: int = 10, offset: int = 0) -> str:
        page = await records.select(
            EVERYTHING, fields=[], limit=limit, offset=offset, order_by="created_at", descending=descending
        )
        assert page.total == 7
        return "".join(row.id for row in page.rows)

    assert await ordered(descending=False) == "edabcfg"
    assert await ordered(descending=True) == "cabdefg"
    assert await ordered(descending=True, limit=2, offset=1) == "ab"
    assert await ordered(descending=True, limit=0) == ""
    assert await ordered(descending=True, offset=50) == ""
    with pytest.raises(InvalidInputError, match="threadId"):
        await records.select(EVERYTHING, fields=[], limit=1, order_by="threadId")


async def test_only_the_asked_fields_come_back(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", threadId="t")])
    page = await records.select(EVERYTHING, fields=["threadId", "subject"], limit=1)
    assert [row.fields for row in page.rows] == [{"threadId": b"t"}]
    near = await nearest(records, encoded([1, 0]), count=1, filter=EVERYTHING, fields=[])
    assert [row.fields for row in near] == [{}]


async def test_nothing_is_there_before_prepare(engine: EmbeddedEngine) -> None:
    records = engine.records(collection())
    assert await records.prepare(None) == await records.inspect() == IndexState(None)
    assert await records.read_many(["1"], ["content"]) == [None]
    assert await records.delete_many(["1"]) == [False]
    assert await records.change_many([RecordChange("1")]) == [Outcome.MISSING]
    for call in (
        records.write_many([record("1")]),
        records.count(EVERYTHING),
        records.select(EVERYTHING, fields=[], limit=1),
        nearest(records, encoded([1, 0]), count=1, filter=EVERYTHING, fields=[]),
    ):
        with pytest.raises(IndexMissingError, match="store:mem:idx"):
            await call


async def test_prepare_remembers_the_dimensions(engine: EmbeddedEngine) -> None:
    assert await engine.records(collection()).prepare(3) == IndexState(3, created=True)
    again = engine.records(collection())
    assert await again.prepare(3) == await again.prepare(None) == await again.inspect() == IndexState(3)
    with pytest.raises(IndexMismatchError, match=r"3 dimensions.*have 4"):
        await again.prepare(4)
    with pytest.raises(InvalidInputError):
        await again.prepare(0)
    other_prefix = Collection("other:mem:", "store:mem:idx", MEMORY_SCHEMA)
    with pytest.raises(IndexMismatchError, match=r"'store:mem:'.*'other:mem:'"):
        await engine.records(other_prefix).prepare(3)


async def test_collections_do_not_see_each_other(engine: EmbeddedEngine) -> None:
    one, two = engine.records(collection("one")), engine.records(collection("two"))
    await one.prepare(2)
    await two.prepare(3)
    await one.write_many([record("x", [1, 0], threadId="t", tags="a")])
    await two.write_many([record("x", [1, 0, 0], threadId="t", tags="a"), record("y", [1, 0, 0], threadId="t")])
    scope = Filter((Equals("threadId", "t"), HasTag("tags", "a")))
    assert await one.delete_many(["y"]) == [False]
    assert await one.delete_many(["x"]) == [True]
    assert await one.count(Filter()) == await one.count(scope) == 0
    assert await two.count(scope) == 1
    near = await nearest(two, encoded([1, 0, 0]), count=9, filter=Filter(), fields=["vector"])
    assert [(row.id, row.fields["vector"]) for row in near] == [
        ("x", encoded([1, 0, 0])),
        ("y", encoded([1, 0, 0])),
    ]


async def test_a_field_that_became_searchable_is_found_in_older_records(engine: EmbeddedEngine) -> None:
    older = IndexSchema("vector", (SchemaField("threadId", "tag"),))
    newer = IndexSchema(
        "vector",
        (SchemaField("threadId", "tag"), SchemaField("rank", "number", sortable=True)),
        (SchemaField('odd "name"', "tag"), SchemaField("labels", "tag", multiple=True)),
    )
    before = engine.records(Collection("s:", "s:idx", older))
    await before.prepare(2)
    await before.write_many(
        [
            RecordWrite(f"{i}", {"rank": b"%d" % i, "labels": b"x,%d" % i, 'odd "name"': b"%d" % (i % 2)})
            for i in range(2500)
        ]
    )
    after = engine.records(Collection("s:", "s:idx", newer))
    assert await after.prepare(None) == IndexState(2)
    assert await after.count(Filter((Equals('odd "name"', "1"),))) == 1250
    assert await after.count(Filter((HasTag("labels", "7"),))) == 1
    page = await after.select(Filter(), fields=[], limit=1, order_by="rank", descending=True)
    assert page.rows[0].id == "2499"
    assert await after.prepare(2) == IndexState(2)


async def test_a_scope_is_found_by_its_narrowest_tag(records: EmbeddedRecords) -> None:
    for i in range(0, 2000, 500):
        await records.write_many(
            [record(f"{j}", agentId="all", source="all", subject=f"{j}", threadId="all") for j in range(i, i + 500)]
        )
    tables = await records._database.read(records._lookup.prepared)
    scope = Filter(
        (Equals("threadId", "all"), Equals("agentId", "all"), Equals("source", "all"), Equals("subject", "7"))
    )

    def plan(connection: apsw.Connection) -> str:
        condition = matching(scope, tables, 0)
        return str(
            rows(
                connection,
                f"EXPLAIN QUERY PLAN SELECT key FROM {tables.record} AS r WHERE {condition.sql}",
                condition.parameters,
            )
        )

    assert "record_1_subject" in await records._database.read(plan)
    assert await found(records, scope) == {"7"}


@pytest.mark.parametrize("field", ["tags", "x"], ids=["indexed", "not indexed"])
async def test_a_filter_may_have_as_many_clauses_as_fit_its_size(records: EmbeddedRecords, field: str) -> None:
    letters = string.ascii_letters + string.digits + "_"
    shortest = [*letters, *("".join(pair) for pair in product(letters, repeat=2))]
    fitting = MAX_FILTER_BYTES // (len(f"@{field}:{{}} ") + 1)
    while Filter(tuple(HasTag(field, tag) for tag in shortest[:fitting])).size_bytes > MAX_FILTER_BYTES:
        fitting -= 1
    tags = shortest[:fitting]
    assert len(tags) > 900

    def tagged(id: str, *values: str) -> RecordWrite:
        return RecordWrite(id, {field: ",".join(values).encode(), "vector": encoded([1, 0])})

    without = [tagged(f"without {i}", *tags[:i], *tags[i + 1 :]) for i in (0, 500, fitting - 1)]
    await records.write_many([tagged("all", *tags), *without, tagged("few", "a", "b")])
    assert await found(records, Filter(tuple(HasTag(field, tag) for tag in tags))) == {"all"}


async def test_a_page_beyond_64_bits_is_refused(records: EmbeddedRecords) -> None:
    for limit, offset in ((2**63, 0), (1, 2**63), (10**30, 10**30)):
        with pytest.raises(InvalidInputError, match="64 bits"):
            await records.select(EVERYTHING, fields=[], limit=limit, offset=offset)
    assert (await records.select(EVERYTHING, fields=[], limit=2**63 - 1, offset=2**63 - 1)).rows == ()
