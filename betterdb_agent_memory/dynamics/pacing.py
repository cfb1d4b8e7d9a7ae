"""How much of a long work is done at a time, so that others hardly notice it: pure, but for the clock.

A server works through one request before it looks at the next one's, so whoever asks meanwhile waits for what is under
way: that decides the slowest of their calls, and the share of the time that is worked the usual one.
"""

from __future__ import annotations

from typing import Final

AIM_SECONDS: Final = 0.002
"""What one request should take beyond what any takes: about as much as a recall."""

FEWEST, MOST = 4, 64
"""Memories that are written with one request. RediSearch takes 0.2 to 2 ms for each."""

WORKED: Final = 0.75
"""The share of the time that is worked while something is read or written."""

LONGEST_PAUSE_SECONDS: Final = 0.05


class Pace:
    """The size of the next request, by what the last ones took."""

    def __init__(self) -> None:
        self.size = FEWEST
        self._quickest = float("inf")

    def took(self, count: int, seconds: float) -> float:
        """Take note of a request for `count` memories; the seconds to leave to others before the next one.

        What the quickest one took is taken for what any takes: the way there, or making a commit of a file durable, in
        which readers of it do not wait. A request that took much longer makes the next one half as large; one that did
        not, a little larger.

        >>> pace = Pace()
        >>> pace.took(4, 0.010), pace.size
        (0.0, 6)
        >>> round(pace.took(6, 0.019), 3), pace.size
        (0.003, 4)
        """
        self._quickest = min(self._quickest, seconds)
        work = seconds - self._quickest
        if work > 2 * AIM_SECONDS:
            self.size = max(FEWEST, self.size // 2)
        elif work < AIM_SECONDS and count >= self.size:
            self.size = min(MOST, self.size + 1 + self.size // 4)
        return pause_after(work)


def pause_after(work_seconds: float) -> float:
    """The seconds to leave to others after work that took so long.

    >>> round(pause_after(0.009), 6)
    0.003
    """
    return min(work_seconds * (1 - WORKED) / WORKED, LONGEST_PAUSE_SECONDS)
