"""The words that are searched for."""

from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import Word
from betterdb_agent_memory.memory.words.rare import rarest

A, B, C, D = (Word(letter, letter) for letter in "abcd")


def test_the_rarest_words_are_searched_for_until_they_find_enough():
    assert rarest([A, B, C, D], [60, 5, 0, 30], 100) == ((B, D, A), ())
    assert rarest([A, B, C, D], [60, 5, 0, 30], 94) == ((B, D), (A,))


def test_at_least_one_word_is_searched_for():
    assert rarest([A, B], [900, 800], 100) == ((B,), (A,))
    assert rarest([A], [0], 100) == ((), ())


@given(frequencies=st.lists(st.integers(0, 50), max_size=10), limit=st.integers(1, 100))
def test_every_word_that_occurs_is_in_one_part(frequencies, limit):
    words = [Word(str(place), str(place)) for place in range(len(frequencies))]
    frequency = dict(zip(words, frequencies, strict=True))
    searched, others = rarest(words, frequencies, limit)
    assert sorted(searched + others) == sorted(word for word in words if frequency[word])
    assert [frequency[word] for word in searched + others] == sorted(filter(None, frequencies))
    assert len(searched) < 2 or sum(frequency[word] for word in searched) <= limit
    assert not others or sum(frequency[word] for word in (*searched, others[0])) > limit
