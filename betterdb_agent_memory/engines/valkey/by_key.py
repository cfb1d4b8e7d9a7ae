"""Records whose ids the question names: read by their keys, no search needed."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.engines.base import Neighbour, Neighbours, Page, Position, Row
from betterdb_agent_memory.engines.filters import Fields, Filter, leading_number
from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.client import PIPELINE_COMMANDS
from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.limits import is_own
from betterdb_agent_memory.errors import EngineError


class ByKey:
    """Reads records below one key prefix. Every verb is one round trip per 500 ids."""

    def __init__(self, client: CommandClient, key_prefix: str, *, order_field: str, vector_field: str) -> None:
        self._client = client
        self._key_prefix = key_prefix
        self._order_field = order_field
        self._vector_field = vector_field

    async def read(self, ids: Sequence[str], fields: Sequence[str] | None) -> list[Fields | None]:
        """The asked-for fields of each id, in order, `fields` None for all; None where there is no record,
        also where somebody else keeps something else than a hash.
        """
        own = [index for index, id in enumerate(ids) if is_own(id)] if fields is None or fields else []
        if fields is None:
            answers = await self._client.ask_many([("HGETALL", self._key_prefix + ids[index]) for index in own])
        else:
            answers = await self._client.ask_many([("HMGET", self._key_prefix + ids[index], *fields) for index in own])
        found = await off_loop(len(own), _parsed, answers, fields)
        if len(own) == len(ids):
            return found
        read: list[Fields | None] = [None] * len(ids)
        for index, row in zip(own, found, strict=True):
            read[index] = row
        return read

    async def nearest(
        self, ids: Collection[str], vector: bytes, *, count: int, filter: Filter, fields: Sequence[str]
    ) -> Neighbours:
        """Those of `ids` that `filter` accepts, nearest to `vector` first, compared one by one."""
        needed = tuple(dict.fromkeys((*fields, *filter.field_names, self._vector_field)))
        neighbours: list[Neighbour] = []
        async for rows in self._accepted(ids, filter, needed):
            with_vector = [row for row in rows if len(row.fields.get(self._vector_field, b"")) == len(vector)]
            joined = b"".join(row.fields[self._vector_field] for row in with_vector)
            distances = await off_loop(len(with_vector), _distances, vector, joined, len(with_vector))
            neighbours += [
                Neighbour(row.id, distance, _only(row.fields, fields))
                for row, distance in zip(with_vector, distances.tolist(), strict=True)
            ]
        await off_loop(len(neighbours), _sort_nearest, neighbours)
        return Neighbours(neighbours[:count], exhausted=len(neighbours) <= count)

    async def select(
        self,
        ids: Collection[str],
        filter: Filter,
        *,
        fields: Sequence[str],
        limit: int,
        offset: int,
        order_by: str | None,
        descending: bool,
    ) -> Page:
        """Those of `ids` that `filter` accepts, in order; equal ones by id. The total is exact."""
        order = order_by or self._order_field
        needed = tuple(dict.fromkeys((*fields, *filter.field_names, order, self._order_field)))
        found = [row async for rows in self._whole(ids, filter, needed) for row in rows]
        await off_loop(len(found), _sort_by_number, found, order, descending)
        rows = await off_loop(min(limit, len(found)), _with_only, found[offset : offset + limit], fields)
        return Page(rows, len(found), len(rows))

    async def count(self, ids: Collection[str], filter: Filter) -> int:
        """How many of `ids` are records that `filter` accepts."""
        needed = tuple(dict.fromkeys((*filter.field_names, self._order_field)))
        return sum([len(rows) async for rows in self._whole(ids, filter, needed)])

    async def walk(
        self, ids: Collection[str], filter: Filter, *, fields: Sequence[str], after: Position | None, page_size: int
    ) -> AsyncIterator[tuple[Row, ...]]:
        """Those of `ids` that `filter` accepts, by the order field and then by id. Two passes."""
        needed = tuple(dict.fromkeys((*filter.field_names, self._order_field)))
        places = [
            place
            async for rows in self._whole(ids, filter, needed)
            for row in rows
            if (place := self._place(row)) is not None and (after is None or place > after)
        ]
        await off_loop(len(places), places.sort)
        needed = tuple(dict.fromkeys((*fields, *needed)))
        for start in range(0, len(places), page_size):
            page = places[start : start + page_size]
            rows = await self.rows([place.id for place in page], needed)
            yield await off_loop(len(rows), self._still_there, rows, page, filter, fields)

    async def rows(self, ids: Sequence[str], fields: Sequence[str]) -> list[Row]:
        """Those of `ids` that have one of `fields`, in order."""
        read = await self.read(ids, fields)
        return [Row(id, found) for id, found in zip(ids, read, strict=True) if found is not None]

    async def _accepted(self, ids: Collection[str], filter: Filter, needed: Sequence[str]) -> AsyncIterator[list[Row]]:
        listed = list(ids)
        for start in range(0, len(listed), PIPELINE_COMMANDS):
            rows = await self.rows(listed[start : start + PIPELINE_COMMANDS], needed)
            yield await off_loop(len(rows), filter.accepted, rows)

    async def _whole(self, ids: Collection[str], filter: Filter, needed: Sequence[str]) -> AsyncIterator[list[Row]]:
        """The same without fragments: every record has an order, as a search would ask for it."""
        async for rows in self._accepted(ids, filter, needed):
            yield [row for row in rows if leading_number(row.fields.get(self._order_field)) is not None]

    def _still_there(
        self, rows: Sequence[Row], page: Sequence[Position], filter: Filter, fields: Sequence[str]
    ) -> tuple[Row, ...]:
        """Those of `rows` that are where `page` has them and still accepted, with `fields`."""
        places = frozenset(page)
        return tuple(
            Row(row.id, _only(row.fields, fields)) for row in filter.accepted(rows) if self._place(row) in places
        )

    def _place(self, row: Row) -> Position | None:
        return place_of(row, self._order_field)


def place_of(row: Row, order_field: str) -> Position | None:
    """Where a record comes in the order of a walk; None without an order."""
    number = leading_number(row.fields.get(order_field))
    return None if number is None else Position(math.floor(number), row.id)


def _parsed(answers: Sequence[Any], fields: Sequence[str] | None) -> list[Fields | None]:
    """What is stored, by the replies to HGETALL (`fields` None) or HMGET."""
    return [None if _is_no_hash(answer) else _parsed_one(answer, fields) for answer in answers]


def _parsed_one(answer: Any, fields: Sequence[str] | None) -> Fields | None:
    if isinstance(answer, Exception):
        raise answer
    return reply.parse_fields(answer, fields) if fields is not None else reply.parse_map(answer) or None


def _is_no_hash(answer: Any) -> bool:
    """Whether a key below our prefix holds something else: somebody else's, so no record."""
    return isinstance(answer, EngineError) and "WRONGTYPE" in str(answer)


def _with_only(rows: Sequence[Row], fields: Sequence[str]) -> tuple[Row, ...]:
    return tuple(Row(row.id, _only(row.fields, fields)) for row in rows)


def _sort_nearest(neighbours: list[Neighbour]) -> None:
    neighbours.sort(key=lambda neighbour: (neighbour.distance, neighbour.id))


def _sort_by_number(rows: list[Row], field: str, descending: bool) -> None:
    sign = -1 if descending else 1
    rows.sort(key=lambda row: (sign * _number(row, field, missing=sign * math.inf), row.id))


def _number(row: Row, field: str, *, missing: float) -> float:
    number = leading_number(row.fields.get(field))
    return missing if number is None else number


def _only(fields: Fields, names: Sequence[str]) -> Fields:
    return {name: fields[name] for name in names if name in fields}


def _distances(vector: bytes, joined: bytes, count: int) -> NDArray[np.float64]:
    """Cosine distances, 0 to 2; 1 where a vector has no direction."""
    query = np.frombuffer(vector, dtype="<f4").astype(np.float64)
    others = np.frombuffer(joined, dtype="<f4").astype(np.float64).reshape(count, len(query))
    with np.errstate(all="ignore"):
        cosines = others @ query / (np.linalg.norm(others, axis=1) * np.linalg.norm(query))
    return np.clip(1.0 - np.where(np.isfinite(cosines), cosines, 0.0), 0.0, 2.0)
