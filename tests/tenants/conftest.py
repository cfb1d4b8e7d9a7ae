"""A server and a file, and agents with tenants on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from betterdb_agent_memory import AgentMemory, MemoryOptions, TenantsOptions
from betterdb_agent_memory.clock import Clock, system_clock
from tests.embedding import embed

MakeAgent = Callable[..., AgentMemory]
PLACEMENT_SECONDS = 0.25


@pytest.fixture(params=["server", "file", "cluster"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return str(tmp_path / "memories.db")
    return str(request.getfixturevalue(f"valkey_{request.param}").url)


@pytest.fixture
def store_name(request: pytest.FixtureRequest) -> str:
    """A name of its own; with a hash tag on a cluster, where the agent's own memories need one."""
    name = f"t{uuid4().hex[:12]}"
    is_on_cluster = "url" in request.fixturenames and "cluster" in request.getfixturevalue("url")
    return f"{{{name}}}" if is_on_cluster else name


@pytest.fixture
async def make_agent(url: str, store_name: str) -> AsyncIterator[MakeAgent]:
    """Makes agents of one name on the place; each has an engine of its own, as workers have."""
    made: list[AgentMemory] = []

    def make(clock: Clock = system_clock, **options: Any) -> AgentMemory:
        tenants = TenantsOptions(**{"placement_seconds": PLACEMENT_SECONDS, **options})
        memory = MemoryOptions(discovery=False, threshold=2.0, reinforcement="immediate")
        made.append(AgentMemory.open(url, name=store_name, embedder=embed, memory=memory, tenants=tenants, clock=clock))
        return made[-1]

    yield make
    for agent in made:
        await agent.close()
