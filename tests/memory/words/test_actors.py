"""Whether a question names the one who speaks."""

import pytest

from betterdb_agent_memory.memory.words.actors import Actors, leading_name


@pytest.mark.parametrize(
    ("query", "content", "speaker"),
    [
        ("What did Caroline say?", "I like dogs", "Caroline"),
        ("What did caroline say?", "Caroline: I like dogs", None),
        ("Where is Caroline's dog?", "I like dogs", "Caroline Smith"),
        ("Where is Caroline’s dog?", "I like dogs", "CAROLINE"),
        ("What does Dr. Smith think?", "Dr. Smith: sleep more", None),
        ("What did Will cook?", "Will: pasta", None),
        ("What did the data team decide?", "no", "data team"),
        ("李伟做了什么", "李伟：你好", None),
        ("What did Zoë see?", "a star", "Zoë"),
    ],
)
def test_a_speaker_is_named(query, content, speaker):
    assert Actors(query).named(speaker or leading_name(content))


@pytest.mark.parametrize(
    ("query", "content", "speaker"),
    [
        ("What did Caroline say?", "Melanie: Caroline is here", None),
        ("What did Caroline say?", "I met Caroline", "Melanie"),
        ("What did I say about Carol?", "Caroline: yes", None),
        ("What is the team doing?", "no", "data team"),
        ("What will happen to my user account?", "Will: pasta", None),
        ("Will it rain?", "Will: pasta", None),
        ("What do I like?", "user: dogs", None),
        ("What did the user ask?", "user: hello", None),
        ("What does the Assistant say?", "hello", "Assistant"),
        ("What does Dr. Jones think?", "Dr. Smith: sleep more", None),
        ("What about https links?", "https://example.org", None),
        ("when, at 10?", "10:30 meeting", None),
        ("anything", "", None),
        ("anything", "x", "?!"),
    ],
)
def test_a_speaker_is_not_named(query, content, speaker):
    assert not Actors(query).named(speaker or leading_name(content))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("Caroline: hi", "Caroline"),
        ("Li Wei:", "Li Wei"),
        ("Caroline:hi", None),
        (":", None),
        ("what I would like you to know: everything", None),
        ("a" * 60 + ": x", None),
        ("two\nlines: x", None),
        ("李伟：你好", "李伟"),
    ],
)
def test_a_text_may_begin_with_the_name_of_its_speaker(content, name):
    assert leading_name(content) == name
