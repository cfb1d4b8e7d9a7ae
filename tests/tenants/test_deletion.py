"""A tenant that is deleted leaves nothing behind, and nobody else loses a byte."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
import valkey

from betterdb_agent_memory import (
    ConfigurationError,
    InvalidInputError,
    LeaseHeldError,
    LeaseLostError,
    MemoryItem,
    MemoryOptions,
    TenantLimits,
)
from betterdb_agent_memory.agent_memory import AgentMemory
from betterdb_agent_memory.tenants.deletion import DeletedTenant, Deletion
from betterdb_agent_memory.tenants.promotion import tenant_lease
from betterdb_agent_memory.tenants.tenant import Tenant
from tests.embedding import embed
from tests.tenants.conftest import MakeAgent
from tests.waiting import until

LEASES = ("_lease", "_turn")


async def fill(tenant: Tenant, memories: int = 3) -> None:
    """Some of everything that there can be of a tenant."""
    await tenant.memory.remember_many([{"content": f"note {n}", "id": f"n{n}"} for n in range(memories)], thread_id="t")
    await tenant.memory.remember("short-lived", id="short", ttl=600)
    await tenant.memory.link("n0", "short")
    await tenant.memory.remember("note to be corrected", id="wrong", thread_id="t")
    await tenant.memory.supersede("wrong", "n0")
    await tenant.memory.recall("note 1")
    await tenant.session.set("t", "step", "asked")
    await tenant.tool.store("look_up", {"of": "me"}, "found")
    await tenant.write_pending()


def everything(url: str) -> dict[Any, Any]:
    """All that a server has, byte for byte, by key; of a file all rows but those of the search indexes, by table."""
    if "://" not in url:
        return _rows(url)
    found: dict[Any, Any] = {}
    host, _, port = url.partition("://")[2].partition(",")[0].partition(":")
    made = valkey.ValkeyCluster if "cluster" in url else valkey.Valkey
    client: Any = made(host=host, port=int(port))
    with client:
        for key in client.scan_iter(count=1000):
            found[key.decode(errors="replace")] = client.dump(key)
    return found


def _rows(path: str) -> dict[Any, Any]:
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    named = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE TABLE%'")
    tables = [
        name for name in (str(name) for (name,) in named.fetchall()) if "word_" not in name and "stem_" not in name
    ]
    rows: dict[Any, Any] = {}
    for table in tables:
        rows.update(((table, row), b"") for row in connection.execute(f'SELECT * FROM "{table}"'))
    connection.close()
    return rows


def of_acme(found: dict[Any, Any], name: str) -> list[Any]:
    """What there is of the tenant, but for the tokens of its leases and for that it was deleted."""
    grave = f"{name}:__tenant_moves"
    if not all(isinstance(key, str) for key in found):
        cells: list[tuple[Any, ...]] = [row for table, row in found if table != "lease"]
        begins = (f"{name}:", "acme|")
        return [
            row
            for row in cells
            if any(str(cell).startswith(begins) or ":~acme:" in str(cell) for cell in row) and grave not in row
        ]
    keys = [key for key in of_agent(found, name) if is_of_acme(key, name) and key != grave]
    return [key for key in keys if not key.endswith(LEASES) and "__mem_eviction_lease" not in key]


def of_agent(found: dict[Any, Any], name: str) -> dict[Any, Any]:
    """All keys of the agent whose tenant is called `name` in full; other tests have tenants, too."""
    agent = name.rpartition(":")[0]
    return {key: value for key, value in found.items() if key.startswith(f"{agent}:")}


def is_of_acme(key: str, name: str) -> bool:
    return key.startswith(f"{name}:") or ":mem:acme|" in key or ":~acme:" in key


@pytest.mark.parametrize("place", ["own", "pool", "promoted"])
async def test_nothing_is_left_and_the_neighbours_keep_every_byte(make_agent: MakeAgent, url: str, place: str) -> None:
    agent = make_agent(place="own" if place == "own" else "pool", pools=1)
    for name in ("acme", "Acme", "acme2"):
        await fill(agent.tenant(name))
    acme = agent.tenant("acme")
    await agent.tenants.set_limits("acme", TenantLimits(max_memories=100))
    if place == "promoted":
        await agent.tenants.promote("acme")
    if place != "pool":
        await acme.records.prepare(8)
    before = everything(url)
    mine = of_acme(before, acme.name)
    assert len(mine) > 7
    deleted = await agent.tenants.delete("acme")
    assert (deleted.tenant, deleted.memories) == ("acme", 5)
    assert deleted.entries >= 5
    after = everything(url)
    assert of_acme(after, acme.name) == []
    if "://" in url:
        # Of a pool's counts those of its other tenants stay, and the hash with them is another one.
        others = [key for key in of_agent(before, acme.name) if not is_of_acme(key, acme.name)]
        others = [key for key in others if "__mem_counts" not in key]
        assert len(others) > 15
        assert {key: after.get(key) for key in others} == {key: before[key] for key in others}
    assert await agent.tenants.names() == ["Acme", "acme2"]
    for name in ("Acme", "acme2"):
        other = agent.tenant(name)
        assert [item.id async for item in other.memory.iterate()] == ["n0", "n1", "n2", "short"]
        assert (await other.memory.recall("note 2", k=1))[0].item.id == "n2"
        assert await other.session.get("t", "step") == "asked"


async def test_the_name_is_refused_for_good_by_every_worker(make_agent: MakeAgent, url: str) -> None:
    one, other = make_agent(place="pool"), make_agent(place="pool")
    await fill(one.tenant("acme"))
    held = other.tenant("acme")
    assert len(await held.memory.recall("note", thread_id="t")) == 3
    deleting = asyncio.create_task(one.tenants.delete("acme"))

    async def go_on() -> None:
        while not deleting.done():
            await held.memory.remember("told late")

    with pytest.raises(ConfigurationError, match="tenant acme is being deleted"):
        await asyncio.wait_for(go_on(), 10)
    assert (await deleting).memories >= 4
    await until(lambda: not held.keeper.is_fresh())
    for agent in (one, other, make_agent(place="own")):
        with pytest.raises(ConfigurationError, match="tenant acme was deleted, and its name is not used again"):
            await agent.tenant("acme").memory.recall("note", thread_id="t")
        with pytest.raises(ConfigurationError, match="was deleted"):
            await agent.tenants.promote("acme")
        with pytest.raises(ConfigurationError, match="was deleted"):
            await agent.tenants.set_limits("acme", TenantLimits(max_memories=1))
        with pytest.raises(ConfigurationError, match="was deleted"):
            await agent.tenant("acme").memory.migration.start()
        assert await agent.tenants.names() == []
    with pytest.raises(ConfigurationError, match="was deleted"):
        await held.memory.remember("of the next customer")
    assert of_acme(everything(url), held.name) == []
    # Once more is no error, and takes what came too late.
    assert (await one.tenants.delete("acme")).memories == 0
    assert await one.tenants.names() == []


@pytest.mark.parametrize("place", ["own", "pool"])
async def test_no_call_writes_anything_for_a_deleted_tenant(make_agent: MakeAgent, url: str, place: str) -> None:
    one = make_agent(place=place)
    await one.tenant("acme").memory.remember("x", id="x")
    await one.tenants.delete("acme")
    agent = make_agent(place=place)
    tenant = agent.tenant("acme")
    memory, config = tenant.memory, tenant.config
    calls: list[Callable[[], Awaitable[Any]]] = [
        *(lambda: anext(memory.changes(since="oldest")), lambda: anext(memory.changes(group="g", since="oldest"))),
        *(memory.change_feed, memory.stop_change_feed, lambda: memory.drop_change_group("g"), memory.reindex),
        *(lambda: memory.wait_for("x"), memory.stats, lambda: memory.history("x"), lambda: memory.pin("x")),
        *(lambda: config.set(threshold=0.5), config.reset, lambda: config.set_tool_ttl("look_up", 60)),
        *(lambda: config.remove_tool_policy("look_up"), memory.migration.status, memory.migration.run),
        *(memory.migration.switch, memory.migration.roll_back, memory.migration.abandon, memory.migration.finish),
        *(tenant.dynamics.maintain, lambda: tenant.dynamics.restore("x"), memory.ensure_index),
    ]
    before = of_acme(everything(url), tenant.name)
    for call in calls:
        with pytest.raises(ConfigurationError, match="was deleted"):
            await asyncio.wait_for(call(), 5)
    await memory.flush()
    await tenant.close()
    assert of_acme(everything(url), tenant.name) == before


async def test_a_deleted_tenant_gets_no_feed_and_no_index(make_agent: MakeAgent, url: str, store_name: str) -> None:
    one = make_agent()
    await one.tenant("acme").memory.remember("x", id="x")
    await one.tenants.delete("acme")
    memory = MemoryOptions(discovery=False, change_feed=True, max_items_per_scope=3)
    async with AgentMemory.open(url, name=store_name, embedder=embed, memory=memory) as agent:
        tenant = agent.tenant("acme")
        before = of_acme(everything(url), tenant.name)
        with pytest.raises(ConfigurationError, match="was deleted"):
            await tenant.memory.ensure_index()
        assert of_acme(everything(url), tenant.name) == before


@pytest.mark.parametrize("place", ["own", "pool"])
async def test_who_was_busy_meanwhile_brings_nothing_back(make_agent: MakeAgent, url: str, place: str) -> None:
    """A model that takes longer than a deletion: what it made of the memories is not written."""
    agent, busy = make_agent(place=place), make_agent(place=place)
    await fill(agent.tenant("acme"))
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def summarize(memories: list[MemoryItem]) -> str:
        is_asked.set()
        await may_answer.wait()
        return "of old secrets"

    late = asyncio.create_task(busy.tenant("acme").memory.consolidate(summarize=summarize, thread_id="t"))
    await asyncio.wait_for(is_asked.wait(), 10)
    await agent.tenants.delete("acme")
    may_answer.set()
    with pytest.raises(ConfigurationError, match="was deleted"):
        await late
    # What it had noted of its work, ids and hashes, goes with one more deletion.
    left = of_acme(everything(url), agent.tenant("acme").name)
    assert [row for row in left if "__mem_consolidation" not in str(row)] == []
    assert (await agent.tenants.delete("acme")).memories == 0
    assert of_acme(everything(url), agent.tenant("acme").name) == []


KILLED = """
import asyncio, sys
from betterdb_agent_memory import AgentMemory, MemoryOptions, TenantsOptions
from betterdb_agent_memory.tenants import promotion
from tests.embedding import embed

promotion.LEASE_SECONDS = 1.0

async def main(url, name):
    tenants = TenantsOptions(place="pool", placement_seconds=30)
    agent = AgentMemory.open(url, name=name, embedder=embed, memory=MemoryOptions(discovery=False), tenants=tenants)
    await agent.tenants.delete("acme")

asyncio.run(main(*sys.argv[1:]))
"""


async def deleted_at_last(agent: AgentMemory) -> DeletedTenant:
    """As soon as the lease of one that was killed has run out."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await agent.tenants.delete("acme")
            except LeaseHeldError:
                await asyncio.sleep(0.1)


async def test_a_killed_deletion_is_gone_on_with(make_agent: MakeAgent, url: str, store_name: str) -> None:
    agent = make_agent(place="pool")
    await fill(agent.tenant("acme"))
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, url, store_name, cwd=Path(__file__).parents[2]
    )
    keeper = agent.tenant("acme").keeper
    try:
        async with asyncio.timeout(25):
            while (await keeper.current(look=True)).phase != "deleting":  # noqa: ASYNC110 - told by the engine
                await asyncio.sleep(0.01)
    finally:
        worker.send_signal(signal.SIGKILL)
    assert await worker.wait() == -signal.SIGKILL
    with pytest.raises(ConfigurationError, match=r'agent\.tenants\.delete\("acme"\)'):
        await agent.tenant("acme").memory.recall("note")
    with pytest.raises(ConfigurationError, match="being deleted"):
        await agent.tenants.promote("acme")
    assert await agent.tenants.names() == ["acme"]
    assert (await deleted_at_last(agent)).memories == 5
    assert await agent.tenants.names() == []


async def test_one_that_ended_between_its_steps_is_gone_on_with(make_agent: MakeAgent, url: str) -> None:
    agent = make_agent(place="pool")
    acme = agent.tenant("acme")
    await fill(acme)
    half = Deletion(agent._engine, acme.name, "acme", acme.keeper, acme.records)
    pool = (await acme.keeper.current()).pool
    async with tenant_lease(agent._engine, acme.name, "half a deletion") as lease:
        await acme.keeper.step("deleting", lease)
        with pytest.raises(ConfigurationError, match="being deleted"):
            await agent.tenants.set_limits("acme", TenantLimits(max_memories=1))
        with pytest.raises(ConfigurationError, match="being deleted"):
            await acme.memory.migration.start()
        assert await half._delete_memories(pool, lease) == 5
    assert await agent.tenants.names() == ["acme"]
    deleted = await agent.tenants.delete("acme")
    assert deleted.memories == 0
    assert deleted.entries >= 4
    assert of_acme(everything(url), acme.name) == []


async def test_who_stood_still_deletes_nothing_any_more(make_agent: MakeAgent) -> None:
    """A worker that lost its lease in the middle of a deletion, which another one has brought to its end."""
    agent = make_agent(place="pool")
    acme = agent.tenant("acme")
    await fill(acme)
    late = Deletion(agent._engine, acme.name, "acme", acme.keeper, acme.records)
    pool = (await acme.keeper.current()).pool
    lost = tenant_lease(agent._engine, acme.name, "a deletion")
    async with lost:
        pass
    await agent.tenants.delete("acme")
    with pytest.raises(LeaseLostError):
        await late._delete_memories(pool, lost)


async def test_a_tenant_that_nobody_has_used_is_no_error(make_agent: MakeAgent, url: str) -> None:
    agent = make_agent()
    assert await agent.tenants.delete("nobody") == DeletedTenant("nobody", 0, 0)
    assert await agent.tenants.names() == []
    with pytest.raises(InvalidInputError, match="'a:b'"):
        await agent.tenants.delete("a:b")
