"""A session cache in a process of its own: the published package's, or ours. One JSON list a line each way.

Nothing is imported at the top that could be either package.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from typing import Any


def published(port: int, name: str, ttl: int | None) -> Any:
    """The session tier of the published package."""
    import valkey.asyncio

    package: Any = importlib.import_module("betterdb_agent_cache")
    assert os.environ["BETTERDB_TELEMETRY"] == "false", "the published package would report home"
    options: dict[str, Any] = {
        "client": valkey.asyncio.Valkey(port=port),
        "name": name,
        "config_refresh": package.ConfigRefreshOptions(enabled=False),
        "discovery": package.DiscoveryOptions(enabled=False),
    }
    if ttl is not None:
        options["tier_defaults"] = {"session": package.TierDefaults(ttl=ttl)}
    return package.AgentCache(package.AgentCacheOptions(**options)).session


def ours(place: str, name: str, ttl: int | None) -> Any:
    """Our session tier, on a server's URL or in a file."""
    from betterdb_agent_memory.caches.deferred import DeferredWrites
    from betterdb_agent_memory.caches.session import SessionCache
    from betterdb_agent_memory.caches.watch import CacheWatch
    from betterdb_agent_memory.engines.embedded import EmbeddedEngine
    from betterdb_agent_memory.engines.valkey import ValkeyEngine

    engine: Any = ValkeyEngine.from_url(place) if "://" in place else EmbeddedEngine(place)
    watch = CacheWatch(name)
    deferred = DeferredWrites(
        engine.values, f"{name}:__stats", on_failure=lambda: watch.background_failed("statistics")
    )
    return SessionCache(name, engine=engine, watch=watch, deferred=deferred, ttl_seconds=ttl)


async def serve() -> None:
    """Call after call, `[method, arguments...]`; `["set_numbered", thread, prefix, count]` sets that many fields."""
    whose, place, name, ttl = sys.argv[1:]
    lifetime = json.loads(ttl)
    session = published(int(place), name, lifetime) if whose == "published" else ours(place, name, lifetime)
    print(json.dumps("ready"), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        method, *arguments = json.loads(line)
        if method == "set_numbered":
            thread, prefix, count = arguments
            for number in range(count):
                await session.set(thread, f"{prefix}{number}", str(number))
            outcome = None
        else:
            outcome = await getattr(session, method)(*arguments)
        print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    asyncio.run(serve())
