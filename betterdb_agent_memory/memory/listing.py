"""A page of a scope's memories, newest first, with an exact total."""

from __future__ import annotations

import asyncio

from betterdb_agent_memory.engines.base import Page, Row
from betterdb_agent_memory.memory.record import CREATED_AT, ITEM_FIELDS
from betterdb_agent_memory.memory.requests import ListRequest
from betterdb_agent_memory.memory.spaces import SearchedRecords

_SCAN_PAGE = 500


async def list_matching(records: SearchedRecords, request: ListRequest) -> Page:
    """The rows of the page and the exact total.

    One round trip, and beside it one that counts when there is a filter. When the index lets strangers
    through (other case, blanks around) or lists expired memories, pages are read from the start until
    this one is complete.
    """
    if not request.filter.clauses:
        page = await _page(records, request, request.offset, request.limit)
        return page if len(page.rows) == page.scanned else Page(await _exact_rows(records, request), page.total, 0)
    page, total = await asyncio.gather(
        _page(records, request, request.offset, request.limit), records.count(request.filter)
    )
    is_clean = page.total == total and len(page.rows) == page.scanned
    if is_clean and len(request.filter.accepted(page.rows)) == len(page.rows):
        return page
    rows = await _exact_rows(records, request)
    return Page(rows, total, len(rows))


async def _exact_rows(records: SearchedRecords, request: ListRequest) -> tuple[Row, ...]:
    wanted = request.offset + request.limit
    exact: dict[str, Row] = {}
    offset = 0
    while len(exact) < wanted:
        page = await _page(records, request, offset, _SCAN_PAGE)
        exact.update((row.id, row) for row in request.filter.accepted(page.rows))
        offset += page.scanned
        if not page.scanned or offset >= page.total:
            break
    return tuple(exact.values())[request.offset : wanted]


async def _page(records: SearchedRecords, request: ListRequest, offset: int, limit: int) -> Page:
    return await records.select(
        request.filter, fields=ITEM_FIELDS, limit=limit, offset=offset, order_by=CREATED_AT, descending=True
    )
