"""How much a tenant may use: refused before anything is paid for, for the whole fleet together."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import ConfigurationError, MemoryOptions, TenantLimitError, TenantLimits, TenantsOptions
from betterdb_agent_memory.agent_memory import AgentMemory
from betterdb_agent_memory.dynamics import pacing
from betterdb_agent_memory.tenants import accounts
from betterdb_agent_memory.tenants.bucket import TokenBucket
from betterdb_agent_memory.tenants.store import UNLIMITED, TenantStore
from tests.embedding import DIMENSIONS, embed
from tests.tenants.conftest import PLACEMENT_SECONDS, MakeAgent
from tests.waiting import until

PLACES = pytest.mark.parametrize("place", ["own", "pool"])
COUNT_AT_ONCE = 0.0


@pytest.fixture(autouse=True)
def counts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "_COUNT_AGAIN_SECONDS", COUNT_AT_ONCE)


@PLACES
async def test_nothing_is_embedded_or_written_above_the_limit(url: str, store_name: str, place: str) -> None:
    texts: list[str] = []

    async def counting(text: str) -> list[float]:
        texts.append(text)
        return await embed(text)

    options = TenantsOptions(place=place, limits=TenantLimits(max_memories=3))  # type: ignore[arg-type]
    memory = MemoryOptions(discovery=False, threshold=2.0)
    async with AgentMemory.open(url, name=store_name, embedder=counting, memory=memory, tenants=options) as agent:
        store = agent.tenant("acme").memory
        ids = [await store.remember(f"{number}") for number in range(3)]
        texts.clear()
        with pytest.raises(TenantLimitError, match=r"may have 3 memories and would have 4.*set_limits") as refusal:
            await store.remember("one too many")
        with pytest.raises(TenantLimitError):
            await store.remember_many(["two", "more"])
        with pytest.raises(TenantLimitError):
            await store.remember_conversation(["said"], thread_id="t")
        assert (refusal.value.limit, refusal.value.allowed, refusal.value.used) == ("max_memories", 3, 4)
        assert not texts
        assert (await agent.tenants.status("acme")).memories == 3
        await agent.tenant("globex").memory.remember("another tenant's")
        await store.update(ids[0], content="a change is no memory more")
        assert await store.forget(ids[1])
        await store.remember("there is room again")
        assert (await agent.tenants.status("acme")).memories == 3


async def test_limits_that_were_lifted_for_a_while_count_what_came_meanwhile(make_agent: MakeAgent) -> None:
    agent = make_agent(limits=TenantLimits(max_memories=10))
    store = agent.tenant("acme").memory
    await store.remember_many([f"first {number}" for number in range(3)])
    await agent.tenants.set_limits("acme", TenantLimits())
    await store.remember_many([f"unlimited {number}" for number in range(12)])
    await agent.tenants.set_limits("acme", TenantLimits(max_memories=17))
    await asyncio.sleep(1.2 * PLACEMENT_SECONDS)
    with pytest.raises(TenantLimitError):
        await store.remember_many(["one", "two", "three"])
    await store.remember_many(["one", "two"])
    assert (await agent.tenants.status("acme")).memories == 17


@PLACES
async def test_updates_count_bytes(make_agent: MakeAgent, place: str) -> None:
    agent = make_agent(place=place, limits=TenantLimits(max_bytes=5_000))
    store = agent.tenant("acme").memory
    id = await store.remember("small")
    for size in (100, 3_000, 1_000, 2_500, 10):
        await store.update(id, content="x" * size)
    await store.update(id, content="x" * 3_000)
    with pytest.raises(TenantLimitError, match="bytes") as refusal:
        await store.update(id, content="x" * 6_000)
    assert refusal.value.limit == "max_bytes"
    with pytest.raises(TenantLimitError):
        await store.update(id, metadata={"note": "y" * 6_000})
    kept = await store.get(id)
    assert kept is not None
    assert (len(kept.content), kept.metadata) == (3_000, {})


@PLACES
async def test_workers_together_keep_to_the_limit(make_agent: MakeAgent, place: str) -> None:
    workers = [make_agent(place=place, limits=TenantLimits(max_memories=20)) for _ in range(3)]

    async def write(agent: AgentMemory, who: int) -> int:
        stored = 0
        for number in range(15):
            try:
                await agent.tenant("acme").memory.remember(f"{who} {number}")
                stored += 1
            except TenantLimitError:
                pass
        return stored

    stored = sum(await asyncio.gather(*[write(agent, who) for who, agent in enumerate(workers)]))
    status = await workers[0].tenants.status("acme")
    assert stored == status.memories
    # What is written while another worker counts may come on top: one memory of each at a time.
    assert 20 <= status.memories <= 20 + len(workers)


async def test_bytes_are_those_of_the_fields(make_agent: MakeAgent) -> None:
    agent = make_agent(limits=TenantLimits(max_bytes=1_000))
    memory = agent.tenant("acme").memory
    await memory.remember("x" * 100)
    used = (await agent.tenants.status("acme")).bytes
    assert 100 + 4 * DIMENSIONS < used < 300
    with pytest.raises(TenantLimitError, match=r"1,000 bytes"):
        await memory.remember("x" * 900)
    for _ in range(20):
        try:
            await memory.remember("x" * 100)
        except TenantLimitError:
            break
    else:
        pytest.fail("a tenant has as many bytes as it likes")
    assert (await agent.tenants.status("acme")).bytes <= 1_000
    assert (await agent.tenants.status("acme")).memories == 1_000 // used


async def test_what_expires_makes_room(make_agent: MakeAgent) -> None:
    agent = make_agent(limits=TenantLimits(max_memories=1))
    await agent.tenant("acme").memory.remember("for a second", ttl=1)
    with pytest.raises(TenantLimitError):
        await agent.tenant("acme").memory.remember("another")
    await asyncio.sleep(1.1)
    await agent.tenant("acme").memory.remember("another")


async def test_a_batch_that_does_not_fit_is_refused_as_a_whole(make_agent: MakeAgent) -> None:
    agent = make_agent(limits=TenantLimits(max_memories=3))
    results = await agent.tenant("acme").memory.remember_many(f"{number}" for number in range(5))
    assert {type(result.error) for result in results} == {TenantLimitError}
    assert (await agent.tenants.status("acme")).memories == 0


async def test_operators_change_limits_while_it_runs(make_agent: MakeAgent) -> None:
    worker, operator = make_agent(), make_agent()
    await worker.tenant("acme").memory.remember("one")
    await operator.tenants.set_limits("acme", TenantLimits(max_memories=1, calls_per_second=0.5))
    assert (await operator.tenants.status("acme")).limits == TenantLimits(max_memories=1, calls_per_second=0.5)
    await asyncio.sleep(0.3)
    with pytest.raises(TenantLimitError, match="1 memories"):
        await worker.tenant("acme").memory.remember("two")
    with pytest.raises(TenantLimitError, match="calls a second"):
        await worker.tenant("acme").memory.recall("two")
    await operator.tenants.set_limits("acme", TenantLimits())
    await asyncio.sleep(0.3)
    await worker.tenant("acme").memory.remember("two")
    with pytest.raises(ConfigurationError, match="TenantLimits"):
        await operator.tenants.set_limits("acme", {"max_memories": 1})  # type: ignore[arg-type]


async def test_calls_above_the_rate_say_when_to_come_again(make_agent: MakeAgent) -> None:
    agent = make_agent(limits=TenantLimits(calls_per_second=0.01, burst=3))
    memory = agent.tenant("acme").memory
    began = monotonic()
    await memory.remember("tea")
    await memory.context("tea")
    assert [item.content async for item in memory.iterate()] == ["tea"]
    with pytest.raises(TenantLimitError, match="try again in") as refusal:
        await memory.recall("tea")
    assert refusal.value.limit == "calls_per_second"
    assert refusal.value.retry_after_seconds is not None
    assert 99 - (monotonic() - began) < refusal.value.retry_after_seconds <= 100
    with pytest.raises(TenantLimitError):
        [item async for item in memory.iterate()]
    await agent.tenant("globex").memory.remember("tea")


async def test_every_verb_is_a_call(make_agent: MakeAgent) -> None:
    agent = make_agent(limits=TenantLimits(calls_per_second=0.01, burst=2))
    memory = agent.tenant("acme").memory
    await memory.remember_many([{"content": id, "id": id} for id in "ab"])
    await memory.pin("a")
    calls: list[Callable[[], Awaitable[Any]]] = [
        *(
            lambda: memory.correct("a", "other"),
            lambda: memory.supersede("a", "b"),
            lambda: memory.contradict("a", "b"),
        ),
        *(
            lambda: memory.history("a"),
            lambda: memory.pin("b"),
            lambda: memory.unpin("a"),
            lambda: memory.wait_for("a"),
        ),
        *(memory.stats, memory.change_feed, memory.stop_change_feed, memory.reindex),
        *(lambda: memory.drop_change_group("g"), lambda: anext(memory.changes(since="oldest"))),
        *(agent.tenant("acme").dynamics.health, agent.tenant("acme").dynamics.stats),
    ]
    for call in calls:
        with pytest.raises(TenantLimitError, match="calls a second"):
            await asyncio.wait_for(call(), 5)
    await memory.flush()
    await memory.refresh_config()


def test_no_verb_is_forgotten() -> None:
    """A new verb is limited, or is named in `UNLIMITED` with its reason."""
    waiting = {
        name
        for name, verb in inspect.getmembers(TenantStore, inspect.isroutine)
        if not name.startswith("_")
        and (inspect.iscoroutinefunction(inspect.unwrap(verb)) or inspect.isasyncgenfunction(inspect.unwrap(verb)))
    }
    limited = {name for name in waiting if hasattr(getattr(TenantStore, name), "__wrapped__")}
    assert {"remember", "recall", "iterate", "changes"} <= limited
    assert waiting - limited == set(UNLIMITED)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), st.floats(0.1, 10), st.integers(1, 5))
def test_a_bucket_never_lets_more_through_than_its_rate(pauses: list[float], rate: float, burst: int) -> None:
    bucket, now, passed = TokenBucket(burst, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        wait = bucket.take(rate, burst, now)
        passed += not wait
        assert passed <= burst + rate * now + 1e-6
        if wait:
            assert TokenBucket(bucket.tokens, bucket.at).take(rate, burst, now + wait * 1.000001 + 1e-9) == 0


async def test_what_is_merged_or_forgotten_is_not_counted(make_agent: MakeAgent) -> None:
    agent = make_agent(limits=TenantLimits(max_memories=5))
    tenant = agent.tenant("acme")
    for _ in range(4):
        id = await tenant.memory.remember("tea", on_duplicate="merge")
    await tenant.memory.remember("coffee")
    usage = await agent.memory._engine.values.read_map(f"{tenant.name}:__tenant_usage")
    assert usage["memories"] == b"2"
    await tenant.memory.forget(id)
    usage = await agent.memory._engine.values.read_map(f"{tenant.name}:__tenant_usage")
    assert usage["memories"] == b"1"


async def in_use(agent: AgentMemory) -> tuple[bytes, bytes]:
    """What is counted, and what there is."""
    usage = await agent.memory._engine.values.read_map(f"{agent.tenant('acme').name}:__tenant_usage")
    return usage["memories"], usage["bytes"]


@PLACES
async def test_what_takes_the_place_of_another_fits_where_that_did(make_agent: MakeAgent, place: str) -> None:
    agent = make_agent(place=place, limits=TenantLimits(max_bytes=10_000))
    memory = agent.tenant("acme").memory
    await memory.remember("x" * 6_000, id="big")
    for _ in range(3):
        await memory.update("big", content="y" * 5_000)
        await memory.remember("z" * 6_000, id="big", on_duplicate="replace")
    id = "big"
    for number in range(3):
        id = (await memory.correct(id, f"{number}" + "y" * 6_000)).id
    used = (await agent.tenants.status("acme")).bytes
    with pytest.raises(TenantLimitError, match=r"10,000 bytes and would have 11,") as refusal:
        await memory.update(id, content="x" * 11_000)
    assert refusal.value.used == used + 11_000 - 6_001
    with pytest.raises(TenantLimitError):
        await memory.remember("x" * 11_000, id=id, on_duplicate="replace")
    with pytest.raises(TenantLimitError):
        await memory.correct(id, "x" * 11_000)
    assert (await agent.tenants.status("acme")).bytes == used


@PLACES
async def test_a_full_tenant_replaces_merges_and_corrects(make_agent: MakeAgent, place: str, tmp_path: Path) -> None:
    agent = make_agent(place=place, limits=TenantLimits(max_memories=3))
    memory = agent.tenant("acme").memory
    for id in "ab":
        await memory.remember(f"text {id}", id=id)
    await memory.remember("text c", on_duplicate="merge")
    for _ in range(3):
        await memory.remember("new a", id="a", on_duplicate="replace")
        await memory.remember("text c", on_duplicate="merge")
        await memory.remember_many([{"content": "newer a", "id": "a"}], on_duplicate="replace")
    await memory.export_to(tmp_path / "all.jsonl")
    for on_existing in ("skip", "replace"):
        result = await memory.import_from(tmp_path / "all.jsonl", on_existing=on_existing, resume=False)
        assert result.rejected == 0
    await memory.correct("b", "other b")
    for named in ({"id": "d"}, {}):
        with pytest.raises(TenantLimitError, match="3 memories and would have 4"):
            await memory.remember("one more", on_duplicate="merge" if not named else "replace", **named)  # type: ignore[arg-type]
    assert (await agent.tenants.status("acme")).memories == 3
    assert (await in_use(agent))[0] == b"3"


@PLACES
async def test_bytes_of_what_leaves_are_free_at_once(
    make_agent: MakeAgent, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make_agent(place=place, limits=TenantLimits(max_bytes=20_000))
    memory = agent.tenant("acme").memory
    id = await memory.remember("x" * 5_000)
    await memory.remember("kept")
    monkeypatch.setattr(accounts, "_COUNT_AGAIN_SECONDS", 3_600.0)
    for number in range(10):
        assert await memory.forget(id)
        id = await memory.remember(f"{number}" + "x" * 5_000)
    for number in range(10):
        id = (await memory.correct(id, f"again {number}" + "x" * 5_000)).id
    assert (await in_use(agent))[1] == b"%d" % (await agent.tenants.status("acme")).bytes


async def test_what_replaces_less_is_counted(make_agent: MakeAgent) -> None:
    agent = make_agent(limits=TenantLimits(max_bytes=10_000))
    memory = agent.tenant("acme").memory
    for id in "abc":
        await memory.remember("small", id=id)
    for id in "ab":
        await memory.remember("x" * 4_000, id=id, on_duplicate="replace")
    with pytest.raises(TenantLimitError):
        await memory.remember("x" * 4_000, id="c", on_duplicate="replace")
    assert (await agent.tenants.status("acme")).bytes <= 10_000


async def test_a_lowered_limit_refuses_no_change_that_adds_nothing(make_agent: MakeAgent) -> None:
    agent = make_agent(limits=TenantLimits(max_bytes=20_000, max_memories=5))
    memory = agent.tenant("acme").memory
    for id in "abc":
        await memory.remember("x" * 3_000, id=id)
    await agent.tenants.set_limits("acme", TenantLimits(max_bytes=5_000, max_memories=2))
    await asyncio.sleep(1.2 * PLACEMENT_SECONDS)
    await memory.update("a", content="y" * 2_000)
    with pytest.raises(TenantLimitError, match="may have 5,000 bytes"):
        await memory.update("a", content="y" * 4_000)


async def test_a_nearly_full_tenant_is_downscaled(make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    # All with one request: the 3,700 bytes that are set are more than there is room for, whatever the machine's pace.
    monkeypatch.setattr(pacing, "FEWEST", 100)
    now_ms = count(1_790_000_000_000, 1_000)
    agent = make_agent(clock=lambda: next(now_ms))
    tenant = agent.tenant("acme")
    await tenant.memory.remember_many([f"text {number}" for number in range(100)])
    # Strengths have up to three digits more once they have faded for some seconds.
    for _ in range(3):
        await tenant.dynamics.downscale(0.9)
    used = (await agent.tenants.status("acme")).bytes
    await agent.tenants.set_limits("acme", TenantLimits(max_bytes=used + 200))
    await asyncio.sleep(1.2 * PLACEMENT_SECONDS)
    for _ in range(3):
        await tenant.dynamics.downscale(0.9)
    assert (await agent.tenants.status("acme")).bytes <= used + 200


@PLACES
async def test_limits_set_later_hold_for_what_only_changes(make_agent: MakeAgent, place: str) -> None:
    agent = make_agent(place=place)
    tenant = agent.tenant("acme")
    await tenant.memory.remember_many([f"text {number}" for number in range(20)])
    limit = (await agent.tenants.status("acme")).bytes + 200
    await agent.tenants.set_limits("acme", TenantLimits(max_bytes=limit))
    with pytest.raises(TenantLimitError, match=f"may have {limit:,} bytes"):
        await tenant.dynamics.downscale(0.9)
    assert limit - 200 < (await agent.tenants.status("acme")).bytes <= limit


@pytest.mark.parametrize("count_again_seconds", [COUNT_AT_ONCE, 60.0])
async def test_changes_do_not_go_by_a_count_of_before_limits_were_lifted(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch, count_again_seconds: float
) -> None:
    monkeypatch.setattr(accounts, "_COUNT_AGAIN_SECONDS", count_again_seconds)
    agent = make_agent(limits=TenantLimits(max_bytes=10_000))
    tenant = agent.tenant("acme")
    await tenant.memory.remember("counted", id="counted")
    await agent.tenants.set_limits("acme", TenantLimits())
    await tenant.memory.remember_many([f"not counted {number}" for number in range(20)])
    used = (await agent.tenants.status("acme")).bytes
    await agent.tenants.set_limits("acme", TenantLimits(max_bytes=used))
    await asyncio.sleep(1.2 * PLACEMENT_SECONDS)
    with pytest.raises(TenantLimitError, match=f"may have {used:,} bytes"):
        await tenant.memory.pin("counted")
    assert (await agent.tenants.status("acme")).bytes == used


async def test_workers_that_hear_of_limits_at_once_lose_no_byte_of_the_count(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = accounts.TenantAccounts._added

    async def added_later(self: accounts.TenantAccounts, *change: Any) -> tuple[int, int]:
        await asyncio.sleep(0.03 if change[1] < 0 else 0)
        return await added(self, *change)

    monkeypatch.setattr(accounts.TenantAccounts, "_added", added_later)
    tenants = [make_agent().tenant("acme") for _ in range(3)]
    ids = [
        one.id for one in await tenants[0].memory.remember_many([f"text {number}" for number in range(60)]) if one.id
    ]
    for tenant in tenants:
        await tenant.memory.get(ids[0])
    agent = make_agent()
    await agent.tenants.set_limits("acme", TenantLimits(max_bytes=1_000_000))
    await asyncio.sleep(1.2 * PLACEMENT_SECONDS)
    await asyncio.gather(*(tenants[number % 3].memory.pin(id) for number, id in enumerate(ids)))
    counter = agent.tenant("acme").memory._gate.accounts  # type: ignore[attr-defined]
    said, actual = await counter._said(), await counter.usage()
    # A version has a digit, and counters are in no account.
    assert said[1] >= actual[1] - len(ids)


async def test_who_writes_while_another_one_counts_waits_for_it_once(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = [make_agent(), make_agent()]
    first, second = (worker.tenant("acme") for worker in workers)
    id = (await first.memory.remember("text")) or ""
    await second.memory.get(id)
    await workers[0].tenants.set_limits("acme", TenantLimits(max_bytes=1_000_000))
    await asyncio.sleep(1.2 * PLACEMENT_SECONDS)
    monkeypatch.setattr(accounts, "_WAITS", 5)
    found, may_count, is_over = accounts.TenantAccounts._found, accounts.TenantAccounts._may_count, asyncio.Event()
    waited = []

    async def found_in_the_end(self: accounts.TenantAccounts) -> tuple[int, int]:
        await is_over.wait()
        return await found(self)

    async def noted(self: accounts.TenantAccounts) -> bool:
        waited.append(self)
        return await may_count(self)

    monkeypatch.setattr(accounts.TenantAccounts, "_found", found_in_the_end)
    monkeypatch.setattr(accounts.TenantAccounts, "_may_count", noted)
    counting = asyncio.create_task(first.memory.update(id, importance=0.3))
    await until(lambda: bool(waited))
    waited.clear()
    await second.memory.remember("another")
    await second.memory.pin(id)
    is_over.set()
    await counting
    assert len(waited) == 1
