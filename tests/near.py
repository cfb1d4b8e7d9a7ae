"""What the tests of near-caches share: a clock of their own, and waiting for a recall's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from betterdb_agent_memory import MemoryHit, NearCacheOptions

_T = TypeVar("_T")


class Stopwatch:
    """Seconds that pass only when a test says so. `lap` passes by itself with the next looks at it."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.laps: list[float] = []

    def __call__(self) -> float:
        if self.laps:
            self.seconds += self.laps.pop(0)
        return self.seconds


def near(stopwatch: Stopwatch, *, max_age_seconds: float = 60.0, max_entries: int = 1_000) -> NearCacheOptions:
    return NearCacheOptions(max_age_seconds=max_age_seconds, max_entries=max_entries, now_seconds=stopwatch)


def contents(hits: Iterable[MemoryHit]) -> set[str]:
    return {hit.item.content for hit in hits}


async def comes(answer: Callable[[], Awaitable[_T]], expected: _T, *, seconds: float = 15.0) -> None:
    """Return once `answer()` is what is expected; TimeoutError if it is not in time."""
    async with asyncio.timeout(seconds):
        while await answer() != expected:  # noqa: ASYNC110 - nothing tells that it is
            await asyncio.sleep(0.01)
