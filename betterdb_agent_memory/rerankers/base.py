"""What reads a question and a text together and says how well the text answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

RerankFn: TypeAlias = Callable[[str, Sequence[str]], Awaitable[Sequence[float]]]
"""An async function from a question and texts to one score a text, in order; higher is better."""


@runtime_checkable
class Reranker(Protocol):
    """Scores texts against a question, all of them read together with it.

    Dearer and more exact than comparing vectors, so only the best of a search are put to it.
    """

    @property
    def name(self) -> str:
        """Identifies model and version."""

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """One finite score for each text, in order; higher is better, on a scale of the reranker's own."""


@runtime_checkable
class TimedReranker(Reranker, Protocol):
    """A reranker that says itself how long it may take; others have 30 s."""

    @property
    def timeout_seconds(self) -> float | None:
        """Seconds after which a call is given up; None never gives up."""
