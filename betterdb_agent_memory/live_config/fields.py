"""The hash `{name}:__mem_config`: which fields there are, what they accept, and what they make of a configuration."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from betterdb_agent_memory.options import MAX_THRESHOLD, RecallWeights

THRESHOLD = "recall.threshold"
WEIGHT_SIMILARITY = "recall.weights.similarity"
WEIGHT_RECENCY = "recall.weights.recency"
WEIGHT_IMPORTANCE = "recall.weights.importance"
HALF_LIFE = "recall.halfLifeSeconds"
MAX_ITEMS = "maxItemsPerScope"

MAX_WHOLE_NUMBER = 2**53 - 1
"""The largest whole number that every language reads as the one that was written."""


MAX_WEIGHT = 1e30
"""Far above any use; scores of weights near the largest float would be infinite, and order nothing."""


def _is_weight(value: float) -> bool:
    return 0 <= value <= MAX_WEIGHT


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of the hash: our name for it, what it accepts (in words and as a predicate), what it changes."""

    field: str
    name: str
    accepts: str
    effect: str
    is_valid: Callable[[float], bool]


SETTINGS = (
    Setting(THRESHOLD, "threshold", "0 to 2", "largest cosine distance of a hit", lambda v: 0 <= v <= MAX_THRESHOLD),
    Setting(WEIGHT_SIMILARITY, "weights.similarity", "0 to 1e30", "weight of similarity", _is_weight),
    Setting(WEIGHT_RECENCY, "weights.recency", "0 to 1e30", "weight of recency", _is_weight),
    Setting(WEIGHT_IMPORTANCE, "weights.importance", "0 to 1e30", "weight of importance", _is_weight),
    Setting(HALF_LIFE, "half_life_seconds", "above 0", "age in seconds at which recency is one half", lambda v: v > 0),
    Setting(
        MAX_ITEMS, "max_items_per_scope", "1 or more, rounded down", "memories kept in one scope", lambda v: v >= 1
    ),
)
"""Every field that is read; the table in docs/live-config.md is made from this."""

WEIGHTS = (WEIGHT_SIMILARITY, WEIGHT_RECENCY, WEIGHT_IMPORTANCE)


@dataclass(frozen=True, slots=True)
class MemoryConfigSnapshot:
    """The values in force now."""

    threshold: float
    weights: RecallWeights
    half_life_seconds: float
    max_items_per_scope: int | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """What the hash makes of the constructor's values: the configuration, the fields that count, those that do not.

    `ignored` maps fields to the text they hold, which cannot be used.
    """

    config: MemoryConfigSnapshot
    live: frozenset[str]
    ignored: Mapping[str, str]


def resolve(fields: Mapping[str, bytes], base: MemoryConfigSnapshot) -> Resolved:
    """The configuration that `fields` make of the constructor's `base`.

    Always computed from `base`, never from what was live before, so that workers started at
    different times agree. All weights 0 gives the base weights back.
    """
    values = {setting.field: read_number(fields.get(setting.field)) for setting in SETTINGS}
    valid = {
        setting.field: value
        for setting in SETTINGS
        if (value := values[setting.field]) is not None and setting.is_valid(value)
    }
    weights = base.weights
    weight_values = (
        valid.get(WEIGHT_SIMILARITY, base.weights.similarity),
        valid.get(WEIGHT_RECENCY, base.weights.recency),
        valid.get(WEIGHT_IMPORTANCE, base.weights.importance),
    )
    if any(weight_values):
        weights = RecallWeights(*weight_values)
    else:
        valid = {field: value for field, value in valid.items() if field not in WEIGHTS}
    limit = valid.get(MAX_ITEMS)
    config = MemoryConfigSnapshot(
        threshold=valid.get(THRESHOLD, base.threshold),
        weights=weights,
        half_life_seconds=valid.get(HALF_LIFE, base.half_life_seconds),
        max_items_per_scope=base.max_items_per_scope if limit is None else math.floor(limit),
    )
    ignored = {
        setting.field: fields[setting.field].decode(errors="replace")
        for setting in SETTINGS
        if setting.field in fields and setting.field not in valid
    }
    return Resolved(config, frozenset(valid), ignored)


_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_number(value: bytes | None) -> float | None:
    """A finite decimal number in ASCII digits with blanks around it allowed; None for anything else, empty included."""
    if value is None:
        return None
    text = value.decode(errors="replace").strip()
    if not _DECIMAL.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def write_number(number: float) -> bytes:
    """A finite number as plain decimal text, which every published package reads as the same number.

    Round trip: `read_number(write_number(x)) == x`.

    >>> write_number(0.25), write_number(604_800.0), write_number(1e-7)
    (b'0.25', b'604800', b'0.0000001')
    """
    text = f"{Decimal(repr(number)):f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return b"0" if text == "-0" else text.encode()
