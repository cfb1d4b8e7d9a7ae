"""Remembering one memory or many: validated, embedded, written, and room made for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    EmbeddingError,
    EngineError,
    IndexMismatchError,
    InvalidInputError,
)
from betterdb_agent_memory.memory.capacity import Capacity
from betterdb_agent_memory.memory.correction.contradicting import Contradictor
from betterdb_agent_memory.memory.correction.living import Refusal
from betterdb_agent_memory.memory.drafts import (
    MemoryDraft,
    OnDuplicate,
    PreparedMemory,
    RememberResult,
    as_draft,
    prepare,
)
from betterdb_agent_memory.memory.generations.layout import Layout, Models
from betterdb_agent_memory.memory.progress import Progress, ProgressFn
from betterdb_agent_memory.memory.record import CONTENT
from betterdb_agent_memory.memory.scope import MemoryScope
from betterdb_agent_memory.memory.watch import StoreWatch
from betterdb_agent_memory.memory.writing import EmbeddedBatch, Writer

BATCH = 500
"""Memories that are embedded in one call and written in one round trip."""

IN_FLIGHT = 2
"""Batches on their way at once: one is packed and its replies are read while the server works on the other."""


class Remembering:
    """Takes drafts into a store."""

    def __init__(
        self,
        models: Models,
        writer: Writer,
        capacity: Capacity,
        watch: StoreWatch,
        contradictor: Contradictor,
        *,
        clock: Clock,
        new_id: Callable[[], str],
        max_content_bytes: int,
        reserved_sources: Sequence[str],
        stored_words: Callable[[str], str | None],
        on_use: Callable[[], None],
        keeps_times: bool = False,
    ) -> None:
        self._keeps_times = keeps_times
        self._models = models
        self._writer = writer
        self._capacity = capacity
        self._watch = watch
        self._contradictor = contradictor
        self._clock = clock
        self._new_id = new_id
        self._max_content_bytes = max_content_bytes
        self._reserved_sources = reserved_sources
        self._stored_words = stored_words
        self._on_use = on_use

    async def one(self, draft: MemoryDraft, on_duplicate: OnDuplicate, scope: MemoryScope) -> str:
        """Store one memory; its id. Raises what stood in the way."""
        prepared = self.prepared(draft, on_duplicate, scope)
        memory = prepared.memory
        claims = await self._claims([prepared])
        if (refusal := claims.refusal_of(prepared)) is not None:
            raise refusal
        with self._watch.remembering(memory.content, memory.importance, prepared.ttl_seconds) as remembered:
            [result] = await self._told([prepared], [await self._written_alone(prepared)], claims)
            id = result.id or memory.id
            if result.outcome != "rejected":
                remembered(id, result.outcome == "stored")
            if result.outcome == "stored":
                await self._capacity.make_room([(prepared.scope, memory.tags)])
            if result.error is not None:
                raise result.error
        return id

    async def many(
        self,
        memories: Iterable[str | MemoryDraft | Mapping[str, Any]],
        on_duplicate: OnDuplicate,
        scope: MemoryScope,
        on_progress: ProgressFn | None,
    ) -> list[RememberResult]:
        """Store memories in batches; what became of each, in order.

        While one batch is being written the next one is validated and embedded. Where batches have
        nothing to do with each other, the next one is also on its way to the server by then.
        """
        given = [*memories]
        run = _Run(on_progress, total=len(given), in_flight=1 if on_duplicate == "merge" else IN_FLIGHT)
        ahead: asyncio.Task[_Batch] | None = None
        try:
            for start in range(0, len(given), BATCH):
                batch = await (ahead or self._embedded(given[start : start + BATCH], on_duplicate, scope))
                ahead = None
                failure = await run.failure_before(batch)
                following = given[start + BATCH : start + 2 * BATCH]
                if following and failure is None:
                    ahead = asyncio.create_task(self._embedded(following, on_duplicate, scope))
                run.begin(self._written(batch, failure))
                if failure is not None:
                    break
            results, failure = await run.ended()
        finally:
            await _stopped(ahead)
            await run.stop()
        rest = given[len(results) :]
        if rest and failure is not None:
            untried = await off_loop(len(rest), self._prepared_or_rejected, rest, on_duplicate, scope)
            results += [_rejected(item, failure) for item in untried]
        return results

    async def storing(
        self, memories: Sequence[PreparedMemory], store: Callable[[], Awaitable[list[RememberResult]]]
    ) -> list[RememberResult]:
        """What `store` does to these memories, measured, and room made for them afterwards."""
        with self._watch.remembering_many(len(memories)):
            results = await store()
        await self._make_room(memories, results)
        return results

    def prepared(self, draft: MemoryDraft, on_duplicate: OnDuplicate, scope: MemoryScope) -> PreparedMemory:
        """The memory of a draft. Raises what is wrong with it."""
        return prepare(
            draft,
            new_id=self._new_id,
            now_ms=self._clock(),
            on_duplicate=on_duplicate,
            max_content_bytes=self._max_content_bytes,
            reserved_sources=self._reserved_sources,
            stored_words=self._stored_words,
            scope=scope,
            keeps_times=self._keeps_times,
        )

    def _prepared_or_rejected(
        self, batch: Sequence[object], on_duplicate: OnDuplicate, scope: MemoryScope
    ) -> list[PreparedMemory | RememberResult]:
        return prepared_or_rejected(batch, lambda given: self.prepared(as_draft(given), on_duplicate, scope))

    async def _embedded(self, given: Sequence[object], on_duplicate: OnDuplicate, scope: MemoryScope) -> _Batch:
        prepared = await off_loop(len(given), self._prepared_or_rejected, given, on_duplicate, scope)
        batch = _Batch(prepared)
        try:
            batch.claims = await self._claims(batch.valid)
            batch.refuse()
            batch.embedded = await self._writer.embed(batch.valid, await self.layout())
        except AgentMemoryError as error:
            batch.failure = error
        return batch

    async def _written(
        self, batch: _Batch, failure: AgentMemoryError | None
    ) -> tuple[list[RememberResult], AgentMemoryError | None]:
        """What became of a batch, and the failure that makes trying the next one pointless."""
        valid = batch.valid
        results: list[RememberResult] = []
        failure = failure or batch.failure
        if batch.embedded is not None:
            # Also after a failure: what was merged beforehand and what is embedded is not lost.
            with self._watch.remembering_many(len(valid)):
                try:
                    results = await self._told(valid, await self._stored(batch.embedded), batch.claims)
                except AgentMemoryError as error:
                    failure = error
            await self._make_room(valid, results)
        if not results:
            results = [_rejected(item, failure) for item in valid] if failure is not None else []
        outcomes = iter(results)
        answered = [next(outcomes) if isinstance(item, PreparedMemory) else item for item in batch.prepared]
        return answered, failure or hopeless(results)

    async def _written_alone(self, prepared: PreparedMemory) -> RememberResult:
        layout = await self.layout()
        try:
            embedded = await self._writer.embed([prepared], layout)
        except IndexMismatchError as refusal:
            embedded = await self._writer.embed([prepared], await self._models.moved_from(layout, refusal))
        [result] = await self._stored(embedded)
        return result

    async def _stored(self, embedded: EmbeddedBatch) -> list[RememberResult]:
        """Written; embedded once more where the memories were given another model's vectors meanwhile."""
        try:
            return await self._writer.store(embedded)
        except (IndexMismatchError, InvalidInputError) as refusal:
            layout = await self._models.moved_from(embedded.layout, refusal)
        return await self._writer.store(await self._writer.embed_again(embedded, layout))

    async def _claims(self, prepared: Sequence[PreparedMemory]) -> _Claims:
        """What the memories hold that these say to contradict. One round trip where they do, else none."""
        named = [id for item in prepared for id in item.contradicts]
        return _Claims(await self._contradictor.look(named)) if named else _NO_CLAIMS

    async def _told(
        self, prepared: Sequence[PreparedMemory], results: list[RememberResult], claims: _Claims
    ) -> list[RememberResult]:
        """The results, once the memories that are contradicted know it. One round trip where there are some, else none.

        A memory that could not tell it is stored all the same, and its result says so.
        """
        against: dict[str, list[str]] = {}
        for item, result in zip(prepared, results, strict=True):
            if result.outcome != "rejected" and result.id is not None:
                for id in item.contradicts:
                    against.setdefault(id, []).append(result.id)
        if not against:
            return results
        try:
            await self._contradictor.note(against, claims.fields, (await self._models.layout()).generation)
        except AgentMemoryError as error:
            error.add_note("the memory is stored; which others it contradicts has still to be told, with contradict()")
            return [
                replace(result, error=error) if item.contradicts and result.outcome != "rejected" else result
                for item, result in zip(prepared, results, strict=True)
            ]
        return results

    async def _make_room(self, written: Sequence[PreparedMemory], results: Sequence[RememberResult]) -> None:
        """Trim the scopes of a batch."""
        stored = [
            (item.scope, item.memory.tags)
            for item, result in zip(written, results, strict=False)
            if result.outcome == "stored"
        ]
        self._watch.stored(len(stored))
        await self._capacity.make_room(stored)

    async def layout(self) -> Layout:
        """Where memories are written now. Raises ConfigurationError for a store without an embedder."""
        layout = await self._models.layout()
        layout.main.embedder.require("remember")
        self._on_use()
        return layout


def prepared_or_rejected(
    batch: Sequence[object], prepare: Callable[[object], PreparedMemory]
) -> list[PreparedMemory | RememberResult]:
    """What `prepare` makes of each; what is wrong with one is in its place and harms no other."""
    prepared: list[PreparedMemory | RememberResult] = []
    for given in batch:
        try:
            prepared.append(prepare(given))
        except InvalidInputError as error:
            prepared.append(RememberResult("rejected", None, error))
        except Exception as error:  # noqa: BLE001 - a value of the caller's that raises when it is looked at
            refused = InvalidInputError(f"the memory cannot be read: {type(error).__name__}: {error}")
            prepared.append(RememberResult("rejected", None, refused))
    return prepared


class _Run:
    """The batches of one call that are being written: at most `in_flight` at once, their results in order."""

    def __init__(self, on_progress: ProgressFn | None, *, total: int, in_flight: int) -> None:
        self._on_progress = on_progress
        self._total = total
        self._in_flight = in_flight
        self._writing: deque[asyncio.Task[tuple[list[RememberResult], AgentMemoryError | None]]] = deque()
        self._results: list[RememberResult] = []
        self._failure: AgentMemoryError | None = None

    async def failure_before(self, batch: _Batch) -> AgentMemoryError | None:
        """Why the next batches need not be tried, once there is room for this one and all that it must see."""
        room = 0 if batch.must_see_the_others else self._in_flight - 1
        while len(self._writing) > room:
            await self._one()
        return self._failure or batch.hopeless

    def begin(self, writing: Coroutine[Any, Any, tuple[list[RememberResult], AgentMemoryError | None]]) -> None:
        self._writing.append(asyncio.create_task(writing))

    async def ended(self) -> tuple[list[RememberResult], AgentMemoryError | None]:
        """All results so far, when nothing is on its way any more, and the first failure."""
        while self._writing:
            await self._one()
        return self._results, self._failure

    async def stop(self) -> None:
        """End what is still on its way because the caller was cancelled."""
        while self._writing:
            await _stopped(self._writing.popleft())

    async def _one(self) -> None:
        task = self._writing[0]
        results, failure = await task
        self._writing.popleft()
        self._results += results
        self._failure = self._failure or failure
        if self._on_progress is not None:
            self._on_progress(Progress("remembering", len(self._results), self._total))


@dataclass(frozen=True, slots=True)
class _Claims:
    """What the memories hold that others are to contradict, or why they cannot be, by their ids."""

    looked: Mapping[str, Fields | Refusal]

    @property
    def fields(self) -> dict[str, Fields]:
        return {id: held for id, held in self.looked.items() if not isinstance(held, Refusal)}

    def refusal_of(self, item: PreparedMemory) -> AgentMemoryError | None:
        """Why a memory cannot be stored: what it says to contradict is not there, or says the same."""
        for id in item.contradicts:
            held = self.looked[id]
            if isinstance(held, Refusal):
                return held
            if held[CONTENT] == item.memory.content.encode():
                return InvalidInputError(f"memory {id!r} says just that, so it cannot be contradicted by it")
        return None


_NO_CLAIMS = _Claims({})


@dataclass(slots=True)
class _Batch:
    """A batch on its way: validated, then embedded or failed as a whole."""

    prepared: list[PreparedMemory | RememberResult]
    embedded: EmbeddedBatch | None = None
    failure: AgentMemoryError | None = None
    claims: _Claims = _NO_CLAIMS

    def refuse(self) -> None:
        """Reject those that say to contradict what cannot be."""
        for place, item in enumerate(self.prepared):
            if isinstance(item, PreparedMemory) and (refusal := self.claims.refusal_of(item)) is not None:
                self.prepared[place] = item.rejected(refusal)

    @property
    def valid(self) -> list[PreparedMemory]:
        return [item for item in self.prepared if isinstance(item, PreparedMemory)]

    @property
    def must_see_the_others(self) -> bool:
        """Whether it matters what earlier batches have written: an id of one's own may be in several."""
        return any(item.has_own_id for item in self.valid)

    @property
    def hopeless(self) -> AgentMemoryError | None:
        """Why the next batch need not be tried, as far as embedding tells."""
        if self.failure is not None or self.embedded is None or self.embedded.items:
            return self.failure
        return hopeless(list(self.embedded.results.values()))


async def _stopped(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait([task])


def _rejected(item: PreparedMemory | RememberResult, failure: AgentMemoryError) -> RememberResult:
    return item.rejected(failure) if isinstance(item, PreparedMemory) else item


def hopeless(results: Sequence[RememberResult]) -> AgentMemoryError | None:
    """The error that all of a batch ended with, where the next batch would end so, too."""
    errors = {id(result.error): result.error for result in results}
    [error] = errors.values() if len(errors) == 1 else [None]
    return error if isinstance(error, EmbeddingError | EngineError) and len(results) > 1 else None
