"""Requests of OpenAI's chat completions, and of the many services that speak the same, in canonical form."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

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

COPIED: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_tokens",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "seed": "seed",
    "response_format": "response_format",
    "prompt_cache_key": "prompt_cache_key",
}
"""Parameters that are copied: `{name there: name of the parameter}`."""
HARMLESS: Final = frozenset(
    {
        *("metadata", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "service_tier"),
        *("store", "stream_options", "timeout", "user"),
    }
)
"""What concerns billing, routing and bookkeeping, and not what the model says; the responses have the same."""
_DEFAULTS: Final[Mapping[str, object]] = {
    "frequency_penalty": 0,
    "logprobs": False,
    "modalities": ["text"],
    "n": 1,
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "stream": False,
    "top_logprobs": 0,
}
_HARMLESS_IN_PART: Final = frozenset({"prompt_cache_breakpoint"})

_Block = dict[str, Any]


def read_openai_chat(request: Members, reading: Reading) -> dict[str, Any]:
    """The canonical parameters of the body of a chat completion request."""
    readers: Readers = {
        "system": partial(_system, reading),
        "developer": partial(_system, reading),
        "user": partial(_user, reading),
        "assistant": partial(_assistant, reading),
        "tool": partial(_tool, reading),
        "function": _function,
    }
    params: dict[str, Any] = {"model": request.text("model"), "messages": []}
    for message in request.each("messages"):
        read = dispatched(message, "role", message.take("role"), readers, reading)
        if read is not None:
            params["messages"].append(read)
            message.done()
    params |= request.copied(COPIED)
    stop = request.take("stop")
    if stop is not None:
        params["stop"] = [stop] if isinstance(stop, str) else stop
    request.done(HARMLESS, _DEFAULTS)
    return params


def _system(reading: Reading, message: Members) -> dict[str, Any]:
    if isinstance(message.peek("content"), str):
        return {"role": "system", "content": message.take("content")}
    # A system message holds text only; the published packages drop what else is in it.
    readers = {"text": _text, **dict.fromkeys(("image_url", "input_audio", "file"), _left_out)}
    return {"role": "system", "content": _blocks(reading, message, readers)}


def _user(reading: Reading, message: Members) -> dict[str, Any]:
    readers: Readers = {
        "text": _text,
        "image_url": partial(_image, reading),
        "input_audio": partial(_audio, reading),
        "file": partial(_file, reading),
    }
    read: dict[str, Any] = {"role": "user", "content": _content(reading, message, readers)}
    name = message.take("name")
    return {**read, "name": name} if name else read


def _assistant(reading: Reading, message: Members) -> dict[str, Any]:
    # An empty text beside tool calls is how some services say that there is none.
    if message.peek("content") == "":
        message.take("content")
    blocks = _content(reading, message, {"text": _text, "refusal": _left_out})
    calls = {"function": _call, "custom": _left_out}
    for call in message.each("tool_calls"):
        block = dispatched(call, "kind of tool call", call.take("type", "function"), calls, reading)
        if block is not None:
            blocks.append(block)
            call.done()
    return {"role": "assistant", "content": blocks}


def _tool(reading: Reading, message: Members) -> dict[str, Any]:
    blocks = _content(reading, message, {"text": _text})
    text = "".join(block["text"] for block in blocks)
    return {"role": "tool", "toolCallId": message.text("tool_call_id"), "content": [text_block(text)]}


def _function(message: Members) -> dict[str, Any]:
    text = message.text("content", "")
    return {"role": "tool", "toolCallId": f"legacy:{message.text('name')}", "content": [text_block(text)]}


def _content(reading: Reading, message: Members, readers: Readers) -> list[_Block]:
    if isinstance(message.peek("content"), str):
        return [text_block(message.take("content"))]
    return _blocks(reading, message, readers)


def _blocks(reading: Reading, message: Members, readers: Readers) -> list[_Block]:
    blocks = []
    for part in message.each("content"):
        block = dispatched(part, "kind of content", part.take("type"), readers, reading)
        if block is not None:
            blocks.append(block)
            part.done(_HARMLESS_IN_PART)
    return blocks


def _call(call: Members) -> _Block:
    function = call.mapping("function")
    arguments = parsed_arguments(function.text("arguments", ""))
    block = {"type": "tool_call", "id": call.text("id"), "name": function.text("name"), "args": arguments}
    function.done()
    return block


def _left_out(part: Members) -> None:
    part.leave_out()


def _text(part: Members) -> _Block:
    return text_block(part.text("text"))


def _image(reading: Reading, part: Members) -> _Block:
    image = part.mapping("image_url")
    url = image.text("url")
    block: _Block = {"type": "binary", "kind": "image", "mediaType": media_type_of(url, "image/*"), "ref": ""}
    detail = image.take("detail")
    if detail:
        block["detail"] = detail
    image.done()
    return reading.binary(block, "image", url_source(url))


def _audio(reading: Reading, part: Members) -> _Block:
    audio = part.mapping("input_audio")
    data, kind = audio.text("data"), audio.text("format")
    audio.done()
    block = {"type": "binary", "kind": "audio", "mediaType": f"audio/{kind}", "ref": ""}
    return reading.binary(block, "audio", {"type": "base64", "data": data})


def _file(reading: Reading, part: Members) -> _Block | None:
    file = part.mapping("file")
    file_id = file.take("file_id")
    data = None if file_id else file.take("file_data")
    if not file_id and not data:
        part.leave_out()
        return None
    media_type = media_type_of(data or "", "application/octet-stream")
    block: _Block = {"type": "binary", "kind": "document", "mediaType": media_type, "ref": ""}
    filename = file.take("filename")
    if filename:
        block["filename"] = filename
    file.done()
    source = {"type": "base64", "data": data} if data else file_source(file_id, "openai")
    return reading.binary(block, "document", source)
