"""Filters in SQL mean what `Filter.accepts` says, and go by an index where there is one."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import RecordWrite
from betterdb_agent_memory.engines.embedded import EmbeddedEngine, search
from betterdb_agent_memory.engines.embedded.indexing import number
from betterdb_agent_memory.engines.embedded.matching import matching
from betterdb_agent_memory.engines.embedded.queries import rows
from betterdb_agent_memory.engines.embedded.records import EmbeddedRecords
from betterdb_agent_memory.engines.filters import (
    AllOf,
    AnyOf,
    Between,
    Clause,
    Equals,
    Filter,
    HasTag,
    IdIn,
    Not,
    TagsAre,
    leading_number,
)
from betterdb_agent_memory.errors import InvalidInputError
from tests.engines.embedded.support import collection, encoded, record
from tests.engines.searching import nearest

# A tag, a list of tags, two indexed numbers, the text, a field without a column, and the vector.
FIELDS = ("threadId", "tags", "importance", "created_at", "content", "note", "vector")
NUMBERS = (
    "0",
    "1",
    "-1",
    " 2",
    "2.5",
    "1e3",
    "1_000",
    "5 items",
    ".5",
    "1e999",
    "nan",
    "inf",
    "",
    "x",
    "0x10",
    "9" * 400,
)
TEXTS = ("", "a", "b", "A", "a,b", "b,a,a", ",", "a\0b", "é", "\U00010000")
IDS = ("1", "2", "é", "a\0b", "\U00010000", "｡")

stored_values = st.sampled_from(NUMBERS + TEXTS).map(str.encode) | st.binary(max_size=4)
records_fields = st.dictionaries(st.sampled_from(FIELDS[:-1]), stored_values, max_size=6)
sides = st.none() | st.sampled_from([0, 1, -1, 2, 2.5, 5.0, 1000, 16, float("inf"), float("-inf"), float("nan"), 2**53])
leaves: st.SearchStrategy[Clause] = st.one_of(
    st.builds(Equals, st.sampled_from(FIELDS), st.sampled_from(TEXTS + NUMBERS)),
    st.builds(HasTag, st.sampled_from(FIELDS), st.sampled_from(TEXTS)),
    st.builds(TagsAre, st.sampled_from(FIELDS), st.frozensets(st.sampled_from(TEXTS), max_size=3)),
    st.builds(Between, st.sampled_from(FIELDS), sides, sides),
    st.builds(IdIn, st.frozensets(st.sampled_from((*IDS, "absent", "\ud800")))),
)
clauses = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(AllOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


async def found(records: EmbeddedRecords, filter: Filter) -> set[str]:
    """The ids that every search, walk and count agrees on."""
    page = await records.select(filter, fields=[], limit=10_000)
    near = await nearest(records, encoded([1, 0]), count=10_000, filter=filter, fields=[])
    walked = [row.id async for rows in records.walk(filter, fields=[]) for row in rows]
    ids = {row.id for row in page.rows}
    assert len(ids) == page.total == await records.count(filter) == len(walked)
    assert ids == {row.id for row in near} == set(walked)
    return ids


@given(
    stored=st.fixed_dictionaries(dict.fromkeys(IDS, records_fields)),
    filters=st.lists(st.lists(clauses, max_size=3).map(lambda parts: Filter(tuple(parts))), min_size=1, max_size=6),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_sql_means_what_accepts_says(stored: dict[str, dict[str, bytes]], filters: list[Filter]) -> None:
    engine = EmbeddedEngine()
    records = engine.records(collection())
    await records.prepare(2)
    whole = {id: {**fields, "vector": encoded([1, 0])} for id, fields in stored.items()}
    try:
        await records.write_many([RecordWrite(id, fields) for id, fields in whole.items()])
        for filter in filters:
            assert await found(records, filter) == {id for id, fields in whole.items() if filter.accepts(id, fields)}
    finally:
        await engine.close()


@pytest.mark.parametrize("way", [0, 1_000_000], ids=["coarse", "one by one"])
async def test_both_ways_of_searching_keep_to_the_filter(
    records: EmbeddedRecords, monkeypatch: pytest.MonkeyPatch, way: int
) -> None:
    monkeypatch.setattr(search, "SMALL_SCOPE", way)
    monkeypatch.setattr(search, "COARSE_GAIN", 1_000_000)
    await records.write_many([record(f"{i}", [1, i], created_at=f"{i}", tags=f"{i % 3}") for i in range(60)])
    filter = Filter((AnyOf((HasTag("tags", "1"), Between("created_at", 50))), Not(IdIn(frozenset({"1", "59"})))))
    near = await nearest(records, encoded([1, 0]), count=100, filter=filter, fields=[])
    assert [row.id for row in near] == [f"{i}" for i in range(60) if (i % 3 == 1 or i >= 50) and i not in (1, 59)]


@given(st.sampled_from(NUMBERS + TEXTS).map(str.encode) | st.binary() | st.floats().map(lambda x: repr(x).encode()))
@example(b" 1_0")
@example(b"1e400")
@example(b"\x0b7\x00")
@example(b"infinity")
def test_the_column_of_a_number_holds_what_every_language_reads(stored: bytes) -> None:
    assert number(stored) == leading_number(stored)


async def test_tens_of_thousands_of_ids(records: EmbeddedRecords) -> None:
    await records.write_many([record(f"id {i}", threadId=f"{i % 2}") for i in range(3000)])
    ids = frozenset(f"id {i}" for i in range(0, 100_000, 3))
    assert await records.count(Filter((IdIn(ids),))) == 1000
    assert await records.count(Filter((IdIn(ids), Equals("threadId", "1")))) == 500
    assert await records.count(Filter((Not(IdIn(ids)),))) == 2000
    assert await records.count(Filter((AnyOf((IdIn(ids), Equals("threadId", "1"))),))) == 2000


async def test_deep_and_wide_filters(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", tags="a"), record("2", tags="b")])
    wide = AnyOf((*(HasTag("tags", f"{i}") for i in range(1500)), HasTag("tags", "a")))
    assert await found(records, Filter((wide,))) == {"1"}
    assert await found(records, Filter((Not(wide),))) == {"2"}
    deep: Clause = HasTag("tags", "a")
    for _ in range(50):
        deep = Not(AllOf((AnyOf((deep,)),)))
    assert await found(records, Filter((deep,))) == {"1"}


async def test_a_number_too_large_for_a_float_is_refused(records: EmbeddedRecords) -> None:
    await records.write_many([record("1", importance="1e300")])
    assert await records.count(Filter((Between("importance", 2**70, 10**301),))) == 1
    with pytest.raises(InvalidInputError, match="number"):
        await records.count(Filter((Between("importance", 10**400),)))


async def plan(records: EmbeddedRecords, filter: Filter) -> str:
    def explain(connection: apsw.Connection) -> str:
        tables = records._lookup.prepared(connection)
        condition = matching(filter, tables, 0)
        sql = f"EXPLAIN QUERY PLAN SELECT count(*) FROM {tables.record} AS r WHERE {condition.sql}"
        return str(rows(connection, sql, condition.parameters))

    return await records._database.read(explain)


async def test_scopes_and_ids_are_found_through_their_indexes(records: EmbeddedRecords) -> None:
    for i in range(0, 2000, 500):
        batch = range(i, i + 500)
        await records.write_many(
            [record(f"{j}", threadId=f"{j}", agentId="all", tags=f"all,{j}", created_at=f"{j}") for j in batch]
        )
    narrow, wide = Equals("threadId", "7"), Equals("agentId", "all")
    assert "record_1_threadId" in await plan(records, Filter((wide, narrow)))
    assert "record_1_threadId" in await plan(records, Filter((Between("created_at", 0), narrow)))
    assert "record_1_threadId" in await plan(records, Filter((Not(HasTag("tags", "x")), narrow)))
    assert "tag_1" in await plan(records, Filter((HasTag("tags", "7"), wide)))
    for filter in (
        Filter((IdIn(frozenset({"1", "2"})),)),
        Filter((IdIn(frozenset({"1", "2"})), narrow)),
        Filter((wide, HasTag("tags", "7"), AllOf((IdIn(frozenset({"1", "2"})),)))),
    ):
        assert "sqlite_autoindex_record_1_1 (id=?)" in await plan(records, filter)
        assert "SCAN r" not in await plan(records, filter)


async def test_readers_plan_by_the_statistics_that_a_writer_gathered(path) -> None:
    engine = EmbeddedEngine(path)
    records = engine.records(collection())
    await records.prepare(2)
    assert await records.count(Filter()) == 0  # the reader knows the schema by now
    await records.write_many([record(f"{i}", threadId=f"{i % 500}", agentId="all") for i in range(2000)])
    both = Filter((Equals("threadId", "7"), Equals("agentId", "all")))
    assert "record_1_threadId" in await plan(records, both)
    await engine.close()
