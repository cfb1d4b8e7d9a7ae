"""Threads of thousands of fields."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

import pytest

from betterdb_agent_memory.caches.session_fields import FIELDS_TOGETHER
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.caches.session.support import Open, Session, trips

MANY = {f"f{number}": str(number) for number in range(5_000)}


async def longest_share(call: Awaitable[object]) -> float:
    """How much of what the call costs the event loop's thread it costs in one go."""
    turns = [start := time.thread_time()]

    async def tick() -> None:
        while True:
            await asyncio.sleep(0)
            turns.append(time.thread_time())

    ticking = asyncio.create_task(tick())
    await call
    ticking.cancel()
    return max(after - before for before, after in zip(turns, turns[1:], strict=False)) / (turns[-1] - start)


@pytest.mark.parametrize("ttl_seconds", [None, 300])
async def test_other_tasks_go_on_while_a_large_thread_is_written_and_read(
    opened: Open, ttl_seconds: int | None
) -> None:
    cache = opened(ttl_seconds).cache
    await cache.set("warm", "f", "v")
    print()
    for what, call in [("set", lambda: cache.set_many("t", MANY)), ("get", lambda: cache.get_all("t")), ("scan", lambda: cache.get_all("t", scan=True)), ("touch", lambda:cache.touch("t")), ("destroy", lambda: cache.destroy_thread("t"))]:
        print(what, await longest_share(call()))
