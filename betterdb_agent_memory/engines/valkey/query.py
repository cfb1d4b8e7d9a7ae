"""A filter as query text for an index: a superset, never less. Pure functions.

An index compares tags case-insensitively, trims them and splits them at commas, so a text about tags may
let too much through; turned round it would let too little through, so a negated tag is left out. Ranges
of numbers are exact both ways. What is left out of an AND makes it wider; an OR with a branch that
cannot be said cannot be said at all. Values are escaped into the text, since valkey-search takes no
parameters inside a filter.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import NamedTuple

from betterdb_agent_memory.engines.base import IndexSchema, SchemaField
from betterdb_agent_memory.engines.filters import (
    MAX_FILTER_BYTES,
    TAG_SEPARATOR,
    Absent,
    AllOf,
    AnyOf,
    Between,
    Clause,
    Equals,
    Filter,
    HasTag,
    IdIn,
    Leaf,
    Not,
    TagsAre,
    escape_tag,
)

EVERYTHING = "*"
"""Before a KNN clause: all records, found through the graph. Any filter instead, even one that all
records pass, makes RediSearch compare every vector (21 ms against 2 at 50,000 x 384). Alone it is no
query on valkey-search."""

_MAX_TAG_BYTES = 1000
"""RediSearch cuts stored tags at 4,096 bytes; far below that a piece compares whole everywhere."""

ROOM_BYTES = MAX_FILTER_BYTES - 256
"""Room for the filter: something is kept free for what follows it."""

BLANKS = " \t\n\v\f\r"

_NOWHERE = -(2**53)


def order_field(schema: IndexSchema) -> SchemaField:
    """The number that every record has: the first sortable one."""
    for field in schema.shared:
        if field.kind == "number" and field.sortable:
            return field
    raise ValueError("the schema has no sortable number field")


def prefilter(
    filter: Filter,
    schema: IndexSchema,
    searchable: AbstractSet[str],
    everything: str | None = None,
    *,
    wording: Wording | None = None,
    room: int = ROOM_BYTES,
) -> str:
    """The text of `filter`, as far as an index with the `searchable` fields can express it in `room` bytes.

    `everything` is the text when nothing of it can be expressed: by default a range that all pass.
    `wording` is one kept for these fields.
    """
    wording = wording or Wording(schema, searchable)
    parts = wording.all_of(filter.clauses, room)
    return wording.together(parts) if parts else everything or match_all(schema)


def exact_texts(filter: Filter, schema: IndexSchema, searchable: AbstractSet[str]) -> dict[Clause, str]:
    """Those top clauses of `filter` whose text has exactly their meaning: ranges of indexed numbers, and any
    combination of such ranges.
    """
    wording = Wording(schema, searchable)
    texts = {clause: wording.exact_text(clause) for clause in conjuncts(filter.clauses)}
    return {clause: text for clause, text in texts.items() if text is not None}


def conjuncts(clauses: Iterable[Clause]) -> Iterator[Clause]:
    """The clauses that must all hold, nested ones unpacked."""
    for clause in clauses:
        if isinstance(clause, AllOf):
            yield from conjuncts(clause.clauses)
        else:
            yield clause


def match_all(schema: IndexSchema) -> str:
    """The published query text that finds every record."""
    return f"@{order_field(schema).name}:[-inf +inf]"


def range_text(field: str, low: float, high: float) -> str:
    """All finite numbers from `low` to `high`, both included; valkey-search refuses a `low` above `high`."""
    return f"@{field}:[{number_text(low)} {number_text(high)}]"


def number_text(value: float) -> str:
    """A limit in digits that every server reads as this very number; infinity itself is left out.

    valkey-search reads no exponents.
    """
    if math.isinf(value):
        return "(+inf" if value > 0 else "(-inf"
    return format(Decimal(repr(float(value))), "f").removesuffix(".0")


class Piece(NamedTuple):
    """A comparison in query words, or several in brackets with an OR between them."""

    text: str
    is_estimated: bool = True
    """Whether the server knows beforehand about how many records it finds. Of an AND that finds nothing
    RediSearch does not, nor of an OR with such a branch."""


class Wording:
    """The words that one index understands."""

    def __init__(self, schema: IndexSchema, searchable: AbstractSet[str]) -> None:
        fields = [field for field in (*schema.shared, *schema.own) if field.name in searchable]
        self._tags = {field.name for field in fields if field.kind == "tag"}
        self._numbers = {field.name for field in fields if field.kind == "number"}
        # A range that no record is in.
        self._nothing = range_text(order_field(schema).name, _NOWHERE, _NOWHERE)
        self._everything = match_all(schema)

    def exact_text(self, clause: Clause) -> str | None:
        """The text of ranges, combined in any way; None for a clause that is about anything else.

        As it stands in a query that has room for all of it.
        """
        return self.whole_text(clause) if self._is_exact(clause) else None

    def _is_exact(self, clause: Clause, *, negated: bool = False) -> bool:
        match clause:
            case Not(clause=inner):
                return self._is_exact(inner, negated=not negated)
            case Between():
                return self._range(clause, negated=negated) is not None
            case AllOf(clauses=parts) | AnyOf(clauses=parts):
                return all(self._is_exact(part, negated=negated) for part in parts)
            case _:
                return False

    def whole_text(self, clause: Clause) -> str:
        """What a query with room for everything says of `clause`; empty where nothing can be said."""
        return " ".join(piece.text for piece in self.all_of((clause,), sys.maxsize))

    def has_text(self, leaf: Leaf, *, negated: bool) -> bool:
        """Whether something can be said of this comparison."""
        match leaf:
            case Between():
                return self._range(leaf, negated=negated) is not None
            case Equals() | HasTag() | TagsAre():
                return not negated and leaf.field in self._tags
            case IdIn() | Absent():
                return False

    def all_of(self, clauses: Iterable[Clause], room: int, *, negated: bool = False) -> list[Piece]:
        """Pieces that all hold wherever all of `clauses` do (`negated`: wherever none does).

        A clause too many for the server is one less in the prefilter.
        """
        parts: list[Piece] = []
        left = room - len(self._everything) - 3
        for clause in clauses:
            for piece in self._pieces(clause, left, negated=negated):
                size = len(piece.text.encode()) + 1
                if size <= left and piece not in parts:
                    parts.append(piece)
                    left -= size
        return parts

    def together(self, parts: Sequence[Piece]) -> str:
        """The text of an AND, in brackets.

        A KNN clause of RediSearch 2.10 finds nothing in an AND of which no part is estimated (it takes that
        for an AND that cannot be met), so a range that every record is in joins them. It costs 0.2 ms at
        50,000 records.
        """
        texts = [piece.text for piece in parts]
        if len(parts) > 1 and not any(piece.is_estimated for piece in parts):
            texts.append(self._everything)
        return f"({' '.join(texts)})"

    def _pieces(self, clause: Clause, room: int, *, negated: bool) -> Sequence[Piece]:
        """Pieces that all hold wherever `clause` does; empty where nothing can be said."""
        match clause:
            case Not(clause=inner):
                return self._pieces(inner, room, negated=not negated)
            case IdIn() | Absent():
                return ()
            case Between():
                text = self._range(clause, negated=negated)
                return () if text is None else (Piece(text),)
            case Equals() | HasTag() | TagsAre():
                return () if negated or clause.field not in self._tags else [Piece(text) for text in tag_texts(clause)]
            case AllOf(clauses=parts) if not negated:
                return self.all_of(parts, room)
            case AnyOf(clauses=parts) if negated:
                return self.all_of(parts, room, negated=True)
            case AllOf(clauses=parts) | AnyOf(clauses=parts):
                return self._any_of(parts, room, negated=negated)

    def _any_of(self, clauses: Sequence[Clause], room: int, *, negated: bool) -> Sequence[Piece]:
        branches: list[Piece] = []
        left = room - 2
        for clause in clauses:
            parts = self.all_of((clause,), left, negated=negated)
            if not parts:
                return ()
            branch = parts[0] if len(parts) == 1 else Piece(self.together(parts), is_estimated=False)
            if branch not in branches:
                branches.append(branch)
                left -= len(branch.text.encode()) + 3
        if not branches:
            return (Piece(self._nothing),)
        if len(branches) == 1:
            return (branches[0],)
        text = f"({' | '.join(branch.text for branch in branches)})"
        return (Piece(text, is_estimated=all(branch.is_estimated for branch in branches)),)

    def _range(self, range: Between, *, negated: bool) -> str | None:
        """The text of a range, None where nothing can be said."""
        if range.field not in self._numbers:
            return None
        low = -math.inf if range.low is None else _as_double(range.low)
        high = math.inf if range.high is None else _as_double(range.high)
        if math.isnan(low) or math.isnan(high):
            return None
        if low == math.inf or high == -math.inf or low > high:
            return None if negated else self._nothing
        return f"{'-' if negated else ''}{range_text(range.field, low, high)}"


def _as_double(value: float) -> float:
    """`value` as a server has it; NaN when that is another number."""
    try:
        return float(value) if float(value) == value else math.nan
    except OverflowError:
        return math.nan


def tag_texts(clause: Equals | HasTag | TagsAre) -> list[str]:
    """What is searched for where `clause` shall hold; empty where nothing can be."""
    values = clause.tags if isinstance(clause, TagsAre) else [clause.value]
    return [f"@{clause.field}:{{{escaped(piece)}}}" for value in values for piece in tag_pieces(value)]


def tag_pieces(value: str) -> Iterator[str]:
    """What the index makes of a stored `value`, as far as it can be searched for."""
    if "\0" in value:
        # An index reads a stored value up to its first NUL, so no piece is sure to be there.
        return
    for part in value.split(TAG_SEPARATOR):
        piece = part.strip(BLANKS)
        if piece and len(piece.encode()) <= _MAX_TAG_BYTES and not any(map(_is_unsearchable, piece)):
            yield piece


def escaped(piece: str) -> str:
    """Literal text in a query."""
    # RediSearch takes a lone underscore for a syntax error, though not one among other characters.
    return "\\_" if piece == "_" else escape_tag(piece)


def _is_unsearchable(character: str) -> bool:
    # In a query these match nothing, escaped or not.
    return (character < " " or character == "\x7f") and character not in BLANKS
