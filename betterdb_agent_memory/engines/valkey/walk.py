"""All records that a filter accepts, in order, a page at a time, while others write and delete."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from betterdb_agent_memory.engines.base import Position, Row
from betterdb_agent_memory.engines.filters import Between, Fields, Filter, leading_number
from betterdb_agent_memory.engines.valkey import commands, reply
from betterdb_agent_memory.engines.valkey.by_key import ByKey
from betterdb_agent_memory.engines.valkey.questions import Questions
from betterdb_agent_memory.errors import EngineError

_PAGES_IN_A_WINDOW = 2
"""A window a little too wide costs sorting; one too narrow costs a round trip."""

_GROWTH = 16
"""How much wider the next window is after one with hardly a record in it, at most."""


_LARGEST_EXACT = 2**53
"""Up to here every whole number is a number of its own to a server; beyond, there are no fractions."""


@dataclass(slots=True)
class _Window:
    """A range of the order field that is asked about next; `high` None is open, both are included.

    A server looks at every record in the range to find the first page of it, so the range is made for
    about two pages by what the last one held. Any width gives right pages.
    """

    page_size: int
    low: int | None
    high: int | None = None
    width: int = 1
    remaining: int = 0

    def move(self, low: int, *, passed: int, first: int | None, last: int | None, total: int) -> None:
        """Go on at `low`: of `total` records in the range, `passed` in first..last are done with."""
        wanted = _PAGES_IN_A_WINDOW * self.page_size
        self.remaining = (total if self.high is None else self.remaining) - passed
        span = 1 if first is None or last is None else last - first + 1
        if total >= self.page_size or self.high is None:
            self.width = span * _PAGES_IN_A_WINDOW
        else:
            self.width = math.ceil(self.width * min(_GROWTH, wanted / (total or 1)))
        self.low = low
        # Little is left, as far as is known: whatever comes, comes in one.
        is_open = self.remaining <= wanted or low + self.width > _LARGEST_EXACT
        self.high = None if is_open else low + self.width - 1


@dataclass(frozen=True, slots=True)
class _Listed:
    """A key in order; `id` None for one that is no record of ours."""

    number: int
    id: str | None
    fields: Fields


class Walk:
    """Pages through one collection by keyset: what has been passed is never asked about again."""

    def __init__(self, questions: Questions, by_key: ByKey) -> None:
        self._questions = questions
        self._by_key = by_key
        self._order_field = questions.order_field

    async def pages(
        self, filter: Filter, *, fields: Sequence[str], after: Position | None, page_size: int
    ) -> AsyncIterator[tuple[Row, ...]]:
        """See `Records.walk`. One round trip per page; where number fields are asked for, which a search
        may round, one more per 500 records. Where more records than a page share one value of the
        order field, one for all their ids, then one per 500.

        Records are ordered by the whole part of their number.
        """
        if self._order_field not in self._questions.index.searchable:
            raise EngineError(
                f"index {self._questions.collection.index_name!r} has no number field {self._order_field!r} to walk by"
            )
        names = tuple(dict.fromkeys((*fields, *filter.field_names, self._order_field)))
        window = _Window(page_size, None if after is None else after.number)
        limit = page_size
        while True:
            found, listed = await self._listed(filter, names, window.low, window.high, limit)
            if len(found.rows) < limit:
                yield await self._rows(listed, filter, fields, names, after)
                if window.high is None:
                    return
                low, passed = window.high + 1, len(listed)
            elif not listed:
                # Nothing but records that have expired: only behind them it is known where to go on.
                limit = _larger(limit)
                continue
            else:
                # The last group may go on behind the page: it is begun again, or taken whole.
                low = listed[-1].number
                whole = [item for item in listed if item.number < low]
                passed = len(whole)
                if whole:
                    yield await self._rows(whole, filter, fields, names, after)
                else:
                    places = await self._group(low, filter)
                    for start in range(0, len(places), page_size):
                        yield await self._read(_after(places[start : start + page_size], after), filter, fields, names)
                    low, passed = _next_to(low), len(places)
            limit = page_size
            ends = (listed[0].number, listed[-1].number) if listed else (None, None)
            window.move(low, passed=passed, first=ends[0], last=ends[1], total=found.total)

    async def _listed(
        self, filter: Filter, names: Sequence[str], low: int | None, high: int | None, limit: int
    ) -> tuple[reply.Found, list[_Listed]]:
        """The first `limit` keys of a range, in order."""
        range = Between(self._order_field, low, None if high is None else _last_of(high))
        text = self._questions.prefilter(Filter((range, *filter.clauses)))
        asked = (self._order_field,) if self._questions.rounds_numbers_of(names) else names
        command = self._questions.select_command(text, asked, 0, limit, self._order_field, False)
        found = await self._questions.search(command, asked, limit)
        listed = [
            _Listed(math.floor(number), self._questions.own_id(key), fields)
            for key, fields in found.rows
            if (number := leading_number(fields.get(self._order_field))) is not None
        ]
        return found, await self._with_exact_numbers(listed)

    async def _with_exact_numbers(self, listed: list[_Listed]) -> list[_Listed]:
        """Rounded numbers have an exponent or a fraction: such an order is read again, once per 500."""
        rounded = [
            item.id
            for item in listed
            if item.id is not None and not item.fields[self._order_field].lstrip(b"-").isdigit()
        ]
        if not rounded:
            return listed
        numbers = {
            row.id: leading_number(row.fields[self._order_field])
            for row in await self._by_key.rows(rounded, (self._order_field,))
        }
        return [
            item
            if (number := numbers.get(item.id or "")) is None
            else _Listed(math.floor(number), item.id, item.fields)
            for item in listed
        ]

    async def _group(self, number: int, filter: Filter) -> list[Position]:
        """The places of all records that share one number, by id."""
        limit = commands.LARGEST_LIMIT
        found, listed = await self._listed(filter, (self._order_field,), number, number, limit)
        if len(found.rows) >= limit:
            raise EngineError(f"{found.total} records have the {self._order_field} {number}; {limit - 1} is the most")
        return _own_places(listed)

    async def _rows(
        self,
        listed: Sequence[_Listed],
        filter: Filter,
        fields: Sequence[str],
        names: Sequence[str],
        after: Position | None,
    ) -> tuple[Row, ...]:
        places = _after(_own_places(listed), after)
        if self._questions.rounds_numbers_of(names):
            return await self._read(places, filter, fields, names)
        stored = {item.id: item.fields for item in listed if item.id is not None}
        return tuple(
            _row(place.id, stored[place.id], fields) for place in places if filter.accepts(place.id, stored[place.id])
        )

    async def _read(
        self, places: Sequence[Position], filter: Filter, fields: Sequence[str], names: Sequence[str]
    ) -> tuple[Row, ...]:
        """The records at `places` that are still there, with all their digits."""
        read = await self._by_key.read([place.id for place in places], names)
        return tuple(
            _row(place.id, stored, fields)
            for place, stored in zip(places, read, strict=True)
            if stored is not None
            and (number := leading_number(stored.get(self._order_field))) is not None
            and math.floor(number) == place.number
            and filter.accepts(place.id, stored)
        )


def _own_places(listed: Sequence[_Listed]) -> list[Position]:
    return sorted(Position(item.number, item.id) for item in listed if item.id is not None)


def _after(places: list[Position], after: Position | None) -> list[Position]:
    return places if after is None else [place for place in places if place > after]


def _row(id: str, stored: Fields, fields: Sequence[str]) -> Row:
    return Row(id, {name: stored[name] for name in fields if name in stored})


def _last_of(number: int) -> float:
    """The largest number whose whole part is `number`."""
    return math.nextafter(number + 1, -math.inf) if abs(number) < _LARGEST_EXACT else float(number)


def _next_to(number: int) -> int:
    """The whole number behind `number` that a server can hold."""
    return number + 1 if abs(number) < _LARGEST_EXACT else int(math.nextafter(number, math.inf))


def _larger(limit: int) -> int:
    if limit >= commands.LARGEST_LIMIT:
        raise EngineError(f"{limit} expired records in a row are still in the index; try again later")
    return min(2 * limit, commands.LARGEST_LIMIT)
