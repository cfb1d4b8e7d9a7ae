"""The cache around real clients: the SDKs of OpenAI and Anthropic, talking to a server on this machine."""

from __future__ import annotations

import asyncio
import functools
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from copy import deepcopy
from typing import Any, cast
from uuid import uuid4

import anthropic
import hypothesis
import openai
import pytest
from anthropic.types import Message
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from betterdb_agent_memory.caches.deferred import DeferredWrites
from betterdb_agent_memory.caches.keys import llm_key
from betterdb_agent_memory.caches.llm import LlmCache
from betterdb_agent_memory.caches.pricing import Prices
from betterdb_agent_memory.caches.shapes import (
    cached_anthropic,
    cached_openai_chat,
    cached_openai_responses,
    is_cached,
    openai_chat_request,
)
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError
from tests.caches.provider_server import ProviderServer

USER = {"role": "user", "content": "What is the weather in Oslo?"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}

CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1750000000,
    "model": "gpt-4o-2024-08-06",
    "system_fingerprint": "fp_1",
    "service_tier": "default",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": None,
            "message": {"role": "assistant", "content": "Sunny — 21 °C.", "refusal": None, "annotations": []},
        }
    ],
    "usage": {
        "prompt_tokens": 12,
        "completion_tokens": 7,
        "total_tokens": 19,
        "prompt_tokens_details": {"cached_tokens": 4},
    },
}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Oslo", "days": 1.0}'},
}
ITEMS: list[dict[str, Any]] = [
    {"type": "reasoning", "id": "rs_0", "summary": []},
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Look it up."}],
        "encrypted_content": "sealed",
    },
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "phase": "final_answer",
        "content": [{"type": "output_text", "text": "Sunny.", "annotations": [], "logprobs": []}],
    },
    {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "weather",
        "arguments": '{"city": "Oslo"}',
        "status": "completed",
    },
]
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1750000000,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "gpt-5-2025-08-07",
    "output": ITEMS,
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 19,
    },
}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [
        {"type": "thinking", "thinking": "Look it up.", "signature": "sealed"},
        {"type": "redacted_thinking", "data": "hidden"},
        {"type": "text", "text": "I look.", "citations": None},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo", "none": None, "list": []}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 12, "output_tokens": 7, "cache_read_input_tokens": 4},
}


def chat(**message: Any) -> dict[str, Any]:
    """A chat completion with other members in its message."""
    answer = deepcopy(CHAT)
    answer["choices"][0]["message"] |= message
    return answer


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as server:
        yield server


@pytest.fixture
async def llm(engine: Engine, store_name: str) -> AsyncIterator[LlmCache]:
    watch = CacheWatch(store_name)
    deferred = DeferredWrites(engine.values, f"{store_name}:__stats", on_failure=lambda: None)
    made = LlmCache(
        store_name,
        engine=engine,
        watch=watch,
        deferred=deferred,
        ttl_seconds=None,
        prices=Prices(),
        clock=system_clock,
    )
    try:
        yield made
    finally:
        await made.close()
        await deferred.close()


@pytest.fixture
async def client(server: ProviderServer) -> AsyncIterator[openai.AsyncOpenAI]:
    # A server of ours has no certificate, and to load those of the system takes longer than a test.
    http = openai.DefaultAsyncHttpxClient(verify=False)
    async with openai.AsyncOpenAI(api_key="none", base_url=server.url, max_retries=0, http_client=http) as client:
        yield client


@pytest.fixture
async def claude(server: ProviderServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    http = anthropic.DefaultAsyncHttpxClient(verify=False)
    async with anthropic.AsyncAnthropic(api_key="none", base_url=server.url, max_retries=0, http_client=http) as client:
        yield client


async def stored(engine: Engine, key: str) -> dict[str, Any]:
    raw = await engine.values.get(key)
    assert raw is not None
    entry: dict[str, Any] = json.loads(raw)
    return entry


async def test_a_second_chat_completion_comes_from_the_cache(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache, engine: Engine, store_name: str
) -> None:
    server.answer = CHAT
    create = cached_openai_chat(llm, client.chat.completions.create)
    arguments: dict[str, Any] = {"model": "gpt-4o", "messages": [USER], "temperature": 0}
    first = await create(**arguments)
    again = await create(**arguments)
    assert len(server.requests) == 1
    assert isinstance(first, ChatCompletion)
    assert isinstance(again, ChatCompletion)
    assert (is_cached(first), is_cached(again)) == (False, True)
    assert again.choices[0].message.content == "Sunny — 21 °C."
    assert again.choices[0].finish_reason == "stop"
    assert again.usage is not None
    assert (again.usage.prompt_tokens, again.usage.completion_tokens, again.usage.total_tokens) == (12, 7, 19)
    # What other languages read: the shared key, and the members that they know.
    request = await openai_chat_request(arguments)
    entry = await stored(engine, llm_key(store_name, request.params).shared)
    assert entry.pop("storedAt") > 1750000000000
    assert entry.pop("cost", 1) > 0
    assert entry == {"response": "Sunny — 21 °C.", "model": "gpt-4o", "tokens": {"input": 12, "output": 7}}


async def test_what_a_cached_chat_completion_lost(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    server.answer = chat(content=None, tool_calls=[CALL])
    server.answer["choices"][0]["finish_reason"] = "tool_calls"
    create = cached_openai_chat(llm, client.chat.completions.create)
    first, again = [await create(model="gpt-4o", messages=[USER], tools=[TOOL]) for _ in range(2)]  # type: ignore[list-item]
    assert len(server.requests) == 1
    before: dict[str, Any] = first.to_dict()
    after: dict[str, Any] = again.to_dict()
    lost = {name for name in before if before[name] != after.get(name)}
    assert lost == {"id", "created", "model", "system_fingerprint", "service_tier", "choices", "usage"}
    assert before["usage"] == {**after["usage"], "prompt_tokens_details": {"cached_tokens": 4}}
    call = after["choices"][0]["message"]["tool_calls"][0]
    assert call["function"].pop("arguments") == '{"city":"Oslo","days":1}', "the same values, spelled anew"
    assert call == {"id": "call_1", "type": "function", "function": {"name": "weather"}}
    assert after["choices"][0]["finish_reason"] == "tool_calls"
    assert again.model == "gpt-4o", "the name that was asked for"


async def test_a_response_keeps_its_items_but_their_ids(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    server.answer = RESPONSE
    create = cached_openai_responses(llm, client.responses.create)
    first, again = [
        await create(model="gpt-5", input="Weather?", instructions="Be brief.", reasoning={"effort": "low"})
        for _ in range(2)
    ]
    assert len(server.requests) == 1
    assert isinstance(first, Response)
    assert isinstance(again, Response)
    assert is_cached(again)
    assert again.output_text == first.output_text == "Sunny."
    assert [item.type for item in again.output] == ["reasoning", "message", "function_call"], (
        "the empty thought is gone"
    )
    thought, _, call = [item.to_dict() for item in again.output]
    assert thought["summary"] == [{"type": "summary_text", "text": "Look it up."}]
    assert thought["encrypted_content"] == "sealed"
    assert (call["call_id"], json.loads(str(call["arguments"])), call.get("id")) == ("call_1", {"city": "Oslo"}, None)
    assert (again.status, again.instructions, again.model) == ("completed", "Be brief.", "gpt-5")
    assert again.usage is not None
    assert again.usage.total_tokens == 19


async def test_a_message_keeps_its_thoughts_and_their_signatures(
    server: ProviderServer, claude: anthropic.AsyncAnthropic, llm: LlmCache
) -> None:
    server.answer = MESSAGE
    create = cached_anthropic(llm, claude.messages.create)
    first, again = [
        await create(model="claude", max_tokens=99, messages=[USER], stop_sequences=["END"])  # type: ignore[list-item]
        for _ in range(2)
    ]
    assert len(server.requests) == 1
    assert isinstance(first, Message)
    assert isinstance(again, Message)
    assert is_cached(again)
    assert not is_cached(first)
    assert again.to_dict()["content"] == first.to_dict(exclude_none=True)["content"]
    assert (again.stop_reason, again.stop_sequence) == ("tool_use", None)
    assert (again.usage.input_tokens, again.usage.output_tokens) == (12, 7)


async def test_an_answer_from_the_cache_can_be_part_of_the_next_request(
    server: ProviderServer, client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, llm: LlmCache
) -> None:
    server.answer = chat(content="Sunny.", tool_calls=[CALL])
    talk: Any = cached_openai_chat(llm, client.chat.completions.create)
    for _ in range(2):
        answer = await talk(model="gpt-4o", messages=[USER])
        result = {"role": "tool", "tool_call_id": "call_1", "content": "21"}
        await talk(model="gpt-4o", messages=[USER, answer.choices[0].message, result])
    assert len(server.requests) == 2
    server.answer = MESSAGE
    talk = cached_anthropic(llm, claude.messages.create)
    for _ in range(2):
        answer = await talk(model="claude", max_tokens=9, messages=[USER])
        assistant = {"role": "assistant", "content": answer.content}
        await talk(model="claude", max_tokens=9, messages=[USER, assistant, USER])
    assert len(server.requests) == 4
    server.answer = RESPONSE
    talk = cached_openai_responses(llm, client.responses.create)
    given = [USER, *(await talk(model="gpt-5", input=[USER])).output, USER]
    await talk(model="gpt-5", input=given)
    cached = await talk(model="gpt-5", input=[USER])
    assert is_cached(cached)
    await talk(model="gpt-5", input=[USER, *cached.output, USER])
    assert len(server.requests) == 7
    sent = server.requests[-1]["input"]
    assert [item.get("type") for item in sent][-4:-1] == ["reasoning", "message", "function_call"]


async def test_an_entry_of_another_language_is_a_hit(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache, engine: Engine, store_name: str
) -> None:
    request = await openai_chat_request({"model": "gpt-4o", "messages": [USER]})
    key = llm_key(store_name, request.params).shared
    create: Any = cached_openai_chat(llm, client.chat.completions.create)
    await engine.values.set(key, b'{"response":"Rain.","model":"gpt-4o","storedAt":1750000000000}')
    answer = await create(model="gpt-4o", messages=[USER])
    assert (answer.choices[0].message.content, answer.created, answer.usage) == ("Rain.", 1750000000, None)
    assert server.requests == []


async def test_an_entry_that_is_no_answer_of_a_model_is_asked_for_anew(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    server.answer = CHAT
    request = await openai_chat_request({"model": "gpt-4o", "messages": [USER]})
    create: Any = cached_openai_chat(llm, client.chat.completions.create)
    block: Any = {"type": "tool_result", "toolCallId": "c", "content": []}
    await llm.store_multipart(request.params, [block])
    assert not is_cached(await create(model="gpt-4o", messages=[USER]))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "entry",
    [
        {"response": 5},
        {"contentBlocks": ["Rain."]},
        {"contentBlocks": [{"type": "text", "text": None}]},
        {"contentBlocks": [{"type": ["text"], "text": "x"}]},
        {"contentBlocks": [{"type": "tool_call", "id": 7, "name": "f", "args": {}}]},
        {"contentBlocks": [{"type": "tool_call", "id": "c", "name": "f"}]},
        {"contentBlocks": [{"type": "reasoning", "text": "x", "opaqueSignature": 5}]},
    ],
    ids=str,
)
async def test_an_entry_that_another_writer_spoiled_is_asked_for_anew(
    entry: dict[str, Any],
    server: ProviderServer,
    client: openai.AsyncOpenAI,
    llm: LlmCache,
    engine: Engine,
    store_name: str,
) -> None:
    server.answer = CHAT
    request = await openai_chat_request({"model": "gpt-4o", "messages": [USER]})
    spoiled = json.dumps({"model": "gpt-4o", "storedAt": 1750000000000, **entry})
    await engine.values.set(llm_key(store_name, request.params).shared, spoiled.encode())
    create: Any = cached_openai_chat(llm, client.chat.completions.create)
    assert (await create(model="gpt-4o", messages=[USER])).id == "chatcmpl-1"


async def test_what_the_shared_key_leaves_out_never_shares_an_answer(
    server: ProviderServer, client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, llm: LlmCache
) -> None:
    server.answer = CHAT
    create: Any = cached_openai_chat(llm, client.chat.completions.create)
    for settings in (
        {},
        {"max_completion_tokens": 5},
        {"max_completion_tokens": 6},
        {"logit_bias": {"1": 5}},
        {"extra_body": {"top_k": 4}},
        {"extra_body": {"top_k": 5}},
        {"extra_headers": {"x-mode": "a"}},
    ):
        before = len(server.requests)
        assert not is_cached(await create(model="gpt-4o", messages=[USER], **settings))
        assert is_cached(await create(model="gpt-4o", messages=[USER], **settings)), settings
        assert len(server.requests) == before + 1
    server.answer = MESSAGE
    talk: Any = cached_anthropic(llm, claude.messages.create)
    for budget in (1024, 2048):
        thinking = {"type": "enabled", "budget_tokens": budget}
        assert not is_cached(await talk(model="c", max_tokens=9, messages=[USER], thinking=thinking))


async def test_a_part_that_has_no_canonical_form_takes_part_in_the_key(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    server.answer = CHAT
    create: Any = cached_openai_chat(llm, client.chat.completions.create)
    for number in (1, 2, 1):
        part = {"type": "input_video", "input_video": {"number": number}}
        await create(model="gpt-4o", messages=[{"role": "user", "content": [part]}])
    assert len(server.requests) == 2


async def test_what_a_caller_ignores_is_shared_again(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    server.answer = CHAT
    create: Any = cached_openai_chat(
        llm, client.chat.completions.create, ignoring=("extra_headers", "max_completion_tokens")
    )
    for number in range(3):
        headers = {"x-request": str(number)}
        await create(model="gpt-4o", messages=[USER], extra_headers=headers, max_completion_tokens=number + 1)
    assert len(server.requests) == 1
    assert is_cached(await cached_openai_chat(llm, client.chat.completions.create)(model="gpt-4o", messages=[USER]))  # type: ignore[list-item]


NOT_KEPT = {
    "cut short": {**CHAT, "choices": [{**CHAT["choices"][0], "finish_reason": "length"}]},
    "filtered": {**CHAT, "choices": [{**CHAT["choices"][0], "finish_reason": "content_filter"}]},
    "refused": chat(content=None, refusal="No."),
    "with sources": chat(annotations=[{"type": "url_citation", "url_citation": {"url": "https://e.com"}}]),
    "spoken": chat(audio={"id": "audio_1", "data": "AAAA", "expires_at": 1, "transcript": "Sunny."}),
    "custom tool": chat(tool_calls=[{"id": "c", "type": "custom", "custom": {"name": "x", "input": "y"}}]),
    "without a choice": {**CHAT, "choices": []},
    "what comes next year": chat(mood="sunny"),
    "with a number beyond all bounds": chat(
        tool_calls=[{**CALL, "function": {"name": "f", "arguments": json.dumps({"n": 10**2000})}}]
    ),
}


@pytest.mark.parametrize("answer", NOT_KEPT.values(), ids=NOT_KEPT)
async def test_a_chat_completion_that_would_come_back_as_less_is_not_kept(
    answer: dict[str, Any], server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    server.answer = answer
    create: Any = cached_openai_chat(llm, client.chat.completions.create)
    for _ in range(2):
        response = await create(model="gpt-4o", messages=[USER])
        assert response.to_dict() == answer
    assert len(server.requests) == 2


async def test_answers_that_other_services_and_demanded_tools_give_are_kept(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    demanded = chat(content="", tool_calls=[{**CALL, "index": 0}])  # finish_reason stays "stop"
    thinking = {**chat(reasoning_content="Look it up."), "provider": "somebody"}
    unparsable = chat(tool_calls=[{**CALL, "function": {"name": "weather", "arguments": "{oops"}}])
    create: Any = cached_openai_chat(llm, client.chat.completions.create)
    for seed, answer in enumerate((demanded, thinking, unparsable)):
        server.answer = answer
        _, again = [await create(model="m", messages=[USER], seed=seed) for _ in range(2)]
        assert is_cached(again)
        message = answer["choices"][0]["message"]
        cached = again.to_dict()["choices"][0]["message"]
        assert cached["content"] == message["content"]
        assert cached.get("reasoning_content") == message.get("reasoning_content")
    assert again.choices[0].message.tool_calls[0].function.arguments == "{oops"


@pytest.mark.parametrize(
    "change",
    [
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        {"status": "failed", "error": {"code": "server_error", "message": "x"}, "output": []},
        {"output": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}, *ITEMS]},
        {"output": [ITEMS[2], {**ITEMS[2], "id": "msg_2"}]},
        {"output": [{**ITEMS[2], "phase": "commentary"}]},
        {"output": [{**ITEMS[2], "content": [{"type": "refusal", "refusal": "No."}]}]},
        {"output": [{**ITEMS[1], "content": [{"type": "reasoning_text", "text": "x"}]}, ITEMS[2]]},
    ],
)
async def test_a_response_that_would_come_back_as_less_is_not_kept(
    change: dict[str, Any], server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    server.answer = {**RESPONSE, **change}
    create: Any = cached_openai_responses(llm, client.responses.create)
    for _ in range(2):
        assert not is_cached(await create(model="gpt-5", input="x"))
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"stop_reason": "max_tokens"},
        {"stop_reason": "stop_sequence", "stop_sequence": "END"},
        {"stop_reason": "refusal"},
        {"content": []},
        {"content": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}]},
        {"content": [{"type": "text", "text": "x", "citations": [{"type": "char_location", "cited_text": "y"}]}]},
    ],
)
async def test_a_message_that_would_come_back_as_less_is_not_kept(
    change: dict[str, Any], server: ProviderServer, claude: anthropic.AsyncAnthropic, llm: LlmCache
) -> None:
    server.answer = {**MESSAGE, **change}
    create: Any = cached_anthropic(llm, claude.messages.create)
    for _ in range(2):
        assert not is_cached(await create(model="c", max_tokens=9, messages=[USER]))
    assert len(server.requests) == 2


USAGES: list[Any] = [
    {"total_tokens": 19},
    {"prompt_tokens": 12, "completion_tokens": None, "input_tokens": 12, "output_tokens": None},
    {"prompt_tokens": -1, "completion_tokens": 7, "input_tokens": -1, "output_tokens": 7},
    {"prompt_tokens": 5.5, "completion_tokens": 7, "input_tokens": 5.5, "output_tokens": 7},
    {"prompt_tokens": "12", "completion_tokens": 7, "input_tokens": "12", "output_tokens": 7},
    {"prompt_tokens": 10**400, "completion_tokens": 7, "input_tokens": 10**400, "output_tokens": 7},
    {"prompt_tokens": float("inf"), "completion_tokens": 7, "input_tokens": float("nan"), "output_tokens": 7},
    {},
    [],
    [12, 7],
    "19 tokens",
]


@pytest.mark.parametrize("usage", USAGES, ids=lambda usage: str(usage)[:60])
async def test_an_answer_whose_tokens_cannot_be_read_is_kept_without_them(
    usage: Any, server: ProviderServer, client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, llm: LlmCache
) -> None:
    asks: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
        (cached_openai_chat(llm, client.chat.completions.create), CHAT, {"messages": [USER]}),
        (cached_openai_responses(llm, client.responses.create), RESPONSE, {"input": "x"}),
        (cached_anthropic(llm, claude.messages.create), MESSAGE, {"max_tokens": 9, "messages": [USER]}),
    ]
    for number, (create, answer, request) in enumerate(asks):
        server.answer = {**answer, "usage": usage}
        first, again = [await create(model=f"gpt-4o-{number}", **request) for _ in range(2)]
        assert (is_cached(first), is_cached(again)) == (False, True)
        assert first.id == answer["id"]
        assert number == 2 or again.usage is None
    assert (again.usage.input_tokens, again.usage.output_tokens) == (0, 0)


async def test_counts_that_are_whole_numbers_are_kept_however_they_are_spelled(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    server.answer = {**CHAT, "usage": {"prompt_tokens": 12.0, "completion_tokens": 0}}
    create: Any = cached_openai_chat(llm, client.chat.completions.create)
    _, again = [await create(model="gpt-4o", messages=[USER]) for _ in range(2)]
    assert (again.usage.prompt_tokens, again.usage.completion_tokens) == (12, 0)


def calling(**call: Any) -> dict[str, Any]:
    """A chat completion that asks for one tool, spelled in another way."""
    return chat(tool_calls=[{**CALL, **call}])


UNREADABLE: list[tuple[str, dict[str, Any]]] = [
    ("chat", calling(function={"name": "f", "arguments": None})),
    ("chat", calling(function={"name": "f", "arguments": {"city": "Oslo"}})),
    ("chat", calling(function={"name": "f", "arguments": {}})),
    ("chat", calling(function={"name": "f"})),
    ("chat", calling(function=None)),
    ("chat", calling(id=None)),
    ("chat", calling(id=7)),
    ("chat", calling(function={"name": "f", "arguments": f"{'[' * 126}{']' * 126}"})),
    ("chat", chat(reasoning_content=["Look it up."])),
    ("chat", chat(content=[{"type": "text", "text": "Sunny."}])),
    ("chat", {**CHAT, "choices": None}),
    ("chat", {**CHAT, "choices": {"0": "Sunny."}}),
    ("chat", {**CHAT, "choices": [{**CHAT["choices"][0], "message": None}]}),
    ("chat", {**CHAT, "choices": ["Sunny."]}),
    ("responses", {**RESPONSE, "output": "Sunny."}),
    ("responses", {**RESPONSE, "output": [{**ITEMS[2], "content": None}]}),
    ("responses", {**RESPONSE, "output": [{**ITEMS[2], "content": [{"type": "output_text"}]}]}),
    ("responses", {**RESPONSE, "output": [{**ITEMS[2], "content": [{"type": "output_text", "text": 21}]}]}),
    ("responses", {**RESPONSE, "output": [{**ITEMS[3], "arguments": {"city": "Oslo"}}]}),
    ("responses", {**RESPONSE, "output": [{**ITEMS[3], "call_id": None}]}),
    ("responses", {**RESPONSE, "output": [{**ITEMS[1], "encrypted_content": [1]}, ITEMS[2]]}),
    ("messages", {**MESSAGE, "content": [{"type": "thinking", "thinking": "Look."}, MESSAGE["content"][2]]}),
    ("messages", {**MESSAGE, "content": [{"type": "thinking", "thinking": "Look.", "signature": 5}]}),
    ("messages", {**MESSAGE, "content": [{"type": "text", "text": None}]}),
    ("messages", {**MESSAGE, "content": [{"type": "text", "text": 21}], "stop_reason": "end_turn"}),
    ("messages", {**MESSAGE, "content": [{"type": "tool_use", "id": "t", "name": "f"}]}),
    ("messages", {**MESSAGE, "content": "Sunny."}),
]


@pytest.mark.parametrize(("api", "answer"), UNREADABLE, ids=lambda value: value if isinstance(value, str) else None)
async def test_an_answer_that_cannot_be_read_is_handed_out_and_not_kept(
    api: str,
    answer: dict[str, Any],
    server: ProviderServer,
    client: openai.AsyncOpenAI,
    claude: anthropic.AsyncAnthropic,
    llm: LlmCache,
) -> None:
    asks: dict[str, tuple[Any, dict[str, Any]]] = {
        "chat": (cached_openai_chat(llm, client.chat.completions.create), {"messages": [USER]}),
        "responses": (cached_openai_responses(llm, client.responses.create), {"input": "x"}),
        "messages": (cached_anthropic(llm, claude.messages.create), {"max_tokens": 9, "messages": [USER]}),
    }
    create, request = asks[api]
    server.answer = answer
    for _ in range(2):
        assert (await create(model="gpt-4o", **request)).to_dict(warnings=False) == answer
    assert len(server.requests) == 2


async def test_why_an_answer_could_not_be_read_is_in_the_log(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer = calling(function={"name": "f"})
    with caplog.at_level("DEBUG", logger="betterdb_agent_memory"):
        await cached_openai_chat(llm, client.chat.completions.create)(model="gpt-4o", messages=[USER])  # type: ignore[list-item]
    (record,) = [record for record in caplog.records if "cannot be read" in record.message]
    assert record.levelname == "DEBUG"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


async def test_an_error_of_the_paid_call_is_never_taken_for_an_answer_that_cannot_be_read(llm: LlmCache) -> None:
    async def create(**arguments: Any) -> ChatCompletion:
        raise KeyError("arguments")

    with pytest.raises(KeyError, match="arguments"):
        await cached_openai_chat(llm, create)(model="gpt-4o", messages=[USER])


def paths(value: object, *, to: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the members of a response are, at any depth."""
    steps: Any = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    members: Any = value
    return [path for step in steps for path in ((*to, step), *paths(members[step], to=(*to, step)))]


JUNK: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, True, 0, -1, 5.5, 10**300, "", "x", "\ud800", [], {}, [None], {"type": 1}]),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "id"]), inner),
        max_leaves=4,
    ),
)
DELETED = object()


def changed(answer: dict[str, Any], path: tuple[Any, ...], value: object) -> dict[str, Any]:
    """The response with another value in one place, or without it."""
    new: Any = deepcopy(answer)
    *before, last = path
    place = functools.reduce(lambda inside, step: inside[step], before, new)
    if value is DELETED:
        del place[last]
    else:
        place[last] = value
    return cast("dict[str, Any]", new)


Said = Callable[[Any], object]

ANSWERS: dict[str, tuple[Any, type[Any], dict[str, Any], dict[str, Any], Said]] = {
    "chat": (
        cached_openai_chat,
        ChatCompletion,
        chat(content="Sunny.", tool_calls=[CALL], reasoning_content="Look it up."),
        {"messages": [USER]},
        lambda found: found.choices[0].message.content or None,
    ),
    "responses": (cached_openai_responses, Response, RESPONSE, {"input": "x"}, lambda found: found.output_text),
    "messages": (
        cached_anthropic,
        Message,
        MESSAGE,
        {"max_tokens": 9, "messages": [USER]},
        lambda found: [part.text for part in found.content if part.type == "text"],
    ),
}


@pytest.mark.parametrize(("cached", "kind", "answer", "request_", "said"), ANSWERS.values(), ids=ANSWERS)
@hypothesis.given(data=st.data())
@hypothesis.settings(
    max_examples=75, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
async def test_whatever_a_response_holds_the_caller_gets_the_very_object(
    llm: LlmCache,
    cached: Any,
    kind: Any,
    answer: dict[str, Any],
    request_: dict[str, Any],
    said: Said,
    data: st.DataObject,
) -> None:
    path = data.draw(st.sampled_from(paths(answer)))
    mutated = changed(answer, path, data.draw(st.just(DELETED) | JUNK))
    made: list[Any] = []

    async def create(**arguments: Any) -> Any:
        made.append(kind.construct(**deepcopy(mutated)))
        return made[-1]

    ask = cached(llm, create)
    model = f"m{uuid4().hex}"
    assert await ask(model=model, **request_) is made[0]
    again = await ask(model=model, **request_)
    if len(made) == 1:
        assert is_cached(again)
        assert said(again) == said(made[0])
    else:
        assert again is made[1]


@pytest.mark.parametrize(
    "settings",
    [{"n": 2}, {"logprobs": True}, {"modalities": ["text", "audio"]}, {"extra_body": {"n": 2}}],
    ids=str,
)
async def test_requests_for_what_cannot_be_kept_go_straight_to_the_service(
    settings: dict[str, Any], server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache, engine: Engine
) -> None:
    server.answer = CHAT
    create: Any = cached_openai_chat(llm, client.chat.completions.create)
    for _ in range(2):
        assert not is_cached(await create(model="gpt-4o", messages=[USER], **settings))
    assert len(server.requests) == 2


async def test_streams_are_passed_through(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache, engine: Engine, store_name: str
) -> None:
    delta = {"index": 0, "delta": {"content": "Sunny."}, "finish_reason": None}
    server.answer = [{**CHAT, "object": "chat.completion.chunk", "choices": [delta]}]
    create: Any = cached_openai_chat(llm, client.chat.completions.create)
    for _ in range(2):
        # A generator of messages can be read once, and only the client may.
        stream = await create(model="gpt-4o", messages=(message for message in [USER]), stream=True)
        assert isinstance(stream, openai.AsyncStream)
        assert [chunk.choices[0].delta.content async for chunk in stream] == ["Sunny."]
    assert [request["messages"] for request in server.requests] == [[USER], [USER]]


async def test_what_the_service_keeps_itself_goes_straight_to_it(
    server: ProviderServer, client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, llm: LlmCache
) -> None:
    server.answer = RESPONSE
    create: Any = cached_openai_responses(llm, client.responses.create)
    for settings in ({"conversation": "conv_1"}, {"background": True}, {"prompt": {"id": "pmpt_1"}}):
        for _ in range(2):
            assert not is_cached(await create(model="gpt-5", input="x", **settings))
    assert len(server.requests) == 6


async def test_going_on_from_a_response_that_the_service_does_not_know_is_refused(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    server.answer = RESPONSE
    create: Any = cached_openai_responses(llm, client.responses.create)
    await create(model="gpt-5", input="x")
    cached = await create(model="gpt-5", input="x")
    with pytest.raises(InvalidInputError, match=r"previous_response_id 'resp_cached_.*send the conversation so far"):
        await create(model="gpt-5", input="y", previous_response_id=cached.id)
    assert len(server.requests) == 1
    await create(model="gpt-5", input="y", previous_response_id="resp_1")
    assert is_cached(await create(model="gpt-5", input="y", previous_response_id="resp_1"))


async def test_many_who_ask_the_same_at_once_make_one_call(client: openai.AsyncOpenAI, llm: LlmCache) -> None:
    with ProviderServer(CHAT, seconds=0.2) as slow:
        create: Any = cached_openai_chat(llm, client.with_options(base_url=slow.url).chat.completions.create)
        answers = await asyncio.gather(*(create(model="gpt-4o", messages=[USER]) for _ in range(30)))
        assert len(slow.requests) == 1
    assert {answer.choices[0].message.content for answer in answers} == {"Sunny — 21 °C."}
    assert sum(is_cached(answer) for answer in answers) == 29


async def test_those_who_wait_for_an_answer_that_is_not_kept_get_a_whole_one_too(
    client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    refused = NOT_KEPT["refused"]
    with ProviderServer(refused, seconds=0.1) as slow:
        create: Any = cached_openai_chat(llm, client.with_options(base_url=slow.url).chat.completions.create)
        answers = await asyncio.gather(*(create(model="gpt-4o", messages=[USER]) for _ in range(5)))
        assert len(slow.requests) == 5
    assert all(answer.choices[0].message.refusal == "No." for answer in answers)


async def test_an_error_of_the_service_is_the_clients_error_and_is_not_kept(
    server: ProviderServer, client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, llm: LlmCache
) -> None:
    create: Any = cached_openai_chat(llm, client.chat.completions.create)
    server.status, server.answer = 429, {"error": {"message": "slow down"}}
    with pytest.raises(openai.RateLimitError, match="slow down"):
        await create(model="gpt-4o", messages=[USER])
    with pytest.raises(anthropic.RateLimitError):
        await cached_anthropic(llm, claude.messages.create)(model="c", max_tokens=9, messages=[USER])  # type: ignore[list-item]
    server.status, server.answer = 200, CHAT
    assert (await create(model="gpt-4o", messages=[USER])).id == "chatcmpl-1"


async def test_the_ttl_is_that_of_the_entry(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache, engine: Engine, store_name: str
) -> None:
    server.answer = CHAT
    create: Any = cached_openai_chat(llm, client.chat.completions.create, ttl=60)
    await create(model="gpt-4o", messages=[USER])
    request = await openai_chat_request({"model": "gpt-4o", "messages": [USER]})
    batch = engine.values.batch()
    reply = batch.get_with_expiry(llm_key(store_name, request.params).shared)
    await batch.send()
    found = reply.result()
    assert found is not None
    assert found.left_ms is not None
    assert 50_000 < found.left_ms <= 60_000


async def test_stale_answers_are_handed_out_while_a_new_one_is_fetched(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    server.answer = CHAT
    create: Any = cached_openai_chat(llm, client.chat.completions.create, ttl=1, stale_seconds=60)
    await create(model="gpt-4o", messages=[USER])
    await asyncio.sleep(1.1)
    server.answer = chat(content="Rain.")
    assert (await create(model="gpt-4o", messages=[USER])).choices[0].message.content == "Sunny — 21 °C."
    await llm.close()
    assert (await create(model="gpt-4o", messages=[USER])).choices[0].message.content == "Rain."
    assert len(server.requests) == 2


async def test_raw_and_streamed_responses_are_refused_when_they_are_wrapped(
    server: ProviderServer, client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, llm: LlmCache
) -> None:
    chats, responses, messages = client.chat.completions, client.responses, claude.messages
    refused: list[tuple[Any, Any, str]] = [
        (cached_openai_chat, chats, "AsyncOpenAI().chat.completions.create"),
        (cached_openai_responses, responses, "AsyncOpenAI().responses.create"),
        (cached_anthropic, messages, "AsyncAnthropic().messages.create"),
    ]
    for cached, resource, plain in refused:
        for kind in ("with_raw_response", "with_streaming_response"):
            create = getattr(resource, kind).create

            @functools.wraps(create)
            async def logged(create: Any = create, **arguments: Any) -> Any:
                return await create(**arguments)

            for given in (create, logged, functools.partial(create, model="m")):
                with pytest.raises(ConfigurationError, match=rf"{kind}.* no headers.* wrap .*{re.escape(plain)}"):
                    cached(llm, given)
        cached(llm, resource.create)
    assert server.requests == []


async def test_what_is_no_response_of_the_sdk_is_handed_through(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    async def raw(**arguments: Any) -> Any:
        return await client.chat.completions.with_raw_response.create(**arguments)

    server.answer = CHAT
    create: Any = cached_openai_chat(llm, raw)
    for _ in range(2):
        assert (await create(model="gpt-4o", messages=[USER])).parse().id == "chatcmpl-1"
    assert len(server.requests) == 2


async def test_a_wrapped_function_may_be_wrapped_before(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    server.answer = CHAT

    class Counted:
        calls = 0

        async def __call__(self, **arguments: Any) -> ChatCompletion:
            self.calls += 1
            completion: ChatCompletion = await client.chat.completions.create(**arguments)
            return completion

    counted = Counted()
    create = cached_openai_chat(llm, counted)
    for _ in range(2):
        await create(model="gpt-4o", messages=[USER])
    assert counted.calls == 1


async def test_a_client_that_blocks_may_be_called_in_a_thread(server: ProviderServer, llm: LlmCache) -> None:
    server.answer = CHAT
    with openai.OpenAI(api_key="none", base_url=server.url) as blocking:

        def in_thread(create: Any) -> Any:
            @functools.wraps(create)
            async def ask(**arguments: Any) -> Any:
                return await asyncio.to_thread(create, **arguments)

            return ask

        create = cached_openai_chat(llm, in_thread(blocking.chat.completions.create))
        assert [is_cached(await create(model="gpt-4o", messages=[USER])) for _ in range(2)] == [False, True]
        with pytest.raises(ConfigurationError, match="with_raw_response"):
            cached_openai_chat(llm, in_thread(blocking.chat.completions.with_raw_response.create))
    assert len(server.requests) == 1


async def test_a_client_that_blocks_is_refused_before_anything_is_sent(server: ProviderServer, llm: LlmCache) -> None:
    with openai.OpenAI(api_key="none", base_url=server.url) as blocking:
        with pytest.raises(ConfigurationError, match=r"create must be an async function, such as AsyncOpenAI\(\)"):
            cached_openai_chat(llm, blocking.chat.completions.create)
    with pytest.raises(ConfigurationError, match="ignoring must be a collection"):
        cached_openai_chat(llm, _never, ignoring="n")
    assert server.requests == []


async def test_a_request_that_cannot_be_read_is_refused_before_anything_is_sent(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    create: Any = cached_openai_chat(llm, client.chat.completions.create)
    with pytest.raises(InvalidInputError, match="messages must be what JSON can hold, a list"):
        await create(model="gpt-4o", messages=(message for message in [USER]))
    with pytest.raises(InvalidInputError, match="extra_body must be a mapping, got list"):
        await create(model="gpt-4o", messages=[USER], extra_body=[1])
    assert server.requests == []


async def _never(**arguments: Any) -> ChatCompletion:
    raise AssertionError("nobody may call this")
