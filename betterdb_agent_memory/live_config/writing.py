"""What an operator says, checked and turned into fields of `{name}:__mem_config`."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError
from betterdb_agent_memory.live_config.fields import BY_NAME, MAX_WHOLE_NUMBER, SETTINGS
from betterdb_agent_memory.live_config.texts import Value, write
from betterdb_agent_memory.options import MAX_THRESHOLD, RETRIEVALS, SCORINGS, HybridOptions, RecallWeights, is_number


def fields_to_write(given: Mapping[str, Any]) -> dict[str, bytes]:
    """The fields of all that is not None, by the names of `AgentConfig.set`, each as `resolve` reads it back.

    Raises:
        InvalidInputError: one of them cannot be set, or there is nothing to set.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if not said:
        raise InvalidInputError(f"nothing to set: give at least one of {', '.join(NAMES)}; reset() takes values away")
    values = [pair for name, value in said.items() for pair in _CHECKS[name](value).items()]
    return {BY_NAME[name].field: write(value) for name, value in values}


def fields_to_remove(names: Sequence[str]) -> list[str]:
    """The fields of these settings, of all settings when there is no name.

    Raises:
        InvalidInputError: a name is unknown.
    """
    if not names:
        return [setting.field for setting in SETTINGS]
    for name in names:
        if name not in NAMES and name not in BY_NAME:
            raise InvalidInputError(
                f"there is no setting {name!r}; known are {', '.join(NAMES)}, and single ones such as weights.recency"
            )
    return [s.field for s in SETTINGS if s.name in names or s.name.partition(".")[0] in names]


def _threshold(value: Any) -> dict[str, Value]:
    number = _number("threshold", value)
    if not 0 <= number <= MAX_THRESHOLD:
        raise InvalidInputError(f"threshold is a cosine distance from 0 to {MAX_THRESHOLD:g}, got {value!r}")
    return {"threshold": number}


def _weights(value: Any) -> dict[str, Value]:
    if not isinstance(value, RecallWeights):
        raise InvalidInputError(f"weights must be RecallWeights(similarity, recency, importance), got {value!r}")
    return {f"weights.{weight.name}": float(getattr(value, weight.name)) for weight in fields(RecallWeights)}


def _half_life(value: Any) -> dict[str, Value]:
    number = _number("half_life_seconds", value)
    if number <= 0:
        raise InvalidInputError(f"half_life_seconds must be above 0, got {value!r}")
    return {"half_life_seconds": number}


def _max_items(value: Any) -> dict[str, Value]:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 1 <= int(value) <= MAX_WHOLE_NUMBER:
        raise InvalidInputError(
            f"max_items_per_scope must be a whole number from 1 to {MAX_WHOLE_NUMBER:,}, got {value!r}"
        )
    return {"max_items_per_scope": int(value)}


def _retrieval(value: Any) -> dict[str, Value]:
    if value not in RETRIEVALS:
        raise InvalidInputError(f"retrieval must be {' or '.join(map(repr, RETRIEVALS))}, got {value!r:.80}")
    return {"retrieval": str(value)}


def _scoring(value: Any) -> dict[str, Value]:
    if value not in SCORINGS:
        raise InvalidInputError(f"scoring must be one of {', '.join(map(repr, SCORINGS))}, got {value!r:.80}")
    return {"scoring": str(value)}


def _exact(value: Any) -> dict[str, Value]:
    if not isinstance(value, bool):
        raise InvalidInputError(f"exact must be true or false, got {value!r:.80}")
    return {"exact": value}


def _diversity(value: Any) -> dict[str, Value]:
    number = _number("diversity", value)
    if not 0 <= number <= 1:
        raise InvalidInputError(f"diversity is a share from 0 to 1, got {value!r}")
    return {"diversity": number}


def _hybrid(value: Any) -> dict[str, Value]:
    """All options of hybrid retrieval, or those that a mapping names, checked as their class does."""
    names = [option.name for option in fields(HybridOptions)]
    if isinstance(value, Mapping):
        given, value = value, _options_of(value)
        names = [name for name in names if name in given]
    if not isinstance(value, HybridOptions):
        raise InvalidInputError(f"hybrid must be HybridOptions(...) or a mapping of some of them, got {value!r:.80}")
    return {f"hybrid.{name}": getattr(value, name) for name in names}


def _options_of(given: Mapping[Any, Any]) -> HybridOptions:
    if not given or not all(isinstance(name, str) for name in given):
        raise InvalidInputError(f"hybrid must name what is set, such as 'words_weight', got {dict(given)!r:.80}")
    try:
        return HybridOptions(**given)
    except ConfigurationError as error:
        raise InvalidInputError(f"hybrid cannot be set: {error}") from None


def _number(name: str, value: object) -> float:
    if not is_number(value) or not math.isfinite(value):
        raise InvalidInputError(f"{name} must be a finite number, got {value!r}")
    return float(value)


_CHECKS: Final[Mapping[str, Callable[[Any], dict[str, Value]]]] = {
    "threshold": _threshold,
    "weights": _weights,
    "half_life_seconds": _half_life,
    "max_items_per_scope": _max_items,
    "retrieval": _retrieval,
    "scoring": _scoring,
    "exact": _exact,
    "diversity": _diversity,
    "hybrid": _hybrid,
}

NAMES: Final = tuple(_CHECKS)
"""What can be set; each single setting can be reset by its own name, too, such as `hybrid.words_weight`."""
