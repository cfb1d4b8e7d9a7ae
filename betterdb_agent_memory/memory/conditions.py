"""Conditions as callers say them: as objects (`where.py`) or as a mapping, which says the same.

A mapping's entries must all hold. `and` and `or` take a list of mappings, `not` takes one; any other name
is a field, with a mapping of comparisons or the bare value that the field most often is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from betterdb_agent_memory.engines.filters import AllOf, AnyOf, Clause, Not
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.where import (
    AccessCount,
    CreatedAt,
    Entity,
    Id,
    Importance,
    Kind,
    LastAccessedAt,
    MemoryFilter,
    OccurredAt,
    Pinned,
    Range,
    Session,
    Source,
    Speaker,
    Subject,
    Tag,
    joined,
)

MAX_DEPTH = 50


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
        clause = _from_mapping(where, MAX_DEPTH)
    else:
        raise InvalidInputError(
            "where takes a condition such as Tag('ui') & Importance.at_least(0.5), or a mapping such as "
            f"{{'tags': 'ui', 'importance': {{'gte': 0.5}}}}; got {type(where).__name__}: {where!r:.80}"
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
class Field:
    """How a field is said in a mapping: which comparisons it takes, and which one a bare value means."""

    comparisons: tuple[str, ...]
    bare: str
    condition: Callable[[Mapping[str, object]], Clause]


def _listed(name: str, comparisons: Mapping[str, Callable[..., MemoryFilter]], bare: str) -> Field:
    """A field that is compared with texts."""

    def condition(asked: Mapping[str, object]) -> Clause:
        return joined(AllOf, [comparisons[how](*_texts(name, value)).clause for how, value in asked.items()])

    return Field(tuple(comparisons), bare, condition)


def _texts(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | Mapping):
        return tuple(value)
    raise InvalidInputError(f"{name} is compared with a text or a list of texts, got {value!r:.80}")


def _pinned(asked: Mapping[str, object]) -> Clause:
    [value] = asked.values()
    if not isinstance(value, bool):
        raise InvalidInputError(f"pinned is true or false, got {value!r:.80}")
    return Pinned().clause if value else Not(Pinned().clause)


def _ranged(kind: type[Range]) -> Field:
    return Field(("gte", "lte", "gt", "lt", "eq"), "eq", kind.within)


FIELDS: Mapping[str, Field] = {
    "tags": _listed("tags", {"all": Tag.all, "any": Tag.any, "none": Tag.none}, bare="all"),
    "source": _listed("source", {"any": Source.any, "none": Source.none}, bare="any"),
    "subject": _listed("subject", {"any": Subject.any, "none": Subject.none}, bare="any"),
    "session": _listed("session", {"any": Session.any, "none": Session.none}, bare="any"),
    "speaker": _listed("speaker", {"any": Speaker.any, "none": Speaker.none}, bare="any"),
    "kind": _listed("kind", {"any": Kind.any, "none": Kind.none}, bare="any"),
    "entities": _listed("entities", {"all": Entity.all, "any": Entity.any, "none": Entity.none}, bare="all"),
    "pinned": Field(("eq",), "eq", _pinned),
    "id": _listed("id", {"any": Id, "none": lambda *ids: ~Id(*ids)}, bare="any"),
    "importance": _ranged(Importance),
    "access_count": _ranged(AccessCount),
    "created_at": _ranged(CreatedAt),
    "occurred_at": _ranged(OccurredAt),
    "last_accessed_at": _ranged(LastAccessedAt),
}
"""The fields that a condition may name."""

CONNECTIVES = ("and", "or", "not")


def _from_mapping(where: Mapping[str, object], depth: int) -> Clause:
    if depth < 0:
        raise InvalidInputError(f"a condition is nested at most {MAX_DEPTH} deep")
    if not where:
        raise InvalidInputError("a condition that is an empty mapping says nothing; leave it out")
    return joined(AllOf, [_entry(name, value, depth) for name, value in where.items()])


def _entry(name: object, value: object, depth: int) -> Clause:
    match name:
        case "not":
            return Not(_nested(name, value, depth))
        case "and" | "or":
            if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
                raise InvalidInputError(f"{name!r} takes a list of conditions, got {value!r:.80}")
            clauses = [_nested(name, part, depth) for part in value]
            if not clauses:
                raise InvalidInputError(f"{name!r} takes at least one condition, got none")
            return joined(AllOf if name == "and" else AnyOf, clauses)
        case str() if name in FIELDS:
            return _comparison(name, FIELDS[name], value)
    known = (*FIELDS, *CONNECTIVES)
    raise InvalidInputError(
        f"a condition cannot be about {name!r:.80}{_elsewhere(name) or _advice(name, known)}; known are "
        f"{', '.join(known)}"
    )


def _nested(name: str, value: object, depth: int) -> Clause:
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{name!r} takes conditions as mappings, got {value!r:.80}")
    return _from_mapping(value, depth - 1)


def _comparison(name: str, field: Field, value: object) -> Clause:
    asked = value if isinstance(value, Mapping) else {field.bare: value}
    for comparison in asked:
        if comparison not in field.comparisons:
            raise InvalidInputError(
                f"{name} cannot be compared by {comparison!r:.80}{_advice(comparison, field.comparisons)}; it takes "
                f"{', '.join(field.comparisons)}"
            )
    if not asked:
        raise InvalidInputError(f"the condition on {name} is empty; it takes {', '.join(field.comparisons)}")
    return field.condition(asked)


_SCOPE = "the scope is said by thread_id, agent_id and namespace beside where"
_ELSEWHERE = {
    **dict.fromkeys(("threadid", "agentid", "namespace", "userid", "runid"), _SCOPE),
    "content": "what a memory says is asked for with recall",
    "metadata": "metadata is stored, not searched; what shall be filtered by belongs into tags",
    "date": "the date of a fact is a free text; occurred_at is a time",
}
"""What no condition is about, though other stores' filters are, and where it belongs."""

_OTHER_WORDS = {
    "must": ("and",),
    "should": ("or",),
    "must_not": ("not",),
    "in": ("any",),
    "contains": ("all", "any"),
    "eq": ("all", "any"),
    "=": ("all", "any", "eq"),
    "==": ("all", "any", "eq"),
    "match": ("all", "any", "eq"),
    "nin": ("none",),
    "not_in": ("none",),
    "not_contains": ("none",),
    "not": ("none",),
    "ne": ("none",),
    "!=": ("none",),
    ">=": ("gte",),
    ">": ("gt",),
    "<=": ("lte",),
    "<": ("lt",),
    "min": ("gte",),
    "since": ("gte",),
    "after": ("gt",),
    "max": ("lte",),
    "until": ("lte",),
    "before": ("lt",),
}
"""Words of other stores' filters, each with what it may mean here."""


def _advice(name: object, known: tuple[str, ...]) -> str:
    """What was probably meant by a name that is not known; empty where nothing comes to mind."""
    if not isinstance(name, str):
        return ""
    word = name.lower().lstrip("$")
    candidates = (word, *_OTHER_WORDS.get(word, ()), *get_close_matches(word, known, 1, cutoff=0.7))
    meant = next((candidate for candidate in candidates if candidate in known), None)
    return f" (did you mean {meant!r}?)" if meant else ""


def _elsewhere(name: object) -> str:
    """Where something belongs that no condition is about; empty for anything else."""
    word = str(name).lower().partition(".")[0].replace("_", "")
    return f" ({_ELSEWHERE[word]})" if word in _ELSEWHERE else ""
