"""The client clock: the wire contract's time stamps are taken by whoever writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Returns the current time in milliseconds since the epoch."""


def system_clock() -> int:
    """The machine's time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
