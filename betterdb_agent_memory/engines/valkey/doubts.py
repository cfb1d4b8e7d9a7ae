"""Rows whose numbers a search module has rounded, made exact where it matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from betterdb_agent_memory.engines.base import Neighbour, Row
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.engines.valkey import rounding
from betterdb_agent_memory.engines.valkey.by_key import ByKey
from betterdb_agent_memory.engines.valkey.questions import Questions

_FoundT = TypeVar("_FoundT", Row, Neighbour)


@dataclass(frozen=True, slots=True)
class Answered(Generic[_FoundT]):
    """Rows, what they were searched for by, and the query texts, by one of which each was found."""

    rows: Sequence[_FoundT]
    filter: Filter
    texts: Sequence[str]


async def exact_rows(questions: Questions, by_key: ByKey, rows: Sequence[_FoundT], filter: Filter) -> Sequence[_FoundT]:
    """The rows of a search by `filter` alone, those in doubt with the numbers as stored: a round trip per 500 of
    them, mostly none.
    """
    [exact] = await exact_answers(questions, by_key, [Answered(rows, filter, (questions.prefilter(filter),))])
    return exact


async def exact_answers(
    questions: Questions, by_key: ByKey, answers: Sequence[Answered[_FoundT]]
) -> list[Sequence[_FoundT]]:
    """The same for several searches, which share the round trips: a record that several have found is read once."""
    schema, searchable = questions.collection.schema, questions.index.searchable
    places = [rounding.in_doubt(one.filter, one.rows, schema, searchable, one.texts) for one in answers]
    doubtful = [(one, doubts) for one, doubts in zip(answers, places, strict=True) if doubts]
    if not doubtful:
        return [one.rows for one in answers]
    ids = list(dict.fromkeys(one.rows[index].id for one, doubts in doubtful for index in doubts))
    names = tuple(dict.fromkeys(name for one, _ in doubtful for name in rounding.range_fields(one.filter)))
    stored = dict(zip(ids, await by_key.read(ids, names), strict=True))
    exact = [list(one.rows) for one in answers]
    for rows, doubts in zip(exact, places, strict=True):
        for index in doubts:
            row = rows[index]
            rows[index] = row._replace(fields={**row.fields, **(stored[row.id] or {})})
    return list(exact)
