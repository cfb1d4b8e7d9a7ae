"""Which version counted when, and that a correction stands before what it corrects."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from betterdb_agent_memory.dynamics.validity import Version, corrections_first, lineage, version_as_of
from betterdb_agent_memory.errors import InvalidInputError
from tests.memory.scoring.numbers import given

ids = st.sampled_from([f"m{place}" for place in range(12)])


def test_a_move_leaves_the_old_address_true_for_its_time():
    berlin = Version("berlin", known_from_ms=100, valid_from_ms=50)
    paris = Version("paris", known_from_ms=300, valid_from_ms=280)
    both = [berlin, paris]
    assert version_as_of(both, 200) == berlin
    assert version_as_of(both, 279) == berlin
    assert version_as_of(both, 280) == paris
    assert version_as_of(both, 290, known_ms=299) == berlin
    assert version_as_of(both, 49) is None
    assert version_as_of(both, 60, known_ms=99) is None


def test_a_correction_counts_for_the_past_as_well_once_it_is_known():
    wrong = Version("wrong", known_from_ms=100)
    right = Version("right", known_from_ms=300)
    assert version_as_of([wrong, right], 150) == right
    assert version_as_of([wrong, right], 150, known_ms=200) == wrong


def test_a_span_holds_its_first_moment_and_not_its_last():
    version = Version("v", known_from_ms=0, valid_from_ms=10, valid_until_ms=20)
    assert [version.holds_at(at) for at in (9, 10, 19, 20)] == [False, True, True, False]
    assert version_as_of([version], 20) is None


@pytest.mark.parametrize("until", [10, 9])
def test_a_span_without_time_is_refused(until):
    with pytest.raises(InvalidInputError, match="valid_until must be later than valid_from"):
        Version("v", known_from_ms=0, valid_from_ms=10, valid_until_ms=until)


def test_lineage_goes_back_to_the_first_version_and_refuses_a_circle():
    supersedes = {"c": "b", "b": "a", "x": "y", "y": "x"}
    assert lineage("c", supersedes) == ["c", "b", "a"]
    assert lineage("a", supersedes) == ["a"]
    with pytest.raises(InvalidInputError, match="'x' would supersede itself"):
        lineage("x", supersedes)


@given(st.lists(ids, unique=True), st.dictionaries(st.integers(1, 11), st.integers(0, 10)))
def test_a_correction_always_outranks_what_it_corrects(ranked, pairs):
    # A later number corrects an earlier one, so that there are no circles.
    supersedes = {f"m{newer}": f"m{older}" for newer, older in pairs.items() if older < newer}
    ordered = corrections_first(ranked, supersedes)
    assert sorted(ordered) == sorted(ranked)
    places = {one: place for place, one in enumerate(ordered)}
    for one in ranked:
        for older in lineage(one, supersedes)[1:]:
            if older in places:
                assert places[one] < places[older]


@given(st.lists(ids, unique=True), st.dictionaries(ids, ids))
def test_any_lineage_even_a_circle_keeps_every_memory_once(ranked, supersedes):
    assert sorted(corrections_first(ranked, supersedes)) == sorted(ranked)


def test_what_is_in_order_stays_and_only_what_is_not_moves():
    assert corrections_first(["a", "b", "c"], {"a": "b"}) == ["a", "b", "c"]
    assert corrections_first(["x", "old", "y", "new", "z"], {"new": "old"}) == ["x", "new", "old", "y", "z"]
    # Through a version that was not found.
    assert corrections_first(["first", "third"], {"third": "second", "second": "first"}) == ["third", "first"]


def test_a_lineage_of_thousands_is_no_deeper_than_a_short_one():
    supersedes = {f"v{place + 1}": f"v{place}" for place in range(5_000)}
    assert corrections_first(["v0", "v5000"], supersedes) == ["v5000", "v0"]
    assert len(lineage("v5000", supersedes)) == 5_001
