"""Filters of every shape: the index lets nothing through too few, and what is handed up is exact."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import RecordWrite
from betterdb_agent_memory.engines.filters import (
    MAX_FILTER_BYTES,
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
)
from betterdb_agent_memory.engines.valkey import ValkeyEngine, query
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from tests.engines.searching import nearest
from tests.engines.valkey.samples import CREATED_AT_MS, SCHEMA, collection, record_of, vector
from tests.servers import ValkeyServer

THREADS = ["a", "A", " a", "a,b", "", "\0a", "é", "É", "_", "x" * 1200]
TAGS = ["ui", "UI", " ui", "w*k", "", "ß"]
NUMBERS = ["0", "1", "0.5", "0.5000000000004", "0.4999999999997", "1e-7", "-3.25", "inf", "-inf", "9007199254740993"]
NUMBERS += ["0.1234567890123456", "123456789012.4", "1.7976931348623157e308", "5e-324", "-0.0"]
LIMITS = [float(text) for text in NUMBERS] + [2**53 + 1, -(2**53) - 1, 10**400, float("nan"), 0.50000000000039, 2, None]
FIELDS = ["threadId", "agentId", "source", "tags", "subject", "importance", "access_count", "created_at", "date"]


def stored() -> list[RecordWrite]:
    """Records that differ in one thing or in all, some without a field."""
    records = []
    for n in range(90):
        fields: dict[str, str | bytes] = {
            "importance": NUMBERS[n % len(NUMBERS)],
            "access_count": NUMBERS[n // 3 % len(NUMBERS)],
            "vector": vector(1, n, 0, 0),
        }
        if n % 4:
            fields["threadId"] = THREADS[n % len(THREADS)]
        if n % 3:
            fields["tags"] = ",".join(TAGS[n % 5 : n % 5 + n % 3])
        if n % 5:
            fields["subject"] = THREADS[n // 2 % len(THREADS)]
        if n % 7:
            fields["date"] = "2026"
        write = record_of(f"r{n:02}", fields, at=n // 2)
        if n % 6 == 0:
            del write.fields["access_count"]  # type: ignore[attr-defined]
        records.append(write)
    return records


RECORDS = stored()

leaf = st.one_of(
    st.builds(Equals, st.sampled_from(["threadId", "subject", "agentId", "date", "content"]), st.sampled_from(THREADS)),
    st.builds(HasTag, st.sampled_from(["tags", "threadId"]), st.sampled_from([*TAGS, *THREADS])),
    st.builds(TagsAre, st.just("tags"), st.frozensets(st.sampled_from(TAGS), max_size=3)),
    st.builds(
        Between,
        st.sampled_from(["importance", "access_count", "date"]),
        st.sampled_from(LIMITS),
        st.sampled_from(LIMITS),
    ),
    st.builds(
        Between,
        st.just("created_at"),
        st.integers(CREATED_AT_MS - 3, CREATED_AT_MS + 50) | st.none(),
        st.integers(CREATED_AT_MS - 3, CREATED_AT_MS + 50) | st.none(),
    ),
    st.builds(IdIn, st.frozensets(st.sampled_from([write.id for write in RECORDS]), max_size=40)),
)


def combined(clause: st.SearchStrategy[Clause]) -> st.SearchStrategy[Clause]:
    parts = st.lists(clause, max_size=3).map(tuple)
    return st.builds(Not, clause) | st.builds(AllOf, parts) | st.builds(AnyOf, parts)


clauses: st.SearchStrategy[Clause] = st.recursive(leaf, combined, max_leaves=8)
filters = st.lists(clauses, max_size=3).map(tuple).map(Filter)


@pytest.fixture(scope="module")
def served(valkey_server: ValkeyServer) -> Iterator[tuple[asyncio.Runner, ValkeyRecords]]:
    with asyncio.Runner() as runner:
        engine = ValkeyEngine.from_url(valkey_server.url)
        records = engine.records(collection(f"b{uuid4().hex}"))
        runner.run(records.prepare(4))
        runner.run(records.write_many(RECORDS))
        yield runner, records
        runner.run(engine.close())


def accepted(filter: Filter) -> set[str]:
    return {write.id for write in RECORDS if filter.accepts(write.id, write.fields)}


def either(*clauses: Clause) -> AnyOf:
    """A thread, or all of `clauses`."""
    return AnyOf((Equals("threadId", "a"), AllOf(clauses)))


# A tag no record has, so RediSearch does not estimate how many have both; alone, and one level down.
UNMET = either(Equals("threadId", "a"), HasTag("tags", "none"))
UNMET_BELOW = AnyOf((Equals("threadId", "é"), AllOf((UNMET, either(HasTag("tags", "ui"), HasTag("tags", "none"))))))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter=filters)
@example(Filter((Not(Equals("threadId", "a")),)))
@example(Filter((Not(Between("access_count", None, 1)),)))
@example(Filter((Not(Between("importance", 0, None)),)))
@example(Filter((Between("importance", 0.50000000000039, 1),)))
@example(Filter((AnyOf((Between("importance", 0.50000000000039, 1), HasTag("tags", "ui"))),)))
@example(Filter((AnyOf(()),)))
@example(Filter((TagsAre("tags", frozenset()),)))
@example(Filter((TagsAre("tags", frozenset(["ui"])), Equals("threadId", "a"))))
@example(Filter((Not(AllOf(())),)))
@example(Filter((Not(Not(AnyOf((Equals("threadId", "\0a"), Equals("threadId", "é"))))),)))
@example(Filter((Not(Between("importance", 2**53 + 1, None)),)))
@example(Filter((UNMET, either(HasTag("tags", "ui"), HasTag("tags", "none")))))
@example(Filter((UNMET_BELOW, UNMET)))
@example(Filter((UNMET, UNMET_BELOW, HasTag("tags", "ui"))))
def test_every_question_is_answered_exactly(served: tuple[asyncio.Runner, ValkeyRecords], filter: Filter) -> None:
    runner, records = served
    expected = accepted(filter)

    async def ask() -> None:
        page = await records.select(filter, fields=FIELDS, limit=200, order_by="created_at")
        assert {row.id for row in page.rows if filter.accepts(row.id, row.fields)} == expected
        near = await nearest(records, vector(1, 0, 0, 0), count=200, filter=filter, fields=FIELDS)
        assert {row.id for row in near if filter.accepts(row.id, row.fields)} == expected
        assert await records.count(filter) == len(expected)
        walked = [row async for rows in records.walk(filter, fields=["content"], page_size=17) for row in rows]
        assert [row.id for row in walked] == sorted(expected)

    runner.run(ask())


@settings(max_examples=300, deadline=None)
@given(filter=filters, narrow=st.booleans())
def test_texts_are_what_both_search_modules_read(filter: Filter, narrow: bool) -> None:
    """valkey-search reads no exponents and refuses a range whose low end is above its high end."""
    searchable = frozenset(FIELDS) - ({"subject", "date"} if narrow else {"date"})
    text = query.prefilter(filter, SCHEMA, searchable)
    assert "$" not in text
    assert text.strip() not in ("*", "()")
    for low, high in re.findall(r"\[([^\s\]]+) ([^\]]+)\]", text):
        assert re.fullmatch(r"\(?-inf|-?\d+(\.\d+)?", low)
        assert re.fullmatch(r"\(?\+inf|-?\d+(\.\d+)?", high)
        assert float(low.strip("(")) <= float(high.strip("("))


@settings(max_examples=500)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53))
def test_a_limit_is_printed_as_the_number_it_is(number: float) -> None:
    assert float(query.number_text(number)) == number


@settings(max_examples=50)
@given(st.lists(st.text("ab,é_", max_size=400), max_size=40), st.booleans())
def test_a_branch_too_many_gives_up_the_or_and_never_a_part_of_it(values: list[str], all_of: bool) -> None:
    leaves = tuple(Equals("threadId", value) for value in values)
    text = query.prefilter(Filter((AllOf(leaves) if all_of else AnyOf(leaves),)), SCHEMA, frozenset(FIELDS))
    assert len(text.encode()) <= MAX_FILTER_BYTES - 256
    if "|" in text:
        assert all(piece in text for leaf in leaves for piece in query.tag_texts(leaf))


def text(*clauses: Clause) -> str:
    return query.prefilter(Filter(clauses), SCHEMA, frozenset(FIELDS))


EVERY = "@created_at:[-inf +inf]"
TAGGED, MIDDLING = HasTag("tags", "a"), Between("importance", 0, 1)


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        (Not(Equals("threadId", "t")), EVERY),
        (Between("importance", 0.5, 1), "(@importance:[0.5 1])"),
        (Between("importance", 1e-7, None), "(@importance:[0.0000001 (+inf])"),
        (Not(Between("importance", None, 1)), "(-@importance:[(-inf 1])"),
        (Between("importance", 2, 1), "(@created_at:[-9007199254740992 -9007199254740992])"),
        (Not(Between("importance", 2, 1)), EVERY),
        (Between("date", 1, 2), EVERY),
        (AnyOf((HasTag("tags", "a"), HasTag("tags", "b"))), "((@tags:{a} | @tags:{b}))"),
        (AnyOf((HasTag("tags", "a"), Not(HasTag("tags", "b")))), EVERY),
        (
            AnyOf((Equals("threadId", "a,b"), Between("importance", 0, 1))),
            "(((@threadId:{a} @threadId:{b}) | @importance:[0 1]))",
        ),
        (
            Not(AnyOf((HasTag("tags", "a"), Between("importance", 0, 1)))),
            "(-@importance:[0 1])",
        ),
        (
            Not(AllOf((Between("access_count", 3, 3), Not(HasTag("tags", "a"))))),
            "((-@access_count:[3 3] | @tags:{a}))",
        ),
        (IdIn(frozenset({"x"})), EVERY),
        # An AND of ORs with an AND in them gets a range that all pass.
        (
            AllOf((AnyOf((TAGGED, AllOf((TAGGED, MIDDLING)))), AnyOf((MIDDLING, AllOf((MIDDLING, TAGGED)))))),
            "((@tags:{a} | (@tags:{a} @importance:[0 1])) (@importance:[0 1] | (@importance:[0 1] @tags:{a})) "
            "@created_at:[-inf +inf])",
        ),
        (
            AllOf((AnyOf((TAGGED, AllOf((TAGGED, MIDDLING)))), AnyOf((MIDDLING, TAGGED)))),
            "((@tags:{a} | (@tags:{a} @importance:[0 1])) (@importance:[0 1] | @tags:{a}))",
        ),
    ],
)
def test_clauses_are_worded_inside_out(clause: Clause, expected: str) -> None:
    assert text(clause) == expected


async def test_only_rows_in_doubt_are_read_again(engine: ValkeyEngine, records: ValkeyRecords) -> None:
    """The server returns twelve digits of a number; its index knows them all."""
    numbers = ["0.5000000000004", "0.5", "0.4999999999997", "0.7", "0.1234567890123456"]
    await records.write_many([record_of(f"{n}", {"importance": text}) for n, text in enumerate(numbers)])

    async def found(*clauses: Clause) -> tuple[set[str], int]:
        filter = Filter(clauses)
        before = engine.round_trips
        page = await records.select(filter, fields=["importance", "source"], limit=10)
        near = await nearest(records, vector(1, 0, 0, 0), count=10, filter=filter, fields=["importance", "source"])
        ids = {row.id for row in page.rows if filter.accepts(row.id, row.fields)}
        assert ids == {row.id for row in near if filter.accepts(row.id, row.fields)}
        return ids, engine.round_trips - before

    # What the index has let through is in the range, as long as the returned text does not deny it.
    assert await found(Between("importance", 0.5, 1)) == ({"0", "1", "3"}, 2)
    assert await found(Between("importance", None, 0.4)) == ({"4"}, 2)
    assert await found(Between("importance", 0.1234567890123456, 0.4)) == ({"4"}, 4)
    assert await found(Between("importance", 0.5000000000002, 0.6)) == ({"0"}, 4)
    assert await found(Not(Between("importance", 0.5, 1))) == ({"2", "4"}, 4)
    # Under an OR, too, when nothing else can be why a row was found.
    either = AnyOf((Between("importance", 0.5, 1), Equals("source", "s")))
    assert await found(either) == ({"0", "1", "3"}, 2)
    either = AnyOf((Between("importance", 0.6, 1), Equals("source", "s")))
    assert await found(either) == ({"3"}, 2)
    # The server folds case, so the source S may be why; a negated tag is not asked for at all.
    await records.write_many([record_of("2", {"importance": "0.4999999999997", "source": "S"})])
    either = AnyOf((Between("importance", 0.5, 1), Equals("source", "s")))
    assert await found(either) == ({"0", "1", "3"}, 4)
    either = AnyOf((Between("importance", 0.5, 1), Not(Equals("source", "S"))))
    assert await found(either) == ({"0", "1", "3", "4"}, 4)


async def test_ranges_are_counted_by_the_server(engine: ValkeyEngine, records: ValkeyRecords) -> None:
    await records.write_many(
        [record_of(f"{n}", {"importance": f"0.{n % 10}", "threadId": "tT"[n % 2]}) for n in range(2500)]
    )
    half, thread = Between("importance", 0.5, None), Equals("threadId", "t")
    for clauses, expected in (
        ((half,), 1250),
        ((half, thread), 500),
        ((AllOf((half, Not(Between("importance", 0.8, None)))), thread), 250),
        ((Not(half),), 1250),
    ):
        before = engine.round_trips
        assert await records.count(Filter(clauses)) == expected
        assert engine.round_trips - before == 1
    assert await records.count(Filter((Not(thread),))) == 1250
