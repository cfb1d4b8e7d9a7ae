"""The Monitor sees who lives: markers as published, siblings that leave, names that died, servers that forgot."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import valkey.asyncio
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.discovery import (
    REGISTRY_KEY,
    CacheDiscovery,
    CacheTraits,
    Discovery,
    MemoryDiscovery,
    Patience,
)
from betterdb_agent_memory.discovery.dead_names import DeadNames
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.errors import AgentCacheUsageError
from tests.servers import ValkeyServer

FIXTURES = Path(__file__).parent / "interop" / "fixtures"
TRAITS = CacheTraits(ttl_defaults={}, has_cost_table=False, uses_default_cost_table=True, tool_policies=list)
LOOK = 10
"""Ticks from one look at the registry to the next."""


class Seconds:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def memory(client: object, name: str, **options: Any) -> MemoryDiscovery:
    return MemoryDiscovery(client=client, name=name, version="0.8.0", stats_key=f"{name}:__mem_stats", **options)


def cache(client: object, name: str, traits: CacheTraits = TRAITS, **options: Any) -> CacheDiscovery:
    return CacheDiscovery(client=client, name=name, version="0.12.0", traits=traits, **options)


@pytest.fixture(params=["server", "file"])
async def engine(request: pytest.FixtureRequest, valkey_server: ValkeyServer, tmp_path: Path) -> AsyncIterator[Engine]:
    made: Engine = (
        ValkeyEngine.from_url(valkey_server.url) if request.param == "server" else EmbeddedEngine(tmp_path / "m.db")
    )
    try:
        yield made
    finally:
        await made.close()


async def listed(engine: Engine, name: str) -> bytes | None:
    return (await engine.values.read_map(REGISTRY_KEY)).get(name)


async def beats(engine: Engine, field: str) -> bool:
    return await engine.values.get(f"__betterdb:heartbeat:{field}") is not None


async def look(discovery: Discovery) -> None:
    """Beat until the registry was looked at once more."""
    for _ in range(LOOK):
        await discovery.tick_heartbeat()


def recorded(writer: str, scenario: str) -> Any:
    return json.loads((FIXTURES / writer / f"{scenario}.json").read_text())


def masked(marker: bytes, name: str) -> str:
    """A marker as the recordings show it."""
    text = re.sub(r'"started_at":"[^"]*Z"', '"started_at":"<iso-8601>"', marker.decode())
    text = re.sub(r'"pid":\d+', '"pid":0', text)
    text = re.sub(r'"hostname":"[^"]+"', '"hostname":"<hostname>"', text)
    return text.replace(name, "demo")


RECORDED: dict[str, tuple[str, CacheTraits | None]] = {
    "discovery_cache": (
        "demo",
        CacheTraits(
            ttl_defaults={"llm": 3600, "tool": 300, "session": 3600},
            has_cost_table=False,
            uses_default_cost_table=True,
            tool_policies=list,
        ),
    ),
    "discovery_cache_policies": (
        "demo",
        CacheTraits(
            ttl_defaults={},
            has_cost_table=True,
            uses_default_cost_table=True,
            tool_policies=lambda: ["get_weather"],
        ),
    ),
    "discovery_cache_unparsable_marker": ("demo", TRAITS),
    "discovery_cache_same_type_other_version": ("demo", TRAITS),
    "discovery_memory": ("demo:mem", None),
    "discovery_memory_collision": ("demo:mem", None),
}


@pytest.mark.parametrize("scenario", RECORDED)
async def test_the_registry_holds_what_the_published_package_writes(scenario: str, store_name: str) -> None:
    field, traits = RECORDED[scenario]
    recording = recorded("ts", scenario)
    with ValkeyServer(search=False) as server:
        client = server.client()
        engine = ValkeyEngine(client)
        for command in recording["input"]["options"].get("pre", []):
            await client.execute_command(*[argument.replace("demo", store_name) for argument in command])
        discovery = memory(engine, store_name) if traits is None else cache(engine, store_name, traits)
        await discovery.register()
        own = field.replace("demo", store_name)
        marker = await listed(engine, own)
        assert marker is not None
        assert masked(marker, store_name) == recording["keys"][REGISTRY_KEY]["value"][field]
        assert await client.get("__betterdb:protocol") == recording["keys"]["__betterdb:protocol"]["value"].encode()
        assert 55 <= await client.ttl(f"__betterdb:heartbeat:{own}") <= 60
        beat = (await client.get(f"__betterdb:heartbeat:{own}")).decode()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", beat)

        await discovery.stop(delete_heartbeat=True)
        assert {key.decode().replace(store_name, "demo") for key in await client.keys()} == {
            key for key in recording["keys"] if "__tool_policies" not in key
        }
        await client.aclose()


async def test_a_cache_refuses_a_name_of_another_type_and_writes_nothing(engine: Engine, store_name: str) -> None:
    other = b'{"type":"semantic_cache","prefix":"demo","version":"1"}'
    await engine.values.write_map(REGISTRY_KEY, {store_name: other})
    discovery = cache(engine, store_name, heartbeat_interval_s=0.01)
    with pytest.raises(AgentCacheUsageError, match="semantic_cache"):
        await discovery.register()
    await asyncio.sleep(0.1)
    assert await listed(engine, store_name) == other
    assert not await beats(engine, store_name)


async def test_a_cache_that_could_not_register_at_first_still_respects_another_type(
    engine: Engine, store_name: str
) -> None:
    other = b'{"type":"retrieval","prefix":"demo"}'
    await engine.values.write_map(REGISTRY_KEY, {store_name: other})
    failures: list[None] = []
    discovery = cache(engine, store_name, on_write_failed=lambda: failures.append(None))
    # As after a registration that did not reach the server.
    await discovery.tick_heartbeat()
    assert await listed(engine, store_name) == other
    assert not await beats(engine, store_name)
    assert failures


async def test_registering_takes_two_round_trips_and_a_beat_one(valkey_server: ValkeyServer, store_name: str) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url)
    stale = {f"{store_name}-{number}": b'{"type":"agent_memory"}' for number in range(600)}
    await engine.values.write_map(REGISTRY_KEY, stale)
    for discovery in (memory(engine, store_name), cache(engine, store_name)):
        before = engine.round_trips
        await discovery.register()
        assert engine.round_trips - before == 2
        before = engine.round_trips
        await discovery.tick_heartbeat()
        assert engine.round_trips - before == 1
        await discovery.stop(delete_heartbeat=True)
    await engine.values.remove_fields(REGISTRY_KEY, list(stale))
    await engine.close()


async def test_a_server_that_lost_everything_lists_us_again_after_one_beat(store_name: str) -> None:
    with ValkeyServer(search=False) as server:
        client = server.client()
        both = [memory(client, store_name), cache(client, store_name)]
        for discovery in both:
            await discovery.register()
        await client.flushall()
        for discovery in both:
            await discovery.tick_heartbeat()
        assert set(await ValkeyEngine(client).values.read_map(REGISTRY_KEY)) == {store_name, f"{store_name}:mem"}
        assert await client.get("__betterdb:protocol") == b"1"
        assert await client.exists(f"__betterdb:heartbeat:{store_name}", f"__betterdb:heartbeat:{store_name}:mem") == 2
        for discovery in both:
            await discovery.stop(delete_heartbeat=True)
        await client.aclose()


LIVE_AND_LEAVE = """
import asyncio, sys
import valkey.asyncio
from betterdb_agent_memory.discovery import MemoryDiscovery

async def main(port, name):
    client = valkey.asyncio.Valkey(port=port)
    discovery = MemoryDiscovery(client=client, name=name, version="1", stats_key="s", heartbeat_interval_s=0.05)
    await discovery.register()
    print("registered", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await discovery.stop(delete_heartbeat=True)
    await client.aclose()
    print("gone", flush=True)

asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
"""


class Worker:
    """Another process that announces a name until it is told to leave."""

    def __init__(self, server: ValkeyServer, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", LIVE_AND_LEAVE, str(server.port), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "registered\n"

    def leave(self) -> None:
        output, _ = self._process.communicate("\n", timeout=30)
        assert output == "gone\n"


async def test_one_process_that_leaves_does_not_make_its_sibling_look_dead(
    valkey_server: ValkeyServer, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    key = f"__betterdb:heartbeat:{store_name}:mem"
    workers = [await asyncio.to_thread(Worker, valkey_server, store_name) for _ in range(2)]
    await asyncio.sleep(0.2)
    await asyncio.to_thread(workers[0].leave)
    assert await valkey_client.exists(key)
    await asyncio.to_thread(workers[1].leave)


async def test_the_last_one_takes_the_heartbeat_along(engine: Engine, store_name: str) -> None:
    seconds = Seconds()
    first = memory(engine, store_name, now_seconds=seconds)
    second = memory(engine, store_name, now_seconds=seconds)
    await first.register()
    await asyncio.sleep(0.002)  # beats are told apart by the millisecond
    await second.register()
    await asyncio.sleep(0.002)
    await first.tick_heartbeat()
    await second.stop(delete_heartbeat=True)
    assert await beats(engine, f"{store_name}:mem")
    # `first` has seen its sibling beat: only after a minute of silence is it sure to be the last.
    seconds.now += 61
    await first.stop(delete_heartbeat=True)
    assert not await beats(engine, f"{store_name}:mem")


async def test_a_sibling_that_beat_after_our_last_beat_keeps_its_heartbeat(engine: Engine, store_name: str) -> None:
    ours, theirs = memory(engine, store_name), memory(engine, store_name)
    await ours.register()
    await asyncio.sleep(0.002)
    await theirs.register()
    await ours.stop(delete_heartbeat=True)
    assert await beats(engine, f"{store_name}:mem")
    await theirs.stop(delete_heartbeat=False)


async def test_one_process_alone_does_not_take_itself_for_a_sibling(engine: Engine, store_name: str) -> None:
    discovery = memory(engine, store_name)
    await discovery.register()
    for _ in range(3):
        await asyncio.sleep(0.002)
        await discovery.tick_heartbeat()
    await discovery.stop(delete_heartbeat=True)
    assert not await beats(engine, f"{store_name}:mem")


async def test_whoever_beat_last_leaves_the_heartbeat_to_a_sibling_it_has_seen(engine: Engine, store_name: str) -> None:
    first, second = memory(engine, store_name), memory(engine, store_name)
    await first.register()
    await asyncio.sleep(0.002)
    await second.register()
    await second.stop(delete_heartbeat=True)
    assert await beats(engine, f"{store_name}:mem")
    await first.stop(delete_heartbeat=False)


async def test_a_name_that_is_ours_already_is_kept(engine: Engine, store_name: str) -> None:
    discovery = cache(engine, store_name)
    await discovery.register()
    for _ in range(LOOK - 1):
        await discovery.tick_heartbeat()
    await engine.values.write_map(REGISTRY_KEY, {store_name: b'{"type":"semantic_cache","prefix":"demo"}'})
    await discovery.tick_heartbeat()  # this one looks at the registry first
    assert b'"agent_cache"' in (await listed(engine, store_name) or b"")
    await discovery.stop(delete_heartbeat=True)


async def test_a_dead_name_is_cleared_and_a_living_one_is_not(engine: Engine, store_name: str) -> None:
    seconds = Seconds()
    dead, living = memory(engine, f"{store_name}-dead"), memory(engine, f"{store_name}-living")
    for each in (dead, living):
        await each.register()
    await dead.stop(delete_heartbeat=True)
    dead_cache = cache(engine, f"{store_name}-dead-cache")
    await dead_cache.register()
    await dead_cache.stop(delete_heartbeat=True)

    watcher = cache(engine, store_name, now_seconds=seconds)
    await watcher.register()
    seconds.now = 119
    await look(watcher)
    assert await listed(engine, f"{store_name}-dead:mem")
    seconds.now = 121
    await look(watcher)
    registry = await engine.values.read_map(REGISTRY_KEY)
    assert f"{store_name}-dead:mem" not in registry
    assert f"{store_name}-dead-cache" not in registry
    assert {store_name, f"{store_name}-living:mem"} <= set(registry)
    await living.stop(delete_heartbeat=True)
    await watcher.stop(delete_heartbeat=True)


async def test_a_name_that_came_back_meanwhile_is_not_cleared(engine: Engine, store_name: str) -> None:
    seconds = Seconds()
    field = f"{store_name}-other"
    await engine.values.write_map(REGISTRY_KEY, {field: b'{"type":"agent_cache","started_at":"a"}'})
    watcher = cache(engine, store_name, now_seconds=seconds)
    await watcher.register()
    await engine.values.write_map(REGISTRY_KEY, {field: b'{"type":"agent_cache","started_at":"b"}'})
    seconds.now = 500
    await look(watcher)
    assert await listed(engine, field)
    seconds.now = 1000
    await look(watcher)
    assert await listed(engine, field) is None
    await watcher.stop(delete_heartbeat=True)


def started(days_ago: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()


@pytest.mark.parametrize(
    ("marker", "is_cleared"),
    [
        (json.dumps({"type": "agent_cache", "prefix": "p", "started_at": started(0.5)}), False),
        (json.dumps({"type": "agent_cache", "prefix": "p", "started_at": started(6.9)}), False),
        (json.dumps({"type": "agent_cache", "prefix": "p", "started_at": started(7.1)}), True),
        (json.dumps({"type": "agent_memory", "prefix": "p", "started_at": started(0.5)}), True),
        ('{"type":"agent_cache","prefix":"p","started_at":"2026-01-01T00:00:00.000Z"}', True),
        ('{"type":"agent_cache","prefix":"p"}', True),
        ('{"type":"semantic_cache","prefix":"p","started_at":"2020-01-01T00:00:00.000Z"}', False),
        ("not json", False),
        ("[1]", False),
    ],
    ids=range(9),  # the times differ from process to process
)
async def test_whoever_never_beats_is_left_alone(
    valkey_server: ValkeyServer, store_name: str, marker: str, is_cleared: bool
) -> None:
    """The published Python cache writes no heartbeat; other libraries have rules of their own."""
    seconds = Seconds()
    engine = ValkeyEngine.from_url(valkey_server.url)
    field = f"{store_name}-foreign"
    await engine.values.write_map(REGISTRY_KEY, {field: marker.encode()})
    watcher = cache(engine, store_name, now_seconds=seconds)
    await watcher.register()
    seconds.now = 10_000
    await look(watcher)
    assert (await listed(engine, field) is None) == is_cleared
    await watcher.stop(delete_heartbeat=True)
    await engine.values.remove_fields(REGISTRY_KEY, [field])
    await engine.close()


class Refusing:
    """A client whose every command fails in a way that no driver documents."""

    async def execute_command(self, *arguments: Any) -> Any:
        raise RuntimeError("Event loop is closed")


async def test_beats_survive_whatever_a_driver_raises(store_name: str) -> None:
    failures: asyncio.Queue[None] = asyncio.Queue()
    discovery = memory(
        Refusing(), store_name, heartbeat_interval_s=0.01, on_write_failed=lambda: failures.put_nowait(None)
    )
    await discovery.register()
    for _ in range(4):
        await asyncio.wait_for(failures.get(), 5)
    await discovery.stop(delete_heartbeat=True)


async def test_a_server_that_was_away_lists_us_when_it_is_back(store_name: str) -> None:
    failures: list[None] = []
    with ValkeyServer(search=False) as server:
        client = valkey.asyncio.Valkey(port=server.port, socket_timeout=1)
        discovery = cache(client, store_name, heartbeat_interval_s=0.02, on_write_failed=lambda: failures.append(None))
        await client.execute_command("CLIENT", "PAUSE", "1200", "ALL")
        await discovery.register()
        assert failures
        for _ in range(500):
            await asyncio.sleep(0.02)
            if await listed(ValkeyEngine(client), store_name):
                break
        else:
            pytest.fail("never listed")
        await discovery.stop(delete_heartbeat=True)
        await client.aclose()


def test_policies_beyond_five_hundred_are_cut_and_said_to_be() -> None:
    names = [f"tool{number}" for number in range(501)]
    traits = CacheTraits(
        ttl_defaults={"llm": None}, has_cost_table=True, uses_default_cost_table=False, tool_policies=lambda: names
    )
    marker = cache(Refusing(), "n", traits).build_marker()
    assert marker["tool_policies"] == names[:500]
    assert list(marker)[-1] == "tool_policies_truncated"
    assert marker["tool_policies_truncated"] is True
    names.pop()
    assert "tool_policies_truncated" not in cache(Refusing(), "n", traits).build_marker()
    without = CacheTraits(ttl_defaults={}, has_cost_table=True, uses_default_cost_table=False)
    assert "tool_policies" not in cache(Refusing(), "n", without).build_marker()


MARKER = b'{"type":"agent_cache"}'


def test_a_look_goes_to_others_suspects_first_and_is_bounded() -> None:
    names = DeadNames("own")
    registry = {"own": MARKER} | {f"n{number}": MARKER for number in range(20)}
    names.seen({"n7": MARKER}, set(), 0.0)
    for _ in range(20):
        worth = names.worth_a_look(registry, limit=5)
        assert worth[0] == "n7"
        assert len(set(worth)) == 5
        assert "own" not in worth
    assert set(names.worth_a_look(registry, limit=50)) == set(registry) - {"own"}


looks = st.lists(
    st.tuples(st.floats(0, 100), st.sampled_from([MARKER, MARKER + b" "]), st.booleans()), min_size=1, max_size=12
)


@given(looks)
def test_a_name_is_dead_only_after_two_looks_apart_without_a_heartbeat_or_a_new_marker(
    history: list[tuple[float, bytes, bool]],
) -> None:
    names = DeadNames("own", Patience(apart_seconds=120))
    now = 0.0
    silent: list[tuple[float, bytes]] = []
    for pause, marker, beat in history:
        now += pause
        dead = names.seen({"n": marker}, {"n"} if beat else set(), now)
        if beat or (silent and silent[-1][1] != marker):
            silent = []
        if not beat:
            silent.append((now, marker))
        assert ("n" in dead) == (bool(silent) and now - silent[0][0] >= 120)
