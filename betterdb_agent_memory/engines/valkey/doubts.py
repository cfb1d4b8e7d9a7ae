"""Rows whose numbers a search module has rounded, made exact where it matters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from betterdb_agent_memory.engines.base import Neighbour, Row
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.engines.valkey import rounding
from betterdb_agent_memory.engines.valkey.by_key import ByKey
from betterdb_agent_memory.engines.valkey.questions import Questions

_Found = TypeVar("_Found", Row, Neighbour)


async def exact_rows(questions: Questions, by_key: ByKey, rows: Sequence[_Found], filter: Filter) -> Sequence[_Found]:
    """The rows, those in doubt with the numbers as stored: a round trip per 500 of them, mostly none."""
    doubtful = rounding.in_doubt(filter, rows, questions.collection.schema, questions.index.searchable)
    if not doubtful:
        return rows
    stored = await by_key.read([rows[index].id for index in doubtful], rounding.range_fields(filter))
    exact = list(rows)
    for index, fields in zip(doubtful, stored, strict=True):
        exact[index] = rows[index]._replace(fields={**rows[index].fields, **(fields or {})})
    return exact
