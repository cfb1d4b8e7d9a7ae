"""Work beside the event loop's own: repeated, moved to a thread, or done by one task at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

_T = TypeVar("_T")

ROWS_ON_THE_LOOP = 256
"""Rows that are worked on without leaving the event loop: about a millisecond's worth."""


async def off_loop(rows: int, work: Callable[..., _T], *arguments: object) -> _T:
    """`work(*arguments)`, in a thread when it is about many rows, so that other tasks go on."""
    return work(*arguments) if rows <= ROWS_ON_THE_LOOP else await asyncio.to_thread(work, *arguments)


def end_if_cancelled() -> None:
    """Raise the cancellation of this task once more: drivers and `asyncio.wait_for` (3.11) swallow it at times.

    A loop that ends cancels each task once and waits for it.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Flight(Generic[_T]):
    """One piece of work under way: `ended`, and whom the next one is for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ended: asyncio.Future[None] = loop.create_future()
        self.following: asyncio.Future[_T | None] | None = None


class Together(Generic[_T]):
    """Does what several tasks of a loop ask for at the same time for all of them at once.

    Who asks while it is being done waits for the end and shares the next doing with all who came meanwhile, since
    what was begun earlier may not know what has happened by now. A failure is that of all who share it; when the
    one who does it is cancelled, another one begins again.
    """

    def __init__(self) -> None:
        self._flights: dict[tuple[asyncio.AbstractEventLoop, Hashable], _Flight[_T]] = {}

    async def once(self, key: Hashable, work: Callable[[], Awaitable[_T]]) -> _T:
        """What a `work()` returns that began after this call."""
        loop = asyncio.get_running_loop()
        place = (loop, key)
        while (flight := self._flights.get(place)) is not None:
            shared = flight.following
            if shared is None:
                shared = flight.following = loop.create_future()
                try:
                    await asyncio.shield(flight.ended)
                except BaseException:
                    flight.following = None
                    shared.set_result(None)
                    raise
                return await self._do(place, work, shared)
            # Shielded: a task that stops waiting must not take the answer from the others.
            result = await asyncio.shield(shared)
            if result is not None:
                return result
        return await self._do(place, work, None)

    async def _do(
        self,
        place: tuple[asyncio.AbstractEventLoop, Hashable],
        work: Callable[[], Awaitable[_T]],
        shared: asyncio.Future[_T | None] | None,
    ) -> _T:
        flight = self._flights[place] = _Flight(place[0])
        answer = shared or place[0].create_future()
        try:
            result = await work()
        except Exception as error:
            answer.set_exception(error)
            answer.exception()  # nobody may be waiting
            raise
        except BaseException:
            answer.set_result(None)
            raise
        else:
            answer.set_result(result)
            return result
        finally:
            flight.ended.set_result(None)
            if self._flights.get(place) is flight:
                del self._flights[place]


class LoopLock:
    """A lock for the tasks of an event loop. Each loop has its own: they do not wait for each other."""

    def __init__(self) -> None:
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        lock = self._locks.get(loop)
        if lock is None:
            lock = self._locks.setdefault(loop, asyncio.Lock())
        await lock.acquire()

    async def __aexit__(self, *error: object) -> None:
        self._locks[asyncio.get_running_loop()].release()


async def end_between_writes(task: asyncio.Task[None] | None, writing: LoopLock) -> None:
    """End a task that holds `writing` while it writes; nothing where it has ended, or is another loop's.

    A write under way is let finish: cancelling it would lose what it carries.
    """
    if task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop():
        async with writing:
            task.cancel()
        await asyncio.wait([task])


class Periodic:
    """Awaits `work` every `interval_seconds`, first at once or after one interval.

    `work` must not raise. Stopping does not rely on cancellation alone: a driver may swallow it while it
    reconnects.
    """

    def __init__(self, work: Callable[[], Awaitable[None]], interval_seconds: float, *, at_once: bool) -> None:
        self._work = work
        self._interval_seconds = interval_seconds
        self._at_once = at_once
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._woken = asyncio.Event()

    @property
    def is_running(self) -> bool:
        """Whether it runs in the current loop."""
        task = self._task
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    def start(self) -> None:
        """Begin, in the running loop; does nothing while it runs already."""
        if not self.is_running:
            self._is_stopping = False
            self._woken = asyncio.Event()
            self._task = asyncio.get_running_loop().create_task(self._repeat())

    def wake(self) -> None:
        """Do the work now instead of at the end of the interval, and once more if it is being done."""
        self._woken.set()

    async def stop(self) -> None:
        """End; returns when nothing runs any more."""
        if self.is_running and self._task is not None:
            self._is_stopping = True
            self._woken.set()
            self._task.cancel()
            await asyncio.wait([self._task])
        self._task = None

    async def _repeat(self) -> None:
        if self._at_once:
            await self._work()
            end_if_cancelled()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._interval_seconds)
            if self._is_stopping:
                return
            self._woken.clear()
            await self._work()
            end_if_cancelled()
