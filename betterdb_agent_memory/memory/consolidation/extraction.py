"""A facts run: memories in, one up-to-date fact for each subject out. The memories stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.engines.base import RecordChange
from betterdb_agent_memory.engines.filters import TAG_SEPARATOR
from betterdb_agent_memory.errors import ConsolidationError
from betterdb_agent_memory.leasing import HeldLease
from betterdb_agent_memory.memory.changes.cause import because
from betterdb_agent_memory.memory.consolidation.batching import Batches
from betterdb_agent_memory.memory.consolidation.curation import Curation, FactWrite, StoredFact, curate
from betterdb_agent_memory.memory.consolidation.facts import ConsolidateFactsResult, Fact, FactExtractor
from betterdb_agent_memory.memory.consolidation.journal import delete_unchanged, digest, pages
from betterdb_agent_memory.memory.consolidation.kinds import Kind, is_stored_fact, kind_of
from betterdb_agent_memory.memory.consolidation.request import FactsRequest
from betterdb_agent_memory.memory.consolidation.workshop import Workshop, asked
from betterdb_agent_memory.memory.record import (
    DERIVED_FACT,
    TAGS,
    VERSION,
    MemoryItem,
    NewMemory,
    checked_id,
    checked_label,
)
from betterdb_agent_memory.memory.scope import require_text

_WRITE_PAGE = 500


@dataclass(frozen=True, slots=True)
class _Extracted:
    """What the candidates say."""

    candidates: int
    facts: list[Fact]
    calls: int


@dataclass(frozen=True, slots=True)
class _Changed:
    """Ids that were written, and how many memories were deleted."""

    created: tuple[str, ...]
    deleted: int


_NOTHING = _Changed((), 0)


async def extract_and_curate(
    workshop: Workshop, request: FactsRequest, extract_facts: FactExtractor
) -> ConsolidateFactsResult:
    """Run it: alone in the store, or without any lease when it only rehearses.

    Raises:
        ConfigurationError: the store has no embedder.
        ConsolidationError: the extractor failed or returned something else than facts.
        LeaseHeldError: another consolidation of the store did not end in time.
        LeaseLostError: this one stood still for too long; what it wrote is finished by the next.
    """
    with workshop.watch.consolidating_facts() as span:
        if request.conduct.dry_run:
            result = await _run(workshop, request, extract_facts, None)
        else:
            await workshop.ready()
            async with workshop.alone(request.conduct) as lease:
                result = await _run(workshop, request, extract_facts, lease)
        if not result.dry_run:
            workshop.watch.consolidated_facts(span, result)
    return result


async def _run(
    workshop: Workshop, request: FactsRequest, extract_facts: FactExtractor, lease: HeldLease | None
) -> ConsolidateFactsResult:
    now_ms = workshop.clock()
    healed = _NOTHING
    if lease is not None:
        await workshop.journal(lease).repair()
        # Before the extractor is asked: duplicates are healed even if it fails.
        healed = await _heal(workshop, request, now_ms, lease)
    extracted = await _extract(workshop, request, extract_facts, now_ms)
    stored = await _stored_facts(workshop, request)
    if (
        request.extract_without_candidates
        and not extracted.candidates
        and any(fact.scope == request.candidates.scope for fact in stored)
    ):
        extracted = await _retractions(workshop, extract_facts)
    curation = await _curation(request, stored, extracted.facts)
    created: list[str] = []
    deleted = curation.deleted
    if lease is not None:
        done = await _carry_out(workshop, request, curation, now_ms, lease)
        # What was written to heal and replaced at once came and went: it counts for neither.
        lasting = [id for id in healed.created if id not in curation.leaving]
        created = [*lasting, *done.created]
        deleted = healed.deleted + done.deleted - (len(healed.created) - len(lasting))
    return ConsolidateFactsResult(
        candidates=extracted.candidates,
        facts=curation.facts,
        created=created,
        deleted=deleted,
        unmatched_tombstones=curation.unmatched_tombstones,
        operations=curation.operations,
        calls=extracted.calls,
        dry_run=lease is None,
    )


async def _heal(workshop: Workshop, request: FactsRequest, now_ms: int, lease: HeldLease) -> _Changed:
    """Settle what the stored facts need by themselves, without anything new."""
    curation = await _curation(request, await _stored_facts(workshop, request), [])
    return await _carry_out(workshop, request, curation, now_ms, lease) if curation.changes_something else _NOTHING


async def _curation(request: FactsRequest, stored: Sequence[StoredFact], incoming: Sequence[Fact]) -> Curation:
    return await off_loop(
        len(stored),
        lambda: curate(
            stored,
            incoming,
            scope=request.candidates.scope,
            tags=request.candidates.tags,
            undated=request.undated,
            day_first=request.day_first,
        ),
    )


async def _extract(workshop: Workshop, request: FactsRequest, extract_facts: FactExtractor, now_ms: int) -> _Extracted:
    """The facts of all candidates, batch by batch, in order. In memory at a time: one batch."""
    batches = Batches(request.conduct.limits)
    facts: list[Fact] = []
    candidates = calls = 0
    async for page in workshop.walk(
        request.candidates.at(now_ms), lambda fields, fact_source: kind_of(fields, fact_source) is Kind.PLAIN
    ):
        for item, _ in page:
            for batch in batches.add(item):
                facts += await _facts_in(workshop, extract_facts, batch)
                calls += 1
                request.conduct.report("extracting", candidates)
            candidates += 1
    for batch in batches.rest():
        facts += await _facts_in(workshop, extract_facts, batch)
        calls += 1
        request.conduct.report("extracting", candidates, candidates)
    return _Extracted(candidates, facts, calls)


async def _retractions(workshop: Workshop, extract_facts: FactExtractor) -> _Extracted:
    """What an extractor takes back without having read anything: what it states then is not counted."""
    facts = await _facts_in(workshop, extract_facts, [])
    return _Extracted(0, [fact for fact in facts if fact.tombstone], 1)


async def _facts_in(workshop: Workshop, extract_facts: FactExtractor, memories: list[MemoryItem]) -> list[Fact]:
    answer = await asked("extract_facts", extract_facts, memories)
    if not isinstance(answer, Sequence) or isinstance(answer, str | bytes):
        raise ConsolidationError(f"extract_facts returned {type(answer).__name__} instead of a list: {answer!r:.80}")
    return [_checked_fact(fact, workshop.max_content_bytes) for fact in answer]


async def _stored_facts(workshop: Workshop, request: FactsRequest) -> list[StoredFact]:
    stored: list[StoredFact] = []
    async for page in workshop.walk(request.candidates.stored_facts(workshop.fact_source), is_stored_fact):
        stored += [StoredFact(item, digest(fields)) for item, fields in page]
    return stored


async def _carry_out(
    workshop: Workshop, request: FactsRequest, curation: Curation, now_ms: int, lease: HeldLease
) -> _Changed:
    """Write, delete, and then apply the limit of the scope."""
    memories = [_memory(workshop, request, write, now_ms) for write in curation.writes]
    created = tuple(memory.id for memory in memories)
    # What goes here are facts that others have taken the place of.
    with because("superseded"):
        deleted = await _write_and_delete(workshop, request, curation, memories, lease)
    if memories:
        await workshop.make_room(request.candidates.scope, request.candidates.tags)
    return _Changed(created, deleted)


async def _write_and_delete(
    workshop: Workshop, request: FactsRequest, curation: Curation, memories: list[NewMemory], lease: HeldLease
) -> int:
    journal = workshop.journal(lease)
    lease.check()
    await journal.note(
        {memory.id: write.replaced for memory, write in zip(memories, curation.writes, strict=True) if write.replaced}
    )
    written = 0
    request.conduct.report("writing", written, len(memories))
    for page in pages(memories, _WRITE_PAGE):
        lease.check()
        await workshop.write(page, fence=lease.fence, ttl_seconds=request.ttl_seconds)
        written += len(page)
        request.conduct.report("writing", written, len(memories))
    await _add_tags(workshop, curation, lease)
    request.conduct.report("deleting", 0, curation.deleted)
    deleted = await journal.finish(lambda done: request.conduct.report("deleting", done, curation.deleted))
    for sources in pages(curation.deletes):
        lease.check()
        gone = await delete_unchanged(workshop.records, sources, lease.fence)
        await workshop.forgotten(gone)
        deleted += len(gone)
        request.conduct.report("deleting", deleted, curation.deleted)
    return deleted


async def _add_tags(workshop: Workshop, curation: Curation, lease: HeldLease) -> None:
    changes = [
        RecordChange(id, unions={TAGS: TAG_SEPARATOR.join(tags).encode()}, revision_field=VERSION)
        for id, tags in curation.tags_to_add.items()
    ]
    for page in pages(changes, _WRITE_PAGE):
        lease.check()
        with because("updated"):
            await workshop.records.change_many(page, fence=lease.fence)
        await workshop.keep_in_step([change.id for change in page])


def _memory(workshop: Workshop, request: FactsRequest, write: FactWrite, now_ms: int) -> NewMemory:
    scope = request.candidates.scope
    return NewMemory(
        id=checked_id(workshop.new_id()),
        content=write.content,
        importance=workshop.fact_importance if request.importance is None else request.importance,
        created_at_ms=now_ms,
        tags=write.tags,
        thread_id=scope.thread_id,
        agent_id=scope.agent_id,
        namespace=scope.namespace,
        source=workshop.fact_source,
        subject=write.fact.subject,
        date=write.fact.date,
        derived=DERIVED_FACT,
    )


def _checked_fact(fact: object, max_content_bytes: int) -> Fact:
    if not isinstance(fact, Fact):
        raise ConsolidationError(f"extract_facts must return Fact objects, got {type(fact).__name__}: {fact!r:.80}")
    try:
        checked_label("the subject of a fact", require_text("the subject of a fact", fact.subject))
        size = len(require_text("the statement of a fact", fact.statement).encode())
        if fact.date is not None:
            checked_label("the date of a fact", require_text("the date of a fact", fact.date))
            size += len(f"[{fact.date}] ".encode())
    except ValueError as error:
        raise ConsolidationError(f"extract_facts: {error}; nothing was written or deleted on its account") from error
    if size > max_content_bytes:
        raise ConsolidationError(
            f"extract_facts: the fact about {fact.subject!r:.80} has {size:,} bytes, the store accepts "
            f"{max_content_bytes:,}; nothing was written or deleted on its account"
        )
    return fact
