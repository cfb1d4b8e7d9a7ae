"""A store that is closed leaves its scopes at their limit, however long that takes while it gets on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.base import Collection, Engine, GroupCounting, Records
from betterdb_agent_memory.engines.delegating import DelegatingEngine, DelegatingRecords
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.event_log import Announcing
from betterdb_agent_memory.memory import capacity
from betterdb_agent_memory.memory import store as store_module
from tests.embedding import embed
from tests.waiting import NEVER_SECONDS

LIMIT = 40
WRITTEN = 43
"""In the slack: nobody trims before the store is closed."""


class SlowRecords(DelegatingRecords):
    """Records of a server that takes its time to delete."""

    def __init__(self, records: Records, seconds: float) -> None:
        super().__init__(records)
        self._seconds = seconds

    async def delete_many(self, ids: Sequence[str], **options: Any) -> list[bool]:
        await asyncio.sleep(self._seconds)
        return await super().delete_many(ids, **options)


class SlowEngine(DelegatingEngine):
    """An engine with such records."""

    def __init__(self, engine: Engine, seconds: float) -> None:
        super().__init__(engine)
        self._seconds = seconds

    def records(
        self, collection: Collection, counting: GroupCounting | None = None, announcing: Announcing | None = None
    ) -> Records:
        return SlowRecords(super().records(collection, counting, announcing), self._seconds)


async def left_by_a_close(engine: Engine, scopes: int, seconds_per_deletion: float) -> int:
    """How many memories there are after a store was closed that had some too many in each of its scopes."""
    slow = SlowEngine(engine, seconds_per_deletion)
    store = MemoryStore(client=slow, name="s", embed_fn=embed, max_items_per_scope=LIMIT)
    for scope in range(scopes):
        # The first one tells how many there are; of a scope that nobody has counted too many are trimmed at once.
        await store.remember(f"{scope}", thread_id=f"t{scope}")
        await store.remember_many([f"{scope} {number}" for number in range(1, WRITTEN)], thread_id=f"t{scope}")
    assert (await store.stats()).item_count == scopes * WRITTEN
    await store.close()
    other = MemoryStore(client=engine, name="s", embed_fn=embed)
    count = (await other.stats()).item_count
    await other.close()
    return count


async def test_a_close_that_gets_on_takes_longer_than_one_answer_may(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capacity, "SETTLE_SECONDS", NEVER_SECONDS)
    monkeypatch.setattr(store_module, "CLOSE_SECONDS", 1.2)
    engine = EmbeddedEngine(":memory:")
    assert await left_by_a_close(engine, 4, 0.4) == 4 * LIMIT
    assert caplog.records == []
    await engine.close()


@pytest.mark.parametrize(
    ("scopes", "seconds_per_deletion", "settings"),
    [
        pytest.param(1, NEVER_SECONDS, {"CLOSE_SECONDS": 0.2}, id="no answer"),
        pytest.param(8, 0.2, {"CLOSING_SECONDS": 0.5}, id="more than there is time for"),
    ],
)
async def test_a_close_ends_and_says_what_it_has_left(
    scopes: int,
    seconds_per_deletion: float,
    settings: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(capacity, "SETTLE_SECONDS", NEVER_SECONDS)
    for name, seconds in settings.items():
        monkeypatch.setattr(store_module, name, seconds)
    engine = EmbeddedEngine(":memory:")
    with caplog.at_level(logging.WARNING):
        assert scopes * LIMIT < await left_by_a_close(engine, scopes, seconds_per_deletion) <= scopes * WRITTEN
    assert [record.getMessage()[:44] for record in caplog.records] == ["a scope of store s was left above its limit "]
    await engine.close()
