"""The caching wrapper: a text embedded before costs no call of the model."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.embedders.answers import refuse_miscount
from betterdb_agent_memory.embedders.base import EachEmbedder, EachVector, Embedder, EmbedderAround, VectorLike
from betterdb_agent_memory.embedders.function import ANONYMOUS
from betterdb_agent_memory.embedders.vectors import checked_vector
from betterdb_agent_memory.embedders.wordllama import WordLlamaEmbedder
from betterdb_agent_memory.errors import AgentMemoryError, EmbeddingError

_log = logging.getLogger(__name__)

TextKind: TypeAlias = Literal["query", "document"]
"""What a text is to its model: several mark questions and stored texts differently."""


class Lookup(Protocol):
    """What a cache says about some texts."""

    @property
    def vectors(self) -> Sequence[NDArray[np.float32] | None]:
        """For each text its vector, None where there is none."""


_LookupT = TypeVar("_LookupT", bound=Lookup)


class VectorCache(Protocol[_LookupT]):
    """Where vectors are kept by exact text."""

    async def look_up(self, texts: Sequence[str], *, model: str, dimensions: int | None, kind: TextKind) -> _LookupT:
        """The vectors there are of `texts`."""

    async def keep(self, lookup: _LookupT, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        """Keep the vectors that a look-up did not find, by their place in it."""

    async def keep_later(self, lookup: _LookupT, number: int, vector: NDArray[np.float32], /) -> None:
        """Keep one such vector; as a rule it is written after this returned."""

    def failed(self) -> None:
        """The cache could not be asked, or could not keep something."""


@dataclass(eq=False, slots=True)
class _Call:
    """A call of the model, and how many wait for it."""

    task: asyncio.Task[NDArray[np.float32]]
    waiting: int = 0


class CachedEmbedder(EmbedderAround, Generic[_LookupT]):
    """An embedder around another one that asks a cache before the model: for questions, or also for `documents`.

    Vectors are told apart by the inner embedder's name and dimensions, by kind, and by the exact text. A
    cache that fails counts as empty: the model is asked, and the failure is logged. Of the same question asked
    several times at once, one call is made for all.
    """

    def __init__(self, inner: Embedder, cache: VectorCache[_LookupT], *, documents: bool = False) -> None:
        super().__init__(inner)
        self._cache = cache
        self._documents = documents
        self._calls: dict[tuple[asyncio.AbstractEventLoop, str], _Call] = {}

    async def embed_query(self, text: str) -> VectorLike:
        """The vector of one question. No round trip when asked lately, else one, and a call where it is not kept.

        A new vector is kept without the caller waiting for it.
        """
        lookup = await self._look_up([text], "query")
        if lookup is not None and (kept := lookup.vectors[0]) is not None:
            return kept
        return await self._called_once(text, lookup)

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[VectorLike]:
        """The vectors of texts to be stored, in order; one call for those that are not kept."""
        lookup = await self._look_up_documents(texts)
        if lookup is None:
            return await self._inner.embed_documents(texts)
        missing = _missing(lookup)
        made = await self._inner.embed_documents([texts[place] for place in missing]) if missing else []
        refuse_miscount(self.name, made, len(missing))
        fresh = dict(zip(missing, made, strict=True))
        await self._keep(lookup, _usable(fresh))
        return [fresh[place] if vector is None else vector for place, vector in enumerate(lookup.vectors)]

    async def _called_once(self, text: str, lookup: _LookupT | None) -> NDArray[np.float32]:
        """What the model says, by the call that is under way for this text if there is one.

        A caller that is cancelled leaves the call to the others; the last one takes it along.
        """
        key = (asyncio.get_running_loop(), text)
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = _Call(asyncio.create_task(self._call(text, lookup)))
            call.task.add_done_callback(lambda _: self._forget(key, call))
        call.waiting += 1
        try:
            return await asyncio.shield(call.task)
        except asyncio.CancelledError:
            if call.waiting == 1 and not call.task.done():
                self._forget(key, call)  # nobody is to join it now
                call.task.cancel()
                await asyncio.wait([call.task])
            raise
        finally:
            call.waiting -= 1

    async def _call(self, text: str, lookup: _LookupT | None) -> NDArray[np.float32]:
        vector = checked_vector(await self._inner.embed_query(text))
        vector.setflags(write=False)  # several may get it
        if lookup is not None:
            with self._counting_failures(1):
                await self._cache.keep_later(lookup, 0, vector)
        return vector

    def _forget(self, key: tuple[asyncio.AbstractEventLoop, str], call: _Call) -> None:
        if self._calls.get(key) is call:
            del self._calls[key]

    async def _look_up_documents(self, texts: Sequence[str]) -> _LookupT | None:
        return await self._look_up(texts, "document") if self._documents and texts else None

    async def _look_up(self, texts: Sequence[str], kind: TextKind) -> _LookupT | None:
        try:
            return await self._cache.look_up(texts, model=self.name, dimensions=self.dimensions, kind=kind)
        except AgentMemoryError as error:
            self._cache.failed()
            _log.warning("the embedding cache could not be asked, %s is: %s", self.name, error)
            return None

    async def _keep(self, lookup: _LookupT, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        with self._counting_failures(len(vectors)):
            await self._cache.keep(lookup, vectors)

    @contextlib.contextmanager
    def _counting_failures(self, vectors: int) -> Iterator[None]:
        try:
            yield
        except AgentMemoryError as error:
            self._cache.failed()
            _log.warning("%d vectors of %s could not be kept: %s", vectors, self.name, error)


class _CachedEachEmbedder(CachedEmbedder[_LookupT]):
    """For an inner embedder that tells each text's outcome itself."""

    def __init__(self, inner: EachEmbedder, cache: VectorCache[_LookupT], *, documents: bool = False) -> None:
        super().__init__(inner, cache, documents=documents)
        self._each = inner

    async def embed_each(self, texts: Sequence[str]) -> Sequence[VectorLike | Exception]:
        """The vectors of texts to be stored, or their errors, in order; one call for those that are not kept."""
        lookup = await self._look_up_documents(texts)
        if lookup is None:
            return await self._each.embed_each(texts)
        missing = _missing(lookup)
        made = await self._each.embed_each([texts[place] for place in missing]) if missing else []
        refuse_miscount(self.name, made, len(missing))
        fresh = dict(zip(missing, made, strict=True))
        await self._keep(lookup, _usable(fresh))
        found = [fresh[place] if vector is None else vector for place, vector in enumerate(lookup.vectors)]
        return EachVector(found, given_up=getattr(made, "given_up", None))


def _missing(lookup: Lookup) -> list[int]:
    return [place for place, vector in enumerate(lookup.vectors) if vector is None]


def _usable(made: Mapping[int, VectorLike | Exception]) -> dict[int, NDArray[np.float32]]:
    """Those that are vectors: what is wrong with the others, the store says."""
    usable = {}
    for place, vector in made.items():
        if not isinstance(vector, Exception):
            with contextlib.suppress(EmbeddingError):
                usable[place] = checked_vector(vector)
    return usable


def cached(inner: Embedder, cache: VectorCache[_LookupT], *, documents: bool = False) -> CachedEmbedder[_LookupT]:
    """`inner` behind `cache`, as able as it was."""
    if isinstance(inner, EachEmbedder):
        return _CachedEachEmbedder(inner, cache, documents=documents)
    return CachedEmbedder(inner, cache, documents=documents)


def has_identity(embedder: Embedder) -> bool:
    """Whether the embedder's name says which model it is."""
    return embedder.name not in ANONYMOUS


def is_worth_caching(embedder: Embedder) -> bool:
    """Whether a call of the model takes longer than asking a cache, and its vectors can be told apart.

    WordLlama takes 0.05 ms for a question, less than a round trip; every other model takes more.
    """
    return has_identity(embedder) and not isinstance(embedder, WordLlamaEmbedder)
