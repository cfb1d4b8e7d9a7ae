"""Reconciling newly extracted facts with the ones already kept: pure, as the other languages do it.

One fact per folded subject. Facts are taken in order, each seeing the effect of those before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from betterdb_agent_memory.memory.record import MemoryItem

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
class ConsolidateResult:
    """A summary run: memories read, ids written, memories deleted."""

    consolidated: int
    created: list[str]
    deleted: int


@dataclass(frozen=True, slots=True)
class ConsolidateFactsResult:
    """A facts run: memories read, facts kept in all, ids written, memories deleted, and the subjects
    of retractions that no fact matched.
    """

    candidates: int
    facts: int
    created: list[str]
    deleted: int
    unmatched_tombstones: list[str] = field(default_factory=list)


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

# What JavaScript's trim removes; Python's strip removes slightly other characters.
_BLANKS = (
    "\t\n\v\f\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


def subject_key(subject: str) -> str:
    """What subjects are compared by: trimmed of the blanks JavaScript trims, in lower case."""
    return subject.strip(_BLANKS).lower()


def reconcile(incoming: Sequence[Fact], existing: Sequence[Fact]) -> list[FactOp]:
    """What each incoming fact does to the set of existing ones, in order.

    Dates are compared as text, as the contract has it; the first of several existing facts with one
    subject counts.
    """
    known = _by_subject(existing)
    operations = []
    for fact in incoming:
        operation = _decide(fact, known.get(subject_key(fact.subject)))
        _apply(known, operation)
        operations.append(operation)
    return operations


def apply_ops(existing: Sequence[Fact], ops: Sequence[FactOp]) -> list[Fact]:
    """The facts that remain after `ops`, in order of first insertion."""
    known = _by_subject(existing)
    for operation in ops:
        _apply(known, operation)
    return list(known.values())


def _by_subject(facts: Sequence[Fact]) -> dict[str, Fact]:
    known: dict[str, Fact] = {}
    for fact in facts:
        known.setdefault(subject_key(fact.subject), fact)
    return known


def _decide(fact: Fact, prior: Fact | None) -> FactOp:
    date = fact.date or ""
    prior_date = (prior.date or "") if prior else ""
    if fact.tombstone:
        if prior is None:
            return UnmatchedTombstoneOp(fact.subject)
        outdated = bool(date and prior_date) and date < prior_date
        return NoopOp(fact.subject) if outdated else DeleteOp(fact.subject)
    if prior is None:
        return AddOp(fact)
    if fact.statement == prior.statement:
        is_news = date > prior_date
    else:
        is_news = not date or date >= prior_date
    return UpdateOp(fact.subject, fact) if is_news else NoopOp(fact.subject)


def _apply(known: dict[str, Fact], operation: FactOp) -> None:
    match operation:
        case AddOp(fact=fact) | UpdateOp(fact=fact):
            known[subject_key(fact.subject)] = fact
        case DeleteOp(subject=subject):
            known.pop(subject_key(subject), None)
        case NoopOp() | UnmatchedTombstoneOp():
            pass
