"""The hash `{name}:__mem_config`: which fields there are, what they accept, and what they make of a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Final, get_args, get_type_hints

from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from betterdb_agent_memory.live_config.texts import Reader, Value, accepted, numbers, one_of, rounded_down, switch
from betterdb_agent_memory.options import (
    MAX_THRESHOLD,
    MAX_WEIGHT,
    RETRIEVALS,
    SCORINGS,
    HybridOptions,
    RecallWeights,
    Retrieval,
    Scoring,
)
from betterdb_agent_memory.options.checks import Accepts

MAX_WHOLE_NUMBER: Final = 2**53 - 1
"""The largest whole number that every language reads as the one that was written."""

_DEFAULTS: Final = HybridOptions()


@dataclass(frozen=True, slots=True)
class MemoryConfigSnapshot:
    """The values in force now; `scoring` is None where the store was given a model of its own."""

    threshold: float
    weights: RecallWeights
    half_life_seconds: float
    max_items_per_scope: int | None = None
    retrieval: Retrieval = "vector"
    exact: bool = False
    diversity: float | None = None
    hybrid: HybridOptions = _DEFAULTS
    scoring: Scoring | None = "composite"


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of the hash: our name for it, what it accepts, what it changes, and how its text is read.

    The name is the path of the value in `MemoryConfigSnapshot`.
    """

    field: str
    name: str
    accepts: str
    effect: str
    read: Reader


_weight: Final = numbers(lambda value: 0 <= value <= MAX_WEIGHT)
_share: Final = numbers(lambda value: 0 <= value <= 1)


def _of_hybrid() -> Iterator[Setting]:
    """A setting for each of the options of hybrid retrieval: what they accept is said there, and only there."""
    hints = get_type_hints(HybridOptions, include_extras=True)
    for option in fields(HybridOptions):
        kind, *notes = get_args(hints[option.name])
        [accepts] = (note for note in notes if isinstance(note, Accepts))
        [effect] = (note.description for note in notes if isinstance(note, FieldInfo))
        assert accepts.check is not None
        assert effect is not None
        yield Setting(
            f"recall.hybrid.{to_camel(option.name)}",
            f"hybrid.{option.name}",
            accepts.words,
            effect,
            accepted(accepts.check, whole=kind is int),
        )


SETTINGS: Final = (
    Setting(
        "recall.threshold",
        "threshold",
        "0 to 2",
        "largest cosine distance of a hit",
        numbers(lambda value: 0 <= value <= MAX_THRESHOLD),
    ),
    Setting("recall.weights.similarity", "weights.similarity", "0 to 1e30", "weight of similarity", _weight),
    Setting("recall.weights.recency", "weights.recency", "0 to 1e30", "weight of recency", _weight),
    Setting("recall.weights.importance", "weights.importance", "0 to 1e30", "weight of importance", _weight),
    Setting(
        "recall.halfLifeSeconds",
        "half_life_seconds",
        "above 0",
        "age in seconds at which recency is one half",
        numbers(lambda value: value > 0),
    ),
    Setting(
        "maxItemsPerScope",
        "max_items_per_scope",
        "1 or more, rounded down",
        "memories kept in one scope",
        rounded_down(1),
    ),
    Setting(
        "recall.retrieval",
        "retrieval",
        " or ".join(f"`{word}`" for word in RETRIEVALS),
        "whether memories are found by likeness alone, or by words as well",
        one_of(RETRIEVALS),
    ),
    Setting(
        "recall.scoring",
        "scoring",
        " or ".join(f"`{word}`" for word in SCORINGS),
        "by which model relevance is weighed against the rest",
        one_of(SCORINGS),
    ),
    Setting("recall.exact", "exact", "`true` or `false`", "whether a recall searches on until it is exact", switch),
    Setting(
        "recall.diversity",
        "diversity",
        "0 to 1",
        "how relevance counts beside being unlike the other hits; 1 is relevance alone",
        _share,
    ),
    *_of_hybrid(),
)
"""Every field that is read; the table in docs/live-config.md is made from this."""

BY_NAME: Final = {setting.name: setting for setting in SETTINGS}

NOT_ALL_ZERO: Final = (
    tuple(setting.name for setting in SETTINGS if setting.name.startswith("weights.")),
    tuple(setting.name for setting in SETTINGS if setting.name.startswith("hybrid.") and "_weight" in setting.name),
)
"""Settings of which one at least must count: where all are 0, every memory would score the same."""


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
    different times agree. Weights that come to 0 altogether give the base's back.
    """
    values = {
        setting.name: value
        for setting in SETTINGS
        if (text := fields.get(setting.field)) is not None and (value := setting.read(text)) is not None
    }
    for names in NOT_ALL_ZERO:
        if not any(values[name] if name in values else value_of(base, name) for name in names):
            values = {name: value for name, value in values.items() if name not in names}
    live = frozenset(BY_NAME[name].field for name in values)
    ignored = {
        setting.field: fields[setting.field].decode(errors="replace")
        for setting in SETTINGS
        if setting.field in fields and setting.field not in live
    }
    return Resolved(_changed(base, values), live, ignored)


def value_of(config: MemoryConfigSnapshot, name: str) -> Value | None:
    """The value of one setting."""
    value: Value | None = attrgetter(name)(config)
    return value


def _changed(base: MemoryConfigSnapshot, values: Mapping[str, Value]) -> MemoryConfigSnapshot:
    """`base` with these values in it, by name: `threshold`, `weights.recency` ..."""
    changes: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
    for group in ("weights", "hybrid"):
        inner = {
            name.removeprefix(f"{group}."): value for name, value in values.items() if name.startswith(f"{group}.")
        }
        if inner:
            changes[group] = replace(getattr(base, group), **inner)
    return replace(base, **changes)
