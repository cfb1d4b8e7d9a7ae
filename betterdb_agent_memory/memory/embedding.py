"""The store's side of the embedder: counted, checked, and with errors that say whose they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from betterdb_agent_memory.embedders.base import Embedder, VectorLike
from betterdb_agent_memory.embedders.vectors import checked_vector, encode_float32
from betterdb_agent_memory.errors import AgentMemoryError, ConfigurationError, EmbeddingError, InvalidInputError

PROBE_TEXT = "probe"


class CheckedEmbedder:
    """Turns text into the bytes that are stored and searched, float32 little-endian.

    `on_call` is told of every call that is paid for.
    """

    def __init__(self, embedder: Embedder | None, *, on_call: Callable[[], None]) -> None:
        self._embedder = embedder
        self._on_call = on_call

    @property
    def is_there(self) -> bool:
        """Whether the store was made with an embedder."""
        return self._embedder is not None

    @property
    def dimensions(self) -> int | None:
        """The length the embedder states, None when it states none or there is no embedder."""
        return self._embedder.dimensions if self._embedder else None

    def require(self, what_for: str) -> Embedder:
        """The embedder.

        Raises:
            ConfigurationError: the store was made without one.
        """
        if self._embedder is None:
            raise ConfigurationError(f"{what_for} needs an embedder: pass embed_fn= when you make the store")
        return self._embedder

    async def probe(self) -> int:
        """The length of the embedder's vectors, by embedding a word if it does not state it."""
        embedder = self.require("creating the index")
        if embedder.dimensions is not None:
            return embedder.dimensions
        return len(await self._checked(embedder, lambda: embedder.embed_query(PROBE_TEXT), None)) // 4

    async def embed_document(self, text: str, dimensions: int | None) -> bytes:
        """The vector of a text to be stored, checked against the index's length."""
        embedder = self.require("remember")
        self._on_call()

        async def first() -> VectorLike:
            vectors = await embedder.embed_documents([text])
            if len(vectors) != 1:
                raise EmbeddingError(f"embedder {embedder.name} returned {len(vectors)} vectors for one text")
            return vectors[0]

        return await self._checked(embedder, first, dimensions)

    async def embed_query(self, text: str, dimensions: int | None) -> bytes:
        """The vector of a question, checked against the index's length."""
        embedder = self.require("recall by text")
        self._on_call()
        return await self._checked(embedder, lambda: embedder.embed_query(text), dimensions)

    async def _checked(
        self, embedder: Embedder, embed: Callable[[], Awaitable[VectorLike]], dimensions: int | None
    ) -> bytes:
        try:
            vector = await embed()
        except AgentMemoryError:
            raise
        except Exception as error:
            raise EmbeddingError(f"embedder {embedder.name} failed: {type(error).__name__}: {error}") from error
        return encode_float32(checked_vector(vector, dimensions=dimensions, error=EmbeddingError))


def given_vector(vector: VectorLike, dimensions: int | None) -> bytes:
    """The bytes of a vector that the caller brought.

    Raises:
        InvalidInputError: it is empty, not finite, all zero, or of another length than the index.
    """
    return encode_float32(checked_vector(vector, dimensions=dimensions, error=InvalidInputError))
