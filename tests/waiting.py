"""Waiting for what nobody tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

NEVER_SECONDS = 3600.0
"""For work in the background that a test does by itself, or that must not fall between two round trips which it counts,
however slow the machine is."""


async def until(holds: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Return once `holds()` is true; TimeoutError if it is not within `seconds`."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.002)
