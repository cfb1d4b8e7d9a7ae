"""What an operator says, checked and turned into fields of `{name}:__mem_config`."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Final

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.live_config.fields import (
    HALF_LIFE,
    MAX_ITEMS,
    MAX_WEIGHT,
    MAX_WHOLE_NUMBER,
    SETTINGS,
    THRESHOLD,
    WEIGHT_IMPORTANCE,
    WEIGHT_RECENCY,
    WEIGHT_SIMILARITY,
    WEIGHTS,
    write_number,
)
from betterdb_agent_memory.options import MAX_THRESHOLD, RecallWeights, is_number

NAMES: Final[dict[str, tuple[str, ...]]] = {
    "threshold": (THRESHOLD,),
    "weights": WEIGHTS,
    "half_life_seconds": (HALF_LIFE,),
    "max_items_per_scope": (MAX_ITEMS,),
}
"""What can be set and reset, and the fields that it is written to."""


def fields_to_write(
    threshold: float | None,
    weights: RecallWeights | None,
    half_life_seconds: float | None,
    max_items_per_scope: int | None,
) -> dict[str, bytes]:
    """The fields of all that is not None, each as `resolve` reads it back.

    Raises:
        InvalidInputError: one of them cannot be set, or there is nothing to set.
    """
    fields: dict[str, bytes] = {}
    if threshold is not None:
        number = _number("threshold", threshold)
        if not 0 <= number <= MAX_THRESHOLD:
            raise InvalidInputError(f"threshold is a cosine distance from 0 to {MAX_THRESHOLD:g}, got {threshold!r}")
        fields[THRESHOLD] = write_number(number)
    if weights is not None:
        if not isinstance(weights, RecallWeights):
            raise InvalidInputError(f"weights must be RecallWeights(similarity, recency, importance), got {weights!r}")
        if max(weights.similarity, weights.recency, weights.importance) > MAX_WEIGHT:
            raise InvalidInputError(f"a weight may be {MAX_WEIGHT:g} at most, got {weights!r}")
        fields[WEIGHT_SIMILARITY] = write_number(float(weights.similarity))
        fields[WEIGHT_RECENCY] = write_number(float(weights.recency))
        fields[WEIGHT_IMPORTANCE] = write_number(float(weights.importance))
    if half_life_seconds is not None:
        number = _number("half_life_seconds", half_life_seconds)
        if number <= 0:
            raise InvalidInputError(f"half_life_seconds must be above 0, got {half_life_seconds!r}")
        fields[HALF_LIFE] = write_number(number)
    if max_items_per_scope is not None:
        fields[MAX_ITEMS] = b"%d" % _whole("max_items_per_scope", max_items_per_scope)
    if not fields:
        raise InvalidInputError(f"nothing to set: give at least one of {', '.join(NAMES)}; reset() takes values away")
    return fields


def fields_to_remove(names: Sequence[str]) -> list[str]:
    """The fields of these settings, of all settings when there is no name.

    Raises:
        InvalidInputError: a name is unknown.
    """
    if not names:
        return [setting.field for setting in SETTINGS]
    for name in names:
        if name not in NAMES:
            raise InvalidInputError(f"there is no setting {name!r}; known are {', '.join(NAMES)}")
    return [field for name in dict.fromkeys(names) for field in NAMES[name]]


def _number(name: str, value: object) -> float:
    if not is_number(value) or not math.isfinite(value):
        raise InvalidInputError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 1 <= int(value) <= MAX_WHOLE_NUMBER:
        raise InvalidInputError(f"{name} must be a whole number from 1 to {MAX_WHOLE_NUMBER:,}, got {value!r}")
    return int(value)
