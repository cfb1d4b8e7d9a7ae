"""What a user would pass to a consolidation: small functions that remember what they were asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from betterdb_agent_memory import Fact, MemoryItem


class Digest:
    """A summarizer. Its text is what `write` makes of the memories, "digest" by default."""

    def __init__(self, write: Callable[[list[MemoryItem]], str] = lambda _: "digest", *, seconds: float = 0) -> None:
        self.seen: list[list[MemoryItem]] = []
        self._write = write
        self._seconds = seconds

    async def __call__(self, memories: list[MemoryItem]) -> str:
        self.seen.append(memories)
        await asyncio.sleep(self._seconds)
        return self._write(memories)

    @property
    def contents(self) -> list[str]:
        """The contents of all calls, in order."""
        return [memory.content for memories in self.seen for memory in memories]


class Extract:
    """An extractor that returns the same facts each time."""

    def __init__(self, *facts: Fact, seconds: float = 0) -> None:
        self.facts: Sequence[Fact] = facts
        self.seen: list[list[MemoryItem]] = []
        self._seconds = seconds

    async def __call__(self, memories: list[MemoryItem]) -> list[Fact]:
        self.seen.append(memories)
        await asyncio.sleep(self._seconds)
        return list(self.facts)

    @property
    def contents(self) -> list[str]:
        """The contents of all calls, in order."""
        return [memory.content for memories in self.seen for memory in memories]


def retraction(subject: str, date: str | None = None) -> Fact:
    """The fact is no longer so."""
    return Fact(subject, "", date, tombstone=True)
