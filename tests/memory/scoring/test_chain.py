"""The Memory Chain's closed form: what a system of two equations must satisfy, and what people expect of a memory."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st

from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError
from betterdb_agent_memory.memory.scoring.chain import (
    DEFAULT_CHAIN,
    LAYERS,
    Chain,
    ChainParameters,
    Traces,
    ahead,
    current_traces,
    forgettable,
    gain,
    layer,
    layer_numbers,
    reinforced,
)
from tests.memory.scoring.numbers import DAY_MS, NOW_MS, candidates, days, given, shares, strengths

rates = st.one_of(st.floats(1e-4, 5), st.sampled_from([0.05, 0.15]))
parameters = st.builds(ChainParameters, working_decay=rates, core_decay=rates, transfer=rates)
traces = st.builds(Traces, strengths, strengths)
FRESH = Traces(1.0, 0.0)


@given(parameters, traces, shares, days, days)
def test_ahead_and_ahead_again_is_ahead_by_both(ours, at_first, importance, some, more):
    step = ahead(ahead(at_first, importance, some, ours), importance, more, ours)
    leap = ahead(at_first, importance, some + more, ours)
    # Longer than a year of the fastest rate apart, rounding of the sum of days is all that differs.
    assert float(step.working) == pytest.approx(float(leap.working), rel=1e-9, abs=1e-9)
    assert float(step.core) == pytest.approx(float(leap.core), rel=1e-9, abs=1e-9)


@given(parameters, traces, shares, days)
def test_traces_stay_bounded_and_what_is_never_negative(ours, at_first, importance, later):
    then = ahead(at_first, importance, later, ours)
    fed = float(gain(importance, ours)) * at_first.working / ours.working_decay
    assert 0 <= then.working <= at_first.working
    assert 0 <= then.core <= at_first.core + fed + 1e-9
    assert 0 <= then.probability <= 1


@given(parameters, traces, shares, days, st.floats(0, 1e3))
def test_the_working_trace_only_fades_and_more_of_either_is_more_later(ours, at_first, importance, later, added):
    then = ahead(at_first, importance, later, ours)
    assert ahead(at_first, importance, later + added, ours).working <= then.working
    stronger = ahead(Traces(at_first.working + added, at_first.core + added), importance, later, ours)
    assert stronger.working >= then.working
    assert stronger.core >= then.core - 1e-12


@given(traces, shares, shares, days)
def test_what_matters_more_passes_into_the_core(at_first, one, other, later):
    less, more = sorted((one, other))
    assert ahead(at_first, less, later, DEFAULT_CHAIN).core <= ahead(at_first, more, later, DEFAULT_CHAIN).core + 1e-12


def test_it_solves_the_equations():
    # Euler's method in steps of 14 seconds comes as close as its error.
    ours, importance, step = DEFAULT_CHAIN, 0.7, 1 / 6_000
    working, core = 1.3, 0.4
    for _ in range(7 * 6_000):
        working, core = (
            working - step * ours.working_decay * working,
            core + step * (float(gain(importance, ours)) * working - ours.core_decay * core),
        )
    then = ahead(Traces(1.3, 0.4), importance, 7, ours)
    assert (float(then.working), float(then.core)) == pytest.approx((working, core), abs=1e-4)


@given(traces, shares, days, st.floats(1e-3, 1), st.sampled_from([0.0, 1e-18, 1e-13, -1e-13, 1e-9]))
def test_equal_rates_are_the_limit_of_rates_that_are_nearly_equal(at_first, importance, later, rate, apart):
    near = ahead(at_first, importance, later, ChainParameters(working_decay=rate, core_decay=rate + apart))
    expected = (at_first.core + float(gain(importance, DEFAULT_CHAIN)) * at_first.working * later) * np.exp(
        -rate * later
    )
    assert float(near.core) == pytest.approx(float(expected), rel=1e-5, abs=1e-9)


def test_before_its_time_a_trace_is_as_it_was():
    assert ahead(Traces(0.5, 0.2), 0.5, -3.0, DEFAULT_CHAIN) == Traces(0.5, 0.2)


def test_arrays_are_numbers_side_by_side():
    working, core, importance, later = np.random.default_rng(3).random((4, 50)) * [[2], [1], [1], [90]]
    together = ahead(Traces(working, core), importance, later, DEFAULT_CHAIN)
    for place in range(50):
        alone = ahead(Traces(working[place], core[place]), importance[place], later[place], DEFAULT_CHAIN)
        pair = (np.asarray(together.working)[place], np.asarray(together.core)[place])
        assert pair == (alone.working, alone.core)


def used(times, importance=0.5, ours=DEFAULT_CHAIN):
    """The traces right after the last of uses at `times`, in days from the creation on."""
    found = FRESH
    for before, at in pairwise([0, *times]):
        found = reinforced(found, importance, at - before, ours)
    return found


@pytest.mark.parametrize("importance", [0.1, 0.5, 0.9])
def test_ten_uses_in_ten_weeks_help_more_than_ten_in_a_minute(importance):
    spaced = ahead(used([7 * week for week in range(1, 11)], importance), importance, 30, DEFAULT_CHAIN)
    massed = ahead(used([70 + use / 14_400 for use in range(10)], importance), importance, 30, DEFAULT_CHAIN)
    assert spaced.probability > 1.2 * massed.probability
    assert spaced.core > 2 * massed.core


@given(traces, shares, days, shares)
def test_a_use_never_weakens_and_adds_less_to_what_is_there(at_first, importance, later, share):
    before = ahead(at_first, importance, later, DEFAULT_CHAIN)
    after = reinforced(at_first, importance, later, DEFAULT_CHAIN, share=share)
    assert after.working >= before.working
    assert after.core >= before.core
    assert after.working - before.working <= DEFAULT_CHAIN.learning * share * np.exp(-before.working) + 1e-9
    whole = reinforced(at_first, importance, later, DEFAULT_CHAIN)
    assert whole.working >= after.working


@given(st.lists(days.filter(lambda one: one < 1e4), max_size=20), shares)
def test_after_any_history_a_memory_that_was_just_used_is_not_in_the_archive(intervals, importance):
    found = FRESH
    for interval in intervals:
        found = reinforced(found, importance, interval, DEFAULT_CHAIN)
        assert layer(found, importance, 0, DEFAULT_CHAIN) != "archive"
    assert found.strength < 1_000


@pytest.mark.parametrize("importance", [0.5, 0.7, 1.0])
def test_a_strong_memory_used_weekly_never_falls_out_of_core(importance):
    found, was_core = FRESH, False
    for _ in range(3 * 52):
        layers = layer_numbers(found, importance, np.linspace(0, 7, 50), DEFAULT_CHAIN)
        if was_core:
            assert (layers == LAYERS.index("core")).all()
        was_core = was_core or LAYERS.index("core") in layers
        found = reinforced(found, importance, 7, DEFAULT_CHAIN)
    assert was_core


def test_an_unused_trivial_memory_fades_into_the_archive_and_can_be_forgotten():
    ages = np.array([0, 1, 30, 365, 3 * 365])
    assert [LAYERS[place] for place in layer_numbers(FRESH, 0.1, ages, DEFAULT_CHAIN)] == [
        "working",
        "working",
        "archive",
        "archive",
        "archive",
    ]
    assert forgettable(ahead(FRESH, 0.1, 3 * 365, DEFAULT_CHAIN), DEFAULT_CHAIN)
    assert not forgettable(ahead(FRESH, 0.9, 365, DEFAULT_CHAIN), DEFAULT_CHAIN)


def test_an_important_memory_becomes_core_by_itself_and_leaves_it_at_the_lower_bound():
    ages = np.arange(1_000)
    names = [LAYERS[place] for place in layer_numbers(FRESH, 1.0, ages, DEFAULT_CHAIN)]
    core = [day for day, name in enumerate(names) if name == "core"]
    assert names[0] == "working"
    assert core == list(range(core[0], core[-1] + 1))
    last = ahead(FRESH, 1.0, core[-1], DEFAULT_CHAIN)
    # Below what made it core for a long time, and yet core.
    assert DEFAULT_CHAIN.demote_below <= last.strength < DEFAULT_CHAIN.promote_at / 3
    assert names[-1] == "archive"


def test_a_use_brings_a_faded_core_memory_back_and_one_of_the_archive_into_work():
    age = 500
    assert ahead(FRESH, 1.0, age, DEFAULT_CHAIN).core < DEFAULT_CHAIN.promote_at
    assert layer(FRESH, 1.0, age, DEFAULT_CHAIN) == "core"
    assert layer(reinforced(FRESH, 1.0, age, DEFAULT_CHAIN), 1.0, 0, DEFAULT_CHAIN) == "core"
    assert layer(FRESH, 0.1, age, DEFAULT_CHAIN) == "archive"
    assert layer(reinforced(FRESH, 0.1, age, DEFAULT_CHAIN), 0.1, 0, DEFAULT_CHAIN) == "working"


@given(parameters, traces, shares, st.lists(st.floats(0.1, 60), min_size=1, max_size=8))
def test_the_peak_of_the_core_trace_is_where_the_layer_looks_for_it(ours, at_first, importance, steps):
    assume(at_first.core < 0.9 * ours.promote_at)
    later = float(sum(steps))
    path = np.asarray(ahead(at_first, importance, np.geomspace(1e-4, later, 500), ours).core)
    then = ahead(at_first, importance, later, ours)
    if path.max() >= ours.promote_at and then.strength >= ours.demote_below:
        assert layer(at_first, importance, later, ours) == "core"
    elif path.max() < 0.99 * ours.promote_at or then.strength < ours.demote_below:
        assert layer(at_first, importance, later, ours) != "core"


def test_a_memory_of_another_client_has_traces_from_its_times():
    recalled = candidates(
        3,
        created_at_ms=np.full(3, NOW_MS - 20.0 * DAY_MS),
        last_accessed_at_ms=NOW_MS - np.array([20.0, 5.0, 5.0]) * DAY_MS,
        access_count=np.array([0.0, 3.0, 3.0]),
        importance=np.full(3, 0.5),
        working=np.array([np.nan, np.nan, 2.0]),
        core=np.array([np.nan, np.nan, 0.3]),
        strength_at_ms=np.array([np.nan, np.nan, NOW_MS - 5.0 * DAY_MS]),
    )
    found, since = current_traces(recalled, NOW_MS, DEFAULT_CHAIN)
    once = reinforced(FRESH, 0.5, 15, DEFAULT_CHAIN, share=DEFAULT_CHAIN.recall_share)
    assert since == pytest.approx([20, 5, 5])
    assert found.working == pytest.approx([1, float(once.working), 2])
    assert found.core == pytest.approx([0, float(once.core), 0.3])
    # And one that was recalled since its traces were written.
    found, since = current_traces(
        replace(recalled, last_accessed_at_ms=np.full(3, NOW_MS - 2.0 * DAY_MS)), NOW_MS, DEFAULT_CHAIN
    )
    assert since == pytest.approx([20, 2, 2])
    later = reinforced(Traces(2.0, 0.3), 0.5, 3, DEFAULT_CHAIN, share=DEFAULT_CHAIN.recall_share)
    assert np.asarray(found.working)[2] == pytest.approx(float(later.working))


def layers_after(weeks, importance, recalls, last_days_ago=0.0, **traces):
    """The layers of memories written so many weeks ago, and recalled since by a client that keeps no traces."""
    several = candidates(
        len(weeks),
        created_at_ms=NOW_MS - weeks * 7.0 * DAY_MS,
        last_accessed_at_ms=np.full(len(weeks), NOW_MS - last_days_ago * DAY_MS),
        access_count=recalls.astype(float),
        importance=np.full(len(weeks), importance),
        **{"working": None, "core": None, "strength_at_ms": None, **traces},
    )
    found, since = current_traces(several, NOW_MS, DEFAULT_CHAIN)
    return [LAYERS[place] for place in layer_numbers(found, several.importance, since, DEFAULT_CHAIN)]


@pytest.mark.parametrize("importance", [0.7, 1.0])
@pytest.mark.parametrize("last_days_ago", [0.0, 6.9])
def test_a_strong_memory_recalled_weekly_never_falls_out_of_core(importance, last_days_ago):
    weeks = np.arange(2, 10 * 52)
    layers = layers_after(weeks, importance, weeks, last_days_ago)
    assert set(layers[layers.index("core") :]) == {"core"}
    # And as well if it was taught something in its first week.
    taught = {"working": np.full(len(weeks), 1.5), "core": np.full(len(weeks), 0.3)}
    layers = layers_after(weeks, importance, weeks, strength_at_ms=NOW_MS - (weeks - 1) * 7.0 * DAY_MS, **taught)
    assert set(layers) == {"core"}


def test_a_recall_after_years_does_not_bring_a_memory_back_to_the_core():
    weeks = np.array([10, 10 * 52, 10 * 52])
    assert layers_after(weeks, 1.0, np.array([1, 1, 9])) == ["core", "archive", "archive"]
    assert set(layers_after(weeks, 0.1, weeks)) == {"archive"}, "what never was core"


def test_reading_the_traces_of_candidates_changes_none_of_their_numbers():
    several = candidates(50)
    before = {name: np.copy(getattr(several, name)) for name in ("working", "core", "strength_at_ms", "created_at_ms")}
    current_traces(several, NOW_MS + DAY_MS, DEFAULT_CHAIN)
    for name, values in before.items():
        np.testing.assert_array_equal(getattr(several, name), values)


def test_a_memory_used_lately_ranks_above_an_equal_one_that_was_not():
    two = candidates(
        2,
        relevance=np.full(2, 0.8),
        importance=np.full(2, 0.5),
        created_at_ms=np.full(2, NOW_MS - 90.0 * DAY_MS),
        last_accessed_at_ms=NOW_MS - np.array([90.0, 3.0]) * DAY_MS,
        access_count=np.array([0.0, 1.0]),
        reliability=None,
        working=None,
        core=None,
        strength_at_ms=None,
    )
    unused, recalled = Chain().score(two, NOW_MS).values
    assert recalled > unused
    unused, used_whole = Chain(ChainParameters(recall_share=1)).score(two, NOW_MS).values
    assert used_whole - unused > 5 * (recalled - unused)


@pytest.mark.parametrize("wrong", ["working", "core", "importance", "days", "share"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_use_is_not_written_from_a_number_that_is_none(wrong, value):
    given_numbers = {"working": 1.0, "core": 0.1, "importance": 0.5, "days": 3.0, "share": 1.0, wrong: value}
    with pytest.raises(InvalidInputError, match=f"{wrong} must be finite"):
        reinforced(
            Traces(given_numbers["working"], given_numbers["core"]),
            given_numbers["importance"],
            given_numbers["days"],
            DEFAULT_CHAIN,
            share=given_numbers["share"],
        )


@pytest.mark.parametrize(
    "wrong",
    [{"working_decay": 0}, {"core_decay": -1}, {"transfer": "x"}, {"promote_at": 0.1}, {"demote_below": 0.3}],
    ids=str,
)
def test_parameters_that_cannot_work_are_refused(wrong):
    with pytest.raises(ConfigurationError, match="ChainParameters."):
        ChainParameters(**wrong)
