"""Requests of OpenAI's responses in canonical form."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from betterdb_agent_memory.caches.shapes.openai_chat import HARMLESS
from betterdb_agent_memory.caches.shapes.reading import (
    Members,
    Readers,
    Reading,
    dispatched,
    file_source,
    media_type_of,
    parsed_arguments,
    text_block,
    url_source,
)
from betterdb_agent_memory.caches.shapes.spelling import javascript_json

COPIED: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_output_tokens": "max_tokens",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "prompt_cache_key": "prompt_cache_key",
}
"""Parameters that are copied: `{name there: name of the parameter}`."""
_DEFAULTS: Final[Mapping[str, object]] = {
    "background": False,
    "parallel_tool_calls": True,
    "stream": False,
    "text": {"format": {"type": "text"}},
    "top_logprobs": 0,
    "truncation": "disabled",
}
_HARMLESS_IN_ITEM: Final = frozenset({"id", "status"})
"""What the service says about an item that it gave before; what the item says is in the request."""
_ROLES: Final = frozenset({"assistant", "developer", "system", "user"})

_Block = dict[str, Any]


def read_openai_responses(request: Members, reading: Reading) -> dict[str, Any]:
    """The canonical parameters of the body of a request for a response."""
    conversation = _Conversation(reading)
    if isinstance(request.peek("instructions"), str):
        instructions = request.take("instructions")
        if instructions:
            conversation.messages.append({"role": "system", "content": instructions})
    if isinstance(request.peek("input"), str):
        conversation.messages.append({"role": "user", "content": request.take("input")})
    else:
        for item in request.each("input"):
            conversation.add(item)
        conversation.end_turn()
    params = {"model": request.text("model"), "messages": conversation.messages, **request.copied(COPIED)}
    if request.peek("reasoning") is not None:
        reasoning = request.mapping("reasoning")
        params |= reasoning.copied({"effort": "reasoning_effort"})
        reasoning.done()
    request.done(HARMLESS, _DEFAULTS)
    return params


class _Conversation:
    """The messages so far, and the turn of the assistant whose calls and thoughts are still being gathered."""

    def __init__(self, reading: Reading) -> None:
        self.messages: list[dict[str, Any]] = []
        self._turn: list[_Block] = []
        self._reading = reading
        self._readers: Readers = {
            "message": self._message,
            "function_call": self._call,
            "function_call_output": self._output,
            "reasoning": self._reasoning,
        }
        self._parts: Readers = {
            "input_text": _text,
            "output_text": _text,
            "input_image": partial(_image, reading),
            "input_file": partial(_file, reading),
            "refusal": _left_out,
        }

    def add(self, item: Members) -> None:
        """One item of the input, in order."""
        kind = item.take("type", "message")
        if kind not in ("function_call", "reasoning"):
            self.end_turn()
        dispatched(item, "type", kind, self._readers, self._reading)
        item.done(_HARMLESS_IN_ITEM)

    def end_turn(self) -> None:
        """What was gathered becomes a message of the assistant."""
        if self._turn:
            self.messages.append({"role": "assistant", "content": self._turn})
            self._turn = []

    def _message(self, item: Members) -> None:
        role = item.take("role", "user")
        if role not in _ROLES:
            self._reading.unknown(item, "role", role, _ROLES)
        elif isinstance(item.peek("content"), str):
            self.messages.append({"role": role, "content": item.take("content")})
        elif item.peek("content") is not None:
            self.messages.append({"role": role, "content": self._blocks(item)})

    def _blocks(self, item: Members) -> list[_Block]:
        blocks = []
        for part in item.each("content"):
            block = dispatched(part, "kind of content", part.take("type"), self._parts, self._reading)
            if block is not None:
                blocks.append(block)
                part.done({"prompt_cache_breakpoint"})
        return blocks

    def _call(self, item: Members) -> None:
        arguments = parsed_arguments(item.text("arguments", ""))
        self._turn.append(
            {"type": "tool_call", "id": item.text("call_id"), "name": item.text("name"), "args": arguments}
        )

    def _output(self, item: Members) -> None:
        output = item.take("output", "")
        text = output if isinstance(output, str) else javascript_json(output)
        self.messages.append({"role": "tool", "toolCallId": item.text("call_id"), "content": [text_block(text)]})

    def _reasoning(self, item: Members) -> None:
        texts = []
        for part in item.each("summary"):
            # The shared key has the one kind of text; the summaries that services send are of the other.
            if part.peek("type") == "reasoning_text":
                texts.append(part.text("text"))
            else:
                part.leave_out()
        block: _Block = {"type": "reasoning", "text": "".join(texts)}
        signature = item.take("encrypted_content")
        if signature is not None:
            block["opaqueSignature"] = signature
        elif item.peek("id") is not None:
            # Without its content the service looks the thought up by its id, so that this says what it was.
            self._reading.left_out[item.at("id")] = item.take("id")
        self._turn.append(block)


def _left_out(part: Members) -> None:
    part.leave_out()


def _text(part: Members) -> _Block:
    return text_block(part.text("text", ""))


def _image(reading: Reading, part: Members) -> _Block | None:
    file_id = part.take("file_id")
    url = None if file_id else part.take("image_url")
    if not file_id and not url:
        part.leave_out()
        return None
    block: _Block = {"type": "binary", "kind": "image", "mediaType": media_type_of(url or "", "image/*"), "ref": ""}
    detail = part.take("detail")
    if detail:
        block["detail"] = detail
    return reading.binary(block, "image", url_source(url) if url else file_source(file_id, "openai"))


def _file(reading: Reading, part: Members) -> _Block | None:
    file_id = part.take("file_id")
    data = None if file_id else part.take("file_data")
    url = None if file_id or data else part.take("file_url")
    if not file_id and not data and not url:
        part.leave_out()
        return None
    media_type = media_type_of(data or "", "application/octet-stream")
    block: _Block = {"type": "binary", "kind": "document", "mediaType": media_type, "ref": ""}
    filename = part.take("filename")
    if filename:
        block["filename"] = filename
    if data:
        return reading.binary(block, "document", {"type": "base64", "data": data})
    return reading.binary(block, "document", {"type": "url", "url": url} if url else file_source(file_id, "openai"))
