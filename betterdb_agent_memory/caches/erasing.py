"""Deleting what lies below a prefix, on any engine, and nothing beside it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from betterdb_agent_memory.caches.keys import session_key
from betterdb_agent_memory.caches.session_index import FieldIndex, index_key
from betterdb_agent_memory.engines.values import Reply, Values
from betterdb_agent_memory.errors import EngineError, EngineUnavailableError, OutcomeUnknownError

_INDEXES_TOGETHER = 50
"""Whose fields are in memory at a time."""


async def erase(values: Values, prefix: str, *, only: Collection[str] = ("",)) -> int:
    """Delete every string and map whose key begins with `prefix` and goes on with one of `only`; how many there were.

    One walk over the keys: one round trip per page looked at, and one per page with any to delete. What is
    written meanwhile may stay.
    """
    deleted = 0
    async for page in values.scan_keys(prefix):
        deleted += await _delete(values, _that_begin(page, prefix, only))
    return deleted


async def erase_cache(values: Values, name: str, *, only: Collection[str]) -> None:
    """Delete as `erase` does below `{name}:`, and with every index of a thread the fields that it lists.

    Fields that are written meanwhile may stay, and then their index knows them: of an index, only what was read
    is taken away, and only behind the fields. Two more round trips per 50 threads.
    """
    prefix, indexes = f"{name}:", index_key(name, "")
    async for page in values.scan_keys(prefix):
        await _delete(values, _that_begin(page, prefix, only))
        keys = _that_begin(page, indexes, ("",))
        for start in range(0, len(keys), _INDEXES_TOGETHER):
            threads = [key.removeprefix(indexes) for key in keys[start : start + _INDEXES_TOGETHER]]
            await _erase_threads(values, name, threads)


async def _erase_threads(values: Values, name: str, threads: Sequence[str]) -> None:
    batch = values.batch()
    asked = {thread: batch.read_map(index_key(name, thread)) for thread in threads}
    await batch.send()
    batch = values.batch()
    replies: list[Reply[bool]] = []
    for thread, answer in asked.items():
        try:
            stored = answer.result()
        except (EngineUnavailableError, OutcomeUnknownError):
            raise
        except EngineError:
            # No map, so that it is no index.
            replies.append(batch.delete(index_key(name, thread)))
            continue
        replies += [batch.delete(session_key(name, thread, field)) for field in FieldIndex.decoded(stored).fields]
        replies += [batch.remove_field_if(index_key(name, thread), entry, raw) for entry, raw in stored.items()]
    await batch.send()
    for reply in replies:
        reply.result()


async def _delete(values: Values, keys: Sequence[str]) -> int:
    if not keys:
        return 0
    batch = values.batch()
    replies = [batch.delete(key) for key in keys]
    await batch.send()
    return sum(reply.result() for reply in replies)


def _that_begin(keys: Sequence[str], prefix: str, parts: Collection[str]) -> list[str]:
    wanted = tuple(prefix + part for part in parts)
    return [key for key in keys if key.startswith(wanted)]
