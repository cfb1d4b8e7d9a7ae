"""The types of requests have the members of the published ones, and know which may be left out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args

import pytest

from betterdb_agent_memory.caches import content, references

# Members that must be there, and members that may be left out, as the published types say.
PUBLISHED: dict[str, tuple[str, str]] = {
    "LlmCacheParams": (
        "model messages",
        "temperature top_p max_tokens tools tool_choice seed stop response_format reasoning_effort prompt_cache_key",
    ),
    "LlmCacheMessage": ("role content", "toolCallId name"),
    "ToolDefinition": ("type function", ""),
    "BlockHints": ("", "anthropicCacheControl"),
    "CacheControlHint": ("type", "ttl"),
    "TextBlock": ("type text", "hints"),
    "BinaryBlock": ("type kind mediaType ref", "detail filename hints"),
    "ToolCallBlock": ("type id name args", "hints"),
    "ToolResultBlock": ("type toolCallId content", "isError hints"),
    "ReasoningBlock": ("type text", "opaqueSignature redacted hints"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_types_have_the_published_members(name: str) -> None:
    required, optional = (set(members.split()) for members in PUBLISHED[name])
    made = getattr(content, name)
    assert (made.__required_keys__, made.__optional_keys__) == (required, optional)
    assert inspect.getdoc(made)


def test_a_content_block_is_one_of_five() -> None:
    kinds = [block.__annotations__["type"] for block in get_args(content.ContentBlock)]
    assert [get_args(kind)[0] for kind in kinds] == ["text", "binary", "tool_call", "tool_result", "reasoning"]


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (references.compose_normalizer, "cfg"),
        (references.default_normalizer, "ref"),
        (references.passthrough, "ref"),
        (references.hash_base64, "data"),
        (references.hash_bytes, "data"),
        (references.hash_url, "url_str"),
        (references.fetch_and_hash, "url"),
    ],
)
def test_functions_take_the_published_parameters(function: Callable[..., Any], parameters: str) -> None:
    taken = inspect.signature(function).parameters.values()
    assert [p.name for p in taken if p.kind is not inspect.Parameter.KEYWORD_ONLY] == parameters.split()
    assert inspect.iscoroutinefunction(function) == (
        function in (references.default_normalizer, references.fetch_and_hash)
    )
