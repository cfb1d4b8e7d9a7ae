"""A tenant leaves its pool while everybody goes on; nothing is lost, doubled or missed on the way."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from betterdb_agent_memory import (
    AgentMemory,
    ConfigurationError,
    LeaseHeldError,
    MemoryDraft,
    MemoryOptions,
    MemoryStore,
    Progress,
    TenantsOptions,
)
from betterdb_agent_memory.engines.base import Outcome, RecordChange, RecordWrite
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.engines.partitioned import PartitionedRecords
from betterdb_agent_memory.leasing import HeldLease
from betterdb_agent_memory.tenants.promotion import tenant_lease
from tests.embedding import embed
from tests.tenants.conftest import PLACEMENT_SECONDS, MakeAgent
from tests.waiting import until

STANDING = 120


async def contents(agent: AgentMemory, tenant: str = "acme") -> list[str]:
    return sorted([item.content async for item in agent.tenant(tenant).memory.iterate(page_size=50)])


async def left_in_pool(agent: AgentMemory, tenant: str = "acme") -> int:
    known = agent.tenant(tenant)
    state = await known.keeper.current()
    assert state.pool is not None
    return await known.records.pooled(state.pool).count(Filter())


async def test_everything_goes_on_while_a_tenant_moves(make_agent: MakeAgent) -> None:
    """Two workers write, change, forget and recall all the time; a third one promotes."""
    workers = [make_agent(place="pool", pools=1) for _ in range(2)]
    operator = make_agent(place="pool", pools=1)
    standing = [f"standing {number}" for number in range(STANDING)]
    drafts = [MemoryDraft(text, id=text.replace(" ", "-"), thread_id="standing") for text in standing]
    for tenant in ("acme", "acm"):
        await operator.tenant(tenant).memory.remember_many(drafts)
    is_over = asyncio.Event()
    written: list[str] = []
    changed: list[str] = []
    looks = 0

    async def write(agent: AgentMemory, who: int) -> None:
        memory, number = agent.tenant("acme").memory, 0
        while not is_over.is_set():
            number += 1
            kept, dropped = f"kept {who} {number}", f"dropped {who} {number}"
            await memory.remember(kept, thread_id="new")
            written.append(kept)
            id = await memory.remember(dropped, thread_id="new")
            await memory.update(id, content=f"{dropped} for good")
            assert await memory.forget(id)
            if len(changed) < STANDING // 2:
                place = len(changed)
                changed.append(standing[place])
                await memory.update(f"standing-{place}", importance=0.9)

    async def look(agent: AgentMemory) -> None:
        nonlocal looks
        memory = agent.tenant("acme").memory
        while not is_over.is_set():
            found = [item.content async for item in memory.iterate(thread_id="standing", page_size=50)]
            assert sorted(found) == sorted(standing)
            hits = await memory.recall(standing[7], k=STANDING + 50, thread_id="standing")
            assert sorted(hit.item.content for hit in hits) == sorted(standing)
            assert hits[0].item.content == standing[7]
            assert all(await memory.get_many(["standing-0", f"standing-{STANDING - 1}"]))
            looks += 1

    tasks = [asyncio.create_task(write(agent, who)) for who, agent in enumerate(workers)]
    tasks += [asyncio.create_task(look(agent)) for agent in workers]
    await until(lambda: looks > 2)
    status = await operator.tenants.promote("acme")
    before = looks
    await until(lambda: looks > before + 2 or any(task.done() for task in tasks))
    is_over.set()
    await asyncio.gather(*tasks)
    assert status.phase == "own"
    for agent in (operator, *workers):
        assert await contents(agent) == sorted(standing + written)
    assert await left_in_pool(operator) == 0
    kept = [await operator.tenant("acme").memory.get(f"standing-{place}") for place in range(len(changed))]
    assert [item.importance for item in kept if item is not None] == [0.9] * len(changed)
    assert await contents(operator, "acm") == sorted(standing)


async def test_progress_is_told_and_expiries_and_fields_are_kept(make_agent: MakeAgent) -> None:
    agent = make_agent(place="pool")
    memory = agent.tenant("acme").memory
    await memory.remember("for ever", id="1", tags=["a", "b"], metadata={"x": [1]}, subject="s", importance=0.25)
    await memory.remember("for an hour", id="2", ttl=3600)
    before = await memory.get_many(["1", "2"])
    [_, expiry] = await agent.tenant("acme").records.read_expiries(["1", "2"])
    told: list[Progress] = []
    status = await agent.tenants.promote("acme", on_progress=told.append)
    assert (status.phase, status.memories) == ("own", 2)
    store = MemoryStore(client=agent.memory._engine, name=status.store or "", embed_fn=embed)
    assert await store.get_many(["1", "2"]) == before
    await store.close()
    assert told[-1] == Progress("moving", 2, 2)
    assert await memory.get_many(["1", "2"]) == before
    [never, later] = await agent.tenant("acme").records.read_expiries(["1", "2"])
    assert never is None
    assert later == pytest.approx(expiry, abs=50)
    [fields] = await agent.tenant("acme").records.read_many(["1"], None)
    assert "tenant" not in (fields or {})
    assert (await agent.tenants.promote("acme")).phase == "own"


KILLED = """
import asyncio, os, signal, sys
from betterdb_agent_memory import AgentMemory, MemoryOptions, TenantsOptions
from betterdb_agent_memory.tenants import promotion
from tests.embedding import embed

async def main(url, name, seconds):
    promotion._PAGE = 10
    agent = AgentMemory.open(
        url, name=name, embedder=embed, memory=MemoryOptions(discovery=False),
        tenants=TenantsOptions(place="pool", placement_seconds=float(seconds)),
    )
    await agent.tenants.promote("acme", on_progress=lambda progress: os.kill(os.getpid(), signal.SIGKILL))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_promotion_is_gone_on_with(
    make_agent: MakeAgent, url: str, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("betterdb_agent_memory.tenants.promotion.LEASE_SECONDS", 1.0)
    agent = make_agent(place="pool")
    texts = [f"memory {number}" for number in range(40)]
    await agent.tenant("acme").memory.remember_many(texts)
    script = KILLED.replace("promotion._PAGE = 10", "promotion._PAGE = 10; promotion.LEASE_SECONDS = 1.0")
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, url, store_name, str(PLACEMENT_SECONDS), cwd=Path(__file__).parents[2]
    )
    assert await worker.wait() == -signal.SIGKILL
    assert 0 < await left_in_pool(agent) < 40
    assert await contents(agent) == sorted(texts)
    await agent.tenant("acme").memory.remember("written in between")
    async with asyncio.timeout(30):
        while True:
            try:
                status = await agent.tenants.promote("acme")
                break
            except LeaseHeldError:
                await asyncio.sleep(0.1)
    assert (status.phase, status.memories) == ("own", 41)
    assert await contents(agent) == sorted([*texts, "written in between"])
    assert await left_in_pool(agent) == 0


async def test_who_stood_still_meanwhile_loses_nothing(make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is stopped on its way to the pool goes on when the tenant has long moved."""
    worker, operator = make_agent(place="pool"), make_agent(place="pool")
    memory = worker.tenant("acme").memory
    await memory.remember("there before", id="old")
    written, changed = PartitionedRecords.write_many, PartitionedRecords.change_many
    going_on = asyncio.Event()
    waiting: list[str] = []

    async def late_write(records: PartitionedRecords, writes: Sequence[RecordWrite], **how: Any) -> list[Outcome]:
        waiting.append("write")
        await going_on.wait()
        return await written(records, writes, **how)

    async def late_change(records: PartitionedRecords, changes: Sequence[RecordChange], **how: Any) -> list[Outcome]:
        waiting.append("change")
        await going_on.wait()
        return await changed(records, changes, **how)

    monkeypatch.setattr(PartitionedRecords, "write_many", late_write)
    monkeypatch.setattr(PartitionedRecords, "change_many", late_change)
    late = [
        asyncio.create_task(memory.remember("came late", id="late")),
        asyncio.create_task(memory.update("old", importance=0.75)),
    ]
    await until(lambda: sorted(waiting) == ["change", "write"])
    assert (await operator.tenants.promote("acme")).phase == "own"
    going_on.set()
    await asyncio.gather(*late)
    assert await contents(operator) == ["came late", "there before"]
    item = await operator.tenant("acme").memory.get("old")
    assert item is not None
    assert item.importance == 0.75
    assert await left_in_pool(operator) == 0


async def test_what_was_written_while_others_are_told_stays_where_they_look(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, operator = make_agent(place="pool"), make_agent(place="pool")
    memory = worker.tenant("acme").memory
    await memory.remember("there before")
    written = PartitionedRecords.write_many
    going_on, is_waiting = asyncio.Event(), asyncio.Event()

    async def late_write(records: PartitionedRecords, writes: Sequence[RecordWrite], **how: Any) -> list[Outcome]:
        is_waiting.set()
        await going_on.wait()
        return await written(records, writes, **how)

    monkeypatch.setattr(PartitionedRecords, "write_many", late_write)
    late = asyncio.create_task(memory.remember("came late"))
    await is_waiting.wait()
    acme = operator.tenant("acme")
    async with tenant_lease(operator._engine, acme.name, "half a promotion") as lease:
        await acme.keeper.step("announced", lease)
    await asyncio.sleep(PLACEMENT_SECONDS * 1.1)
    going_on.set()
    await late
    assert await left_in_pool(operator) == 2


async def test_memories_are_corrected_before_while_and_after_a_tenant_moves(make_agent: MakeAgent) -> None:
    worker, operator = make_agent(place="pool"), make_agent(place="pool")
    memory = worker.tenant("acme").memory
    await operator.tenant("other").memory.remember("there before", id="old", thread_id="t")
    first = latest = await memory.remember("there before", id="old", thread_id="t")
    texts = ["there before"]

    async def correct_once() -> None:
        nonlocal latest
        texts.append(f"corrected {len(texts)}")
        latest = (await memory.correct(latest, texts[-1])).id

    await correct_once()
    promoting = asyncio.create_task(operator.tenants.promote("acme"))
    phases = set()
    while not promoting.done():
        phases.add((await worker.tenant("acme").keeper.current()).phase)
        await correct_once()
        await asyncio.sleep(PLACEMENT_SECONDS / 8)
    assert (await promoting).phase == "own"
    assert {"announced", "moving"} <= phases
    await correct_once()
    assert await contents(operator) == [texts[-1]]
    assert [version.item.content for version in await memory.history(first)] == texts
    assert await contents(operator, "other") == ["there before"]
    assert await memory.forget_by_scope(thread_id="t") == 1
    assert await memory.history(first) == []
    assert await contents(operator, "other") == ["there before"]


async def test_a_walk_that_began_in_the_pool_ends_in_the_tenants_own_index(make_agent: MakeAgent) -> None:
    agent = make_agent(place="pool")
    texts = [f"memory {number}" for number in range(60)]
    await agent.tenant("acme").memory.remember_many(texts)
    found = []
    async for item in agent.tenant("acme").memory.iterate(page_size=20):
        found.append(item.content)
        if len(found) == 5:
            await make_agent(place="pool").tenants.promote("acme")
    assert sorted(found) == sorted(texts)


async def test_a_tenant_that_has_grown_is_promoted_by_itself(make_agent: MakeAgent) -> None:
    agent = make_agent(place="pool", promote_at=20)
    await agent.tenant("small").memory.remember_many([f"{number}" for number in range(10)])
    await agent.tenant("acme").memory.remember_many([f"{number}" for number in range(25)])
    async with asyncio.timeout(30):
        while (await agent.tenants.status("acme")).phase != "own":  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.05)
    assert (await agent.tenants.status("small")).phase == "pooled"
    assert len(await contents(agent)) == 25


async def test_only_one_worker_promotes(make_agent: MakeAgent) -> None:
    agent = make_agent(place="pool")
    tenant = agent.tenant("acme")
    await tenant.memory.remember("tea")
    async with HeldLease(agent.memory._engine.leases, f"{tenant.name}:__tenant_lease", what="promotion"):
        with pytest.raises(LeaseHeldError, match="promotion of tenant acme"):
            await agent.tenants.promote("acme")
    assert (await agent.tenants.status("acme")).phase == "pooled"


async def test_a_tenant_of_a_pool_changes_neither_model_nor_index_of_all(url: str, store_name: str) -> None:
    agent = AgentMemory.open(
        url,
        name=store_name,
        embedder=embed,
        memory=MemoryOptions(discovery=False),
        tenants=TenantsOptions(place="pool", placement_seconds=PLACEMENT_SECONDS),
    )
    async with agent:
        tenant = agent.tenant("acme")
        await tenant.memory.remember("tea")
        with pytest.raises(ConfigurationError, match=r"agent\.tenants\.promote"):
            await tenant.memory.migration.start()
        with pytest.raises(ConfigurationError, match="index that many share"):
            await tenant.records.rebuild(5)
        assert (await tenant.records.rebuild(8)).dimensions == 8


async def test_scopes_keep_to_their_limit_in_a_pool_and_out_of_it(url: str, store_name: str) -> None:
    agent = AgentMemory.open(
        url,
        name=store_name,
        embedder=embed,
        memory=MemoryOptions(discovery=False, threshold=2.0, max_items_per_scope=5),
        tenants=TenantsOptions(place="pool", pools=1, placement_seconds=PLACEMENT_SECONDS),
    )
    async with agent:

        async def crowd(tenant: str) -> int:
            for number in range(12):
                await agent.tenant(tenant).memory.remember(f"{number}", thread_id="t")
            return len([item async for item in agent.tenant(tenant).memory.iterate(thread_id="t")])

        assert [await crowd("acme"), await crowd("globex")] == [5, 5]
        counts = agent.tenant("acme").records.pooled(0).shared.collection.counts_key or ""
        assert len(await agent.memory._engine.values.read_map(counts)) == 4
        await agent.tenants.promote("acme")
        assert len(await agent.memory._engine.values.read_map(counts)) == 2
        assert [await crowd("acme"), await crowd("globex")] == [5, 5]


async def test_links_stay_while_a_tenant_moves(make_agent: MakeAgent) -> None:
    agent = make_agent(place="pool", pools=1)
    memory, others = agent.tenant("acme").memory, agent.tenant("acm").memory
    for store in (memory, others):
        for id in "abcd":
            await store.remember(f"memory {id}", id=id)
        await store.link("a", "b")
        await store.link("b", "c")
    assert await memory.forget("b")
    assert await memory.links("a") == []
    assert [link.id for link in await others.links("a")] == ["b"]
    await memory.link("a", "c", 2.0)
    await agent.tenants.promote("acme")
    assert [link.id for link in await memory.links("c")] == ["a"]
    await memory.link("a", "d")
    assert [hit.item.id for hit in await memory.recall("memory a", k=1, expand=True)] == ["a", "c", "d"]
    assert await memory.forget("c")
    assert [link.id for link in await memory.links("a", least_weight=0)] == ["d"]
