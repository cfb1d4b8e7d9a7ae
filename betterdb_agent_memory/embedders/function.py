"""A plain async function as an embedder, and the door through which every embedder comes in."""

from __future__ import annotations

import asyncio
import inspect
import typing
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.embedders.base import EachVector, Embedder, EmbedFn
from betterdb_agent_memory.embedders.failures import cancellations, concerns_every_text, is_passing
from betterdb_agent_memory.embedders.limits import CallLimits
from betterdb_agent_memory.embedders.vectors import checked_vector
from betterdb_agent_memory.errors import AgentMemoryError, ConfigurationError, EmbedderUnavailableError, EmbeddingError

DEFAULT_THRESHOLD: Final = 0.25
"""Cosine distance assumed for a function that states none; see `FunctionEmbedder`."""

UNNAMED: Final = "embed_fn"
"""The name of a function for which none was stated."""

ANONYMOUS: Final = frozenset({UNNAMED, ""})
"""Names that identify no model: vectors of different functions could be taken for each other."""

DEFAULT_TIMEOUT_SECONDS: Final = 30.0
"""After which a call of a function is given up."""

MAX_CONCURRENT_CALLS: Final = 8
"""Calls of one function in flight at once for one list of texts."""

GIVE_UP_AFTER: Final = 8
"""Failures in a row, none of them a text's, after which `embed_each` tries no further text."""

_LARGEST_DISTANCE: Final = 2.0
_NO_VECTOR: Final = np.empty(0, dtype=np.float32)


class FunctionEmbedder:
    """Turns an async function from one text to one vector into an `Embedder`.

    `embed_fn` is awaited once per text and may return a list, tuple, `array.array` or numpy array.
    `name` identifies the model and its version; give each model its own, since vectors of different
    names must not be mixed. `dimensions` is the length of every vector, and an answer of another length
    is refused; None leaves that to the store, which holds to the first vector it sees.
    `default_threshold` is the cosine distance (0 to 2) up to which a memory counts as related. It
    belongs to the model: 0.25 suits none in particular and is too tight for many, so state a
    calibrated one (`benchmarks/calibrate_threshold.py`) where you can. A call that has no answer
    after `timeout_seconds` is cancelled (None: never); it is not made again, which the function may do
    itself.

    Raises `ConfigurationError` for arguments that cannot work.

    >>> async def embed(text: str) -> list[float]:
    ...     return [float(len(text)), 1.0]
    >>> asyncio.run(FunctionEmbedder(embed).embed_query("abc")).tolist()
    [3.0, 1.0]
    """

    def __init__(
        self,
        embed_fn: EmbedFn,
        *,
        name: str = UNNAMED,
        dimensions: int | None = None,
        default_threshold: float = DEFAULT_THRESHOLD,
        timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        _refuse_unusable_function(embed_fn)
        refuse_bad_statements(name, dimensions, default_threshold)
        self._timeout_seconds = CallLimits(timeout_seconds=timeout_seconds).timeout_seconds
        self._embed_fn = embed_fn
        self._name = name
        self._dimensions = dimensions
        self._default_threshold = float(default_threshold)

    @property
    def name(self) -> str:
        """What was stated as the name of the model."""
        return self._name

    @property
    def dimensions(self) -> int | None:
        """Length of every vector as stated, None when it was not."""
        return self._dimensions

    @property
    def default_threshold(self) -> float:
        """The stated cosine distance (0 to 2), 0.25 when none was stated."""
        return self._default_threshold

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """The vector of one question: one call of the function.

        Raises `EmbeddingError` when the function fails (its exception is the cause) or returns
        something that is no usable vector, `EmbedderUnavailableError` when it does not return in time,
        `ConfigurationError` when it turns out not to be async.
        """
        before = cancellations()
        try:
            async with asyncio.timeout(self._timeout_seconds) as limit:
                answer = self._embed_fn(text)
                if not inspect.isawaitable(answer):
                    raise _not_async(self._embed_fn)
                values = await answer
        except AgentMemoryError:
            raise
        except asyncio.CancelledError as cause:
            if cancellations() > before:
                raise
            raise EmbedderUnavailableError("the embedding function cancelled its own call") from cause
        except Exception as cause:
            if limit.expired():
                raise EmbedderUnavailableError(
                    f"the embedding function gave no answer within {self._timeout_seconds:g} s"
                ) from cause
            kind = EmbedderUnavailableError if is_passing(cause) else EmbeddingError
            raise kind(f"the embedding function failed: {type(cause).__name__}: {cause}") from cause
        return checked_vector(values, dimensions=self._dimensions)

    async def embed_documents(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """The vectors of `texts`, in order: one call each, at most 8 in flight at once.

        The first failure cancels the calls in flight, starts no further ones and is raised as
        `embed_query` would raise it.
        """
        if len(texts) == 1:
            return [await self.embed_query(texts[0])]
        vectors = [_NO_VECTOR for _ in texts]
        waiting = iter(enumerate(texts))

        async def work() -> None:
            for position, text in waiting:
                vectors[position] = await self.embed_query(text)

        try:
            async with asyncio.TaskGroup() as calls:
                for _ in range(min(MAX_CONCURRENT_CALLS, len(texts))):
                    calls.create_task(work())
        except BaseExceptionGroup as failures:
            # One text's failure is the batch's: callers should not have to unpack a group.
            raise failures.exceptions[0] from failures.exceptions[0].__cause__
        return vectors

    async def embed_each(self, texts: Sequence[str]) -> EachVector:
        """As `embed_documents`, with the error `embed_query` would raise in the place of each text that fails.

        One call a text, whatever fails, at most 8 in flight at once. After 8 failures in a row that are
        nobody's text (no answer in time, no connection, a refusal for now, a wrong set-up), or when all of
        fewer texts failed so, no further call is made: see `EachVector`. Nothing but a cancellation is raised.
        """
        return await _OneByOne(self, texts).run()


class _OneByOne:
    """One call for each text, in order, and what became of it."""

    def __init__(self, embedder: FunctionEmbedder, texts: Sequence[str]) -> None:
        self._embedder = embedder
        self._texts = texts
        self._found: list[NDArray[np.float32] | Exception] = []
        self._in_flight: dict[asyncio.Task[NDArray[np.float32]], int] = {}
        self._outage: dict[int, Exception] = {}
        """The texts that the last calls in a row failed for, where no text was to blame."""

    async def run(self) -> EachVector:
        started = 0
        self._found = [_NO_VECTOR] * len(self._texts)
        try:
            while True:
                # No more calls than failures that are missing: when the last of them comes, none is on its way.
                while started < len(self._texts) and len(self._in_flight) < GIVE_UP_AFTER - len(self._outage):
                    call = asyncio.create_task(self._embedder.embed_query(self._texts[started]))
                    self._in_flight[call] = started
                    started += 1
                if not self._in_flight:
                    return self._answer(started)
                done, _ = await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
                for call in sorted(done, key=self._in_flight.__getitem__):
                    self._ended(self._in_flight.pop(call), call)
        finally:
            if self._in_flight:
                await _cancelled(list(self._in_flight))

    def _ended(self, place: int, call: asyncio.Task[NDArray[np.float32]]) -> None:
        error = call.exception()
        if error is None:
            self._found[place] = call.result()
        elif isinstance(error, Exception):
            self._found[place] = error
            if concerns_every_text(error):
                self._outage[place] = error
                return
        else:
            raise error
        self._outage.clear()

    def _answer(self, started: int) -> EachVector:
        if not self._outage or len(self._outage) < min(GIVE_UP_AFTER, len(self._texts)):
            return EachVector(self._found)
        *_, given_up = self._outage.values()
        for place in (*self._outage, *range(started, len(self._texts))):
            self._found[place] = given_up
        return EachVector(self._found, given_up=given_up)


async def _cancelled(calls: Sequence[asyncio.Task[NDArray[np.float32]]]) -> None:
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


def as_embedder(value: object) -> Embedder:
    """`value` itself when it is an `Embedder`, a `FunctionEmbedder` around it when it is an async function.

    Raises `ConfigurationError` for everything else: a function that is not async, a class instead of
    an instance, an object that lacks part of the protocol (the message says which part). A callable
    that cannot be told from outside, such as a lambda, is accepted and found out at its first call.
    """
    if isinstance(value, type):
        raise ConfigurationError(f"embedder is the class {value.__name__}; pass an instance: {value.__name__}(...)")
    if isinstance(value, Embedder):
        refuse_bad_statements(value.name, value.dimensions, value.default_threshold)
        return value
    if callable(value):
        return FunctionEmbedder(value)
    members = [member for member in dir(Embedder) if not member.startswith("_")]
    missing = [member for member in members if not hasattr(value, member)]
    detail = "" if len(missing) == len(members) else f" (it lacks {', '.join(missing)})"
    raise ConfigurationError(
        f"embedder is {type(value).__name__}, neither an Embedder{detail} nor an async function "
        "from a text to its vector"
    )


def _refuse_unusable_function(embed_fn: object) -> None:
    if not callable(embed_fn):
        raise ConfigurationError(
            f"embed_fn is {type(embed_fn).__name__}, expected an async function from a text to its vector"
        )
    if _is_surely_not_async(embed_fn):
        raise _not_async(embed_fn)


def _is_surely_not_async(embed_fn: Callable[..., object]) -> bool:
    """Whether a plain `def` gives no sign of returning an awaitable.

    A lambda, a bound client method, a partial or a callable object may well return a coroutine; only
    calling it tells.
    """
    function = inspect.unwrap(embed_fn)
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function) or function.__name__ == "<lambda>":
        return False
    stated = function.__annotations__.get("return")
    if isinstance(stated, str):
        return "Awaitable" not in stated and "Coroutine" not in stated and "Future" not in stated
    origin = typing.get_origin(stated) or stated
    return not (isinstance(origin, type) and issubclass(origin, Awaitable))


def _not_async(embed_fn: object) -> ConfigurationError:
    name = getattr(embed_fn, "__qualname__", type(embed_fn).__name__)
    return ConfigurationError(
        f"the embedding function {name} is not async, it would block the event loop; "
        f"make it `async def`, or wrap it: `async def embed(text): return await asyncio.to_thread({name}, text)`"
    )


def refuse_bad_statements(name: object, dimensions: object, default_threshold: object) -> None:
    """Raise `ConfigurationError` for what no embedder can state about itself."""
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"an embedder's name is a text that identifies its model, got {name!r}")
    if dimensions is not None and (not isinstance(dimensions, int) or isinstance(dimensions, bool) or dimensions < 1):
        raise ConfigurationError(f"an embedder's dimensions is a whole number above 0 or None, got {dimensions!r}")
    is_number = isinstance(default_threshold, (int, float)) and not isinstance(default_threshold, bool)
    if not is_number or not 0 <= default_threshold <= _LARGEST_DISTANCE:  # type: ignore[operator]
        raise ConfigurationError(
            f"an embedder's default_threshold is a cosine distance from 0 to 2, got {default_threshold!r}"
        )
