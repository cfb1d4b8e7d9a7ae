"""Deleting every memory of a scope, and nobody else's."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence

from betterdb_agent_memory.engines.base import Page, Row
from betterdb_agent_memory.engines.filters import Between, Filter, Not, leading_number
from betterdb_agent_memory.errors import EngineError
from betterdb_agent_memory.memory.dynamics_fields import SUPERSEDES
from betterdb_agent_memory.memory.record import CREATED_AT
from betterdb_agent_memory.memory.spaces import SearchedRecords

_log = logging.getLogger(__name__)

FORGET_PAGE = 500

_PATIENCE = 20
"""How many times as many memories as there were at the start are looked at, at most."""

_HASTE = 2
"""How many times as many are deleted while they are found. Behind that others keep writing ahead of us, with dates
of the past, so the rest is found first, which is faster."""


Announced = Callable[[Sequence[Row]], Awaitable[None]]
"""Is told of memories before they are deleted, with what they have superseded."""


async def forget_matching(records: SearchedRecords, filter: Filter, announce: Announced) -> int:
    """Delete the records that `filter` accepts; how many there were. Each is announced before.

    Two round trips per 500: one finds, one deletes; one more where there are turns among them. One or two more where
    there are more than that, among strangers or remains without a date. What is there when it begins and stays in the
    scope is deleted, and it ends however fast others write: behind the newest 500 all are walked by date, up to
    these.

    Raises:
        EngineError: with a note saying how many had been deleted before.
    """
    forgetting = _Forgetting(records, filter, announce)
    try:
        await forgetting.run()
    except EngineError as error:
        error.add_note(f"{forgetting.deleted} memories had been forgotten before this")
        raise
    return forgetting.deleted


class _Forgetting:
    """One call: what it deletes, and how many it has looked at."""

    def __init__(self, records: SearchedRecords, filter: Filter, announce: Announced) -> None:
        self._announce = announce
        self._records = records
        self._filter = filter
        self._fields = tuple(dict.fromkeys((*filter.field_names, CREATED_AT, SUPERSEDES)))
        self.deleted = 0

    async def run(self) -> None:
        newest = await self._records.select(
            self._filter, fields=self._fields, limit=FORGET_PAGE, order_by=CREATED_AT, descending=True
        )
        if newest.scanned >= newest.total:
            await self._delete(newest.rows)
            return
        last = await self._oldest(newest)
        seen = await self._delete(newest.rows)
        seen += await self._walk(last, newest.total)
        if seen != newest.total:
            await self._sweep_undated(most=_PATIENCE * newest.total)

    async def _oldest(self, page: Page) -> float | None:
        """The least number that a memory of the page is dated with: the others that are there have none above."""
        dated = [row for row in page.rows if CREATED_AT in row.fields]
        if not dated:
            return None
        number = dated[-1].fields[CREATED_AT]
        if not number.isdigit():
            # A search may have rounded it.
            [stored] = await self._records.read_many([dated[-1].id], (CREATED_AT,))
            number = b"" if stored is None else stored.get(CREATED_AT, b"")
        return leading_number(number)

    async def _walk(self, last: float | None, total: int) -> int:
        """All that are dated until `last`; how many there were.

        What comes meanwhile is dated later, or is passed by.
        """
        until = self._filter if last is None else Filter((Between(CREATED_AT, None, last), *self._filter.clauses))
        seen = 0
        rest: list[Row] = []
        async for rows in self._records.walk(until, fields=self._fields, page_size=FORGET_PAGE):
            seen += len(rows)
            if seen <= _HASTE * total:
                await self._delete(rows)
            else:
                rest += rows
            if seen > _PATIENCE * total:
                self._warn()
                break
        for start in range(0, len(rest), FORGET_PAGE):
            await self._delete(rest[start : start + FORGET_PAGE])
        return seen

    async def _sweep_undated(self, *, most: int) -> None:
        """Remains of memories, which have no date and come in no walk."""
        undated = Filter((Not(Between(CREATED_AT)), *self._filter.clauses))
        strangers = 0
        for _ in range(math.ceil(most / FORGET_PAGE)):
            page = await self._records.select(undated, fields=self._fields, limit=FORGET_PAGE, offset=strangers)
            deleted = await self._delete(page.rows)
            if not page.scanned or strangers + page.scanned >= page.total:
                return
            strangers += page.scanned - deleted
        self._warn()

    async def _delete(self, rows: Sequence[Row]) -> int:
        matching = self._filter.accepted(rows)
        if matching:
            await self._announce(matching)
            self.deleted += sum(await self._records.delete_many([row.id for row in matching]))
        return len(matching)

    def _warn(self) -> None:
        _log.warning("a scope was still being written to when it had been forgotten %d times over", _PATIENCE)
