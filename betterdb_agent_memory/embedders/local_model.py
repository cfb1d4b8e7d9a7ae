"""A model that computes on this machine: loaded once, in one thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, TypeVar

from betterdb_agent_memory.embedders.limits import CallLimits
from betterdb_agent_memory.errors import AgentMemoryError, EmbeddingError

DEFAULT_BATCH_SIZE: Final = 32

_Model = TypeVar("_Model")
_Answer = TypeVar("_Answer")


class ModelThread(Generic[_Model]):
    """Runs calls of one model one after another, off the event loop.

    The model computes with as many threads as its runtime likes; a second call at the same time would only
    compete for the same cores. `load` runs in the thread before the first call; if it fails, the
    next call tries again. A cancelled call that has begun runs to its end in the thread.
    """

    def __init__(self, name: str, load: Callable[[], _Model]) -> None:
        self._name = name
        self._load = load
        self._model: _Model | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"embed {name}")

    async def run(self, call: Callable[[_Model], _Answer]) -> _Answer:
        """What `call` returns for the model.

        Raises `EmbeddingError` for whatever the library raises, at loading or later.
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
            raise EmbeddingError(f"cannot {doing} the model {self._name}: {type(error).__name__}: {error}") from error


def limits_of_a_local_model(batch_size: int) -> CallLimits:
    """One call at a time; without a time limit, since the first may fetch the weights and none can be stopped."""
    return CallLimits(max_concurrency=1, max_batch=batch_size, timeout_seconds=None, attempts=1)


def slices(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """`texts` in order, `size` at a time."""
    for start in range(0, len(texts), size):
        yield texts[start : start + size]
