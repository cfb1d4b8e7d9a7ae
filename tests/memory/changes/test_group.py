"""A group within one process: who has a change in its hands keeps it, and who goes gives it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from betterdb_agent_memory import Change, ChangesMissedError, MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.event_log import BEGINNING
from betterdb_agent_memory.memory.changes.reading import _Consumer
from tests.embedding import embed
from tests.waiting import until


@pytest.fixture(params=["file", "server"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    url = str(tmp_path / "m.db") if request.param == "file" else str(request.getfixturevalue("valkey_server").url)
    engine = open_engine(url)
    yield engine
    await engine.close()


@pytest.fixture
async def store(engine: Engine, store_name: str) -> AsyncIterator[MemoryStore]:
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, change_feed=True)
    await store.ensure_index()
    yield store
    await store.close()


class Consumer:
    """Collects what it is handed, and holds on to each change while `held` is set."""

    def __init__(self, store: MemoryStore, *, takeover_seconds: float) -> None:
        self.seen: list[Change] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.task = asyncio.create_task(self._follow(store, takeover_seconds))

    async def _follow(self, store: MemoryStore, takeover_seconds: float) -> None:
        found = store.changes(since="oldest", group="g", takeover_seconds=takeover_seconds)
        async with aclosing(found) as changes:  # type: ignore[type-var]
            async for change in changes:
                self.seen.append(change)
                await self.may_go_on.wait()

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def consumers(store: MemoryStore) -> int:
    status = await store.change_feed()
    assert status is not None
    return sum(group.consumers for group in status.groups)


async def test_a_change_that_takes_long_stays_with_whoever_has_it(store: MemoryStore) -> None:
    slow = Consumer(store, takeover_seconds=3)
    async with asyncio.timeout(30):
        while await consumers(store) < 1:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    slow.may_go_on.clear()
    first = await store.remember("first")
    await until(lambda: slow.seen)
    other = Consumer(store, takeover_seconds=3)
    # Longer than a consumer without a sign of life keeps anything; a busy machine is late with a sign.
    await asyncio.sleep(5)
    assert other.seen == []
    async with asyncio.timeout(20):
        while await consumers(store) < 2:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    await store.update(first, importance=0.7)
    slow.may_go_on.set()
    await until(lambda: len(slow.seen) + len(other.seen) == 2)
    both = sorted([*slow.seen, *other.seen], key=lambda change: int(change.id.partition("-")[2]))
    assert [change.kind for change in both] == ["remembered", "updated"]
    await slow.end()
    await other.end()
    assert await consumers(store) == 0


async def test_two_consumers_share_the_work_and_the_rest_falls_to_the_one_that_stays(store: MemoryStore) -> None:
    one, two = (Consumer(store, takeover_seconds=3) for _ in range(2))
    async with asyncio.timeout(30):
        while await consumers(store) < 2:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    # Until the first one has given up what is too much, at the latest after one second.
    ids: list[str] = []
    async with asyncio.timeout(20):
        while not (one.seen and two.seen):
            ids.append(await store.remember(f"m{len(ids)}"))
            await asyncio.sleep(0.02)
    await until(lambda: len({change.memory_id for change in one.seen + two.seen}) == len(ids))
    assert {change.memory_id for change in one.seen}.isdisjoint({change.memory_id for change in two.seen})
    await one.end()
    before = len(two.seen)
    late = [await store.remember(f"late {n}") for n in range(40)]
    await until(lambda: {change.memory_id for change in two.seen[before:]} >= set(late), seconds=20)
    await two.end()


async def test_nothing_is_left_of_a_group_when_the_feed_is_switched_off(store: MemoryStore) -> None:
    consumer = Consumer(store, takeover_seconds=0.3)
    async with asyncio.timeout(30):
        while await consumers(store) < 1:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    await store.stop_change_feed()
    with pytest.raises(ChangesMissedError, match="switched off"):
        await consumer.task
    assert await store._feed.log.groups() == []
    assert await store.change_feed() is None


async def test_a_sign_of_life_that_comes_too_late_brings_no_group_back(store: MemoryStore) -> None:
    await store.remember("first")
    log = store._feed.log
    consumer = _Consumer(log, "g", start=BEGINNING, hold_seconds=60)
    async with consumer.alive():
        await consumer.share()
        assert len(await log.groups()) == 1
        await store.stop_change_feed()
        await consumer.drop_group()
        await consumer.share(may_move=False)
    assert await log.groups() == []
