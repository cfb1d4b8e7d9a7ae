"""Chat completions from what the cache keeps, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from betterdb_agent_memory.caches.shapes.openai_chat import read_openai_chat
from betterdb_agent_memory.caches.shapes.reading import parsed_arguments, spelled_arguments, text_block
from betterdb_agent_memory.caches.shapes.wrapping import CACHED, Kept, Provider, counts, import_failed, said

_THOUGHTS: Final = "reasoning_content"
"""Not OpenAI's: where DeepSeek, vLLM and others say what the model thought."""


def _passes(arguments: Mapping[str, Any]) -> bool:
    """Several answers, or one that is more than text and tool calls, cannot be kept as one answer."""
    several = (arguments.get("n") or 1) != 1
    modalities = arguments.get("modalities") or ["text"]
    return several or bool(arguments.get("logprobs")) or list(modalities) != ["text"]


def _blocks(response: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    choices = response.get("choices") or []
    message = choices[0].get("message", {}) if choices else {}
    if message.get(_THOUGHTS):
        blocks.append({"type": "reasoning", "text": message[_THOUGHTS]})
    if isinstance(message.get("content"), str):
        blocks.append(text_block(message["content"]))
    for call in message.get("tool_calls") or []:
        if call.get("type") == "function":
            function = call["function"]
            arguments = parsed_arguments(function["arguments"])
            blocks.append({"type": "tool_call", "id": call["id"], "name": function["name"], "args": arguments})
    return blocks


def _tokens(response: Mapping[str, Any]) -> dict[str, int] | None:
    return counts(response.get("usage"), "prompt_tokens", "completion_tokens")


def _response(kept: Kept, request: Mapping[str, Any]) -> dict[str, Any]:
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": spelled_arguments(block["args"])},
        }
        for block in kept.blocks
        if block["type"] == "tool_call"
    ]
    message: dict[str, Any] = {"role": "assistant", "content": kept.text}
    thoughts = "".join(block["text"] for block in kept.blocks if block["type"] == "reasoning")
    if thoughts:
        message[_THOUGHTS] = thoughts
    if calls:
        message["tool_calls"] = calls
    response: dict[str, Any] = {
        "id": f"chatcmpl-{CACHED}-{kept.id}",
        "object": "chat.completion",
        "created": kept.stored_at_seconds,
        "model": kept.model,
        "choices": [
            {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop", "logprobs": None}
        ],
    }
    if kept.input_tokens or kept.output_tokens:
        response["usage"] = {
            "prompt_tokens": kept.input_tokens,
            "completion_tokens": kept.output_tokens,
            "total_tokens": kept.input_tokens + kept.output_tokens,
        }
    return response


def _essence(response: Mapping[str, Any]) -> object:
    return [
        (_ending(choice.get("finish_reason")), _message(choice.get("message") or {}))
        for choice in response.get("choices") or []
    ]


def _ending(reason: str | None) -> str | None:
    """Two reasons are one: with a tool that was demanded services say `stop`, else `tool_calls`."""
    return "stop" if reason == "tool_calls" else reason


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = [_call(call) for call in message.get("tool_calls") or []]
    return {**said(message), **({"tool_calls": calls} if calls else {})}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call.get("function") or {})
    function["arguments"] = parsed_arguments(function.get("arguments", ""))
    return {**said(call, without=("index",)), "function": function}


def _response_type() -> type[Any]:
    try:
        from openai.types.chat import ChatCompletion
    except ImportError as error:
        raise import_failed("openai", error) from error
    return ChatCompletion


OPENAI_CHAT: Final = Provider(
    name="openai_chat",
    example="AsyncOpenAI().chat.completions.create",
    read=read_openai_chat,
    passes=_passes,
    blocks=_blocks,
    tokens=_tokens,
    response=_response,
    essence=_essence,
    response_type=_response_type,
)
