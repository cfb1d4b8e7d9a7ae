"""Everything this library raises on purpose.

::

    AgentMemoryError
    ├── AgentCacheUsageError                     a name belongs to something else
    │   └── InvalidInputError (also ValueError)  refused before anything was paid for or written
    ├── ConfigurationError (also ValueError)     options, URL or environment cannot work as given
    ├── EmbeddingError                           the embedder failed or returned something unusable
    │   ├── EmbedderUnavailableError             no answer in time, no connection, or refused for now
    │   └── EmbedderOverloadedError              too many texts are waiting to be embedded already
    ├── RerankingError                           the reranker failed or returned something unusable
    ├── ContentUnavailableError                  what a URL in a request leads to could not be fetched
    ├── ConsolidationError                       a summarizer or extractor failed or returned something unusable
    ├── IndexMismatchError                       an existing index does not fit this store
    ├── MemoryNotFoundError (also LookupError)   there is no memory with this id
    ├── SupersededError (also LookupError)       another memory has taken the place of this one
    ├── MemoryExistsError                        another memory has this id already
    ├── VersionConflictError                     the memory was changed since it was read
    ├── ChangesMissedError                       changes were trimmed before they were read
    ├── TenantLimitError                         the tenant has, or calls, as much as it may
    ├── LeaseHeldError                           another worker is doing this long work right now
    ├── LeaseLostError                           the time to do it ran out and somebody else may have begun
    └── ValkeyCommandError                       the published name of the next one, for whoever catches it
        └── EngineError                          the server or the file said no
            ├── AuthenticationFailedError        wrong password, user or permission
            ├── SearchModuleMissingError         the server has no search module
            ├── IndexMissingError                the index is not there (dropped or never created)
            ├── IndexNotReadyError               the index is being rebuilt: an answer would be incomplete
            ├── SearchTimeoutError               a search ran into its stated TIMEOUT
            ├── EngineUnavailableError           no connection, or no answer to a question: nothing was changed
            ├── OutcomeUnknownError              the connection broke after sending: it may have happened
            └── PartialBatchError                some of a batch happened; the error says which

A message says what was wrong, with the value, and what to do about it. `AgentCacheError` is the root's published name
in the caches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class AgentMemoryError(Exception):
    """Root of everything this library raises on purpose."""


AgentCacheError = AgentMemoryError
"""The root's published name in the caches: code that catches it catches whatever a tier raises."""


class AgentCacheUsageError(AgentMemoryError):
    """Something was used in a way that cannot work; by itself: a cache's name belongs to something else."""


class InvalidInputError(AgentCacheUsageError, ValueError):
    """An argument was refused before anything was paid for or written."""


class ConfigurationError(AgentMemoryError, ValueError):
    """Options, a URL or the environment cannot work as given."""


class EmbeddingError(AgentMemoryError):
    """The embedder failed, or returned something that is not a usable vector.

    `status_code` is the HTTP status a provider answered with, None where there was none.
    """

    def __init__(self, message: str = "", *, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class EmbedderUnavailableError(EmbeddingError):
    """The embedder did not answer in time, could not be reached, or refuses every request for now.

    Nothing is wrong with the text: the same request may succeed later. `retry_after_seconds` is how
    long the provider asks to wait, None when it does not say.
    """

    def __init__(
        self, message: str = "", *, status_code: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message, status_code=status_code)
        self.retry_after_seconds = retry_after_seconds


class EmbedderOverloadedError(EmbeddingError):
    """More texts are waiting to be embedded than the stated bound; nothing of this call was embedded."""


class RerankingError(AgentMemoryError):
    """The reranker failed, gave no answer in time, or returned something that is not one score a text."""


class ContentUnavailableError(AgentMemoryError):
    """What a URL leads to could not be fetched, or not all of it; nothing was hashed."""


class ConsolidationError(AgentMemoryError):
    """A summarizer or extractor failed, or returned something unusable; it caused no write and no deletion."""


class IndexMismatchError(AgentMemoryError):
    """An existing index has another dimension, metric, type or prefix than this store needs."""


class MemoryNotFoundError(AgentMemoryError, LookupError):
    """There is no memory with this id: it was forgotten, evicted, has expired, or never was."""


class SupersededError(AgentMemoryError, LookupError):
    """Another memory has taken the place of this one; nothing was changed.

    `memory_id` is the one that was asked for, `superseded_by` the one in its place: correct that one, if it is wrong.
    """

    def __init__(self, message: str, *, memory_id: str, superseded_by: str) -> None:
        super().__init__(message)
        self.memory_id = memory_id
        self.superseded_by = superseded_by


class MemoryExistsError(AgentMemoryError):
    """Another memory has this id already; nothing was written."""


class VersionConflictError(AgentMemoryError):
    """The memory is not, or no longer, what the caller expected; nothing was changed.

    `current` is its version now.
    """

    def __init__(self, message: str, *, current: int | None = None) -> None:
        super().__init__(message)
        self.current = current


class ChangesMissedError(AgentMemoryError):
    """Changes were gone before a reader of the change feed came to them.

    `missed` is how many, of all memories together; None where nobody can tell, since the feed was switched off.
    `changes(since=error.since)` goes on behind the gap; a group goes on there by itself.
    """

    def __init__(self, message: str, *, missed: int | None, since: str) -> None:
        super().__init__(message)
        self.missed = missed
        self.since = since


class TenantLimitError(AgentMemoryError):
    """A tenant has as many memories or bytes as it may, or calls faster; nothing was embedded or written.

    `limit` is the field of `TenantLimits`, `allowed` its value, `used` what there would have been.
    `retry_after_seconds` says when a call is allowed again, None where only deleting memories helps.
    """

    def __init__(
        self,
        message: str,
        *,
        limit: str = "",
        allowed: float = 0,
        used: float = 0,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.limit = limit
        self.allowed = allowed
        self.used = used
        self.retry_after_seconds = retry_after_seconds


class LeaseHeldError(AgentMemoryError):
    """Another worker holds the lease for this work; nothing was done."""


class LeaseLostError(AgentMemoryError):
    """The lease passed on while the work went on; it stopped before the next write, or that was refused.

    `done` are the ids of the batch for which it happened before.
    """

    def __init__(self, message: str = "", *, done: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.done = tuple(done)


class ValkeyCommandError(AgentMemoryError):
    """The published name of what a server says no with: whoever catches it catches every `EngineError`.

    `command` is empty for those, since one round trip may carry many commands.
    """

    def __init__(self, command: str, cause: Exception) -> None:
        super().__init__(f"{command} failed: {cause}")
        self.command = command
        self.__cause__ = cause


class EngineError(ValkeyCommandError):
    """The server or the file refused an operation; the driver's error is the cause."""

    def __init__(self, *message: object) -> None:
        AgentMemoryError.__init__(self, *message)
        self.command = ""


class AuthenticationFailedError(EngineError):
    """The server refused the user, the password or the permission."""


class SearchModuleMissingError(EngineError):
    """The server answers, but has no search module loaded."""


class IndexMissingError(EngineError):
    """The search index does not exist; it was dropped, flushed or never created."""


class IndexNotReadyError(EngineError):
    """The server is still taking existing memories into a new index; an answer would be incomplete."""


class SearchTimeoutError(EngineError):
    """A search did not finish within the TIMEOUT it stated."""


class EngineUnavailableError(EngineError):
    """No connection, or a question that was not answered: nothing was changed.

    A write that was sent and not answered is an `OutcomeUnknownError` instead.
    """


class OutcomeUnknownError(EngineError):
    """The connection broke after the request was sent: it may or may not have happened.

    Every write of this library is atomic per memory, so what is named here exists whole or not at
    all. `ids` are the memories concerned; look them up with `get`, or repeat the call.
    """

    def __init__(self, message: str, *, ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.ids = tuple(ids)


class PartialBatchError(EngineError):
    """Part of a batch happened.

    `done` are the ids for which it is known to have happened, `failed` maps the others to their
    error.
    """

    def __init__(self, message: str, *, done: Sequence[str], failed: Mapping[str, Exception]) -> None:
        super().__init__(message)
        self.done = tuple(done)
        self.failed = dict(failed)
