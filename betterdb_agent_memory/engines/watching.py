"""Who wants to know of changes to which keys, and the one task that listens for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

Tell: TypeAlias = Callable[[Iterable[str] | None], None]
"""Says that these keys may have changed; None says that any may have."""

Listen: TypeAlias = Callable[[frozenset[str], Tell], Awaitable[None]]
"""Listens for changes of these keys until it is cancelled, or returns when there is nothing to hear."""

_CANCEL_AGAIN_SECONDS = 0.5


class Watch:
    """What one party wants to know. Close it, or close the engine."""

    def __init__(self, watching: Watching, keys: Iterable[str], on_change: Callable[[], None]) -> None:
        self._watching = watching
        self.keys = frozenset(keys)
        self.on_change = on_change

    async def close(self) -> None:
        """Hear no more. When it was the last one, nothing listens and no connection is open any more."""
        await self._watching.remove(self)


class Watching:
    """The watches of one engine. Its task listens while there is at least one, for all their keys at once."""

    def __init__(self, listen: Listen) -> None:
        self._listen = listen
        self._watches: list[Watch] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def keys(self) -> frozenset[str]:
        """All that is watched."""
        return frozenset().union(*[watch.keys for watch in self._watches])

    def add(self, keys: Sequence[str], on_change: Callable[[], None]) -> Watch:
        """Watch keys from now on; needs a running loop. New keys make the task begin anew."""
        task = self._task
        if task is not None and task.get_loop() is not asyncio.get_running_loop():
            # What was watched in a loop that has ended went with it.
            self._watches.clear()
            self._task = None
        watch = Watch(self, keys, on_change)
        is_new = not watch.keys <= self.keys
        self._watches.append(watch)
        if is_new or not self._is_listening():
            self._begin()
        return watch

    async def remove(self, watch: Watch) -> None:
        """Forget a watch; the last one ends the task."""
        if watch in self._watches:
            self._watches.remove(watch)
        if not self._watches:
            await self._end()

    async def close(self) -> None:
        """Forget all of them."""
        self._watches.clear()
        await self._end()

    def tell(self, keys: Iterable[str] | None) -> None:
        """Call everybody whom a change of these keys concerns."""
        changed = self.keys if keys is None else frozenset(keys)
        for watch in tuple(self._watches):
            if watch.keys & changed:
                watch.on_change()

    def _is_listening(self) -> bool:
        return self._task is not None and not self._task.done()

    def _begin(self) -> None:
        former = self._task if self._is_listening() else None
        self._task = asyncio.get_running_loop().create_task(self._listen_after(former))

    async def _listen_after(self, former: asyncio.Task[None] | None) -> None:
        if former is not None:
            await _ended(former)
        await self._listen(self.keys, self.tell)

    async def _end(self) -> None:
        task, self._task = self._task, None
        # A task of a loop that has ended went with it.
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            await _ended(task)


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: a driver may swallow it while it connects."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_AGAIN_SECONDS)
