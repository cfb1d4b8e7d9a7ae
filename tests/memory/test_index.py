"""How long a store believes what it knows about its index."""

from __future__ import annotations

import pytest

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.memory import index
from betterdb_agent_memory.memory.index import believed_seconds
from tests.embedding import embed
from tests.servers import ValkeyServer


@pytest.mark.parametrize(("look_seconds", "expected"), [(0.0, 60), (0.06, 60), (0.2, 200), (0.3, 300), (7.0, 300)])
def test_a_dear_look_is_believed_for_longer(look_seconds: float, expected: float) -> None:
    assert believed_seconds(look_seconds) == pytest.approx(expected)


@pytest.mark.parametrize(("quick_seconds", "looks"), [(60.0, True), (1e-9, False)])
async def test_a_store_looks_again_by_what_the_last_look_took(
    valkey_server: ValkeyServer,
    store_name: str,
    monkeypatch: pytest.MonkeyPatch,
    quick_seconds: float,
    looks: bool,
) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url)
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed)
    await store.remember("One.")
    monkeypatch.setattr(index, "_QUICK_LOOK_SECONDS", quick_seconds)
    monkeypatch.setattr(index, "_MOST_TIMES", 1e9)
    monkeypatch.setattr(index, "LOOK_AGAIN_SECONDS", 1e-6)
    await store.ensure_index()
    before = engine.round_trips
    await store.remember("Two.")
    assert engine.round_trips - before == (2 if looks else 1)
    await store.close()
    await engine.close()
