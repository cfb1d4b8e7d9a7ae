"""What our `agent.config` writes, the published package obeys."""

from __future__ import annotations

from typing import Any

from betterdb_agent_memory import MemoryStore, RecallWeights
from betterdb_agent_memory.agent_config import AgentConfig
from betterdb_agent_memory.caches.policies import ToolPolicies
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.peer.published import Published


async def test_a_published_worker_reads_what_our_operator_sets(
    theirs: Published, ours: MemoryStore, valkey_client: Any, store_name: str
) -> None:
    values = ValkeyEngine(valkey_client).values
    policies = ToolPolicies(store_name, values=values, watch=CacheWatch(store_name))
    config = AgentConfig(values, ours.live_config, policies)
    await theirs.call("ensure_index", store_name)
    before = await theirs.call("current_config", store_name)
    live = (
        await config.set(
            threshold=1e-7,
            weights=RecallWeights(1e-9, 123456789.125, 1e21),
            half_life_seconds=1e22,
            max_items_per_scope=2**53 - 1,
        )
    ).live
    assert (live["threshold"], live["half_life_seconds"]) == (1e-7, 1e22)
    await theirs.call("refresh_config", store_name)
    assert await theirs.call("current_config", store_name) == {
        "threshold": 1e-7,
        "weights": {"similarity": 1e-9, "recency": 123456789.125, "importance": 1e21},
        "half_life_seconds": 1e22,
        "max_items_per_scope": 2**53 - 1,
    }
    await config.reset()
    await theirs.call("refresh_config", store_name)
    assert await theirs.call("current_config", store_name) == before
