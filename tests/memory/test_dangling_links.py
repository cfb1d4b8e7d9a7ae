"""Links to memories that are gone without their links: expired, or deleted by a client that knows of none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.memory.record import memory_collection
from tests.embedding import AHEAD, at_angle, embed
from tests.servers import ValkeyServer


@pytest.fixture(params=["file", "server"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    made: Engine
    if request.param == "file":
        made = EmbeddedEngine(tmp_path / "memories.db")
    else:
        server: ValkeyServer = request.getfixturevalue("valkey_server")
        made = ValkeyEngine.from_url(server.url)
    yield made
    await made.close()


@pytest.mark.parametrize("way", ["expand", "links"])
async def test_they_are_passed_over_and_removed(engine: Engine, store_name: str, way: str) -> None:
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, default_threshold=0.25)
    for id, cosine in (("start", 1.0), ("gone", -1.0), ("there", -1.0)):
        await store.remember(at_angle(cosine), id=id)
    await store.link("start", "gone")
    await store.link("start", "there")
    strangers = engine.records(replace(memory_collection(store_name), link_keys=None))
    assert await strangers.delete_many(["gone"]) == [True]
    if way == "expand":
        assert [hit.item.id for hit in await store.recall(AHEAD, expand=True)] == ["start", "there"]
    else:
        assert [link.id for link in await store.links("start")] == ["there"]
    await store.remember(at_angle(-1.0), id="gone")
    assert await store.links("gone", least_weight=0) == []
    assert [link.id for link in await store.links("start", least_weight=0)] == ["there"]
    await strangers.delete_many(["start"])
    assert await store.links("start") == []
    await store.remember(at_angle(1.0), id="start")
    assert await store.links("there", least_weight=0) == []
    await store.close()
