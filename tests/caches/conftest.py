"""What the caches' tests run on: every engine there is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.servers import ValkeyServer


@pytest.fixture(params=["server", "file"])
async def engine(request: pytest.FixtureRequest, valkey_server: ValkeyServer, tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine on a real server or a real file, closed afterwards."""
    made: Engine = (
        ValkeyEngine.from_url(valkey_server.url)
        if request.param == "server"
        else EmbeddedEngine(tmp_path / "memory.db")
    )
    try:
        yield made
    finally:
        await made.close()
