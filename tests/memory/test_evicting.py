"""A large scope is trimmed to exactly its limit, of exactly those worth least, without looking at all of it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.base import Engine, RecordWrite
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.memory import evicting, record
from betterdb_agent_memory.memory.evicting import Evictor
from betterdb_agent_memory.memory.scope import MemoryScope, group_of
from betterdb_agent_memory.memory.victims import EvictionCandidate, Retention, select_victims
from betterdb_agent_memory.options import CONTRACT_WEIGHTS, DEFAULT_HALF_LIFE_SECONDS
from tests.embedding import embed
from tests.servers import ValkeyServer

NOW_MS = 1_790_000_000_000
LIMIT = 3_000
EXTRA = 90
VECTOR = b"\0\0\x80\x3f" * 8


@pytest.fixture(params=["file", "server"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    if request.param == "file":
        engine: Engine = EmbeddedEngine(tmp_path / "memories.db")
    else:
        engine = ValkeyEngine.from_url(request.getfixturevalue("valkey_server").url)
    yield engine
    await engine.close()


@pytest.fixture
def store(engine: Engine, store_name: str) -> MemoryStore:
    return MemoryStore(client=engine, name=store_name, embed_fn=embed, clock=lambda: NOW_MS)


class Scope:
    """What the scope holds, as far as it decides who leaves."""

    def __init__(self, store: MemoryStore, seed: int) -> None:
        self.chance = random.Random(seed)
        self.store = store
        self.group = record_group("t")
        self.held: dict[str, tuple[str, int]] = {}

    async def add(self, count: int, *, spelling: str = "{!r}", tags: bytes | None = None) -> None:
        """Put memories in, written as others may spell their numbers."""
        writes = []
        for number in range(len(self.held), len(self.held) + count):
            id = f"m{number}-{self.chance.randrange(10**6)}"
            importance = spelling.format(
                self.chance.choice([0.5, round(self.chance.random(), 3), self.chance.random()])
            )
            accessed = NOW_MS - self.chance.choice([0, 1, self.chance.randrange(40 * 86_400_000)])
            self.held[id] = (importance, accessed)
            fields = {
                record.CONTENT: b"text",
                record.VECTOR: VECTOR,
                record.IMPORTANCE: importance.encode(),
                record.CREATED_AT: b"%d" % NOW_MS,
                record.LAST_ACCESSED_AT: b"%d" % accessed,
                record.ACCESS_COUNT: b"0",
                record.THREAD: b"t",
            }
            if tags is not None:
                fields[record.TAGS] = tags
            writes.append(RecordWrite(id, fields, is_new=True))
        await self.store._records.write_many(writes)

    def leave(self, excess: int) -> set[str]:
        """Those that have to leave next."""
        victims = select_victims(
            [EvictionCandidate(id, float(importance), at) for id, (importance, at) in self.held.items()],
            excess=excess,
            now_ms=NOW_MS,
            weights=CONTRACT_WEIGHTS,
            half_life_seconds=DEFAULT_HALF_LIFE_SECONDS,
        )
        for id in victims:
            del self.held[id]
        return set(victims)

    async def there(self) -> set[str]:
        """The ids in the scope."""
        return {row.id async for rows in self.store._records.walk(Filter(), fields=()) for row in rows}


def record_group(thread: str) -> str:
    return f"{len(thread)}:{thread}--"


async def trim(store: MemoryStore, group: str, limit: int = LIMIT) -> int:
    """Trim the scope; how many left."""
    evictor: Evictor = store._capacity._evictor
    retention = Retention(NOW_MS, CONTRACT_WEIGHTS, DEFAULT_HALF_LIFE_SECONDS)
    async with evictor.alone(group) as lease:
        size, evicted = await evictor.trim(group, limit, retention, lease)
    assert size == limit
    return evicted


@pytest.mark.parametrize("spelling", ["{!r}", "{:>012.9f}"], ids=["ours", "padded"])
async def test_exactly_the_lowest_leave_time_after_time(store: MemoryStore, spelling: str) -> None:
    await store.ensure_index()
    scope = Scope(store, seed=3)
    await scope.add(LIMIT, spelling=spelling)
    for _ in range(3):
        await scope.add(EXTRA, spelling=spelling)
        assert await trim(store, scope.group) == EXTRA
        scope.leave(EXTRA)
        assert await scope.there() == set(scope.held)


@pytest.mark.parametrize("tags", [None, b"y,x"], ids=["none", "some"])
async def test_of_a_set_of_tags_exactly_the_lowest_leave(
    engine: Engine, store_name: str, monkeypatch: pytest.MonkeyPatch, tags: bytes | None
) -> None:
    monkeypatch.setattr(evicting, "_FEW", 10)  # as a large scope is trimmed
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, clock=lambda: NOW_MS, limit_by_tags=True)
    await store.ensure_index()
    scope = Scope(store, seed=7)
    for others in (b"x", b"x,y,z", b"X,y", b"x,y" if tags is None else None):
        await scope.add(60, tags=others)
    neighbours, scope.held = scope.held, {}
    group = group_of(MemoryScope("t"), ["x", "y"] if tags else [])
    await scope.add(200, tags=tags)
    for _ in range(3):
        await scope.add(15, tags=tags)
        assert await trim(store, group, limit=200) == 15
        scope.leave(15)
        assert await scope.there() == {*scope.held, *neighbours}


class _StoppedError(Exception):
    """The worker goes no further."""


async def test_a_scope_whose_first_count_broke_off_is_no_empty_one(
    engine: Engine, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 20
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed)
    await store.remember_many([f"text {number}" for number in range(limit)], thread_id="t")
    evictor: Evictor = store._capacity._evictor

    async def stopped(*_: object) -> int:
        raise _StoppedError

    async with evictor.alone(record_group("t")) as lease:
        with monkeypatch.context() as patched:
            patched.setattr(type(engine.records(record.memory_collection(store_name))), "count", stopped)
            with pytest.raises(_StoppedError):
                await evictor.recount(record_group("t"), lease)

    other = MemoryStore(client=engine, name=store_name, embed_fn=embed, max_items_per_scope=limit)
    await other.remember("one more", thread_id="t")
    await other.close()
    assert (await store.stats()).item_count == limit
    assert await evictor.size(record_group("t")) == limit
    await store.close()


async def test_no_count_is_below_nothing(engine: Engine, store_name: str) -> None:
    limit, group = 20, record_group("t")
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, max_items_per_scope=limit)
    await store.remember("the first", thread_id="t")
    records = engine.records(record.memory_collection(store_name))
    async with store._capacity._evictor.alone(group) as lease:
        # As where the count of a scope went away between two steps of counting it anew.
        await records.correct_group(group, -evicting.BEING_COUNTED, fence=lease.fence)
    assert (await records.read_group(group)).size is None
    for number in range(2 * limit):
        await store.remember(f"text {number}", thread_id="t")
    await store.close()
    assert await store._capacity._evictor.size(group) == (await store.stats()).item_count == limit


async def test_only_the_first_trim_looks_at_the_whole_scope(valkey_server: ValkeyServer, store_name: str) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url)
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, clock=lambda: NOW_MS)
    await store.ensure_index()
    scope = Scope(store, seed=5)
    await scope.add(LIMIT)
    received = []
    for _ in range(3):
        await scope.add(EXTRA)
        before = engine.traffic.bytes_received
        await trim(store, scope.group)
        received.append(engine.traffic.bytes_received - before)
    whole = engine.traffic.bytes_received
    await evicting_whole(store)
    whole = engine.traffic.bytes_received - whole
    assert max(received[1:]) < whole / 4
    await engine.close()


async def evicting_whole(store: MemoryStore) -> None:
    rows = await store._capacity._evictor._whole(store._records, evicting.filter_of(record_group("t")))
    assert len(rows) == LIMIT
