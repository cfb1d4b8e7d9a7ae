"""How long a cluster is given to become well again, and how often it is asked meanwhile."""

from __future__ import annotations

import asyncio
import random

PATIENCE_SECONDS = 10.0
"""How long a command that has not run is tried again, while a slot moves or a replica takes over."""

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0

_REDIRECTIONS = 5
"""Redirections of one command that are followed at once; nodes that disagree about a slot are given time."""


class Patience:
    """Pauses between tries that grow, until the time is over."""

    def __init__(self) -> None:
        self._began = asyncio.get_running_loop().time()
        self._seconds = _FIRST_PAUSE_SECONDS
        self._tries = 0

    async def pause(self, *, needed: bool = True) -> bool:
        """Wait a while, or not yet where nothing makes it `needed`; false, at once, where the time is over."""
        self._tries += 1
        if not needed and self._tries <= _REDIRECTIONS:
            return True
        if asyncio.get_running_loop().time() - self._began + self._seconds > PATIENCE_SECONDS:
            return False
        # Many that wait for the same node do not come back together.
        await asyncio.sleep(self._seconds * random.uniform(0.5, 1))
        self._seconds = min(2 * self._seconds, _LONGEST_PAUSE_SECONDS)
        return True
