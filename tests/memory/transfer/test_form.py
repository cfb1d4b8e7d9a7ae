"""Lines of an export give back the stored bytes, whatever they are, and refuse what is no memory."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import InvalidInputError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.transfer import form
from betterdb_agent_memory.memory.transfer.form import Exported, Header, decode_memory_line, encode_memory_line

KNOWN = [*record.ITEM_FIELDS, record.VECTOR]
SPELLINGS = [b"1", b"1.0", b"0.5", b"1e-05", b"1e-7", b"0.00001", b"007", b"-0", b"NaN", b"Infinity", b" 5", b"5 ", b""]

names = st.one_of(st.sampled_from(KNOWN), st.text(max_size=8).filter(lambda name: "\x00" not in name))
values = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(str.encode),
    st.sampled_from(SPELLINGS),
    st.floats(allow_nan=False).map(lambda number: repr(number).encode()),
    st.integers().map(lambda number: str(number).encode()),
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=5), st.none()), max_size=3).map(
        lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    ),
)
ids = st.text(min_size=1, max_size=40).filter(lambda id: ":" not in id and id.isprintable())


@given(
    id=ids,
    fields=st.dictionaries(names, values, max_size=12),
    content=st.binary(max_size=60),
    expiry=st.one_of(st.none(), st.integers(min_value=0, max_value=10**14)),
)
def test_a_line_gives_back_every_byte(id: str, fields: dict[str, bytes], content: bytes, expiry: int | None) -> None:
    memory = Exported(id, {**fields, record.CONTENT: content}, expiry)
    line = encode_memory_line(memory)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_memory_line(line) == memory


def test_fields_stand_under_readable_names() -> None:
    vector = b"\x00\x00\x80?\x00\x00\x00@"
    stored = {
        record.CONTENT: "Tee um fünf".encode(),
        record.VECTOR: vector,
        record.IMPORTANCE: b"0.9",
        record.CREATED_AT: b"1750000000000",
        record.LAST_ACCESSED_AT: b"1750000000001",
        record.ACCESS_COUNT: b"3",
        record.TAGS: b"a,b",
        record.THREAD: b"t",
        record.AGENT: b"a",
        record.NAMESPACE: b"n",
        record.OCCURRED_AT: b"1740000000000",
        record.METADATA: b'{"page":1}',
        record.VERSION: b"2",
        record.KIND: b"rule",
        record.ENTITIES: b"Ada,Smith%2C John",
        "pinned": b"0.25",
        "uses": b"4",
        "recent": b"1,2",
        "x-own": b"theirs",
        "x-raw": b"\xff",
    }
    line = json.loads(encode_memory_line(Exported("i", stored, 1760000000000)))
    assert line == {
        "id": "i",
        "content": "Tee um fünf",
        "importance": 0.9,
        "tags": ["a", "b"],
        "thread_id": "t",
        "agent_id": "a",
        "namespace": "n",
        "created_at": 1750000000000,
        "last_accessed_at": 1750000000001,
        "access_count": 3,
        "occurred_at": 1740000000000,
        "metadata": {"page": 1},
        "version": 2,
        "kind": "rule",
        "entities": ["Ada", "Smith, John"],
        "pinned": 0.25,
        "uses": 4,
        "recent": "1,2",
        "fields": {"x-own": "theirs"},
        "bytes": {"x-raw": "/w=="},
        "expires_at": 1760000000000,
        "vector": "AACAPwAAAEA=",
    }
    assert "vector" not in json.loads(encode_memory_line(Exported("i", stored), vector=False))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_odd_spelling_of_a_number_survives(spelling: bytes) -> None:
    stored = {record.CONTENT: b"c", record.CREATED_AT: b"1", record.IMPORTANCE: spelling}
    assert decode_memory_line(encode_memory_line(Exported("i", stored))).fields == stored


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"\xff", "no JSON"),
        (b"[]", "one JSON object"),
        (b'{"content": "c", "created_at": 1}', "memory id"),
        (b'{"id": "a:b", "content": "c", "created_at": 1}', "colon"),
        (b'{"id": "a", "created_at": 1}', "needs content"),
        (b'{"id": "a", "content": "c", "created_at": "soon"}', "not a number"),
        (b'{"id": "a", "content": "c", "created_at": true}', "not a number"),
        (b'{"id": "a", "content": "c", "created_at": NaN}', "no JSON"),
        (b'{"id": "a", "content": 5, "created_at": 1}', "not a text"),
        (b'{"id": "a", "content": "\\ud800", "created_at": 1}', "surrogate"),
        (b'{"id": "a", "content": "c", "created_at": 1, "tags": "x"}', "list of texts"),
        (b'{"id": "a", "content": "c", "created_at": 1, "tags": ["x,y"]}', "comma"),
        (b'{"id": "a", "content": "c", "created_at": 1, "metadata": []}', "JSON object"),
        (b'{"id": "a", "content": "c", "created_at": 1, "vector": "?"}', "base64"),
        (b'{"id": "a", "content": "c", "created_at": 1, "bytes": {"x": "?"}}', "base64"),
        (b'{"id": "a", "content": "c", "created_at": 1, "fields": {"x": 1}}', "not a text"),
        (b'{"id": "a", "content": "c", "created_at": 1, "fields": {"content": "d"}}', "twice"),
        (b'{"id": "a", "content": "c", "created_at": 1, "fields": []}', "not an object"),
        (b'{"id": "a", "content": "c", "created_at": 1, "expires_at": "x"}', "expires_at"),
        (b'{"id": "a", "content": "c", "created_at": 1, "expires_at": -1}', "expires_at"),
        (b'{"id": "a", "content": "c", "created_at": 1, "threadId": "x"}', "thread_id"),
        (b'{"id": "a", "content": "c", "created_at": 1, "importance": 1e999}', "not a number"),
        (b'{"id": "a", "content": "c", "created_at": 1, "importance": 1.5}', "0 to 1"),
        (b'{"id": "a", "content": "c", "created_at": 1, "importance": -1}', "0 to 1"),
        (b'{"id": "a", "content": "c", "created_at": 1%s}' % (b"0" * 400), "far larger"),
        (b'{"id": "a", "content": "c", "created_at": 1e300}', "created_at"),
        (b'{"id": "a", "content": "c", "created_at": 1, "version": 1.5}', "whole number"),
        (b'{"id": "a", "content": "c", "created_at": 1, "expires_at": 100000000000001}', "expires_at"),
    ],
)
def test_what_is_no_memory_is_refused_with_the_reason(line: bytes, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        decode_memory_line(line)


@pytest.mark.parametrize("value", [b"7", b"-1", b"very", b"1" * 400, b"1e300"])
def test_a_senseless_value_of_a_store_survives(value: bytes) -> None:
    stored = {record.CONTENT: b"c", record.CREATED_AT: value, record.IMPORTANCE: value, record.VERSION: value}
    line = encode_memory_line(Exported("i", stored))
    assert json.loads(line)["fields"]["importance"] == value.decode()
    assert decode_memory_line(line).fields == stored


def test_a_field_that_is_null_is_no_field() -> None:
    line = b'{"id": "a", "content": "c", "created_at": 1, "source": null, "expires_at": null}'
    assert decode_memory_line(line) == Exported("a", {"content": b"c", "created_at": b"1"})


def test_a_header_says_where_the_memories_come_from() -> None:
    header = Header(store="s", exported_at=5, embedder="e", dimensions=8, vectors=False, memories=3, filter="f")
    line = form.encode_header(header)
    assert json.loads(line)["format"] == "betterdb-agent-memory"
    assert json.loads(line)["version"] == 1
    assert form.decode_header(line) == header
    later = json.dumps({**json.loads(line), "compression": "none"}).encode()
    assert form.decode_header(later) == header


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "no export"),
        (b'{"content": "c"}', "no export"),
        (b'{"format": "betterdb-agent-memory", "version": 2}', "version 2"),
        (b'{"format": "betterdb-agent-memory", "version": 1, "exported_at": 1}', "lacks"),
        (b'{"format": "betterdb-agent-memory", "version": 1, "store": 1, "exported_at": 1}', "store"),
        (b'{"format": "betterdb-agent-memory", "version": 1, "store": "s", "exported_at": 1, "vectors": 1}', "vectors"),
    ],
)
def test_a_file_of_something_else_is_refused(line: bytes, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        form.decode_header(line)
