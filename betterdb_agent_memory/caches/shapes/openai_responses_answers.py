"""OpenAI's responses from what the cache keeps, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from betterdb_agent_memory.caches.shapes.openai_responses import read_openai_responses
from betterdb_agent_memory.caches.shapes.reading import parsed_arguments, spelled_arguments, text_block
from betterdb_agent_memory.caches.shapes.wrapping import CACHED, Kept, Provider, counts, import_failed, said
from betterdb_agent_memory.errors import InvalidInputError

_SETTINGS: Final = ("instructions", "max_output_tokens", "temperature", "text", "top_p")
"""What a response repeats of its request, beside what it always has."""


def _passes(arguments: Mapping[str, Any]) -> bool:
    """What the service keeps may change behind an answer: a conversation, or a prompt without its version."""
    previous = arguments.get("previous_response_id")
    if isinstance(previous, str) and previous.startswith(f"resp_{CACHED}_"):
        raise InvalidInputError(
            f"previous_response_id {previous!r:.80} is that of a response from the cache, which the service does not "
            "know; send the conversation so far as input instead"
        )
    return any(arguments.get(name) for name in ("background", "conversation", "prompt"))


def _blocks(response: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for item in response.get("output") or []:
        kind = item.get("type")
        if kind == "message":
            blocks += [text_block(part["text"]) for part in item["content"] if part.get("type") == "output_text"]
        elif kind == "function_call":
            arguments = parsed_arguments(item["arguments"])
            blocks.append({"type": "tool_call", "id": item["call_id"], "name": item["name"], "args": arguments})
        elif kind == "reasoning":
            blocks += _reasoning(item)
    return blocks


def _reasoning(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A thought that says nothing and is not sealed either is of no use to anybody but the service."""
    block: dict[str, Any] = {"type": "reasoning", "text": "".join(part["text"] for part in item.get("summary") or [])}
    if item.get("encrypted_content"):
        block["opaqueSignature"] = item["encrypted_content"]
    return [block] if block["text"] or "opaqueSignature" in block else []


def _tokens(response: Mapping[str, Any]) -> dict[str, int] | None:
    return counts(response.get("usage"), "input_tokens", "output_tokens")


def _response(kept: Kept, request: Mapping[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "id": f"resp_{CACHED}_{kept.id}",
        "object": "response",
        "created_at": float(kept.stored_at_seconds),
        "model": kept.model,
        "output": _output(kept),
        "status": "completed",
        "parallel_tool_calls": request.get("parallel_tool_calls", True),
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": request.get("tools") or [],
        **{name: request[name] for name in _SETTINGS if request.get(name) is not None},
    }
    if kept.input_tokens or kept.output_tokens:
        response["usage"] = {
            "input_tokens": kept.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": kept.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": kept.input_tokens + kept.output_tokens,
        }
    return response


def _output(kept: Kept) -> list[dict[str, Any]]:
    """The items of an answer: texts that follow each other are the parts of one message."""
    items: list[dict[str, Any]] = []
    for block in kept.blocks:
        number = len(items)
        if block["type"] == "tool_call":
            arguments = spelled_arguments(block["args"])
            call = {"type": "function_call", "call_id": block["id"], "name": block["name"], "arguments": arguments}
            items.append({**call, "status": "completed"})
        elif block["type"] == "reasoning":
            text, sealed = block["text"], block.get("opaqueSignature")
            thought: dict[str, Any] = {"type": "reasoning", "id": f"rs_{CACHED}_{kept.id}_{number}"}
            thought["summary"] = [{"type": "summary_text", "text": text}] if text else []
            items.append({**thought, "encrypted_content": sealed} if sealed else thought)
        else:
            part = {"type": "output_text", "text": block["text"], "annotations": []}
            if items and items[-1]["type"] == "message":
                items[-1]["content"].append(part)
            else:
                message = {"type": "message", "id": f"msg_{CACHED}_{kept.id}_{number}", "role": "assistant"}
                items.append({**message, "status": "completed", "content": [part]})
    return items


def _essence(response: Mapping[str, Any]) -> object:
    items = [_item(item) for item in response.get("output") or []]
    ending = {name: response.get(name) for name in ("status", "error", "incomplete_details")}
    return ending, [item for item in items if item is not None]


def _item(item: Mapping[str, Any]) -> object:
    kind = item.get("type")
    if kind == "reasoning":
        thought = _reasoning(item)
        return (thought[0], item.get("content") or None) if thought or item.get("content") else None
    rest = said(item, without=("id", "status"))
    if kind == "message":
        if rest.get("phase") == "final_answer":
            del rest["phase"]
        return {**rest, "content": [said(part) for part in item["content"]]}
    if kind == "function_call":
        if rest.get("caller") == {"type": "direct"}:
            del rest["caller"]
        return {**rest, "arguments": parsed_arguments(item["arguments"])}
    return rest


def _response_type() -> type[Any]:
    try:
        from openai.types.responses import Response
    except ImportError as error:
        raise import_failed("openai", error) from error
    return Response


OPENAI_RESPONSES: Final = Provider(
    name="openai_responses",
    example="AsyncOpenAI().responses.create",
    read=read_openai_responses,
    passes=_passes,
    blocks=_blocks,
    tokens=_tokens,
    response=_response,
    essence=_essence,
    response_type=_response_type,
)
