"""Fixtures of the tests with the published package beside ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from betterdb_agent_memory import MemoryStore
from tests.embedding import embed
from tests.peer.published import Published
from tests.servers import ValkeyServer


@pytest.fixture(scope="session")
def theirs(valkey_server: ValkeyServer) -> Iterator[Published]:
    """The published package 0.7.0 in a process of its own, on the same server."""
    with Published(valkey_server.port) as published:
        yield published


@pytest.fixture
async def ours(valkey_client: Any, store_name: str) -> AsyncIterator[MemoryStore]:
    """Our store under the name of this test, with the published default threshold."""
    store = MemoryStore(client=valkey_client, name=store_name, embed_fn=embed, default_threshold=0.33)
    try:
        yield store
    finally:
        await store.close()
