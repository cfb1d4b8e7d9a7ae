"""Deleting entries, and what lies below a prefix, on any engine, and nothing beside it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Final

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.caches.keys import session_key
from betterdb_agent_memory.caches.session_index import FieldIndex, index_key
from betterdb_agent_memory.engines.values import Reply, ValueBatch, Values
from betterdb_agent_memory.errors import EngineError, EngineUnavailableError, OutcomeUnknownError

_INDEXES_TOGETHER = 10
"""Whose fields are in memory at a time."""

_HASH: Final = re.compile(r"[0-9a-f]{64}")


async def hashed_keys(values: Values, prefix: str) -> AsyncIterator[list[str]]:
    """Pages, none of them empty, of the keys that are `prefix` and a hash. One round trip per page looked at.

    What goes on otherwise is another cache's, whose name begins with this one's and `:llm` or `:tool`.
    """
    async for page in values.scan_keys(prefix):
        keys = [key for key in page if _HASH.fullmatch(key.removeprefix(prefix))]
        if keys:
            yield keys


async def delete_entries(values: Values, entries: Mapping[str, bytes | None]) -> int:
    """Delete these keys, those with bytes only if they still hold just these; how many were deleted.

    One round trip per 500, none for nothing.
    """
    if not entries:
        return 0
    batch = values.batch()
    replies = [batch.delete(key, only_if=seen) for key, seen in entries.items()]
    await batch.send()
    return sum(reply.result() for reply in replies)


async def erase(values: Values, prefix: str, *, only: Collection[str] = ("",)) -> int:
    """Delete every string and map whose key begins with `prefix` and goes on with one of `only`; how many there were.

    One walk over the keys: one round trip per page looked at, and one per page with any to delete. What is
    written meanwhile may stay.
    """
    deleted = 0
    async for page in values.scan_keys(prefix):
        deleted += await delete_entries(values, dict.fromkeys(_that_begin(page, prefix, only)))
    return deleted


async def erase_cache(values: Values, name: str, *, only: Collection[str]) -> None:
    """Delete as `erase` does below `{name}:`, and with every index of a thread the fields that it lists.

    Fields that are written meanwhile may stay, and then their index knows them: of an index goes only what was
    read, and none of that stays behind. Two more round trips per 10 threads, or 500 commands.
    """
    prefix, indexes = f"{name}:", index_key(name, "")
    async for page in values.scan_keys(prefix):
        await delete_entries(values, dict.fromkeys(_that_begin(page, prefix, only)))
        keys = _that_begin(page, indexes, ("",))
        for start in range(0, len(keys), _INDEXES_TOGETHER):
            threads = [key.removeprefix(indexes) for key in keys[start : start + _INDEXES_TOGETHER]]
            await _erase_threads(values, name, threads)


async def _erase_threads(values: Values, name: str, threads: Sequence[str]) -> None:
    batch = values.batch()
    asked = {thread: batch.read_map(index_key(name, thread)) for thread in threads}
    await batch.send()
    indexes = {thread: _listed(answer) for thread, answer in asked.items()}
    rows = sum(len(stored or ()) for stored in indexes.values())
    batch = values.batch()
    replies = await off_loop(rows, _forget, batch, name, indexes)
    await batch.send()
    for reply in replies:
        reply.result()


def _listed(answer: Reply[dict[str, bytes]]) -> Mapping[str, bytes] | None:
    """The index of a thread; None where the key holds no map, so that it is none."""
    try:
        return answer.result()
    except (EngineUnavailableError, OutcomeUnknownError):
        raise
    except EngineError:
        return None


def _forget(batch: ValueBatch, name: str, indexes: Mapping[str, Mapping[str, bytes] | None]) -> list[Reply[object]]:
    replies: list[Reply[object]] = []
    for thread, stored in indexes.items():
        index = index_key(name, thread)
        if stored is None:
            replies.append(batch.delete(index))
        elif stored:
            keys = [session_key(name, thread, field) for field in FieldIndex.decoded(stored).fields]
            replies += map(batch.delete, keys)
            replies.append(batch.remove_fields(index, tuple(stored)))
            # Once more: what was written between these two is no longer listed.
            replies += map(batch.delete, keys)
    return replies


def _that_begin(keys: Sequence[str], prefix: str, parts: Collection[str]) -> list[str]:
    wanted = tuple(prefix + part for part in parts)
    return [key for key in keys if key.startswith(wanted)]
