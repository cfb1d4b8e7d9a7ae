"""Who forgets a memory has forgotten what was archived under its id as well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from betterdb_agent_memory import Dynamics, MemoryNotFoundError, MemoryStore
from betterdb_agent_memory.engines import open_engine
from tests.embedding import embed


@pytest.fixture(params=["file", "server"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, store_name: str) -> AsyncIterator[MemoryStore]:
    url = str(tmp_path / "m.db") if request.param == "file" else str(request.getfixturevalue("valkey_server").url)
    engine = open_engine(url)
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed)
    yield store
    await store.close()
    await engine.close()


async def test_what_was_archived_and_learnt_again_is_forgotten_in_both_places(store: MemoryStore) -> None:
    dynamics = Dynamics(store)
    id = await store.remember("the door code is 4711", importance=0.0, on_duplicate="merge")
    assert (await dynamics.forget(10, archive=True)).put_away == 1
    assert await store.remember("the door code is 4711", importance=0.0, on_duplicate="merge") == id
    assert await store.forget(id)
    assert await store.recall("the door code", threshold=2, include_superseded=True) == []
    with pytest.raises(MemoryNotFoundError):
        await dynamics.restore(id)
    assert not await store.forget(id)
