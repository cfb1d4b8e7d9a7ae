"""The words of a text as they are written, in lower case.

A word is a run of letters, digits and underscores, as the search engines see it. Scripts that put no blanks
between words (Chinese, Japanese, Korean, Thai and their neighbours) are taken as overlapping pairs of characters.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from betterdb_agent_memory.memory.words.stop_words import stop_words

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
_ACCENTS = re.compile("(?<=[a-z\u0370-\u03ff\u0400-\u052f\u0180-\u02af])[\u0300-\u036f]+")
"""Behind a letter of those scripts; whatever has a precomposed form is cut into letter and accents before."""

_UNSEEN = str.maketrans({"\u00ad": "", "’": "'", "ʼ": "'"})
"""The soft hyphen is no part of its word, and an apostrophe has more than one form."""

_ENDING = re.compile(r"'(?:s|m|d|re|ve|ll)$")


def tokens(text: str, language: str, *, contractions: bool = True) -> list[str]:
    """The words of `text` in their order."""
    return [word for run in runs(text, language) for word in words_of(run, language, contractions=contractions)]


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


def words_of(run: str, language: str, *, contractions: bool = True) -> list[str]:
    """The words in a run. In English 's and contracted verbs are left out, and "don't" is the stop word "dont".

    Without `contractions` it is "don" and "t", which is how a search engine has it.
    """
    if "'" not in run:
        return [run]
    if language == "english":
        run = _ENDING.sub("", run.strip("'"))
        if contractions and run.endswith("n't") and (joined := run.replace("'", "")) in stop_words("english"):
            return [joined]
    return [word for word in run.split("'") if word]


def folded(word: str) -> str:
    """`word` without the accents of Latin, Greek and Cyrillic letters, and without what tells cases apart ("ß").

    Marks of other scripts are vowels or tones, without which another word would be left.
    """
    if word.isascii():
        return word
    plain = _ACCENTS.sub("", unicodedata.normalize("NFD", word.casefold()))
    return unicodedata.normalize("NFC", plain)


def _lower(text: str, language: str) -> str:
    text = unicodedata.normalize("NFKC", text).translate(_UNSEEN)
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
