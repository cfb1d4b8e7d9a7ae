"""The words of a text as they are written, in lower case.

A word is a run of letters, digits and underscores, as the search engines see it. Scripts that put no blanks
between words (Chinese, Japanese, Korean, Thai and their neighbours) are taken as overlapping pairs of characters.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

# A table is three times as fast as a pattern, and most texts are ASCII.
_ASCII = {code: chr(code) if chr(code).isalnum() or chr(code) in "_'" else " " for code in range(128)}
_UNSPACED = re.compile(
    "["
    "\u0e00-\u0e7f"  # Thai
    "\u0e80-\u0eff"  # Lao
    "\u1000-\u109f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff"  # Hangul
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # Hiragana, Katakana and signs of repetition
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "]+"
)
_ENDING = re.compile(r"'(?:s|m|d|re|ve|ll)$")


def tokens(text: str, language: str) -> list[str]:
    """The words of `text` in their order."""
    return [word for run in runs(text, language) for word in words_of(run, language)]


def runs(text: str, language: str) -> list[str]:
    """What stands between blanks and punctuation: words, several of them where apostrophes are inside.

    Cheap, so that what the parts of a run are can be worked out once for each run there is: `words_of`.
    """
    if text.isascii():
        return text.lower().translate(_ASCII).split()
    text = _lower(text, language)
    found = _run_pattern().findall(text)
    if _UNSPACED.search(text):
        found = [piece for run in found for piece in _pieces(run)]
    return found


def words_of(run: str, language: str) -> list[str]:
    """The words in a run. In English 's and contracted verbs are left out, and "don't" is "dont"."""
    if "'" not in run:
        return [run]
    if language == "english":
        run = _ENDING.sub("", run.strip("'").replace("n't", "nt"))
    return [word for word in run.split("'") if word]


def is_unspaced(text: str) -> bool:
    """Whether a part of `text` is in a script that puts no blanks between words."""
    return not text.isascii() and _UNSPACED.search(unicodedata.normalize("NFKC", text)) is not None


def _lower(text: str, language: str) -> str:
    text = unicodedata.normalize("NFKC", text).replace("’", "'")
    if language == "turkish":
        text = text.replace("İ", "i").replace("I", "ı")
    # In lower case the capital dotted I is two characters, of which the second is no letter.
    return text.lower().replace("i\u0307", "i")


@cache
def _run_pattern() -> re.Pattern[str]:
    r"""As `[\w']+`, and with the vowel signs and accents that many scripts write as characters of their own."""
    marks = "".join(chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code)) in {"Mn", "Mc"})
    return re.compile(rf"[\w'][\w'{marks}]*")


def _pieces(run: str) -> list[str]:
    """The parts of a run in which scripts are mixed: pairs of characters where there are no blanks."""
    pieces = []
    end = 0
    for unspaced in _UNSPACED.finditer(run):
        start = unspaced.start()
        if start > end:
            pieces.append(run[end:start])
        end = unspaced.end()
        pieces += [run[at : at + 2] for at in range(start, end - 1)] or [run[start]]
    if end < len(run):
        pieces.append(run[end:])
    return pieces
