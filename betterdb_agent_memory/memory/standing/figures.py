"""The numbers of many memories in columns: what is asked of a memory to say how it stands, and nothing of its text."""

from __future__ import annotations

from dataclasses import dataclass

from betterdb_agent_memory.memory.scoring.base import BoolArray, Candidates, FloatArray


@dataclass(frozen=True, slots=True)
class Figures:
    """Memories by their numbers, in one order. `candidates` has what scoring reads; its relevance is 0.

    `reliability` is what a memory says of itself, NaN where nothing, `kind_reliability` what its kind promises. `uses`
    and `successes` are 0 where no outcome was told.
    """

    ids: tuple[str, ...]
    kinds: tuple[str | None, ...]
    pinned: BoolArray
    reliability: FloatArray
    kind_reliability: FloatArray
    uses: FloatArray
    successes: FloatArray
    candidates: Candidates

    def __len__(self) -> int:
        return len(self.ids)
