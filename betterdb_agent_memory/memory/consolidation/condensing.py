"""Many texts into one: summaries of summaries, until one is left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from betterdb_agent_memory.errors import ConsolidationError
from betterdb_agent_memory.memory.consolidation.batching import Batches, InputLimits
from betterdb_agent_memory.memory.consolidation.kinds import SUMMARY_SOURCE
from betterdb_agent_memory.memory.record import MemoryItem

SHRINKS_ENOUGH = 0.9
MOST_PASSES = 64


@dataclass(frozen=True, slots=True)
class Condensed:
    """One text and how many calls it took."""

    text: str
    calls: int


async def condense(
    texts: Sequence[str],
    summarize: Callable[[list[MemoryItem]], Awaitable[str]],
    *,
    limits: InputLimits,
    now_ms: int,
    importance: float,
    on_pass: Callable[[int], None],
) -> Condensed:
    """Summarize partial summaries in order, pass by pass, until a pass leaves one text.

    They are handed on as memories with the source `summary`. `on_pass` is told how many texts are left.
    Without a limit on characters every pass leaves fewer texts.

    Raises:
        ConsolidationError: a pass left neither fewer texts nor text that is a tenth shorter, so it would go
            on for ever.
    """
    calls = 0
    for _ in range(MOST_PASSES):
        on_pass(len(texts))
        if len(texts) == 1:
            return Condensed(texts[0], calls)
        shorter = [await summarize(batch) for batch in _batches(texts, limits, now_ms, importance)]
        calls += len(shorter)
        before, after = _characters(texts), _characters(shorter)
        if len(shorter) >= len(texts) and after > SHRINKS_ENOUGH * before:
            break
        texts = shorter
    raise ConsolidationError(
        f"summarize does not shorten: {len(texts)} partial summaries of {_characters(texts):,} characters in all do "
        f"not become one text with max_input_chars={limits.max_input_chars}. Ask the model for shorter answers, or "
        "raise max_input_chars. Nothing was written or deleted"
    )


def _batches(texts: Sequence[str], limits: InputLimits, now_ms: int, importance: float) -> list[list[MemoryItem]]:
    batches = Batches(limits)
    full = [
        batch
        for place, text in enumerate(texts, start=1)
        for batch in batches.add(_as_memory(f"part-{place}", text, now_ms, importance))
    ]
    return [*full, *batches.rest()]


def _as_memory(id: str, text: str, now_ms: int, importance: float) -> MemoryItem:
    return MemoryItem(
        id=id,
        content=text,
        importance=importance,
        tags=[],
        created_at=now_ms,
        last_accessed_at=now_ms,
        access_count=0,
        source=SUMMARY_SOURCE,
    )


def _characters(texts: Sequence[str]) -> int:
    return sum(map(len, texts))
