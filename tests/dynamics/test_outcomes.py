"""Outcomes: shared by rank and time, learnt from as far as they surprise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

from betterdb_agent_memory.dynamics.outcomes import (
    checked_outcome,
    credit,
    eligibility,
    expected_outcome,
    rewarded,
)
from betterdb_agent_memory.dynamics.parameters import OutcomeParameters
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.scoring.chain import DEFAULT_CHAIN, Traces, ahead, reinforced
from tests.memory.scoring.numbers import days, given, shares, strengths

OURS = OutcomeParameters()
values = st.floats(-1, 1)
counts = st.integers(0, 1_000)


@given(st.integers(0, 100), st.integers(0, 100), st.floats(0, 1e9), st.floats(0, 1e9))
def test_the_first_hit_and_the_latest_recall_get_most_of_an_outcome(rank, further, elapsed, longer):
    first = eligibility(rank, elapsed, OURS)
    assert 0 <= eligibility(rank + further, elapsed + longer, OURS) <= first <= 1
    assert eligibility(0, 0.0, OURS) == eligibility(0, -60.0, OURS) == 1


@given(counts, counts)
def test_what_is_expected_is_an_outcome_and_nothing_is_expected_at_first(uses, successes):
    assert -1 <= expected_outcome(uses, successes, OURS) <= 1
    assert expected_outcome(0, 0, OURS) == 0
    assert expected_outcome(uses + 1, uses + 1, OURS) > 0 > expected_outcome(uses + 1, 0, OURS)


@given(values, st.lists(st.tuples(counts, counts), min_size=1, max_size=10), st.floats(0, 1e6))
def test_credit_is_bounded_and_goes_where_the_error_points(value, memories, elapsed):
    uses = np.array([one for one, _ in memories], dtype=float)
    successes = np.minimum(uses, [other for _, other in memories])
    learnt = credit(
        value,
        ranks=np.arange(len(memories)),
        elapsed_seconds=elapsed,
        uses=uses,
        successes=successes,
        parameters=OURS,
    )
    assert (np.abs(learnt.error) <= 2).all()
    assert (np.abs(learnt.share) <= 1).all()
    assert (learnt.share * learnt.error >= 0).all()
    assert (learnt.successes >= 0).all()
    assert (learnt.successes <= learnt.uses).all()


def test_praise_of_what_always_helps_teaches_little():
    learnt = credit(
        1.0,
        ranks=np.zeros(2),
        elapsed_seconds=0,
        uses=np.array([20.0, 20.0]),
        successes=np.array([20.0, 0.0]),
        parameters=OURS,
    )
    always, never = learnt.share
    assert never > 10 * always > 0


def test_blame_takes_a_share_of_what_as_much_praise_would_give():
    numbers = {"ranks": 0, "elapsed_seconds": 0, "uses": 0, "successes": 0}
    praised, blamed = (float(credit(value, **numbers, parameters=OURS).share) for value in (1.0, -1.0))
    assert blamed == pytest.approx(-OURS.loss_share * praised)
    in_full = credit(-1.0, **numbers, parameters=replace(OURS, loss_share=1.0))
    assert float(in_full.share) == -praised


def test_repeated_outcomes_are_learnt():
    uses = successes = 0.0
    for _ in range(30):
        learnt = credit(0.5, ranks=0, elapsed_seconds=0, uses=uses, successes=successes, parameters=OURS)
        uses, successes = uses + float(learnt.uses), successes + float(learnt.successes)
    assert expected_outcome(uses, successes, OURS) == pytest.approx(0.5, abs=0.05)
    assert abs(float(learnt.share)) < 0.03


@given(st.builds(Traces, strengths, strengths), shares, days, st.floats(-1, 1))
def test_a_good_outcome_strengthens_and_a_bad_one_weakens(traces, importance, later, share):
    before = ahead(traces, importance, later, DEFAULT_CHAIN)
    after = rewarded(traces, importance, later, share, DEFAULT_CHAIN)
    if share > 0:
        as_used = reinforced(traces, importance, later, DEFAULT_CHAIN, share=share)
        assert (after.working, after.core) == (as_used.working, as_used.core)
    assert (after.strength >= before.strength) if share >= 0 else (after.strength <= before.strength)
    assert after.working >= 0
    assert after.core >= 0


def test_a_bad_outcome_takes_its_share_of_both_traces():
    before = ahead(Traces(1.0, 0.4), 0.5, 3.0, DEFAULT_CHAIN)
    after = rewarded(Traces(1.0, 0.4), 0.5, 3.0, -0.25, DEFAULT_CHAIN)
    assert (after.working, after.core) == pytest.approx((0.75 * before.working, 0.75 * before.core))
    assert rewarded(Traces(1.0, 0.4), 0.5, 3.0, -1.0, DEFAULT_CHAIN).strength == 0


def test_many_memories_are_rewarded_as_each_by_itself():
    traces, share = Traces(np.array([1.0, 1.0]), np.array([0.2, 0.2])), np.array([0.4, -0.4])
    together = rewarded(traces, 0.5, 3.0, share, DEFAULT_CHAIN)
    alone = [rewarded(Traces(1.0, 0.2), 0.5, 3.0, one, DEFAULT_CHAIN) for one in share.tolist()]
    assert np.asarray(together.working).tolist() == [float(one.working) for one in alone]
    assert np.asarray(together.core).tolist() == [float(one.core) for one in alone]


@pytest.mark.parametrize("wrong", [1.01, -2, float("nan"), True, "1", None], ids=str)
def test_an_outcome_that_is_none_is_refused(wrong):
    with pytest.raises(InvalidInputError, match="from -1"):
        checked_outcome(wrong)
    with pytest.raises(InvalidInputError):
        credit(wrong, ranks=0, elapsed_seconds=0, uses=0, successes=0, parameters=OURS)


@pytest.mark.parametrize("name", ["ranks", "elapsed_seconds", "uses", "successes"])
def test_nothing_is_learnt_from_a_number_that_is_none(name):
    numbers = {"ranks": 0, "elapsed_seconds": 0, "uses": 0, "successes": 0, name: float("nan")}
    with pytest.raises(InvalidInputError, match=f"{name} must be finite"):
        credit(1.0, **numbers, parameters=OURS)
