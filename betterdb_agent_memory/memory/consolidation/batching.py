"""Memories in batches that a model takes at once: pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from betterdb_agent_memory.memory.record import MemoryItem

DEFAULT_BATCH_SIZE = 10_000

_SENTENCE_END = re.compile(r"[.!?…。！？]+[\"'”’)\]]*\s+|\n+")
_BLANK = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class InputLimits:
    """What one call takes: at most `batch_size` memories, and `max_input_chars` characters of their
    contents in all (None for any number).
    """

    batch_size: int = DEFAULT_BATCH_SIZE
    max_input_chars: int | None = None


def split_text(text: str, longest: int) -> list[str]:
    """`text` in pieces of at most `longest` characters; joined they are the text again.

    Cut after the last sentence or line that fits, else after the last word, else anywhere. A sentence in
    the first half of a piece is no place to cut: pieces would become many.
    """
    pieces = []
    start = 0
    while len(text) - start > longest:
        end = start + longest
        cut = _last_end(_SENTENCE_END, text, start + longest // 2, end) or _last_end(_BLANK, text, start, end) or end
        pieces.append(text[start:cut])
        start = cut
    pieces.append(text[start:])
    return pieces


def _last_end(border: re.Pattern[str], text: str, start: int, end: int) -> int | None:
    ends = [match.end() for match in border.finditer(text, start, end)]
    return ends[-1] if ends else None


class Batches:
    """Collects memories, in order, until no more fit.

    A memory that is too long for a whole batch comes as several with parts of its content.
    """

    def __init__(self, limits: InputLimits) -> None:
        self._limits = limits
        self._items: list[MemoryItem] = []
        self._chars = 0

    def add(self, item: MemoryItem) -> Iterator[list[MemoryItem]]:
        """Take a memory in; the batches that became full by that, mostly none."""
        for piece in self._pieces(item):
            if self._items and not self._fits(piece):
                yield self._take()
            self._items.append(piece)
            self._chars += len(piece.content)

    def rest(self) -> Iterator[list[MemoryItem]]:
        """The last batch, if there is something in it."""
        if self._items:
            yield self._take()

    def _pieces(self, item: MemoryItem) -> list[MemoryItem]:
        longest = self._limits.max_input_chars
        if longest is None or len(item.content) <= longest:
            return [item]
        return [replace(item, content=piece) for piece in split_text(item.content, longest)]

    def _fits(self, item: MemoryItem) -> bool:
        longest = self._limits.max_input_chars
        has_room = longest is None or self._chars + len(item.content) <= longest
        return has_room and len(self._items) < self._limits.batch_size

    def _take(self) -> list[MemoryItem]:
        taken, self._items, self._chars = self._items, [], 0
        return taken
