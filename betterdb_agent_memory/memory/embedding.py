"""The store's side of the embedder: counted, checked, and with errors that say whose they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from betterdb_agent_memory.embedders.answers import refuse_miscount
from betterdb_agent_memory.embedders.base import Embedder, VectorLike
from betterdb_agent_memory.embedders.failures import concerns_every_text
from betterdb_agent_memory.embedders.function import DEFAULT_THRESHOLD
from betterdb_agent_memory.embedders.vectors import checked_vector, encode_float32, encode_rows
from betterdb_agent_memory.errors import AgentMemoryError, ConfigurationError, EmbeddingError, InvalidInputError

PROBE_TEXT = "probe"

_T = TypeVar("_T")


class EmbeddedEach(list[bytes | AgentMemoryError]):
    """What `embed_each` made, in order. `given_up` is the failure that ended it before every text had its try:
    those without one carry it, and nothing is known about them. None where each text was tried.
    """

    def __init__(
        self, vectors: Iterable[bytes | AgentMemoryError] = (), *, given_up: AgentMemoryError | None = None
    ) -> None:
        super().__init__(vectors)
        self.given_up = given_up


class CheckedEmbedder:
    """Turns text into the bytes that are stored and searched, float32 little-endian.

    `on_call` is told of every call that is paid for; a batch is one call.
    """

    def __init__(self, embedder: Embedder | None, *, on_call: Callable[[], None]) -> None:
        self._embedder = embedder
        self._on_call = on_call

    @property
    def is_there(self) -> bool:
        """Whether the store was made with an embedder."""
        return self._embedder is not None

    @property
    def name(self) -> str:
        """What the embedder calls its model; empty without one."""
        return self._embedder.name if self._embedder else ""

    @property
    def default_threshold(self) -> float:
        """The distance up to which the model's vectors count as related; 0.25 without an embedder."""
        return self._embedder.default_threshold if self._embedder else DEFAULT_THRESHOLD

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
        vector = await _awaited(embedder, lambda: embedder.embed_query(PROBE_TEXT))
        return checked_vector(vector).size

    async def embed_document(self, text: str, dimensions: int | None) -> bytes:
        """The vector of a text to be stored, checked against the index's length."""
        return (await self.embed_documents([text], dimensions))[0]

    async def embed_documents(self, texts: Sequence[str], dimensions: int | None) -> list[bytes]:
        """The vectors of texts to be stored, in order, checked against the index's length: one call, or none for none.

        With `dimensions` None all have the length of the first.

        Raises:
            EmbeddingError: the call failed, or one of the vectors is unusable.
        """
        vectors = await self._batch(texts, dimensions)
        for vector in vectors:
            if isinstance(vector, EmbeddingError):
                raise vector
        return [vector for vector in vectors if isinstance(vector, bytes)]

    async def embed_each(self, texts: Sequence[str], dimensions: int | None) -> EmbeddedEach:
        """As `embed_documents`, with an error in the place of each text that could not be embedded; none raised.

        One call when it succeeds. A batch that fails as a whole is halved until the texts it failed for
        stand alone: about 2 log2(n) calls for one of n. Not halved is a failure that is nobody's text:
        no answer in time, no connection, a provider's refusal for now, a wrong set-up. And where nothing
        tells what it is, 2 log2(n) + 4 calls in a row without a success, the last of them for one text
        from the end, are the end of it: the rest carries that error, which is `given_up`, and is not tried.
        """
        self.require("remember")
        return await _Bisection(self, texts, dimensions).run()

    async def embed_query(self, text: str, dimensions: int | None) -> bytes:
        """The vector of a question, checked against the index's length."""
        embedder = self.require("recall by text")
        self._on_call()
        vector = await _awaited(embedder, lambda: embedder.embed_query(text))
        return encode_float32(checked_vector(vector, dimensions=dimensions))

    async def _batch(self, texts: Sequence[str], dimensions: int | None) -> list[bytes | EmbeddingError]:
        """One call: as many places as texts, an error in that of an unusable vector.

        Raises:
            AgentMemoryError: the call failed, or it answered with another number of vectors.
        """
        embedder = self.require("remember")
        if not texts:
            return []
        self._on_call()
        vectors = await _awaited(embedder, lambda: embedder.embed_documents(texts))
        refuse_miscount(embedder.name, vectors, len(texts))
        return encode_rows(vectors, dimensions=dimensions)


class _Bisection:
    """Finds the texts a batch fails for: ranges yet to be tried on a stack, leftmost on top."""

    def __init__(self, embedder: CheckedEmbedder, texts: Sequence[str], dimensions: int | None) -> None:
        self._embedder = embedder
        self._texts = texts
        self._dimensions = dimensions
        self._found: dict[int, bytes | AgentMemoryError] = {}
        self._untried = [(0, len(texts))]
        self._given_up: AgentMemoryError | None = None
        self._failures_in_a_row = 0
        self._most_failures = 2 * len(texts).bit_length() + 1

    async def run(self) -> EmbeddedEach:
        while self._untried:
            start, end = self._untried.pop()
            try:
                vectors = await self._embedder._batch(self._texts[start:end], self._dimensions)
            except AgentMemoryError as error:
                self._failed(start, end, error)
            else:
                self._succeeded(start, vectors)
        return EmbeddedEach((self._found[place] for place in range(len(self._texts))), given_up=self._given_up)

    def _succeeded(self, start: int, vectors: Sequence[bytes | EmbeddingError]) -> None:
        self._failures_in_a_row = 0
        for place, vector in enumerate(vectors, start):
            if isinstance(vector, bytes):
                self._dimensions = self._dimensions or len(vector) // 4
            self._found[place] = vector

    def _failed(self, start: int, end: int, error: AgentMemoryError) -> None:
        self._failures_in_a_row += 1
        if concerns_every_text(error) or self._failures_in_a_row > self._most_failures:
            self._give_up([(start, end), *self._untried], error)
        elif end - start == 1:
            self._found[start] = error
        else:
            middle = (start + end) // 2
            self._untried += [(middle, end), (start, middle)]
        if self._failures_in_a_row == self._most_failures and self._untried:
            self._try_one_from_the_end_next()

    def _try_one_from_the_end_next(self) -> None:
        # Many bad texts in a row look like an embedder that always fails; one from elsewhere tells.
        start, end = self._untried.pop(0)
        if end - start > 1:
            self._untried.insert(0, (start, end - 1))
        self._untried.append((end - 1, end))

    def _give_up(self, ranges: Sequence[tuple[int, int]], error: AgentMemoryError) -> None:
        self._given_up = error
        for start, end in ranges:
            self._found.update(dict.fromkeys(range(start, end), error))
        self._untried.clear()


def given_vector(vector: VectorLike, dimensions: int | None) -> bytes:
    """The bytes of a vector that the caller brought.

    Raises:
        InvalidInputError: it is empty, not finite, all zero, or of another length than the index.
    """
    return encode_float32(checked_vector(vector, dimensions=dimensions, error=InvalidInputError))


async def _awaited(embedder: Embedder, embed: Callable[[], Awaitable[_T]]) -> _T:
    try:
        return await embed()
    except AgentMemoryError:
        raise
    except Exception as error:
        raise EmbeddingError(f"embedder {embedder.name} failed: {type(error).__name__}: {error}") from error
