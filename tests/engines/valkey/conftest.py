"""An engine on the session's server, and a prepared collection in it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from tests.engines.valkey.samples import collection
from tests.servers import ValkeyServer


@pytest.fixture
async def engine(valkey_server: ValkeyServer) -> AsyncIterator[ValkeyEngine]:
    engine = ValkeyEngine.from_url(valkey_server.url)
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture
async def records(engine: ValkeyEngine, store_name: str) -> ValkeyRecords:
    records = engine.records(collection(store_name))
    await records.prepare(4)
    return records
