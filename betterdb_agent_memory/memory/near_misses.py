"""Recalls that found nothing while a memory lay just beyond the threshold: how far beyond, and what would admit it."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass
from typing import Final

from betterdb_agent_memory.options import MAX_THRESHOLD

NEAR_MISS_FACTOR: Final = 2.0
REMEMBERED: Final = 256
"""Distances that are kept, the latest: two kilobytes."""


@dataclass(frozen=True, slots=True)
class NearMisses:
    """Recalls of this process that returned nothing though a memory lay within twice the threshold.

    `count` are all of them; the distances are those of the nearest memory, of the last 256. With
    `suggested_threshold` half of these would have found something: whether that was meant, `calibrate` tells.
    """

    count: int = 0
    median_distance: float | None = None
    largest_distance: float | None = None
    suggested_threshold: float | None = None


class NearMissLog:
    """Counts near misses and keeps the latest distances."""

    def __init__(self) -> None:
        self._count = 0
        self._distances: deque[float] = deque(maxlen=REMEMBERED)

    def note(self, distance: float) -> None:
        """One more, with the nearest memory at this distance."""
        self._count += 1
        self._distances.append(distance)

    def summary(self) -> NearMisses:
        """What there is to say about them."""
        if not self._distances:
            return NearMisses()
        median = statistics.median_high(self._distances)
        return NearMisses(self._count, median, max(self._distances), threshold_admitting(median))


def is_near_miss(nearest_distance: float, threshold: float) -> bool:
    """Whether the nearest memory lies beyond the threshold, and within twice that."""
    return threshold < nearest_distance <= NEAR_MISS_FACTOR * threshold


def threshold_admitting(distance: float) -> float:
    """The least threshold, in hundredths, that this distance is within.

    >>> threshold_admitting(0.4127)
    0.42
    """
    hundredths = math.ceil(distance * 100)
    return min(MAX_THRESHOLD, (hundredths if hundredths / 100 >= distance else hundredths + 1) / 100)
