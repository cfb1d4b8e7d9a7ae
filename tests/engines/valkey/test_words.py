from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import Word
from betterdb_agent_memory.engines.valkey.words import STOP_WORDS, WordClauses
from betterdb_agent_memory.memory.record import MEMORY_SCHEMA

BOTH = WordClauses(MEMORY_SCHEMA, frozenset({"content", "words", "threadId"}))
CONTENT = WordClauses(MEMORY_SCHEMA, frozenset({"content", "threadId"}))
NEITHER = WordClauses(MEMORY_SCHEMA, frozenset({"threadId"}))
ROOM = 4096


def test_every_form_of_a_word_is_named_in_the_fields_that_an_index_has() -> None:
    running = (Word("running", "run"),)
    assert CONTENT.clauses(running, ROOM) == [r"(@content:running|@content:run|@content:\+run)"]
    assert BOTH.clauses(running, ROOM) == [r'(@content:running|@content:run|@content:\+run|@words:"run")']
    assert NEITHER.clauses(running, ROOM) == []


def test_a_stem_of_the_largest_length_is_no_beginning() -> None:
    (cut, longer) = ("\N{GOTHIC LETTER AHSA}" + "x" * 63, "x" * 65)
    assert BOTH.clauses((Word("y", cut),), ROOM)[0].endswith(f'|@words:"{cut}")')
    assert BOTH.clauses((Word("y", longer),), ROOM)[0].endswith(f"|@words:{'x' * 64}*)")


def test_what_an_index_finds_of_words_is_all_or_not() -> None:
    red, will = Word("red", "red"), Word("will", "will_")
    assert BOTH.finds_all((red,))
    assert NEITHER.finds_all(())
    assert not BOTH.finds_all((red, will))
    assert not CONTENT.finds_all((red,))
    assert BOTH.clauses((will,), ROOM) == ['(@words:"will_")']


def test_words_of_a_search_are_alternatives_each_named_once() -> None:
    words = (Word("red", "red"), Word("bus", "bus"), Word("red", "red"))
    assert CONTENT.clauses(words, ROOM) == [r"(@content:red|@content:\+red|@content:bus|@content:\+bus)"]


@pytest.mark.parametrize("stop", sorted(STOP_WORDS))
def test_stop_words_are_left_out(stop: str) -> None:
    assert stop.upper() not in CONTENT.clauses((Word("cat", "cat"), Word(stop, stop)), ROOM)[0].split(":")
    assert f"@content:{stop}|" not in CONTENT.clauses((Word(stop, stop), Word("cat", "cat")), ROOM)[0]
    assert BOTH.clauses((Word(stop, stop),), ROOM) == []
    assert BOTH.clauses((), ROOM) == []


def test_capitals_beyond_ascii_are_alternatives() -> None:
    [clause] = CONTENT.clauses((Word("äöx", "äöx"),), ROOM)
    assert clause == r"(@content:äöx|@content:Äöx|@content:ÄÖx|@content:\+äöx)"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("_", r"@content:\_"),
        ("a-b", r"@content:a\-b"),
        ("x" * 63, "@content:" + "x" * 63),
        ("x" * 64, "@content:" + "x" * 64 + "*"),
        ("x" * 200, "@content:" + "x" * 64 + "*"),
        ("語" * 50, "@content:" + "語" * 40 + "*"),
    ],
)
def test_words_are_text_and_no_syntax(text: str, written: str) -> None:
    assert written in CONTENT.clauses((Word(text, "zz"),), ROOM)[0].strip("()").split("|")


@given(st.lists(st.text(max_size=90).map(lambda text: Word(text, text)), max_size=60), st.integers(700, 4096))
def test_clauses_fit_into_the_room_and_lose_no_word(words: list[Word], room: int) -> None:
    clauses = BOTH.clauses(words, room)
    assert all(len(clause.encode()) <= room for clause in clauses)
    together = [text for clause in clauses for text in clause[1:-1].split("|@")]
    alone = [text for word in words for clause in BOTH.clauses((word,), 10_000) for text in clause[1:-1].split("|@")]
    assert {text.removeprefix("@") for text in together} == {text.removeprefix("@") for text in alone}


def test_a_clause_has_no_more_alternatives_than_a_server_takes() -> None:
    words = [Word(f"w{n}", f"w{n}") for n in range(500)]
    counts = [clause.count("@") for clause in CONTENT.clauses(words, 1_000_000)]
    assert sum(counts) == 1000
    assert max(counts) == 200
