"""Which records a question is about: small composable objects, exact by definition.

An engine may use a filter as a prefilter that lets too much through (search indexes fold case, trim
and split tags); `accepts` is the exact meaning, byte for byte, and the caller applies it to every
row that comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Fields: TypeAlias = Mapping[str, bytes]
"""A record as stored: field name to encoded value."""

TAG_SEPARATOR = ","

MAX_FILTER_BYTES = 10_240
"""Longest query text that every supported search engine accepts (valkey-search refuses more)."""


@dataclass(frozen=True, slots=True)
class Equals:
    """The whole stored value equals `value`, byte for byte; a missing field never does."""

    field: str
    value: str

    def accepts(self, fields: Fields) -> bool:
        """Whether the stored value is this one."""
        return fields.get(self.field) == self.value.encode()


@dataclass(frozen=True, slots=True)
class HasTag:
    """One of the comma-separated values of `field` equals `value`, byte for byte."""

    field: str
    value: str

    def accepts(self, fields: Fields) -> bool:
        """Whether the tag is among the stored ones."""
        stored = fields.get(self.field)
        return stored is not None and self.value.encode() in stored.split(TAG_SEPARATOR.encode())


Clause: TypeAlias = Equals | HasTag


@dataclass(frozen=True, slots=True)
class Filter:
    """All of `clauses` hold. Without a clause it accepts every record."""

    clauses: tuple[Clause, ...] = ()

    def accepts(self, fields: Fields) -> bool:
        """Whether every clause accepts the record."""
        for clause in self.clauses:  # noqa: SIM110 - asked for every row of every search: no generator
            if not clause.accepts(fields):
                return False
        return True

    @property
    def field_names(self) -> tuple[str, ...]:
        """The fields that `accepts` looks at, each once, in order."""
        return tuple(dict.fromkeys(clause.field for clause in self.clauses))

    @property
    def size_bytes(self) -> int:
        """Length of the filter as query text, with every value escaped, in UTF-8 bytes.

        The same number on every engine, so that what one refuses the other refuses too.
        """
        return 2 + sum(len(f"@{c.field}:{{}} ") + len(escape_tag(c.value).encode()) for c in self.clauses)


def escape_tag(value: str) -> str:
    """`value` as literal text inside `@field:{...}`: every ASCII character that is not a letter,
    digit or underscore gets a backslash.

    Wider than the published packages' list: backtick, `?`, tab and newline are covered too.
    """
    return "".join(
        f"\\{character}" if character.isascii() and not (character.isalnum() or character == "_") else character
        for character in value
    )
