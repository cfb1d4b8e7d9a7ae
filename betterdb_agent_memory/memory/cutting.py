"""Where a text that is too long may end: behind a sentence, else a word, else a character."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_SENTENCE_END: Final = re.compile(r"(?<![.!?…])[.!?…]++[\"'’”»)\]]*+(?=\s)|[。！？]+[」』”）]*|(?=\n)")
_WORD_END: Final = re.compile(r"(?<=\S)(?=\s)")
_JOINER: Final = "\u200d"


def boundary_before(text: str, most: int) -> int:
    """The largest place, at most `most`, where `text` may be cut.

    A sentence's end if that keeps at least half of `most`, else a word's end under the same condition, else where
    no character is torn from the marks that belong to it. 0 if there is none.

    >>> text = "The ferry was cancelled. Nobody knew why."
    >>> text[:boundary_before(text, 35)], text[:boundary_before(text, 12)]
    ('The ferry was cancelled.', 'The ferry')
    """
    if most >= len(text):
        return len(text)
    for ends in (_SENTENCE_END, _WORD_END):
        # One character more than may stay: it tells whether a word ends here.
        found = [match.end() for match in ends.finditer(text, most // 2, most + 1) if match.end() <= most]
        if found and found[-1] > 0:
            return found[-1]
    while most > 0 and _belongs_to_the_one_before(text, most):
        most -= 1
    return most


def _belongs_to_the_one_before(text: str, place: int) -> bool:
    return unicodedata.category(text[place]).startswith("M") or text[place] == _JOINER or text[place - 1] == _JOINER
