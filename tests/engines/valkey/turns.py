"""How long the event loop is held up: measured by a bystander."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable

BRIEF = 30.0
"""Units that a turn may take: about a tenth of a second on the machine where this was written."""


async def longest_turn(work: Awaitable[object]) -> float:
    """The most processor time that the loop's own thread spent while a bystander waited for its turn, in
    units: how long this machine takes for a hundred thousand steps of Python.

    Processor time, since a busy machine delays everybody; what threads beside the loop do is not in it, nor
    the collection of the garbage that a long test run has piled up.
    """
    unit = _unit_seconds()
    gc.collect()
    gc.disable()
    try:
        return await _longest_seconds(work) / unit
    finally:
        gc.enable()


def _unit_seconds() -> float:
    times = []
    for _ in range(3):
        before = time.thread_time()
        total = 0
        for number in range(100_000):
            total += number
        times.append(time.thread_time() - before)
    return min(times)


async def _longest_seconds(work: Awaitable[object]) -> float:
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
