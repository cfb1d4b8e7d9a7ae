"""A worker that was stopped while it held a lease, and whose work was done by another, does no harm when it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import paused_worker
from betterdb_agent_memory.engines import open_engine
from tests.servers import ValkeyServer


@pytest.fixture(autouse=True)
def _in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, seconds in paused_worker.IN_SHORT:
        monkeypatch.setattr(module, name, seconds)


@pytest.mark.parametrize(
    ("kind", "pause_ms"),
    [("consolidate", 0.5), ("consolidate", 8), ("consolidate", 25), ("remember", 8), ("migrate", 600)],
)
async def test_on_a_server(valkey_server: ValkeyServer, kind: str, pause_ms: float) -> None:
    engine = open_engine(valkey_server.url)
    assert await paused_worker.one_round(engine, valkey_server.url, kind, pause_ms / 1000)
    await engine.close()


@pytest.mark.parametrize(("kind", "pause_ms"), [("consolidate", 2), ("remember", 2), ("migrate", 50)])
async def test_on_a_file(tmp_path: Path, kind: str, pause_ms: float) -> None:
    url = str(tmp_path / "memories.db")
    engine = open_engine(url)
    assert await paused_worker.one_round(engine, url, kind, pause_ms / 1000)
    await engine.close()
