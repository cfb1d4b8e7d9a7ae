"""The store's side of a reranker: in time, checked, and with errors that say whose they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.embedders.failures import cancellations
from betterdb_agent_memory.errors import AgentMemoryError, RerankingError
from betterdb_agent_memory.rerankers.base import Reranker, TimedReranker

DEFAULT_TIMEOUT_SECONDS: Final = 30.0
"""After which a call of a reranker that states no limit of its own is given up."""

_WITHOUT: Final = "rerank=False recalls without it"


class CheckedReranker:
    """Asks `reranker` once a call and hands out what it says, or a `RerankingError`.

    `default_timeout_seconds` is how long one may take that is no `TimedReranker`.
    """

    def __init__(self, reranker: Reranker, *, default_timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self._reranker = reranker
        self._timeout_seconds = (
            reranker.timeout_seconds if isinstance(reranker, TimedReranker) else default_timeout_seconds
        )

    @property
    def name(self) -> str:
        """What the reranker calls its model."""
        return self._reranker.name

    async def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """One score for each text, in order, of the shape (len(texts),), all finite; higher is better.

        One call of the reranker, none without texts. It is made once: whoever asks may ask again.

        Raises:
            RerankingError: the reranker failed (its exception is the cause), did not answer in time, or
                returned another number of scores than texts, or one that is not finite.
        """
        if not texts:
            return np.empty(0)
        return self._checked(await self._answer(query, texts), len(texts))

    async def _answer(self, query: str, texts: Sequence[str]) -> object:
        before = cancellations()
        try:
            async with asyncio.timeout(self._timeout_seconds) as limit:
                return await self._reranker.rerank(query, texts)
        except AgentMemoryError:
            raise
        except asyncio.CancelledError as cause:
            if cancellations() > before:
                raise
            raise self._failure("cancelled its own call") from cause
        except Exception as cause:
            if limit.expired():
                raise self._failure(f"gave no answer within {self._timeout_seconds:g} s") from cause
            raise self._failure(f"failed: {type(cause).__name__}: {cause}") from cause

    def _checked(self, answer: object, count: int) -> NDArray[np.float64]:
        scores = _as_numbers(answer)
        if scores is None:
            kind = type(answer).__name__
            raise self._failure(f"returned {kind} {answer!r:.80}, expected a list of numbers, one a text")
        if scores.shape != (count,):
            texts = "1 text" if count == 1 else f"{count} texts"
            raise self._failure(f"returned scores of the shape {scores.shape} for {texts}")
        unusable = np.flatnonzero(~np.isfinite(scores))
        if unusable.size:
            raise self._failure(f"scored text {unusable[0]} with {scores[unusable[0]]}, which is no finite number")
        return scores

    def _failure(self, what: str) -> RerankingError:
        return RerankingError(f"reranker {self.name} {what}; {_WITHOUT}")


def _as_numbers(answer: object) -> NDArray[np.float64] | None:
    try:
        numbers: NDArray[Any] = np.asarray(answer)
    except (ValueError, TypeError):
        return None  # rows of different lengths, or an object that refuses to be read
    return numbers.astype(np.float64) if numbers.dtype.kind in "iuf" else None
