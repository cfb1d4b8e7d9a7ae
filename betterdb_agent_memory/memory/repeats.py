"""Whether two memories say the same thing, by their texts alone.

Only what is the same sign for sign counts. A text that differs in a "not", a number, a minus, a mark within it or an
emoji is another memory, however alike the two look to an embedder; so is a longer one that contains it, which may
say that it is false.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from betterdb_agent_memory.memory.record import MemoryItem

_END: Final = re.compile(r"(?:(?<=[^\W\d_]{2})!+|[.…。])+$")
"""How a sentence ends. A question mark says something else, and so does a mark of exclamation behind a number."""

_DAY_MS: Final = 86_400_000


def _widths() -> dict[int, str]:
    """The usual form of each full-width and half-width character, which stand together in two blocks."""
    forms = {code: unicodedata.decomposition(chr(code)).split() for code in (0x3000, *range(0xFF00, 0xFFF0))}
    return {code: chr(int(form[1], 16)) for code, form in forms.items() if form and form[0] in {"<wide>", "<narrow>"}}


_WIDTHS: Final = _widths()


@dataclass(frozen=True, slots=True)
class Statement:
    """What a memory says, who says it and on which day (days since the epoch); None where that is not known."""

    text: str
    speaker: str | None
    day: int | None

    @classmethod
    def of(cls, item: MemoryItem, content: str | None = None) -> Statement:
        """Of a memory, or of a part of its content; case, width, blanks and the end of the sentence do not count."""
        day = None if item.occurred_at is None else item.occurred_at // _DAY_MS
        return cls(comparable(item.content if content is None else content), item.speaker, day)

    def repeats(self, other: Statement) -> bool:
        """Whether it is the same text, of the same speaker and day as far as both are known."""
        return self.text == other.text and _agree(self.speaker, other.speaker) and _agree(self.day, other.day)


def comparable(content: str) -> str:
    """A text as it is compared: NFC, usual widths, small letters, single blanks, and no full stop at its end.

    >>> comparable("  Maya likes   SALMON. "), comparable("It is -5!"), comparable("5²")
    ('maya likes salmon', 'it is -5!', '5²')
    """
    plain = unicodedata.normalize("NFC", content.translate(_WIDTHS)).casefold()
    text = " ".join(unicodedata.normalize("NFC", plain).split())
    return _END.sub("", text).rstrip() or text


def _agree(one: object, other: object) -> bool:
    return one is None or other is None or one == other
