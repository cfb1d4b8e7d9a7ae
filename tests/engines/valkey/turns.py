"""How long the event loop is held up: measured by a bystander."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable


async def longest_turn(work: Awaitable[object]) -> float:
    """The most seconds of processor time that the loop's own thread spent while a bystander waited for its turn.

    Processor time, since a busy machine delays everybody; what threads beside the loop do is not in it.
    """
    longest = 0.0

    async def stand_by() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - before)

    bystander = asyncio.create_task(stand_by())
    await asyncio.sleep(0.01)
    try:
        await work
        await asyncio.sleep(0.01)
    finally:
        bystander.cancel()
    return longest
