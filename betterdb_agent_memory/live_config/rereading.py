"""Reading again what others may have changed: at intervals, and soon after a change where one is heard of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from betterdb_agent_memory.background import Periodic
from betterdb_agent_memory.engines.watching import Watch

Listen: TypeAlias = Callable[[Sequence[str], Callable[[], None]], Watch]
"""`Engine.watch`."""

SETTLE_SECONDS = 0.05
"""Changes that follow each other within this time are read together."""


class Rereading:
    """Awaits `read` at once, then every `interval_seconds`, and soon after one of `keys` changed.

    `read` must not raise. `listen` is the `watch` of an engine, None to go by the interval alone.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[None]],
        interval_seconds: float,
        *,
        keys: Sequence[str],
        listen: Listen | None,
    ) -> None:
        self._read = read
        self._keys = keys
        self._listen = listen
        self._periodic = Periodic(self._read_and_say, interval_seconds, at_once=True)
        self._read_once = asyncio.Event()
        self._watch: Watch | None = None
        self._settling: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Read in the background from now on; needs a running loop, does nothing a second time."""
        if self._periodic.is_running:
            return
        self._read_once = asyncio.Event()
        self._settling = None
        self._periodic.start()
        if self._listen is not None:
            self._watch = self._listen(self._keys, self.read_soon)

    async def wait_read(self) -> None:
        """Wait until the background has read, or failed to read, for the first time."""
        await self._read_once.wait()

    async def stop(self) -> None:
        """End the background readings, and the wait for the first one."""
        self._read_once.set()
        watch, self._watch = self._watch, None
        if watch is not None:
            await watch.close()
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        await self._periodic.stop()

    def read_soon(self) -> None:
        """Read again in a moment: something changed, or a change of our own may hide another one's."""
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._settled)

    def _settled(self) -> None:
        self._settling = None
        self._periodic.wake()

    async def _read_and_say(self) -> None:
        try:
            await self._read()
        finally:
            self._read_once.set()
