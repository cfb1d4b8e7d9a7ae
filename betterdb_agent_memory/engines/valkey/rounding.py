"""Numbers that a search module has rounded, and when that matters: pure functions.

RediSearch returns number fields that are no whole numbers with twelve significant digits. Its index holds them
exactly. So next to a limit the returned text does not tell whether a record is in a range, but often the fact that it
was found does: whatever the stored number is, the query must have let it through.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import product

from betterdb_agent_memory.engines.base import IndexSchema, Neighbour, Row
from betterdb_agent_memory.engines.filters import (
    TAG_SEPARATOR,
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
    leading_number,
    leaves,
)
from betterdb_agent_memory.engines.valkey import query

_ERROR = 1e-11
"""More than twelve digits can be off, as a part of the number."""

_EXACT_DIGITS = 13
"""A whole number of so many digits has not been rounded: that would have an exponent."""

_MOST_RANGES = 6
"""Ranges of one condition that are thought through in all combinations."""


def in_doubt(
    filter: Filter,
    rows: Sequence[Row | Neighbour],
    schema: IndexSchema,
    searchable: AbstractSet[str],
    texts: Sequence[str],
) -> list[int]:
    """Indexes of those rows whose returned fields cannot tell whether `filter.accepts` them.

    `texts` are the queries that found the rows, each by one of them.
    """
    if not any(isinstance(leaf, Between) for leaf in filter.leaves):
        return []
    wording = query.Wording(schema, searchable)
    asked = {
        # What there was no room for was not asked.
        clause: wording if all(wording.whole_text(clause) in text for text in texts) else None
        for clause in query.conjuncts(filter.clauses)
    }
    by_id = any(isinstance(leaf, IdIn) for leaf in filter.leaves)
    limits = _limits(filter)
    # Many rows have the same few values.
    verdicts: dict[tuple[str | bytes | None, ...], bool] = {}
    doubtful = []
    for index, row in enumerate(rows):
        if not any(_is_next_to_any(beside, row.fields.get(field)) for field, beside in limits.items()):
            continue  # as nearly always: what was returned tells
        values = (row.id if by_id else None, *map(row.fields.get, filter.field_names))
        undecided = verdicts.get(values)
        if undecided is None:
            undecided = verdicts[values] = _is_undecided(asked, row)
        if undecided:
            doubtful.append(index)
    return doubtful


def range_fields(filter: Filter) -> tuple[str, ...]:
    """The fields that `filter` wants in a range."""
    return tuple(dict.fromkeys(leaf.field for leaf in filter.leaves if isinstance(leaf, Between)))


def _limits(filter: Filter) -> dict[str, list[float]]:
    """The ends of all the ranges of each field, in order."""
    limits: dict[str, set[float]] = {}
    for leaf in filter.leaves:
        if isinstance(leaf, Between):
            limits.setdefault(leaf.field, set()).update(end for end in (leaf.low, leaf.high) if end is not None)
    return {field: sorted(ends) for field, ends in limits.items()}


def _is_next_to_a_limit(range: Between, text: bytes | None) -> bool:
    return _is_next_to_any(sorted(end for end in (range.low, range.high) if end is not None), text)


def _is_next_to_any(limits: Sequence[float], text: bytes | None) -> bool:
    """Whether the number that was returned as `text` may be on the other side of one of `limits` in truth."""
    if text is None or (len(text) >= _EXACT_DIGITS and text.lstrip(b"-").isdigit()):
        return False
    number = leading_number(text)
    if not number:
        return False
    low, high = sorted((number * (1 - _ERROR), number * (1 + _ERROR)))
    place = bisect_left(limits, low)
    return place < len(limits) and limits[place] <= high


def _is_undecided(asked: Mapping[Clause, query.Wording | None], row: Row | Neighbour) -> bool:
    """Whether it takes the stored numbers to say if all the clauses, asked in these words, accept a row found."""
    undecided = False
    for clause, wording in asked.items():
        says = clause.accepts(row.id, row.fields)
        unsure = [
            leaf
            for leaf in leaves(clause)
            if isinstance(leaf, Between) and _is_next_to_a_limit(leaf, row.fields.get(leaf.field))
        ]
        possible = _possible(clause, list(dict.fromkeys(unsure)), wording, row) if unsure else {says}
        if possible == {False} and not says:
            return False
        undecided |= possible != {says}
    return undecided


def _possible(clause: Clause, unsure: Sequence[Leaf], wording: query.Wording | None, row: Row | Neighbour) -> set[bool]:
    """What `clause` may say of the stored row: of all that the `unsure` ranges may, where the row is found so."""
    if wording is not None and wording.exact_text(clause) is not None:
        return {True}
    if len(unsure) > _MOST_RANGES:
        return {True, False}
    return {
        _holds(clause, known, row)
        for values in product((True, False), repeat=len(unsure))
        if _may_be_found(clause, known := dict(zip(unsure, values, strict=True)), wording, row)
    }


def _holds(clause: Clause, known: Mapping[Leaf, bool], row: Row | Neighbour) -> bool:
    """What `clause` says where the answers of some ranges are `known`."""
    match clause:
        case Not(clause=inner):
            return not _holds(inner, known, row)
        case AllOf(clauses=parts):
            return all(_holds(part, known, row) for part in parts)
        case AnyOf(clauses=parts):
            return any(_holds(part, known, row) for part in parts)
        case _:
            return known.get(clause, clause.accepts(row.id, row.fields))


def _may_be_found(
    clause: Clause,
    known: Mapping[Leaf, bool],
    wording: query.Wording | None,
    row: Row | Neighbour,
    *,
    negated: bool = False,
) -> bool:
    """Whether the text of `clause`, which says no more than it means, lets the row through."""
    match clause:
        case Not(clause=inner):
            return _may_be_found(inner, known, wording, row, negated=not negated)
        case AllOf(clauses=parts) | AnyOf(clauses=parts):
            found = (_may_be_found(part, known, wording, row, negated=negated) for part in parts)
            return all(found) if isinstance(clause, AllOf) != negated else any(found)
        case _ if wording is None or not wording.has_text(clause, negated=negated):
            return True
        case Equals(field=field, value=value) | HasTag(field=field, value=value):
            return _may_have_tag(value, row.fields.get(field))
        case TagsAre(field=field):
            return all(_may_have_tag(tag, row.fields.get(field)) for tag in clause.tags)
        case _:
            return _holds(clause, known, row) != negated


def _may_have_tag(value: str, stored: bytes | None) -> bool:
    """Whether a search for `value` may find what is stored. How servers fold other letters than ASCII is unknown."""
    wanted = {piece.lower() for piece in query.tag_pieces(value)}
    if not wanted:
        return True
    if stored is None or not (stored.isascii() and value.isascii()):
        return stored is not None
    return wanted <= set(_folded_pieces(stored.decode()))


def _folded_pieces(stored: str) -> Iterator[str]:
    return (piece.strip(query.BLANKS).lower() for piece in stored.split(TAG_SEPARATOR))
