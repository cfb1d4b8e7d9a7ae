"""Conditions drawn at random, each said as an object and as a mapping, and an oracle that reads memories.

The oracle knows nothing of filters: it compares attributes of `MemoryItem` in plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from betterdb_agent_memory import (
    AccessCount,
    CreatedAt,
    Entity,
    Id,
    Importance,
    Kind,
    LastAccessedAt,
    MemoryFilter,
    MemoryItem,
    MemoryKind,
    OccurredAt,
    Pinned,
    Session,
    Source,
    Speaker,
    Subject,
    Tag,
)

NOW_MS = 1_750_000_000_000
"""2025-06-15T15:06:40Z."""

TAGS = ["ui", "UI", " ui", "ui ", "u i", "w*k", "_", "-", "a:b", "日本", "ß", "ss", "é", "e\u0301", "x" * 300, "never"]
LABELS = ["chat", "Chat", " chat", "", "chat,mail", "mail", "line\nbreak", "nul\0x", "ΑΣ", "ας", "y" * 1200, "never"]
KIND_NAMES: list[MemoryKind] = ["fact", "factual", "rule", "episodic", "opinion"]
"""The last one is of no memory."""
ENTITIES = ["Ada", "ada", " Ada", "Smith, John", "50% off", "%2C", "nul\0x", "line\nbreak", "日本", "z" * 500, "never"]
IMPORTANCES = [0, 1, 0.5, 1 / 3, 0.3333333333333, 0.3, 0.1 + 0.2, 1e-7, 0.12345678901234567, math.nextafter(0.5, 1)]
IDS = [f"m{number:02}" for number in range(60)]


@dataclass(frozen=True)
class Moment:
    """A time as callers say it, and the milliseconds that it means."""

    said: int | str | datetime | date
    first_ms: int
    last_ms: int


def at(said: int | str | datetime, ms: int) -> Moment:
    return Moment(said, ms, ms)


JUNE_15_MS = 1_749_945_600_000
DAY_MS = 86_400_000
TOKYO = timezone(timedelta(hours=9))
MOMENTS = [
    *(at(NOW_MS + step, NOW_MS + step) for step in (-1, 0, 1, 999, 1000, 1001, 3000, 5000, 7000, 9000, 20_000)),
    at("2025-06-15T15:06:43Z", NOW_MS + 3000),
    at(datetime(2025, 6, 15, 15, 6, 45, tzinfo=UTC), NOW_MS + 5000),
    at(datetime(2025, 6, 16, 0, 6, 47, tzinfo=TOKYO), NOW_MS + 7000),
    at("2025-06-15T17:06:40+02:00", NOW_MS),
    Moment(date(2025, 6, 15), JUNE_15_MS, JUNE_15_MS + DAY_MS - 1),
    Moment("2025-06-15", JUNE_15_MS, JUNE_15_MS + DAY_MS - 1),
    Moment(" 2025-06-14 ", JUNE_15_MS - DAY_MS, JUNE_15_MS - 1),
    Moment(date(1969, 12, 31), -DAY_MS, -1),
    at(0, 0),
    at(-1, -1),
    at(datetime(1969, 7, 20, 20, 17, 40, tzinfo=UTC), -14_182_940_000),
]
OCCURRENCES = [None, 0, -1, -14_182_940_000, JUNE_15_MS - 1, JUNE_15_MS, JUNE_15_MS + DAY_MS - 1, JUNE_15_MS + DAY_MS]


@dataclass(frozen=True)
class Leaf:
    """A comparison of one field: the mapping's spelling, the object, and what it means."""

    mapping: Mapping[str, Any]
    object: MemoryFilter
    holds: Callable[[MemoryItem], bool]


@dataclass(frozen=True)
class Negation:
    part: Condition

    @property
    def mapping(self) -> Mapping[str, Any]:
        return {"not": self.part.mapping}

    @property
    def object(self) -> MemoryFilter:
        return ~self.part.object

    def holds(self, item: MemoryItem) -> bool:
        return not self.part.holds(item)


@dataclass(frozen=True)
class Conjunction:
    parts: Sequence[Condition]

    @property
    def mapping(self) -> Mapping[str, Any]:
        return {"and": [part.mapping for part in self.parts]}

    @property
    def object(self) -> MemoryFilter:
        whole = self.parts[0].object
        for part in self.parts[1:]:
            whole = whole & part.object
        return whole

    def holds(self, item: MemoryItem) -> bool:
        return all(part.holds(item) for part in self.parts)


@dataclass(frozen=True)
class Disjunction:
    parts: Sequence[Condition]

    @property
    def mapping(self) -> Mapping[str, Any]:
        return {"or": [part.mapping for part in self.parts]}

    @property
    def object(self) -> MemoryFilter:
        whole = self.parts[0].object
        for part in self.parts[1:]:
            whole = whole | part.object
        return whole

    def holds(self, item: MemoryItem) -> bool:
        return any(part.holds(item) for part in self.parts)


Condition = Leaf | Negation | Conjunction | Disjunction


def some(values: Sequence[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


def listed_leaves(field: str, kind: type[Tag | Entity], values: Sequence[str]) -> st.SearchStrategy[Leaf]:
    def leaf(how: str, asked: list[str]) -> Leaf:
        def held(item: MemoryItem) -> set[str]:
            return set(getattr(item, field)) & set(asked)

        match how:
            case "bare":
                return Leaf({field: asked[0]}, kind(asked[0]), lambda item: asked[0] in held(item))
            case "all":
                return Leaf({field: {"all": asked}}, kind.all(*asked), lambda item: held(item) == set(asked))
            case "any":
                return Leaf({field: {"any": asked}}, kind.any(*asked), lambda item: bool(held(item)))
            case _:
                return Leaf({field: {"none": asked}}, kind.none(*asked), lambda item: not held(item))

    return st.builds(leaf, st.sampled_from(["bare", "all", "any", "none"]), some(values))


def kind_leaves() -> st.SearchStrategy[Leaf]:
    def leaf(how: str, kinds: list[MemoryKind]) -> Leaf:
        match how:
            case "bare":
                return Leaf({"kind": kinds[0]}, Kind(kinds[0]), lambda item: item.kind == kinds[0])
            case "any":
                return Leaf({"kind": {"any": kinds}}, Kind.any(*kinds), lambda item: item.kind in kinds)
            case _:
                return Leaf({"kind": {"none": kinds}}, Kind.none(*kinds), lambda item: item.kind not in kinds)

    asked = st.lists(st.sampled_from(KIND_NAMES), min_size=1, max_size=3, unique=True)
    return st.builds(leaf, st.sampled_from(["bare", "any", "none"]), asked)


def label_leaves(field: str, kind: type[Source | Subject | Session | Speaker]) -> st.SearchStrategy[Leaf]:
    def leaf(how: str, values: list[str]) -> Leaf:
        match how:
            case "bare":
                return Leaf({field: values[0]}, kind(values[0]), lambda item: getattr(item, field) == values[0])
            case "any":
                return Leaf({field: {"any": values}}, kind.any(*values), lambda item: getattr(item, field) in values)
            case _:
                return Leaf(
                    {field: {"none": values}}, kind.none(*values), lambda item: getattr(item, field) not in values
                )

    return st.builds(leaf, st.sampled_from(["bare", "any", "none"]), some(LABELS))


def id_leaves() -> st.SearchStrategy[Leaf]:
    def leaf(how: str, ids: list[str]) -> Leaf:
        if how == "none":
            return Leaf({"id": {"none": ids}}, ~Id(*ids), lambda item: item.id not in ids)
        return Leaf({"id": ids if how == "bare" else {"any": ids}}, Id(*ids), lambda item: item.id in ids)

    ids = st.lists(st.sampled_from([*IDS, "unknown"]), min_size=1, max_size=30, unique=True)
    return st.builds(leaf, st.sampled_from(["bare", "any", "none"]), ids)


RANGES: dict[str, Any] = {
    "importance": Importance,
    "access_count": AccessCount,
    "created_at": CreatedAt,
    "occurred_at": OccurredAt,
    "last_accessed_at": LastAccessedAt,
}


def range_leaves(field: str, ends: Sequence[Moment]) -> st.SearchStrategy[Leaf]:
    kind = RANGES[field]
    numbers = field in ("importance", "access_count")

    def compared(how: str, end: Moment) -> Callable[[MemoryItem], bool]:
        def holds(item: MemoryItem) -> bool:
            value = getattr(item, field)
            if value is None:
                return False
            return {
                "gte": bool(value >= end.first_ms),
                "gt": bool(value > end.last_ms),
                "lte": bool(value <= end.last_ms),
                "lt": bool(value < end.first_ms),
                "eq": bool(end.first_ms <= value <= end.last_ms),
            }[how]

        return holds

    def one_end(how: str, end: Moment) -> Leaf:
        methods = {
            "gte": kind.at_least if numbers else kind.since,
            "gt": kind.above if numbers else kind.after,
            "lte": kind.at_most if numbers else kind.until,
            "lt": kind.below if numbers else kind.before,
            "eq": kind,
            "bare": kind,
        }
        mapping = {field: end.said if how == "bare" else {how: end.said}}
        return Leaf(mapping, methods[how](end.said), compared("eq" if how == "bare" else how, end))

    def two_ends(one: Moment, other: Moment) -> Leaf:
        low, high = sorted((one, other), key=lambda end: (end.first_ms, end.last_ms))
        above, below = compared("gte", low), compared("lte", high)
        return Leaf(
            {field: {"gte": low.said, "lte": high.said}},
            kind.between(low.said, high.said),
            lambda item: above(item) and below(item),
        )

    end = st.sampled_from(ends)
    return st.one_of(
        st.builds(one_end, st.sampled_from(["gte", "gt", "lte", "lt", "eq", "bare"]), end),
        st.builds(two_ends, end, end),
    )


def plain(number: float) -> Moment:
    """A number that stands for itself."""
    return Moment(number, number, number)  # type: ignore[arg-type]


leaves: st.SearchStrategy[Condition] = st.one_of(
    listed_leaves("tags", Tag, TAGS),
    listed_leaves("entities", Entity, ENTITIES),
    kind_leaves(),
    st.sampled_from(
        [
            Leaf({"pinned": True}, Pinned(), lambda item: item.pinned),
            Leaf({"pinned": {"eq": False}}, ~Pinned(), lambda item: not item.pinned),
        ]
    ),
    label_leaves("source", Source),
    label_leaves("subject", Subject),
    label_leaves("session", Session),
    label_leaves("speaker", Speaker),
    id_leaves(),
    range_leaves("importance", [plain(number) for number in (*IMPORTANCES, 0.4, 0.30000000000000001, 0.9999999999999)]),
    range_leaves("access_count", [plain(number) for number in (0, 1, 2, 3, 1.5, 2.0, 100)]),
    range_leaves("created_at", MOMENTS),
    range_leaves("occurred_at", MOMENTS),
    range_leaves("last_accessed_at", MOMENTS),
)


def _combined(part: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    parts = st.lists(part, min_size=1, max_size=3)
    return st.builds(Negation, part) | st.builds(Conjunction, parts) | st.builds(Disjunction, parts)


conditions: st.SearchStrategy[Condition] = st.recursive(leaves, _combined, max_leaves=6)
