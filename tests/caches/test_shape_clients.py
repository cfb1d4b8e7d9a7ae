"""The cache around real clients: the SDKs of OpenAI and Anthropic, talking to a server on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from typing import Any

import anthropic
import openai
import pytest
from anthropic.types import Message
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
    async with openai.AsyncOpenAI(api_key="none", base_url=server.url, max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(server: ProviderServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key="none", base_url=server.url, max_retries=0) as client:
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


async def test_raw_responses_are_handed_through(
    server: ProviderServer, client: openai.AsyncOpenAI, llm: LlmCache
) -> None:
    server.answer = CHAT
    create: Any = cached_openai_chat(llm, client.chat.completions.with_raw_response.create)
    for _ in range(2):
        raw = await create(model="gpt-4o", messages=[USER])
        assert raw.parse().id == "chatcmpl-1"
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
