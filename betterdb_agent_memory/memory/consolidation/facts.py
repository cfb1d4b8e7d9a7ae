"""Reconciling newly extracted facts with the ones already kept: pure.

One fact per folded subject. Facts are taken in order, each seeing the effect of those before it. Dates
are compared as dates, see `dates`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from betterdb_agent_memory.memory.consolidation.dates import FactDate, parse_date
from betterdb_agent_memory.memory.record import MemoryItem

Undated: TypeAlias = Literal["keep", "replace"]
"""What an undated statement does to a dated one about the same subject: leave it, or replace it."""

SummarizeFn: TypeAlias = Callable[[list[MemoryItem]], Awaitable[str]]
"""Turns memories into one summary text."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A durable statement about a subject; `tombstone` retracts it."""

    subject: str
    statement: str
    date: str | None = None
    tombstone: bool = False


FactExtractor: TypeAlias = Callable[[list[MemoryItem]], Awaitable[list[Fact]]]
"""Distils memories into facts."""


@dataclass(frozen=True, slots=True)
class AddOp:
    """A subject not known before."""

    fact: Fact
    type: Literal["add"] = "add"


@dataclass(frozen=True, slots=True)
class UpdateOp:
    """A newer statement about a known subject."""

    subject: str
    fact: Fact
    type: Literal["update"] = "update"


@dataclass(frozen=True, slots=True)
class DeleteOp:
    """A retraction of a known subject."""

    subject: str
    type: Literal["delete"] = "delete"


@dataclass(frozen=True, slots=True)
class NoopOp:
    """Nothing new about a known subject."""

    subject: str
    type: Literal["noop"] = "noop"


@dataclass(frozen=True, slots=True)
class UnmatchedTombstoneOp:
    """A retraction of something that is not known."""

    subject: str
    type: Literal["unmatched-tombstone"] = "unmatched-tombstone"


FactOp: TypeAlias = AddOp | UpdateOp | DeleteOp | NoopOp | UnmatchedTombstoneOp


@dataclass(frozen=True, slots=True)
class ConsolidateResult:
    """A summary run: memories summarized, ids written, memories deleted.

    A memory that was changed while the run went on is not deleted. `calls` are those of the summarizer;
    `expires_at` (ms) is when the summary expires, None for never. `created` is empty, too, when all sources
    expired before there was a summary: it would have expired with them. After a dry run `created` is empty,
    `deleted` is what would be deleted at most, and `calls` are those of the first pass.
    """

    consolidated: int
    created: list[str]
    deleted: int
    calls: int = 0
    expires_at: int | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ConsolidateFactsResult:
    """A facts run: memories read, facts kept in all, ids written, memories deleted, and the subjects
    of retractions that no fact matched.

    `operations` says what became of each extracted fact, `calls` are those of the extractor. After a
    dry run `created` is empty and `deleted` what would be deleted.
    """

    candidates: int
    facts: int
    created: list[str]
    deleted: int
    unmatched_tombstones: list[str] = field(default_factory=list)
    operations: list[FactOp] = field(default_factory=list)
    calls: int = 0
    dry_run: bool = False


# What JavaScript's trim removes; Python's strip removes slightly other characters.
_BLANKS = (
    "\t\n\v\f\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


def subject_key(subject: str) -> str:
    """What subjects are compared by: trimmed of the blanks JavaScript trims, in lower case."""
    return subject.strip(_BLANKS).lower()


def fact_content(fact: Fact) -> str:
    """The text that is stored and found for a fact: its date in brackets, if it has one, and its statement."""
    return f"[{fact.date}] {fact.statement}" if fact.date else fact.statement


def stored_fact(subject: str | None, content: str, date: str | None) -> Fact:
    """The fact in a stored memory: what `fact_content` made its text of."""
    statement = content.removeprefix(f"[{date}] ") if date else content
    return Fact(subject=subject or "", statement=statement, date=date or None)


_Row = TypeVar("_Row")


def newest(rows: Sequence[_Row], *, date: Callable[[_Row], FactDate | None], written: Callable[[_Row], Any]) -> _Row:
    """The row that survives among several about one subject, whatever their order.

    Of two dated ones the later date, else the one `written` later.
    """
    dated = [row for row in rows if date(row) is not None]
    undated = [row for row in rows if date(row) is None]
    best = [max(dated, key=lambda row: (date(row), written(row)))] if dated else []
    if undated:
        best.append(max(undated, key=written))
    return max(best, key=written)


def reconcile(
    incoming: Sequence[Fact], existing: Sequence[Fact], *, undated: Undated = "keep", day_first: bool = False
) -> list[FactOp]:
    """What each incoming fact does to the set of existing ones, in order.

    A later date wins, an equal one does if the statement is another. An undated statement replaces an
    undated one; a dated one only with `undated="replace"`. A retraction counts unless it is older than the
    fact. Of several existing facts with one subject the newest counts: the later date, else the one further
    on in the list. `day_first` reads `01/02/2025` as the first of February.

    >>> reconcile([Fact("City", "lives in Rome", "June 1, 2025")], [Fact("city", "lives in Bonn", "2024-12")])
    [UpdateOp(subject='City', fact=Fact(...), type='update')]
    """
    known = _by_subject(existing, day_first)
    operations = []
    for fact in incoming:
        operation = _decide(fact, known.get(subject_key(fact.subject)), undated, day_first)
        _apply(known, operation)
        operations.append(operation)
    return operations


def apply_ops(existing: Sequence[Fact], ops: Sequence[FactOp], *, day_first: bool = False) -> list[Fact]:
    """The facts that remain after `ops`, in order of first insertion."""
    known = _by_subject(existing, day_first)
    for operation in ops:
        _apply(known, operation)
    return list(known.values())


def _by_subject(facts: Sequence[Fact], day_first: bool) -> dict[str, Fact]:
    rows: dict[str, list[tuple[int, Fact]]] = {}
    for place, fact in enumerate(facts):
        rows.setdefault(subject_key(fact.subject), []).append((place, fact))
    return {
        subject: newest(
            same, date=lambda row: parse_date(row[1].date, day_first=day_first), written=lambda row: row[0]
        )[1]
        for subject, same in rows.items()
    }


def _decide(fact: Fact, prior: Fact | None, undated: Undated, day_first: bool) -> FactOp:
    if prior is None:
        return UnmatchedTombstoneOp(fact.subject) if fact.tombstone else AddOp(fact)
    date = parse_date(fact.date, day_first=day_first)
    prior_date = parse_date(prior.date, day_first=day_first)
    is_older = date is not None and prior_date is not None and date < prior_date
    if fact.tombstone:
        return NoopOp(fact.subject) if is_older else DeleteOp(fact.subject)
    if fact.statement == prior.statement:
        is_news = _dates_better(fact, date, prior, prior_date)
    elif date is None:
        is_news = prior_date is None or undated == "replace"
    else:
        is_news = not is_older
    return UpdateOp(fact.subject, fact) if is_news else NoopOp(fact.subject)


def _dates_better(fact: Fact, date: FactDate | None, prior: Fact, prior_date: FactDate | None) -> bool:
    """Whether the same statement now has a later date, or a date where it had none."""
    if date is None:
        return bool(fact.date) and not prior.date
    return prior_date is None or date > prior_date


def _apply(known: dict[str, Fact], operation: FactOp) -> None:
    match operation:
        case AddOp(fact=fact) | UpdateOp(fact=fact):
            known[subject_key(fact.subject)] = fact
        case DeleteOp(subject=subject):
            known.pop(subject_key(subject), None)
        case NoopOp() | UnmatchedTombstoneOp():
            pass
