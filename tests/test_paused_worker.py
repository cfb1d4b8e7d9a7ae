"""A worker that was stopped while it held a lease, and whose work was done by another, does no harm when it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import paused_worker
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.memory import evicting
from tests.servers import ValkeyServer


@pytest.mark.parametrize(
    ("kind", "pause_ms"), [("consolidate", 0.5), ("consolidate", 8), ("consolidate", 25), ("remember", 8)]
)
async def test_on_a_server(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch, kind: str, pause_ms: float
) -> None:
    monkeypatch.setattr(evicting, "LEASE_SECONDS", paused_worker.LEASE_SECONDS)
    engine = open_engine(valkey_server.url)
    assert await paused_worker.one_round(engine, valkey_server.url, kind, pause_ms / 1000)
    await engine.close()


@pytest.mark.parametrize("kind", ["consolidate", "remember"])
async def test_on_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(evicting, "LEASE_SECONDS", paused_worker.LEASE_SECONDS)
    url = str(tmp_path / "memories.db")
    engine = open_engine(url)
    assert await paused_worker.one_round(engine, url, kind, 0.002)
    await engine.close()
