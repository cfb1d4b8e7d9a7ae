"""What memories are about, beyond their scope: conditions composed from small objects.

    Tag("ui") & ~Source("summary") & Importance.between(0.5, 1)

The same conditions can be said as a mapping (`conditions.py`), which is how they come from a command line
or from JSON:

    {"tags": "ui", "not": {"source": "summary"}, "importance": {"gte": 0.5, "lte": 1}}
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import ClassVar, NoReturn, TypeAlias

from betterdb_agent_memory.engines.filters import Absent, AllOf, AnyOf, Between, Clause, Equals, HasTag, IdIn, Not
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.dynamics_fields import PINNED
from betterdb_agent_memory.memory.kinds import MemoryKind, checked_kind
from betterdb_agent_memory.memory.scope import checked_tags, require_text
from betterdb_agent_memory.memory.spelling import listed_name
from betterdb_agent_memory.memory.times import checked_time_ms
from betterdb_agent_memory.options import is_number

Moment: TypeAlias = int | str | datetime | date
"""Milliseconds since the epoch, ISO text, or a datetime with a time zone."""

MAX_IDS = 10_000

_LAST_MS_OF_A_DAY = 86_399_999


class MemoryFilter:
    """A condition on memories; `&`, `|` and `~` make new ones of it.

    Text is compared byte for byte. A memory that lacks a field does not meet a condition on it, and
    therefore meets its negation.
    """

    __slots__ = ("clause",)

    def __init__(self, clause: Clause) -> None:
        if not isinstance(clause, Clause):
            raise InvalidInputError(
                f"a condition is made with Tag, Source, Importance and so on, not of {clause!r:.80}"
            )
        self.clause = clause

    def __and__(self, other: MemoryFilter) -> MemoryFilter:
        return MemoryFilter(joined(AllOf, [self.clause, _other(other)]))

    def __or__(self, other: MemoryFilter) -> MemoryFilter:
        return MemoryFilter(joined(AnyOf, [self.clause, _other(other)]))

    def __invert__(self) -> MemoryFilter:
        return MemoryFilter(Not(self.clause))

    def __bool__(self) -> NoReturn:
        raise TypeError("conditions are combined with & | and ~; 'and', 'or' and 'not' would drop one of them")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MemoryFilter) and self.clause == other.clause

    def __hash__(self) -> int:
        return hash(self.clause)

    def __repr__(self) -> str:
        return f"MemoryFilter({self.clause!r})"


def _other(condition: object) -> Clause:
    if not isinstance(condition, MemoryFilter):
        raise InvalidInputError(f"conditions are combined with conditions, not with {type(condition).__name__}")
    return condition.clause


def joined(kind: type[AllOf | AnyOf], clauses: Iterable[Clause]) -> Clause:
    """The clauses as one, those that are joined in the same way already unpacked; a single one is itself."""
    parts: list[Clause] = []
    for clause in clauses:
        parts += clause.clauses if isinstance(clause, AllOf | AnyOf) and type(clause) is kind else (clause,)
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def _listed(what: str, values: Sequence[str]) -> Sequence[str]:
    if not values:
        raise InvalidInputError(f"a condition on {what} names at least one, got none")
    first: object = values[0]
    if isinstance(first, list | tuple | set | frozenset):
        raise InvalidInputError(
            f"a condition on {what} takes them one by one, not in a {type(first).__name__}: put a star before it"
        )
    if not all(isinstance(value, str) for value in values):
        return list(values)  # refused one by one, with what is wrong
    return list(dict.fromkeys(values))


class Tag(MemoryFilter):
    """The memory carries this tag: `Tag("ui")`, `Tag.all("a", "b")`, `Tag.any(...)`, `Tag.none(...)`."""

    __slots__ = ()

    def __init__(self, tag: str) -> None:
        [checked] = checked_tags([tag])
        super().__init__(HasTag(record.TAGS, checked))

    @classmethod
    def all(cls, *tags: str) -> MemoryFilter:
        """It carries every one of these."""
        return MemoryFilter(joined(AllOf, [cls(tag).clause for tag in _listed("tags", tags)]))

    @classmethod
    def any(cls, *tags: str) -> MemoryFilter:
        """It carries at least one of these."""
        return MemoryFilter(joined(AnyOf, [cls(tag).clause for tag in _listed("tags", tags)]))

    @classmethod
    def none(cls, *tags: str) -> MemoryFilter:
        """It carries none of these."""
        return ~cls.any(*tags)


class _Label(MemoryFilter):
    __slots__ = ()
    field: ClassVar[str]

    def __init__(self, value: str) -> None:
        require_text(self.field, value)
        record.checked_label(self.field, value)
        super().__init__(Equals(self.field, value))

    @classmethod
    def any(cls, *values: str) -> MemoryFilter:
        """It is one of these."""
        return MemoryFilter(joined(AnyOf, [cls(value).clause for value in _listed(cls.field, values)]))

    @classmethod
    def none(cls, *values: str) -> MemoryFilter:
        """It is none of these, or missing."""
        return ~cls.any(*values)


class Source(_Label):
    """Where the memory comes from: `Source("chat")`, `Source.any("chat", "mail")`, `Source.none(...)`."""

    __slots__ = ()
    field = record.SOURCE


class Subject(_Label):
    """What a fact is about, exactly as written: `Subject("alice's city")`, `.any(...)`, `.none(...)`."""

    __slots__ = ()
    field = record.SUBJECT


class Session(_Label):
    """Which conversation the turn belongs to, exactly as named: `Session("2026-06-15")`, `.any(...)`, `.none(...)`.

    No server's index holds it: the store reads the memories that the rest of the condition and the scope leave, and
    looks. Say the thread as well, where there is one (docs/filters.md).
    """

    __slots__ = ()
    field = record.SESSION


class Speaker(_Label):
    """Who said it, exactly as written: `Speaker("Maya")`, `.any("user", "Maya")`, `.none("assistant")`.

    No server's index holds it: as `Session`.
    """

    __slots__ = ()
    field = record.SPEAKER


class Kind(MemoryFilter):
    """The memory is of this kind: `Kind("fact")`, `Kind.any("fact", "rule")`, `Kind.none("context")`.

    One that was remembered without a kind is of none.
    """

    __slots__ = ()

    def __init__(self, kind: MemoryKind) -> None:
        super().__init__(Equals(record.KIND, checked_kind(kind)))

    @classmethod
    def any(cls, *kinds: MemoryKind) -> MemoryFilter:
        """It is of one of these."""
        return MemoryFilter(joined(AnyOf, [Equals(record.KIND, checked_kind(kind)) for kind in _listed("kind", kinds)]))

    @classmethod
    def none(cls, *kinds: MemoryKind) -> MemoryFilter:
        """It is of none of these, or of no kind."""
        return ~cls.any(*kinds)


def of_kind(kind: MemoryKind | Sequence[MemoryKind]) -> MemoryFilter:
    """The condition that a keyword says: of this kind, or of one of several."""
    return Kind(kind) if isinstance(kind, str) or not isinstance(kind, Sequence) else Kind.any(*kind)


class Entity(MemoryFilter):
    """The memory is about this one, exactly as named: `Entity("Ada")`, `Entity.all("Ada", "Paris")`, `Entity.any(...)`,
    `Entity.none(...)`.
    """

    __slots__ = ()

    def __init__(self, entity: str) -> None:
        super().__init__(HasTag(record.ENTITIES, listed_name(record.checked_entity(entity))))

    @classmethod
    def all(cls, *entities: str) -> MemoryFilter:
        """It is about every one of these."""
        return MemoryFilter(joined(AllOf, [cls(entity).clause for entity in _listed("entities", entities)]))

    @classmethod
    def any(cls, *entities: str) -> MemoryFilter:
        """It is about at least one of these."""
        return MemoryFilter(joined(AnyOf, [cls(entity).clause for entity in _listed("entities", entities)]))

    @classmethod
    def none(cls, *entities: str) -> MemoryFilter:
        """It is about none of these."""
        return ~cls.any(*entities)


class Pinned(MemoryFilter):
    """The memory is pinned: `Pinned()`; `~Pinned()` for one that is not.

    No server's index holds it: as `Session`.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(Not(Absent(PINNED)))


class Id(MemoryFilter):
    """The memory is one of these, at most 10,000: `Id("a", "b")`. They are read by key, without a search."""

    __slots__ = ()

    def __init__(self, *ids: str) -> None:
        listed = _listed("ids", ids)
        if len(listed) > MAX_IDS:
            raise InvalidInputError(f"a condition names at most {MAX_IDS:,} ids, not {len(listed):,}")
        super().__init__(IdIn(frozenset(record.checked_id(id) for id in listed)))


class Range(MemoryFilter):
    """A number or a time of the memory. A memory without the value is in no range."""

    __slots__ = ()
    field: ClassVar[str]

    @classmethod
    def span(cls, value: object) -> tuple[float, float]:
        """The least and the largest number that `value` stands for."""
        raise NotImplementedError

    @classmethod
    def within(cls, asked: Mapping[str, object]) -> Between:
        """The range that meets all of these comparisons: gte, gt, lte, lt, eq.

        Raises:
            InvalidInputError: a value is refused, or no number meets them.
        """
        low, high = -math.inf, math.inf
        for comparison, value in asked.items():
            first, last = cls.span(value)
            if comparison in ("gte", "eq"):
                low = max(low, first)
            if comparison in ("lte", "eq"):
                high = min(high, last)
            if comparison == "gt":
                low = max(low, math.nextafter(last, math.inf))
            if comparison == "lt":
                high = min(high, math.nextafter(first, -math.inf))
        if low > high:
            said = ", ".join(f"{comparison} {value!r:.80}" for comparison, value in asked.items())
            raise InvalidInputError(f"no {cls.field} is {said}; are the ends exchanged?")
        return Between(cls.field, None if low == -math.inf else low, None if high == math.inf else high)

    @classmethod
    def _between(cls, low: object, high: object) -> MemoryFilter:
        asked = {comparison: end for comparison, end in (("gte", low), ("lte", high)) if end is not None}
        if not asked:
            raise InvalidInputError(f"a condition on {cls.field} needs a lower or an upper end")
        return MemoryFilter(cls.within(asked))


def _is_double(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


class NumberRange(Range):
    """Comparisons with numbers."""

    __slots__ = ()

    def __init__(self, value: float) -> None:
        super().__init__(self.within({"eq": value}))

    @classmethod
    def span(cls, value: object) -> tuple[float, float]:
        """A number stands for itself."""
        if not is_number(value) or not _is_double(value):
            raise InvalidInputError(f"{cls.field} is compared with a finite number, got {value!r:.80}")
        number = int(value) if value == int(value) else float(value)
        return number, number

    @classmethod
    def between(cls, low: float | None, high: float | None) -> MemoryFilter:
        """From `low` to `high`, both included; None leaves one end open."""
        return cls._between(low, high)

    @classmethod
    def at_least(cls, low: float) -> MemoryFilter:
        """`low` or more."""
        return MemoryFilter(cls.within({"gte": low}))

    @classmethod
    def at_most(cls, high: float) -> MemoryFilter:
        """`high` or less."""
        return MemoryFilter(cls.within({"lte": high}))

    @classmethod
    def above(cls, low: float) -> MemoryFilter:
        """More than `low`."""
        return MemoryFilter(cls.within({"gt": low}))

    @classmethod
    def below(cls, high: float) -> MemoryFilter:
        """Less than `high`."""
        return MemoryFilter(cls.within({"lt": high}))


class Importance(NumberRange):
    """How much the memory matters, 0 to 1: `Importance(0.5)`, `.at_least`, `.at_most`, `.above`, `.below`,
    `.between(0.5, 1)`.
    """

    __slots__ = ()
    field = record.IMPORTANCE

    @classmethod
    def span(cls, value: object) -> tuple[float, float]:
        """A number from 0 to 1."""
        number, _ = super().span(value)
        if not 0 <= number <= 1:
            raise InvalidInputError(f"importance is from 0 to 1, so comparing it with {value!r:.80} says nothing")
        return number, number


class AccessCount(NumberRange):
    """How often the memory was recalled: `AccessCount(0)`, `.at_least(3)`, `.at_most`, `.above`, `.below`,
    `.between`.
    """

    __slots__ = ()
    field = record.ACCESS_COUNT


class TimeRange(Range):
    """Comparisons with times. A date without a time of day is that whole day, in UTC."""

    __slots__ = ()

    def __init__(self, moment: Moment) -> None:
        super().__init__(self.within({"eq": moment}))

    @classmethod
    def span(cls, value: object) -> tuple[float, float]:
        """First and last millisecond of a day, else a moment."""
        first = checked_time_ms(cls.field, value)
        return first, first + _LAST_MS_OF_A_DAY if _is_day(value) else first

    @classmethod
    def between(cls, start: Moment | None, end: Moment | None) -> MemoryFilter:
        """From `start` to `end`, both included; None leaves one end open."""
        return cls._between(start, end)

    @classmethod
    def since(cls, start: Moment) -> MemoryFilter:
        """At `start` or later."""
        return MemoryFilter(cls.within({"gte": start}))

    @classmethod
    def until(cls, end: Moment) -> MemoryFilter:
        """At `end` or earlier; `until("2026-05-31")` includes that day."""
        return MemoryFilter(cls.within({"lte": end}))

    @classmethod
    def after(cls, start: Moment) -> MemoryFilter:
        """Later than `start`."""
        return MemoryFilter(cls.within({"gt": start}))

    @classmethod
    def before(cls, end: Moment) -> MemoryFilter:
        """Earlier than `end`."""
        return MemoryFilter(cls.within({"lt": end}))


def _is_day(moment: object) -> bool:
    if isinstance(moment, str):
        try:
            date.fromisoformat(moment.strip())
        except ValueError:
            return False
        return True
    return isinstance(moment, date) and not isinstance(moment, datetime)


class CreatedAt(TimeRange):
    """When the memory was written: `CreatedAt("2026-05-01")` (that day), `.since`, `.until`, `.after`,
    `.before`, `.between`.
    """

    __slots__ = ()
    field = record.CREATED_AT


class OccurredAt(TimeRange):
    """When what the memory tells happened, where that was given: `OccurredAt.between(...)`, as `CreatedAt`."""

    __slots__ = ()
    field = record.OCCURRED_AT


class LastAccessedAt(TimeRange):
    """When the memory was last recalled, or written: `LastAccessedAt.before(...)`, as `CreatedAt`."""

    __slots__ = ()
    field = record.LAST_ACCESSED_AT


Where: TypeAlias = MemoryFilter | Mapping[str, object]
"""A condition, as an object or as a mapping."""
