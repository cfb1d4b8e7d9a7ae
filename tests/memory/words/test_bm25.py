"""The words' share of relevance: what BM25 says, from 0 to 1, never above its bound."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.memory.words.bm25 import largest_score, lend, word_scores
from betterdb_agent_memory.options.recall import HybridOptions

WORDS = ("a", "b", "c", "d")
some_texts = st.lists(st.lists(st.sampled_from([*WORDS, "x", "y"]), max_size=12), max_size=6)
statistics = st.tuples(st.tuples(*[st.integers(0, 500)] * len(WORDS)), st.integers(0, 1000))
hybrid = st.builds(
    HybridOptions,
    saturation=st.floats(0, 100),
    length_normalization=st.floats(0, 1),
    typical_words=st.integers(1, 500),
)


def textbook(text, words, frequencies, size, options):
    """BM25 of one text as it is printed, as a part of what repeating every word without end would give."""
    total = possible = 0.0
    for word, frequency in zip(words, frequencies, strict=True):
        if frequency == 0:
            continue
        rarity = math.log(1 + (size - frequency + 0.5) / (frequency + 0.5))
        share = options.length_normalization
        damping = options.saturation * (1 - share + share * len(text) / options.typical_words)
        count = text.count(word)
        total += rarity * count * (options.saturation + 1) / (count + damping) if count else 0
        possible += rarity * (options.saturation + 1)
    return total / possible if possible else 0.0


@given(texts=some_texts, known=statistics, options=hybrid)
def test_scores_are_those_of_the_textbook(texts, known, options):
    frequencies, size = known
    matches = word_scores(texts, WORDS, frequencies, size, options)
    assert matches.scores.shape == (len(texts),)
    for text, score in zip(texts, matches.scores, strict=True):
        expected = textbook(text, WORDS, matches.frequencies, matches.size, options)
        assert score == pytest.approx(expected)
        assert 0 <= score <= 1


@given(texts=some_texts, known=statistics, options=hybrid)
def test_no_text_scores_above_the_bound_for_the_words_it_holds(texts, known, options):
    matches = word_scores(texts, WORDS, known[0], known[1], options)
    for held, score in zip(matches.held, matches.scores, strict=True):
        assert score <= largest_score(held, matches.frequencies, matches.size, options) + 1e-12


@given(known=statistics, options=hybrid, count=st.integers(1, 100_000))
def test_repetition_comes_close_to_the_bound_and_no_further(known, options, count):
    frequencies, size = (known[0][0] + 1, *known[0][1:]), known[1]
    matches = word_scores([["a"] * count], WORDS, frequencies, size, options)
    bound = largest_score([True, False, False, False], matches.frequencies, matches.size, options)
    assert matches.scores[0] <= bound + 1e-12
    assert matches.scores[0] >= bound * count / (count + options.saturation) - 1e-12


def test_it_says_which_text_holds_which_word():
    matches = word_scores([["a", "x"], [], ["b", "a", "b"]], ("b", "a"), (1, 2), 3, HybridOptions())
    assert matches.held.tolist() == [[False, True], [False, False], [True, True]]


def test_a_rare_word_counts_for_more_than_a_frequent_one():
    rare, frequent = word_scores([["a"], ["b"]], ("a", "b"), (2, 400), 1000, HybridOptions()).scores
    assert rare > 3 * frequent > 0


def test_a_word_that_nothing_holds_takes_nothing_from_the_others():
    options = HybridOptions()
    alone = word_scores([["a"]], ("a",), (5,), 100, options)
    beside = word_scores([["a"]], ("a", "b"), (5, 0), 100, options)
    assert alone.scores == pytest.approx(beside.scores)


def test_old_statistics_do_no_harm():
    matches = word_scores([["a", "b"]], ("a", "b"), (0, 7), 3, HybridOptions())
    assert (matches.frequencies, matches.size) == ((1, 7), 7)
    assert 0 < matches.scores[0] < 1


def test_without_words_or_texts_there_are_no_scores():
    assert word_scores([["a"]], (), (), 10, HybridOptions()).scores.tolist() == [0.0]
    assert word_scores([], ("a",), (3,), 10, HybridOptions()).scores.tolist() == []
    assert largest_score([], (), 0, HybridOptions()) == 0.0


turns = st.lists(
    st.tuples(st.integers(-1, 2), st.integers(0, 6) | st.sampled_from([-(2**63), 2**63 - 1]), st.floats(0, 1)),
    max_size=12,
)


@given(turns=turns, share=st.floats(0, 1))
def test_a_turn_has_its_own_score_or_a_share_of_that_beside_it(turns, share):
    groups, positions, scores = (list(column) for column in zip(*turns, strict=True)) if turns else ([], [], [])
    expected = [
        max(
            [own]
            + [
                share * other
                for other_group, other_place, other in turns
                if group >= 0 and other_group == group and abs(other_place - place) == 1
            ]
        )
        for group, place, own in turns
    ]
    given_scores = np.array(scores, dtype=np.float64)
    assert lend(given_scores, groups, positions, share).tolist() == pytest.approx(expected)
    assert given_scores.tolist() == scores
