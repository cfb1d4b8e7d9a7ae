"""What the published caches and registries were recorded to do, done with ours: same bytes, same answers.

Every place where ours answers differently is in `DEVIATIONS` with the reason, and must really occur.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import valkey.asyncio

from betterdb_agent_memory import (
    AgentCache,
    AgentCacheOptions,
    AgentCacheUsageError,
    AgentMemory,
    AgentMemoryConfig,
    AgentMemoryOptions,
    DiscoveryOptions,
    LlmStoreOptions,
    MemoryDiscoveryConfig,
    MemoryStore,
    ModelCost,
    TierDefaults,
    ToolPolicy,
    ToolStoreOptions,
)
from tests.embedding import embed
from tests.interop.replay import ABSENT, FIRST_MS, FIXTURES, WRITERS, ServerDatabase, Writer, differences, outcomes
from tests.servers import ValkeyServer

NAME = "demo"
PYTHON_NAMES = {
    "toolChoice": "tool_choice",
    "responseFormat": "response_format",
    "reasoningEffort": "reasoning_effort",
    "promptCacheKey": "prompt_cache_key",
}
MASKED = {"started_at": "<iso-8601>", "pid": 0, "hostname": "<hostname>"}

Json = Any


@pytest.fixture(scope="module")
def private_server() -> Iterator[ValkeyServer]:
    """A server of our own: the registry is one for all, and it is emptied before every scenario."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
async def database(private_server: ValkeyServer) -> AsyncIterator[ServerDatabase]:
    client = private_server.client()
    await client.flushall()
    yield ServerDatabase(client, NAME)
    await client.aclose()


def recordings(kind: str) -> list[Any]:
    return [
        pytest.param(json.loads(path.read_text()), id=f"{writer}-{path.stem}")
        for writer in WRITERS
        for path in sorted((FIXTURES / writer).glob(f"{kind}_*.json"))
    ]


class CacheReplay:
    """A cache of ours under the recorded conditions; statistics are written before anybody looks."""

    def __init__(self, recorded: Json, database: ServerDatabase, client: valkey.asyncio.Valkey) -> None:
        self.recorded = recorded
        self.results: list[dict[str, Any]] = []
        self.snapshots: dict[str, dict[str, Json]] = {}
        self._database = database
        self._client = client
        self.cache: Any = None

    async def run(self) -> dict[str, Json]:
        given = self.recorded["input"]
        for command in given["options"].get("pre", []):
            await self._database.client.execute_command(*command)
        self.cache = self._made(given["options"])
        for op in given["ops"]:
            match op["op"]:
                case "raw":
                    await self._settled()
                    await self._database.client.execute_command(*op["args"])
                case "dump":
                    await self._settled()
                    self.snapshots[op["label"]] = described(await self._database.dump())
                case "sleep":
                    await asyncio.sleep(op["ms"] / 1000)
                case name:
                    self.results.append(await self._called(name, op))
        await self._settled()
        keys = described(await self._database.dump())
        await self._end()
        return keys

    def _made(self, options: Mapping[str, Any]) -> Any:
        discovery = options.get("discovery", False)
        scenario = self.recorded["scenario"]
        if scenario.startswith("discovery_memory"):
            return MemoryStore(client=self._client, name=NAME, embed_fn=embed, discovery=MemoryDiscoveryConfig())
        if scenario == "discovery_facade":
            return AgentMemory(
                AgentMemoryOptions(client=self._client, name=NAME, embed_fn=embed, memory=AgentMemoryConfig())
            )
        return AgentCache(
            AgentCacheOptions(
                client=self._client,
                name=NAME,
                default_ttl=options.get("default_ttl"),
                tier_defaults={tier: TierDefaults(ttl) for tier, ttl in options.get("tier_ttl", {}).items()},
                cost_table={model: ModelCost(*cost) for model, cost in options.get("cost_table", {}).items()},
                discovery=DiscoveryOptions(
                    enabled=discovery, heartbeat_interval_ms=options.get("heartbeat_ms", 30_000)
                ),
            ),
            clock=lambda: FIRST_MS,
        )

    async def _called(self, name: str, op: Mapping[str, Any]) -> dict[str, Any]:
        try:
            result = await getattr(self, f"_{name}")(op)
        except Exception as error:  # noqa: BLE001 - every error is a result here
            return {"op": name, "error": "AgentCacheUsageError" if isinstance(error, AgentCacheUsageError) else error}
        return {"op": name, "result": as_recorded(result)}

    async def _settled(self) -> None:
        if isinstance(self.cache, AgentCache):
            # Writes what waits first.
            await self.cache.stats()

    async def _end(self) -> None:
        if isinstance(self.cache, AgentCache):
            await self.cache.shutdown()
        else:
            await self.cache.close()

    def _params(self, op: Mapping[str, Any]) -> Any:
        """The recorded parameters by their Python names."""
        return {PYTHON_NAMES.get(name, name): value for name, value in op["params"].items()}

    async def _llm_check(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.llm.check(self._params(op))

    async def _llm_store(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.llm.store(self._params(op), op["response"], LlmStoreOptions(**op["options"]))

    async def _llm_store_multipart(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.llm.store_multipart(self._params(op), op["blocks"], LlmStoreOptions(**op["options"]))

    async def _llm_invalidate_by_model(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.llm.invalidate_by_model(op["model"])

    async def _tool_check(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.tool.check(op["tool"], op["args"])

    async def _tool_store(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.tool.store(op["tool"], op["args"], op["response"], ToolStoreOptions(**op["options"]))

    async def _tool_set_policy(self, op: Mapping[str, Any]) -> Any:
        await self.cache.tool.set_policy(op["tool"], ToolPolicy(op["ttl"]))

    async def _tool_get_policy(self, op: Mapping[str, Any]) -> Any:
        return self.cache.tool.get_policy(op["tool"])

    async def _tool_load_policies(self, op: Mapping[str, Any]) -> Any:
        await self.cache.tool.load_policies()

    async def _tool_invalidate(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.tool.invalidate(op["tool"], op["args"])

    async def _tool_invalidate_by_tool(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.tool.invalidate_by_tool(op["tool"])

    async def _tool_effectiveness(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.tool_effectiveness()

    async def _session_set(self, op: Mapping[str, Any]) -> Any:
        await self.cache.session.set(op["thread"], op["field"], op["value"], op.get("ttl"))

    async def _session_get(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.session.get(op["thread"], op["field"])

    async def _session_get_all(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.session.get_all(op["thread"])

    async def _session_scan_prefix(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.session.scan_fields_by_prefix(op["thread"], op["prefix"])

    async def _session_delete(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.session.delete(op["thread"], op["field"])

    async def _session_destroy(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.session.destroy_thread(op["thread"])

    async def _session_touch(self, op: Mapping[str, Any]) -> Any:
        await self.cache.session.touch(op["thread"])

    async def _cache_stats(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.stats()

    async def _cache_flush(self, op: Mapping[str, Any]) -> Any:
        await self.cache.flush()

    async def _ready(self, op: Mapping[str, Any]) -> Any:
        await self.cache.ensure_discovery_ready()

    async def _shutdown(self, op: Mapping[str, Any]) -> Any:
        await self._end()

    async def _initialize(self, op: Mapping[str, Any]) -> Any:
        await self.cache.initialize()

    async def _close(self, op: Mapping[str, Any]) -> Any:
        await self.cache.close()


OUR_ADDITIONS = {"origin", "age_seconds"}
"""Members of our results that the published packages do not have."""


def as_recorded(value: Any) -> Json:
    """A result in the form of the recordings: members and properties, absent where they are None."""
    if isinstance(value, list):
        return [as_recorded(element) for element in value]
    if isinstance(value, Mapping):
        return {name: as_recorded(member) for name, member in value.items()}
    if not dataclasses.is_dataclass(value):
        return value
    members = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    members |= {
        name: getattr(value, name) for name, member in vars(type(value)).items() if isinstance(member, property)
    }
    return {
        name: as_recorded(member)
        for name, member in members.items()
        if member is not None and name not in OUR_ADDITIONS
    }


def described(keys: Mapping[str, Json]) -> dict[str, Json]:
    """A database without what only ours keeps, its registry entries taken apart and masked."""
    found: dict[str, Json] = {}
    for key, entry in keys.items():
        if key.startswith(f"{NAME}:__session_fields:"):
            continue
        value = entry["value"]
        if key == f"{NAME}:__stats":
            value = {name: count for name, count in value.items() if not name.startswith("session:indexed_")}
            if not value:
                continue
        if key == "__betterdb:caches":
            value = {name: _marker(text) for name, text in value.items()}
        if key.startswith("__betterdb:heartbeat:"):
            value = "<iso-8601>"
        found[key] = entry | {"value": value}
    return found


def _marker(text: str) -> Json:
    try:
        marker = json.loads(text)
    except ValueError:
        return text
    return marker | {name: mask for name, mask in MASKED.items() if name in marker} | {"version": "<version>"}


@dataclass(frozen=True)
class Deviation:
    """At `path` of a scenario ours is `ours` and not what was recorded, because of `reason`."""

    scenario: str
    path: str
    ours: Any
    reason: str
    writer: Writer | None = None


F9 = "F9: flushing caches deletes their own keys, never memories, configuration or what only begins the same"
F10 = "F10: thread a never includes thread a:b"
F11 = "F11: the heartbeat and the protocol key are written, so that the Monitor sees the cache alive"
F35 = "F35 and contract B.6: what is JSON but no entry or policy is treated as unreadable"
F51 = "F51: reading never shortens or lengthens a value's own time to live"
HALF_UP = "contract G: micro-dollars are rounded half up, as in TypeScript"
SPELLING = "contract G: JSON and numbers are written in the spelling of TypeScript, which every reader accepts"
TTL_ONLY = "a policy has a ttl and nothing else, as in the published Python package"
NOTHING_SAVED = "a hit that saved nothing leaves no field of 0 behind"
MISS = {"hit": False, "tool_name": "t", "tier": "tool"}
PRESENT = "present"


def many(scenario: str, reason: str, ours: Mapping[str, Any], writer: Writer | None = None) -> list[Deviation]:
    return [Deviation(scenario, path, value, reason, writer) for path, value in ours.items()]


def respelled_policies(scenario: str, where: str, **ttls: int) -> list[Deviation]:
    """Policies that the published Python package writes with a blank."""
    paths = {f"{where}.demo:__tool_policies.value.{tool}": f'{{"ttl":{ttl}}}' for tool, ttl in ttls.items()}
    return many(scenario, SPELLING, paths, "python")


STATS = "keys.demo:__stats.value"
DEVIATIONS: list[Deviation] = [
    Deviation("cache_corrupt_entries", "results[2].outcome", MISS, F35),
    Deviation("cache_corrupt_entries", "results[3].outcome", MISS, F35, "python"),
    *many("cache_corrupt_entries", F35, {f"{STATS}.tool:misses": "4", f"{STATS}.tool:t:misses": "4"}),
    *many(
        "cache_corrupt_entries",
        F35,
        {
            "results[3].outcome.hit": False,
            "results[3].outcome.key": ABSENT,
            f"{STATS}.tool:hits": "1",
            f"{STATS}.tool:t:hits": "1",
        },
        "ts",
    ),
    *many(
        "cache_flush",
        F9,
        {
            "results[5].outcome": {"ttl": 5},
            "keys.demo:__mem_config": PRESENT,
            "keys.demo:__tool_policies": PRESENT,
            "keys.demo:mem:1": PRESENT,
            "keys.demo:other": PRESENT,
        },
    ),
    *respelled_policies("cache_flush", "snapshots.before_flush", q=5),
    *many(
        "cache_llm_cost_rounding",
        NOTHING_SAVED,
        {f"{STATS}.tool:r3:cost_saved_micros": ABSENT, f"{STATS}.tool:r4:cost_saved_micros": ABSENT},
    ),
    *many(
        "cache_llm_cost_rounding",
        HALF_UP,
        {
            "results[7].outcome.cost_saved_micros": 1105006,
            "results[7].outcome.per_tool.r0.cost_saved_micros": 1,
            "results[7].outcome.per_tool.r2.cost_saved_micros": 3,
            f"{STATS}.cost_saved_micros": "1105006",
            f"{STATS}.tool:r0:cost_saved_micros": "1",
            f"{STATS}.tool:r2:cost_saved_micros": "3",
        },
        "python",
    ),
    Deviation("cache_llm_multipart", f"{STATS}.cost_saved_micros", "13", HALF_UP, "python"),
    Deviation(
        "cache_llm_multipart",
        "keys.demo:llm:f45998442fb4612c8bfb0e513f52f40ba973d6a5f46a3f03781eb92bbfcb701b.value",
        '{"response":"Hello world","contentBlocks":[{"type":"text","text":"Hello "},{"type":"tool_call","id":"c1",'
        '"name":"f","args":{"z":1,"a":null}},{"type":"text","text":"world"}],"model":"priced",'
        '"storedAt":1750000000000,"tokens":{"input":1,"output":1},"cost":0.0000125}',
        SPELLING,
        "python",
    ),
    *many(
        "cache_session_overlap",
        F10,
        {"results[4].outcome.b:y": ABSENT, "results[6].outcome": 1, "keys.demo:session:a:b:y": PRESENT},
    ),
    *many(
        "cache_session_ttl",
        F51,
        {
            "snapshots.after_get_b.demo:session:t:b.ttl": 10,
            "snapshots.after_get_all.demo:session:t:a.ttl": -1,
            "snapshots.after_get_all.demo:session:t:b.ttl": 10,
            "snapshots.after_scan_prefix.demo:session:t:b.ttl": 10,
        },
    ),
    *respelled_policies("cache_tool_effectiveness", "keys", hot_short=300, hot_long=7200),
    Deviation("cache_tool_policies", "results[3].outcome.extra", ABSENT, TTL_ONLY, "ts"),
    Deviation("cache_tool_policies", "results[6].outcome", None, F35, "ts"),
    *respelled_policies("cache_tool_policies", "keys", get_weather=600),
    *respelled_policies("cache_ttl_resolution", "keys", p=77),
    *many(
        "discovery_cache",
        F11,
        {
            "snapshots.registered.__betterdb:heartbeat:demo": PRESENT,
            "snapshots.registered.__betterdb:protocol": PRESENT,
            "keys.__betterdb:protocol": PRESENT,
        },
        "python",
    ),
    *many(
        "discovery_cache_policies",
        F11,
        {
            "snapshots.after_heartbeat.__betterdb:heartbeat:demo": PRESENT,
            "snapshots.after_heartbeat.__betterdb:protocol": PRESENT,
            "keys.__betterdb:protocol": PRESENT,
        },
        "python",
    ),
    *respelled_policies("discovery_cache_policies", "snapshots.after_heartbeat", get_weather=60),
    *respelled_policies("discovery_cache_policies", "keys", get_weather=60),
    Deviation("discovery_cache_unparsable_marker", "keys.__betterdb:protocol", PRESENT, F11, "python"),
    Deviation("discovery_facade", "snapshots.registered.__betterdb:heartbeat:demo", PRESENT, F11, "python"),
]


def compared(recorded: Json, replay: CacheReplay, keys: Json) -> dict[str, Json]:
    theirs = {
        "results": outcomes(recorded["results"]),
        "snapshots": {label: described(snapshot) for label, snapshot in recorded.get("snapshots", {}).items()},
        "keys": described(recorded["keys"]),
    }
    ours = {"results": outcomes(replay.results), "snapshots": replay.snapshots, "keys": keys}
    if recorded["writer"] == "ts":
        for entry in ours["results"]:
            # TypeScript's hits have no token counts.
            for name in ("input_tokens", "output_tokens") if entry["op"] == "llm_check" else ():
                entry["outcome"].pop(name)
    found = {path: mine for path, (_, mine) in differences(theirs, ours).items()}
    return {path: PRESENT if isinstance(mine, dict) and "type" in mine else mine for path, mine in found.items()}


@pytest.mark.parametrize("recorded", [*recordings("cache"), *recordings("discovery")])
async def test_ours_does_what_was_recorded(
    recorded: Json, database: ServerDatabase, private_server: ValkeyServer
) -> None:
    client = private_server.client()
    replay = CacheReplay(recorded, database, client)
    keys = await replay.run()
    await client.aclose()
    expected = {
        deviation.path: deviation.ours
        for deviation in DEVIATIONS
        if deviation.scenario == recorded["scenario"] and deviation.writer in (None, recorded["writer"])
    }
    assert compared(recorded, replay, keys) == expected


def test_every_deviation_names_a_scenario() -> None:
    names = {path.stem for writer in WRITERS for path in (FIXTURES / writer).glob("*.json")}
    assert {deviation.scenario for deviation in DEVIATIONS} <= names
