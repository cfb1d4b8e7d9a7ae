"""A process that asks one cache for one answer: `python -m tests.caches.llm_worker PLACE NAME CALLERS SECONDS`.

PLACE is a server's URL or a file. Prints `ready`, waits for a line on stdin, starts CALLERS callers at once;
each call counts itself in the engine, prints `calling` and takes SECONDS. Prints how many callers there
were of each origin, as JSON, at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from prometheus_client import CollectorRegistry

from betterdb_agent_memory.caches.deferred import DeferredWrites
from betterdb_agent_memory.caches.llm import LlmCache
from betterdb_agent_memory.caches.pricing import Prices
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.options import TelemetryOptions


async def main(place: str, name: str, callers: int, seconds: float) -> None:
    engine: Engine = ValkeyEngine.from_url(place) if "://" in place else EmbeddedEngine(place)
    watch = CacheWatch(name, TelemetryOptions(registry=CollectorRegistry()))
    deferred = DeferredWrites(engine.values, f"{name}:__stats", on_failure=lambda: None)
    cache = LlmCache(
        name, engine=engine, watch=watch, deferred=deferred, ttl_seconds=None, prices=Prices(), clock=system_clock
    )

    async def call() -> str:
        await engine.values.increment(f"{name}:__calls", "made", 1)
        print("calling", flush=True)
        await asyncio.sleep(seconds)
        return "the answer"

    async def ask() -> str:
        params = {"model": "m", "messages": [{"role": "user", "content": "the question"}]}
        result = await cache.get_or_call(params, call, lease_seconds=2)
        assert result.response == "the answer"
        assert result.origin is not None
        return result.origin

    await engine.values.get("warm up")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    origins = await asyncio.gather(*(ask() for _ in range(callers)))
    await deferred.close()
    await engine.close()
    print(json.dumps(Counter(origins)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
