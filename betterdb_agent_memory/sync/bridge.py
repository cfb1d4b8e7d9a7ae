"""One event loop in a thread of its own, in which the asynchronous objects live; what calls into it waits.

Works from any thread, and from a notebook whose own loop is running: nothing is ever run in the
caller's loop. Context variables of the caller go along, so that spans keep their parents.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import functools
import inspect
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any, Generic, Self, TypeVar

from betterdb_agent_memory.errors import ConfigurationError

_T = TypeVar("_T")
_STOP_SECONDS = 2.0


class _Loop:
    """The loop of this process; begun by the first call, and anew in a forked child."""

    lock = threading.Lock()
    running: asyncio.AbstractEventLoop | None = None
    thread: threading.Thread | None = None

    @classmethod
    def get(cls) -> asyncio.AbstractEventLoop:
        with cls.lock:
            if cls.running is None:
                cls.running = asyncio.new_event_loop()
                # A daemon: a program that forgot to close something still ends.
                cls.thread = threading.Thread(target=cls.running.run_forever, name="betterdb-agent-memory", daemon=True)
                cls.thread.start()
            return cls.running

    @classmethod
    def runs(cls, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether `loop` is the one of this process still. Takes no lock: the garbage collector asks, too."""
        return cls.running is loop and not sys.is_finalizing()

    @classmethod
    def forget(cls) -> None:
        """In a forked child, which has the loop's memory but not its thread."""
        cls.lock, cls.running, cls.thread = threading.Lock(), None, None

    @classmethod
    def stop(cls) -> None:
        with cls.lock:
            loop, thread = cls.running, cls.thread
            cls.running = cls.thread = None
        if loop is None or thread is None or not thread.is_alive():
            return

        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks) if tasks else None
            loop.stop()

        asyncio.run_coroutine_threadsafe(end(), loop)
        thread.join(_STOP_SECONDS)
        if not thread.is_alive():
            loop.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Loop.forget)
atexit.register(_Loop.stop)


def wait(awaitable: Awaitable[_T]) -> _T:
    """The result of `awaitable`, which runs in the loop; an interrupt cancels it there."""

    async def run() -> _T:
        return await awaitable

    try:
        _refuse_inside()
    except ConfigurationError:
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise
    return _wait(run)


def call(function: Callable[..., _T], *arguments: Any, **keywords: Any) -> _T:
    """The result of a plain function that runs in the loop: it may touch what lives there."""

    async def run() -> _T:
        return function(*arguments, **keywords)

    return _wait(run)


def iterate(iterator: AsyncIterator[_T]) -> Iterator[_T]:
    """The items of `iterator`, each fetched when it is asked for.

    Left early it is closed in its loop; where that has ended, as when the interpreter shuts down, there is nothing
    left to close it in, and no loop is begun for it.
    """
    nothing = object()
    loop = _Loop.get()

    async def following() -> Any:
        return await anext(iterator, nothing)

    try:
        while (item := _wait(following)) is not nothing:
            yield item
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None and _Loop.runs(loop):
            wait(close())


def _wait(run: Callable[[], Awaitable[_T]]) -> _T:
    _refuse_inside()
    loop = _Loop.get()
    work = _Work(run, loop)
    loop.call_soon_threadsafe(work.begin)
    try:
        return work.outcome.result()
    except BaseException:
        # Ctrl-C, mostly: the work must not go on unseen.
        loop.call_soon_threadsafe(work.cancel)
        raise


def _refuse_inside() -> None:
    if threading.current_thread() is _Loop.thread:
        raise ConfigurationError(
            "a synchronous call was made from inside a callback of the library, where waiting would stop everything: "
            "use the asynchronous classes there, or do it after the call has returned"
        )


class _Work(Generic[_T]):
    """One call: what runs in the loop, and what the waiting thread gets."""

    def __init__(self, run: Callable[[], Awaitable[_T]], loop: asyncio.AbstractEventLoop) -> None:
        self.outcome: Future[_T] = Future()
        self._run = run
        self._loop = loop
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = self._loop.create_task(self._settle(), context=self._context)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _settle(self) -> None:
        try:
            self.outcome.set_result(await self._run())
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits
            self.outcome.set_exception(error)


def as_async(function: Any) -> Any:
    """A plain function as an asynchronous one that runs in a thread; anything else as it is."""
    if not callable(function) or hasattr(function, "embed_documents"):
        return function
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        return function

    async def in_thread(*arguments: Any, **keywords: Any) -> Any:
        result = await _in_own_thread(functools.partial(function, *arguments, **keywords))
        return await result if inspect.isawaitable(result) else result

    return in_thread


async def _in_own_thread(function: Callable[[], _T]) -> _T:
    """What `function` returns. A thread of its own: in a pool, functions that call each other wait for a place."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if outcome.cancelled():
            return
        if error is None:
            outcome.set_result(result)
        else:
            outcome.set_exception(error)

    def run() -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = context.run(function)
        except StopIteration as error:  # which no future can carry
            failure = RuntimeError("the function raised StopIteration: next() without a default, perhaps")
            failure.__cause__ = error
        except BaseException as error:  # noqa: BLE001 - told to the caller
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="betterdb-agent-memory-function", daemon=True).start()
    return await outcome


def with_async_functions(values: dict[str, Any]) -> dict[str, Any]:
    """The members of options, with plain functions made asynchronous."""
    return {name: as_async(value) if name == "embed_fn" else value for name, value in values.items()}


class Bridged:
    """An object of the loop, as seen from other threads."""

    _inner: Any

    @classmethod
    def _around(cls, inner: Any) -> Self:
        bridged = cls.__new__(cls)
        bridged._inner = inner
        return bridged

    def __repr__(self) -> str:
        return f"sync.{type(self).__name__}({self._inner!r})"
