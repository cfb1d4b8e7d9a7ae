"""Which failures of an embedder pass, and which are nobody's text.

Embedding a text is a question: asked twice it changes nothing. So whatever may go
away by itself is worth asking again; what the text or the set-up caused would only come back.
"""

from __future__ import annotations

import asyncio
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
_REFUSES_ANY_TEXT: Final = frozenset({401, 402, 403, 404, 429})


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed in a moment.

    So it is for an embedder that was not reached (`OSError`, which `TimeoutError` and `ConnectionError`
    are), that says so itself (`EmbedderUnavailableError`), or that answered with the HTTP status 408, 409,
    425, 429 or 500 and up, as `status_code` on the error or on one of its causes. An `EmbeddingError`
    with a status was judged by who raised it.

    >>> is_passing(TimeoutError()), is_passing(ValueError("too long"))
    (True, False)
    """
    for cause in _causes(error):
        if isinstance(cause, (EmbedderUnavailableError, OSError)):
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


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


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
