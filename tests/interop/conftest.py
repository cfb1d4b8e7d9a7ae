"""Fixtures of the interop tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.interop.replay import ServerDatabase


@pytest.fixture
async def database(valkey_client: Any, store_name: str) -> AsyncIterator[ServerDatabase]:
    """The server's database under a name that only this test uses; emptied afterwards."""
    database = ServerDatabase(valkey_client, store_name)
    await database.note_existing()
    try:
        yield database
    finally:
        await database.clear()
