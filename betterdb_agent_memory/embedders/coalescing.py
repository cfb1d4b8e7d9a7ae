"""Many tasks, few calls: concurrent requests for vectors go out together.

The manner is that of Facebook's DataLoader, with a bound on everything and no timer: nobody waits for
a batch to fill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from betterdb_agent_memory.embedders.answers import refuse_what_is_not_text
from betterdb_agent_memory.embedders.base import Embedder, EmbedderAround, QueryBatchEmbedder, VectorLike
from betterdb_agent_memory.embedders.cached import CachedEmbedder
from betterdb_agent_memory.embedders.failures import cancellations, concerns_every_text, is_passing
from betterdb_agent_memory.embedders.function import FunctionEmbedder
from betterdb_agent_memory.embedders.limits import CallLimits
from betterdb_agent_memory.embedders.waiting import Batch, Caller, WaitingTexts, utf8_bytes
from betterdb_agent_memory.embedders.wordllama import WordLlamaEmbedder
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    EmbedderOverloadedError,
    EmbedderUnavailableError,
    EmbeddingError,
    InvalidInputError,
)

_FIRST_PAUSE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class EmbedderStatistics:
    """What a `CoalescingEmbedder` does now, and has done since it was made."""

    waiting: int
    """Different texts in the queue."""
    in_flight: int
    """Calls under way."""
    calls: int
    """Calls of the inner embedder, every attempt counted."""
    texts: int
    """Texts these calls carried."""
    spared: int
    """Texts that were asked for while the same text waited already."""
    retries: int
    timeouts: int
    refused: int
    """Texts refused because too many waited."""


class CoalescingEmbedder(EmbedderAround):
    """An embedder around another one, through which concurrent calls go out in batches.

    A call made while little is under way goes at once, together with whatever else was asked in the
    same turn of the event loop. While `max_concurrency` calls are in flight, texts wait and go out
    together when one returns; the same text waiting twice is embedded once. When `max_waiting`
    texts wait, a call is refused with `EmbedderOverloadedError` rather than queued for an answer that
    would come too late. A list for `embed_documents` that is longer than a batch is queued a few batches
    at a time and waits for room: it neither fills the queue nor keeps the others waiting nor is refused.

    A call that gets no answer in time, or fails with what may pass, is made again (see
    `CallLimits`). When a batch fails for another reason and several callers had texts in it, each
    caller's texts are tried once more by themselves: nobody fails for a stranger's text. A caller
    that is cancelled leaves the others alone; a call that nobody waits for any more is cancelled.

    `limits` are by default those the inner embedder states as `call_limits`, else `CallLimits()`.
    Questions go out together if the inner embedder is a `QueryBatchEmbedder`. It belongs to one
    event loop at a time. `aclose` stops it; the inner embedder stays yours.

    >>> embedder = CoalescingEmbedder(WordLlamaEmbedder(), CallLimits(max_concurrency=1))
    >>> async def ask() -> None:
    ...     await asyncio.gather(*(embedder.embed_documents([f"note {n % 50}"]) for n in range(100)))
    >>> asyncio.run(ask())
    >>> embedder.statistics().calls, embedder.statistics().texts, embedder.statistics().spared
    (1, 50, 50)
    """

    def __init__(self, inner: Embedder, limits: CallLimits | None = None) -> None:
        super().__init__(inner)
        stated = getattr(inner, "call_limits", None)
        # Asked once: telling whether an object fits a protocol costs as much as a small model's call.
        self._question_batches = inner if isinstance(inner, QueryBatchEmbedder) else None
        self._limits = limits or (stated if isinstance(stated, CallLimits) else CallLimits())
        self._waiting = WaitingTexts(self._limits.max_waiting)
        self._calls: dict[asyncio.Task[None], Batch] = {}
        self._starting: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        """Set, and replaced, whenever texts leave the queue."""
        self._is_closed = False
        self._called = self._carried = self._spared = self._retried = self._timed_out = self._refused = 0

    @property
    def limits(self) -> CallLimits:
        """How it is called."""
        return self._limits

    def statistics(self) -> EmbedderStatistics:
        """What happens now and has happened so far."""
        return EmbedderStatistics(
            waiting=len(self._waiting),
            in_flight=len(self._calls),
            calls=self._called,
            texts=self._carried,
            spared=self._spared,
            retries=self._retried,
            timeouts=self._timed_out,
            refused=self._refused,
        )

    async def embed_query(self, text: str) -> VectorLike:
        """The vector of one question.

        Raises:
            EmbedderUnavailableError: no answer in time or no connection, however often tried.
            EmbedderOverloadedError: too many texts wait.
            EmbeddingError: the embedder failed otherwise; errors of this library pass unchanged.
        """
        refuse_what_is_not_text([text])
        return (await self._vectors([text], is_query=True))[0]

    async def embed_queries(self, texts: Sequence[str]) -> list[VectorLike]:
        """The vectors of questions, in order; raises as `embed_query` does."""
        return await self._in_slices(texts, is_query=True)

    async def embed_documents(self, texts: Sequence[str]) -> list[VectorLike]:
        """The vectors of texts to be stored, in order; raises as `embed_query` does, with nothing kept."""
        return await self._in_slices(texts, is_query=False)

    async def aclose(self) -> None:
        """Refuse further calls, fail those that wait, cancel those in flight. Once is enough."""
        self._is_closed = True
        error = self._closed()
        self._waiting.fail_all(error)
        self._announce_room()
        for batch in self._calls.values():
            batch.fail(error)
        tasks = [*self._calls, *([self._starting] if self._starting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _in_slices(self, texts: Sequence[str], *, is_query: bool) -> list[VectorLike]:
        if isinstance(texts, str):
            raise InvalidInputError("a list of texts is expected, got one text")
        refuse_what_is_not_text(texts)
        slices = list(_slices(texts, self._limits))
        if len(slices) == 1:
            return await self._vectors(slices[0], is_query=is_query)
        found: list[list[VectorLike]] = [[] for _ in slices]
        waiting = iter(enumerate(slices))

        async def work() -> None:
            for place, some in waiting:
                await self._wait_for_room(len(some))
                found[place] = await self._vectors(some, is_query=is_query)

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(self._limits.max_concurrency, len(slices))):
                    workers.create_task(work())
        except BaseExceptionGroup as failures:
            # One slice's failure is the list's: callers should not have to unpack a group.
            raise failures.exceptions[0] from failures.exceptions[0].__cause__
        return [vector for some in found for vector in some]

    async def _wait_for_room(self, count: int) -> None:
        while not self._is_closed and not self._waiting.has_room(count):
            await self._room.wait()

    async def _vectors(self, texts: Sequence[str], *, is_query: bool) -> list[VectorLike]:
        if self._is_closed:
            raise self._closed()
        caller = Caller(len(texts))
        try:
            self._spared += self._waiting.add(caller, texts, is_query=is_query)
        except EmbedderOverloadedError:
            self._refused += len(texts)
            raise
        self._start()
        try:
            await caller.answered
        except asyncio.CancelledError:
            self._withdraw(caller, texts, is_query)
            self._cancel_forsaken()
            raise
        if caller.error is not None:
            self._withdraw(caller, texts, is_query)
            raise caller.error
        return caller.vectors

    def _withdraw(self, caller: Caller, texts: Sequence[str], is_query: bool) -> None:
        self._waiting.withdraw(caller, texts, is_query=is_query)
        self._announce_room()

    def _start(self) -> None:
        # The batch is taken when the task runs, after everything that this turn of the loop still asks.
        if self._waiting and self._starting is None and len(self._calls) < self._limits.max_concurrency:
            self._starting = asyncio.create_task(self._call())
            self._starting.add_done_callback(self._ended)

    async def _call(self) -> None:
        this, self._starting = self._starting, None
        batch = self._waiting.take(
            self._limits.max_batch if self._question_batches is not None else 1,
            self._limits.max_batch,
            self._limits.max_batch_bytes,
        )
        self._announce_room()
        if this is None or batch is None:
            return
        self._calls[this] = batch
        self._start()
        try:
            await self._answer(batch)
        except Exception as error:  # noqa: BLE001 - it is raised where the vectors are waited for
            batch.fail(error)
        except BaseException as error:
            # This task is cancelled, or the process ends: whoever still waits must not wait for ever.
            batch.fail(EmbedderUnavailableError(f"embedder {self.name} was interrupted: {type(error).__name__}"))
            raise

    def _announce_room(self) -> None:
        self._room.set()
        self._room = asyncio.Event()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.pop(task, None)
        if self._starting is task:
            self._starting = None
        self._start()

    def _cancel_forsaken(self) -> None:
        for task, batch in self._calls.items():
            if batch.is_forsaken:
                task.cancel()

    async def _answer(self, batch: Batch) -> None:
        try:
            batch.answer(await self._ask(batch))
            return
        except Exception as error:
            parts = batch.by_caller()
            if len(parts) == 1 or concerns_every_text(error):
                raise
        for part in parts:
            if part.is_forsaken:
                continue
            try:
                part.answer(await self._ask(part))
            except Exception as error:  # noqa: BLE001 - this caller's own; the others go on
                part.fail(error)

    async def _ask(self, batch: Batch) -> Sequence[VectorLike]:
        texts = list(batch.wanted)
        try:
            return await self._ask_once(texts, batch.is_query)
        except Exception as error:
            if not self._is_worth_another(error):
                raise
            failure: Exception | None = error

        async def ask() -> Sequence[VectorLike]:
            # The attempt that has failed already counts as the first one.
            nonlocal failure
            if failure is not None:
                first, failure = failure, None
                raise first
            return await self._ask_once(texts, batch.is_query)

        attempts = AsyncRetrying(
            stop=stop_after_attempt(self._limits.attempts),
            wait=self._pause,
            retry=retry_if_exception(self._is_worth_another),
            before_sleep=self._count_retry,
            reraise=True,
        )
        return await attempts(ask)

    async def _ask_once(self, texts: list[str], is_query: bool) -> Sequence[VectorLike]:
        self._called += 1
        self._carried += len(texts)
        seconds = self._limits.timeout_seconds
        before = cancellations()
        try:
            async with asyncio.timeout(seconds) as limit:
                vectors = await self._ask_inner(texts, is_query)
        except AgentMemoryError:
            raise
        except asyncio.CancelledError as error:
            if cancellations() > before:
                raise
            raise EmbedderUnavailableError(f"embedder {self.name} cancelled its own call") from error
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                self._timed_out += 1
                raise EmbedderUnavailableError(f"embedder {self.name} gave no answer within {seconds:g} s") from error
            kind = EmbedderUnavailableError if is_passing(error) else EmbeddingError
            raise kind(f"embedder {self.name} failed: {type(error).__name__}: {error}") from error
        try:
            count = len(vectors)
        except TypeError:
            raise EmbeddingError(
                f"embedder {self.name} returned {type(vectors).__name__}, no list of vectors"
            ) from None
        if count != len(texts):
            raise EmbeddingError(f"embedder {self.name} returned {count} vectors for {len(texts)} texts")
        return vectors

    async def _ask_inner(self, texts: list[str], is_query: bool) -> Sequence[VectorLike]:
        if not is_query:
            return await self._inner.embed_documents(texts)
        if self._question_batches is not None:
            return await self._question_batches.embed_queries(texts)
        return [await self._inner.embed_query(text) for text in texts]

    def _is_worth_another(self, error: BaseException) -> bool:
        asked = _asked_pause(error)
        return is_passing(error) and (asked is None or asked <= self._limits.longest_pause_seconds)

    def _pause(self, attempt: RetryCallState) -> float:
        error = attempt.outcome.exception() if attempt.outcome else None
        random = wait_random_exponential(multiplier=_FIRST_PAUSE_SECONDS, max=self._limits.longest_pause_seconds)
        return max(random(attempt), (_asked_pause(error) if error else None) or 0.0)

    def _count_retry(self, _: RetryCallState) -> None:
        self._retried += 1

    def _closed(self) -> EmbeddingError:
        return EmbeddingError(f"embedder {self.name} is closed")


def coalesced(embedder: Embedder) -> Embedder:
    """`embedder` behind a `CoalescingEmbedder`, or itself where that would only cost.

    It would for one that is coalescing already; for `CachedEmbedder`, since what a cache answers should not wait
    for what a model does; for `WordLlamaEmbedder`, which takes less time for a text than the queue does; and
    for `FunctionEmbedder`, whose function takes one text at a time, has its own time limit, and knows best
    whether it may be called again.
    """
    if isinstance(embedder, (CoalescingEmbedder, CachedEmbedder, WordLlamaEmbedder, FunctionEmbedder)):
        return embedder
    return CoalescingEmbedder(embedder)


def _asked_pause(error: BaseException) -> float | None:
    return error.retry_after_seconds if isinstance(error, EmbedderUnavailableError) else None


def _slices(texts: Sequence[str], limits: CallLimits) -> Iterator[Sequence[str]]:
    """`texts` in order, cut where a batch is full."""
    start = total_bytes = 0
    for end, text in enumerate(texts):
        size = utf8_bytes(text)
        if end > start and (end - start == limits.max_batch or total_bytes + size > limits.max_batch_bytes):
            yield texts[start:end]
            start, total_bytes = end, 0
        total_bytes += size
    if start < len(texts):
        yield texts[start:]
