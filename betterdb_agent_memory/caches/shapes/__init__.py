"""Requests as providers and frameworks have them, turned into the parameters of the LLM cache.

Each `*_request` reads what would be sent over the wire, a mapping or the SDK's own objects, and does no
I/O except what its `normalizer` does. The outcome is that of the published packages, in TypeScript's way
where they differ, so that all languages find each other's answers. `cached_*` puts the LLM cache around
the function of a client.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, cast

from betterdb_agent_memory.caches.content import LlmCacheParams
from betterdb_agent_memory.caches.llm import LlmCache
from betterdb_agent_memory.caches.references import BinaryNormalizer, default_normalizer
from betterdb_agent_memory.caches.shapes.anthropic import read_anthropic
from betterdb_agent_memory.caches.shapes.anthropic_answers import ANTHROPIC
from betterdb_agent_memory.caches.shapes.langchain import read_langchain
from betterdb_agent_memory.caches.shapes.llamaindex import read_llamaindex
from betterdb_agent_memory.caches.shapes.openai_chat import read_openai_chat
from betterdb_agent_memory.caches.shapes.openai_chat_answers import OPENAI_CHAT
from betterdb_agent_memory.caches.shapes.openai_responses import read_openai_responses
from betterdb_agent_memory.caches.shapes.openai_responses_answers import OPENAI_RESPONSES
from betterdb_agent_memory.caches.shapes.reading import CanonicalRequest, Reading, Unknown
from betterdb_agent_memory.caches.shapes.wrapping import CACHED, Create, Provider, Read, wrapped
from betterdb_agent_memory.errors import InvalidInputError

__all__ = [
    "CanonicalRequest",
    "Unknown",
    "anthropic_request",
    "cached_anthropic",
    "cached_openai_chat",
    "cached_openai_responses",
    "is_cached",
    "langchain_request",
    "llamaindex_request",
    "openai_chat_request",
    "openai_responses_request",
]

_CACHED_ID: Final = re.compile(f"(chatcmpl|resp|msg)[-_]{CACHED}[-_]")


async def openai_chat_request(
    request: Mapping[str, Any], *, normalizer: BinaryNormalizer = default_normalizer, unknown: Unknown = "refuse"
) -> CanonicalRequest:
    """The body of a chat completion request of OpenAI, or of a service that speaks the same.

    `normalizer` makes the references to images, sounds and documents. A role or a kind of content that has
    no canonical form is an error, or with `unknown="leave_out"` in `left_out`.

    Raises:
        InvalidInputError: something cannot be read; the message begins with its path in the request.
    """
    return await _canonical(read_openai_chat, request, normalizer, unknown)


async def openai_responses_request(
    request: Mapping[str, Any], *, normalizer: BinaryNormalizer = default_normalizer, unknown: Unknown = "refuse"
) -> CanonicalRequest:
    """The body of a request for one of OpenAI's responses; arguments and errors as in `openai_chat_request`."""
    return await _canonical(read_openai_responses, request, normalizer, unknown)


async def anthropic_request(
    request: Mapping[str, Any], *, normalizer: BinaryNormalizer = default_normalizer, unknown: Unknown = "refuse"
) -> CanonicalRequest:
    """The body of a request for one of Anthropic's messages; arguments and errors as in `openai_chat_request`."""
    return await _canonical(read_anthropic, request, normalizer, unknown)


async def llamaindex_request(
    messages: Sequence[object],
    *,
    model: str,
    temperature: float | None = None,
    top_p: float | None = None,
    max_tokens: int | None = None,
    tools: Sequence[object] | None = None,
    normalizer: BinaryNormalizer = default_normalizer,
    unknown: Unknown = "refuse",
) -> CanonicalRequest:
    """A conversation of LlamaIndex: its `ChatMessage`s, or mappings as its TypeScript library has them.

    Of `tools` only what the model is told about them enters. Other arguments and errors as in
    `openai_chat_request`.
    """
    if not isinstance(model, str):
        raise InvalidInputError(f"model must be a text, got {model!r:.80}")
    if isinstance(messages, str) or not isinstance(messages, Sequence):
        raise InvalidInputError(f"messages must be a list of messages, got {type(messages).__name__}")
    settings = {"model": model, "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "tools": tools}
    reading = Reading(unknown)
    params = read_llamaindex(messages, settings, reading)
    await reading.resolve(normalizer)
    return CanonicalRequest(cast("LlmCacheParams", params), reading.left_out)


def langchain_request(prompt: str, llm_string: str) -> CanonicalRequest:
    """What LangChain hands to a cache's `lookup`: the prompt as one user message, the model's name as the model.

    Where `llm_string` does not name the model as LangChain.js does, all of it is the model.
    """
    for name, value in (("prompt", prompt), ("llm_string", llm_string)):
        if not isinstance(value, str):
            raise InvalidInputError(f"{name} must be a text, got {value!r:.80}")
    params, left_out = read_langchain(prompt, llm_string)
    return CanonicalRequest(cast("LlmCacheParams", params), left_out)


def cached_openai_chat(
    llm: LlmCache,
    create: Create,
    *,
    ttl: int | None = None,
    stale_seconds: int | None = None,
    normalizer: BinaryNormalizer = default_normalizer,
    ignoring: Collection[str] = (),
) -> Create:
    """`create`, such as `AsyncOpenAI().chat.completions.create`, with the cache around it.

    Takes the same arguments. A `ChatCompletion` from the cache has the text, the tool calls and the token
    counts of the first one; its id begins with `chatcmpl-cached-` (`is_cached`), and what else it had is
    lost. A response that was cut short, says more than text and tool calls or cannot be read is handed out
    and not kept. Requests for a stream, for several answers or for log probabilities go straight to `create`.

    A request that says something which the shared key leaves out, such as `max_completion_tokens`, is kept
    under a key of its own that other languages do not find; `ignoring` names parameters that do not count.
    `ttl` and `stale_seconds` are those of `LlmCache.get_or_call`, which makes one call for many waiters.

    Raises:
        ConfigurationError: `create` is not async or that of `with_raw_response` or `with_streaming_response`,
            or the SDK is not installed.
    """
    return _wrapped(OPENAI_CHAT, llm, create, ttl, stale_seconds, normalizer, ignoring)


def cached_openai_responses(
    llm: LlmCache,
    create: Create,
    *,
    ttl: int | None = None,
    stale_seconds: int | None = None,
    normalizer: BinaryNormalizer = default_normalizer,
    ignoring: Collection[str] = (),
) -> Create:
    """`create`, such as `AsyncOpenAI().responses.create`, with the cache around it; see `cached_openai_chat`.

    The service does not know a `Response` from the cache: to go on from one, send the conversation, not
    `previous_response_id`, which is refused. Requests for a stream, in the background, within a
    `conversation` or for a stored `prompt` go straight to `create`.
    """
    return _wrapped(OPENAI_RESPONSES, llm, create, ttl, stale_seconds, normalizer, ignoring)


def cached_anthropic(
    llm: LlmCache,
    create: Create,
    *,
    ttl: int | None = None,
    stale_seconds: int | None = None,
    normalizer: BinaryNormalizer = default_normalizer,
    ignoring: Collection[str] = (),
) -> Create:
    """`create`, such as `AsyncAnthropic().messages.create`, with the cache around it; see `cached_openai_chat`.

    Thoughts and their signatures are kept. Requests for a stream or within a `container` go straight to `create`.
    """
    return _wrapped(ANTHROPIC, llm, create, ttl, stale_seconds, normalizer, ignoring)


def is_cached(response: object) -> bool:
    """Whether a response was built from what the cache keeps."""
    return _CACHED_ID.match(str(getattr(response, "id", ""))) is not None


async def _canonical(read: Read, request: object, normalizer: BinaryNormalizer, unknown: Unknown) -> CanonicalRequest:
    reading = Reading(unknown)
    params = read(reading.members(request, ""), reading)
    await reading.resolve(normalizer)
    return CanonicalRequest(cast("LlmCacheParams", params), reading.left_out)


def _wrapped(
    provider: Provider,
    llm: LlmCache,
    create: Create,
    ttl: int | None,
    stale_seconds: int | None,
    normalizer: BinaryNormalizer,
    ignoring: Collection[str],
) -> Create:
    return wrapped(
        provider, llm, create, ttl=ttl, stale_seconds=stale_seconds, normalizer=normalizer, ignoring=ignoring
    )
