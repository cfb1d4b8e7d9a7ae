"""LlamaIndex chat messages in canonical form, in the shapes of its TypeScript and of its Python library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from betterdb_agent_memory.caches.shapes.reading import (
    Members,
    Readers,
    Reading,
    dispatched,
    media_type_of,
    parsed_arguments,
    text_block,
    url_source,
)
from betterdb_agent_memory.errors import InvalidInputError

_ROLES: Final = {
    "assistant": "assistant",
    "developer": "system",
    "memory": "system",
    "system": "system",
    "tool": "tool",
    "user": "user",
}

_Block = dict[str, Any]


def read_llamaindex(messages: Sequence[object], settings: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """The canonical parameters of a conversation; `settings` has `model` and the sampling parameters."""
    conversation = _Conversation(reading)
    for number, message in enumerate(messages):
        conversation.add(reading.members(_dumped(message), f"messages[{number}]"))
    given = {name: value for name, value in settings.items() if value is not None and name != "tools"}
    params = {**given, "messages": conversation.messages}
    tools = settings.get("tools")
    if tools:
        params["tools"] = [_tool(reading, tool, number) for number, tool in enumerate(tools)]
    return params


class _Conversation:
    """The messages so far."""

    def __init__(self, reading: Reading) -> None:
        self.messages: list[dict[str, Any]] = []
        self._reading = reading
        data = partial(_data, reading)
        self._parts: Readers = {
            "text": _text,
            "image_url": partial(_image_url, reading),
            "file": partial(data, "document", "data", "application/octet-stream"),
            "audio": partial(data, "audio", "data", "audio/*"),
            "image": partial(data, "image", "data", "image/*"),
        }
        # What the Python library calls a block has its data in a member of its own name.
        self._blocks: Readers = {
            "text": _text,
            "image": partial(data, "image", "image", "image/*"),
            "audio": partial(data, "audio", "audio", "audio/*"),
            "document": partial(data, "document", "data", "application/octet-stream"),
            "tool_call": _tool_call_block,
            "thinking": _thinking,
            "cache": _left_out,
        }

    def add(self, message: Members) -> None:
        """One message, in order."""
        role = message.take("role", "user")
        options = message.mapping("options") if message.peek("options") is not None else None
        result = None if options is None else options.take("toolResult", options.take("tool_result"))
        if options is not None and result:
            self.messages.append(self._tool_result(self._reading.members(result, options.at("toolResult"))))
            # The library repeats the result as the message's content.
            repeated = self.messages[-1]["content"][0]["text"]
            if message.peek("content") in ("", repeated):
                message.take("content")
        elif role not in _ROLES:
            self._reading.unknown(message, "role", role, _ROLES)
        else:
            self.messages.append({"role": _ROLES[role], "content": self._content(message)})
            if options is not None:
                self.messages[-1]["content"] += self._tool_calls(options)
        if options is not None:
            options.done()
        message.done()

    def _tool_result(self, result: Members) -> dict[str, Any]:
        text = result.text("result", "")
        read = {"role": "tool", "toolCallId": result.text("id"), "content": [text_block(text)]}
        result.done(defaults={"isError": False, "is_error": False})
        return read

    def _content(self, message: Members) -> list[_Block]:
        if isinstance(message.peek("content"), str):
            text = message.take("content")
            return [text_block(text)] if text else []
        read = [
            (part, dispatched(part, "kind of content", part.take("type"), self._parts, self._reading))
            for part in message.each("content")
        ] + [
            (part, dispatched(part, "kind of block", part.take("block_type"), self._blocks, self._reading))
            for part in message.each("blocks")
        ]
        for part, _ in read:
            part.done()
        return [block for _, block in read if block is not None]

    def _tool_calls(self, options: Members) -> list[_Block]:
        name = "toolCall" if options.peek("toolCall") is not None else "tool_call"
        calls = options.take(name, [])
        blocks = []
        for number, given in enumerate(calls if isinstance(calls, list) else [calls]):
            call = self._reading.members(given, f"{options.at(name)}[{number}]")
            blocks.append(_call(call.text("id"), call.text("name"), call.take("input")))
            call.done()
        return blocks


def _call(id: str, name: str, given: object) -> _Block:
    arguments = (parsed_arguments(given) if given else {"__raw": given}) if isinstance(given, str) else given
    return {"type": "tool_call", "id": id, "name": name, "args": arguments}


def _tool_call_block(part: Members) -> _Block:
    return _call(part.text("tool_call_id", ""), part.text("tool_name"), part.take("tool_kwargs"))


def _left_out(part: Members) -> None:
    part.leave_out()


def _text(part: Members) -> _Block:
    return text_block(part.text("text", ""))


def _thinking(part: Members) -> _Block:
    return {"type": "reasoning", "text": part.text("content", "")}


def _image_url(reading: Reading, part: Members) -> _Block:
    image = part.mapping("image_url")
    url = image.text("url")
    image.done()
    block: _Block = {"type": "binary", "kind": "image", "mediaType": media_type_of(url, "image/*"), "ref": ""}
    return reading.binary(block, "image", url_source(url))


def _data(reading: Reading, kind: str, member: str, media_type: str, part: Members) -> _Block | None:
    """Content as data, or in the Python library's blocks also as a URL."""
    data = part.take(member)
    url = "" if data else part.text("url", "")
    if not data and not url:
        part.leave_out()
        return None
    for name in ("mimeType", "mime_type", f"{kind}_mimetype"):
        media_type = part.take(name, media_type)
    block: _Block = {"type": "binary", "kind": kind, "mediaType": media_type, "ref": ""}
    return reading.binary(block, kind, {"type": "base64", "data": data} if data else url_source(url))


def _tool(reading: Reading, tool: object, number: int) -> dict[str, Any]:
    """What the model is told about a tool: its name, description and schema, never the function behind it."""
    told = getattr(tool, "metadata", tool)
    if isinstance(told, Mapping):
        told = told.get("metadata", told)
    path = f"tools[{number}]"
    if isinstance(told, Mapping):
        members = reading.members(told, path)
        found = {"name": members.text("name"), **members.copied({"description": "description"})}
        parameters = members.take("parameters")
    else:
        # The Python library computes the schema from the function's signature.
        name = getattr(told, "name", None)
        if not isinstance(name, str):
            raise InvalidInputError(f"{path} has no metadata with a name, got {type(tool).__name__}")
        description = getattr(told, "description", None)
        found = {"name": name, **({} if description is None else {"description": description})}
        schema = getattr(told, "get_parameters_dict", None)
        parameters = schema() if callable(schema) else getattr(told, "parameters", None)
    return {"type": "function", "function": found if parameters is None else {**found, "parameters": parameters}}


def _dumped(message: object) -> object:
    """A message object with all its members: blocks of the Python library have their kind as a default."""
    dump = getattr(message, "model_dump", None)
    return dump(mode="json", warnings=False) if callable(dump) else message
