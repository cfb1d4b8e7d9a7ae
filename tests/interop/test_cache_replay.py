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
from tests.interop.replay import FIRST_MS, FIXTURES, WRITERS, ServerDatabase, Writer, differences, outcomes
from tests.servers import ValkeyServer

NAME = "demo"
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
            return {"op": name, "error": type(error).__name__ if not isinstance(error, ValueError) else error}
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

    async def _llm_check(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.llm.check(op["params"])

    async def _llm_store(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.llm.store(op["params"], op["response"], LlmStoreOptions(**op["options"]))

    async def _llm_store_multipart(self, op: Mapping[str, Any]) -> Any:
        return await self.cache.llm.store_multipart(op["params"], op["blocks"], LlmStoreOptions(**op["options"]))

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


DEVIATIONS: list[Deviation] = []


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
    return {path: mine for path, (_, mine) in differences(theirs, ours).items()}


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
