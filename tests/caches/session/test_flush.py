"""A flush of all tiers, while others write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from betterdb_agent_memory.caches.erasing import erase_cache
from betterdb_agent_memory.caches.session_index import MARK, index_key
from betterdb_agent_memory.caches.tiers import FLUSHED, CacheTiers
from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.options import CacheOptions
from tests.caches.session.support import Session

PARTS = [f"{part}:" for part in FLUSHED]


@pytest.fixture
async def make(engine: Engine, store_name: str) -> AsyncIterator[Callable[[], CacheTiers]]:
    """Workers with all tiers, of the test's own name."""
    made: list[CacheTiers] = []

    def make() -> CacheTiers:
        made.append(CacheTiers(engine, store_name, CacheOptions(config_refresh=False), clock=system_clock))
        return made[-1]

    yield make
    for tiers in made:
        await tiers.close()


async def test_what_is_written_while_a_flush_goes_on_is_found_if_it_stays(
    make: Callable[[], CacheTiers], session: Session
) -> None:
    flushes, writes = make(), make()
    for number in range(20):
        await writes.session.set_many(f"before{number}", {f"f{field}": "v" for field in range(100)})
    for turn in range(3):
        flushing = asyncio.create_task(flushes.flush())
        count = 0
        while not flushing.done():
            await writes.session.set(f"{turn}t{count % 20}", f"f{count // 20}", "v")
            count += 1
        await flushing
        assert count > 0
        await writes.stats()
        for number in range(20):
            thread = f"{turn}t{number}"
            there = {key.rpartition(":")[2] for key in await session.keys(thread)}
            assert set(await writes.session.get_all(thread)) == there


async def test_a_field_that_is_set_behind_the_walk_is_not_lost_with_its_index(session: Session) -> None:
    cache, values = session.cache, session.engine.values
    await cache.set("t", "old", "v")
    walk = values.scan_keys

    async def slow_walk(prefix: str) -> AsyncIterator[list[str]]:
        keys = [key async for page in walk(prefix) for key in page]
        yield [key for key in keys if "__session_fields" not in key]
        await cache.set("t", "new", "v")
        yield [key for key in keys if "__session_fields" in key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(values, "scan_keys", slow_walk)
        await erase_cache(values, session.name, only=PARTS)
    assert set(await cache.get_all("t")) == {key.rpartition(":")[2] for key in await session.keys("t")}
    await cache.set("t", "newer", "v")
    assert set(await cache.get_all("t")) == {key.rpartition(":")[2] for key in await session.keys("t")}


async def test_a_flush_leaves_no_index_and_no_mark(make: Callable[[], CacheTiers], session: Session) -> None:
    tiers = make()
    for number in range(120):
        await tiers.session.set(f"t{number}", "a:b", "v")
    await tiers.session.get_all("t1", scan=True)
    assert MARK in await session.index("t1")
    # Neither an index nor a field of ours, and yet its.
    await session.engine.values.set(index_key(session.name, "text"), b"x")
    await session.store("u", "bare", b"x")
    await tiers.flush()
    assert [key async for page in session.engine.values.scan_keys(f"{session.name}:") for key in page] == []
    stats = (await tiers.stats()).session
    assert (stats.reads, stats.writes) == (0, 0)
