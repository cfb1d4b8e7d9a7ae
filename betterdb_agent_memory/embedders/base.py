"""What turns text into vectors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

VectorLike: TypeAlias = Sequence[float] | NDArray[np.floating[Any]]
"""A row of numbers: a list, a tuple or a numpy array."""

EmbedFn: TypeAlias = Callable[[str], Awaitable[VectorLike]]
"""The published seam: an async function from one text to its vector."""


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors of one fixed length.

    Queries and documents are apart because several models want them marked differently; an embedder
    without that distinction treats both alike.
    """

    @property
    def name(self) -> str:
        """Identifies model and version; vectors of different names must not be mixed."""

    @property
    def dimensions(self) -> int | None:
        """Length of every vector, or None when only a first call can tell."""

    @property
    def default_threshold(self) -> float:
        """Cosine distance (0 to 2) up to which a memory counts as related, calibrated for this model."""

    async def embed_query(self, text: str) -> VectorLike:
        """The vector of one question."""

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[VectorLike]:
        """The vectors of texts to be stored, in order."""


class EmbedderAround:
    """What an embedder that asks another one says of itself: all as the `inner` one does."""

    def __init__(self, inner: Embedder) -> None:
        self._inner = inner

    @property
    def inner(self) -> Embedder:
        """The embedder that is asked."""
        return self._inner

    @property
    def name(self) -> str:
        """The inner embedder's."""
        return self._inner.name

    @property
    def dimensions(self) -> int | None:
        """The inner embedder's."""
        return self._inner.dimensions

    @property
    def default_threshold(self) -> float:
        """The inner embedder's."""
        return self._inner.default_threshold


@runtime_checkable
class QueryBatchEmbedder(Embedder, Protocol):
    """An embedder that embeds several questions in one call; without this they are asked one by one."""

    async def embed_queries(self, texts: Sequence[str]) -> Sequence[VectorLike]:
        """The vectors of questions, in order."""


class EachVector(list[VectorLike | Exception]):
    """What `embed_each` answers with: for each text its vector or its error, in order.

    `given_up` is the error that ended it before every text had its try. Those without one carry that very
    object, and so do those whose failures led to it; nothing is known about either. None where each was tried.
    """

    def __init__(self, found: Iterable[VectorLike | Exception] = (), *, given_up: Exception | None = None) -> None:
        super().__init__(found)
        self.given_up = given_up


@runtime_checkable
class EachEmbedder(Embedder, Protocol):
    """An embedder that can tell for each text by itself what became of it; without this a batch that fails is
    halved until the texts that it fails for stand alone.
    """

    async def embed_each(self, texts: Sequence[str]) -> Sequence[VectorLike | Exception]:
        """The vectors of texts to be stored, in order, with an error in the place of each that could not be
        embedded; an `EachVector` where not every text was tried.
        """
