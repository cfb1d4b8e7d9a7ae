"""Numbers that a search module has rounded, and when that matters: pure functions.

RediSearch returns number fields that are no whole numbers with twelve significant digits. Its index
holds them exactly, so what a range in the query has let through is in the range, whatever the
returned text says; everything else is in doubt next to a limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from betterdb_agent_memory.engines.base import IndexSchema, Neighbour, Row
from betterdb_agent_memory.engines.filters import Between, Filter, Not, leading_number
from betterdb_agent_memory.engines.valkey import query

_ERROR = 1e-11
"""More than twelve digits can be off, as a part of the number."""

_EXACT_DIGITS = 13
"""A whole number of so many digits has not been rounded: that would have an exponent."""


def in_doubt(
    filter: Filter, rows: Sequence[Row | Neighbour], schema: IndexSchema, searchable: AbstractSet[str]
) -> list[int]:
    """Indexes of those rows whose returned numbers cannot tell whether `filter.accepts` them."""
    ranges = {leaf for leaf in filter.leaves if isinstance(leaf, Between)}
    if not ranges:
        return []
    asked = query.exact_texts(filter, schema, searchable)
    is_asked = ranges == {clause.clause if isinstance(clause, Not) else clause for clause in asked}
    return [
        index
        for index, row in enumerate(rows)
        if any(_is_next_to_a_limit(range, row.fields.get(range.field)) for range in ranges)
        and not (is_asked and filter.accepts(row.id, row.fields))
    ]


def range_fields(filter: Filter) -> tuple[str, ...]:
    """The fields that `filter` wants in a range."""
    return tuple(dict.fromkeys(leaf.field for leaf in filter.leaves if isinstance(leaf, Between)))


def _is_next_to_a_limit(range: Between, text: bytes | None) -> bool:
    number = leading_number(text)
    if text is None or not number or (text.lstrip(b"-").isdigit() and len(text) >= _EXACT_DIGITS):
        return False
    low, high = sorted((number * (1 - _ERROR), number * (1 + _ERROR)))
    return any(limit is not None and low <= limit <= high for limit in (range.low, range.high))
