"""Reconciling facts, against an oracle that decides by comparing everything with everything."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import AddOp, DeleteOp, Fact, NoopOp, UnmatchedTombstoneOp, UpdateOp, apply_ops, reconcile
from betterdb_agent_memory.memory.consolidation.dates import parse_date
from betterdb_agent_memory.memory.consolidation.facts import Undated, fact_content, newest, stored_fact

DAYS = {
    "2024-01-05": date(2024, 1, 5),
    "Jan 5, 2024": date(2024, 1, 5),
    "2024-9-1": date(2024, 9, 1),
    "10/31/2024": date(2024, 10, 31),
    "2 November 2024": date(2024, 11, 2),
    "5.11.2024": date(2024, 11, 5),
    "2025-01-01": date(2025, 1, 1),
}
"""Whole days, spelt so that their order as text is another one."""
NO_DATES = [None, "", "some day", "may"]

subjects = st.sampled_from(["city", " City ", "CITY", "pet", "Pet\n", "job"])
dates = st.sampled_from([*DAYS, *NO_DATES])
facts = st.builds(Fact, subjects, st.sampled_from(["x", "y", "z"]), dates, st.booleans())
statements = st.builds(Fact, subjects, st.sampled_from(["x", "y", "z"]), dates)


def oracle(incoming: Sequence[Fact], existing: Sequence[Fact], undated: Undated) -> tuple[list[str], dict[str, Fact]]:
    """Kinds of operations, and what is left by subject: the rules of docs/consolidation.md as a table."""
    known: dict[str, Fact] = {}
    for subject in {fold(fact) for fact in existing}:
        same = [fact for fact in existing if fold(fact) == subject]
        latest = max((day for fact in same if (day := day_of(fact))), default=None)
        # The last of those with the latest date; the last undated one if it comes after that.
        dated = [place for place, fact in enumerate(same) if day_of(fact) == latest and latest]
        undated_places = [place for place, fact in enumerate(same) if not day_of(fact)]
        known[subject] = same[max([*dated[-1:], *undated_places[-1:]])]
    kinds = []
    for fact in incoming:
        prior = known.get(fold(fact))
        kind = decided(fact, prior, undated)
        kinds.append(kind)
        if kind in ("add", "update"):
            known[fold(fact)] = fact
        elif kind == "delete":
            del known[fold(fact)]
    return kinds, known


def decided(fact: Fact, prior: Fact | None, undated: Undated) -> str:
    if prior is None:
        return "unmatched-tombstone" if fact.tombstone else "add"
    order = {
        (False, False): "undated",
        (False, True): "loses",
        (True, False): "wins",
    }.get((day_of(fact) is not None, day_of(prior) is not None))
    if order is None:
        one, other = day_of(fact), day_of(prior)
        order = "same" if one == other else "older" if str(one) < str(other) else "wins"
    is_same = fact.statement == prior.statement
    table: dict[tuple[str, bool], str] = {
        ("undated", True): "update" if fact.date and not prior.date else "noop",
        ("undated", False): "update",
        ("loses", True): "update" if fact.date and not prior.date else "noop",
        ("loses", False): "update" if undated == "replace" else "noop",
        ("wins", True): "update",
        ("wins", False): "update",
        ("same", True): "noop",
        ("same", False): "update",
        ("older", True): "noop",
        ("older", False): "noop",
    }
    if fact.tombstone:
        return "noop" if order == "older" else "delete"
    return table[order, is_same]


def fold(fact: Fact) -> str:
    return fact.subject.strip().lower()


def day_of(fact: Fact) -> date | None:
    return DAYS.get(fact.date or "")


@given(st.lists(facts, max_size=6), st.lists(statements, max_size=6), st.sampled_from(["keep", "replace"]))
def test_reconcile_agrees_with_the_oracle(incoming: list[Fact], existing: list[Fact], undated: Undated) -> None:
    kinds, left = oracle(incoming, existing, undated)
    operations = reconcile(incoming, existing, undated=undated)
    assert [operation.type for operation in operations] == kinds
    assert {fold(fact): fact for fact in apply_ops(existing, operations)} == left
    kept = apply_ops(existing, operations)
    assert len({fold(fact) for fact in kept}) == len(kept), "one fact for a subject"


@given(st.lists(statements, max_size=6), st.lists(statements, max_size=6))
def test_the_same_facts_a_second_time_change_nothing_more(incoming: list[Fact], existing: list[Fact]) -> None:
    # One statement for a subject: with two of one date the last one wins, in every run anew.
    incoming = list({fold(fact): fact for fact in incoming}.values())
    once = apply_ops(existing, reconcile(incoming, existing))
    again = reconcile(incoming, once)
    assert all(isinstance(operation, NoopOp) for operation in again)
    assert apply_ops(once, again) == once


@given(st.permutations(list(itertools.product(["x", "y"], [None, "2024-9-1", "10/31/2024"]))))
def test_the_newest_does_not_depend_on_the_order(rows: list[tuple[str, str | None]]) -> None:
    def chosen(rows: Sequence[tuple[str, str | None]]) -> tuple[str, str | None]:
        return newest(rows, date=lambda row: parse_date(row[1]), written=lambda row: (row[0], row[1] is None))

    assert chosen(rows) == ("y", None), "written last, and not about an earlier day"
    dated = [row for row in rows if row[1]]
    assert chosen(dated) == ("y", "10/31/2024")


def test_operations_say_what_happened() -> None:
    existing = [Fact("City", "lives in Sofia", "2024-01-01"), Fact("pet", "has a cat")]
    incoming = [
        Fact("job", "works at Acme"),
        Fact("city", "lives in Bonn", "Feb 1, 2024"),
        Fact("city", "lives in Rome", "2023"),
        Fact("PET", "", tombstone=True),
        Fact("ghost", "", tombstone=True),
    ]
    assert reconcile(incoming, existing) == [
        AddOp(incoming[0]),
        UpdateOp("city", incoming[1]),
        NoopOp("city"),
        DeleteOp("PET"),
        UnmatchedTombstoneOp("ghost"),
    ]
    assert existing == [Fact("City", "lives in Sofia", "2024-01-01"), Fact("pet", "has a cat")], "nothing is changed"


@given(statements)
def test_a_fact_survives_being_stored(fact: Fact) -> None:
    stored = stored_fact(fact.subject, fact_content(fact), fact.date)
    assert stored == Fact(fact.subject, fact.statement, fact.date or None)


@pytest.mark.parametrize("options", [{}, {"undated": "keep"}, {"day_first": True}])
def test_the_published_call_is_enough(options: dict[str, Any]) -> None:
    assert reconcile([Fact("a", "x")], [], **options) == [AddOp(Fact("a", "x"))]
