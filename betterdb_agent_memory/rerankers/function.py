"""A plain async function as a reranker, and the door through which every reranker comes in."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Final

from betterdb_agent_memory.embedders.limits import CallLimits
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.rerankers.base import Reranker, RerankFn
from betterdb_agent_memory.rerankers.checked import DEFAULT_TIMEOUT_SECONDS

UNNAMED: Final = "rerank_fn"
"""The name of a function for which none was stated."""


class FunctionReranker:
    """Turns an async function from a question and texts to scores into a `Reranker`.

    `rerank_fn(query, texts)` is awaited once a recall and returns one number for each text, in order; higher
    is better. `name` identifies the model in errors. A call that has no answer after `timeout_seconds` is
    cancelled (None: never).

    Raises `ConfigurationError` for arguments that cannot work.

    >>> import asyncio
    >>> async def shared_words(query, texts):
    ...     return [len({*query.split()} & {*text.split()}) for text in texts]
    >>> asyncio.run(FunctionReranker(shared_words).rerank("dark mode", ["light mode", "dark mode", "salmon"]))
    [1, 2, 0]
    """

    def __init__(
        self, rerank_fn: RerankFn, *, name: str = UNNAMED, timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        _refuse_what_is_no_function(rerank_fn)
        self._rerank_fn = rerank_fn
        self._name = checked_reranker_name(name)
        self._timeout_seconds = CallLimits(timeout_seconds=timeout_seconds).timeout_seconds

    @property
    def name(self) -> str:
        """What was stated as the name of the model."""
        return self._name

    @property
    def timeout_seconds(self) -> float | None:
        """Seconds after which a call is given up; None never gives up."""
        return self._timeout_seconds

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """What the function returns: one call.

        Raises whatever it raises, and `ConfigurationError` when it turns out not to be async.
        """
        answer: object = self._rerank_fn(query, texts)
        if not inspect.isawaitable(answer):
            name = getattr(self._rerank_fn, "__qualname__", type(self._rerank_fn).__name__)
            raise ConfigurationError(
                f"the reranking function {name} is not async, it would block the event loop; make it `async def`, or "
                f"wrap it: `async def rerank(query, texts): return await asyncio.to_thread({name}, query, texts)`"
            )
        scores: Sequence[float] = await answer
        return scores


def as_reranker(value: object) -> Reranker:
    """`value` itself when it is a `Reranker`, a `FunctionReranker` around it when it is a function.

    Raises `ConfigurationError` for everything else, among it a class instead of an instance.
    """
    if isinstance(value, type):
        raise ConfigurationError(f"reranker is the class {value.__name__}; pass an instance: {value.__name__}(...)")
    if isinstance(value, Reranker):
        checked_reranker_name(value.name)
        return value
    if callable(value):
        return FunctionReranker(value)
    raise ConfigurationError(
        f"reranker is {value!r:.80}, neither a Reranker (name, rerank) nor an async function from a question and "
        "texts to scores"
    )


def checked_reranker_name(name: object) -> str:
    """`name`, or a `ConfigurationError` where it is no text or empty."""
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"a reranker's name is a text that identifies its model, got {name!r}")
    return name


def _refuse_what_is_no_function(rerank_fn: object) -> None:
    if not callable(rerank_fn) or isinstance(rerank_fn, type):
        raise ConfigurationError(
            f"rerank_fn is {rerank_fn!r:.80}, expected an async function from a question and texts to scores"
        )
