"""Deleting every memory of a scope, and nobody else's."""

from __future__ import annotations

import logging

from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.errors import EngineError
from betterdb_agent_memory.memory.spaces import SearchedRecords

_log = logging.getLogger(__name__)

FORGET_PAGE = 500
_MAX_WALKS = 20


async def forget_matching(records: SearchedRecords, filter: Filter) -> int:
    """Delete the records that `filter` accepts; returns how many there were.

    Two round trips per 500: one finds, one deletes. Strangers that the index lets through, and expired
    memories that the server still lists, are stepped over; then rows may move past a page border while
    others are deleted, so the scope is walked again until a walk finds nothing.

    Raises:
        EngineError: with a note saying how many had been deleted before.
    """
    deleted = 0
    try:
        for _ in range(_MAX_WALKS):
            strangers = removed_in_walk = 0
            while True:
                page = await records.select(filter, fields=filter.field_names, limit=FORGET_PAGE, offset=strangers)
                matching = [row.id for row in page.rows if filter.accepts(row.id, row.fields)]
                if matching:
                    removed = sum(await records.delete_many(matching))
                    deleted += removed
                    removed_in_walk += removed
                is_last = not page.scanned or strangers + page.scanned >= page.total
                strangers += page.scanned - len(matching)
                if is_last:
                    break
            if not strangers or not removed_in_walk:
                return deleted
    except EngineError as error:
        error.add_note(f"{deleted} memories had been forgotten before this")
        raise
    _log.warning("a scope was still being written to after %d passes of forgetting it", _MAX_WALKS)
    return deleted
