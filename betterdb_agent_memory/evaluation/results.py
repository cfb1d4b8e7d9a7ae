"""What an evaluation found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from betterdb_agent_memory.evaluation.metrics import Latency, Quality


@dataclass(frozen=True, slots=True)
class Cost:
    """What one recall exchanged with a server on average: requests (a pipeline counts once), and the bytes of
    arguments and replies.
    """

    round_trips: float
    bytes: float


@dataclass(frozen=True, slots=True)
class StrategyResult:
    """One way to recall, with the vectors of one embedder. `cost` is None on a file, which exchanges nothing.

    `near_misses` are questions for which nothing was found while a memory lay just beyond the threshold.
    """

    embedder: str
    strategy: str
    overall: Quality
    categories: Mapping[str, Quality]
    latency: Latency
    cost: Cost | None
    near_misses: int = 0

    @property
    def label(self) -> str:
        """What tells it from all others of an evaluation."""
        return f"{self.strategy} · {self.embedder}"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All ways that were compared, in the order in which they were asked for.

    `left_out` are questions of the dataset that nothing answers; `loading_seconds` by embedder: how long it took
    to remember everything, embedding included.
    """

    dataset: str
    memories: int
    questions: int
    left_out: int
    engine: Literal["file", "server"]
    version: str
    results: Sequence[StrategyResult]
    loading_seconds: Mapping[str, float]

    @property
    def categories(self) -> list[str]:
        """Every category of question, by name."""
        return sorted({category for result in self.results for category in result.categories})
