"""Which failures of an embedder pass, and which are nobody's text.

Embedding a text is a question: asked twice it changes nothing. So whatever may go
away by itself is worth asking again; what the text or the set-up caused would only come back.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from betterdb_agent_memory.errors import (
    ConfigurationError,
    EmbedderOverloadedError,
    EmbedderUnavailableError,
    EmbeddingError,
)

_PASSING_STATUSES: Final = frozenset({408, 409, 425, 429})
_FIRST_SERVER_STATUS: Final = 500
_HTTP_STATUSES: Final = range(100, 600)
_REFUSES_ANY_TEXT: Final = frozenset({401, 402, 403, 404, 429})

_NOT_REACHED: Final = (ConnectionError, TimeoutError, socket.gaierror, socket.herror, ssl.SSLError)
# Client libraries put these into an `OSError` of their own kind; the last two are sockets that cannot be had.
_NOT_REACHED_ERRNOS: Final = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EPIPE,
        errno.ETIMEDOUT,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENETRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EADDRNOTAVAIL,
        errno.EMFILE,
        errno.ENFILE,
    }
)
# Client libraries whose errors show neither: by name, as none of them is ours to import.
_NOT_REACHED_NAMES: Final = frozenset(
    {
        "httpx.NetworkError",
        "httpx.TimeoutException",
        "httpx.RemoteProtocolError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "aiohttp.client_exceptions.ClientConnectionError",
        "botocore.exceptions.HTTPClientError",
    }
)
# What asyncio says where a name has several addresses and each failed in its own way.
_SEVERAL_ADDRESSES: Final = "Multiple exceptions: "


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed in a moment.

    So it is for an embedder that was not reached (`ConnectionError`, `TimeoutError`, the errors of sockets,
    names and TLS, but not every `OSError`: a missing file is the text's), that says so itself
    (`EmbedderUnavailableError`), or that answered with the HTTP status 408, 409, 425, 429 or 500 and up,
    as `status_code` on the error, on its `response` or on one of its causes. An `EmbeddingError` with a
    status was judged by who raised it. What httpx, requests, aiohttp and botocore raise is known by name.

    >>> is_passing(TimeoutError()), is_passing(ValueError("too long")), is_passing(FileNotFoundError("a.png"))
    (True, False, False)
    """
    for cause in _causes(error):
        if isinstance(cause, EmbedderUnavailableError) or _was_not_reached(cause):
            return True
        status = _status(cause)
        if status is not None:
            judged = isinstance(cause, EmbeddingError)
            return not judged and (status in _PASSING_STATUSES or status >= _FIRST_SERVER_STATUS)
    return False


def concerns_every_text(error: BaseException) -> bool:
    """Whether any other text would have failed as well, so that trying texts one by one is in vain.

    >>> concerns_every_text(ConfigurationError("no weights")), concerns_every_text(ValueError("too long"))
    (True, False)
    """
    if isinstance(error, (ConfigurationError, EmbedderOverloadedError)) or is_passing(error):
        return True
    return any(_status(cause) in _REFUSES_ANY_TEXT for cause in _causes(error))


def _was_not_reached(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):  # one for each address that was tried
        return all(is_passing(each) for each in error.exceptions)
    if isinstance(error, _NOT_REACHED):
        return True
    if any(f"{kind.__module__}.{kind.__qualname__}" in _NOT_REACHED_NAMES for kind in type(error).__mro__):
        return True
    if not isinstance(error, OSError):
        return False
    return error.errno in _NOT_REACHED_ERRNOS or (error.errno is None and str(error).startswith(_SEVERAL_ADDRESSES))


def _status(error: BaseException) -> int | None:
    for holder, name in ((error, "status_code"), (getattr(error, "response", None), "status_code"), (error, "status")):
        status = getattr(holder, name, None)
        if isinstance(status, int) and status in _HTTP_STATUSES:
            return status
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def cancellations() -> int:
    """How often somebody has asked the running task to end. Where a `CancelledError` comes and this has not
    grown since before the call, it is the awaited call's own.
    """
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0
