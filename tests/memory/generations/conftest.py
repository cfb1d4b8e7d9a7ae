"""A store on each kind of engine, for several workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.memory.generations import layout, migration, reindexing
from tests.memory.generations.words import NAME, former
from tests.servers import ValkeyServer

Workers = Callable[..., MemoryStore]


@pytest.fixture(params=["embedded-file", "valkey-url"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place that several processes can open, empty."""
    if request.param == "embedded-file":
        return str(tmp_path / "memory.db")
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    with server.blocking_client() as client:
        client.flushall()
    return server.url


@pytest.fixture
async def engine(url: str) -> AsyncIterator[Engine]:
    """The place, opened by this process."""
    opened = open_engine(url)
    yield opened
    await opened.close()


@pytest.fixture
async def worker(engine: Engine) -> AsyncIterator[Workers]:
    """Makes stores of one name, each a worker of its own, with the former model unless told otherwise."""
    made: list[MemoryStore] = []

    def make(**options: Any) -> MemoryStore:
        defaults: dict[str, Any] = {"client": engine, "name": NAME, "embed_fn": former(), "default_threshold": 2.0}
        made.append(MemoryStore(**(defaults | options)))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of these tests believe for a tenth of what they believe otherwise, and are waited for as long."""
    for module in (layout, migration, reindexing):
        for name in ("STATE_SECONDS", "QUIET_SECONDS"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, 0.1)
    monkeypatch.setattr("betterdb_agent_memory.memory.generations.state.STATE_SECONDS", 0.1)
    monkeypatch.setattr(migration, "_GRACE_SECONDS", 0.2)
    monkeypatch.setattr(migration, "_FIRST_GRACE_SECONDS", 0.2)
    monkeypatch.setattr(reindexing, "_HEARD_SECONDS", 0.2)
    monkeypatch.setattr(reindexing, "_HELD_SECONDS", 0.2)
