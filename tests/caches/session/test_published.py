"""Beside the published package."""

from __future__ import annotations

from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.caches.session.support import Open, worker
from tests.servers import ValkeyServer


async def test_a_field_that_the_published_package_has_written_is_found(
    served: Open, on_server: ValkeyEngine, valkey_server: ValkeyServer
) -> None:
    session = served(300)
    async with worker("published", str(valkey_server.port), session.name, 300) as theirs:
        await session.cache.set("t", "ours", "1")
        assert await session.cache.get_all("t") == {"ours": "1"}
        await theirs("set", "t", "theirs", "2")
        assert await session.cache.get("t", "theirs") == "2"
        assert await session.cache.get_all("t") == {"ours": "1", "theirs": "2"}
        assert await theirs("get_all", "t") == {"ours": "1", "theirs": "2"}
        assert await theirs("get", "t", "ours") == "1"
        await theirs("set", "t", "ours", "theirs now")
        assert await session.cache.get_all("t") == {"ours": "theirs now", "theirs": "2"}
        assert await theirs("delete", "t", "theirs") is True
        assert await session.cache.get_all("t") == {"ours": "theirs now"}
        await theirs("set", "t", "checkpoint:1", "{}")
        assert await session.cache.get_all("t") == {"ours": "theirs now", "checkpoint:1": "{}"}
        assert await theirs("destroy_thread", "t") == 2
        assert await session.cache.get_all("t") == {}
