"""What is believed of a memory, and that belief says how often it turns out right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

from betterdb_agent_memory.dynamics.calibration import Calibration, calibration_error
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.standing.confidence import (
    CONTRADICTED,
    LABELS,
    ConfidenceParameters,
    believed,
    confidence,
    contradicted,
    label,
    label_numbers,
)
from tests.memory.scoring.numbers import given, shares

OURS = ConfidenceParameters()
counts = st.integers(0, 50)


@given(shares, shares, shares, st.booleans(), counts, counts)
def test_belief_and_confidence_are_shares(reliability, base, left, is_pinned, uses, successes):
    sure = believed(reliability, base, OURS, pinned=is_pinned, uses=uses, successes=successes)
    assert 0 <= confidence(sure, left, OURS) <= sure <= 1


@given(st.floats(0.01, 1), st.booleans())
def test_a_pin_never_cancels_a_contradiction(base, is_pinned):
    before = believed(base, base, OURS, pinned=is_pinned)
    after = believed(contradicted(base), base, OURS, pinned=is_pinned)
    assert after == pytest.approx(CONTRADICTED * before)
    assert label(float(after), OURS) == "vague"


@given(shares, st.floats(0.01, 1))
def test_a_pin_never_lowers_what_is_believed(reliability, base):
    assert believed(reliability, base, OURS, pinned=True) >= believed(reliability, base, OURS)
    assert believed(base, base, OURS, pinned=True) >= 0.95


@given(shares, counts, counts)
def test_each_success_raises_and_each_failure_lowers_belief(base, uses, successes):
    successes = min(uses, successes)
    now = believed(base, base, OURS, uses=uses, successes=successes)
    assert believed(base, base, OURS, uses=uses + 1, successes=successes + 1) >= now
    assert believed(base, base, OURS, uses=uses + 1, successes=successes) <= now


def test_evidence_outweighs_the_kind_in_the_end():
    assert believed(0.6, 0.6, OURS, uses=400, successes=400) > 0.98
    assert believed(0.95, 0.95, OURS, uses=4_000, successes=0) < 0.05


def test_a_failure_says_less_of_the_content_than_a_success():
    before = believed(0.5, 0.5, OURS)
    gained = believed(0.5, 0.5, OURS, uses=1, successes=1) - before
    lost = before - believed(0.5, 0.5, OURS, uses=1, successes=0)
    assert gained > 4 * lost > 0
    whole = ConfidenceParameters(blame=1)
    assert believed(0.9, 0.9, whole, uses=10, successes=5) == pytest.approx((0.9 * 4 + 5) / 14)


@given(shares, shares, shares)
def test_of_what_was_forgotten_less_is_believed(reliability, one, other):
    less, more = sorted((one, other))
    assert confidence(reliability, less, OURS) <= confidence(reliability, more, OURS)
    assert confidence(reliability, 1.0, OURS) == reliability


@given(st.lists(shares, min_size=2, max_size=20))
def test_labels_rise_with_confidence(values):
    places = label_numbers(np.array(sorted(values)), OURS)
    assert (np.diff(places) >= 0).all()
    assert [label(value, OURS) for value in sorted(values)] == [LABELS[place] for place in places]


def test_a_label_of_no_number_is_refused():
    for refused in (lambda: label(float("nan"), OURS), lambda: contradicted(float("nan"))):
        with pytest.raises(InvalidInputError):
            refused()


def test_the_error_is_the_distance_from_what_turned_out_right():
    sure = np.array([0.9] * 10 + [0.2] * 10)
    right = np.array([1.0] * 9 + [0.0] + [1.0] * 6 + [0.0] * 4)
    assert calibration_error(sure, right) == pytest.approx((0.0 + 0.4) / 2)
    assert calibration_error(np.array([1.0]), np.array([0.0])) == 1


observed = st.lists(st.tuples(shares, st.booleans()), min_size=1, max_size=60)


@given(observed, st.lists(shares, min_size=2, max_size=20))
def test_calibration_never_changes_which_of_two_is_believed_more(pairs, asked):
    sure, right = np.array([one for one, _ in pairs]), np.array([float(one) for _, one in pairs])
    mapped = Calibration.fitted(sure, right).calibrated(np.array(sorted(asked)))
    assert (np.diff(mapped) >= -1e-12).all()
    assert np.min(mapped) >= 0
    assert np.max(mapped) <= 1


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=25))
def test_the_map_is_the_monotone_one_that_fits_best(pairs):
    sure, right = np.array([one / 30 for one, _ in pairs]), np.array([float(one) for _, one in pairs])
    means = [right[sure == one] for one in np.unique(sure)]
    # By definition: at each place the largest of the smallest means of runs around it.
    runs = range(len(means))
    best = [
        max(min(np.concatenate(means[first : last + 1]).mean() for last in runs[at:]) for first in runs[: at + 1])
        for at in runs
    ]
    assert Calibration.fitted(sure, right).shares == pytest.approx(np.unique(np.round(best, 9)), abs=1e-8)


def test_an_overconfident_memory_is_mended():
    numbers = np.random.default_rng(5)
    sure = numbers.random(4_000)
    right = (numbers.random(4_000) < sure**2).astype(float)
    half = Calibration.fitted(sure[:2_000], right[:2_000])
    before = calibration_error(sure[2_000:], right[2_000:])
    after = calibration_error(half.calibrated(sure[2_000:]), right[2_000:])
    assert before > 0.12
    assert after < 0.04


def test_without_observations_nothing_is_changed():
    assert Calibration().calibrated(np.array([0.1, 0.9])).tolist() == [0.1, 0.9]


@pytest.mark.parametrize(
    ("sure", "right"),
    [([], []), ([0.5], [1.0, 0.0]), ([float("nan")], [1.0]), ([1.5], [1.0]), ([0.5], [-1.0])],
    ids=["none", "lengths", "nan", "sure", "right"],
)
def test_what_cannot_be_calibrated_is_refused(sure, right):
    for made in (calibration_error, Calibration.fitted):
        with pytest.raises(InvalidInputError):
            made(np.array(sure), np.array(right))
