"""What memories are about, beyond their scope: conditions composed from small objects.

    Tag("ui") & ~Source("summary") & Importance.between(0.5, 1)

The same conditions can be said as a mapping, which is how they come from a command line or from JSON:

    {"tags": "ui", "not": {"source": "summary"}, "importance": {"gte": 0.5, "lte": 1}}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar, NoReturn, TypeAlias

from betterdb_agent_memory.engines.filters import AllOf, AnyOf, Between, Clause, Equals, HasTag, IdIn, Not
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.scope import checked_tags, require_text
from betterdb_agent_memory.memory.times import checked_time_ms
from betterdb_agent_memory.options import is_number

Moment: TypeAlias = int | str | datetime | date
"""Milliseconds since the epoch, ISO text, or a datetime with a time zone."""

MAX_IDS = 10_000
MAX_DEPTH = 50


class MemoryFilter:
    """A condition on memories; `&`, `|` and `~` make new ones of it.

    Text is compared byte for byte. A memory that lacks a field does not meet a condition on it, and
    therefore meets its negation.
    """

    __slots__ = ("clause",)

    def __init__(self, clause: Clause) -> None:
        self.clause = clause

    def __and__(self, other: MemoryFilter) -> MemoryFilter:
        return _combined(AllOf, self, other)

    def __or__(self, other: MemoryFilter) -> MemoryFilter:
        return _combined(AnyOf, self, other)

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


def _combined(kind: Callable[[tuple[Clause, ...]], AllOf | AnyOf], left: object, right: object) -> MemoryFilter:
    if not isinstance(left, MemoryFilter) or not isinstance(right, MemoryFilter):
        raise InvalidInputError(f"conditions are combined with conditions, not with {type(right).__name__}")
    clauses: list[Clause] = []
    for clause in (left.clause, right.clause):
        clauses += clause.clauses if isinstance(clause, AllOf | AnyOf) and type(clause) is kind else (clause,)
    return MemoryFilter(kind(tuple(clauses)))


def _listed(what: str, texts: Iterable[str]) -> tuple[str, ...]:
    listed = tuple(texts)
    if not listed:
        raise InvalidInputError(f"a condition on {what} names at least one")
    return listed


class Tag(MemoryFilter):
    """The memory carries this tag: `Tag("ui")`, `Tag.all("a", "b")`, `Tag.any(...)`, `Tag.none(...)`."""

    __slots__ = ()

    def __init__(self, tag: str) -> None:
        [checked] = checked_tags([tag])
        super().__init__(HasTag(record.TAGS, checked))

    @classmethod
    def all(cls, *tags: str) -> MemoryFilter:
        """It carries every one of these."""
        return MemoryFilter(AllOf(tuple(cls(tag).clause for tag in _listed("tags", tags))))

    @classmethod
    def any(cls, *tags: str) -> MemoryFilter:
        """It carries at least one of these."""
        return MemoryFilter(AnyOf(tuple(cls(tag).clause for tag in _listed("tags", tags))))

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
        return MemoryFilter(AnyOf(tuple(cls(value).clause for value in _listed(cls.field, values))))

    @classmethod
    def none(cls, *values: str) -> MemoryFilter:
        """It is none of these, or missing."""
        return ~cls.any(*values)


class Source(_Label):
    """Where the memory comes from: `Source("chat")`, `Source.any("chat", "mail")`, `Source.none(...)`."""

    __slots__ = ()
    field = record.SOURCE


class Subject(_Label):
    """What a fact is about, exactly as written: `Subject("alice's city")`, `Subject.any(...)`."""

    __slots__ = ()
    field = record.SUBJECT


class Id(MemoryFilter):
    """The memory is one of these, at most 10,000: `Id("a", "b")`. They are read by key, without a search."""

    __slots__ = ()

    def __init__(self, *ids: str) -> None:
        listed = _listed("ids", ids)
        if len(listed) > MAX_IDS:
            raise InvalidInputError(f"a condition names at most {MAX_IDS:,} ids, not {len(listed):,}")
        super().__init__(IdIn(frozenset(record.checked_id(id) for id in listed)))


class _Range(MemoryFilter):
    """Both ends belong to the range; None leaves one open. A memory without the value is in no range."""

    __slots__ = ()
    field: ClassVar[str]

    def __init__(self, low: object = None, high: object = None) -> None:
        if low is None and high is None:
            raise InvalidInputError(f"a condition on {self.field} needs a lower or an upper end")
        least = None if low is None else self.checked(low)
        most = None if high is None else self.checked(high)
        if least is not None and most is not None and least > most:
            raise InvalidInputError(f"{self.field} from {low!r} to {high!r} holds nothing: the ends are exchanged")
        super().__init__(Between(self.field, least, most))

    @classmethod
    def checked(cls, value: object) -> float:
        """The number that an end stands for."""
        raise NotImplementedError


class _NumberRange(_Range):
    __slots__ = ()

    def __init__(self, low: float | None = None, high: float | None = None) -> None:
        super().__init__(low, high)

    @classmethod
    def checked(cls, value: object) -> float:
        if not is_number(value):
            raise InvalidInputError(f"{cls.field} is compared with a number, got {value!r:.80}")
        return int(value) if float(value).is_integer() else float(value)

    @classmethod
    def between(cls, low: float, high: float) -> MemoryFilter:
        """From `low` to `high`, both included."""
        return cls(low, high)

    @classmethod
    def at_least(cls, low: float) -> MemoryFilter:
        """`low` or more."""
        return cls(low, None)

    @classmethod
    def at_most(cls, high: float) -> MemoryFilter:
        """`high` or less."""
        return cls(None, high)


class Importance(_NumberRange):
    """How much the memory matters, 0 to 1: `Importance.at_least(0.5)`, `.at_most`, `.between`."""

    __slots__ = ()
    field = record.IMPORTANCE


class AccessCount(_NumberRange):
    """How often the memory was recalled: `AccessCount.at_least(3)`, `.at_most`, `.between`."""

    __slots__ = ()
    field = record.ACCESS_COUNT


class _TimeRange(_Range):
    __slots__ = ()

    def __init__(self, start: Moment | None = None, end: Moment | None = None) -> None:
        super().__init__(start, end)

    @classmethod
    def checked(cls, value: object) -> int:
        return checked_time_ms(cls.field, value)

    @classmethod
    def between(cls, start: Moment, end: Moment) -> MemoryFilter:
        """From `start` to `end`, both included."""
        return cls(start, end)

    @classmethod
    def since(cls, start: Moment) -> MemoryFilter:
        """At `start` or later."""
        return cls(start, None)

    @classmethod
    def until(cls, end: Moment) -> MemoryFilter:
        """At `end` or earlier."""
        return cls(None, end)


class CreatedAt(_TimeRange):
    """When the memory was written: `CreatedAt.since("2026-05-01")`, `.until`, `.between`."""

    __slots__ = ()
    field = record.CREATED_AT


class OccurredAt(_TimeRange):
    """When what the memory tells happened, where that was given: `OccurredAt.between(...)`."""

    __slots__ = ()
    field = record.OCCURRED_AT


class LastAccessedAt(_TimeRange):
    """When the memory was last recalled, or written: `LastAccessedAt.until(...)`."""

    __slots__ = ()
    field = record.LAST_ACCESSED_AT


Where: TypeAlias = MemoryFilter | Mapping[str, object]
"""A condition, as an object or as a mapping."""


def checked_where(where: object) -> Clause | None:
    """The condition said in either form; None for none.

    Raises:
        InvalidInputError: it is neither, or names a field or a comparison that does not exist; the message
            lists those that do.
    """
    if where is None:
        return None
    if isinstance(where, MemoryFilter):
        clause = where.clause
    elif isinstance(where, Mapping):
        clause = _from_mapping(where, MAX_DEPTH).clause
    else:
        raise InvalidInputError(
            f"where takes a condition such as Tag('ui') & Importance.at_least(0.5), or a mapping; got "
            f"{type(where).__name__}: {where!r:.80}"
        )
    _require_depth(clause, MAX_DEPTH)
    return clause


def _require_depth(clause: Clause, left: int) -> None:
    if left < 0:
        raise InvalidInputError(f"a condition is nested at most {MAX_DEPTH} deep")
    match clause:
        case Not(clause=inner):
            _require_depth(inner, left - 1)
        case AllOf(clauses=parts) | AnyOf(clauses=parts):
            for part in parts:
                _require_depth(part, left - 1)


@dataclass(frozen=True, slots=True)
class _Field:
    """How a field is said in a mapping: which comparisons it takes, and what a bare value means."""

    comparisons: Mapping[str, Callable[[object], MemoryFilter]]
    bare: str


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        return tuple(value)
    raise InvalidInputError(f"a text or a list of texts is expected, got {value!r:.80}")


def _range_field(kind: type[_NumberRange] | type[_TimeRange]) -> _Field:
    def strictly(range: MemoryFilter, end: MemoryFilter) -> MemoryFilter:
        return range & ~end

    def above(value: object) -> MemoryFilter:
        return strictly(kind(value, None), kind(value, value))  # type: ignore[arg-type]

    def below(value: object) -> MemoryFilter:
        return strictly(kind(None, value), kind(value, value))  # type: ignore[arg-type]

    return _Field(
        {
            "gte": lambda value: kind(value, None),  # type: ignore[arg-type]
            "lte": lambda value: kind(None, value),  # type: ignore[arg-type]
            "gt": above,
            "lt": below,
            "eq": lambda value: kind(value, value),  # type: ignore[arg-type]
        },
        bare="eq",
    )


def _label_field(kind: type[_Label]) -> _Field:
    return _Field(
        {"any": lambda value: kind.any(*_texts(value)), "none": lambda value: kind.none(*_texts(value))}, bare="any"
    )


FIELDS: Mapping[str, _Field] = {
    "tags": _Field(
        {
            "all": lambda value: Tag.all(*_texts(value)),
            "any": lambda value: Tag.any(*_texts(value)),
            "none": lambda value: Tag.none(*_texts(value)),
        },
        bare="all",
    ),
    "source": _label_field(Source),
    "subject": _label_field(Subject),
    "id": _Field({"any": lambda value: Id(*_texts(value)), "none": lambda value: ~Id(*_texts(value))}, bare="any"),
    "importance": _range_field(Importance),
    "access_count": _range_field(AccessCount),
    "created_at": _range_field(CreatedAt),
    "occurred_at": _range_field(OccurredAt),
    "last_accessed_at": _range_field(LastAccessedAt),
}
"""The fields that a condition may name."""

_CONNECTIVES = ("and", "or", "not")


def _from_mapping(where: Mapping[str, object], depth: int) -> MemoryFilter:
    if depth < 0:
        raise InvalidInputError(f"a condition is nested at most {MAX_DEPTH} deep")
    if not where:
        raise InvalidInputError("a condition that is an empty mapping says nothing; leave it out")
    parts = [_entry(name, value, depth) for name, value in where.items()]
    return parts[0] if len(parts) == 1 else MemoryFilter(AllOf(tuple(part.clause for part in parts)))


def _entry(name: object, value: object, depth: int) -> MemoryFilter:
    match name:
        case "not":
            return ~_nested(name, value, depth)
        case "and" | "or":
            if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
                raise InvalidInputError(f"{name!r} takes a list of conditions, got {value!r:.80}")
            clauses = tuple(_nested(name, part, depth).clause for part in value)
            if not clauses:
                raise InvalidInputError(f"{name!r} takes at least one condition")
            return MemoryFilter(AllOf(clauses) if name == "and" else AnyOf(clauses))
        case str() if name in FIELDS:
            return _comparison(name, FIELDS[name], value)
    raise InvalidInputError(
        f"a condition cannot be about {name!r:.80}; known are {', '.join((*FIELDS, *_CONNECTIVES))} (scope is said by "
        "thread_id, agent_id and namespace)"
    )


def _nested(name: str, value: object, depth: int) -> MemoryFilter:
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{name!r} takes conditions as mappings, got {value!r:.80}")
    return _from_mapping(value, depth - 1)


def _comparison(name: str, field: _Field, value: object) -> MemoryFilter:
    asked = value if isinstance(value, Mapping) else {field.bare: value}
    unknown = [comparison for comparison in asked if comparison not in field.comparisons]
    if unknown or not asked:
        problem = f"{name} cannot be compared by {unknown[0]!r:.80}" if unknown else f"the condition on {name} is empty"
        raise InvalidInputError(f"{problem}; it takes {', '.join(field.comparisons)}")
    parts = [field.comparisons[comparison](operand) for comparison, operand in asked.items()]
    return parts[0] if len(parts) == 1 else MemoryFilter(AllOf(tuple(part.clause for part in parts)))
