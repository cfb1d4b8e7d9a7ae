"""Curves of forgetting, and how stability grows with spaced uses."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import strategies as st

from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError
from betterdb_agent_memory.memory.scoring.composite import recency_decay
from betterdb_agent_memory.memory.scoring.retrievability import (
    CURVES,
    MAX_STABILITY_DAYS,
    AccessRefreshed,
    Exponential,
    HalfLife,
    Linear,
    Power,
    Retrievability,
    StabilityParameters,
    Stepped,
    grown,
)
from tests.memory.scoring.numbers import DAY_MS, NOW_MS, candidates, days, given, shares

each_curve = pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
stabilities = st.floats(0.01, MAX_STABILITY_DAYS)
OURS = StabilityParameters()


@each_curve
@given(days, days, stabilities)
def test_what_is_left_is_bounded_and_falls_with_age(curve, age, more, stability):
    before, after = curve.left(np.array([age, age + more]), stability)
    assert 0 <= after <= before <= 1
    assert curve.left(0.0, stability) == curve.left(-age, stability) == 1


@each_curve
@given(days, stabilities, stabilities)
def test_of_a_stabler_memory_no_less_is_left(curve, age, one, other):
    less, more = sorted((one, other))
    assert curve.left(age, less) <= curve.left(age, more) + 1e-12


@each_curve
def test_numbers_and_arrays_say_the_same(curve):
    ages, stability = np.array([0.0, 0.5, 1.0, 7.0, 40.0, 1e6]), np.array([33.0, 10.0, 2.0, 50.0, 33.0, 100.0])
    together = curve.left(ages, stability).tolist()
    assert together == [float(curve.left(age, one)) for age, one in zip(ages.tolist(), stability.tolist(), strict=True)]


@each_curve
def test_what_is_not_a_number_stays_none(curve):
    assert np.isnan(curve.left(np.nan, 33.0))
    assert np.isnan(curve.left(3.0, np.nan))


@each_curve
def test_a_memory_of_long_ago_is_weaker_than_one_of_today(curve):
    assert curve.left(100.0, 20.0) < 0.75 * curve.left(0.5, 20.0)


def test_the_curves_at_the_points_that_define_them():
    assert HalfLife().left(20.0, 20.0) == 0.5
    assert HalfLife(7.0).left(14.0, 999.0) == 0.25
    assert HalfLife(7.0).left(3.0, 1.0) == pytest.approx(float(recency_decay(3 * 86_400.0, 604_800.0)))
    assert Exponential().left(20.0, 20.0) == pytest.approx(math.exp(-1))
    assert Linear().left(np.array([20.0, 40.0, 41.0]), 20.0).tolist() == [0.5, 0, 0]
    ages = np.array([0.99, 1, 6.9, 7, 29, 30, 89, 90, 1e6])
    assert Stepped().left(ages, 5.0).tolist() == [1, 0.9, 0.9, 0.7, 0.7, 0.5, 0.5, 0.3, 0.3]


def test_the_power_curve_is_that_of_fsrs():
    # py-fsrs 6.3.2: Scheduler().get_card_retrievability for a stability of 10 days.
    of_fsrs = {0: 1.0, 1: 0.98568241, 10: 0.9, 30: 0.8093881, 100: 0.69282663, 365: 0.57355867}
    stability = 10 / math.log(10 / 9)
    for age, left in of_fsrs.items():
        assert Power().left(float(age), stability) == pytest.approx(left, abs=1e-6)
    assert Power().left(10.0, stability) == pytest.approx(float(Exponential().left(10.0, stability)))


def test_stability_grows_as_in_fsrs():
    # py-fsrs 6.3.2: a first "good" gives a difficulty of 2.118104; a second one a week later, at a stability of 10.
    retrievability = (1 + (0.9 ** (-1 / 0.1542) - 1) * 7 / 10) ** -0.1542
    after = grown(10 / math.log(10 / 9), retrievability, OURS)
    assert float(after) * math.log(10 / 9) == pytest.approx(35.012011, rel=1e-3)


@given(stabilities, shares, shares, shares)
def test_stability_grows_the_more_the_more_was_forgotten(stability, one, other, share):
    less, more = sorted((one, other))
    forgotten, remembered = (float(grown(stability, left, OURS, share=share)) for left in (less, more))
    assert stability * (1 - 1e-12) <= remembered <= forgotten * (1 + 1e-12) <= MAX_STABILITY_DAYS * (1 + 1e-9)
    assert float(grown(stability, 1.0, OURS)) == pytest.approx(stability)
    assert float(grown(stability, less, OURS, share=0.0)) == pytest.approx(stability)


@each_curve
def test_ten_uses_in_ten_weeks_make_stabler_than_ten_in_a_minute(curve):
    def after(times):
        stability = 10.0
        for before, at in pairwise([0, *times]):
            stability = float(grown(stability, curve.left(at - before, stability), OURS))
        return stability

    spaced = after([7 * week for week in range(1, 11)])
    massed = after([70 + use / 14_400 for use in range(10)])
    # The first of the ten comes after seventy days without a use.
    first = after([70])
    assert massed < 1.05 * first
    assert spaced > 1.2 * massed


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_stability_does_not_grow_from_a_number_that_is_none(value):
    for stability, left in ((value, 0.5), (10.0, value)):
        with pytest.raises(InvalidInputError, match="must be finite"):
            grown(stability, left, OURS)


def test_a_memory_without_stability_has_the_base():
    three = candidates(
        3,
        reliability=None,
        relevance=np.zeros(3),
        importance=np.zeros(3),
        created_at_ms=np.full(3, NOW_MS - 30.0 * DAY_MS),
        last_accessed_at_ms=np.full(3, NOW_MS - 30.0 * DAY_MS),
        stability_days=np.array([np.nan, 33.0, 300.0]),
    )
    none, base, stable = Retrievability(Exponential()).score(three, NOW_MS).values
    assert none == base < stable


def test_a_use_refreshes_the_curves_that_count_from_it():
    two = candidates(
        2,
        reliability=None,
        relevance=np.zeros(2),
        importance=np.zeros(2),
        created_at_ms=np.full(2, NOW_MS - 100.0 * DAY_MS),
        last_accessed_at_ms=NOW_MS - np.array([100.0, 2.0]) * DAY_MS,
        stability_days=None,
    )
    for curve in CURVES.values():
        unused, recalled = Retrievability(curve).score(two, NOW_MS).values
        assert (recalled > unused) == curve.since_use
    assert AccessRefreshed(Linear()).since_use
    assert not Linear().since_use


@pytest.mark.parametrize(
    "made",
    [
        lambda: Stepped(((7.0, 0.9), (1.0, 0.7))),
        lambda: Stepped(((1.0, 0.5), (7.0, 0.7))),
        lambda: Stepped(((1.0, 1.5),)),
        lambda: Power(0.0),
        lambda: HalfLife(0.0),
        lambda: StabilityParameters(base_days=0),
    ],
    ids=["days", "shares", "above", "decay", "half-life", "base"],
)
def test_a_curve_that_cannot_be_is_refused(made):
    with pytest.raises(ConfigurationError):
        made()
