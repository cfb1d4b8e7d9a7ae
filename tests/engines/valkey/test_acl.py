"""A user with the documented rights can do all that a store does; what fails without one says which."""

from __future__ import annotations

import pytest

from betterdb_agent_memory import AgentMemory, MemoryStore
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import AuthenticationFailedError
from betterdb_agent_memory.memory.generations import reindexing
from tests.acl import documented_rules, make_user
from tests.clusters import ValkeyCluster
from tests.embedding import AHEAD, embed
from tests.servers import ValkeyServer
from tests.test_agent_memory import use_every_tier


async def test_the_documented_line_is_enough_for_every_tier(
    valkey_server: ValkeyServer, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody else has this store open who would have to hear of it first.
    monkeypatch.setattr(reindexing, "_HEARD_SECONDS", 0.1)
    monkeypatch.setattr(reindexing, "_HELD_SECONDS", 0.1)
    user = await make_user(valkey_server, store_name)
    async with AgentMemory.open(
        f"valkey://{user}@127.0.0.1:{valkey_server.port}", name=store_name, embedder=embed
    ) as agent:
        await use_every_tier(agent)
        assert await agent.tool.invalidate_by_tool("t") == 1
        assert await agent.session.destroy_thread("thread") == 1
        assert await agent.memory.forget_by_scope(namespace=None, thread_id="nobody") == 0
        await agent.memory.reindex()
        assert [hit.item.content for hit in await agent.memory.recall(AHEAD, threshold=2)] == [AHEAD]


async def test_the_documented_line_is_enough_on_a_cluster(valkey_cluster: ValkeyCluster, store_name: str) -> None:
    for node in valkey_cluster.nodes:
        user = await make_user(node, f"{{{store_name}}}")
    hosts = f"127.0.0.1:{valkey_cluster.nodes[0].port}"
    async with AgentMemory.open(f"valkey+cluster://{user}@{hosts}", name=f"{{{store_name}}}", embedder=embed) as agent:
        await use_every_tier(agent)
        assert await agent.tool.invalidate_by_tool("t") == 1
        assert [hit.item.content for hit in await agent.memory.recall(AHEAD, threshold=2)] == [AHEAD]


async def test_other_stores_are_out_of_reach(valkey_server: ValkeyServer, store_name: str) -> None:
    user = await make_user(valkey_server, store_name)
    engine = ValkeyEngine.from_url(f"valkey://{user}@127.0.0.1:{valkey_server.port}")
    with pytest.raises(AuthenticationFailedError, match=r"(?i)key"):
        await engine.values.set(f"x{store_name}", b"1")
    with pytest.raises(AuthenticationFailedError, match=r"(?i)key"):
        await engine.leases.acquire(f"x{store_name}", "me", ttl_seconds=1)
    await engine.close()


@pytest.mark.parametrize("right", ["+hset", "+ft.search", "+ft.create", "+evalsha", "+hmget", "+expire"])
async def test_what_fails_without_a_right_says_which(valkey_server: ValkeyServer, store_name: str, right: str) -> None:
    assert right in documented_rules()
    user = await make_user(valkey_server, store_name, without=right)
    engine = ValkeyEngine.from_url(f"valkey://{user}@127.0.0.1:{valkey_server.port}")
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, default_threshold=2.0)
    with pytest.raises(AuthenticationFailedError, match=rf"(?i){right[1:]}"):
        await every_verb(store)
    await store.close()
    await engine.close()


async def every_verb(store: MemoryStore) -> None:
    id = await store.remember(AHEAD, thread_id="t", ttl=60)
    await store.remember(AHEAD, thread_id="t", id="a")
    await store.recall(AHEAD, thread_id="t")
    await store.get(id)
