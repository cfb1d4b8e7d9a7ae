"""Whether a question names the one who speaks in a memory."""

from __future__ import annotations

from functools import lru_cache

from betterdb_agent_memory.memory.roles import is_role
from betterdb_agent_memory.memory.words.stop_words import stop_words
from betterdb_agent_memory.memory.words.tokens import folded, tokens

_LONGEST_NAME = 40
"""Characters before a colon that may be a name; what is longer is a sentence."""

_MOST_PARTS = 4
_TITLES = frozenset({"dr", "miss", "mr", "mrs", "ms", "prof", "professor", "sir"})
_COLONS = (":", "：")


class Actors:
    """The people whom a question may name; prepared once for a question, cheap for each memory.

    An actor is named when all words of the name are in the question, or the first of several that all have capitals
    ("Caroline" for "Caroline Smith"; titles do not count). Case and accents do not matter, nor does a possessive 's;
    a name that is a word of every sentence ("Will") must have its capital, and not as the question's first word.
    """

    __slots__ = ("_known", "_query", "_words")

    def __init__(self, query: str) -> None:
        self._query = query
        self._words = frozenset(map(folded, tokens(query, "english")))
        self._known: dict[str, bool] = {}

    def named(self, name: str | None) -> bool:
        """Whether the question names the one who is called `name`; nobody is called None, or by a role ("user")."""
        if name is None:
            return False
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._names(name)
        return known

    def _names(self, name: str) -> bool:
        words = _words(name)
        if not words or is_role(name):
            return False
        if words[0] in stop_words("english"):
            return name.split(maxsplit=1)[0] in self._query.split()[1:]
        return words[0] in self._words if _is_personal(name) else self._words.issuperset(words)


def leading_name(content: str) -> str | None:
    """The name before a colon at the beginning of a text ("Caroline: hello"); None where there is none.

    It begins with a letter, has at most four words and 40 characters, and a blank follows its colon.
    """
    start = content[: _LONGEST_NAME + 2]
    end = start.find(_COLONS[0], 1)
    if end < 0 and not start.isascii():
        end = start.find(_COLONS[1], 1)
        blank = True
    else:
        blank = start[end + 1 : end + 2] in {"", " ", "\n", "\t"}
    return start[:end] if end > 0 and blank and _may_be_name(start[:end]) else None


@lru_cache(maxsize=4096)
def _may_be_name(name: str) -> bool:
    return name[0].isalpha() and "\n" not in name and len(name.split()) <= _MOST_PARTS


@lru_cache(maxsize=4096)
def _words(name: str) -> tuple[str, ...]:
    words = [folded(word) for word in tokens(name, "english")]
    return tuple(word for word in words if word not in _TITLES) or tuple(words)


def _is_personal(name: str) -> bool:
    """Whether a name looks like a person's: several words, none of which begins with a small letter or a figure."""
    parts = name.split()
    return len(parts) > 1 and all(part[0].isalpha() and not part[0].islower() for part in parts)
