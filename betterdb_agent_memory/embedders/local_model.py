"""A model that computes on this machine: loaded once, in one thread of its own."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.embedders.answers import refuse_miscount, refuse_what_is_not_text
from betterdb_agent_memory.embedders.function import refuse_bad_statements
from betterdb_agent_memory.embedders.limits import CallLimits
from betterdb_agent_memory.errors import AgentMemoryError, EmbeddingError

DEFAULT_BATCH_SIZE: Final = 32

_Model = TypeVar("_Model")
_Answer = TypeVar("_Answer")


class ModelThread(Generic[_Model]):
    """Runs calls of one model one after another, off the event loop.

    The model computes with as many threads as its runtime likes; a second call at the same time would only
    compete for the same cores. `load` runs in the thread before the first call; if it fails, the
    next call tries again. A cancelled call that has begun runs to its end in the thread. `failure` is
    what is raised for whatever the library raises, with that as its cause.
    """

    def __init__(
        self, name: str, load: Callable[[], _Model], *, failure: Callable[[str], AgentMemoryError] = EmbeddingError
    ) -> None:
        self._name = name
        self._load = load
        self._failure = failure
        self._model: _Model | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"embed {name}")

    async def run(self, call: Callable[[_Model], _Answer]) -> _Answer:
        """What `call` returns for the model.

        Raises the `failure` for whatever the library raises, at loading or later.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, call)

    def close(self) -> None:
        """End the thread once it has done what was asked of it; the model is let go."""
        self._thread.shutdown(wait=False)
        self._model = None

    def _call(self, call: Callable[[_Model], _Answer]) -> _Answer:
        doing = "load"
        try:
            if self._model is None:
                self._model = self._load()
            doing = "run"
            return call(self._model)
        except AgentMemoryError:
            raise
        except Exception as error:
            raise self._failure(f"cannot {doing} the model {self._name}: {type(error).__name__}: {error}") from error


class LocalModelEmbedder(ABC, Generic[_Model]):
    """An `Embedder` around a model that computes on this machine, one call at a time.

    `dimensions` None means that the first vector tells. A subclass says how a batch is computed.
    """

    def __init__(
        self,
        *,
        name: str,
        dimensions: int | None,
        default_threshold: float,
        batch_size: int,
        load: Callable[[], _Model],
    ) -> None:
        refuse_bad_statements(name, dimensions, default_threshold)
        self._name = name
        self._dimensions = dimensions
        self._default_threshold = default_threshold
        # Without a time limit, since the first call may fetch the weights and none can be stopped.
        self._call_limits = CallLimits(max_concurrency=1, max_batch=batch_size, timeout_seconds=None, attempts=1)
        self._thread: ModelThread[_Model] = ModelThread(name, load)

    @property
    def name(self) -> str:
        """The library's and the model's, such as `fastembed:BAAI/bge-small-en-v1.5`."""
        return self._name

    @property
    def dimensions(self) -> int | None:
        """Length of every vector; None where only the first one tells and none came yet."""
        return self._dimensions

    @property
    def default_threshold(self) -> float:
        """Cosine distance (0 to 2) up to which a memory counts as related."""
        return self._default_threshold

    @property
    def call_limits(self) -> CallLimits:
        """One call at a time, `batch_size` texts in it."""
        return self._call_limits

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """The vector of one question.

        Raises `InvalidInputError` for what is not text, `EmbeddingError` when the weights cannot be had or
        the model fails.
        """
        return (await self.embed_queries([text]))[0]

    async def embed_queries(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """The vectors of questions, in order; raises as `embed_query` does."""
        return await self._embed(texts, is_query=True)

    async def embed_documents(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """The vectors of texts to be stored, in order; raises as `embed_query` does."""
        return await self._embed(texts, is_query=False)

    async def aclose(self) -> None:
        """Let go of the model and its thread; the embedder is of no use afterwards."""
        self._thread.close()

    @abstractmethod
    def _encode(self, model: _Model, texts: Sequence[str], *, is_query: bool) -> list[NDArray[np.float32]]:
        """The vectors of one batch; runs in the model's thread."""

    async def _embed(self, texts: Sequence[str], *, is_query: bool) -> list[NDArray[np.float32]]:
        refuse_what_is_not_text(texts)
        vectors: list[NDArray[np.float32]] = []
        for start in range(0, len(texts), self._call_limits.max_batch):
            batch = texts[start : start + self._call_limits.max_batch]
            vectors += await self._thread.run(partial(self._encode, texts=batch, is_query=is_query))
        refuse_miscount(self._name, vectors, len(texts))
        if vectors:
            self._dimensions = len(vectors[0])
        return vectors
