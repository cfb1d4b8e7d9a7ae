from __future__ import annotations

from typing import Any

import pytest

from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.index_info import VectorField, parse_info
from betterdb_agent_memory.errors import EngineError, IndexMismatchError, SearchTimeoutError
from tests.engines.valkey.samples import collection

# As valkey-search 1.2 lays it out: the dimension is nested under `index`.
VALKEY_SEARCH_INFO: list[Any] = [
    *(b"index_name", b"n:mem:idx", b"index_definition"),
    [b"key_type", b"HASH", b"prefixes", [b"n:mem:"], b"default_score", b"1"],
    b"attributes",
    [
        [
            *(b"identifier", b"vector", b"attribute", b"vector", b"type", b"VECTOR", b"index"),
            [
                *(b"capacity", 10240, b"dimensions", 384, b"distance_metric", b"COSINE", b"size", b"3"),
                *(b"data_type", b"FLOAT32", b"algorithm"),
                [b"name", b"HNSW", b"m", 16, b"ef_construction", 200, b"ef_runtime", 10],
            ],
        ],
        [
            *(b"identifier", b"threadId", b"attribute", b"threadId", b"type", b"TAG"),
            *(b"SEPARATOR", b",", b"CASESENSITIVE", b"0", b"size", b"3"),
        ],
        [b"identifier", b"created_at", b"attribute", b"created_at", b"type", b"NUMERIC", b"size", b"3"],
    ],
    *(b"num_docs", b"3", b"hash_indexing_failures", b"2", b"backfill_in_progress", b"1"),
    *(b"backfill_complete_percent", b"0.5", b"state", b"backfill_in_progress"),
]

REDISEARCH_INFO: list[Any] = [
    *(b"index_name", b"n:mem:idx", b"index_options", [], b"index_definition"),
    [b"key_type", b"HASH", b"prefixes", [b"n:mem:"], b"default_score", b"1"],
    b"attributes",
    [
        [
            *(b"identifier", b"vector", b"attribute", b"vector", b"type", b"VECTOR", b"algorithm", b"HNSW"),
            *(b"data_type", b"FLOAT32", b"dim", 384, b"distance_metric", b"COSINE", b"M", 16),
        ],
        [b"identifier", b"threadId", b"attribute", b"threadId", b"type", b"TAG", b"SEPARATOR", b","],
        [b"identifier", b"created_at", b"attribute", b"created_at", b"type", b"NUMERIC", b"SORTABLE"],
    ],
    *(b"num_docs", 3, b"hash_indexing_failures", 2, b"indexing", b"1", b"percent_indexed", b"0.5"),
]


def decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return [decoded(part) for part in value] if isinstance(value, list) else value


def as_maps(value: list[Any]) -> dict[Any, Any]:
    info = dict(zip(value[::2], value[1::2], strict=True))
    definition = info[b"index_definition"]
    return info | {b"index_definition": dict(zip(definition[::2], definition[1::2], strict=True))}


@pytest.mark.parametrize("layout", [VALKEY_SEARCH_INFO, REDISEARCH_INFO], ids=["valkey-search", "redisearch"])
@pytest.mark.parametrize("spelling", [lambda info: info, decoded, as_maps], ids=["bytes", "text", "maps"])
def test_index_is_understood_in_every_layout(layout: list[Any], spelling: Any) -> None:
    info = parse_info(spelling(layout))
    assert info.vectors == {"vector": VectorField("HNSW", "FLOAT32", "COSINE", 384)}
    assert info.prefixes == ("n:mem:",)
    assert (info.failures, info.indexing) == (2, True)
    assert info.returns_numbers is (layout is REDISEARCH_INFO)
    assert info.searchable(collection("n")) == {"threadId", "created_at"}
    assert info.mismatch(collection("n"), 384) is None


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (b"COSINE", b"L2", ["L2", "COSINE"]),
        (b"FLOAT32", b"FLOAT64", ["FLOAT64", "FLOAT32"]),
        (384, 768, ["768", "384"]),
        (b"n:mem:", b"m:mem:", ["m:mem:", "n:mem:"]),
    ],
)
def test_mismatch_names_both_values(old: Any, new: Any, named: list[str]) -> None:
    def changed(value: Any) -> Any:
        return [changed(part) for part in value] if isinstance(value, list) else new if value == old else value

    error = parse_info(changed(VALKEY_SEARCH_INFO)).mismatch(collection("n"), 384)
    assert isinstance(error, IndexMismatchError)
    assert all(value in str(error) for value in named)


def test_tag_field_with_another_separator_is_not_searched_by() -> None:
    layout = [*REDISEARCH_INFO]
    layout[7] = [part if part[1] != b"threadId" else [*part[:-1], b"|"] for part in layout[7]]
    assert parse_info(layout).searchable(collection("n")) == {"created_at"}


RESP2 = [2, b"n:1", [b"__score", b"0.5", b"content", b"hi"], b"n:2", None]
RESP3 = {
    b"total_results": 2,
    b"results": [
        {b"id": b"n:1", b"extra_attributes": {b"__score": b"0.5", b"content": b"hi"}, b"values": []},
        {b"id": b"n:2", b"values": []},
    ],
    b"warning": [],
}


@pytest.mark.parametrize(("answer", "complete"), [(RESP2, None), (decoded(RESP2), None), (RESP3, True)])
def test_search_reply_is_read_in_both_protocols(answer: Any, complete: bool | None) -> None:
    found = reply.parse_search(answer, ["__score", "content"])
    assert found.total == 2
    assert found.complete is complete
    assert found.rows == [
        (b"n:1", {"__score": b"0.5", "content": b"hi"}),
        (b"n:2", {}),
    ]
    assert reply.parse_search(answer, ["content"]).rows[0] == (b"n:1", {"content": b"hi"})


@pytest.mark.parametrize("answer", [None, b"QUEUED", [], [1, b"k"], {b"results": []}, [b"x"], {b"total_results": 1}])
def test_unreadable_search_reply_is_an_error_and_not_an_empty_result(answer: Any) -> None:
    with pytest.raises(EngineError, match="cannot read"):
        reply.parse_search(answer, ["content"])


@pytest.mark.parametrize("answer", [None, b"QUEUED", [], [1, [b"threadId", b"x"]], {b"results": None}])
def test_unreadable_groups_are_an_error(answer: Any) -> None:
    with pytest.raises(EngineError, match="cannot read"):
        reply.parse_groups(answer)


@pytest.mark.parametrize("answer", [None, b"QUEUED", [1], [b"a", b"b"]])
def test_unreadable_fields_are_an_error(answer: Any) -> None:
    with pytest.raises(EngineError, match="cannot read"):
        reply.parse_fields(answer, ["a", "b", "c"])


def test_search_that_may_have_been_cut_short_is_refused() -> None:
    reply.check_complete(None, elapsed_seconds=0.01, timeout_ms=50)
    reply.check_complete(True, elapsed_seconds=9, timeout_ms=50)
    for complete, elapsed_seconds in ((None, 0.05), (False, 0.0)):
        with pytest.raises(SearchTimeoutError):
            reply.check_complete(complete, elapsed_seconds=elapsed_seconds, timeout_ms=50)
