"""Deleting what lies below a prefix, on any engine, and nothing beside it."""

from __future__ import annotations

from collections.abc import Collection

from betterdb_agent_memory.engines.values import Values


async def erase(values: Values, prefix: str, *, only: Collection[str] = ("",)) -> int:
    """Delete every string and map whose key begins with `prefix` and goes on with one of `only`; how many there were.

    One walk over the keys: one round trip per page looked at, and one per page with any to delete. What is
    written meanwhile may stay.
    """
    wanted = tuple(prefix + part for part in only)
    deleted = 0
    async for page in values.scan_keys(prefix):
        keys = [key for key in page if key.startswith(wanted)]
        if keys:
            batch = values.batch()
            replies = [batch.delete(key) for key in keys]
            await batch.send()
            deleted += sum(reply.result() for reply in replies)
    return deleted
