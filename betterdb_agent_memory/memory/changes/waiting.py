"""Waiting until a memory is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from betterdb_agent_memory.engines.event_log import EventLog

_T = TypeVar("_T")

LOOK_AGAIN_SECONDS = 0.25
"""How long is waited between looks where nothing says that something has come."""


async def wait_until_there(
    read: Callable[[], Awaitable[_T | None]], log: EventLog | None, timeout_seconds: float
) -> _T | None:
    """What `read` returns once that is something; None when it has not been by the end of `timeout_seconds`.

    Woken by every entry of `log`, where there is one; besides, `read` is asked four times a second.
    """
    news = asyncio.Event()
    deadline = monotonic() + timeout_seconds
    watch = None if log is None else log.watch(news.set)
    try:
        while True:
            news.clear()
            found = await read()
            left = deadline - monotonic()
            if found is not None or left <= 0:
                return found
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK_AGAIN_SECONDS)):
                    await news.wait()
    finally:
        if watch is not None:
            await watch.close()
