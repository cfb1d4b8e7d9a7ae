"""The store's side of the embedder: counted, checked, and with errors that say whose they are."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.embedders.answers import refuse_miscount
from betterdb_agent_memory.embedders.base import EachEmbedder, Embedder, VectorLike
from betterdb_agent_memory.embedders.coalescing import CoalescingEmbedder
from betterdb_agent_memory.embedders.failures import concerns_every_text, is_passing
from betterdb_agent_memory.embedders.function import DEFAULT_THRESHOLD
from betterdb_agent_memory.embedders.vectors import checked_vector, encode_float32, encode_rows
from betterdb_agent_memory.embedders.wordllama import WordLlamaEmbedder
from betterdb_agent_memory.errors import AgentMemoryError, ConfigurationError, EmbeddingError, InvalidInputError

PROBE_TEXT = "probe"

HALVED_UNTIL: Final = 16
"""Failures, with nothing embedded yet, after which single texts from elsewhere are tried."""

GIVE_UP_AFTER: Final = 32
"""Failures, with nothing embedded yet, after which an embedder counts as one that always fails."""

_T = TypeVar("_T")


class EmbeddedEach(list[bytes | AgentMemoryError]):
    """What `embed_each` made, in order. `given_up` is the failure that ended it before every text had its try:
    those without one carry it, that very object, and so may those whose failures led to it; nothing is known
    about either. None where each text was tried.
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
        # Asked once: telling whether an object fits a protocol costs as much as a small model's call.
        self._each_embedder = embedder if isinstance(embedder, EachEmbedder) else None
        self._tries_again = isinstance(embedder, CoalescingEmbedder)
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

        One call when it succeeds. A batch that fails as a whole is halved, the longest part first, until the
        texts it failed for stand alone: about 2 log2(n) calls for one of n, at most 2n for many. Not halved is
        a failure that is nobody's text: no answer in time, no connection, a provider's refusal for now, a
        wrong set-up. If it may pass, the call is made once more, unless the embedder has done that. Then the
        rest carries that error, which is `given_up`, and is not tried. So it is where nothing tells what it
        is and all of 32 calls failed, the last 16 of them for one text each from different places. Once a
        call has succeeded, every text has its try.

        An `EachEmbedder` tells each text's outcome itself.
        """
        self.require("remember")
        if self._each_embedder is not None:
            return await self._one_by_one(self._each_embedder, texts, dimensions)
        return await _Bisection(self, texts, dimensions).run()

    async def embed_query(self, text: str, dimensions: int | None) -> bytes:
        """The vector of a question, checked against the index's length."""
        embedder = self.require("recall by text")
        self._on_call()
        vector = await _awaited(embedder, lambda: embedder.embed_query(text))
        return encode_float32(checked_vector(vector, dimensions=dimensions))

    async def _one_by_one(self, embedder: EachEmbedder, texts: Sequence[str], dimensions: int | None) -> EmbeddedEach:
        if not texts:
            return EmbeddedEach()
        self._on_call()
        try:
            found = await _awaited(embedder, lambda: embedder.embed_each(texts))
            refuse_miscount(embedder.name, found, len(texts))
        except AgentMemoryError as error:
            return EmbeddedEach([error] * len(texts), given_up=error)
        # One object for one object: that several texts share an error says something.
        failures = {id(error): _ours(embedder, error) for error in found if isinstance(error, Exception)}
        if failures and len({str(failure) for failure in failures.values()}) == 1:
            [first, *_] = failures.values()
            failures = dict.fromkeys(failures, first)
        vectors = [one for one in found if not isinstance(one, Exception)]
        encoded = iter(encode_rows(vectors, dimensions=dimensions))
        return EmbeddedEach(
            (failures[id(one)] if isinstance(one, Exception) else next(encoded) for one in found),
            given_up=failures.get(id(getattr(found, "given_up", None))),
        )

    async def _batch_again(self, texts: Sequence[str], dimensions: int | None) -> list[bytes | EmbeddingError]:
        """As `_batch`; a call that may succeed in a moment is made twice."""
        try:
            return await self._batch(texts, dimensions)
        except AgentMemoryError as error:
            if self._tries_again or not is_passing(error):
                raise
        return await self._batch(texts, dimensions)

    async def _batch(self, texts: Sequence[str], dimensions: int | None) -> list[bytes | EmbeddingError]:
        """One call: as many places as texts, an error in that of an unusable vector.

        Raises:
            AgentMemoryError: the call failed, or it answered with another number of vectors.
        """
        embedder = self.require("remember")
        if not texts:
            return []
        self._on_call()
        # What inherits from the offline default may embed otherwise.
        embed = embedder.embed_rows if type(embedder) is WordLlamaEmbedder else embedder.embed_documents
        vectors: Sequence[VectorLike] | NDArray[np.float32] = await _awaited(embedder, lambda: embed(texts))
        refuse_miscount(embedder.name, vectors, len(texts))
        return encode_rows(vectors, dimensions=dimensions)


class _Bisection:
    """Finds the texts a batch fails for: ranges yet to be tried in a queue, so the longest come first."""

    def __init__(self, embedder: CheckedEmbedder, texts: Sequence[str], dimensions: int | None) -> None:
        self._embedder = embedder
        self._texts = texts
        self._dimensions = dimensions
        self._found: dict[int, bytes | AgentMemoryError] = {}
        self._untried = deque([(0, len(texts))])
        self._given_up: AgentMemoryError | None = None
        self._works = False
        self._failures = 0
        self._random = random.Random(0)  # the same places in each run

    async def run(self) -> EmbeddedEach:
        while self._untried:
            start, end = self._untried.popleft()
            try:
                vectors = await self._embedder._batch_again(self._texts[start:end], self._dimensions)
            except AgentMemoryError as error:
                self._failed(start, end, error)
            else:
                self._succeeded(start, vectors)
        return EmbeddedEach((self._found[place] for place in range(len(self._texts))), given_up=self._given_up)

    def _succeeded(self, start: int, vectors: Sequence[bytes | EmbeddingError]) -> None:
        self._works = True
        for place, vector in enumerate(vectors, start):
            if isinstance(vector, bytes):
                self._dimensions = self._dimensions or len(vector) // 4
            self._found[place] = vector

    def _failed(self, start: int, end: int, error: AgentMemoryError) -> None:
        self._failures += 1
        seems_to_fail_always = not self._works and self._failures >= GIVE_UP_AFTER
        if concerns_every_text(error) or (seems_to_fail_always and (self._untried or end - start > 1)):
            self._give_up([(start, end), *self._untried], error)
        elif end - start == 1:
            self._found[start] = error
        else:
            middle = (start + end) // 2
            self._untried += [(start, middle), (middle, end)]
        if not self._works and self._failures >= HALVED_UNTIL and self._untried:
            self._try_one_text_next()

    def _try_one_text_next(self) -> None:
        # Bad texts all over a batch look like an embedder that always fails; single ones from elsewhere tell.
        places = sorted(place for start, end in self._untried for place in range(start, end))
        some = self._random.choice(places)
        chosen = {HALVED_UNTIL: places[-1], HALVED_UNTIL + 1: places[len(places) // 2]}.get(self._failures, some)
        holding = next(part for part in self._untried if part[0] <= chosen < part[1])
        at = self._untried.index(holding)
        self._untried.remove(holding)
        for part in ((chosen + 1, holding[1]), (holding[0], chosen)):
            if part[0] < part[1]:
                self._untried.insert(at, part)
        self._untried.appendleft((chosen, chosen + 1))

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
        raise _ours(embedder, error) from error


def _ours(embedder: Embedder, error: Exception) -> AgentMemoryError:
    if isinstance(error, AgentMemoryError):
        return error
    failure = EmbeddingError(f"embedder {embedder.name} failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
