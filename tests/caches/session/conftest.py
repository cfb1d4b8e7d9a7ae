"""Sessions on every engine, and on the server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.caches.session.support import Open, Session, opening
from tests.servers import ValkeyServer


@pytest.fixture
async def opened(engine: Engine, store_name: str) -> AsyncIterator[Open]:
    """Makes sessions of the test's own name, on every engine."""
    async with opening(engine, store_name) as make:
        yield make


@pytest.fixture
def session(opened: Open) -> Session:
    """One without a lifetime, on every engine."""
    return opened()


@pytest.fixture
async def on_server(valkey_server: ValkeyServer) -> AsyncIterator[ValkeyEngine]:
    """For what only a server has: round trips, and other programs."""
    engine = ValkeyEngine.from_url(valkey_server.url)
    yield engine
    await engine.close()


@pytest.fixture
async def served(on_server: ValkeyEngine, store_name: str) -> AsyncIterator[Open]:
    """Makes sessions of the test's own name, on the server."""
    async with opening(on_server, store_name) as make:
        yield make
