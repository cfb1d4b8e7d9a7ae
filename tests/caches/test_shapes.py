"""Requests of providers become the parameters that all languages make the same key of."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st
from openai import NOT_GIVEN, omit
from openai.types.chat import ChatCompletionMessage
from openai.types.responses import Response

from betterdb_agent_memory.caches.keys import KEY_PARAMETERS, llm_key
from betterdb_agent_memory.caches.references import (
    BinaryNormalizer,
    compose_normalizer,
    default_normalizer,
    hash_base64,
)
from betterdb_agent_memory.caches.shapes import (
    CanonicalRequest,
    anthropic,
    anthropic_request,
    cached_anthropic,
    cached_openai_chat,
    cached_openai_responses,
    langchain_request,
    llamaindex_request,
    openai_chat,
    openai_chat_request,
    openai_responses,
    openai_responses_request,
)
from betterdb_agent_memory.caches.shapes.reading import parsed_arguments, spelled_arguments
from betterdb_agent_memory.caches.shapes.wrapping import counts
from betterdb_agent_memory.errors import InvalidInputError
from tests.docs.pages import ROOT, table
from tests.docs.test_tables import default_text
from tests.interop.replay import FIXTURES

Shape = Callable[..., Awaitable[CanonicalRequest]]

VECTORS: list[dict[str, Any]] = json.loads((FIXTURES / "adapter_vectors.json").read_text())["vectors"]
SHAPES: dict[str, Shape] = {
    "openai_chat": openai_chat_request,
    "openai_responses": openai_responses_request,
    "anthropic": anthropic_request,
}
NORMALIZERS: dict[str | None, BinaryNormalizer] = {
    None: default_normalizer,
    "hash_base64": compose_normalizer({"base64": hash_base64}),
}
PYTHON_NAMES = {
    "toolChoice": "tool_choice",
    "responseFormat": "response_format",
    "reasoningEffort": "reasoning_effort",
    "promptCacheKey": "prompt_cache_key",
}

BLANKS_AND_HINTS = "published Python spells nested content sorted, with blanks and escapes, and adds the hint"
BLANKS = "published Python writes blanks into an output that is no text"
DISAGREEMENTS = {
    ("anthropic", "nested document content"): BLANKS_AND_HINTS,
    ("openai_responses", "items"): BLANKS,
}
"""Where both published packages differ, ours is TypeScript's."""

USER = {"role": "user", "content": "hi"}
CHAT = {"model": "m", "messages": [USER]}
RESPONSES = {"model": "m", "input": "hi"}
ANTHROPIC = {"model": "m", "max_tokens": 9, "messages": [USER]}
SMALLEST: dict[str, dict[str, Any]] = {"openai_chat": CHAT, "openai_responses": RESPONSES, "anthropic": ANTHROPIC}


def case_id(vector: Mapping[str, Any]) -> str:
    return f"{vector['adapter']}: {vector['label']}"


async def read(vector: Mapping[str, Any]) -> CanonicalRequest:
    # Published, what has no canonical form is dropped in silence.
    normalizer = NORMALIZERS[vector["options"].get("normalizer")]
    return await SHAPES[vector["adapter"]](vector["params"], normalizer=normalizer, unknown="leave_out")


def in_python_names(params: Mapping[str, Any]) -> dict[str, Any]:
    return {PYTHON_NAMES.get(name, name): value for name, value in params.items()}


@pytest.mark.parametrize("vector", VECTORS, ids=case_id)
async def test_every_recorded_request_becomes_the_recorded_parameters_and_key(vector: dict[str, Any]) -> None:
    request = await read(vector)
    assert request.params == in_python_names(vector["ts"]["params"])
    assert llm_key("demo", request.params).shared == f"demo:llm:{vector['ts']['hash']}"


@pytest.mark.parametrize("vector", VECTORS, ids=case_id)
async def test_every_disagreement_of_the_published_packages_has_its_reason(vector: dict[str, Any]) -> None:
    differ = vector["ts"]["hash"] != vector["python"]["hash"]
    reason = DISAGREEMENTS.get((vector["adapter"], vector["label"]))
    assert differ == (not vector["agree"]) == (reason is not None), reason
    theirs, ours = vector["python"]["params"], in_python_names(vector["ts"]["params"])
    if reason == BLANKS:
        text = {"type": "text", "text": '{"k": [1, 2]}'}
        assert text in theirs["messages"][4]["content"]
        theirs["messages"][4]["content"] = [{"type": "text", "text": '{"k":[1,2]}'}]
    elif reason == BLANKS_AND_HINTS:
        block = theirs["messages"][0]["content"][0]
        assert block.pop("hints") == {"anthropicCacheControl": {"type": "ephemeral"}}
        assert block["ref"].startswith("nested:sha256:")
        block["ref"] = ours["messages"][0]["content"][0]["ref"]
    assert theirs == ours, "the reason explains all of the difference"


async def test_what_published_drops_is_known_and_refused_unless_asked_for() -> None:
    by_label = {vector["label"]: vector for vector in VECTORS}
    for label, path in (("multimodal", "messages[0].content[8]"), ("all blocks", "messages[2].content[4]")):
        vector = by_label[label]
        assert (await read(vector)).left_out[path] == {"type": "unknown"}
        with pytest.raises(InvalidInputError) as raised:
            await SHAPES[vector["adapter"]](vector["params"])
        assert str(raised.value).startswith(f"{path}: the kind of content 'unknown' has no canonical form")
        assert "unknown='leave_out'" in str(raised.value)


async def test_what_the_shared_key_leaves_out_is_named_by_its_path() -> None:
    left_out = {vector["label"]: (await read(vector)).left_out for vector in VECTORS}
    assert left_out["text roles"].keys() == {
        *("frequency_penalty", "n", "max_completion_tokens", "reasoning_effort"),
        *("messages[1].content[1]", "messages[4].tool_calls[1]"),
    }
    assert left_out["all blocks"] == {
        "top_k": 5,
        "messages[2].content[4]": {"type": "unknown"},
        "messages[3].content[2].is_error": True,
    }
    assert left_out["items"].keys() == {"input[1].content[7]", "input[2].summary[1]"}
    for label in ("bad tool arguments", "stop list and nulls", "string input", "nested document content"):
        assert left_out[label] == {}, label


async def test_an_empty_list_is_kept_as_in_typescript() -> None:
    """It is true in JavaScript and false in Python: published Python drops the one and makes a text of the other."""
    result = {"type": "tool_result", "tool_use_id": "t", "content": []}
    request = await anthropic_request({**ANTHROPIC, "messages": [{"role": "user", "content": [result]}]})
    assert request.params["messages"] == [{"role": "tool", "toolCallId": "t", "content": []}]
    assert (await anthropic_request({**ANTHROPIC, "system": []})).params["messages"][0] == {
        "role": "system",
        "content": [],
    }
    assert len((await anthropic_request({**ANTHROPIC, "system": ""})).params["messages"]) == 1


async def test_a_developer_is_one_in_responses_and_the_system_in_a_chat() -> None:
    messages = [{"role": "developer", "content": "Be brief."}]
    chat = await openai_chat_request({"model": "m", "messages": messages})
    response = await openai_responses_request({"model": "m", "input": messages})
    assert chat.params["messages"] == [{"role": "system", "content": "Be brief."}]
    assert response.params["messages"] == messages


MATTERS = {
    "openai_chat": {
        "frequency_penalty": 0.5,
        "functions": [{"name": "f"}],
        "logit_bias": {"50256": -100},
        "logprobs": True,
        "max_completion_tokens": 9,
        "modalities": ["text", "audio"],
        "n": 2,
        "parallel_tool_calls": False,
        "prediction": {"type": "content", "content": "x"},
        "presence_penalty": 0.5,
        "reasoning_effort": "high",
        "top_k": 5,
        "verbosity": "low",
        "web_search_options": {"search_context_size": "low"},
        "what_comes_next_year": 1,
    },
    "openai_responses": {
        "include": ["reasoning.encrypted_content"],
        "max_tool_calls": 1,
        "parallel_tool_calls": False,
        "previous_response_id": "resp_1",
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "json_object"}},
        "truncation": "auto",
        "what_comes_next_year": 1,
    },
    "anthropic": {
        "container": "c",
        "output_config": {"effort": "low"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "top_k": 5,
        "what_comes_next_year": 1,
    },
}
DOES_NOT_MATTER: dict[str, dict[str, Any]] = {
    "openai_chat": {
        "user": "u",
        "store": True,
        "metadata": {"a": "b"},
        "service_tier": "flex",
        "stream": False,
        "n": 1,
        "frequency_penalty": 0,
        "logit_bias": {},
        "modalities": ["text"],
        "logprobs": None,
        "seed": None,
    },
    "openai_responses": {
        "user": "u",
        "store": False,
        "text": {"format": {"type": "text"}},
        "truncation": "disabled",
        "background": False,
        "include": [],
        "reasoning": None,
        "stream": None,
    },
    "anthropic": {
        "metadata": {"user_id": "u"},
        "service_tier": "auto",
        "stream": False,
        "thinking": {"type": "disabled"},
        "cache_control": {"type": "ephemeral"},
        "top_k": None,
    },
}


@pytest.mark.parametrize(
    ("shape", "name", "value"), [(shape, *item) for shape, members in MATTERS.items() for item in members.items()]
)
async def test_a_parameter_that_changes_the_answer_changes_the_complete_key_only(
    shape: str, name: str, value: Any
) -> None:
    plain = await SHAPES[shape](SMALLEST[shape])
    other = await SHAPES[shape]({**SMALLEST[shape], name: value})
    assert [path.partition(".")[0] for path in other.left_out] == [name]
    assert llm_key("x", other.complete, complete=True) != llm_key("x", plain.complete, complete=True)
    if name != "reasoning":  # its effort is in the shared key
        assert llm_key("x", other.params) == llm_key("x", plain.params)


@pytest.mark.parametrize("shape", SHAPES)
async def test_what_does_not_change_the_answer_changes_no_key(shape: str) -> None:
    plain = await SHAPES[shape](SMALLEST[shape])
    other = await SHAPES[shape]({**SMALLEST[shape], **DOES_NOT_MATTER[shape]})
    assert other == plain
    assert other.left_out == {}
    assert llm_key("x", other.complete, complete=True) == llm_key("x", plain.params)


@given(
    name=st.text(min_size=1).filter(lambda name: name not in {*CHAT, "role"}),
    value=st.one_of(st.integers(min_value=1), st.text(min_size=1), st.lists(st.text(), min_size=1)),
)
async def test_no_member_of_a_message_is_ever_lost(name: str, value: Any) -> None:
    message = {"role": "user", "content": "hi", name: value}
    try:
        request = await openai_chat_request({"model": "m", "messages": [message]})
    except InvalidInputError:
        assert name == "content"
        return
    taken = name in {"content", "name"}
    assert taken or request.left_out == {f"messages[0].{name}": value}


@pytest.mark.parametrize(
    ("shape", "request_", "begins"),
    [
        (
            "openai_chat",
            {**CHAT, "messages": [USER, {"role": "robot", "content": "x"}]},
            "messages[1]: the role 'robot'",
        ),
        (
            "openai_chat",
            {**CHAT, "messages": [{"role": "user", "content": [{"type": "video"}]}]},
            "messages[0].content[0]: the kind of content 'video'",
        ),
        (
            "openai_chat",
            {**CHAT, "messages": [{"role": "user", "content": [{}]}]},
            "messages[0].content[0]: the kind of content None",
        ),
        (
            "openai_chat",
            {**CHAT, "messages": [{"role": "user", "content": 5}]},
            "messages[0].content must be a list, got int 5",
        ),
        ("openai_chat", {**CHAT, "messages": ["hi"]}, "messages[0] must be a mapping, got str 'hi'"),
        (
            "openai_chat",
            {**CHAT, "messages": (m for m in [USER])},
            "messages must be what JSON can hold, a list where there are several, got generator",
        ),
        (
            "openai_chat",
            {**CHAT, "messages": [{"role": "tool", "content": "x"}]},
            "messages[0].tool_call_id must be a text, got nothing",
        ),
        (
            "openai_chat",
            {**CHAT, "messages": [{"role": "user", "content": b"x"}]},
            "messages[0].content must be what JSON can hold",
        ),
        ("openai_chat", {"messages": [USER]}, "model must be a text, got nothing"),
        ("openai_chat", [USER], "the request must be a mapping, got list"),
        (
            "openai_responses",
            {**RESPONSES, "input": [{"type": "web_search_call"}]},
            "input[0]: the type 'web_search_call'",
        ),
        ("openai_responses", {**RESPONSES, "input": [{"role": "robot", "content": "x"}]}, "input[0]: the role 'robot'"),
        (
            "openai_responses",
            {**RESPONSES, "input": [{"role": "user", "content": [{"type": "x"}]}]},
            "input[0].content[0]: the kind of content 'x'",
        ),
        ("anthropic", {**ANTHROPIC, "messages": [{"role": "robot", "content": "x"}]}, "messages[0]: the role 'robot'"),
        (
            "anthropic",
            {**ANTHROPIC, "messages": [{"role": "user", "content": [{"type": "server_tool_use"}]}]},
            "messages[0].content[0]: the kind of content 'server_tool_use'",
        ),
        (
            "anthropic",
            {**ANTHROPIC, "messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "x"}}]}]},
            "messages[0].content[0]: the kind of source 'x'",
        ),
    ],
)
async def test_what_cannot_be_read_is_an_error_that_begins_with_its_path(
    shape: str, request_: Any, begins: str
) -> None:
    with pytest.raises(InvalidInputError) as raised:
        await SHAPES[shape](request_)
    assert str(raised.value).startswith(begins)


async def test_unknown_must_be_one_of_two_words() -> None:
    with pytest.raises(InvalidInputError, match="unknown must be 'refuse' or 'leave_out', got 'drop'"):
        await openai_chat_request(CHAT, unknown="drop")  # type: ignore[arg-type]


async def test_an_openai_message_that_came_back_can_be_sent_on_as_it_is() -> None:
    message = ChatCompletionMessage.model_validate(
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "annotations": [],
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
        }
    )
    by_hand = {"role": "assistant", "tool_calls": message.model_dump()["tool_calls"]}
    from_object = await openai_chat_request({"model": "m", "messages": [USER, message]})
    assert from_object == await openai_chat_request({"model": "m", "messages": [USER, by_hand]})
    assert from_object.left_out == {}


async def test_the_output_of_a_response_can_be_the_input_of_the_next() -> None:
    response = Response.model_validate(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "model": "m",
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "output": [
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"},
                {
                    "type": "message",
                    "id": "msg_1",
                    "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": "yes", "annotations": []}],
                },
            ],
        }
    )
    request = await openai_responses_request({"model": "m", "input": [USER, *response.output]})
    assert request.params["messages"][1:] == [
        {"role": "assistant", "content": [{"type": "reasoning", "text": "", "opaqueSignature": "sealed"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
    ]
    assert request.left_out == {}


async def test_a_thought_that_only_the_service_knows_is_told_apart_by_its_id() -> None:
    items: list[dict[str, Any]] = [{"type": "reasoning", "id": id, "summary": []} for id in ("rs_1", "rs_2")]
    one, other = [await openai_responses_request({"model": "m", "input": [item]}) for item in items]
    assert one.params == other.params
    assert one.left_out == {"input[0].id": "rs_1"}
    assert llm_key("x", one.complete, complete=True) != llm_key("x", other.complete, complete=True)


async def test_the_content_of_an_anthropic_message_can_be_sent_on_as_it_is() -> None:
    message = Message.model_validate(
        {
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 1, "output_tokens": 1},
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "ok", "citations": None},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}},
            ],
        }
    )
    request = await anthropic_request(
        {**ANTHROPIC, "messages": [USER, {"role": "assistant", "content": message.content}]}
    )
    assert request.params["messages"][1]["content"] == [
        {"type": "reasoning", "text": "hm", "opaqueSignature": "s"},
        {"type": "text", "text": "ok"},
        {"type": "tool_call", "id": "t1", "name": "f", "args": {"a": 1}},
    ]
    assert request.left_out == {}


async def test_arguments_that_an_sdk_marks_as_not_given_are_not_there() -> None:
    request = await openai_chat_request({**CHAT, "temperature": NOT_GIVEN, "top_p": omit, "n": omit})
    assert request == await openai_chat_request(CHAT)


async def test_binary_content_goes_through_the_normalizer() -> None:
    async def normalizer(reference: Any) -> str:
        return f"{reference['kind']} from {reference['source']['type']}"

    content = [
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}},
    ]
    request = await anthropic_request(
        {**ANTHROPIC, "messages": [{"role": "user", "content": content}]}, normalizer=normalizer
    )
    refs = [block["ref"] for block in request.params["messages"][0]["content"]]  # type: ignore[index, typeddict-item]
    assert refs == ["image from file_id", "document from base64"]


async def test_an_output_that_is_no_text_is_spelled_as_javascript_does() -> None:
    output = {"b": [1.0, 1e21, None], "a": "é\u2028", "10": True, "9": {}}
    item = {"type": "function_call_output", "call_id": "c", "output": output}
    request = await openai_responses_request({"model": "m", "input": [item]})
    text = '{"9":{},"10":true,"b":[1,1e+21,null],"a":"é\u2028"}'
    assert request.params["messages"] == [
        {"role": "tool", "toolCallId": "c", "content": [{"type": "text", "text": text}]}
    ]


@pytest.mark.parametrize(
    "case", json.loads((FIXTURES / "function_vectors.json").read_text())["parse_tool_call_args"], ids=repr
)
def test_arguments_of_tool_calls_are_parsed_as_published(case: dict[str, Any]) -> None:
    assert parsed_arguments(case["input"]) == case["ts"]


@pytest.mark.parametrize("text", ["NaN", '{"a": Infinity}', "[" * 100_000])
def test_what_javascript_does_not_parse_is_kept_as_text(text: str) -> None:
    assert parsed_arguments(text) == {"__raw": text}


@given(
    st.dictionaries(st.text(), st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()))
)
def test_arguments_survive_being_parsed_and_spelled_again(arguments: dict[str, Any]) -> None:
    assert parsed_arguments(spelled_arguments(arguments)) == arguments


def test_arguments_that_are_no_json_survive_too() -> None:
    assert spelled_arguments(parsed_arguments("{oops")) == "{oops"


@pytest.mark.parametrize("count", [None, True, "1", -1, 0.5, float("nan"), float("inf"), 2**53 + 1, [1], {}])
def test_what_is_no_count_of_tokens_is_none(count: object) -> None:
    assert counts({"read": 0, "written": 2**53}, "read", "written") == {"input": 0, "output": 2**53}
    assert counts({"read": count, "written": 1}, "read", "written") is None
    assert counts({"read": 1, "written": count}, "read", "written") is None
    assert counts([count], "read", "written") is None


JAVASCRIPT_SETTINGS = '_model:"base_chat_model",_type:"openai",model_name:"gpt-4o-mini",temperature:0.5'
PYTHON_SETTINGS = '{"id": ["ChatOpenAI"], "kwargs": {"model_name": "gpt-4o", "temperature": 0.5}}---[(\'stop\', None)]'


@pytest.mark.parametrize(
    ("settings", "model", "left_out"),
    [
        (JAVASCRIPT_SETTINGS, "gpt-4o-mini", True),
        ('{"model_name":"gpt-4o","model":"x"}', "gpt-4o", True),
        ('{"model":"gpt-4o"}', "gpt-4o", True),
        ('{"other":1}', '{"other":1}', False),
        ("[1]", "[1]", False),
        (PYTHON_SETTINGS, PYTHON_SETTINGS, False),
    ],
)
def test_langchain_settings_name_the_model_and_the_rest_is_left_out(settings: str, model: str, left_out: bool) -> None:
    request = langchain_request("Human: hi", settings)
    assert request.params == {"model": model, "messages": [{"role": "user", "content": "Human: hi"}]}
    assert request.left_out == ({"llm_string": settings} if left_out else {})


def test_langchain_temperatures_are_told_apart_by_the_complete_key() -> None:
    """F37: the TypeScript package gives one key to all temperatures."""
    one, other = (langchain_request("p", JAVASCRIPT_SETTINGS.replace("0.5", text)) for text in ("0.5", "0.9"))
    assert llm_key("x", one.params) == llm_key("x", other.params)
    assert llm_key("x", one.complete, complete=True) != llm_key("x", other.complete, complete=True)


def test_langchain_arguments_must_be_texts() -> None:
    with pytest.raises(InvalidInputError, match="llm_string must be a text, got 5"):
        langchain_request("p", 5)  # type: ignore[arg-type]


LLAMAINDEX = [
    {"role": "memory", "content": "m"},
    {"role": "developer", "content": "d"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            {"type": "file", "data": "JVBERg==", "mime_type": "application/pdf"},
            {"type": "audio", "data": "AAAA"},
            {"type": "image", "data": "aGk="},
        ],
    },
    {
        "role": "assistant",
        "content": "",
        "options": {
            "tool_call": [
                {"id": "c1", "name": "f", "input": '{"a":1}'},
                {"id": "c2", "name": "g", "input": "{oops"},
                {"id": "c3", "name": "h", "input": {"x": [1]}},
            ]
        },
    },
    {"role": "user", "content": "", "options": {"tool_result": {"id": "c1", "result": "r"}}},
    {"role": "user"},
]
LLAMAINDEX_CANONICAL = [
    {"role": "system", "content": [{"type": "text", "text": "m"}]},
    {"role": "system", "content": [{"type": "text", "text": "d"}]},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "look"},
            {
                "type": "binary",
                "kind": "image",
                "mediaType": "image/png",
                "ref": "base64:data:image/png;base64,aGk=",
            },
            {"type": "binary", "kind": "document", "mediaType": "application/pdf", "ref": "base64:JVBERg=="},
            {"type": "binary", "kind": "audio", "mediaType": "audio/*", "ref": "base64:AAAA"},
            {"type": "binary", "kind": "image", "mediaType": "image/*", "ref": "base64:aGk="},
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "tool_call", "id": "c1", "name": "f", "args": {"a": 1}},
            {"type": "tool_call", "id": "c2", "name": "g", "args": {"__raw": "{oops"}},
            {"type": "tool_call", "id": "c3", "name": "h", "args": {"x": [1]}},
        ],
    },
    {"role": "tool", "toolCallId": "c1", "content": [{"type": "text", "text": "r"}]},
    {"role": "user", "content": []},
]
"""What the published Python package 0.12.0 gave for the same messages when it was run."""


async def test_llamaindex_messages_become_what_the_published_package_makes_of_them() -> None:
    tools = [{"metadata": {"name": "f", "description": "d", "parameters": {"type": "object"}}}, {"name": "g"}]
    request = await llamaindex_request(LLAMAINDEX, model="m", temperature=0.5, top_p=0.9, max_tokens=7, tools=tools)
    assert request.params == {
        "model": "m",
        "messages": LLAMAINDEX_CANONICAL,
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 7,
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "g"}},
        ],
    }
    assert request.left_out == {}


async def test_llamaindex_names_in_camel_case_are_the_same_messages() -> None:
    spelled = json.dumps(LLAMAINDEX)
    for theirs, camel in (("tool_call", "toolCall"), ("tool_result", "toolResult"), ("mime_type", "mimeType")):
        spelled = spelled.replace(theirs, camel)
    assert (await llamaindex_request(json.loads(spelled), model="m")).params["messages"] == LLAMAINDEX_CANONICAL


async def test_llamaindex_blocks_of_its_python_library_are_read_too() -> None:
    """As `ChatMessage.model_dump(mode="json")` of llama-index-core 0.14 gives them."""
    blocks = [
        {"block_type": "text", "text": "look"},
        {
            "block_type": "image",
            "image": "aGk=",
            "path": None,
            "url": None,
            "image_mimetype": "image/png",
            "detail": "low",
        },
        {"block_type": "document", "data": None, "url": "https://e.com/d.pdf", "title": "t", "document_mimetype": None},
        {"block_type": "tool_call", "tool_call_id": "c1", "tool_name": "f", "tool_kwargs": {"a": 1}},
    ]
    message = {"role": "user", "additional_kwargs": {}, "blocks": blocks}
    request = await llamaindex_request([message], model="m")
    assert request.params["messages"][0]["content"] == [
        {"type": "text", "text": "look"},
        {"type": "binary", "kind": "image", "mediaType": "image/png", "ref": "base64:aGk="},
        {
            "type": "binary",
            "kind": "document",
            "mediaType": "application/octet-stream",
            "ref": "url:https://e.com/d.pdf",
        },
        {"type": "tool_call", "id": "c1", "name": "f", "args": {"a": 1}},
    ]
    assert request.left_out == {"messages[0].blocks[1].detail": "low", "messages[0].blocks[2].title": "t"}


@pytest.mark.parametrize(
    ("messages", "begins"),
    [
        ([{"role": "robot", "content": "x"}], "messages[0]: the role 'robot'"),
        ([{"content": [{"type": "x"}]}], "messages[0].content[0]: the kind of content 'x'"),
        ("hi", "messages must be a list of messages, got str"),
        ([{"options": {"toolResult": {"result": "r"}}}], "messages[0].options.toolResult.id must be a text"),
    ],
)
async def test_llamaindex_messages_that_cannot_be_read_are_named(messages: Any, begins: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        await llamaindex_request(messages, model="m")
    assert str(raised.value).startswith(begins)


async def test_of_llamaindex_tools_only_the_metadata_enters() -> None:
    class Told:
        name = "f"
        description = "d"

        def get_parameters_dict(self) -> dict[str, Any]:
            return {"type": "object"}

    class Tool:
        metadata = Told()

    request = await llamaindex_request([], model="m", tools=[Tool()])
    assert request.params["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
    ]
    with pytest.raises(InvalidInputError, match=r"tools\[0\] has no metadata with a name"):
        await llamaindex_request([], model="m", tools=[object()])


PAGE = ROOT / "docs" / "request-shapes.md"


def test_the_page_names_the_parameters_of_the_shared_key() -> None:
    rows = table(PAGE, "shared parameters")
    assert sorted(row[3] for row in rows) == sorted({*KEY_PARAMETERS} - {"messages"})
    copied = [openai_chat.COPIED | {"stop": "stop"}, openai_responses.COPIED, anthropic.COPIED]
    copied[1] = copied[1] | {"reasoning.effort": "reasoning_effort"}
    for column, names in enumerate(copied):
        documented = {row[column]: row[3] for row in rows if row[column] and row[column] != "model"}
        assert documented == names


def test_the_page_names_the_arguments_of_all_wrappers() -> None:
    documented = {row[0]: row[1] for row in table(PAGE, "signature cached_openai_chat")}
    for wrapper in (cached_openai_chat, cached_openai_responses, cached_anthropic):
        parameters = inspect.signature(wrapper).parameters.values()
        assert documented == {parameter.name: default_text(parameter.default) for parameter in parameters}
