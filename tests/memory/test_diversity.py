"""Maximal marginal relevance against the plain loop of its definition."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.diversity import diversify, unit_rows

# Directions whose cosines are exact: 0, 0.6, 0.8, 1 and their opposites, so that ties are ties.
DIRECTIONS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0], [0.8, 0, 0.6], [-1, 0, 0], [0, -0.6, 0.8]])


def by_definition(relevance, vectors, count, balance):
    left = list(range(len(relevance)))
    chosen: list[int] = []
    while left and len(chosen) < count:

        def marginal(place):
            likeness = [round(float(vectors[place] @ vectors[one]), 6) for one in chosen]
            return balance * relevance[place] - (1 - balance) * max(likeness) if likeness else relevance[place]

        best = max(left, key=lambda place: (marginal(place), -place))
        chosen.append(best)
        left.remove(best)
    return chosen


candidates = st.lists(
    st.tuples(st.integers(0, 8).map(lambda eighths: eighths / 8), st.integers(0, len(DIRECTIONS) - 1)), max_size=40
)


@given(candidates, st.integers(-1, 45), st.sampled_from([0, 0.25, 0.5, 0.75, 1]))
def test_it_chooses_as_the_definition_does_ties_by_given_order(drawn, count, balance):
    relevance = np.array([one for one, _ in drawn], dtype=float)
    vectors = DIRECTIONS[[direction for _, direction in drawn]].reshape(-1, 3)
    assert diversify(relevance, vectors, count, balance) == by_definition(relevance, vectors, count, balance)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(0, 1))
def test_every_choice_is_the_best_of_those_left(seed, count, balance):
    numbers = np.random.default_rng(seed)
    vectors = numbers.standard_normal((60, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relevance = numbers.random(60)
    chosen = diversify(relevance, vectors, count, balance)
    assert len(set(chosen)) == count
    exact = vectors.astype(float)
    for length in range(1, count):
        likeness = (exact @ exact[chosen[:length]].T).max(axis=1)
        marginal = balance * relevance - (1 - balance) * likeness
        marginal[chosen[:length]] = -np.inf
        assert marginal[chosen[length]] >= marginal.max() - 2e-6


def test_relevance_alone_keeps_the_order_and_repeats_come_last_otherwise():
    relevance = np.array([0.9, 0.89, 0.88, 0.4])
    vectors = DIRECTIONS[[0, 0, 0, 1]]
    assert diversify(relevance, vectors, 4, 1) == [0, 1, 2, 3]
    assert diversify(relevance, vectors, 4, 0.6) == [0, 3, 1, 2]


def test_the_most_relevant_comes_first_whatever_the_balance():
    assert diversify(np.array([0.1, 0.9]), DIRECTIONS[:2], 1, 0) == [1]


@pytest.mark.parametrize("count", [3, 60])
def test_equal_vectors_are_a_tie_wherever_they_stand(count):
    # A product of matrices sums the rows at its edges in another order, so that equal rows differ in the last digits.
    for rows in range(60, 70):
        vector = np.random.default_rng(rows).standard_normal(384)
        vectors = np.tile(vector / np.linalg.norm(vector), (rows, 1))
        assert diversify(np.full(rows, 0.5), vectors, count, 0.3) == list(range(count))


def test_the_largest_recall_is_a_matter_of_a_second():
    numbers = np.random.default_rng(3)
    vectors = numbers.standard_normal((2_500, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    began = time.process_time()
    assert len(diversify(numbers.random(2_500), vectors, 2_500, 0.5)) == 2_500
    assert time.process_time() - began < 3


@pytest.mark.parametrize("rows", [2_500, 3_000])
def test_memory_is_bounded(rows):
    vectors = np.random.default_rng(3).standard_normal((rows, 8))
    tracemalloc.start()
    diversify(np.ones(rows), vectors / np.linalg.norm(vectors, axis=1, keepdims=True), rows, 0.5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 45 * 2**20


def test_fewer_are_the_first_of_more_however_they_are_computed():
    numbers = np.random.default_rng(4)
    vectors, relevance = numbers.standard_normal((3_000, 4)), numbers.random(3_000)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for size in (300, 2_000, 3_000):
        longer = diversify(relevance[:size], vectors[:size], size // 4, 0.5)
        assert longer[:15] == diversify(relevance[:size], vectors[:size], 15, 0.5)


def test_stored_vectors_become_rows_of_length_1():
    stored = [np.array(one, "<f4").tobytes() for one in ([3, 4], [0, 0], [1, 2, 3], [np.nan, 1], [np.inf, 1], [0, -2])]
    rows = unit_rows([*stored, b"", b"abc"])
    nothing = [0.0, 0.0]
    assert rows.tolist() == [[np.float32(3) / 5, np.float32(4) / 5], *[nothing] * 4, [0, -1], nothing, nothing]
    assert unit_rows([b"", b"abc"]).shape == (2, 0)


@pytest.mark.parametrize("balance", [-0.1, 1.1, float("nan")])
def test_a_balance_that_is_none_is_refused(balance):
    with pytest.raises(InvalidInputError, match="from 0 .* to 1"):
        diversify(np.ones(1), np.ones((1, 1)), 1, balance)


@pytest.mark.parametrize(("relevance", "vectors"), [((2,), (3, 4)), ((2, 1), (2, 4)), ((2,), (2,))], ids=str)
def test_shapes_that_do_not_fit_are_refused(relevance, vectors):
    with pytest.raises(InvalidInputError, match="does not fit"):
        diversify(np.ones(relevance), np.ones(vectors), 1, 0.5)
