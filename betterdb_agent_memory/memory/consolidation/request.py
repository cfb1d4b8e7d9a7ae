"""What a consolidation is asked to do, validated before anything is read, paid for or written."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

from betterdb_agent_memory.engines.filters import Between, Clause, Equals, Filter
from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError
from betterdb_agent_memory.leasing import LEASE_SECONDS
from betterdb_agent_memory.memory.consolidation.batching import DEFAULT_BATCH_SIZE, InputLimits
from betterdb_agent_memory.memory.consolidation.facts import Undated
from betterdb_agent_memory.memory.consolidation.kinds import DEFAULT_FACT_SOURCE
from betterdb_agent_memory.memory.progress import Progress, ProgressFn
from betterdb_agent_memory.memory.record import (
    CREATED_AT,
    IMPORTANCE,
    SOURCE,
    checked_importance,
    checked_label,
    checked_ttl_seconds,
)
from betterdb_agent_memory.memory.scope import MemoryScope, optional_text, scope_filter
from betterdb_agent_memory.options import ConsolidationConfig, is_number

Mode: TypeAlias = Literal["summary", "facts"]

DEFAULT_SUMMARY_IMPORTANCE = 0.7
DEFAULT_FACT_IMPORTANCE = 0.7
DEFAULT_WAIT_SECONDS = 300.0
_FEWEST_INPUT_CHARS = 100


@dataclass(frozen=True, slots=True)
class Candidates:
    """Which memories go in: exactly this scope with all these tags, and what `filter` says beside that.

    `filter` holds the clauses of scope, tags and `where=`; the two bounds are inclusive.
    """

    scope: MemoryScope
    tags: tuple[str, ...]
    filter: Filter
    older_than_seconds: float | None = None
    max_importance: float | None = None

    def at(self, now_ms: int) -> Filter:
        """The candidates of a run that begins now: none that is written later, or a run might never end."""
        newest_ms = math.floor(now_ms - (self.older_than_seconds or 0) * 1000)
        bounds: list[Clause] = [Between(CREATED_AT, high=newest_ms)]
        if self.max_importance is not None:
            bounds.append(Between(IMPORTANCE, high=self.max_importance))
        return Filter((*self.filter.clauses, *bounds))

    def stored_facts(self, fact_source: str) -> Filter:
        """The facts of this scope, of narrower ones too; bounds, tags and conditions do not apply to them."""
        return Filter((*scope_filter(self.scope).clauses, Equals(SOURCE, fact_source)))


@dataclass(frozen=True, slots=True)
class Conduct:
    """How a run goes about it: in which batches, how long it waits for another, and who is told."""

    limits: InputLimits
    wait_seconds: float
    lease_seconds: float
    dry_run: bool
    on_progress: ProgressFn | None

    def report(self, stage: str, done: int, total: int | None = None) -> None:
        """Tell whoever watches."""
        if self.on_progress is not None:
            self.on_progress(Progress(stage, done, total))


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """A validated summary run. `ttl_seconds` 0 means for ever, None as long as its longest-lived source."""

    candidates: Candidates
    conduct: Conduct
    importance: float
    delete_sources: bool
    ttl_seconds: int | None


@dataclass(frozen=True, slots=True)
class FactsRequest:
    """A validated facts run. `importance` None is the store's; `ttl_seconds` None or 0 means for ever."""

    candidates: Candidates
    conduct: Conduct
    importance: float | None
    undated: Undated
    day_first: bool
    extract_without_candidates: bool
    ttl_seconds: int | None


def checked_consolidation(config: ConsolidationConfig | None) -> tuple[str, float]:
    """The label and the importance that a store gives its facts.

    Raises:
        ConfigurationError: the label is no text that can be searched, or the importance not in 0..1.
    """
    config = config or ConsolidationConfig()
    try:
        label = checked_label("consolidation.fact_source", optional_text("fact_source", config.fact_source))
        importance = DEFAULT_FACT_IMPORTANCE
        if config.fact_importance is not None:
            importance = checked_importance(config.fact_importance)
    except InvalidInputError as error:
        raise ConfigurationError(f"consolidation: {error}") from None
    if label == "":
        raise ConfigurationError("consolidation.fact_source must not be empty: facts could not be told from others")
    return label or DEFAULT_FACT_SOURCE, importance


def chosen_mode(mode: object, *, summarize: object, extract_facts: object) -> Mode:
    """The mode that was said, or that of the only callback given."""
    if mode is None:
        if (summarize is None) == (extract_facts is None):
            raise InvalidInputError(
                "consolidate needs mode='summary' or mode='facts', or exactly one of summarize= and extract_facts="
            )
        return "summary" if extract_facts is None else "facts"
    if mode not in ("summary", "facts"):
        raise InvalidInputError(f"mode must be 'summary' or 'facts', got {mode!r:.80}")
    return "summary" if mode == "summary" else "facts"


def refuse_what_says_nothing(mode: Mode, given: Mapping[str, object]) -> None:
    """Refuse arguments that are `given`, not None, although they mean nothing in this mode."""
    if strays := [name for name, value in given.items() if value is not None]:
        names = ", ".join(f"{name}=" for name in strays)
        raise InvalidInputError(f"mode={mode!r} does not take {names}; leave out what is for the other mode")


def checked_candidates(
    scope: MemoryScope, tags: Sequence[str], filter: Filter, older_than: object, max_importance: object
) -> Candidates:
    """Which memories, with at least one criterion; `filter` is that of scope, tags and conditions."""
    older_than_seconds = _seconds("older_than_seconds", older_than)
    if max_importance is not None and not (is_number(max_importance) and 0 <= max_importance <= 1):
        raise InvalidInputError(f"max_importance must be a number from 0 to 1, got {max_importance!r:.80}")
    if not filter.clauses and older_than_seconds is None and max_importance is None:
        raise InvalidInputError(
            "consolidate needs at least one of thread_id, agent_id, namespace, tags, older_than_seconds, "
            "max_importance or where; without one it would take the whole store"
        )
    return Candidates(
        scope, tuple(tags), filter, older_than_seconds, None if max_importance is None else float(max_importance)
    )


def checked_conduct(
    *,
    batch_size: object,
    max_input_chars: object,
    wait_seconds: object,
    lease_seconds: object,
    dry_run: object,
    on_progress: Callable[[Progress], None] | None,
) -> Conduct:
    """How to go about it; None means the default everywhere."""
    if on_progress is not None and not callable(on_progress):
        raise InvalidInputError(f"on_progress must be callable, got {on_progress!r:.80}")
    size = _whole("batch_size", batch_size, 2)
    wait = _seconds("wait_seconds", wait_seconds)
    lease = _seconds("lease_seconds", lease_seconds)
    if lease is not None and lease < 1:
        raise InvalidInputError(f"lease_seconds must be at least 1, got {lease_seconds!r}")
    return Conduct(
        limits=InputLimits(
            batch_size=DEFAULT_BATCH_SIZE if size is None else size,
            max_input_chars=_whole("max_input_chars", max_input_chars, _FEWEST_INPUT_CHARS),
        ),
        wait_seconds=DEFAULT_WAIT_SECONDS if wait is None else wait,
        lease_seconds=LEASE_SECONDS if lease is None else lease,
        dry_run=_flag("dry_run", dry_run, default=False),
        on_progress=on_progress,
    )


def summary_request(
    candidates: Candidates, conduct: Conduct, *, importance: object, delete_sources: object, ttl: object
) -> SummaryRequest:
    """Check what only a summary takes. Sources are deleted unless that is explicitly refused."""
    return SummaryRequest(
        candidates=candidates,
        conduct=conduct,
        importance=DEFAULT_SUMMARY_IMPORTANCE if importance is None else checked_importance(importance),
        delete_sources=_flag("delete_sources", delete_sources, default=True),
        ttl_seconds=None if ttl is None else checked_ttl_seconds(ttl) or 0,
    )


def facts_request(
    candidates: Candidates,
    conduct: Conduct,
    *,
    importance: object,
    undated: object,
    day_first: object,
    extract_without_candidates: object,
    ttl: object,
) -> FactsRequest:
    """Check what only facts take; None means the default everywhere."""
    if undated not in (None, "keep", "replace"):
        raise InvalidInputError(
            f"undated says what an undated statement does to a dated one, 'keep' or 'replace' it; got {undated!r:.80}"
        )
    return FactsRequest(
        candidates=candidates,
        conduct=conduct,
        importance=None if importance is None else checked_importance(importance),
        undated="replace" if undated == "replace" else "keep",
        day_first=_flag("day_first", day_first, default=False),
        extract_without_candidates=_flag("extract_without_candidates", extract_without_candidates, default=False),
        ttl_seconds=checked_ttl_seconds(ttl),
    )


def _seconds(name: str, value: object) -> float | None:
    if value is None:
        return None
    seconds: object = value.total_seconds() if isinstance(value, timedelta) else value
    if not is_number(seconds) or not math.isfinite(seconds) or seconds < 0:
        raise InvalidInputError(f"{name} must be a number of seconds, at least 0, got {value!r:.80}")
    return float(seconds)


def _whole(name: str, value: object, low: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < low:
        raise InvalidInputError(f"{name} must be a whole number of at least {low}, got {value!r:.80}")
    return int(value)


def _flag(name: str, value: object, *, default: bool) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidInputError(f"{name} must be true or false, got {value!r:.80}")
    return value
