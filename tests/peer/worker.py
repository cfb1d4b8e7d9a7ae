"""The published package, driven over stdin and stdout: one JSON object a line each way.

Runs in a process of its own, since the published package has the same import name as ours. Nothing is
imported at the top that could be either, so that pytest may import this file.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any


async def embed(text: str) -> list[float]:
    """The same as tests/embedding.py, which this process cannot import."""
    if text.startswith("v("):
        return [float(number) for number in text[2 : text.index(")")].split(",")]
    return [(byte - 128) / 128 for byte in hashlib.sha256(text.encode()).digest()[:8]]


class Worker:
    """One published store per name, on one client."""

    def __init__(self, port: int) -> None:
        import valkey.asyncio

        self._client = valkey.asyncio.Valkey(port=port)
        self._stores: dict[str, Any] = {}
        self._caches: dict[str, Any] = {}

    async def answer(self, request: dict[str, Any]) -> Any:
        do, name = request["do"], request["store"]
        arguments = request["arguments"]
        if "." in do:
            tier, _, verb = do.partition(".")
            cache = self._caches.get(name) or self._caches.setdefault(name, self._make_cache(name))
            return await getattr(getattr(cache, tier), verb)(*arguments["positional"])
        if do == "cache_stats":
            return await self._caches[name].stats()
        if do == "make_store":
            self._stores[name] = self._make_store(name, arguments)
            return None
        store = self._stores.get(name) or self._stores.setdefault(name, self._make_store(name, {}))
        if do == "list":
            from betterdb_agent_memory import MemoryListOptions

            return await store.list(MemoryListOptions(**arguments))
        if do == "consolidate":
            arguments["summarize"] = _joined
        positional = [arguments.pop(key) for key in ("content", "query", "vector", "id") if key in arguments]
        outcome = getattr(store, do)(*positional, **arguments)
        return await outcome if asyncio.iscoroutine(outcome) else outcome

    async def close(self) -> None:
        for store in self._stores.values():
            await store.close()
        for cache in self._caches.values():
            await cache.shutdown()
        await self._client.aclose()

    def _make_store(self, name: str, options: dict[str, Any]) -> Any:
        from betterdb_agent_memory import MemoryStore

        return MemoryStore(client=self._client, name=name, embed_fn=embed, **options)

    def _make_cache(self, name: str) -> Any:
        from betterdb_agent_memory import AgentCache, AgentCacheOptions, DiscoveryOptions

        return AgentCache(AgentCacheOptions(client=self._client, name=name, discovery=DiscoveryOptions(enabled=False)))


async def _joined(memories: list[Any]) -> str:
    return " and ".join(sorted(memory.content for memory in memories))


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [plain(element) for element in value] if isinstance(value, list) else value


async def serve(port: int) -> None:
    import betterdb_agent_memory

    assert os.environ["BETTERDB_TELEMETRY"] == "false", "the published package would report home"
    write({"result": str(Path(betterdb_agent_memory.__file__).parent)})
    worker = Worker(port)
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            write({"result": plain(await worker.answer(json.loads(line)))})
        except Exception as error:  # noqa: BLE001 - every error is an answer
            write({"error": type(error).__name__, "message": str(error)})
    await worker.close()


def write(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
