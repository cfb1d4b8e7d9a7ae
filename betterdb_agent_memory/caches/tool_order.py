"""The order of a request's tools in its key: by name, as the TypeScript package sorts them.

That package compares names with `localeCompare`, in the locale of its process. Ours is the root order of
the Unicode collation algorithm in its CLDR form, which English and most locales share, written out for the
names that tools have, so that no locale and no library's version can change a key.

Exactly that order have names of ASCII (providers allow nothing else) and of Latin letters that are
an ASCII letter with the accents of `_ACCENTS`, composed or not. All other characters come after `Z`, by code
point: a deterministic order, in which ICU's may differ, and then a program in the other language has another
key for the same tools (a miss, never a wrong hit). A Swedish or Danish process of the TypeScript package, to
name two, sorts otherwise than the root order too.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_PRIMARY_ORDER: Final = "\t\n\v\f\r _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz"
"""Letters of either case are the same at first; blanks and punctuation count like letters."""

_ACCENTS: Final = (
    "\u0301\u0300\u0306\u0302\u030c\u030a\u0308\u030b\u0303\u0307\u0327\u0328\u0304\u0309\u030f\u0311"
    "\u031b\u0323\u0324\u0325\u0326\u032d\u032e\u0330\u0331"
)
"""Acute, grave, breve, circumflex, caron, ring, diaeresis, double acute, tilde, dot, cedilla, ogonek, macron, ..."""

_CONTROLS: Final = frozenset(range(0x20)) - frozenset(range(0x09, 0x0E)) | {0x7F}
_PRIMARY: Final[dict[int, int | None]] = {
    **{ord(character): rank for rank, character in enumerate(_PRIMARY_ORDER)},
    **{ord(character.upper()): _PRIMARY_ORDER.index(character) for character in "abcdefghijklmnopqrstuvwxyz"},
    **dict.fromkeys(_CONTROLS),
}
_CASE: Final[dict[int, int | None]] = {
    **{code: int(chr(code).isupper()) for code in range(0x80)},
    **dict.fromkeys(_CONTROLS),
}
_NO_ACCENT: Final = "\0"


def tool_order(name: str) -> tuple[str, str, str]:
    """A sort key: letters first, then accents, then case; the first difference on the first level decides.

    >>> sorted(["Zeta", "getA", "ab", "a-b", "get_b", "A", "a_b", "a"], key=tool_order)
    ['a', 'A', 'a_b', 'a-b', 'ab', 'get_b', 'getA', 'Zeta']
    """
    if name.isascii():
        primary = name.translate(_PRIMARY)
        return primary, _NO_ACCENT * len(primary), name.translate(_CASE)
    primaries, accents, cases = [], [], []
    for character in unicodedata.normalize("NFD", name):
        if character in _ACCENTS:
            accents.append(chr(1 + _ACCENTS.index(character)))
            cases.append("\0")
        elif ord(character) not in _CONTROLS:
            primaries.append(character.translate(_PRIMARY))
            accents.append(_NO_ACCENT)
            cases.append(character.translate(_CASE) if character.isascii() else "\0")
    return "".join(primaries), "".join(accents), "".join(cases)
