"""The stored values of the LLM and the tool tier: compact JSON, spelled as the TypeScript package does.

Members stand in the order in which that package writes them. What it does not know of is added behind
them; readers of either package leave it alone.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from betterdb_agent_memory.caches.canonical import canonical_json, is_plain, json_value
from betterdb_agent_memory.caches.content import ContentBlock
from betterdb_agent_memory.caches.json_values import JsonValue
from betterdb_agent_memory.caches.results import LlmCacheResult, Origin, ToolCacheResult


@dataclass(frozen=True, slots=True)
class LlmEntry:
    """An answer of a model as it is kept.

    `stored_at_ms` is None where a writer left it out. `fresh_until_ms` is ours: from then on the answer is
    kept only to be handed out while a new one is fetched; None for one that is fresh as long as it is there.
    """

    response: str | None
    model: str
    stored_at_ms: int | None
    content_blocks: Sequence[ContentBlock] | None = None
    tokens: Mapping[str, int] | None = None
    cost: float | None = None
    fresh_until_ms: int | None = None

    def result(self, key: str, origin: Origin, now_ms: int) -> LlmCacheResult:
        """This answer for a caller."""
        tokens = self.tokens or {}
        return LlmCacheResult(
            hit=origin != "call",
            response=self.response,
            content_blocks=None if self.content_blocks is None else list(self.content_blocks),
            key=key,
            input_tokens=tokens.get("input", 0),
            output_tokens=tokens.get("output", 0),
            origin=origin,
            age_seconds=None if self.stored_at_ms is None else max(0, now_ms - self.stored_at_ms) / 1000,
        )


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """A tool's result as it is kept; `args` are the arguments of the call, in the order given."""

    response: str | None
    tool_name: str
    args: Any
    stored_at_ms: int | None
    cost: float | None = None

    def result(self, key: str, tool_name: str) -> ToolCacheResult:
        """This result for a caller."""
        return ToolCacheResult(hit=True, tool_name=tool_name, response=self.response, key=key)


_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def text_of(blocks: Sequence[ContentBlock]) -> str:
    """The text blocks of an answer, one behind the other."""
    return "".join(block["text"] for block in blocks if block["type"] == "text")


def encode_llm(entry: LlmEntry) -> bytes:
    """The stored bytes.

    Raises:
        InvalidInputError: a content block holds something that has no JSON.
    """
    members: dict[str, Any] = {"response": entry.response}
    if entry.content_blocks is not None:
        members["contentBlocks"] = entry.content_blocks
    members |= {"model": entry.model, "storedAt": entry.stored_at_ms}
    if entry.tokens:
        members["tokens"] = entry.tokens
    if entry.cost is not None:
        members["cost"] = entry.cost
    if entry.fresh_until_ms is not None:
        members["freshUntil"] = entry.fresh_until_ms
    return _encoded(members)


def decode_llm(raw: bytes) -> LlmEntry | None:
    """The entry, or None for bytes that are none: no JSON, no object, neither a response nor blocks, or a
    response that is no text.
    """
    members = _members(raw)
    if members is None:
        return None
    response, blocks = members.get("response"), members.get("contentBlocks")
    if not isinstance(blocks, list):
        blocks = None
    if not isinstance(response, str) and (response is not None or blocks is None):
        return None
    return LlmEntry(
        response=response,
        model=_text(members.get("model")),
        stored_at_ms=_whole(members.get("storedAt")),
        content_blocks=blocks,
        tokens=_tokens(members.get("tokens")),
        cost=_number(members.get("cost")),
        fresh_until_ms=_whole(members.get("freshUntil")),
    )


def encode_tool(entry: ToolEntry) -> bytes:
    """The stored bytes.

    Raises:
        InvalidInputError: an argument has no JSON.
    """
    members: dict[str, Any] = {
        "response": entry.response,
        "toolName": entry.tool_name,
        "args": entry.args,
        "storedAt": entry.stored_at_ms,
    }
    if entry.cost is not None:
        members["cost"] = entry.cost
    return _encoded(members)


def decode_tool(raw: bytes) -> ToolEntry | None:
    """The entry, or None for bytes that are none: no JSON, no object, or one without a response."""
    members = _members(raw)
    if members is None or members.get("response") is None:
        return None
    return ToolEntry(
        response=members["response"],
        tool_name=_text(members.get("toolName")),
        args=members.get("args"),
        stored_at_ms=_whole(members.get("storedAt")),
        cost=_number(members.get("cost")),
    )


def _encoded(members: dict[str, Any]) -> bytes:
    # Nearly every entry is one that the C encoder writes right, in a fifth of the time.
    with contextlib.suppress(UnicodeEncodeError):
        if is_plain(members):
            return _COMPACT.encode(members).encode()
    return _as_given(json_value(members)).encode()


def _as_given(value: JsonValue) -> str:
    """The TypeScript spelling with members in the order given; integers exact, as JSON allows."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{canonical_json(name)}:{_as_given(member)}' for name, member in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_as_given, value))}]"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return canonical_json(value)


def _members(raw: bytes) -> dict[str, Any] | None:
    try:
        members = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return members if isinstance(members, dict) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    """A finite number of dollars. Other writers may have left anything there."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and -1e300 < value < 1e300:
        return float(value)
    return None


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else math.floor(number)


def _tokens(value: object) -> dict[str, int] | None:
    if not isinstance(value, dict):
        return None
    counts = {name: _whole(count) for name, count in value.items()}
    return {name: count for name, count in counts.items() if count is not None}
