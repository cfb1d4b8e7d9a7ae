"""What the tests of the session tier work with: sessions with all they are made of, and other processes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from betterdb_agent_memory.caches.deferred import FLUSH_SECONDS, DeferredWrites
from betterdb_agent_memory.caches.keys import session_key, session_prefix
from betterdb_agent_memory.caches.session import SessionCache
from betterdb_agent_memory.caches.session_index import index_key
from betterdb_agent_memory.caches.statistics import stats_key
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.options import NearCacheOptions, TelemetryOptions

ROOT = Path(__file__).resolve().parents[3]
PEER = ROOT / ".peers" / "betterdb-0.7.0"


class Session:
    """A session cache with what it is made of; what it puts off is written after `flush_seconds`."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        ttl_seconds: int | None,
        near: NearCacheOptions | None = None,
        *,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self.engine = engine
        self.name = name
        self.registry = CollectorRegistry()
        self.watch = CacheWatch(name, TelemetryOptions(registry=self.registry))
        self.deferred = DeferredWrites(
            engine.values,
            stats_key(name),
            interval_seconds=flush_seconds,
            on_failure=lambda: self.watch.background_failed("statistics"),
        )
        self.cache = SessionCache(
            name, engine=engine, watch=self.watch, deferred=self.deferred, ttl_seconds=ttl_seconds, near=near
        )

    async def store(self, thread: str, field: str, value: bytes, ttl_seconds: int | None = None) -> None:
        """A bare SET, as an operator would."""
        await self.engine.values.set(session_key(self.name, thread, field), value, ttl_seconds=ttl_seconds)

    async def stored(self, thread: str, field: str) -> bytes | None:
        return await self.engine.values.get(session_key(self.name, thread, field))

    async def left_ms(self, thread: str, field: str) -> int | None:
        """How long a value lives on, None for ever; what waits is written before."""
        await self.deferred.flush()
        batch = self.engine.values.batch()
        asked = batch.get_with_expiry(session_key(self.name, thread, field))
        await batch.send()
        found = asked.result()
        assert found is not None
        return found.left_ms

    async def expire(self, thread: str, field: str, ttl_seconds: int) -> None:
        batch = self.engine.values.batch()
        done = batch.expire(session_key(self.name, thread, field), ttl_seconds)
        await batch.send()
        assert done.result()

    async def remove_bare(self, thread: str, field: str) -> None:
        assert await self.engine.values.delete(session_key(self.name, thread, field))

    async def index(self, thread: str) -> dict[str, bytes]:
        return await self.engine.values.read_map(index_key(self.name, thread))

    async def keys(self, thread: str) -> set[str]:
        pages = self.engine.values.scan_keys(session_prefix(self.name, thread))
        return {key async for page in pages for key in page}

    async def count_foreign(self, **counts: int) -> None:
        """What another package leaves in the statistics."""
        for name, amount in counts.items():
            await self.engine.values.increment(stats_key(self.name), f"session:{name}", amount)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"agent_cache_{name}", {"cache_name": self.name, **labels})


Open = Callable[..., Session]


@asynccontextmanager
async def opening(engine: Engine, name: str) -> AsyncIterator[Open]:
    """Makes sessions of one name; `ttl_seconds` is the tier's."""
    made: list[Session] = []

    def make(
        ttl_seconds: int | None = None,
        *,
        on: Engine = engine,
        near: NearCacheOptions | None = None,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> Session:
        made.append(Session(on, name, ttl_seconds, near, flush_seconds=flush_seconds))
        return made[-1]

    yield make
    for session in made:
        await session.deferred.close()


class Worker:
    """tests/caches/session/worker.py: `await worker("set", "t", "f", "v")`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def __call__(self, *call: object) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(call).encode() + b"\n")
        await self._process.stdin.drain()
        return await self.answer()

    async def answer(self) -> Any:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        assert line, "the worker ended; see its error output"
        return json.loads(line)


@asynccontextmanager
async def worker(whose: str, place: str, name: str, ttl_seconds: int | None = None) -> AsyncIterator[Worker]:
    path = os.pathsep.join([str(PEER)] if whose == "published" else [str(ROOT)])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("worker.py")),
        whose,
        place,
        name,
        json.dumps(ttl_seconds),
        env={**os.environ, "PYTHONPATH": path, "BETTERDB_TELEMETRY": "false"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    made = Worker(process)
    try:
        assert await made.answer() == "ready"
        yield made
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 20)


async def trips(engine: Engine, call: Any, expected: object) -> int:
    """The round trips of a call. Its session is opened with `flush_seconds=NEVER_SECONDS`."""
    before = engine.round_trips
    assert await call == expected
    return engine.round_trips - before


async def until(happens: Callable[[], Any]) -> None:
    for _ in range(1000):
        if await happens():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")
