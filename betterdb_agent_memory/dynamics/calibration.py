"""Whether x % of what is believed to x % turns out right, and a monotone map that makes it so.

The error is the expected calibration error (Naeini, Cooper & Hauskrecht, AAAI 2015). The map is isotonic regression by
pooling adjacent violators (Zadrozny & Elkan, *Transforming classifier scores into accurate multiclass probability
estimates*, KDD 2002): it never changes which of two memories is believed more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.scoring.base import FloatArray, Numbers, finite


def calibration_error(confidences: FloatArray, outcomes: FloatArray, *, bins: int = 10) -> float:
    """How far confidence is from the share that turned out right, 0 to 1: the mean over bins of equal width, weighed
    by how many are in each.

    `outcomes` are 1 for right and 0 for wrong, or a share of both.

    Raises:
        InvalidInputError: there are none, not equally many, or a number is not from 0 to 1.
    """
    sure, right = _checked(confidences, outcomes)
    if bins < 1:
        raise InvalidInputError(f"bins must be at least 1, got {bins}")
    places = np.minimum((sure * bins).astype(int), bins - 1)
    apart = np.abs(np.bincount(places, sure, bins) - np.bincount(places, right, bins))
    return float(apart.sum() / len(sure))


@dataclass(frozen=True, slots=True)
class Calibration:
    """A map from confidence to how often that much turned out right: through these points, in between straight.

    Without points it changes nothing.
    """

    confidences: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()

    @classmethod
    def fitted(cls, confidences: FloatArray, outcomes: FloatArray) -> Calibration:
        """The map that fits what was observed best (least squares) among those that do not fall.

        Raises:
            InvalidInputError: as `calibration_error`.
        """
        sure, right = _checked(confidences, outcomes)
        different, places, counts = np.unique(sure, return_inverse=True, return_counts=True)
        # Blocks of confidences, outcomes and count; one that is right less often than the one before joins it.
        blocks: list[tuple[float, float, int]] = []
        for one, was_right, number in zip(different, np.bincount(places, right), counts, strict=True):
            block = (float(one * number), float(was_right), int(number))
            while blocks and blocks[-1][1] * block[2] >= block[1] * blocks[-1][2]:
                before = blocks.pop()
                block = (before[0] + block[0], before[1] + block[1], before[2] + block[2])
            blocks.append(block)
        return cls(
            tuple(believed / count for believed, _, count in blocks),
            tuple(was_right / count for _, was_right, count in blocks),
        )

    def calibrated(self, confidence: Numbers) -> FloatArray:
        """The share that turns out right of what is believed so much, 0 to 1."""
        values = np.asarray(confidence, dtype=np.float64)
        if not self.confidences:
            return values
        mapped: FloatArray = np.interp(values, self.confidences, self.shares)
        return mapped


def _checked(confidences: FloatArray, outcomes: FloatArray) -> tuple[FloatArray, FloatArray]:
    sure, right = finite("confidences", confidences), finite("outcomes", outcomes)
    if sure.ndim != 1 or sure.shape != right.shape or not len(sure):
        raise InvalidInputError(
            f"confidences and outcomes must be lists of one length of at least 1, got {sure.shape} and {right.shape}"
        )
    for name, values in {"confidences": sure, "outcomes": right}.items():
        low, high = np.min(values), np.max(values)
        if low < 0 or high > 1:
            raise InvalidInputError(f"{name} must be from 0 to 1, got {low:g} to {high:g}")
    return sure, right
