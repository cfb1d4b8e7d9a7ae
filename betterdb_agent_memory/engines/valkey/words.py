"""Words to search for, as query text: pure functions.

What both search modules take. Neither looks for other forms of a word reliably: RediSearch does not before a KNN
clause, valkey-search not in quotes. So each form is named: the word as it is written, its stem, and the stem as an
index keeps it beside the words that have it (RediSearch: with a plus in front). In quotes a word means itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain

from betterdb_agent_memory.engines.base import IndexSchema, Word
from betterdb_agent_memory.engines.filters import escape_tag
from betterdb_agent_memory.engines.valkey.query import escaped

STOP_WORDS = frozenset(
    {
        "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not",
        "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will",
        "with"
    }
)  # fmt: skip
"""Words that neither module indexes, in any field; a clause of nothing else is an error on valkey-search."""

LONGEST_WORD = 64
"""Characters from which on a word stands for all words that begin so: hashes and keys, which indexes cut."""

_LONGEST_WORD_BYTES = 120
"""RediSearch cuts longer ones, in the middle of a character if need be."""

_PER_CLAUSE = 200
"""Alternatives in one clause: each is a node of a query tree, of which valkey-search takes 1,000."""


class WordClauses:
    """The text fields that an index can be searched by."""

    def __init__(self, schema: IndexSchema, searchable: AbstractSet[str]) -> None:
        texts = [field for field in (*schema.shared, *schema.own) if field.kind == "text" and field.name in searchable]
        self._as_written = [field.name for field in texts if not field.holds_stems]
        self._stemmed = [field.name for field in texts if field.holds_stems]
        self._has_all = len(texts) == sum(field.kind == "text" for field in (*schema.shared, *schema.own))

    def finds_all(self, words: Sequence[Word]) -> bool:
        """Whether `clauses` find every record that has one of `words`.

        Not if the index has not all text fields, nor with a word that servers leave out of them.
        """
        return not words or (self._has_all and not any(map(is_left_out, words)))

    def clauses(self, words: Sequence[Word], room: int) -> list[str]:
        """Texts, each of at most `room` bytes: what has one of `words` is found by one of them at least.

        Usually one; none where no word can be searched for.
        """
        texts = dict.fromkeys(chain.from_iterable(self._alternatives(word) for word in words))
        clauses: list[str] = []
        part: list[str] = []
        left = room - 1
        for text in texts:
            size = len(text.encode()) + 1
            if part and (size > left or len(part) == _PER_CLAUSE):
                clauses.append(_any_of(part))
                part, left = [], room - 1
            part.append(text)
            left -= size
        return [*clauses, _any_of(part)] if part else clauses

    def _alternatives(self, word: Word) -> Iterator[str]:
        if _is_searchable(word.text):
            forms = dict.fromkeys((*_written(word.text), word.stem))
            for field in self._as_written:
                yield from (_term(field, form, escaped(form)) for form in forms if _is_searchable(form))
                if _is_text(word.stem) and not _is_long(word.stem):
                    yield f"@{field}:\\+{escaped(word.stem)}"
        if _is_searchable(word.stem):
            # Stems are cut to this length already, and RediSearch knows no beginnings with characters beyond U+FFFF.
            whole = len(word.stem) == LONGEST_WORD and len(word.stem.encode()) <= _LONGEST_WORD_BYTES
            text = f'"{escape_tag(word.stem)}"'
            yield from (f"@{field}:{text}" if whole else _term(field, word.stem, text) for field in self._stemmed)


def is_left_out(word: Word) -> bool:
    """Whether servers leave the word out of some text field, so that nobody can say how many records have it."""
    return not (_is_searchable(word.text) and _is_searchable(word.stem))


def _any_of(texts: Iterable[str]) -> str:
    return f"({'|'.join(texts)})"


def _written(text: str) -> Iterable[str]:
    """The ways in which a text may write the word: RediSearch folds the case of ASCII letters only."""
    if text.isascii():
        return (text,)
    return dict.fromkeys(_folded(form) for form in (text, text[:1].upper() + text[1:], text.upper()))


def _folded(text: str) -> str:
    return "".join(character.lower() if character.isascii() else character for character in text)


def _term(field: str, word: str, text: str) -> str:
    """One alternative; `text` is how the word is written in a query."""
    return f"@{field}:{escaped(_beginning(word))}*" if _is_long(word) else f"@{field}:{text}"


def _is_searchable(word: str) -> bool:
    return _is_text(word) and word.lower() not in STOP_WORDS


def _is_text(word: str) -> bool:
    # A control character ends a word or a query, escaped or not.
    return bool(word) and not any(c < " " or c == "\x7f" for c in word)


def _is_long(word: str) -> bool:
    return len(word) >= LONGEST_WORD or len(word.encode()) > _LONGEST_WORD_BYTES


def _beginning(word: str) -> str:
    return word[:LONGEST_WORD].encode()[:_LONGEST_WORD_BYTES].decode(errors="ignore")
