"""Whether two memories say the same thing, by their words alone.

Only what is the same word for word counts: a text that differs in a "not" or a number is another memory,
however alike the two look to an embedder.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from betterdb_agent_memory.memory.record import MemoryItem

_WORD: Final = re.compile(r"\w+")
_FEWEST_CONTAINED: Final = 4
"""Words of a text that counts as said by a longer one that contains it: a "yes, really" may answer anything."""

_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Statement:
    """What a memory says, who says it and on which day (days since the epoch); None where that is not known."""

    words: str
    speaker: str | None
    day: int | None

    @classmethod
    def of(cls, item: MemoryItem, content: str | None = None) -> Statement:
        """Of a memory, or of a part of its content; case, width, marks and spaces do not count."""
        text = unicodedata.normalize("NFKC", item.content if content is None else content).casefold()
        day = None if item.occurred_at is None else item.occurred_at // _DAY_MS
        return cls(" ".join(_WORD.findall(text)) or text.strip(), item.speaker, day)

    def repeats(self, other: Statement) -> bool:
        """Whether whoever reads `other` learns nothing new from this: the same words, or four at least that stand in
        `other` in this order, of the same speaker and day as far as both are known.
        """
        if not _agree(self.speaker, other.speaker) or not _agree(self.day, other.day):
            return False
        if self.words == other.words:
            return True
        return self.words.count(" ") >= _FEWEST_CONTAINED - 1 and f" {self.words} " in f" {other.words} "


def _agree(one: object, other: object) -> bool:
    return one is None or other is None or one == other
