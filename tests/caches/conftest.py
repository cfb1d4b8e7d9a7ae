"""What the caches' tests run on: every engine there is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from tests.clusters import on_a_cluster

CLUSTER = "cluster"
ON_A_CLUSTER = ("test_llm", "test_tool", "test_tiers")
"""Modules that run on a cluster too: their names have no hash tag, so that their keys are everywhere."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the cluster out where it says nothing more, before the tests are counted."""
    items[:] = [item for item in items if item.path.stem in ON_A_CLUSTER or not _is_on_a_cluster(item)]


def _is_on_a_cluster(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get("engine") == CLUSTER


@pytest.fixture(params=["server", "file", pytest.param(CLUSTER, marks=on_a_cluster)])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine on a real server, a real cluster or a real file, closed afterwards."""
    made = made_engine(request, tmp_path)
    try:
        yield made
    finally:
        await made.close()


def made_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """The engine of the kind that a fixture has for its parameter."""
    if request.param == "file":
        return EmbeddedEngine(tmp_path / "memory.db")
    servers = {"server": "valkey_server", CLUSTER: "valkey_cluster"}
    return ValkeyEngine.from_url(request.getfixturevalue(servers[request.param]).url)
