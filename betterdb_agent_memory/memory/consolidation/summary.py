"""A summary run: memories in, one memory instead of them out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from betterdb_agent_memory.engines.base import Fence
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import ConsolidationError
from betterdb_agent_memory.leasing import HeldLease
from betterdb_agent_memory.memory.consolidation.batching import Batches
from betterdb_agent_memory.memory.consolidation.condensing import condense
from betterdb_agent_memory.memory.consolidation.facts import ConsolidateResult, SummarizeFn
from betterdb_agent_memory.memory.consolidation.journal import Source, digest
from betterdb_agent_memory.memory.consolidation.kinds import SUMMARY_SOURCE, Kind, kind_of
from betterdb_agent_memory.memory.consolidation.request import SummaryRequest
from betterdb_agent_memory.memory.consolidation.workshop import Workshop, asked
from betterdb_agent_memory.memory.dynamics_fields import PINNED
from betterdb_agent_memory.memory.record import (
    CONTENT,
    DERIVED_SUMMARY,
    MAX_ENTITIES,
    MemoryItem,
    NewMemory,
    checked_id,
)
from betterdb_agent_memory.memory.scope import require_text


@dataclass(slots=True)
class _Sources:
    """The memories that a summary stands for: what they were, how long the longest-lived one lives, and the entities
    that they are about, those of the first ones if there are too many.
    """

    seen: list[Source] = field(default_factory=list)
    latest_expiry_ms: int | None = None
    longest_lived: str = ""
    one_never_expires: bool = False
    entities: dict[str, None] = field(default_factory=dict)

    def add(self, item: MemoryItem, fields: Fields, expires_at_ms: int | None) -> None:
        for entity in item.entities:
            if len(self.entities) < MAX_ENTITIES:
                self.entities[entity] = None
        self.seen.append(Source(item.id, digest(fields)))
        if expires_at_ms is None:
            self.one_never_expires = True
        elif expires_at_ms > (self.latest_expiry_ms or 0):
            self.latest_expiry_ms = expires_at_ms
            self.longest_lived = item.id

    @property
    def expires_at_ms(self) -> int | None:
        """None when a summary of them need not expire."""
        return None if self.one_never_expires else self.latest_expiry_ms


async def summarize_memories(
    workshop: Workshop, request: SummaryRequest, summarize: SummarizeFn | None
) -> ConsolidateResult:
    """Run it: alone in the store, or without any lease when it only rehearses.

    Raises:
        ConfigurationError: the store has no embedder.
        ConsolidationError: the summarizer failed or returned no text.
        LeaseHeldError: another consolidation of the store did not end in time.
        LeaseLostError: this one stood still for too long; what it wrote is finished by the next.
    """
    with workshop.watch.consolidating() as span:
        if request.conduct.dry_run or summarize is None:
            result = await _rehearse(workshop, request)
        else:
            await workshop.ready()
            async with workshop.alone(request.conduct) as lease:
                result = await _summarize(workshop, request, summarize, lease)
        if not result.dry_run:
            workshop.watch.consolidated(span, result.consolidated, len(result.created), result.deleted)
    return result


async def _rehearse(workshop: Workshop, request: SummaryRequest) -> ConsolidateResult:
    sources = _Sources()
    batches = Batches(request.conduct.limits)
    calls = 0
    now_ms = workshop.clock()
    async for page in _alive(workshop, request, now_ms):
        for item, fields, expires_at_ms in page:
            sources.add(item, fields, expires_at_ms)
            calls += len(list(batches.add(item)))
        request.conduct.report("counting", len(sources.seen))
    calls += len(list(batches.rest()))
    return ConsolidateResult(
        consolidated=len(sources.seen),
        created=[],
        deleted=len(sources.seen) if request.delete_sources else 0,
        calls=calls,
        expires_at=_expiry(request, sources, now_ms),
        dry_run=True,
    )


async def _summarize(
    workshop: Workshop, request: SummaryRequest, summarize: SummarizeFn, lease: HeldLease
) -> ConsolidateResult:
    journal = workshop.journal(lease)
    await journal.repair()
    now_ms = workshop.clock()
    sources = _Sources()
    text, calls = await _text_for(workshop, request, summarize, sources, now_ms)
    if text is None:
        return ConsolidateResult(0, [], 0)
    summary = _summary(workshop, request, text, sources, now_ms)
    unwritten = ConsolidateResult(len(sources.seen), [], 0, calls)
    if await _all_expired(workshop, request, sources):
        return unwritten
    lease.check()
    if request.delete_sources:
        await journal.note({summary.id: sources.seen})
    request.conduct.report("writing", 0, 1)
    lease.check()
    expires, expires_at_ms = await _write(workshop, request, sources, summary, lease.fence)
    if expires and expires_at_ms is None:
        await journal.drop()
        return unwritten
    request.conduct.report("deleting", 0, len(sources.seen))
    deleted = await journal.finish(lambda done: request.conduct.report("deleting", done, len(sources.seen)))
    await workshop.make_room(request.candidates.scope, request.candidates.tags)
    return ConsolidateResult(len(sources.seen), [summary.id], deleted, calls, expires_at_ms)


async def _all_expired(workshop: Workshop, request: SummaryRequest, sources: _Sources) -> bool:
    """Whether a summary would expire at once: its sources did while the summarizer thought.

    The clock alone does not tell, since expiries are of the server's clock.
    """
    if request.ttl_seconds is not None or sources.expires_at_ms is None:
        return False
    [expires_at_ms] = await workshop.records.read_expiries([sources.longest_lived])
    return expires_at_ms is None and workshop.clock() >= sources.expires_at_ms


async def _write(
    workshop: Workshop, request: SummaryRequest, sources: _Sources, summary: NewMemory, fence: Fence
) -> tuple[bool, int | None]:
    """Store the summary; whether it expires, and when: None if it then did already and is not there.

    What the store says afterwards counts: `ttl` begins when it is written, by the server's clock.
    """
    if request.ttl_seconds is None:
        at_ms = sources.expires_at_ms
        await workshop.write([summary], fence=fence, expires_at_ms=at_ms)
        expires = at_ms is not None
    else:
        at_ms = None
        await workshop.write([summary], fence=fence, ttl_seconds=request.ttl_seconds or None)
        expires = request.ttl_seconds > 0
    if not expires:
        return False, None
    [found_ms] = await workshop.records.read_expiries([summary.id])
    # Servers before Redis 7 tell it to a millisecond or so; what was written is exact.
    return True, found_ms if found_ms is None or at_ms is None else at_ms


async def _text_for(
    workshop: Workshop, request: SummaryRequest, summarize: SummarizeFn, sources: _Sources, now_ms: int
) -> tuple[str | None, int]:
    """One text for all candidates, whose traces go into `sources`, and the calls it took; None without any.

    In memory at a time: one batch, the partial summaries, and about 200 bytes for each source.
    """

    async def summarized(memories: list[MemoryItem]) -> str:
        return _checked_text(await asked("summarize", summarize, memories))

    batches = Batches(request.conduct.limits)
    texts: list[str] = []
    async for page in _alive(workshop, request, now_ms):
        for item, fields, expires_at_ms in page:
            sources.add(item, fields, expires_at_ms)
            for batch in batches.add(item):
                texts.append(await summarized(batch))
                request.conduct.report("summarizing", len(sources.seen) - 1)
    for batch in batches.rest():
        texts.append(await summarized(batch))
        request.conduct.report("summarizing", len(sources.seen), len(sources.seen))
    if not texts:
        return None, 0
    condensed = await condense(
        texts,
        summarized,
        limits=request.conduct.limits,
        now_ms=now_ms,
        importance=request.importance,
        on_pass=lambda left: request.conduct.report("condensing", 0, left) if left > 1 else None,
    )
    return condensed.text, len(texts) + condensed.calls


async def _alive(
    workshop: Workshop, request: SummaryRequest, now_ms: int
) -> AsyncIterator[list[tuple[MemoryItem, Fields, int | None]]]:
    """Pages of candidates with their expiry, without those that ended while they were being read."""
    filter = request.candidates.at(now_ms)
    async for page in workshop.walk(filter, _may_leave if request.delete_sources else _is_plain):
        ids = [item.id for item, _ in page]
        expiries = await workshop.records.read_expiries(ids)
        # None means for ever, or that the memory is no longer there; only one of them lets a summary live on.
        unlimited = [id for id, expiry in zip(ids, expiries, strict=True) if expiry is None]
        still = await workshop.records.read_many(unlimited, (CONTENT,)) if unlimited else []
        gone = {id for id, fields in zip(unlimited, still, strict=True) if fields is None}
        yield [
            (item, fields, expiry) for (item, fields), expiry in zip(page, expiries, strict=True) if item.id not in gone
        ]


def _is_plain(fields: Fields, fact_source: str) -> bool:
    return kind_of(fields, fact_source) is Kind.PLAIN


def _may_leave(fields: Fields, fact_source: str) -> bool:
    return PINNED not in fields and _is_plain(fields, fact_source)


def _expiry(request: SummaryRequest, sources: _Sources, now_ms: int) -> int | None:
    if request.ttl_seconds is None:
        return sources.expires_at_ms
    return now_ms + request.ttl_seconds * 1000 if request.ttl_seconds else None


def _checked_text(answer: object) -> str:
    if not isinstance(answer, str):
        raise ConsolidationError(f"summarize returned {type(answer).__name__} instead of text: {answer!r:.80}")
    if not answer.strip():
        raise ConsolidationError("summarize returned an empty text; nothing was written or deleted")
    try:
        return require_text("the summary", answer)
    except ValueError as error:
        raise ConsolidationError(f"{error}; nothing was written or deleted") from error


def _summary(workshop: Workshop, request: SummaryRequest, text: str, sources: _Sources, now_ms: int) -> NewMemory:
    size = len(text.encode())
    if size > workshop.max_content_bytes:
        raise ConsolidationError(
            f"the summary has {size:,} bytes, the store accepts {workshop.max_content_bytes:,}; ask the model for "
            "less, or raise max_content_bytes. Nothing was written or deleted"
        )
    scope = request.candidates.scope
    return NewMemory(
        id=checked_id(workshop.new_id()),
        content=text,
        importance=request.importance,
        created_at_ms=now_ms,
        tags=request.candidates.tags,
        thread_id=scope.thread_id,
        agent_id=scope.agent_id,
        namespace=scope.namespace,
        source=SUMMARY_SOURCE,
        derived=DERIVED_SUMMARY,
        entities=tuple(sources.entities),
    )
