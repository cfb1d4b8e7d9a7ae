from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.embedded.records import EmbeddedRecords
from tests.engines.embedded.support import collection


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1_750_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


@pytest.fixture(params=["file", "memory"])
async def engine(request: pytest.FixtureRequest, path: Path, clock: Clock) -> AsyncIterator[EmbeddedEngine]:
    engine = EmbeddedEngine(path if request.param == "file" else ":memory:", clock=clock)
    yield engine
    await engine.close()


@pytest.fixture
async def records(engine: EmbeddedEngine) -> EmbeddedRecords:
    records = engine.records(collection())
    await records.prepare(2)
    return records
