"""Functions of the package that wait, for plain callers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from betterdb_agent_memory import cached_anthropic as async_cached_anthropic
from betterdb_agent_memory import cached_openai_chat as async_cached_openai_chat
from betterdb_agent_memory import cached_openai_responses as async_cached_openai_responses
from betterdb_agent_memory import fetch_and_hash as async_fetch_and_hash
from betterdb_agent_memory.sync.bridge import as_async, wait
from betterdb_agent_memory.sync.generated import LlmCache

__all__ = ["cached_anthropic", "cached_openai_chat", "cached_openai_responses", "fetch_and_hash"]

_CreateT = TypeVar("_CreateT", bound=Callable[..., Any])


def cached_openai_chat(llm: LlmCache, create: _CreateT, **options: Any) -> _CreateT:
    """`create`, such as `OpenAI().chat.completions.create`, with the cache around it.

    The options are those of the asynchronous `cached_openai_chat`.
    """
    return _around(async_cached_openai_chat, llm, create, options)


def cached_openai_responses(llm: LlmCache, create: _CreateT, **options: Any) -> _CreateT:
    """`create`, such as `OpenAI().responses.create`, with the cache around it; see `cached_openai_chat`."""
    return _around(async_cached_openai_responses, llm, create, options)


def cached_anthropic(llm: LlmCache, create: _CreateT, **options: Any) -> _CreateT:
    """`create`, such as `Anthropic().messages.create`, with the cache around it; see `cached_openai_chat`."""
    return _around(async_cached_anthropic, llm, create, options)


def fetch_and_hash(url: str, **options: Any) -> str:
    """`sha256:` and the hash of what is at `url`; the options are those of the asynchronous `fetch_and_hash`."""
    return wait(async_fetch_and_hash(url, **options))


def _around(wrap: Callable[..., Any], llm: LlmCache, create: _CreateT, options: dict[str, Any]) -> _CreateT:
    sending = as_async(create)

    # It says whose function it is, so that those which cannot be wrapped are refused.
    @functools.wraps(create)
    async def send(**arguments: Any) -> Any:
        return await sending(**arguments)

    asking = wrap(llm._inner, send, **options)

    @functools.wraps(create)
    def cached(**arguments: Any) -> Any:
        return wait(asking(**arguments))

    return cast("_CreateT", cached)
