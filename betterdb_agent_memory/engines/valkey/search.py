"""Finding records: by vector, by filter, and counting them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from operator import attrgetter
from time import monotonic
from typing import Any

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.engines.base import Collection, Neighbour, Neighbours, Page, Row
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.engines.valkey import query, reply
from betterdb_agent_memory.engines.valkey.client import Command, ValkeyClient
from betterdb_agent_memory.engines.valkey.index import Index
from betterdb_agent_memory.errors import InvalidInputError

MAX_NEIGHBOURS = 4096
"""Largest KNN count that every supported search module takes."""

_PAGE = 1000

_WHOLE_GRAPH_EFFORT = 4
"""At 50,000 x 384 an EF of 100 finds .95 of the true 8 nearest among 64 candidates, one of 400 .99."""


class Search:
    """Questions about one collection's records."""

    def __init__(self, client: ValkeyClient, collection: Collection, index: Index, *, timeout_ms: int, ef: int) -> None:
        self._client = client
        self._collection = collection
        self._index = index
        self._timeout_ms = timeout_ms
        self._ef = ef
        self._prefix = collection.key_prefix.encode()
        self._order_field = query.order_field(collection.schema).name
        self.unreadable_rows = 0

    async def nearest(self, vector: bytes, *, count: int, filter: Filter, fields: Sequence[str]) -> Neighbours:
        """See `Records.nearest`. One round trip, more only where rows had to be dropped."""
        if count > MAX_NEIGHBOURS:
            raise InvalidInputError(f"at most {MAX_NEIGHBOURS} neighbours at once, not {count}")
        if count < 1:
            return Neighbours(exhausted=False)
        asked = count
        while True:
            command = self._nearest_command(vector, asked, filter, fields)
            found = await self._ask(command, (query.DISTANCE_FIELD, *fields), asked)
            neighbours = await off_loop(asked, self._neighbours, found)
            # Fewer rows than asked for: the server has no more. Otherwise some were dropped here.
            exhausted = len(found.rows) < asked
            if len(neighbours) >= count or exhausted or asked == MAX_NEIGHBOURS:
                return Neighbours(neighbours[:count], exhausted=exhausted and len(neighbours) <= count)
            asked = min(MAX_NEIGHBOURS, 2 * asked)

    async def select(
        self,
        filter: Filter,
        *,
        fields: Sequence[str],
        limit: int,
        offset: int = 0,
        order_by: str | None = None,
        descending: bool = False,
    ) -> Page:
        """See `Records.select`. One round trip; with other people's keys below our prefix, one per
        1,000 rows up to the page, since they have to be stepped over.
        """
        if limit < 0 or offset < 0:
            raise InvalidInputError(f"limit and offset are not negative: {limit}, {offset}")
        limit = min(limit, query.LARGEST_LIMIT)
        if not self._index.is_overlapped():
            command = self._select_command(self._prefilter(filter), fields, offset, limit, order_by, descending)
            # A total without a filter is the server's: the list of indexes says whether it counts strangers.
            ask = self._ask if filter.clauses else self._ask_beside_names
            found = await ask(command, self._returned(fields), limit)
            rows = await off_loop(limit, self._own_rows, found, fields)
            if not self._index.is_overlapped():
                return Page(rows, found.total, len(found.rows))
        return await self._select_own(filter, fields, offset, limit, order_by, descending)

    async def count(self, filter: Filter) -> int:
        """How many records `filter` accepts, exactly. One round trip.

        Counted row by row (one round trip per 1,000) where the server cannot tell: other people's
        keys below our prefix, filter fields that are not indexed, values that cannot be searched for
        (empty ones, say), or over 10,000 distinct values.
        """
        text = self._prefilter(filter)
        fields = filter.field_names
        countable = self._index.searchable.issuperset(fields) and query.can_be_grouped(filter)
        if self._index.is_overlapped() or not countable:
            return await self._count_rows(filter)
        if not fields:
            found = await self._ask_beside_names(self._select_command(text, (), 0, 0, None, False), (), 0)
            return await self._count_rows(filter) if self._index.is_overlapped() else found.total
        command = query.count_groups(self._collection.index_name, text, fields, self._timeout_ms)
        answer, elapsed = await self._answer_beside_names(command)
        if self._index.is_overlapped():
            return await self._count_rows(filter)
        groups, complete = reply.parse_groups(answer)
        reply.check_complete(complete, elapsed_seconds=elapsed, timeout_ms=self._timeout_ms)
        if len(groups) >= query.MAX_GROUPS:
            return await self._count_rows(filter)
        return sum(group.count for group in groups if filter.accepts(group.fields))

    async def _count_rows(self, filter: Filter) -> int:
        fields = filter.field_names
        rows = self._walk(filter, fields, self._order_field, False)
        return sum([1 async for row in rows if filter.accepts(row.fields)])

    async def _select_own(
        self, filter: Filter, fields: Sequence[str], offset: int, limit: int, order_by: str | None, descending: bool
    ) -> Page:
        total = await self._count_rows(filter)
        rows: list[Row] = []
        if limit:
            passed = 0
            async for row in self._walk(filter, fields, order_by or self._order_field, descending):
                passed += 1
                if passed > offset:
                    rows.append(row)
                if len(rows) == limit:
                    break
        return Page(tuple(rows), total, len(rows))

    async def _walk(self, filter: Filter, fields: Sequence[str], order_by: str, descending: bool) -> AsyncIterator[Row]:
        offset = 0
        while True:
            found = await self._page(filter, fields, offset, _PAGE, order_by, descending)
            for row in self._own_rows(found, fields):
                yield row
            offset += _PAGE
            if offset >= found.total or not found.rows:
                return

    async def _page(
        self, filter: Filter, fields: Sequence[str], offset: int, limit: int, order_by: str | None, descending: bool
    ) -> reply.Found:
        command = self._select_command(self._prefilter(filter), fields, offset, limit, order_by, descending)
        return await self._ask(command, self._returned(fields), limit)

    async def _ask(self, command: Command, names: Sequence[str], limit: int) -> reply.Found:
        began = monotonic()
        answer = await self._client.ask(*command)
        return await self._read(answer, names, limit, monotonic() - began)

    async def _ask_beside_names(self, command: Command, names: Sequence[str], limit: int) -> reply.Found:
        answer, elapsed = await self._answer_beside_names(command)
        return await self._read(answer, names, limit, elapsed)

    async def _read(self, answer: Any, names: Sequence[str], limit: int, elapsed: float) -> reply.Found:
        found = await off_loop(limit, reply.parse_search, answer, names)
        reply.check_complete(found.complete, elapsed_seconds=elapsed, timeout_ms=self._timeout_ms)
        return found

    async def _answer_beside_names(self, command: Command) -> tuple[Any, float]:
        """The answer and how long it took; the list of indexes comes in the same round trip and says
        whether a neighbour has moved in below our prefix.
        """
        began = monotonic()
        answer, names = await self._client.ask_many([command, ("FT._LIST",)])
        elapsed = monotonic() - began
        self._index.note_names(names)
        if isinstance(answer, Exception):
            raise answer
        return answer, elapsed

    def _prefilter(self, filter: Filter, everything: str | None = None) -> str:
        return query.prefilter(filter, self._collection.schema, self._index.searchable, everything)

    def _effort(self, count: int, text: str) -> int:
        """EF_RUNTIME. A walk over the whole graph has more to miss than a search in a narrow scope."""
        least = self._ef * _WHOLE_GRAPH_EFFORT if text == query.EVERYTHING else self._ef
        return max(2 * count, least)

    def _nearest_command(self, vector: bytes, count: int, filter: Filter, fields: Sequence[str]) -> Command:
        # Through the graph only where it pays: among few records, or many equal vectors, it misses some.
        through_graph = self._index.is_large and not self._index.is_overlapped()
        text = self._prefilter(filter, query.EVERYTHING if through_graph else None)
        return query.nearest(
            self._collection,
            text,
            vector,
            count=count,
            ef=self._effort(count, text) if self._index.takes_ef else None,
            fields=self._returned(fields),
            timeout_ms=self._timeout_ms,
        )

    def _select_command(
        self, text: str, fields: Sequence[str], offset: int, limit: int, order_by: str | None, descending: bool
    ) -> Command:
        return query.select(
            self._collection.index_name,
            text,
            fields=self._returned(fields),
            offset=offset,
            limit=limit,
            order_by=order_by,
            descending=descending,
            timeout_ms=self._timeout_ms,
        )

    def _returned(self, fields: Sequence[str]) -> Sequence[str]:
        schema = self._collection.schema
        if not fields:
            return (self._order_field,)
        # valkey-search gives numbers six significant digits (milliseconds become hours) unless a
        # text field is returned as well.
        numbers = {field.name for field in schema.shared if field.kind == "number"}
        texts = [field.name for field in schema.shared if field.kind == "text"]
        if self._index.exact_numbers or not texts or numbers.isdisjoint(fields) or not set(texts).isdisjoint(fields):
            return fields
        return (*fields, texts[0])

    def _own_rows(self, found: reply.Found, fields: Sequence[str]) -> tuple[Row, ...]:
        # A row without fields has expired since it was indexed.
        rows = [Row(id, kept) for key, kept in found.rows if kept and (id := self._own_id(key)) is not None]
        if set(self._returned(fields)) != set(fields):
            rows = [Row(row.id, {name: row.fields[name] for name in fields if name in row.fields}) for row in rows]
        return tuple(rows)

    def _neighbours(self, found: reply.Found) -> list[Neighbour]:
        neighbours = []
        prefix, length = self._prefix, len(self._prefix)
        for key, fields in found.rows:
            if not fields:
                continue
            try:
                # Written out for the shape of nearly every row; anything odd is looked at below.
                id = key[length:].decode() if key[:length] == prefix else ""
                distance = float(fields.pop(query.DISTANCE_FIELD))
            except (UnicodeDecodeError, KeyError, ValueError):
                id, distance = "", math.nan
            if distance == distance and id and ":" not in id:
                neighbours.append(Neighbour(id, distance, fields))
            elif self._own_id(key) is not None:
                self.unreadable_rows += 1
        neighbours.sort(key=_by_distance)
        return neighbours

    def _own_id(self, key: bytes) -> str | None:
        id = key[len(self._prefix) :]
        if not key.startswith(self._prefix) or not id or b":" in id:
            self._index.note_foreign_key()
            return None
        try:
            return id.decode()
        except UnicodeDecodeError:
            self.unreadable_rows += 1
            return None


_by_distance = attrgetter("distance")
