"""What hybrid retrieval compares of a memory's text, kept for the texts that were candidates lately."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Final, NamedTuple

from betterdb_agent_memory.memory.words.actors import leading_name
from betterdb_agent_memory.memory.words.analysis import Analyzer

BYTES_KEPT: Final = 8 * 2**20
"""What a reader keeps, in bytes: about 12,000 turns of a chat, or 70 texts of 60 kB."""

_LONGEST_SHARE: Final = 1 / 16
"""What one text may take of it: 512 kB, so that 250 kB of English prose still count."""

_EACH: Final = 500
_STEM: Final = 8
"""Bytes that an entry takes beside its text, and each stem of it: stems are shared with the analyzer."""

_READ_AT_ONCE: Final = 100
_COMPARED_AT_ONCE: Final = 1_000
"""Bytes of text that take as long as a row of numbers, 4 µs: to be read and compared, or only compared."""

_TOO_MANY: Final = 2**18
"""Bytes of which it does not matter any more how many are kept: telling them apart takes time, too."""


class Text(NamedTuple):
    """The stems of a text in their order, and the name that it begins with ("Caroline: hello")."""

    stems: tuple[str, ...]
    name: str | None


class TextReader:
    """Reads the contents of candidates; the same memories are candidates again and again.

    Threads may share one. What was read first is forgotten first once there is more than `BYTES_KEPT`.
    """

    def __init__(self, analyzer: Analyzer) -> None:
        self.analyzer = analyzer
        self._kept: OrderedDict[tuple[bytes, bool], Text] = OrderedDict()
        self._bytes = 0
        self._keeping = Lock()

    def read(self, content: bytes, *, stop_words: bool) -> Text:
        """What is compared of `content`: UTF-8, whatever is not is replaced."""
        key = (content, stop_words)
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        text = content.decode(errors="replace")
        read = Text(tuple(self.analyzer.stems(text, stop_words=stop_words)), leading_name(text))
        self._keep(key, read)
        return read

    def effort(self, contents: Sequence[bytes], *, stop_words: bool) -> int:
        """How many rows of numbers take about as long as reading and comparing all of these."""
        total = sum(map(len, contents))
        if total > _TOO_MANY:
            return total // _COMPARED_AT_ONCE
        new = [content for content in contents if (content, stop_words) not in self._kept]
        # What is not ASCII takes twice as long.
        unread = sum([len(content) if content.isascii() else 2 * len(content) for content in new])
        return (total - sum(map(len, new))) // _COMPARED_AT_ONCE + unread // _READ_AT_ONCE

    def _keep(self, key: tuple[bytes, bool], read: Text) -> None:
        size = _size(key, read)
        if size > BYTES_KEPT * _LONGEST_SHARE:
            return
        with self._keeping:
            if key in self._kept:
                return
            self._kept[key] = read
            self._bytes += size
            while self._bytes > BYTES_KEPT:
                self._bytes -= _size(*self._kept.popitem(last=False))


def _size(key: tuple[bytes, bool], read: Text) -> int:
    return _EACH + len(key[0]) + _STEM * len(read.stems)
