"""What people answer with, in English and German, and what only looks like it."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from betterdb_agent_memory.dynamics.feedback import FEEDBACK_LANGUAGES, feedback_value
from betterdb_agent_memory.errors import ConfigurationError
from tests.memory.scoring.numbers import given

PRAISE = [
    "That was exactly it!",
    "Thanks, that helped.",
    "not bad",
    "Yes, that's right.",
    "You're right",
    "No problem, it works",
    "This isn't wrong at all.",
    "A bit long, but exactly what I needed",
    "Genau das!",
    "Danke, das hilft mir sehr.",
    "Nicht schlecht",
    "Das stimmt.",
    "Das ist kein Fehler.",
    "Etwas lang, aber richtig.",
]
BLAME = [
    "No, that is wrong.",
    "nope",
    "That's not right.",
    "It isn't correct",
    "Thanks, but that's wrong",
    "That didn't help",
    "never helpful",
    "Not very good",
    "outdated",
    "Nein, das ist falsch.",
    "Das stimmt nicht.",
    "Das hilft mir nicht",
    "Danke, aber das ist veraltet.",
    "Das war überhaupt nicht gut",
    "Völlig daneben",
]
NEITHER = [
    "I know",
    "I know the notable people",
    "he works at Google right now",
    "Nothing.",
    "Good morning",
    "the nose is on the right side",
    "No idea",
    "What did I say about Berlin?",
    "Keine Ahnung",
    "Guten Morgen",
    "Ich notiere das Neinsagen.",
    "",
    "42",
    "🙂",
]


@pytest.mark.parametrize("said", PRAISE)
def test_praise_is_read_as_praise(said):
    assert (feedback_value(said) or 0) > 0.2


@pytest.mark.parametrize("said", BLAME)
def test_blame_is_read_as_blame(said):
    assert (feedback_value(said) or 0) < -0.2


@pytest.mark.parametrize("said", NEITHER)
def test_what_is_neither_says_nothing(said):
    assert feedback_value(said) is None


def test_strong_words_say_more_than_weak_ones():
    values = [feedback_value(said) or 0 for said in ("completely wrong", "not quite", "okay", "good", "perfect")]
    assert values == sorted(values)
    assert len(set(values)) == 5
    assert (feedback_value("really useful") or 0) > (feedback_value("useful") or 0)
    assert (feedback_value("echt schlecht") or 0) < (feedback_value("schlecht") or 0)


some_words = st.sampled_from(["not", "no", "very", "good", "but", "wrong", "nicht", "sehr", "gut", "aber", ",", "."])


@given(st.text(max_size=60) | st.lists(some_words, max_size=15).map(" ".join))
def test_any_text_gives_an_outcome_or_none(said):
    for language in (None, *FEEDBACK_LANGUAGES):
        value = feedback_value(said, language)
        assert value is None or -1 <= value <= 1


def test_the_language_may_be_said():
    assert feedback_value("super", "de") == feedback_value("super", "german") == 0.8
    assert feedback_value("Das stimmt nicht.", "en") is None
    with pytest.raises(ConfigurationError, match="use one of english, german, or give a function"):
        feedback_value("c'est bon", "french")
