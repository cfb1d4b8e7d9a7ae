"""Fixtures of the tests with the published package beside ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory import AgentMemory, MemoryOptions, MemoryStore
from tests.embedding import embed
from tests.peer.published import Published
from tests.servers import ValkeyServer

DAY_MS = 86_400_000


@pytest.fixture(scope="session")
def theirs(valkey_server: ValkeyServer) -> Iterator[Published]:
    """The published package 0.7.0 in a process of its own, on the same server."""
    with Published(valkey_server.port) as published:
        yield published


@pytest.fixture
async def ours(valkey_client: Any, store_name: str) -> AsyncIterator[MemoryStore]:
    """Our store under the name of this test, with the published default threshold."""
    store = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed, default_threshold=0.33)
    try:
        yield store
    finally:
        await store.close()


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_ms = 1_750_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


Open = Callable[..., AgentMemory]


@pytest.fixture(params=["file", "server"])
async def open_agent(
    request: pytest.FixtureRequest, tmp_path: Path, valkey_server: ValkeyServer, store_name: str, clock: Clock
) -> AsyncIterator[Open]:
    """Opens agents of one name, on each engine."""
    url = str(tmp_path / "m.db") if request.param == "file" else valkey_server.url
    opened: list[AgentMemory] = []

    def open_agent(**more: Any) -> AgentMemory:
        memory = MemoryOptions(
            threshold=more.pop("threshold", 0.25),
            retrieval="vector",
            reinforcement="immediate",
            config_refresh=False,
            link_recalled=True,
        )
        opened.append(AgentMemory.open(url, name=store_name, embedder=embed, memory=memory, clock=clock, **more))
        return opened[-1]

    yield open_agent
    for agent in opened:
        await agent.close()


@pytest.fixture
async def agent(open_agent: Open) -> AgentMemory:
    agent = open_agent()
    await agent.initialize()
    return agent


async def strength(agent: AgentMemory, id: str) -> float:
    """How strong a memory is at the agent's time."""
    [standing] = await agent.dynamics.standing([id])
    return standing.strength
