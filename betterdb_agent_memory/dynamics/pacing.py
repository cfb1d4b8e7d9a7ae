"""How much of a long work is done at a time, so that others hardly notice it: pure, but for the clock.

A server works through one request before it looks at the next one's, so whoever asks meanwhile waits for what is under
way: that decides the slowest of their calls, and the share of the time that is worked the usual one.
"""

from __future__ import annotations

from typing import Final

AIM_SECONDS: Final = 0.003
"""What one request should take: about as much as a recall."""

FEWEST, MOST = 4, 64
"""Memories that are written with one request. RediSearch takes 0.2 to 2 ms for each."""

WORKED: Final = 0.5
"""The share of the time that is worked while something is written."""

LONGEST_PAUSE_SECONDS: Final = 0.05


class Pace:
    """The size of the next request, by what the last ones took."""

    def __init__(self) -> None:
        self.size = 2 * FEWEST

    def took(self, count: int, seconds: float) -> float:
        """Take note of a request for `count` memories; the seconds to leave to others before the next one.

        A request that took longer than it should makes the next one half as large; one that was quick, a little larger.

        >>> pace = Pace()
        >>> pace.took(8, 0.020), pace.size
        (0.02, 4)
        >>> pace.took(4, 0.001), pace.size
        (0.001, 6)
        """
        if seconds > 2 * AIM_SECONDS:
            self.size = max(FEWEST, self.size // 2)
        elif seconds < AIM_SECONDS and count >= self.size:
            self.size = min(MOST, self.size + 1 + self.size // 4)
        return min(seconds * (1 - WORKED) / WORKED, LONGEST_PAUSE_SECONDS)
