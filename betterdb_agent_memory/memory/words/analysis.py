"""What is compared of a text: the stems of its words, without those that every text has.

A stem is what the Snowball algorithms (Porter, "An algorithm for suffix stripping", 1980, and its successors)
leave of a word: "adopted" and "adoption" are both "adopt".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from itertools import chain, islice
from threading import Lock

import Stemmer

from betterdb_agent_memory.engines.base import Word
from betterdb_agent_memory.memory.words.languages import NO_LANGUAGE, language_name
from betterdb_agent_memory.memory.words.stop_words import UNINDEXED, stop_words
from betterdb_agent_memory.memory.words.tokens import folded, runs, tokens, words_of

CACHED_WORDS = 1 << 15
"""Distinct words of a language whose stems this process remembers: a few MB."""

LONGEST_WORD = 64
"""Characters of a word that count: what is longer is a key or a hash, and its beginning tells it from others."""

QUERY_WORDS = 64
"""Distinct words of a question that count, the first ones: each costs a look into the index."""

_NO_PLAIN_WORDS = re.compile(rf"[^\t\n\r -\[\]-~]|\w[\n\r]+\w|[\w']{{{LONGEST_WORD + 1}}}")
"""What a search engine may read otherwise than we do: it cuts at other characters (RediSearch not even at the end of
a line), takes a backslash for an escape, and knows long words whole."""


class Analyzer:
    """Brings texts and questions of one language to stems; safe to share between threads.

    `language` is the name of a language with a stemmer (or its two-letter code), or "none" for words as they
    are written. Text in scripts without blanks is understood whatever the language.

    Raises:
        ConfigurationError: the language is not known; the message lists those that are.

    A stem has no accents and no capitals: "Café", "cafes" and "CAFÉ" are one. One that a server would leave out of its
    index ("will") has an underscore behind it.

    >>> Analyzer().stems("Caroline's agencies were researching adoption.")
    ['carolin', 'agenc', 'research', 'adopt']
    """

    __slots__ = ("_all_stems", "_stems", "language")

    def __init__(self, language: str = "english") -> None:
        self.language = language_name(language)
        self._all_stems, self._stems = _caches(self.language)

    def stems(self, text: str, *, stop_words: bool = False) -> list[str]:
        """The stems of `text` in its order, those of the words that every text has only with `stop_words`."""
        stems = self._all_stems if stop_words else self._stems
        return list(chain.from_iterable(map(stems.__getitem__, runs(text, self.language))))

    def query(self, text: str) -> tuple[Word, ...]:
        """The words of a question, each stem once, in order; at most the first 64.

        Of a question that consists of stop words alone all words remain.
        """
        for stems, contractions in ((self._stems, True), (self._all_stems, False)):
            words: dict[str, str] = {}
            for token in tokens(text, self.language, contractions=contractions):
                for stem in stems[token]:
                    words.setdefault(stem, token)
            if words:
                return tuple(Word(token[:LONGEST_WORD], stem) for stem, token in islice(words.items(), QUERY_WORDS))
        return ()

    def stored(self, text: str) -> str | None:
        """What a record stores so that its text is found: its stems, each once, with blanks between them.

        None for plain English, ASCII with words of at most 64 characters: search engines bring that to stems
        themselves, all in the same way. They differ in what beside that ends a word: a dash, a quote, an emoji.
        """
        if self.language == "english" and _has_plain_words(text):
            return None
        return " ".join(dict.fromkeys(self.stems(text, stop_words=True)))


def _has_plain_words(text: str) -> bool:
    # Most texts are a line of ASCII, for which the pattern's answer can be had in a fifth of the time.
    is_plain_line = text.isascii() and text.isprintable() and "\\" not in text
    if is_plain_line and (len(text) <= LONGEST_WORD or max(map(len, text.split()), default=0) <= LONGEST_WORD):
        return True
    return _NO_PLAIN_WORDS.search(text) is None


class _Stems(dict[str, tuple[str, ...]]):
    """The stems in a run of letters, mostly one, worked out when first asked for."""

    def __init__(self, language: str, ignored: frozenset[str]) -> None:
        super().__init__()
        self._language = language
        self._ignored = ignored
        self._stem = _stemmer(language)
        self._lock = Lock()

    def __missing__(self, run: str) -> tuple[str, ...]:
        with self._lock:  # a stemmer has a state of its own
            words = words_of(run, self._language, contractions=bool(self._ignored))
            stems = tuple(self._stem(word) for word in words if word not in self._ignored)
            if len(run) <= LONGEST_WORD:
                if len(self) >= CACHED_WORDS:
                    self.clear()
                self[run] = stems
        return stems


@cache
def _caches(language: str) -> tuple[_Stems, _Stems]:
    """The stems of all words of a language, and those of all but its stop words; one each per process."""
    return _Stems(language, frozenset()), _Stems(language, stop_words(language))


def _stemmer(language: str) -> Callable[[str], str]:
    """What brings a word to its stem: cut, without accents, and not one of the words that servers do not index."""
    stem: Callable[[str], str] = str if language == NO_LANGUAGE else Stemmer.Stemmer(language, 0).stemWord
    # Other languages than English have accents in their endings, and the stemmer has to see them.
    prepared: Callable[[str], str] = folded if language == "english" else str

    def stem_of(word: str) -> str:
        word = prepared(word[:LONGEST_WORD])
        # A stemmer may leave nothing of a word that is all ending, nor folding of one that is all accents.
        found = folded(stem(word) or word) or word
        return f"{found}_" if found in UNINDEXED else found

    return stem_of
