"""Threads of thousands of fields."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from betterdb_agent_memory.caches.session_fields import FIELDS_TOGETHER
from betterdb_agent_memory.caches.session_index import Entry
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import InvalidInputError
from tests.caches.session.support import Open, Session, trips
from tests.waiting import NEVER_SECONDS

MANY = {f"f{number}": str(number) for number in range(5_000)}


async def longest_turn_ms(call: Callable[[], Awaitable[object]]) -> float:
    """What the event loop's thread works at most without letting another task go on; the best of three calls."""
    longest = []
    for _ in range(3):
        turns = [time.thread_time()]
        ticking = asyncio.create_task(_tick(turns))
        await asyncio.sleep(0)
        await call()
        ticking.cancel()
        turns.append(time.thread_time())
        longest.append(max(after - before for before, after in pairwise(turns)))
    return min(longest) * 1000


def all_entries_ms() -> float:
    """What a turn is measured by, so that it does not matter how fast the machine is."""
    start = time.thread_time()
    for _ in MANY:
        Entry.written(b"v", slides=True, until=None)
    return (time.thread_time() - start) * 1000


async def _tick(turns: list[float]) -> None:
    while True:
        await asyncio.sleep(0)
        turns.append(time.thread_time())


@pytest.mark.parametrize("ttl_seconds", [None, 300])
async def test_other_tasks_go_on_while_a_large_thread_is_written_and_read(
    opened: Open, ttl_seconds: int | None
) -> None:
    cache = opened(ttl_seconds).cache
    turns = {
        "set_many": await longest_turn_ms(lambda: cache.set_many("t", MANY)),
        "get_all": await longest_turn_ms(lambda: cache.get_all("t")),
        "touch": await longest_turn_ms(lambda: cache.touch("t")),
    }
    limit = all_entries_ms()
    assert {what: took for what, took in turns.items() if took > limit} == {}


async def test_a_large_thread_costs_one_round_trip_a_page(served: Open, on_server: ValkeyEngine) -> None:
    cache = served(flush_seconds=NEVER_SECONDS).cache
    await cache.set("warm", "f", "v")
    pages = math.ceil(len(MANY) / FIELDS_TOGETHER)
    assert await trips(on_server, cache.set_many("t", MANY), None) == pages
    assert await trips(on_server, cache.get_all("t"), MANY) == 1 + pages


async def test_a_large_thread_is_checked_before_anything_is_written(session: Session) -> None:
    with pytest.raises(InvalidInputError, match="f4999"):
        await session.cache.set_many("t", MANY | {"f4999": 1})  # type: ignore[arg-type]
    assert await session.cache.get_all("t", scan=True) == {}
