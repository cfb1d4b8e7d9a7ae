"""Numbers that a search module has rounded, and when that matters: pure functions.

RediSearch returns number fields that are no whole numbers with twelve significant digits. Its index
holds them exactly, so what a range in the query has let through is in the range, whatever the
returned text says. Everything else is in doubt next to a limit, unless other conditions decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from betterdb_agent_memory.engines.base import IndexSchema, Neighbour, Row
from betterdb_agent_memory.engines.filters import AllOf, AnyOf, Between, Clause, Filter, Not, leading_number
from betterdb_agent_memory.engines.valkey import query

_ERROR = 1e-11
"""More than twelve digits can be off, as a part of the number."""

_EXACT_DIGITS = 13
"""A whole number of so many digits has not been rounded: that would have an exponent."""


def in_doubt(
    filter: Filter,
    rows: Sequence[Row | Neighbour],
    schema: IndexSchema,
    searchable: AbstractSet[str],
    texts: Sequence[str],
) -> list[int]:
    """Indexes of those rows whose returned numbers cannot tell whether `filter.accepts` them.

    `texts` are the queries that found the rows, each by one of them.
    """
    ranges = {leaf for leaf in filter.leaves if isinstance(leaf, Between)}
    if not ranges:
        return []
    near = [
        index
        for index, row in enumerate(rows)
        if any(_is_next_to_a_limit(range, row.fields.get(range.field)) for range in ranges)
    ]
    if not near:
        return []
    exact = query.exact_texts(filter, schema, searchable)
    asked = {clause for clause, text in exact.items() if all(text in whole for whole in texts)}
    clauses = tuple(query.conjuncts(filter.clauses))
    return [index for index in near if _is_undecided(clauses, asked, rows[index])]


def _is_undecided(clauses: Iterable[Clause], asked: AbstractSet[Clause], row: Row | Neighbour) -> bool:
    """Whether it takes the stored numbers to say if all of `clauses` hold; those `asked` are known to."""
    undecided = False
    for clause in clauses:
        holds = _holds(clause, row)
        if holds is False:
            return False
        # What the server has let through holds. Only if its own text denies that, it has to be read.
        undecided |= holds is None and not (clause in asked and clause.accepts(row.id, row.fields))
    return undecided


def _holds(clause: Clause, row: Row | Neighbour) -> bool | None:
    """Whether `clause` accepts the row, None where that depends on what rounding took away (Kleene's logic)."""
    match clause:
        case Not(clause=inner):
            holds = _holds(inner, row)
            return None if holds is None else not holds
        case AllOf(clauses=parts):
            return _combined((_holds(part, row) for part in parts), decisive=False)
        case AnyOf(clauses=parts):
            return _combined((_holds(part, row) for part in parts), decisive=True)
        case Between() if _is_next_to_a_limit(clause, row.fields.get(clause.field)):
            return None
        case _:
            return clause.accepts(row.id, row.fields)


def _combined(parts: Iterable[bool | None], *, decisive: bool) -> bool | None:
    """What the parts say together, where one that is `decisive` settles it."""
    found = set(parts)
    if decisive in found:
        return decisive
    return None if None in found else not decisive


def range_fields(filter: Filter) -> tuple[str, ...]:
    """The fields that `filter` wants in a range."""
    return tuple(dict.fromkeys(leaf.field for leaf in filter.leaves if isinstance(leaf, Between)))


def _is_next_to_a_limit(range: Between, text: bytes | None) -> bool:
    number = leading_number(text)
    if text is None or not number or (text.lstrip(b"-").isdigit() and len(text) >= _EXACT_DIGITS):
        return False
    low, high = sorted((number * (1 - _ERROR), number * (1 + _ERROR)))
    return any(limit is not None and low <= limit <= high for limit in (range.low, range.high))
