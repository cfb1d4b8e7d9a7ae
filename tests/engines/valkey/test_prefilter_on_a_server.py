"""The property everything rests on: whatever is stored, a search for the same value finds it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.engines.filters import Equals, Filter, HasTag
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from tests.engines.searching import nearest
from tests.engines.valkey.samples import collection, record, record_of, vector
from tests.servers import ValkeyServer

AWKWARD = "".join(map(chr, range(128))) + "İıßẞΣςσǅǆÄäéΩK\u00a0\u0085\u2028\u200b\ufeff\u3000e\u0301中😀"
VALUES = st.one_of(st.text(AWKWARD, max_size=12), st.text(max_size=30), st.text(AWKWARD, min_size=300, max_size=1200))
# An index reads stored tags up to the first NUL: a tag behind one is out of any filter's reach.
TAGS = VALUES.map(lambda value: value.replace(",", ";").replace("\0", "0"))


@pytest.fixture(scope="module")
def stored(valkey_server: ValkeyServer) -> Iterator[tuple[asyncio.Runner, ValkeyRecords]]:
    with asyncio.Runner() as runner:
        engine = ValkeyEngine.from_url(valkey_server.url)
        records = engine.records(collection(f"p{uuid4().hex}"))
        runner.run(records.prepare(4))
        yield runner, records
        runner.run(engine.close())


async def search_for(records: ValkeyRecords, filter: Filter, **fields: str) -> None:
    await records.write_many([record_of("wanted", fields)])
    try:
        names = ["threadId", "agentId", "tags", "subject"]
        near = await nearest(records, vector(1, 0, 0, 0), count=5, filter=filter, fields=names)
        page = await records.select(filter, fields=names, limit=5, order_by="created_at")
        counted = await records.count(filter)
    finally:
        await records.delete_many(["wanted"])
    assert all(filter.accepts(row.id, row.fields) for row in near)
    assert all(filter.accepts(row.id, row.fields) for row in page.rows)
    assert [row.id for row in near] == ["wanted"]
    assert [row.id for row in page.rows] == ["wanted"]
    assert counted == 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(thread=VALUES, agent=VALUES)
@example(thread="a,b", agent=" x ")
@example(thread="", agent="\0")
@example(thread="\u00a0x\u3000", agent="İstanbul")
@example(thread="ΑΣ", agent="ǅ")
@example(thread="*", agent="w'")
@example(thread="-", agent="\\")
@example(thread="_", agent="__")
@example(thread="x" * 5000, agent="a|b")
def test_any_scope_value_finds_its_record(
    stored: tuple[asyncio.Runner, ValkeyRecords], thread: str, agent: str
) -> None:
    runner, records = stored
    filter = Filter((Equals("threadId", thread), Equals("agentId", agent)))
    runner.run(search_for(records, filter, threadId=thread, agentId=agent))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tags=st.lists(TAGS, min_size=1, max_size=5), subject=VALUES)
def test_any_tag_and_own_field_finds_its_record(
    stored: tuple[asyncio.Runner, ValkeyRecords], tags: list[str], subject: str
) -> None:
    runner, records = stored
    filter = Filter((*(HasTag("tags", tag) for tag in tags), Equals("subject", subject)))
    runner.run(search_for(records, filter, tags=",".join(tags), subject=subject))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.text("aA, ßSİ", max_size=3), min_size=1, max_size=12))
def test_count_is_exact_whatever_else_the_index_takes_for_equal(
    stored: tuple[asyncio.Runner, ValkeyRecords], values: list[str]
) -> None:
    runner, records = stored

    async def check() -> None:
        await records.write_many([record(f"r{n}", threadId=value) for n, value in enumerate(values)])
        try:
            for value in {*values, "absent"}:
                assert await records.count(Filter((Equals("threadId", value),))) == values.count(value)
            assert await records.count(Filter()) == len(values)
        finally:
            await records.delete_many([f"r{n}" for n in range(len(values))])

    runner.run(check())
