"""Bursts are noticed, levels are learnt; and one factor keeps a store's strength bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

from betterdb_agent_memory.dynamics.anomalies import LARGEST_Z, Moments, is_anomalous, observed, z_score
from betterdb_agent_memory.dynamics.downscaling import factor_needed
from betterdb_agent_memory.dynamics.parameters import AnomalyParameters, DownscalingParameters
from betterdb_agent_memory.errors import InvalidInputError
from tests.memory.scoring.numbers import given

OURS = AnomalyParameters()
finite_values = st.floats(-1e9, 1e9)


def after(values, ours=OURS):
    moments = Moments()
    for value in values:
        moments = observed(moments, value, ours)
    return moments


def ordinary(count=200, level=10.0):
    return np.random.default_rng(2).normal(level, 1, count).tolist()


def test_a_burst_is_noticed_and_what_is_ordinary_is_not():
    moments = after(ordinary())
    assert is_anomalous(z_score(moments, 30.0, OURS), OURS)
    assert is_anomalous(z_score(moments, -10.0, OURS), OURS)
    assert not is_anomalous(z_score(moments, 11.0, OURS), OURS)


def test_a_burst_does_not_make_the_next_one_ordinary():
    moments = after([*ordinary(), 1_000.0])
    assert is_anomalous(z_score(moments, 1_000.0, OURS), OURS)
    assert moments.mean == pytest.approx(10, abs=1)


def test_a_level_that_lasts_is_learnt():
    moments = after([*ordinary(), *ordinary(200, 40.0)])
    assert not is_anomalous(z_score(moments, 40.0, OURS), OURS)


def test_a_metric_that_never_varied_makes_any_change_surprising_and_learns_it():
    moments = after([3.0] * 50)
    assert z_score(moments, 3.0, OURS) == 0
    assert z_score(moments, 3.1, OURS) == LARGEST_Z
    assert z_score(moments, 2.9, OURS) == -LARGEST_Z
    assert not is_anomalous(z_score(after([3.0] * 50 + [3.1, 2.9] * 50), 3.1, OURS), OURS)


def test_nothing_is_judged_in_the_warm_up():
    assert z_score(after(ordinary(OURS.warm_up - 1)), 1e9, OURS) == 0
    assert z_score(after(ordinary(OURS.warm_up)), 1e9, OURS) == LARGEST_Z


@given(st.lists(finite_values, max_size=40), finite_values)
def test_moments_stay_within_what_was_observed_and_z_is_bounded(values, value):
    moments = after(values)
    assert moments.variance >= 0
    assert moments.count == len(values)
    if values:
        slack = 1e-6 * max(1.0, *map(abs, values))
        assert min(values) - slack <= moments.mean <= max(values) + slack
    assert -LARGEST_Z <= z_score(moments, value, OURS) <= LARGEST_Z


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_refused(value):
    for refused in (lambda: observed(Moments(), value, OURS), lambda: z_score(Moments(), value, OURS)):
        with pytest.raises(InvalidInputError, match="value must be finite"):
            refused()


@given(st.floats(0, 1e9), st.integers(0, 10**6))
def test_downscaling_brings_the_mean_down_to_the_bound_and_no_further(total, memories):
    ours = DownscalingParameters()
    factor = factor_needed(total, memories, ours)
    assert 0 < factor <= 1
    if memories:
        assert total * factor <= ours.mean_at_most * memories * (1 + 1e-9)
    if factor < 1:
        assert total * factor == pytest.approx(ours.mean_at_most * memories)


def test_a_total_that_is_none_is_refused():
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInputError):
            factor_needed(wrong, 5, DownscalingParameters())
