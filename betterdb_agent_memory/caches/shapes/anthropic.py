"""Requests of Anthropic's messages in canonical form."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from betterdb_agent_memory.caches.shapes.reading import (
    Members,
    Readers,
    Reading,
    dispatched,
    file_source,
    text_block,
)
from betterdb_agent_memory.caches.shapes.spelling import javascript_json

COPIED: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_tokens",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "stop_sequences": "stop",
}
"""Parameters that are copied: `{name there: name of the parameter}`."""
_HARMLESS: Final = frozenset({"cache_control", "diagnostics", "metadata", "service_tier", "timeout"})
"""What concerns billing, routing and bookkeeping, and not what the model says."""
_DEFAULTS: Final[Mapping[str, object]] = {
    "stream": False,
    "thinking": {"type": "disabled"},
}
_HARMLESS_IN_BLOCK: Final = frozenset({"cache_control"})
_DEFAULTS_IN_BLOCK: Final[Mapping[str, object]] = {
    "caller": {"type": "direct"},
    "citations": {"enabled": False},
    "is_error": False,
}

_Block = dict[str, Any]


def read_anthropic(request: Members, reading: Reading) -> dict[str, Any]:
    """The canonical parameters of the body of a request for a message."""
    messages = _Messages(reading)
    messages.system(request)
    for message in request.each("messages"):
        messages.add(message)
    params = {"model": request.text("model"), "messages": messages.messages, **request.copied(COPIED)}
    request.done(_HARMLESS, _DEFAULTS)
    return params


class _Messages:
    """The messages so far."""

    def __init__(self, reading: Reading) -> None:
        self.messages: list[dict[str, Any]] = []
        self._reading = reading
        image = partial(_hinted, partial(_image, reading))
        self._readers: Readers = {
            "text": partial(_hinted, _text),
            "image": image,
            "document": partial(_document, reading),
            "tool_use": _tool_use,
            "thinking": _thinking,
            "redacted_thinking": _redacted_thinking,
        }
        self._in_result: Readers = {"text": _text, "image": image}

    def system(self, request: Members) -> None:
        """The instructions, which stand beside the messages there and before them here."""
        if isinstance(request.peek("system"), str):
            text = request.take("system")
            if text:
                self.messages.append({"role": "system", "content": text})
        elif request.peek("system") is not None:
            blocks = self._blocks(request.each("system"), {"text": self._readers["text"]})
            self.messages.append({"role": "system", "content": blocks})

    def add(self, message: Members) -> None:
        """One message, in order."""
        readers = {"user": self._user, "assistant": self._assistant}
        dispatched(message, "role", message.take("role"), readers, self._reading)
        message.done()

    def _assistant(self, message: Members) -> None:
        if isinstance(message.peek("content"), str):
            blocks = [text_block(message.take("content"))]
        else:
            blocks = self._blocks(message.each("content"), self._readers)
        self.messages.append({"role": "assistant", "content": blocks})

    def _user(self, message: Members) -> None:
        if isinstance(message.peek("content"), str):
            self.messages.append({"role": "user", "content": [text_block(message.take("content"))]})
            return
        others = []
        for part in message.each("content"):
            if part.peek("type") == "tool_result":
                self.messages.append(self._tool_result(part))
            else:
                others.append(part)
        if others:
            self.messages.append({"role": "user", "content": self._blocks(others, self._readers)})

    def _tool_result(self, part: Members) -> dict[str, Any]:
        part.take("type")
        content = part.peek("content")
        if content is None or isinstance(content, str):
            blocks = [text_block(part.text("content", ""))]
        else:
            blocks = self._blocks(part.each("content"), self._in_result)
        read = {"role": "tool", "toolCallId": part.text("tool_use_id"), "content": blocks}
        part.done(_HARMLESS_IN_BLOCK, _DEFAULTS_IN_BLOCK)
        return read

    def _blocks(self, parts: Any, readers: Readers) -> list[_Block]:
        blocks = []
        for part in parts:
            block = dispatched(part, "kind of content", part.take("type"), readers, self._reading)
            if block is not None:
                blocks.append(block)
                part.done(_HARMLESS_IN_BLOCK, _DEFAULTS_IN_BLOCK)
        return blocks


def _hinted(read: Callable[[Members], _Block | None], part: Members) -> _Block | None:
    """A block with the hint that its request gives for the provider's own cache, which the shared key has too."""
    control = part.take("cache_control")
    block = read(part)
    if block is not None and isinstance(control, Mapping):
        hint: dict[str, Any] = {"type": "ephemeral"}
        if control.get("ttl"):
            hint["ttl"] = control["ttl"]
        block["hints"] = {"anthropicCacheControl": hint}
    return block


def _text(part: Members) -> _Block:
    return text_block(part.text("text"))


def _thinking(part: Members) -> _Block:
    return {"type": "reasoning", "text": part.text("thinking"), "opaqueSignature": part.text("signature")}


def _redacted_thinking(part: Members) -> _Block:
    return {"type": "reasoning", "text": "", "redacted": True, "opaqueSignature": part.text("data")}


def _tool_use(part: Members) -> _Block:
    return {"type": "tool_call", "id": part.text("id"), "name": part.text("name"), "args": part.take("input")}


def _image(reading: Reading, part: Members) -> _Block | None:
    source = part.mapping("source")
    found = _source(source, "image/*", "image/*")
    if found is None:
        reading.unknown(part, "kind of source", source.take("type"), _SOURCES)
        return None
    media_type, where = found
    source.done()
    return reading.binary({"type": "binary", "kind": "image", "mediaType": media_type, "ref": ""}, "image", where)


def _document(reading: Reading, part: Members) -> _Block | None:
    source = part.mapping("source")
    if source.peek("type") == "content":
        return _nested(source)
    return _hinted(partial(_document_from, reading, source), part)


def _document_from(reading: Reading, source: Members, part: Members) -> _Block | None:
    if source.peek("type") == "text":
        found: tuple[str, dict[str, Any]] | None = ("text/plain", _encoded(source))
    else:
        found = _source(source, "application/pdf", "application/octet-stream")
    if found is None:
        reading.unknown(part, "kind of source", source.take("type"), {*_SOURCES, "content", "text"})
        return None
    media_type, where = found
    source.done()
    block = {"type": "binary", "kind": "document", "mediaType": media_type, "ref": ""}
    return reading.binary(block, "document", where)


_SOURCES: Final = frozenset({"base64", "file", "url"})


def _source(source: Members, media_type: str, uploaded: str) -> tuple[str, dict[str, Any]] | None:
    """What a source refers to, and its media type: `media_type` where it names none, `uploaded` for an id."""
    kind = source.peek("type")
    if kind not in _SOURCES:
        return None
    source.take("type")
    if kind == "base64":
        return source.take("media_type", media_type), {"type": "base64", "data": source.text("data")}
    if kind == "url":
        return media_type, {"type": "url", "url": source.text("url")}
    return uploaded, file_source(source.text("file_id"), "anthropic")


def _encoded(source: Members) -> dict[str, Any]:
    """A document in plain text, as data: the published packages encode it too."""
    source.take("type")
    source.take("media_type")
    # One published package reads the text from a member of this name.
    text = source.text("data", source.take("text"))
    return {"type": "base64", "data": base64.b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")}


def _nested(source: Members) -> _Block:
    """A document made of blocks is told apart by their hash; its hint is not in the shared key."""
    spelled = javascript_json(source.take("content"))
    source.take("type")
    source.done()
    digest = hashlib.sha256(spelled.encode("utf-8", "surrogatepass")).hexdigest()
    return {
        "type": "binary",
        "kind": "document",
        "mediaType": "application/x-nested-content",
        "ref": f"nested:sha256:{digest}",
    }
