"""Who leaves a full scope: the lowest ones, found without looking at all of them."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import RecallWeights
from betterdb_agent_memory.engines.base import Row
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.memory.dynamics_fields import PINNED
from betterdb_agent_memory.memory.record import IMPORTANCE, LAST_ACCESSED_AT
from betterdb_agent_memory.memory.victims import EvictionCandidate, Retention, Worth, candidates_in, least_unseen

NOW_MS = 1_750_000_000_000
NUMBERS = st.tuples(
    st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1), st.floats(-1, 2)),
    st.one_of(st.just(NOW_MS), st.integers(NOW_MS - 90 * 86_400_000, NOW_MS + 3_600_000)),
)
WEIGHTS = st.tuples(st.sampled_from([0.0, 0.15, 1.0]), st.sampled_from([0.0, 0.25, 3.0]))
SCOPES = st.lists(NUMBERS, min_size=1, max_size=60)


def retention(weights: tuple[float, float]) -> Retention:
    return Retention(NOW_MS, RecallWeights(similarity=1, importance=weights[0], recency=weights[1]), 604_800)


def rows(scope: list[tuple[float, int]]) -> list[Row]:
    return [
        Row(str(number), {IMPORTANCE: repr(importance).encode(), LAST_ACCESSED_AT: b"%d" % accessed})
        for number, (importance, accessed) in enumerate(scope)
    ]


def candidates(scope: list[tuple[float, int]]) -> list[EvictionCandidate]:
    return [EvictionCandidate(str(n), importance, accessed) for n, (importance, accessed) in enumerate(scope)]


def test_pinned_memories_are_no_candidates_and_a_pin_in_between_saves_one() -> None:
    there = rows([(0.0, 1), (0.0, 2), (1.0, 3)])
    there[1] = Row("1", {**there[1].fields, PINNED: b"0.5"})
    found, kept, unreadable = candidates_in(there, Filter(), spared={"2"})
    assert ([candidate.id for candidate in found], kept, unreadable) == (["0"], 2, 0)
    assert found[0].expected == {IMPORTANCE: b"0.0", LAST_ACCESSED_AT: b"1", PINNED: None}


@given(scope=SCOPES, weights=WEIGHTS, depth=st.integers(1, 60))
def test_nothing_unseen_is_worth_less_than_the_ends_of_both_orders(
    scope: list[tuple[float, int]], weights: tuple[float, float], depth: int
) -> None:
    weighs, there = retention(weights), rows(scope)
    by_importance = sorted(there, key=lambda row: float(row.fields[IMPORTANCE]))[:depth]
    by_access = sorted(there, key=lambda row: int(row.fields[LAST_ACCESSED_AT]))[:depth]
    least = least_unseen(weighs, by_importance, by_access)
    assert least is not None
    seen = {row.id for row in (*by_importance, *by_access)}
    for row in there:
        if row.id not in seen:
            assert weighs.worth(float(row.fields[IMPORTANCE]), float(row.fields[LAST_ACCESSED_AT])) >= least


EDGES = st.lists(st.floats(NOW_MS - 100 * 86_400_000, NOW_MS + 7_200_000), max_size=8)


@given(scope=SCOPES, weights=WEIGHTS, count=st.integers(1, 60), edges=st.none() | EDGES)
def test_the_corner_below_a_score_has_all_that_score_less(
    scope: list[tuple[float, int]], weights: tuple[float, float], count: int, edges: list[float] | None
) -> None:
    weighs = retention(weights)
    worst = weighs.lowest(candidates(scope), min(count, len(scope)))[-1]
    limit = weighs.worth(worst.importance, worst.last_accessed_at).score
    corner = weighs.corner(limit, weighs.edges(candidates(scope)) if edges is None else edges)
    for row, (importance, accessed) in zip(rows(scope), scope, strict=True):
        if weighs.worth(importance, accessed).score <= limit:
            assert corner.accepts(row.id, row.fields)


def test_a_corner_leaves_most_of_a_scope_out() -> None:
    weighs = retention((0.15, 0.25))
    scope = [(step / 99, NOW_MS - day * 86_400_000) for step in range(100) for day in range(0, 100, 5)]
    lowest = weighs.lowest(candidates(scope), 100)
    limit = weighs.worth(lowest[-1].importance, lowest[-1].last_accessed_at).score
    inside = sum(weighs.corner(limit).accepts(row.id, row.fields) for row in rows(scope))
    assert 100 <= inside <= 200


@pytest.mark.parametrize("minutes", [5, 60 * 24 * 40])
def test_a_corner_cut_where_memories_are_has_hardly_more_than_those_that_leave(minutes: int) -> None:
    weighs, chance = retention((0.15, 0.25)), random.Random(1)
    scope = [(chance.random(), NOW_MS - chance.randrange(60_000 * minutes)) for _ in range(3_000)]
    lowest = weighs.lowest(candidates(scope), 300)
    limit = weighs.worth(lowest[-1].importance, lowest[-1].last_accessed_at).score
    corner = weighs.corner(limit, weighs.edges(lowest))
    assert 300 <= sum(corner.accepts(row.id, row.fields) for row in rows(scope)) <= 400


@given(scope=SCOPES, weights=WEIGHTS, count=st.integers(1, 30))
def test_the_next_limit_is_beyond_those_that_leave(
    scope: list[tuple[float, int]], weights: tuple[float, float], count: int
) -> None:
    weighs, there = retention(weights), candidates(scope)
    ordered = weighs.lowest(there, len(there))
    limit = weighs.worth(ordered[-1].importance, ordered[-1].last_accessed_at).score
    worst = ordered[min(count, len(ordered)) - 1]
    found = weighs.next_limit(there, count, limit, following=count)
    assert math.isfinite(found)
    assert found >= weighs.worth(worst.importance, worst.last_accessed_at).score


@given(scope=SCOPES, weights=WEIGHTS, count=st.integers(1, 30), following=st.integers(1, 60))
def test_the_next_limit_has_those_that_leave_the_time_after(
    scope: list[tuple[float, int]], weights: tuple[float, float], count: int, following: int
) -> None:
    weighs, there = retention(weights), candidates(scope)
    ordered = weighs.ordered(there)
    found = weighs.next_limit(there, count, ordered[-1][0].score, following=following)
    last = min(count + following, len(ordered)) - 1
    assert found >= ordered[last][0].score


@given(scope=SCOPES, weights=WEIGHTS, count=st.integers(1, 30))
def test_those_that_may_leave_are_read_again_where_numbers_were_rounded(
    scope: list[tuple[float, int]], weights: tuple[float, float], count: int
) -> None:
    weighs = retention(weights)
    exact = candidates(scope)
    rounded = [
        EvictionCandidate(
            one.id,
            float(f"{one.importance:.12g}"),
            one.last_accessed_at,
            (f"{one.importance:.12g}".encode(), b"%d" % one.last_accessed_at),
        )
        for one in exact
    ]
    doubtful = {one.id for one in weighs.in_doubt(rounded, count)} or {one.id for one in weighs.lowest(rounded, count)}
    chosen = weighs.lowest([one for one in exact if one.id in doubtful], count)
    true = weighs.lowest(exact, count)

    def worths(some: list[EvictionCandidate]) -> list[Worth]:
        return [weighs.worth(one.importance, one.last_accessed_at) for one in some]

    assert [worth.score for worth in worths(chosen)] == [worth.score for worth in worths(true)]
