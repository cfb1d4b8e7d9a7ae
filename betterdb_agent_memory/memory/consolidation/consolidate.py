"""The two consolidations as a store calls them: arguments in, checked, one of them run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.consolidation.extraction import extract_and_curate
from betterdb_agent_memory.memory.consolidation.facts import (
    ConsolidateFactsResult,
    ConsolidateResult,
    FactExtractor,
    SummarizeFn,
    Undated,
)
from betterdb_agent_memory.memory.consolidation.language_model import (
    MODEL_INPUT_CHARS,
    LanguageModel,
    extractor_from,
    is_language_model,
    summarizer_from,
)
from betterdb_agent_memory.memory.consolidation.request import (
    Conduct,
    Mode,
    checked_candidates,
    checked_conduct,
    chosen_mode,
    facts_request,
    refuse_what_says_nothing,
    summary_request,
)
from betterdb_agent_memory.memory.consolidation.summary import summarize_memories
from betterdb_agent_memory.memory.consolidation.workshop import Workshop
from betterdb_agent_memory.memory.progress import ProgressFn
from betterdb_agent_memory.memory.scope import MemoryScope


@dataclass(frozen=True, slots=True)
class Arguments:
    """What `MemoryStore.consolidate` was given, apart from what says which memories; not yet checked."""

    mode: Mode | None = None
    summarize: SummarizeFn | LanguageModel | None = None
    extract_facts: FactExtractor | LanguageModel | None = None
    older_than_seconds: float | timedelta | None = None
    max_importance: float | None = None
    delete_sources: bool | None = None
    summary_importance: float | None = None
    fact_importance: float | None = None
    ttl: int | timedelta | None = None
    undated: Undated | None = None
    day_first: bool | None = None
    extract_without_candidates: bool | None = None
    batch_size: int | None = None
    max_input_chars: int | None = None
    wait_seconds: float | None = None
    lease_seconds: float | None = None
    dry_run: bool = False
    on_progress: ProgressFn | None = None


async def consolidate(
    workshop: Workshop, arguments: Arguments, *, scope: MemoryScope, tags: Sequence[str], filter: Filter
) -> ConsolidateResult | ConsolidateFactsResult:
    """Check everything, then run the mode that was asked for; `filter` is that of scope, tags and `where=`.

    Raises:
        InvalidInputError: something is refused; nothing was read.
        ConfigurationError: a model was named that cannot be used.
    """
    given = arguments
    mode = chosen_mode(given.mode, summarize=given.summarize, extract_facts=given.extract_facts)
    _refuse_strays(mode, given)
    candidates = checked_candidates(scope, tags, filter, given.older_than_seconds, given.max_importance)
    conduct = checked_conduct(
        batch_size=given.batch_size,
        max_input_chars=given.max_input_chars,
        wait_seconds=given.wait_seconds,
        lease_seconds=given.lease_seconds,
        dry_run=given.dry_run,
        on_progress=given.on_progress,
    )
    if mode == "summary":
        request = summary_request(
            candidates,
            _fitting(conduct, given.summarize),
            importance=given.summary_importance,
            delete_sources=given.delete_sources,
            ttl=given.ttl,
        )
        if given.summarize is None and conduct.dry_run:
            return await summarize_memories(workshop, request, None)
        return await summarize_memories(workshop, request, _summarizer(given.summarize))
    facts = facts_request(
        candidates,
        _fitting(conduct, given.extract_facts),
        importance=given.fact_importance,
        undated=given.undated,
        day_first=given.day_first,
        extract_without_candidates=given.extract_without_candidates,
        ttl=given.ttl,
    )
    return await extract_and_curate(workshop, facts, _extractor(given.extract_facts))


def _refuse_strays(mode: Mode, given: Arguments) -> None:
    """What only the other mode takes is refused, but for its callback: callers may pass both with a mode."""
    if mode == "summary":
        other: object = given.extract_facts
        name = "extract_facts"
        strays: dict[str, object] = {
            "fact_importance": given.fact_importance,
            "undated": given.undated,
            "day_first": given.day_first,
            "extract_without_candidates": given.extract_without_candidates,
        }
    else:
        other, name = given.summarize, "summarize"
        strays = {"delete_sources": given.delete_sources, "summary_importance": given.summary_importance}
    refuse_what_says_nothing(mode, strays)
    if other is not None and not callable(other) and not is_language_model(other):
        raise InvalidInputError(f"{name} must be an async function or a model, got {other!r:.80}")


def _fitting(conduct: Conduct, callback: object) -> Conduct:
    """A model takes only so much at once; what a function takes its author knows."""
    if conduct.limits.max_input_chars is not None or not is_language_model(callback):
        return conduct
    return replace(conduct, limits=replace(conduct.limits, max_input_chars=MODEL_INPUT_CHARS))


def _summarizer(summarize: SummarizeFn | LanguageModel | None) -> SummarizeFn:
    if callable(summarize):
        return summarize
    if summarize is None or not is_language_model(summarize):
        raise _no_callback("summary", "summarize", "list[MemoryItem] to a text", summarize)
    return summarizer_from(summarize)


def _extractor(extract_facts: FactExtractor | LanguageModel | None) -> FactExtractor:
    if callable(extract_facts):
        return extract_facts
    if extract_facts is None or not is_language_model(extract_facts):
        raise _no_callback("facts", "extract_facts", "list[MemoryItem] to list[Fact]", extract_facts)
    return extractor_from(extract_facts)


def _no_callback(mode: Mode, name: str, shape: str, given: object) -> InvalidInputError:
    return InvalidInputError(
        f"mode={mode!r} needs {name}=: an async function from {shape}, or a model such as 'openai:gpt-5-mini'; "
        f"got {given!r:.80}"
    )
