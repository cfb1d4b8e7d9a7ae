"""Puts the LLM cache around the function of a client that sends a request.

What is kept is what every language can read: text, blocks and token counts. A response in the shape of
the provider is built from that on a hit, so that some of it is lost. A response of which more would be
lost than a caller may expect is handed out and not kept, and so is one that cannot be read: it was paid for.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from betterdb_agent_memory.caches.canonical import json_value
from betterdb_agent_memory.caches.content import ContentBlock
from betterdb_agent_memory.caches.llm import LlmCache
from betterdb_agent_memory.caches.references import BinaryNormalizer
from betterdb_agent_memory.caches.results import LlmAnswer, LlmCacheResult
from betterdb_agent_memory.caches.shapes.reading import CanonicalRequest, Members, Reading, as_sent
from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError

Create = TypeVar("Create", bound=Callable[..., Any])
Read = Callable[[Members, Reading], dict[str, Any]]

CACHED: Final = "cached"
"""What the ids of responses from the cache have in them."""

_log = logging.getLogger(__name__)

_TEXTS: Final[Mapping[object, tuple[str, ...]]] = {
    "text": ("text",),
    "tool_call": ("id", "name"),
    "reasoning": ("text",),
}
"""The texts that the blocks of an answer must have; other kinds, which no model answers, are for other readers."""

_MOST_TOKENS: Final = 2**53
"""More are a mistake, and no whole number in every language."""

_RAW: Final = re.compile("(async_)?to_(custom_)?(raw|streamed)_response_wrapper[.]")
"""Code that the SDKs of OpenAI and Anthropic put around a function, so that it answers with the HTTP response."""

_NOT_KEPT: Final = LlmAnswer(content_blocks=(), store=False)
"""What those who wait for the same answer in this process get to know: that they have to ask themselves."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of an answer on a hit; counts are 0 where they were not kept."""

    id: str
    model: str
    blocks: list[dict[str, Any]]
    input_tokens: int
    output_tokens: int
    stored_at_seconds: int

    @property
    def text(self) -> str | None:
        """The text of all blocks, None where none is a text."""
        texts = [block["text"] for block in self.blocks if block["type"] == "text"]
        return "".join(texts) if texts else None


@dataclass(frozen=True, slots=True)
class Provider:
    """How one API looks: all functions are pure and work on what goes over the wire.

    `passes` says that a request is none of the cache's business. `blocks` are the canonical blocks of a
    response. `response` builds one from what was kept. `essence` is what of a response must not be lost.
    `blocks` and `essence` may raise anything for a response that is not as the SDK's types say.
    """

    name: str
    example: str
    read: Read
    passes: Callable[[Mapping[str, Any]], bool]
    blocks: Callable[[Mapping[str, Any]], list[dict[str, Any]]]
    tokens: Callable[[Mapping[str, Any]], dict[str, int] | None]
    response: Callable[[Kept, Mapping[str, Any]], dict[str, Any]]
    essence: Callable[[Mapping[str, Any]], object]
    response_type: Callable[[], type[Any]]


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A client's function with the cache around it."""

    provider: Provider
    llm: LlmCache
    create: Callable[..., Awaitable[Any]]
    response_type: type[Any]
    ttl: int | None
    stale_seconds: int | None
    normalizer: BinaryNormalizer
    ignoring: frozenset[str]

    async def __call__(self, **arguments: Any) -> Any:
        """The response to a request, kept or new."""
        if self._passes(arguments):
            return await self.create(**arguments)
        body = body_of(arguments)
        request = await self._canonical(body)
        own: list[Any] = []

        async def call() -> LlmAnswer:
            response = await self.create(**arguments)
            own.append(response)
            return self._answer(response, request.params["model"], body)

        result = await self.llm.get_or_call(
            request.complete,
            call,
            ttl=self.ttl,
            stale_seconds=self.stale_seconds,
            key="complete" if request.left_out else None,
        )
        if own:
            return own[0]
        kept = _kept(result, request.params["model"])
        if not _is_answer(kept.blocks):
            return await self.create(**arguments)
        return self.response_type.model_construct(**self.provider.response(kept, body))

    def _passes(self, arguments: Mapping[str, Any]) -> bool:
        extra = arguments.get("extra_body")
        sent = {**arguments, **extra} if isinstance(extra, Mapping) else arguments
        return bool(sent.get("stream")) or self.provider.passes(sent)

    async def _canonical(self, body: Mapping[str, Any]) -> CanonicalRequest:
        reading = Reading("leave_out")
        params = self.provider.read(reading.members(body, ""), reading)
        await reading.resolve(self.normalizer)
        left_out = {path: value for path, value in reading.left_out.items() if _first(path) not in self.ignoring}
        return CanonicalRequest(cast("Any", params), left_out)

    def _answer(self, response: object, model: str, body: Mapping[str, Any]) -> LlmAnswer:
        """What is kept of a response; nothing of one that could not be given back as it was. Never raises."""
        try:
            return self._read(response, model, body)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a response, it was paid for
            _log.debug("a response of %s is not kept: it cannot be read", model, exc_info=error)
            return _NOT_KEPT

    def _read(self, response: object, model: str, body: Mapping[str, Any]) -> LlmAnswer:
        if not isinstance(response, self.response_type):
            _log.debug(
                "a %s of %s is not kept: it is no %s", type(response).__name__, model, self.response_type.__name__
            )
            return _NOT_KEPT
        sent = cast("Any", response).to_dict(mode="json", exclude_none=True, warnings=False)
        blocks = self.provider.blocks(sent)
        if not _is_answer(blocks) or not _is_storable(blocks) or self._loses(sent, blocks, body):
            _log.debug("response %s of %s is not kept: it would come back as less", sent.get("id"), model)
            return _NOT_KEPT
        tokens = self.provider.tokens(sent)
        if [block["type"] for block in blocks] == ["text"]:
            return LlmAnswer(response=blocks[0]["text"], tokens=tokens)
        return LlmAnswer(content_blocks=cast("list[ContentBlock]", blocks), tokens=tokens)

    def _loses(self, sent: Mapping[str, Any], blocks: list[dict[str, Any]], body: Mapping[str, Any]) -> bool:
        """Whether a hit would say less than the response did."""
        again = self.provider.response(Kept("", "", blocks, 0, 0, 0), body)
        return self.provider.essence(again) != self.provider.essence(sent)


def wrapped(
    provider: Provider,
    llm: LlmCache,
    create: Create,
    *,
    ttl: int | None,
    stale_seconds: int | None,
    normalizer: BinaryNormalizer,
    ignoring: Collection[str],
) -> Create:
    """`create` with the cache around it; the arguments and the response are the same."""
    if _is_raw(inspect.unwrap(create, stop=_is_raw)):
        raise ConfigurationError(
            "create must not be that of with_raw_response or with_streaming_response: an answer from the cache has no "
            f"headers and is no stream; wrap the plain one, such as {provider.example}, and call this one without cache"
        )
    if not _is_async(create):
        raise ConfigurationError(
            f"create must be an async function, such as {provider.example}, got {create!r:.120}; "
            "a client that blocks would hold up everything else in this process"
        )
    if isinstance(ignoring, str):
        raise ConfigurationError(f"ignoring must be a collection of parameter names, got the text {ignoring!r:.80}")
    call = Wrapped(provider, llm, create, provider.response_type(), ttl, stale_seconds, normalizer, frozenset(ignoring))

    @functools.wraps(create)
    async def cached(**arguments: Any) -> Any:
        return await call(**arguments)

    return cast("Create", cached)


def body_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an SDK's function as the body that it sends; what it does not send stays beside it.

    Raises:
        InvalidInputError: an argument is nothing that can be sent; it is named.
    """
    sendable = {name: value for name, value in arguments.items() if name not in ("extra_body", "timeout")}
    body = as_sent(sendable, "")
    extra = as_sent(arguments.get("extra_body"), "extra_body")
    if extra is not None and not isinstance(extra, dict):
        raise InvalidInputError(f"extra_body must be a mapping, got {type(extra).__name__}")
    return {**body, **(extra or {})}


def import_failed(package: str, error: ImportError) -> ConfigurationError:
    """What to say when the SDK whose responses are to be built is not there."""
    return ConfigurationError(
        f"the responses of {package} are built with its SDK, which cannot be imported ({error}); "
        f"install betterdb-agent-memory[{package}]"
    )


def said(members: Mapping[str, Any], *, without: Collection[str] = ()) -> dict[str, Any]:
    """The members that say something: no nulls, no empty lists or mappings."""
    return {name: value for name, value in members.items() if name not in without and value not in (None, [], {})}


def counts(usage: object, read: str, written: str) -> dict[str, int] | None:
    """The tokens that were read and written, from the members of `usage`; None unless both are counts."""
    if not isinstance(usage, Mapping):
        return None
    found = {"input": usage.get(read), "output": usage.get(written)}
    return cast("dict[str, int]", found) if all(map(_is_count, found.values())) else None


def _is_count(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 <= value <= _MOST_TOKENS and value == int(value)


def _kept(result: LlmCacheResult, model: str) -> Kept:
    blocks = result.content_blocks
    return Kept(
        id=hashlib.sha256((result.key or "").encode()).hexdigest()[:24],
        model=model,
        blocks=[{"type": "text", "text": result.response or ""}] if blocks is None else cast("list[Any]", blocks),
        input_tokens=result.input_tokens,
        output_tokens=result.output_tokens,
        stored_at_seconds=int(time.time() - (result.age_seconds or 0)),
    )


def _is_storable(blocks: list[dict[str, Any]]) -> bool:
    """Whether the arguments of tool calls are within the bounds of what is stored."""
    try:
        json_value({"contentBlocks": blocks})
    except InvalidInputError:
        return False
    return True


def _is_answer(blocks: Sequence[object]) -> bool:
    """Whether a response can be built from these: another writer, or another service, may have left anything."""
    return bool(blocks) and all(map(_is_usable, blocks))


def _is_usable(block: object) -> bool:
    if not isinstance(block, Mapping) or not isinstance(block.get("type"), str) or block["type"] not in _TEXTS:
        return False
    texts = [block.get(name) for name in _TEXTS[block["type"]]] + [block.get("opaqueSignature") or ""]
    return all(isinstance(text, str) for text in texts) and (block["type"] != "tool_call" or "args" in block)


def _first(path: str) -> str:
    """The parameter that a path leads into."""
    return path.partition(".")[0].partition("[")[0]


def _is_async(create: object) -> bool:
    if not callable(create):
        return False
    inner = inspect.unwrap(create, stop=inspect.iscoroutinefunction)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(type(inner).__call__)


def _is_raw(function: object) -> bool:
    """Whether an SDK made this for `with_raw_response` or `with_streaming_response`; only its code says so."""
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None)
    return _RAW.match(str(getattr(code, "co_qualname", ""))) is not None
