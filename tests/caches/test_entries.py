"""The stored values of the LLM and the tool tier, byte for byte."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import InvalidInputError
from betterdb_agent_memory.caches.entries import (
    LlmEntry,
    ToolEntry,
    decode_llm,
    decode_tool,
    encode_llm,
    encode_tool,
    text_of,
)

AT_MS = 1_750_000_000_000

BLOCKS: list[Any] = [
    {"type": "text", "text": "Hello "},
    {"type": "tool_call", "id": "c1", "name": "f", "args": {"z": 1, "a": None}},
    {"type": "text", "text": "world"},
]

# What the TypeScript package 0.12.0 stored: interop/ts/cache_llm_*.json and cache_tool_*.json.
RECORDED_LLM: dict[str, LlmEntry] = {
    '{"response":"RESPONSE","model":"gpt-4o","storedAt":1750000000000}': LlmEntry("RESPONSE", "gpt-4o", AT_MS),
    '{"response":"multi 🙂 \\"q\\"\\n","model":"gpt-4o","storedAt":1750000000000}': LlmEntry(
        'multi 🙂 "q"\n', "gpt-4o", AT_MS
    ),
    '{"response":"no price","model":"unknown-model","storedAt":1750000000000,"tokens":{"input":10,"output":5}}': (
        LlmEntry("no price", "unknown-model", AT_MS, tokens={"input": 10, "output": 5})
    ),
    '{"response":"with tokens","model":"gpt-4o","storedAt":1750000000000,"tokens":{"input":1000,"output":500},'
    '"cost":0.0075}': LlmEntry("with tokens", "gpt-4o", AT_MS, tokens={"input": 1000, "output": 500}, cost=0.0075),
    '{"response":"R","model":"priced","storedAt":1750000000000,"tokens":{"input":1234,"output":567},'
    '"cost":0.008754999999999999}': LlmEntry(
        "R", "priced", AT_MS, tokens={"input": 1234, "output": 567}, cost=0.008754999999999999
    ),
    '{"response":"","contentBlocks":[],"model":"x","storedAt":1750000000000}': LlmEntry(
        "", "x", AT_MS, content_blocks=[]
    ),
    '{"response":"Hello world","contentBlocks":[{"type":"text","text":"Hello "},{"type":"tool_call","id":"c1",'
    '"name":"f","args":{"z":1,"a":null}},{"type":"text","text":"world"}],"model":"priced","storedAt":1750000000000,'
    '"tokens":{"input":1,"output":1},"cost":0.0000125}': LlmEntry(
        "Hello world", "priced", AT_MS, content_blocks=BLOCKS, tokens={"input": 1, "output": 1}, cost=0.0000125
    ),
}
RECORDED_TOOL: dict[str, ToolEntry] = {
    '{"response":"RES","toolName":"nested","args":{"b":{"y":[3,1,{"q":1,"p":2}],"x":null},"a":true},'
    '"storedAt":1750000000000}': ToolEntry(
        "RES", "nested", {"b": {"y": [3, 1, {"q": 1, "p": 2}], "x": None}, "a": True}, AT_MS
    ),
    '{"response":"RES","toolName":"unicode","args":{"ключ":"стойност 🙂","q":"\\"\\\\\\n"},"storedAt":1750000000000}': (
        ToolEntry("RES", "unicode", {"ключ": "стойност 🙂", "q": '"\\\n'}, AT_MS)
    ),
    '{"response":"RES","toolName":"nullargs","args":null,"storedAt":1750000000000}': ToolEntry(
        "RES", "nullargs", None, AT_MS
    ),
    '{"response":"RES","toolName":"str","args":"plain","storedAt":1750000000000}': ToolEntry(
        "RES", "str", "plain", AT_MS
    ),
    '{"response":"r","toolName":"paid","args":{"q":1},"storedAt":1750000000000,"cost":0.0015}': ToolEntry(
        "r", "paid", {"q": 1}, AT_MS, cost=0.0015
    ),
}

# Beyond 2^53 JavaScript writes the digits of a float that are not exact as zeros: another whole number.
json_leaves = st.none() | st.booleans() | st.integers() | st.floats(-(2.0**53), 2.0**53) | st.text()
json_values = st.recursive(
    json_leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=8
)


@pytest.mark.parametrize("stored", RECORDED_LLM, ids=range(len(RECORDED_LLM)))
def test_answers_are_stored_byte_for_byte_as_typescript_stores_them(stored: str) -> None:
    assert encode_llm(RECORDED_LLM[stored]).decode() == stored
    assert decode_llm(stored.encode()) == RECORDED_LLM[stored]


@pytest.mark.parametrize("stored", RECORDED_TOOL, ids=range(len(RECORDED_TOOL)))
def test_tool_results_are_stored_byte_for_byte_as_typescript_stores_them(stored: str) -> None:
    assert encode_tool(RECORDED_TOOL[stored]).decode() == stored
    assert decode_tool(stored.encode()) == RECORDED_TOOL[stored]


def test_what_the_published_python_package_stored_is_read_as_the_same() -> None:
    stored = (
        b'{"response":"Hello world","model":"priced","storedAt":1750000000000,"tokens":{"input":1,"output":1},'
        b'"cost":1.25e-05}'
    )
    entry = decode_llm(stored)
    assert entry is not None
    assert (entry.cost, entry.tokens) == (0.0000125, {"input": 1, "output": 1})
    assert decode_tool(b'{"response": "x", "toolName": "r0", "args": {}, "storedAt": 1, "cost": 5e-07}') == ToolEntry(
        "x", "r0", {}, 1, cost=5e-07
    )


@pytest.mark.parametrize(
    ("cost", "spelled"),
    [(0.0, "0"), (1.0, "1"), (0.1, "0.1"), (1e-7, "1e-7"), (0.00001, "0.00001"), (12.5, "12.5"), (1e21, "1e+21")],
)
def test_numbers_are_spelled_as_javascript_spells_them(cost: float, spelled: str) -> None:
    assert encode_llm(LlmEntry("r", "m", 1, cost=cost)).endswith(f'"cost":{spelled}}}'.encode())


@given(st.text(), st.text(), st.lists(json_values, max_size=3))
def test_every_answer_comes_back_as_it_was(response: str, model: str, arguments: list[Any]) -> None:
    blocks: list[Any] = [{"type": "tool_call", "id": "1", "name": "f", "args": value} for value in arguments]
    entry = LlmEntry(response, model, AT_MS, content_blocks=blocks, cost=0.5, fresh_until_ms=AT_MS + 1)
    assert decode_llm(encode_llm(entry)) == entry
    assert json.loads(encode_llm(entry))["contentBlocks"] == blocks


@given(json_values)
def test_every_argument_comes_back_as_it_was(arguments: Any) -> None:
    entry = ToolEntry("r", "t", arguments, AT_MS)
    assert decode_tool(encode_tool(entry)) == entry


def test_half_a_surrogate_pair_is_kept_as_javascript_escapes_it() -> None:
    stored = encode_llm(LlmEntry("a\ud800b", "m", 1))
    assert b'"a\\ud800b"' in stored
    assert decode_llm(stored) == LlmEntry("a\ud800b", "m", 1)


def test_what_has_no_json_is_refused_with_its_place() -> None:
    block: Any = {"type": "tool_call", "id": "1", "name": "f", "args": {"image": b"raw"}}
    with pytest.raises(InvalidInputError, match=r"contentBlocks\[0\].args.image.*bytes"):
        encode_llm(LlmEntry("r", "m", 1, content_blocks=[block]))
    with pytest.raises(InvalidInputError, match=r"args.when.*object"):
        encode_tool(ToolEntry("r", "t", {"when": object()}, 1))


@pytest.mark.parametrize(
    "stored",
    [
        b"{broken",
        b"null",
        b"5",
        b'"text"',
        b"[1]",
        b"{}",
        b'{"response":null}',
        b"\xff\xfe",
        b'{"response":"\xff"}',
        b"[" * 100_000,
        b'{"response":"r","storedAt":' + b"9" * 5_000 + b"}",
    ],
    ids=range(11),
)
def test_what_is_no_entry_is_none_and_no_crash(stored: bytes) -> None:
    assert decode_llm(stored) is None
    assert decode_tool(stored) is None


def test_an_answer_whose_response_is_no_text_is_none() -> None:
    for response in (b"5", b'{"a":1}', b'["x"]', b"true"):
        assert decode_llm(b'{"response":' + response + b"}") is None
        assert decode_llm(b'{"response":' + response + b',"contentBlocks":[]}') is None
    assert decode_llm(b'{"response":null,"contentBlocks":[]}') == LlmEntry(None, "", None, content_blocks=[])


def test_strange_members_of_other_writers_are_left_out() -> None:
    entry = decode_llm(
        b'{"response":"ok","model":7,"storedAt":"soon","tokens":{"input":"many","output":2.0},"cost":"free",'
        b'"contentBlocks":{},"later":1}'
    )
    assert entry == LlmEntry("ok", "", None, tokens={"output": 2})
    assert decode_llm(b'{"response":"ok","cost":1e400,"tokens":[1]}') == LlmEntry("ok", "", None)
    assert decode_tool(b'{"response":"ok","cost":true}') == ToolEntry("ok", "", None, None)


def test_the_answer_for_a_caller_says_how_old_it_is_and_where_it_comes_from() -> None:
    entry = replace(RECORDED_LLM[list(RECORDED_LLM)[-1]], stored_at_ms=AT_MS)
    result = entry.result("k", "cache", AT_MS + 1_500)
    assert (result.hit, result.key, result.origin, result.age_seconds) == (True, "k", "cache", 1.5)
    assert (result.response, result.content_blocks) == ("Hello world", BLOCKS)
    assert (result.input_tokens, result.output_tokens) == (1, 1)
    assert entry.result("k", "call", AT_MS).hit is False
    assert entry.result("k", "cache", AT_MS - 9).age_seconds == 0


def test_the_text_of_blocks_is_that_of_the_text_blocks() -> None:
    assert text_of(BLOCKS) == "Hello world"
    assert text_of([]) == ""
