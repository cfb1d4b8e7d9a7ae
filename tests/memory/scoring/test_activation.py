"""Base-level activation against the exact sum, and what context and likeness add to it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.memory.scoring.activation import (
    RECENT,
    Activation,
    ActivationParameters,
    association,
    base_level,
    exact_base_level,
    level_of_uses,
    retrieval_probability,
    spreading,
)
from tests.memory.scoring.numbers import DAY_MS, NOW_MS, candidates, given

ages = st.floats(1, 1e10)


def simulated(kind: str, count: int = 1_500) -> tuple[list[np.ndarray], np.ndarray]:
    """Ages in seconds of each memory's accesses, latest first, and of the memories, from an hour to a year."""
    numbers = np.random.default_rng(7)
    of_memories = np.exp(numbers.uniform(np.log(3_600), np.log(3.15e7), count))
    accesses = []
    for age in of_memories:
        uses = numbers.integers(0, 40)
        if kind == "even":
            drawn = numbers.uniform(1, age, uses)
        elif kind == "lately":
            drawn = 1 + age * numbers.power(0.6, uses)
        else:  # intervals by a power law, as needs recur
            steps = numbers.pareto(1.1, uses) + 1
            drawn = age - (age - 1) * np.cumsum(steps) / (steps.sum() * numbers.uniform(1, 1.5)) if uses else steps
        accesses.append(np.sort(drawn))
    return accesses, of_memories


# Mean error in nats and share of pairs in the right order, of the last access alone and of the last four.
BOUNDS = {
    "even": ((0.08, 0.98), (0.03, 0.99)),
    "power": ((0.08, 0.98), (0.04, 0.99)),
    "lately": ((0.2, 0.965), (0.06, 0.985)),
}


def compared(kind: str) -> list[tuple[float, float]]:
    """Mean error and share of pairs in order of the approximation: by the last access, and by the last four."""
    accesses, of_memories = simulated(kind)
    exact = np.array([exact_base_level(np.append(uses, age)) for uses, age in zip(accesses, of_memories, strict=True)])
    recent = np.full((len(accesses), RECENT), np.nan)
    for place, uses in enumerate(accesses):
        recent[place, : len(uses[:RECENT])] = NOW_MS - 1_000 * uses[:RECENT]
    last = np.array([uses[0] if len(uses) else age for uses, age in zip(accesses, of_memories, strict=True)])
    one, other = np.random.default_rng(8).integers(0, len(exact), (2, 100_000))
    found = []
    for kept in (None, recent):
        levels = base_level(
            NOW_MS,
            created_at_ms=NOW_MS - 1_000 * of_memories,
            last_accessed_at_ms=NOW_MS - 1_000 * last,
            access_count=np.array([float(len(uses)) for uses in accesses]),
            recent_ms=kept,
        )
        agree = np.sign(levels[one] - levels[other]) == np.sign(exact[one] - exact[other])
        found.append((float(np.abs(levels - exact).mean()), float(agree.mean())))
    return found


@pytest.mark.parametrize("kind", BOUNDS)
def test_the_approximation_keeps_close_to_the_exact_sum_and_its_order(kind):
    for (error, order), (most, least) in zip(compared(kind), BOUNDS[kind], strict=True):
        assert error < most
        assert order > least


@given(ages, st.floats(0, 1), st.integers(0, 1_000))
def test_for_a_decay_of_one_half_it_is_the_formula_with_roots(age, share, count):
    last = max(age * share if count else age, 0.001)
    expected = math.log(1 / math.sqrt(last) + 2 * count / (math.sqrt(max(age, last)) + math.sqrt(last)))
    level = base_level(
        0,
        created_at_ms=np.array([-1_000 * age]),
        last_accessed_at_ms=np.array([-1_000 * last]),
        access_count=np.array([float(count)]),
    )
    assert level[0] == pytest.approx(expected, abs=1e-9)


@given(ages, st.floats(0, 1), st.integers(0, 1_000), st.booleans())
def test_the_formula_for_any_decay_meets_the_one_with_roots(age, share, count, keeps_times):
    last = age * share if count else age
    one: dict[str, Any] = {
        "created_at_ms": np.array([-1_000 * age]),
        "last_accessed_at_ms": np.array([-1_000 * last]),
        "access_count": np.array([float(count)]),
        "recent_ms": np.array([[-1_000 * last if count else np.nan, np.nan]]) if keeps_times else None,
    }
    assert base_level(0, **one, decay=0.5 + 1e-12) == pytest.approx(base_level(0, **one), abs=1e-8)


@given(st.lists(ages, min_size=0, max_size=RECENT), st.sampled_from([0.3, 0.5, 0.9]))
def test_while_all_accesses_are_kept_it_is_exact(accesses, decay):
    age = max(accesses, default=0.0) + 5.0
    kept = np.full((1, RECENT), np.nan)
    kept[0, : len(accesses)] = [-1_000 * one for one in accesses]
    level = base_level(
        0,
        created_at_ms=np.array([-1_000 * age]),
        last_accessed_at_ms=np.array([-1_000 * min(accesses, default=age)]),
        access_count=np.array([float(len(accesses))]),
        recent_ms=kept,
        decay=decay,
    )
    assert level[0] == pytest.approx(float(exact_base_level(np.array([*accesses, age]), decay)), abs=1e-6)


def test_an_access_by_a_client_that_keeps_no_times_counts():
    fields: dict[str, Any] = {
        "created_at_ms": np.array([-1e9]),
        "access_count": np.array([2.0]),
        "recent_ms": np.array([[-5e8]]),
    }
    without = base_level(0, **fields, last_accessed_at_ms=np.array([-5e8]))
    later = base_level(0, **fields, last_accessed_at_ms=np.array([-1e4]))
    exact = exact_base_level(np.array([1e6, 5e5, 10.0]))
    assert later > without
    assert later == pytest.approx(exact)


@given(ages, ages, st.integers(0, 100), st.sampled_from([0.35, 0.5, 0.6]))
def test_it_falls_with_time_and_rises_with_use(age, later, count, decay):
    def level(now_seconds, uses):
        return base_level(
            1_000 * now_seconds,
            created_at_ms=np.array([-1_000 * age]),
            last_accessed_at_ms=np.array([-300 * age]),
            access_count=np.array([float(uses)]),
            decay=decay,
        )[0]

    assert level(later, count) <= level(0, count)
    assert level(0, count + 1) > level(0, count)


def level(recalls, successes, *, share=0.02, last_days=1.0):
    of_one: dict[str, Any] = {
        "created_at_ms": np.array([NOW_MS - 100.0 * DAY_MS]),
        "last_accessed_at_ms": np.array([NOW_MS - (last_days if recalls else 100.0) * DAY_MS]),
        "access_count": np.array([float(recalls)]),
        "recent_ms": None,
        "successes": None if successes is None else np.array([float(successes)]),
    }
    return float(level_of_uses(candidates(1, **of_one), NOW_MS, ActivationParameters(recall_share=share))[0])


def test_a_recall_that_helped_counts_for_many_that_did_not():
    assert level(5, 5) > level(100, 0) > level(5, 0) > level(0, 0)
    assert level(5, np.nan) == level(5, None) == level(5, 0)
    assert level(1, 1) - level(0, 0) > 8 * (level(1, 0) - level(0, 0))


def test_where_every_recall_counts_whole_it_is_the_plain_base_level():
    of_one = candidates(20, successes=None, recent_ms=None)
    plain = base_level(
        NOW_MS,
        created_at_ms=of_one.created_at_ms,
        last_accessed_at_ms=of_one.last_accessed_at_ms,
        access_count=of_one.access_count,
    )
    assert level_of_uses(of_one, NOW_MS, ActivationParameters(recall_share=1)) == pytest.approx(plain)
    assert level(7, 0, share=0) == level(0, 0)


@given(st.floats(0, 50), st.floats(0, 50))
def test_successes_in_part_count_in_part(one, other):
    less, more = sorted((one, other))
    assert level(50, less) <= level(50, more) + 1e-9
    assert level(50, 1e-9) == pytest.approx(level(50, 0), abs=1e-6)
    assert level(50, 1 + 1e-9) == pytest.approx(level(50, 1), abs=1e-6)


@given(ages, ages, st.floats(0, 50))
def test_a_recall_by_a_clock_behind_that_of_the_writer_counts_as_at_the_writing(age, before, successes):
    def level_recalled(last):
        of_one: dict[str, Any] = {
            "created_at_ms": np.array([NOW_MS - 1_000 * age]),
            "last_accessed_at_ms": np.array([NOW_MS - 1_000 * last]),
            "access_count": np.array([3.0]),
            "recent_ms": None,
            "successes": np.array([successes]),
        }
        return float(level_of_uses(candidates(1, **of_one), NOW_MS, ActivationParameters())[0])

    assert level_recalled(age + before) == level_recalled(age)
    assert math.isfinite(level_recalled(age))


def test_a_clock_ahead_of_ours_makes_nothing_infinite():
    one: dict[str, Any] = {"created_at_ms": np.array([5_000.0]), "last_accessed_at_ms": np.array([9_000.0])}
    assert base_level(0, **one, access_count=np.array([0.0]))[0] == pytest.approx(math.log(1 / math.sqrt(0.001)))


def test_a_common_cue_says_little_and_one_that_all_have_says_nothing():
    said = association(np.array([1.0, 3.0, 50.0, 1e6]), 4.0)
    assert said[:3] == pytest.approx([4, 4 - math.log(3), 4 - math.log(50)])
    assert said[3] == 0


def test_attention_is_shared_between_the_cues():
    one = spreading(np.array([[True]]), np.array([2.0]), 4.0)
    two = spreading(np.array([[True, False], [True, True]]), np.array([2.0, 2.0]), 4.0)
    assert two == pytest.approx([one[0] / 2, one[0]])
    assert spreading(np.zeros((3, 0), dtype=bool), np.zeros(0), 4.0).tolist() == [0, 0, 0]


def test_a_rare_cue_lifts_the_memory_that_has_it():
    two = candidates(
        2,
        reliability=None,
        relevance=np.full(2, 0.8),
        importance=np.full(2, 0.5),
        created_at_ms=np.full(2, NOW_MS - 9e7),
        last_accessed_at_ms=np.full(2, NOW_MS - 9e7),
        access_count=np.zeros(2),
        recent_ms=None,
        cues=np.array([[False], [True]]),
        fans=np.array([3.0]),
    )
    without, with_cue = Activation().score(two, NOW_MS).values
    assert with_cue - without == pytest.approx(1.5 * (4 - math.log(3)))
    alike = Activation().score(replace(two, fans=np.array([1e4])), NOW_MS).values
    assert alike[0] == alike[1]


def test_likeness_decides_between_memories_used_alike_and_matters_between_others():
    # A tenth of relevance against being a third as old.
    two = candidates(
        2,
        reliability=None,
        relevance=np.array([0.9, 0.8]),
        importance=np.full(2, 0.5),
        created_at_ms=NOW_MS - np.array([9e8, 3e8]),
        last_accessed_at_ms=NOW_MS - np.array([9e8, 3e8]),
        access_count=np.zeros(2),
        recent_ms=None,
        cues=None,
    )
    like, lately = Activation().score(two, NOW_MS).values
    assert like > lately
    like, lately = Activation(ActivationParameters(similarity_weight=1)).score(two, NOW_MS).values
    assert like < lately


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(0.01, 100))
def test_the_probability_of_retrieval_is_bounded_and_monotone(one, other, noise):
    low, high = retrieval_probability(np.array(sorted((one, other))), 0.0, noise)
    assert 0 <= low <= high <= 1
    assert retrieval_probability(0.0, 0.0, noise) == 0.5
    if abs(one) < 10 * noise:
        assert retrieval_probability(one, 0.0, noise) == pytest.approx(1 / (1 + math.exp(-one / noise)))


@pytest.mark.parametrize("wrong", [0, 1, float("nan"), "0.5", True], ids=str)
def test_a_decay_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigurationError, match=r"ActivationParameters.decay must be a number from 0.01 to 0.99"):
        ActivationParameters(decay=wrong)
