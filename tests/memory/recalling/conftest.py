"""What recall is tested on: a real server and a real file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from betterdb_agent_memory.engines.base import Engine
from tests.caches.conftest import made_engine


@pytest.fixture(params=["server", "file"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine on a real server or a real file, closed afterwards."""
    made = made_engine(request, tmp_path)
    try:
        yield made
    finally:
        await made.close()
