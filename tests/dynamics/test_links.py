"""Links: what is recalled together grows together, fades unless used, and spreads activation without flooding."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from betterdb_agent_memory.dynamics.links import (
    expanded,
    faded,
    gains,
    kept,
    linked,
    spread,
)
from betterdb_agent_memory.dynamics.parameters import LinkParameters
from betterdb_agent_memory.engines.links import score_of, weight_of
from betterdb_agent_memory.errors import InvalidInputError
from tests.memory.scoring.numbers import DAY_MS, given, shares

OURS = LinkParameters()
names = st.sampled_from("abcdefgh")
weights = st.dictionaries(names, st.floats(0, 50), max_size=8)


@given(st.floats(0, 50), st.floats(0, 1_000), st.floats(0, 1_000))
def test_a_weight_fades_by_itself_as_a_store_has_it(weight, first, later):
    at_once = float(faded(weight, first + later, OURS))
    assert float(faded(faded(weight, first, OURS), later, OURS)) == pytest.approx(at_once)
    assert at_once <= weight
    if weight > 1e-6:
        score = score_of(weight, int(first * DAY_MS))
        assert weight_of(score, int((first + later) * DAY_MS)) == pytest.approx(float(faded(weight, later, OURS)), 1e-6)
    with pytest.raises(InvalidInputError, match="weight must be finite"):
        faded(float("nan"), 0, OURS)


def effective_after(times_in_days, now_days, scores=(0.9, 0.8)):
    [(_, _, gain)] = gains(scores, OURS)
    return sum(float(faded(gain, now_days - at, OURS)) for at in times_in_days)


def test_a_link_used_weekly_stays_and_an_unused_one_goes():
    for week in range(4, 300):
        assert linked({"other": effective_after(range(0, 7 * week, 7), 7 * week)}, OURS)
    assert linked({"other": effective_after(range(0, 70, 7), 70)}, OURS)
    assert not linked({"other": effective_after(range(0, 70, 7), 70 + 90)}, OURS)


def test_a_weight_is_bounded_however_long_a_link_is_used():
    assert effective_after(range(3_650), 3_650) < 10


def test_meeting_once_makes_no_link():
    assert not linked({"other": effective_after([0], 0, (1.0, 1.0))}, OURS)


@given(st.lists(shares, max_size=20))
def test_each_pair_of_the_first_hits_gains_the_product_of_their_scores(scores):
    gained = {(one, other): gain for one, other, gain in gains(scores, OURS)}
    first = scores[: OURS.together]
    assert gained == {
        (one, other): pytest.approx(OURS.rate * first[one] * first[other])
        for other in range(len(first))
        for one in range(other)
        if OURS.rate * first[one] * first[other] > 0
    }


@given(weights, st.integers(1, 5))
def test_only_the_heaviest_links_are_kept(of_one, fan_out):
    ours = LinkParameters(fan_out=fan_out)
    left = kept(of_one, ours)
    assert len(left) == min(len(of_one), fan_out)
    assert min(left.values(), default=0) >= max((of_one[one] for one in of_one.keys() - left), default=0)


@given(st.dictionaries(names, shares), st.dictionaries(names, weights))
def test_what_spreads_is_less_than_certain_and_comes_over_links(active, links):
    got = spread(active, links, OURS)
    for other, share in got.items():
        assert 0 <= share < 1
        assert any(links.get(source, {}).get(other, 0) >= OURS.threshold for source in active if source != other)


def test_one_of_many_links_says_less_than_the_only_one():
    alone = spread({"a": 1.0}, {"a": {"b": 1.0}}, OURS)["b"]
    crowded = spread({"a": 1.0}, {"a": {"b": 1.0, **{f"x{place}": 1.0 for place in range(30)}}}, OURS)["b"]
    assert crowded < alone / 3
    assert spread({"a": 1.0, "c": 1.0}, {"a": {"b": 1.0}, "c": {"b": 1.0}}, OURS)["b"] > alone
    assert spread({"a": 1.0}, {"a": {"b": 3.0}}, OURS)["b"] > alone


@given(
    st.dictionaries(names, st.floats(-10, 10), min_size=1),
    st.lists(
        st.dictionaries(
            st.sampled_from("abcdefghuvwxyz"), st.dictionaries(st.sampled_from("abcuvwxyz"), st.floats(0, 50))
        ),
        max_size=3,
    ),
)
def test_what_links_add_stands_below_what_was_found(scores, hops):
    found = sorted(scores.items(), key=lambda one: -one[1])
    added = expanded(found, hops, OURS)
    assert not {one for one, _ in added} & scores.keys()
    assert all(score < min(scores.values()) for _, score in added)
    assert [score for _, score in added] == sorted((score for _, score in added), reverse=True)


def test_two_hops_are_followed_and_a_third_is_not():
    links = {"a": {"b": 2.0}, "b": {"c": 2.0}, "c": {"d": 2.0}}
    assert [one for one, _ in expanded([("a", 0.9)], [links] * 3, OURS)] == ["b", "c"]
    assert [one for one, _ in expanded([("a", 0.9)], [links] * 3, LinkParameters(hops=1))] == ["b"]
    assert expanded([], [links], OURS) == []


def test_only_the_first_hits_spread():
    found = [(f"{place}", 1 - place / 10) for place in range(6)]
    added = expanded(found, [{f"{place}": {f"{place}x": 2.0} for place in range(6)}], OURS)
    assert [one for one, _ in added] == ["0x", "1x", "2x"]
