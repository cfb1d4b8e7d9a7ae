"""Which records a question is about: small composable objects, exact by definition.

An engine may use a filter as a prefilter that lets too much through (search indexes fold case, trim
and split tags); `accepts` is the exact meaning, byte for byte, and the caller applies it to every
row that comes back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias, TypeVar

Fields: TypeAlias = Mapping[str, bytes]
"""A record as stored: field name to encoded value."""

TAG_SEPARATOR = ","


class _Record(Protocol):
    """What is asked about: a row of any kind."""

    @property
    def id(self) -> str: ...

    @property
    def fields(self) -> Fields: ...


_RecordT = TypeVar("_RecordT", bound=_Record)

MAX_FILTER_BYTES = 10_240
"""Longest query text that every supported search engine accepts (valkey-search refuses more)."""

_LEADING_NUMBER = re.compile(rb"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")


def leading_number(stored: bytes | None) -> float | None:
    """The finite number that a stored value begins with, as every language reads it; else None."""
    if stored is None:
        return None
    match = _LEADING_NUMBER.match(stored)
    number = float(match[1]) if match else math.nan
    return number if math.isfinite(number) else None


@dataclass(frozen=True, slots=True)
class Equals:
    """The whole stored value equals `value`, byte for byte; a missing field never does."""

    field: str
    value: str

    def accepts(self, id: str, fields: Fields) -> bool:
        """Whether the stored value is this one."""
        return fields.get(self.field) == self.value.encode()


@dataclass(frozen=True, slots=True)
class HasTag:
    """One of the comma-separated values of `field` equals `value`, byte for byte."""

    field: str
    value: str

    def accepts(self, id: str, fields: Fields) -> bool:
        """Whether the tag is among the stored ones."""
        stored = fields.get(self.field)
        return stored is not None and self.value.encode() in stored.split(TAG_SEPARATOR.encode())


@dataclass(frozen=True, slots=True)
class TagsAre:
    """The comma-separated values of `field` are these, byte for byte, in any order and each however often.

    Without any, or with the empty one alone: the field is missing, or empty.
    """

    field: str
    values: frozenset[str]

    @property
    def tags(self) -> list[str]:
        """The values in order, none for the empty one alone."""
        return [] if self.values == {""} else sorted(self.values)

    def accepts(self, id: str, fields: Fields) -> bool:
        """Whether the stored tags are these and no others."""
        stored = fields.get(self.field)
        return {tag.encode() for tag in self.tags} == (set(stored.split(TAG_SEPARATOR.encode())) if stored else set())


@dataclass(frozen=True, slots=True)
class Between:
    """The number a field begins with lies in `low`..`high`, both included; None leaves a side open.

    A field that is missing or holds no number is in no range, not even an open one.
    """

    field: str
    low: float | None = None
    high: float | None = None

    def accepts(self, id: str, fields: Fields) -> bool:
        """Whether the stored number is in the range."""
        number = leading_number(fields.get(self.field))
        if number is None:
            return False
        return (self.low is None or number >= self.low) and (self.high is None or number <= self.high)


@dataclass(frozen=True, slots=True)
class IdIn:
    """The record's id is one of `ids`."""

    ids: frozenset[str]

    def accepts(self, id: str, fields: Fields) -> bool:
        """Whether the id is among them."""
        return id in self.ids


@dataclass(frozen=True, slots=True)
class Absent:
    """The record has no such field; an empty value is one."""

    field: str

    def accepts(self, id: str, fields: Fields) -> bool:
        """Whether the field is missing."""
        return self.field not in fields


@dataclass(frozen=True, slots=True)
class Not:
    """`clause` does not hold; a record without the field passes."""

    clause: Clause

    def accepts(self, id: str, fields: Fields) -> bool:
        """Whether the clause refuses the record."""
        return not self.clause.accepts(id, fields)


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every clause holds; without one it accepts everything."""

    clauses: tuple[Clause, ...]

    def accepts(self, id: str, fields: Fields) -> bool:
        """Whether every clause accepts the record."""
        return all(clause.accepts(id, fields) for clause in self.clauses)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one clause holds; without one it accepts nothing."""

    clauses: tuple[Clause, ...]

    def accepts(self, id: str, fields: Fields) -> bool:
        """Whether some clause accepts the record."""
        return any(clause.accepts(id, fields) for clause in self.clauses)


Leaf: TypeAlias = Equals | HasTag | TagsAre | Between | IdIn | Absent
Clause: TypeAlias = Leaf | Not | AllOf | AnyOf


def leaves(clause: Clause) -> Iterator[Leaf]:
    """The comparisons that a clause is made of, in order."""
    match clause:
        case Not(clause=inner):
            yield from leaves(inner)
        case AllOf(clauses=parts) | AnyOf(clauses=parts):
            for part in parts:
                yield from leaves(part)
        case _:
            yield clause


@dataclass(frozen=True)
class Filter:
    """All of `clauses` hold. Without a clause it accepts every record."""

    clauses: tuple[Clause, ...] = ()

    def accepts(self, id: str, fields: Fields) -> bool:
        """Whether every clause accepts the record."""
        for clause in self.clauses:  # noqa: SIM110 - asked for every row of every search: no generator
            if not clause.accepts(id, fields):
                return False
        return True

    def accepted(self, rows: Sequence[_RecordT]) -> list[_RecordT]:
        """Those of `rows` that it accepts, in their order."""
        kept = list(rows)
        for clause in self.clauses:
            # A scope, as nearly every filter is, is compared here, in a tenth of the time.
            match clause:
                case Equals(field=field, value=value):
                    stored = value.encode()
                    kept = [row for row in kept if row.fields.get(field) == stored]
                case Absent(field=field):
                    kept = [row for row in kept if field not in row.fields]
                case _:
                    kept = [row for row in kept if clause.accepts(row.id, row.fields)]
        return kept

    @cached_property
    def equalities(self) -> tuple[tuple[str, bytes], ...] | None:
        """Field and stored value of each clause where all of them are `Equals`; else None."""
        if all(isinstance(clause, Equals) for clause in self.clauses):
            return tuple((clause.field, clause.value.encode()) for clause in self.clauses if isinstance(clause, Equals))
        return None

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """The comparisons it is made of, in order."""
        return tuple(leaf for clause in self.clauses for leaf in leaves(clause))

    @cached_property
    def field_names(self) -> tuple[str, ...]:
        """The fields that `accepts` looks at, each once, in order."""
        return tuple(dict.fromkeys(leaf.field for leaf in self.leaves if not isinstance(leaf, IdIn)))

    @cached_property
    def required_ids(self) -> frozenset[str] | None:
        """The only ids that can pass, where a clause that must hold names them; else None.

        An engine reads those records by their keys instead of searching.
        """
        required: frozenset[str] | None = None
        for clause in _conjuncts(self.clauses):
            if isinstance(clause, IdIn):
                required = clause.ids if required is None else required & clause.ids
        return required

    @cached_property
    def size_bytes(self) -> int:
        """Length of the filter as query text, with every value escaped, in UTF-8 bytes.

        The same number on every engine, so that what one refuses the other refuses too. Ids are not
        part of a query text.
        """
        return 2 + sum(_text_bytes(leaf) for leaf in self.leaves)


def _conjuncts(clauses: tuple[Clause, ...]) -> Iterator[Clause]:
    for clause in clauses:
        if isinstance(clause, AllOf):
            yield from _conjuncts(clause.clauses)
        else:
            yield clause


def _text_bytes(leaf: Leaf) -> int:
    match leaf:
        case IdIn() | Absent():
            return 0
        case TagsAre():
            return sum(_text_bytes(HasTag(leaf.field, tag)) for tag in leaf.tags)
        case Between():
            return len(f"-@{leaf.field}:[{leaf.low} {leaf.high}] | ")
        case _:
            return len(f"@{leaf.field}:{{}} ") + len(escape_tag(leaf.value).encode())


def escape_tag(value: str) -> str:
    """`value` as literal text inside `@field:{...}`: every ASCII character that is not a letter,
    digit or underscore gets a backslash.

    Wider than the published packages' list: backtick, `?`, tab and newline are covered too.
    """
    return "".join(
        f"\\{character}" if character.isascii() and not (character.isalnum() or character == "_") else character
        for character in value
    )
