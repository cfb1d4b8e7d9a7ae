"""Forgetting a scope that others keep writing to."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from betterdb_agent_memory.engines.base import Counter, Expected, Fence, Row
from betterdb_agent_memory.engines.filters import Equals, Filter
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from betterdb_agent_memory.memory.forgetting import forget_matching
from tests.engines.valkey.samples import collection, record

SCOPE = Filter((Equals("threadId", "t"),))


async def unheard(rows: Sequence[Row]) -> None:
    """Nobody is beside what is deleted here."""


class BusyRecords(ValkeyRecords):
    """Records that others write more of than a page deletes, whenever some are deleted."""

    earlier = False
    written = 0

    async def delete_many(
        self,
        ids: Sequence[str],
        *,
        expected: Sequence[Expected] | None = None,
        fence: Fence | None = None,
        counter: Counter | None = None,
    ) -> list[bool]:
        deleted = await super().delete_many(ids, expected=expected, fence=fence, counter=counter)
        start = self.written
        self.written += 600
        # Later by a minute, as somebody's clock has it; or dated before all that were there.
        at = [-1_000_000 + n if self.earlier else 60_000 + n for n in range(start, self.written)]
        await self.write_many([record(f"new{n}", at=at[n - start], threadId="t") for n in range(start, self.written)])
        return deleted


async def busy(engine: ValkeyEngine, name: str) -> BusyRecords:
    records = BusyRecords(engine._client, collection(name), search_timeout_ms=5_000, minimum_ef=100)
    await records.prepare(4)
    return records


@pytest.mark.parametrize("earlier", [False, True])
async def test_it_ends_while_others_write_and_leaves_nothing_that_was_there(
    engine: ValkeyEngine, store_name: str, earlier: bool
) -> None:
    records = await busy(engine, store_name)
    records.earlier = earlier
    there = [record(f"{n}", at=n // 100, threadId="t") for n in range(1_200)]
    there.append(record("tomorrow", at=86_400_000, threadId="t"))
    other = record("other", threadId="T")
    await records.write_many([*there, other])
    remains = {"threadId": b"t", "content": b"no date"}
    await engine.values.write_map(f"{store_name}:mem:remains", remains)
    async with asyncio.timeout(20):
        assert await forget_matching(records, SCOPE, unheard) >= 1_202
    left = await records.read_many([write.id for write in there] + ["remains"], ["content"])
    assert not any(left)
    assert await records.read_many(["other"], ["threadId"]) == [{"threadId": b"T"}]


async def test_without_other_writers_every_record_of_the_scope_goes_and_is_counted(
    records: ValkeyRecords, engine: ValkeyEngine
) -> None:
    # One moment for all of them, among strangers that the index takes for the scope's.
    values = itertools.cycle(("t", "T", " t"))
    await records.write_many([record(f"{n}", threadId=next(values)) for n in range(3_000)])
    assert await forget_matching(records, SCOPE, unheard) == 1_000
    assert (await records.count(SCOPE), await records.count(Filter())) == (0, 2_000)
    before = engine.round_trips
    assert await forget_matching(records, Filter((Equals("threadId", "nobody"),)), unheard) == 0
    assert engine.round_trips - before == 1
