from __future__ import annotations

import pytest

from betterdb_agent_memory.engines.filters import MAX_FILTER_BYTES, Equals, Filter, HasTag
from betterdb_agent_memory.engines.valkey import commands, query
from betterdb_agent_memory.memory.record import MATCH_ALL_MEMORY_QUERY
from tests.engines.valkey.samples import SCHEMA, collection

SHARED = frozenset(field.name for field in SCHEMA.shared)


def text(*clauses: Equals | HasTag, searchable: frozenset[str] = SHARED) -> str:
    return query.prefilter(Filter(clauses), SCHEMA, searchable)


def test_index_is_created_as_the_wire_contract_says() -> None:
    assert " ".join(map(str, commands.create_index(collection("n"), 8))) == (
        "FT.CREATE n:mem:idx ON HASH PREFIX 1 n:mem: SCHEMA "
        "vector VECTOR HNSW 6 TYPE FLOAT32 DIM 8 DISTANCE_METRIC COSINE "
        "threadId TAG agentId TAG namespace TAG tags TAG SEPARATOR , source TAG importance NUMERIC "
        "created_at NUMERIC SORTABLE last_accessed_at NUMERIC access_count NUMERIC content TEXT "
        "subject TAG"
    )


@pytest.mark.parametrize(
    ("clauses", "expected"),
    [
        ((), MATCH_ALL_MEMORY_QUERY),
        ((Equals("threadId", "t"),), "(@threadId:{t})"),
        (
            (Equals("threadId", "t"), Equals("agentId", "a"), HasTag("tags", "y"), HasTag("tags", "x")),
            "(@threadId:{t} @agentId:{a} @tags:{y} @tags:{x})",
        ),
        ((Equals("threadId", "user:42/α β"),), r"(@threadId:{user\:42\/α\ β})"),
        ((Equals("source", "my-facts"),), r"(@source:{my\-facts})"),
    ],
)
def test_text_is_the_published_one(clauses: tuple[Equals, ...], expected: str) -> None:
    assert text(*clauses) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a,b", "(@threadId:{a} @threadId:{b})"),
        (" a , a,,", "(@threadId:{a})"),
        ("", MATCH_ALL_MEMORY_QUERY),
        ("_,a_b", r"(@threadId:{\_} @threadId:{a_b})"),
        (" ,\t", MATCH_ALL_MEMORY_QUERY),
        ("a\0b", MATCH_ALL_MEMORY_QUERY),
        ("a\x1fb,c", "(@threadId:{c})"),
        ("x" * 1001, MATCH_ALL_MEMORY_QUERY),
        ("`?{*}|", r"(@threadId:{\`\?\{\*\}\|})"),
    ],
)
def test_values_are_asked_for_as_an_index_stores_them(value: str, expected: str) -> None:
    assert text(Equals("threadId", value)) == expected


def test_own_fields_are_named_only_where_they_are_indexed() -> None:
    clauses = (Equals("threadId", "t"), Equals("subject", "s"))
    assert text(*clauses) == "(@threadId:{t})"
    assert text(*clauses, searchable=SHARED | {"subject"}) == "(@threadId:{t} @subject:{s})"
    assert text(Equals("content", "no tag"), Equals("unheard", "of")) == MATCH_ALL_MEMORY_QUERY


def test_query_text_stays_below_what_servers_accept() -> None:
    many = ",".join(f"piece{n}" for n in range(1500))
    command = commands.nearest(
        collection("n"),
        text(Equals("threadId", many), Equals("agentId", "é" * 900)),
        b"",
        count=4096,
        ef=9000,
        fields=("content",),
        timeout_ms=1000,
    )
    assert len(str(command[2]).encode()) <= MAX_FILTER_BYTES
    assert "EF_RUNTIME 4096 " in str(command[2])


def test_nearest_returns_distance_and_never_the_vector() -> None:
    command = commands.nearest(
        collection("n"), "(@threadId:{t})", b"\x01", count=32, ef=100, fields=("content", "tags"), timeout_ms=50
    )
    assert command == (
        *("FT.SEARCH", "n:mem:idx", "(@threadId:{t})=>[KNN 32 @vector $vec EF_RUNTIME 100 AS __score]"),
        *(b"PARAMS", b"2", b"vec", b"\x01"),
        *(b"RETURN", b"7", b"__score", b"content", b"AS", b"a", b"tags", b"AS", b"b"),
        *(b"LIMIT", b"0", b"32", b"TIMEOUT", b"50", b"DIALECT", b"2"),
    )


def test_page_of_none_asks_for_the_total_only() -> None:
    command = commands.select(
        "i", "q", fields=("a",), offset=7, limit=0, order_by="created_at", descending=True, timeout_ms=50
    )
    assert command == ("FT.SEARCH", "i", "q", "LIMIT", "0", "0", "TIMEOUT", "50", "DIALECT", "2")
