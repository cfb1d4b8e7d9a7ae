"""A worker in a process of its own, for tests/test_dynamics_of_processes.py.

python -m tests.dynamics_worker URL NAME teach|maintain|see
"""

from __future__ import annotations

import asyncio
import json
import sys

from betterdb_agent_memory import AgentMemory, MemoryOptions
from tests.embedding import AHEAD, embed

TIMES = 12


def opened(url: str, name: str) -> AgentMemory:
    """An agent whose recalls count at once, and link what they find."""
    memory = MemoryOptions(
        threshold=0.25, retrieval="vector", reinforcement="immediate", link_recalled=True, config_refresh=False
    )
    return AgentMemory.open(url, name=name, embedder=embed, memory=memory)


async def teach(agent: AgentMemory) -> None:
    """Recall and praise, as often as `TIMES`."""
    for _ in range(TIMES):
        hits = await agent.dynamics.recall(AHEAD)
        await agent.dynamics.outcome([hits[0].item.id], 1.0)


async def see(agent: AgentMemory) -> None:
    """Say which memories there are, in all the ways in which one may ask."""
    listed = await agent.memory.list()
    seen = {
        "listed": [item.id for item in listed.items],
        "recalled": [hit.item.id for hit in await agent.memory.recall(AHEAD, threshold=2, k=1000, reinforce=False)],
        "counted": (await agent.dynamics.stats()).all.memories,
    }
    print(json.dumps(seen))


async def maintain(agent: AgentMemory) -> None:
    """Forget what has faded, under a lease that is soon over once nobody renews it."""
    await agent.dynamics.forget(1.0, lease_seconds=1)


async def main(url: str, name: str, action: str) -> None:
    async with opened(url, name) as agent:
        await agent.memory.stats()
        if action != "see":
            print("ready", flush=True)
            sys.stdin.readline()
        await {"teach": teach, "maintain": maintain, "see": see}[action](agent)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
