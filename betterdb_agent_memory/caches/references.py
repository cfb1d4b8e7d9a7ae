"""References: what stands for an image, a sound or a document in a cache key, instead of its bytes.

A normalizer is an async function from what a request holds (`BinaryRef`) to a text. By default the source is
passed through as it is given, which costs nothing and never takes two for one. Hashing finds more hits, for
instance when the same image comes once as a data URL and once with line breaks:

    normalizer = compose_normalizer({"base64": hash_base64, "url": hash_url})

| source | passed through | hashed |
|---|---|---|
| base64 | `base64:` and the text as given | `hash_base64`: `sha256:` of the bytes |
| url | `url:` and the URL as given | `hash_url`: `url:` and its normal form; `fetch_and_hash`: of what is there |
| file_id | `fileid:`, the provider, `:` and the id | |
| bytes | `sha256:` of the bytes | `hash_bytes` |
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, Final, Literal, NotRequired, TypeAlias, TypedDict

from betterdb_agent_memory.caches import fetching
from betterdb_agent_memory.caches.content import BinaryKind
from betterdb_agent_memory.errors import ContentUnavailableError, InvalidInputError


class Base64Source(TypedDict):
    """Content in the request itself, as base64 text or a data URL."""

    type: Literal["base64"]
    data: str
    media_type: NotRequired[str]


class UrlSource(TypedDict):
    """Content that the provider fetches."""

    type: Literal["url"]
    url: str


class FileIdSource(TypedDict):
    """Content that was uploaded to a provider before."""

    type: Literal["file_id"]
    file_id: str
    provider: str


class BytesSource(TypedDict):
    """Content as bytes."""

    type: Literal["bytes"]
    data: bytes


BinarySource: TypeAlias = Base64Source | UrlSource | FileIdSource | BytesSource


class BinaryRef(TypedDict):
    """Binary content of a request; `context` may hold what a normalizer of your own wants to know."""

    kind: BinaryKind
    source: BinarySource
    context: NotRequired[dict[str, Any]]


BinaryNormalizer: TypeAlias = Callable[[BinaryRef], Awaitable[str]]
"""Gives the text that stands for the content: equal for what is the same, different for what is not."""


class NormalizerConfig(TypedDict, total=False):
    """What to do with content of a kind, and with content from a source; the functions may be async."""

    base64: Callable[[str], str | Awaitable[str]]
    url: Callable[[str], str | Awaitable[str]]
    file_id: Callable[[str, str], str | Awaitable[str]]
    bytes: Callable[[bytes], str | Awaitable[str]]
    by_kind: dict[BinaryKind, BinaryNormalizer]


_SOURCES: Final = {"base64": ("data",), "url": ("url",), "file_id": ("file_id", "provider"), "bytes": ("data",)}
"""The members of each source that tell what it is, in the order in which a function of NormalizerConfig takes them."""
_KINDS: Final = ("image", "audio", "document")

_BASE64_MARK: Final = ";base64,"
_NOT_BASE64: Final = re.compile("[^A-Za-z0-9+/]+")
_URL_SAFE: Final = str.maketrans("-_", "+/")


def passthrough(ref: BinaryRef) -> str:
    """The source as it is given; only bytes are hashed.

    Raises:
        InvalidInputError: `ref` is not a BinaryRef.

    >>> passthrough({"kind": "document", "source": {"type": "file_id", "file_id": "f-1", "provider": "openai"}})
    'fileid:openai:f-1'
    """
    source = _checked_source(ref)
    match source["type"]:
        case "base64":
            return f"base64:{source['data']}"
        case "url":
            return f"url:{source['url']}"
        case "file_id":
            return f"fileid:{source['provider']}:{source['file_id']}"
        case _:
            return hash_bytes(source["data"])


async def default_normalizer(ref: BinaryRef) -> str:
    """`passthrough`, as a normalizer."""
    return passthrough(ref)


def compose_normalizer(cfg: NormalizerConfig | None = None) -> BinaryNormalizer:
    """A normalizer that does what `cfg` says for the kind, else for the source, else passes through.

    Raises:
        InvalidInputError: `cfg` has a member that no NormalizerConfig has, or one that cannot be called.
    """
    config = _checked_config(cfg)
    by_kind = config.get("by_kind") or {}

    async def normalizer(ref: BinaryRef) -> str:
        source: Any = _checked_source(ref)
        of_kind = by_kind.get(ref["kind"])
        if of_kind is not None:
            return await _text(of_kind(ref), f"by_kind[{ref['kind']!r}]")
        of_source: Any = config.get(source["type"])
        if of_source is None:
            return passthrough(ref)
        return await _text(of_source(*(source[name] for name in _SOURCES[source["type"]])), source["type"])

    return normalizer


def hash_bytes(data: bytes) -> str:
    """`sha256:` and the hash of the bytes.

    >>> hash_bytes(b"hello")
    'sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824'
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InvalidInputError(f"hash_bytes takes bytes, got {data!r:.80}")
    return f"sha256:{sha256(data).hexdigest()}"


def hash_base64(data: str) -> str:
    """`sha256:` and the hash of the bytes that base64 text or a data URL stands for.

    Reads what Node.js reads, so that both languages have one reference: either alphabet, with or without padding,
    line breaks and other characters skipped, up to the first `=`. Of a data URL it is what follows the
    first `;base64,`.

    >>> hash_base64("data:text/plain;base64,aGVs bG8") == hash_bytes(b"hello")
    True
    """
    if not isinstance(data, str):
        raise InvalidInputError(f"hash_base64 takes text, got {data!r:.80}; hash_bytes takes bytes")
    _, mark, after = data.partition(_BASE64_MARK)
    text = (after if mark else data).partition("=")[0].translate(_URL_SAFE)
    digits = _NOT_BASE64.sub("", text)
    whole = digits[: len(digits) - (len(digits) % 4 == 1)]  # a single digit at the end is not even one byte
    return hash_bytes(base64.b64decode(whole + "=" * (-len(whole) % 4)))


def hash_url(url_str: str) -> str:
    """`url:` and the URL in its normal form, its query sorted by name; nothing is fetched.

    The normal form is the one of the WHATWG URL standard, which browsers and Node.js follow, and is left to Ada,
    the parser in Node.js: scheme and host in lower case, the host in ASCII, default ports and dot segments
    gone, escapes where they are needed. Text that is no absolute URL is kept as it is.

    >>> hash_url("HTTPS://Example.com:443/a/../b?z=1&a=%20")
    'url:https://example.com/b?a=+&z=1'
    """
    if not isinstance(url_str, str):
        raise InvalidInputError(f"hash_url takes text, got {url_str!r:.80}")
    from ada_url import URL, URLSearchParams  # 15 ms, for the few who hash URLs

    try:
        url = URL(url_str)
    except ValueError:
        return f"url:{url_str}"
    query = URLSearchParams(url.search)
    query.sort()  # type: ignore[no-untyped-call]
    url.search = str(query)
    return f"url:{url.href}"


async def fetch_and_hash(
    url: str, *, max_bytes: int = fetching.MAX_BYTES, timeout_seconds: float = fetching.TIMEOUT_SECONDS
) -> str:
    """`sha256:` and the hash of what is at `url`: fetches it, so that a changed image is another one.

    This is the one function of the caches that talks to anybody but the configured server, and only where you call
    it or name it in a NormalizerConfig. It follows redirects, and goes wherever `url` leads: do not
    give it URLs from strangers where that could reach a network of yours. It runs in a thread.

    Raises:
        InvalidInputError: not an http or https URL, or more than `max_bytes` (default 50 MiB) come.
        ContentUnavailableError: no answer, not one of success, or not all within `timeout_seconds` (default 30).
    """
    try:
        # The thread stops reading at the same time; only a server that drips its headers holds it longer.
        async with asyncio.timeout(timeout_seconds):
            return hash_bytes(await asyncio.to_thread(fetching.fetched, url, max_bytes, timeout_seconds))
    except TimeoutError:
        raise ContentUnavailableError(f"no answer within {timeout_seconds:g} s to fetch_and_hash") from None


async def _text(outcome: str | Awaitable[str], where: str) -> str:
    text = await outcome if inspect.isawaitable(outcome) else outcome
    if not isinstance(text, str):
        raise InvalidInputError(f"the normalizer's function {where} must give a text, got {text!r:.80}")
    return text


def _checked_config(cfg: NormalizerConfig | None) -> dict[str, Any]:
    config: dict[str, Any] = dict(cfg or {})
    by_kind = config.get("by_kind") or {}
    unknown = [*config.keys() - {*_SOURCES, "by_kind"}, *by_kind.keys() - set(_KINDS)]
    if unknown:
        raise InvalidInputError(
            f"a normalizer has functions for {', '.join(_SOURCES)} and, in by_kind, for {', '.join(_KINDS)}; "
            f"got {', '.join(sorted(map(repr, unknown)))}"
        )
    functions = {name: function for name, function in config.items() if name != "by_kind"} | by_kind
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise InvalidInputError(f"the normalizer's {name} must be a function, got {function!r:.80}")
    return config


def _checked_source(ref: BinaryRef) -> dict[str, Any]:
    match ref:
        case {"kind": str(), "source": {"type": str(kind), **members} as source} if kind in _SOURCES:
            wanted = bytes | bytearray | memoryview if kind == "bytes" else str
            if all(isinstance(members.get(name), wanted) for name in _SOURCES[kind]):
                return dict(source)
    raise InvalidInputError(f"not a reference to binary content, see BinaryRef: {ref!r:.200}")
