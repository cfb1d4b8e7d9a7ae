"""What one agent does for many tenants: each has all of it for itself, and none of them costs much."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import valkey.asyncio
from prometheus_client import CollectorRegistry, generate_latest

from betterdb_agent_memory import (
    AgentMemory,
    CacheOptions,
    Change,
    ConfigurationError,
    InvalidInputError,
    MemoryConfigRefreshConfig,
    MemoryOptions,
    MemoryStore,
    MemoryTelemetryOptions,
    TelemetryOptions,
    TenantLimitError,
    TenantLimits,
    TenantsOptions,
    sync,
)
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from tests.embedding import embed
from tests.servers import ValkeyServer
from tests.tenants.conftest import PLACEMENT_SECONDS, MakeAgent

PLACES = pytest.mark.parametrize("place", ["own", "pool"])


@PLACES
async def test_each_tenant_has_memories_sessions_and_results_of_its_own(make_agent: MakeAgent, place: str) -> None:
    agent = make_agent(place=place)
    for name in ("acme", "Acme", "acm"):
        tenant = agent.tenant(name)
        await tenant.memory.remember(f"of {name}", id="same", thread_id="t")
        await tenant.session.set("t", "who", name)
        await tenant.tool.store("look_up", {"of": "me"}, name)
    for name in ("acme", "Acme", "acm"):
        tenant = agent.tenant(name)
        assert [hit.item.content for hit in await tenant.memory.recall("of", thread_id="t")] == [f"of {name}"]
        assert await tenant.session.get("t", "who") == name
        assert (await tenant.tool.check("look_up", {"of": "me"})).response == name
    assert await agent.tenant("acme").memory.forget("same")
    await agent.tenant("acme").flush()
    assert await agent.tenant("acm").session.get("t", "who") == "acm"
    assert (await agent.tenant("Acme").memory.get("same")).content == "of Acme"  # type: ignore[union-attr]
    assert await agent.memory.recall("of") == []
    assert await agent.tenants.names() == ["Acme", "acm", "acme"]


async def test_a_store_of_the_tenants_name_is_the_tenant(make_agent: MakeAgent, valkey_server: ValkeyServer) -> None:
    agent = make_agent()
    tenant = agent.tenant("acme")
    id = await tenant.memory.remember("tea")
    store = MemoryStore(client=agent.memory._engine, name=tenant.name, embed_fn=embed, default_threshold=2.0)
    assert [hit.item.id for hit in await store.recall("tea")] == [id]
    await store.close()


@PLACES
async def test_each_tenant_has_a_feed_of_its_own(make_agent: MakeAgent, place: str) -> None:
    agent = make_agent(place=place)
    acme, globex = agent.tenant("acme").memory, agent.tenant("globex").memory
    assert [change async for change in takewhile_waiting(acme.changes(since="now"))] == []
    await globex.remember("another tenant's", id="1")
    await acme.remember("one", id="1")
    await acme.update("1", importance=0.9)
    await acme.forget("1")
    told = [(change.kind, change.memory_id) async for change in takewhile_waiting(acme.changes(since="oldest"))]
    assert told == [("remembered", "1"), ("updated", "1"), ("forgotten", "1")]


async def takewhile_waiting(changes: AsyncIterator[Change]) -> AsyncIterator[Change]:
    """Changes, until none comes for a while."""
    with suppress(TimeoutError):
        while True:
            yield await asyncio.wait_for(anext(changes), 1.5)
    await changes.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", ["own", "pool", "promoted"])
async def test_a_lowered_limit_trims_scopes_that_others_wrote(url: str, store_name: str, place: str) -> None:
    def worker() -> AgentMemory:
        memory = MemoryOptions(
            discovery=False, max_items_per_scope=12, config_refresh=MemoryConfigRefreshConfig(interval_ms=1_000)
        )
        kept = "own" if place == "own" else "pool"
        tenants = TenantsOptions(place=kept, pools=1, placement_seconds=PLACEMENT_SECONDS)  # type: ignore[arg-type]
        return AgentMemory.open(url, name=store_name, embedder=embed, memory=memory, tenants=tenants)

    async with worker() as one:
        if place == "promoted":
            await one.tenant("acme").memory.remember("first")
            await one.tenants.promote("acme")
        await one.tenant("acme").memory.remember_many([{"content": f"{n}", "thread_id": "x"} for n in range(14)])
        await one.tenant("globex").memory.remember_many([{"content": f"{n}", "thread_id": "x"} for n in range(9)])
    async with worker() as other:
        acme = other.tenant("acme")
        await acme.memory.remember("other", thread_id="y")
        assert len([item async for item in acme.memory.iterate(thread_id="x")]) == 12
        await acme.config.set(max_items_per_scope=5)
        async with asyncio.timeout(20):
            while len([item async for item in acme.memory.iterate(thread_id="x")]) > 5:
                await acme.memory.remember("again", thread_id="y")
                await asyncio.sleep(0.1)
        assert len([item async for item in acme.memory.iterate(thread_id="x")]) == 5
        assert len([item async for item in other.tenant("globex").memory.iterate(thread_id="x")]) == 9


async def test_only_names_of_tenants_are_listed(make_agent: MakeAgent, store_name: str) -> None:
    agent = make_agent()
    await agent.tenant("acme").memory.remember("one")
    await agent.tenant("acme").session.set("chat", "f}:__tenant", "no tenant")
    tag = store_name.replace("{", "%7B").replace("}", "%7D")
    await agent.memory._engine.values.set(f"{{{tag}:other:globex}}:__tenant", b"own")
    assert await agent.tenants.names() == ["acme"]


async def test_tenants_are_configured_one_by_one(make_agent: MakeAgent) -> None:
    agent = make_agent()
    await agent.tenant("acme").config.set(threshold=0.125)
    assert (await agent.tenant("acme").config.get()).memory.threshold == 0.125
    await agent.tenant("acme").memory.remember("read with the call")
    await agent.tenant("globex").memory.remember("read with the call")
    assert agent.tenant("acme").memory.current_config().threshold == 0.125
    assert agent.tenant("globex").memory.current_config().threshold == 2.0


async def test_a_new_worker_goes_by_what_an_operator_has_set(make_agent: MakeAgent) -> None:
    await make_agent().tenant("acme").config.set(threshold=0.125)
    worker = make_agent().tenant("acme")
    await worker.memory.recall("anything")
    assert worker.memory.current_config().threshold == 0.125


async def test_many_tenants_leave_no_tasks_and_no_entries_behind(
    valkey_server: ValkeyServer, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    registry = CollectorRegistry()
    agent = AgentMemory.open(
        valkey_server.url,
        name=store_name,
        embedder=embed,
        memory=MemoryOptions(telemetry=MemoryTelemetryOptions(registry=registry)),
        caches=CacheOptions(telemetry=TelemetryOptions(registry=registry)),
        tenants=TenantsOptions(kept=5),
    )
    async with agent:
        await agent.memory.remember("of the agent")
        await agent.session.set("t", "f", "v")
        before = len(asyncio.all_tasks())
        for number in range(20):
            tenant = agent.tenant(f"t{number}")
            await tenant.memory.remember("tea")
            await tenant.session.set("t", "f", "v")
        await agent.tenants.names()
        for _ in range(200):
            if len(asyncio.all_tasks()) <= before + 1:
                break
            await asyncio.sleep(0.02)
        assert len(asyncio.all_tasks()) <= before + 1
        entries = await valkey_client.hkeys("__betterdb:caches")  # type: ignore[misc]
        assert sorted(entry for entry in entries if store_name.encode() in entry) == [
            store_name.encode(),
            f"{store_name}:mem".encode(),
        ]
        shown = generate_latest(registry).decode()
        assert f"{store_name}:t7" not in shown
        assert f'betterdb_memory_items{{name="{store_name}"}} 21.0' in shown or f'"{store_name}"}} 21.0' in shown


async def test_only_so_many_tenants_are_kept_and_those_in_use_go_on(make_agent: MakeAgent) -> None:
    agent = make_agent(kept=2)
    held = agent.tenant("held")
    await held.memory.remember("tea")
    forgotten = weakref.ref(agent.tenant("forgotten"))
    for number in range(4):
        await agent.tenant(f"t{number}").memory.remember("tea")
    assert agent.tenant("held") is held
    assert len(await held.memory.recall("tea")) == 1
    gc.collect()
    assert forgotten() is None


async def test_metrics_tell_tenants_apart_if_asked(url: str, store_name: str) -> None:
    registry = CollectorRegistry()
    agent = AgentMemory.open(
        url,
        name=store_name,
        embedder=embed,
        memory=MemoryOptions(telemetry=MemoryTelemetryOptions(registry=registry), discovery=False),
        caches=CacheOptions(discovery=False),
        tenants=TenantsOptions(metrics_by_tenant=True),
    )
    await agent.tenant("acme").memory.remember("tea")
    assert f'"{agent.tenant("acme").name}"}} 1.0' in generate_latest(registry).decode()
    await agent.close()


async def test_what_was_put_off_is_written_at_close(url: str, store_name: str) -> None:
    memory = MemoryOptions(discovery=False, threshold=2.0, reinforcement="deferred")
    async with AgentMemory.open(url, name=store_name, embedder=embed, memory=memory) as agent:
        id = await agent.tenant("acme").memory.remember("tea")
        await agent.tenant("acme").memory.recall("tea")
    async with AgentMemory.open(url, name=store_name, embedder=embed, memory=memory) as agent:
        item = await agent.tenant("acme").memory.get(id)
        assert item is not None
        assert item.access_count == 1


async def test_no_io_before_the_first_call() -> None:
    engine = EmbeddedEngine("/nonexistent/directory/memories.db")
    agent = AgentMemory.open("/nonexistent/directory/memories.db", embedder=embed)
    tenant = agent.tenant("acme")
    assert (tenant.name, tenant.tenant) == ("{betterdb_ac:acme}", "acme")
    assert agent.tenant("acme") is tenant
    await engine.close()


async def test_names_and_options_are_checked(make_agent: MakeAgent) -> None:
    with pytest.raises(InvalidInputError, match="'a:b'"):
        make_agent().tenant("a:b")
    with pytest.raises(ConfigurationError, match=r"TenantsOptions\.place must be 'own' or 'pool'"):
        TenantsOptions(place="shared")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"TenantsOptions\.limits must be TenantLimits\(\.\.\.\).*got None"):
        TenantsOptions(limits=None)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"TenantLimits\.max_memories must be a whole number from 1, got 0"):
        TenantsOptions(limits={"max_memories": 0})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"TenantLimits\.burst .* calls_per_second.*burst=3"):
        TenantLimits(burst=3)
    with pytest.raises(ConfigurationError, match="tenants must be TenantsOptions"):
        AgentMemory.open(":memory:", embedder=embed, tenants={"place": "own"})  # type: ignore[arg-type]


def test_tenants_without_await(url: str, store_name: str) -> None:
    memory = MemoryOptions(discovery=False, threshold=2.0)
    options = TenantsOptions(place="pool", placement_seconds=0.1, limits=TenantLimits(max_memories=2))
    with sync.AgentMemory.open(url, name=store_name, embedder=embed, memory=memory, tenants=options) as agent:
        tenant = agent.tenant("acme")
        tenant.memory.remember("tea")
        assert [item.content for item in tenant.memory.iterate()] == ["tea"]
        tenant.session.set("t", "f", "v")
        assert agent.tenants.promote("acme").phase == "own"
        agent.tenants.set_limits("acme", TenantLimits(max_memories=1))
        assert [hit.item.content for hit in tenant.memory.recall("tea")] == ["tea"]
        with pytest.raises(TenantLimitError):
            agent.tenant("acme").memory.remember_many(["one", "two"])
        assert agent.tenants.names() == ["acme"]


async def test_tenants_that_are_let_go_stop_looking_after_their_scopes(url: str, store_name: str) -> None:
    memory = MemoryOptions(discovery=False, threshold=2.0, max_items_per_scope=2)
    caches = CacheOptions(discovery=False)
    options = TenantsOptions(kept=2)
    async with AgentMemory.open(
        url, name=store_name, embedder=embed, memory=memory, caches=caches, tenants=options
    ) as agent:
        await agent.memory.remember("of the agent", thread_id="t")
        before = len(asyncio.all_tasks())
        held = [agent.tenant(f"t{number}") for number in range(8)]
        for tenant in held:
            for text in ("one", "two", "three", "four"):
                await tenant.memory.remember(text, thread_id="t")
        for number in (0, 1):
            agent.tenant(f"t{number}")
        async with asyncio.timeout(30):
            while len(asyncio.all_tasks()) > before + 3:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.02)
        for tenant in held:
            assert len([item async for item in tenant.memory.iterate(thread_id="t")]) == 2
