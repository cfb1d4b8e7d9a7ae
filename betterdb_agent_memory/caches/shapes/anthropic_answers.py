"""Anthropic's messages from what the cache keeps, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from betterdb_agent_memory.caches.shapes.anthropic import read_anthropic
from betterdb_agent_memory.caches.shapes.reading import text_block
from betterdb_agent_memory.caches.shapes.wrapping import CACHED, Kept, Provider, counts, import_failed, said


def _passes(arguments: Mapping[str, Any]) -> bool:
    """What happens in a container that the service keeps is more than an answer."""
    return bool(arguments.get("container"))


def _blocks(response: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in response.get("content") or []:
        kind = part.get("type")
        if kind == "text":
            blocks.append(text_block(part["text"]))
        elif kind == "tool_use":
            blocks.append({"type": "tool_call", "id": part["id"], "name": part["name"], "args": part["input"]})
        elif kind == "thinking":
            blocks.append({"type": "reasoning", "text": part["thinking"], "opaqueSignature": part["signature"]})
        elif kind == "redacted_thinking":
            blocks.append({"type": "reasoning", "text": "", "redacted": True, "opaqueSignature": part["data"]})
    return blocks


def _tokens(response: Mapping[str, Any]) -> dict[str, int] | None:
    return counts(response.get("usage"), "input_tokens", "output_tokens")


def _response(kept: Kept, request: Mapping[str, Any]) -> dict[str, Any]:
    calls = any(block["type"] == "tool_call" for block in kept.blocks)
    return {
        "id": f"msg_{CACHED}_{kept.id}",
        "type": "message",
        "role": "assistant",
        "model": kept.model,
        "content": [_part(block) for block in kept.blocks],
        "stop_reason": "tool_use" if calls else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": kept.input_tokens, "output_tokens": kept.output_tokens},
    }


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    if block["type"] == "text":
        return {"type": "text", "text": block["text"]}
    if block["type"] == "tool_call":
        return {"type": "tool_use", "id": block["id"], "name": block["name"], "input": block["args"]}
    if block.get("redacted"):
        return {"type": "redacted_thinking", "data": block.get("opaqueSignature") or ""}
    return {"type": "thinking", "thinking": block["text"], "signature": block.get("opaqueSignature") or ""}


def _essence(response: Mapping[str, Any]) -> object:
    ending = {name: response.get(name) for name in ("stop_sequence", "stop_details", "container")}
    return response.get("stop_reason"), said(ending), [_content(part) for part in response.get("content") or []]


def _content(part: Mapping[str, Any]) -> dict[str, Any]:
    rest = {**said(part), **({"input": part["input"]} if "input" in part else {})}
    if rest.get("caller") == {"type": "direct"}:
        del rest["caller"]
    return rest


def _response_type() -> type[Any]:
    try:
        from anthropic.types import Message
    except ImportError as error:
        raise import_failed("anthropic", error) from error
    return Message


ANTHROPIC: Final = Provider(
    name="anthropic",
    example="AsyncAnthropic().messages.create",
    read=read_anthropic,
    passes=_passes,
    blocks=_blocks,
    tokens=_tokens,
    response=_response,
    essence=_essence,
    response_type=_response_type,
)
