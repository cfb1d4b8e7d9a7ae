"""A server and a file, and agents with tenants on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory import AgentMemory, MemoryOptions, TenantsOptions
from tests.embedding import embed

MakeAgent = Callable[..., AgentMemory]
PLACEMENT_SECONDS = 0.25


@pytest.fixture(params=["server", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return str(tmp_path / "memories.db")
    return str(request.getfixturevalue("valkey_server").url)


@pytest.fixture
async def make_agent(url: str, store_name: str) -> AsyncIterator[MakeAgent]:
    """Makes agents of one name on the place; each has an engine of its own, as workers have."""
    made: list[AgentMemory] = []

    def make(**options: Any) -> AgentMemory:
        tenants = TenantsOptions(**{"placement_seconds": PLACEMENT_SECONDS, **options})
        memory = MemoryOptions(discovery=False, threshold=2.0, reinforcement="immediate")
        made.append(AgentMemory.open(url, name=store_name, embedder=embed, memory=memory, tenants=tenants))
        return made[-1]

    yield make
    for agent in made:
        await agent.close()
