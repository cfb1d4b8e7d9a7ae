"""Finding records by filter, and counting them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.engines.base import Page, Row
from betterdb_agent_memory.engines.filters import Absent, Equals, Filter, HasTag, TagsAre
from betterdb_agent_memory.engines.valkey import commands, query, reply
from betterdb_agent_memory.engines.valkey.by_key import ByKey
from betterdb_agent_memory.engines.valkey.doubts import exact_rows
from betterdb_agent_memory.engines.valkey.questions import Questions
from betterdb_agent_memory.engines.valkey.walk import Walk

_PAGE = 1000


class Selection:
    """Pages and counts of one collection's records, as the search module tells them."""

    def __init__(self, questions: Questions, by_key: ByKey, walk: Walk) -> None:
        self._questions = questions
        self._index = questions.index
        self._collection = questions.collection
        self._by_key = by_key
        self._walk = walk

    async def select(
        self,
        filter: Filter,
        *,
        fields: Sequence[str],
        limit: int,
        offset: int,
        order_by: str | None,
        descending: bool,
    ) -> Page:
        """See `Records.select`. One round trip; with other people's keys below our prefix, one per
        1,000 rows up to the page, since they have to be stepped over.
        """
        limit = min(limit, commands.LARGEST_LIMIT)
        if not self._index.is_overlapped():
            text = self._questions.prefilter(filter)
            command = self._questions.select_command(text, fields, offset, limit, order_by, descending)
            # A total without a filter is the server's: the list of indexes says whether it counts strangers.
            ask = self._questions.search if filter.clauses else self._questions.search_beside_names
            found = await ask(command, self._questions.returned(fields), limit)
            rows = await off_loop(limit, self._questions.own_rows, found, fields)
            if not self._index.is_overlapped():
                return Page(
                    tuple(await exact_rows(self._questions, self._by_key, rows, filter)), found.total, len(found.rows)
                )
        return await self._select_own(filter, fields, offset, limit, order_by, descending)

    async def count(self, filter: Filter) -> int:
        """How many records `filter` accepts, exactly. One round trip; without a tag two or three where
        there are fewer than 1,000.

        Counted row by row where the server cannot tell (one round trip per 1,000, see `Walk`): other
        people's keys below our prefix, fields that are not indexed, OR and NOT over tags, values that
        cannot be searched for (empty ones, say), or over 10,000 distinct values.
        """
        wording = None if self._index.is_overlapped() else self._countable(filter)
        if wording is None:
            return await self._count_rows(filter)
        text, tags = wording
        if not tags.clauses:
            command = self._questions.count_command(text)
            found = await self._questions.search_beside_names(command, (), 0)
            # Few are looked at one by one: the server may count some that have expired.
            is_counted_by_row = self._index.is_overlapped() or (filter.clauses and 0 < found.total < _PAGE)
            return await self._count_rows(filter) if is_counted_by_row else found.total
        timeout_ms = self._questions.timeout_ms
        command = commands.count_groups(self._collection.index_name, text, tags.field_names, timeout_ms)
        answer, elapsed = await self._questions.answer_beside_names(command)
        if self._index.is_overlapped():
            return await self._count_rows(filter)
        groups, complete = reply.parse_groups(answer)
        reply.check_complete(complete, elapsed_seconds=elapsed, timeout_ms=timeout_ms)
        if len(groups) >= commands.MAX_GROUPS:
            return await self._count_rows(filter)
        return sum(group.count for group in groups if tags.accepts("", group.fields))

    def _countable(self, filter: Filter) -> tuple[str, Filter] | None:
        """The query text whose groups the server can count, and the filter that tells which are meant.

        Ranges that the query expresses exactly are left to it. The rest must be tags, each with a piece
        to search for: RediSearch groups by a hash that leading NULs do not change, so `alice` and NUL +
        `alice` fall into one group, but a search for a piece of `alice` never finds the other.
        """
        schema, searchable = self._collection.schema, self._index.searchable
        ranges = query.exact_texts(filter, schema, searchable)
        tags = tuple(clause for clause in query.conjuncts(filter.clauses) if clause not in ranges)
        text = query.prefilter(Filter((*ranges, *tags)), schema, searchable)
        if not all(part in text for part in ranges.values()):
            return None
        for clause in tags:
            if not isinstance(clause, Equals | HasTag | TagsAre | Absent) or clause.field not in searchable:
                return None
            if isinstance(clause, Absent) or (isinstance(clause, TagsAre) and not clause.tags):
                continue  # its groups are those without a value
            if not any(piece in text for piece in query.tag_texts(clause)):
                return None
        return text, Filter(tags)

    async def _count_rows(self, filter: Filter) -> int:
        return sum([len(rows) async for rows in self._walk.pages(filter, fields=(), after=None, page_size=_PAGE)])

    async def _select_own(
        self, filter: Filter, fields: Sequence[str], offset: int, limit: int, order_by: str | None, descending: bool
    ) -> Page:
        total = await self._count_rows(filter)
        rows: list[Row] = []
        if limit:
            passed = 0
            async for row in self._step(filter, fields, order_by or self._questions.order_field, descending):
                passed += 1
                if passed > offset:
                    rows.append(row)
                if len(rows) == limit:
                    break
        return Page(tuple(rows), total, len(rows))

    async def _step(self, filter: Filter, fields: Sequence[str], order_by: str, descending: bool) -> AsyncIterator[Row]:
        """Every row of ours that `filter` accepts, in order."""
        names = tuple(dict.fromkeys((*fields, *filter.field_names)))
        text = self._questions.prefilter(filter)
        offset = 0
        while True:
            command = self._questions.select_command(text, names, offset, _PAGE, order_by, descending)
            found = await self._questions.search(command, self._questions.returned(names), _PAGE)
            rows = self._questions.own_rows(found, names)
            for row in await exact_rows(self._questions, self._by_key, rows, filter):
                if filter.accepts(row.id, row.fields):
                    yield row
            offset += _PAGE
            if offset >= found.total or not found.rows:
                return
