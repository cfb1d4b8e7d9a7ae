"""No parameter that a store does not go by is taken as if it did."""

from __future__ import annotations

from dataclasses import replace

import pytest

from betterdb_agent_memory import AgentMemory, Dynamics, MemoryStore
from betterdb_agent_memory.dynamics.parameters import DEFAULT_PARAMETERS, DynamicsParameters, LinkParameters
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.errors import ConfigurationError
from tests.embedding import embed

REFUSED = {
    "links": DynamicsParameters(links=LinkParameters(half_life_days=60)),
    "confidence.contradicted": replace(
        DEFAULT_PARAMETERS, confidence=replace(DEFAULT_PARAMETERS.confidence, contradicted=0.5)
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_fixed_for_all_workers_of_a_store_is_refused(name: str) -> None:
    engine = EmbeddedEngine(":memory:")
    store = MemoryStore(client=engine, name="s", embed_fn=embed)
    with pytest.raises(ConfigurationError, match=f"DynamicsParameters.{name} is for the functions of dynamics alone"):
        Dynamics(store, REFUSED[name])
    with pytest.raises(ConfigurationError, match=name):
        AgentMemory.open(":memory:", embedder=embed, dynamics=REFUSED[name])
    await store.close()
    await engine.close()
