"""Fetches what a URL leads to, within stated bounds. Blocking: called in a thread."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from typing import Final
from urllib.parse import urlsplit

from betterdb_agent_memory.errors import ContentUnavailableError, InvalidInputError
from betterdb_agent_memory.version import package_version

MAX_BYTES: Final = 50 * 2**20
TIMEOUT_SECONDS: Final = 30.0

_CHUNK_BYTES: Final = 65_536


def fetched(url: str, max_bytes: int, timeout_seconds: float) -> bytes:
    """The body of the answer to a GET of `url`, redirects followed.

    Raises:
        InvalidInputError: not an http or https URL, or the body is larger than `max_bytes`.
        ContentUnavailableError: no answer, not one of success, or not all of it in time.
    """
    request = urllib.request.Request(
        _checked(url), headers={"User-Agent": f"betterdb-agent-memory/{package_version()}"}
    )
    until = time.monotonic() + timeout_seconds
    try:
        with _opener().open(request, timeout=timeout_seconds) as response:
            return _body(response, url, max_bytes, until)
    except urllib.error.HTTPError as error:
        error.close()
        raise ContentUnavailableError(f"{_shown(url)} answered with status {error.code}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ContentUnavailableError(f"{_shown(url)} could not be fetched: {error}") from error


def _body(response: http.client.HTTPResponse, url: str, max_bytes: int, until: float) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read1(_CHUNK_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise InvalidInputError(f"{_shown(url)} is larger than max_bytes, {max_bytes:,} bytes")
        if time.monotonic() > until:
            raise ContentUnavailableError(f"{_shown(url)} took too long; {size:,} bytes had come")
    if response.length:
        raise ContentUnavailableError(f"{_shown(url)} ended {response.length:,} bytes early")
    return b"".join(chunks)


def _checked(url: object) -> str:
    from ada_url import URL

    try:
        parsed = URL(url if isinstance(url, str) else "")
    except ValueError:
        raise InvalidInputError(f"cannot fetch {url!r:.80}: it is no absolute URL") from None
    if parsed.protocol not in {"http:", "https:"}:
        raise InvalidInputError(f"cannot fetch {_shown(parsed.href)}: only http and https URLs are fetched")
    if parsed.username or parsed.password:
        raise InvalidInputError(f"cannot fetch {_shown(parsed.href)}: URLs with a user or a password are not fetched")
    href: str = parsed.href
    return href


def _shown(url: str) -> str:
    """The URL for a message, without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"[:200]


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https only, after a redirect too: the usual opener also reads files and FTP servers."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener
