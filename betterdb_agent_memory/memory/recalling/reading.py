"""What hybrid retrieval compares of a memory's text, kept for the texts that were candidates lately."""

from __future__ import annotations

from typing import Final, NamedTuple

from betterdb_agent_memory.memory.words.actors import leading_name
from betterdb_agent_memory.memory.words.analysis import Analyzer

_KEPT: Final = 8_192
_LONGEST_KEPT: Final = 1_000
"""Bytes of a text: what is kept takes about 10 MB at most, in chat much less."""


class Text(NamedTuple):
    """The stems of a text in their order, and the name that it begins with ("Caroline: hello")."""

    stems: tuple[str, ...]
    name: str | None


class TextReader:
    """Reads the contents of candidates; the same memories are candidates again and again."""

    def __init__(self, analyzer: Analyzer) -> None:
        self.analyzer = analyzer
        self._kept: dict[tuple[bytes, bool], Text] = {}

    def read(self, content: bytes, *, stop_words: bool) -> Text:
        """What is compared of `content`: UTF-8, whatever is not is replaced."""
        key = (content, stop_words)
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        text = content.decode(errors="replace")
        read = Text(tuple(self.analyzer.stems(text, stop_words=stop_words)), leading_name(text))
        if len(content) <= _LONGEST_KEPT:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key] = read
        return read
