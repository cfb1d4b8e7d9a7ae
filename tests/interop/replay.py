"""Runs a recorded scenario against this package, and says where the outcome differs from the recording.

A scenario (see fixtures/README.md) was recorded under the store name `demo`. Here it runs under a
name of its own, which is spelled `demo` again in whatever is compared.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from betterdb_agent_memory import (
    ConsolidateFactsResult,
    ConsolidateResult,
    ConsolidationConfig,
    Fact,
    MemoryConfigSnapshot,
    MemoryHit,
    MemoryItem,
    MemoryListOptions,
    MemoryListResult,
    MemoryStats,
    MemoryStore,
    RecallWeights,
)
from betterdb_agent_memory.engines.base import Engine, RecordWrite
from betterdb_agent_memory.memory.record import memory_collection
from tests.embedding import embed

Writer = Literal["ts", "python"]
Json = Any

FIXTURES = Path(__file__).parent / "fixtures"
WRITERS: tuple[Writer, ...] = ("ts", "python")
RECORDED_NAME = "demo"
RECORDED_THRESHOLD = 0.33
"""The default of the published packages; ours is another, so it is always stated."""
FIRST_MS = 1_750_000_000_000
DISTANCE_TOLERANCE = 1e-5
SCORE_TOLERANCE = 1e-6
TTL_TOLERANCE_SECONDS = 10

WRITING_OPS = {
    *("remember", "forget", "forget_by_scope", "consolidate_summary", "consolidate_facts"),
    *("set_config", "hdel_config", "del_config", "seed", "raw"),
}
"""Operations that change the database; `recall` does too, unless it says `reinforce: false`."""
SILENT_OPS = {
    *("clock", "seed", "raw", "dump", "sleep", "wait_index"),
    *("set_config", "hdel_config", "del_config", "refresh_config", "get_raw"),
}
"""Helper operations, which have no recorded result."""


@dataclass(frozen=True)
class Scenario:
    """One recording: what was called, what came back, what the database held afterwards."""

    name: str
    writer: Writer
    options: dict[str, Any]
    ops: list[dict[str, Any]]
    results: list[dict[str, Any]]
    commands: list[list[Json]]
    snapshots: dict[str, dict[str, Json]]
    keys: dict[str, Json]

    def __str__(self) -> str:
        return f"{self.writer}-{self.name}"

    @property
    def index_arguments(self) -> list[str] | None:
        """The FT.CREATE that was sent, if one was."""
        return next((command for command in self.commands if command[0] == "FT.CREATE"), None)

    @property
    def remembered(self) -> list[str]:
        """The ids that `remember` returned, in order: what `$0`, `$1` ... stand for."""
        return [entry.get("result", "") for entry in self.results if entry["op"] == "remember"]

    @property
    def records(self) -> dict[str, dict[str, bytes]]:
        """The memories in the recorded database, by id."""
        prefix = f"{RECORDED_NAME}:mem:"
        return {
            key.removeprefix(prefix): {name: as_bytes(value) for name, value in entry["value"].items()}
            for key, entry in self.keys.items()
            if key.startswith(prefix)
        }

    def reads_at_the_end(self) -> tuple[list[dict[str, Any]], int, int]:
        """The reading calls after the last writing one, the index of their first result, and the clock then."""
        first = 0
        for position, op in enumerate(self.ops):
            reinforces = op["op"] in ("recall", "recall_by_vector") and op["options"].get("reinforce") is not False
            if op["op"] in WRITING_OPS or reinforces:
                first = position + 1
        before = self.ops[:first]
        clock_ms = next((op["ms"] for op in reversed(before) if op["op"] == "clock"), FIRST_MS)
        return self.ops[first:], sum(op["op"] not in SILENT_OPS for op in before), clock_ms


@cache
def load(writer: Writer, name: str) -> Scenario:
    """The recording of one writer."""
    recorded = json.loads((FIXTURES / writer / f"{name}.json").read_text())
    given = recorded["input"]
    assert given["name"] == RECORDED_NAME
    return Scenario(
        name=name,
        writer=writer,
        options=given["options"],
        ops=given["ops"],
        results=recorded["results"],
        commands=recorded["commands"],
        snapshots=recorded.get("snapshots", {}),
        keys=recorded["keys"],
    )


def scenarios() -> list[Scenario]:
    """Every recording, of both writers."""
    recorded = [(writer, path) for writer in WRITERS for path in sorted((FIXTURES / writer).glob("memory_*.json"))]
    return [load(writer, path.stem) for writer, path in recorded]


def as_bytes(value: Json) -> bytes:
    """A recorded hash value."""
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode()


def vector_of(record: Mapping[str, bytes]) -> list[float]:
    return [float(number) for number in np.frombuffer(record["vector"], dtype="<f4")]


class Database(Protocol):
    """What a scenario does beside calling the store."""

    async def set_config(self, config: Mapping[str, str]) -> None: ...

    async def hdel_config(self, names: Sequence[str]) -> None: ...

    async def del_config(self) -> None: ...

    async def seed(self, id: str, fields: Mapping[str, bytes]) -> None: ...


class EngineDatabase:
    """Any engine, through its own verbs."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._values = engine.values
        self._records = engine.records(memory_collection(name))
        self._config_key = f"{name}:__mem_config"

    async def set_config(self, config: Mapping[str, str]) -> None:
        await self._values.write_map(self._config_key, {name: value.encode() for name, value in config.items()})

    async def hdel_config(self, names: Sequence[str]) -> None:
        kept = {k: v for k, v in (await self._values.read_map(self._config_key)).items() if k not in names}
        await self._values.delete(self._config_key)
        await self._values.write_map(self._config_key, kept)

    async def del_config(self) -> None:
        await self._values.delete(self._config_key)

    async def seed(self, id: str, fields: Mapping[str, bytes]) -> None:
        await self._records.write_many([RecordWrite(id, fields)])


class ServerDatabase:
    """A real server, through plain commands. Keys are spelled with the recorded name outside."""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name
        self._existing: set[bytes] = set()

    async def note_existing(self) -> None:
        """What is there before a scenario starts is none of its business."""
        self._existing = {key async for key in self.client.scan_iter(count=1000)}

    async def dump(self) -> dict[str, Json]:
        """Every key that came up since, in the form of the recordings."""
        found = sorted([key async for key in self.client.scan_iter(count=1000) if key not in self._existing])
        return {self._recorded(key.decode()): await self._entry(key) for key in found}

    async def load(self, keys: Mapping[str, Json]) -> None:
        """Put recorded keys there, byte for byte."""
        for key, entry in keys.items():
            assert entry["type"] == "hash", entry
            fields = {name: as_bytes(value) for name, value in entry["value"].items()}
            await self.client.hset(self._own(key), mapping=fields)
            if entry["ttl"] > 0:
                await self.client.expire(self._own(key), entry["ttl"])

    async def create_index(self, arguments: Sequence[str]) -> None:
        """Send a recorded FT.CREATE."""
        await self.client.execute_command(*[self._own(argument) for argument in arguments])

    async def raw(self, command: Sequence[Json]) -> None:
        arguments = [as_bytes(part) if isinstance(part, dict) else self._own(str(part)) for part in command]
        await self.client.execute_command(*arguments)

    async def clear(self) -> None:
        """Drop the index and every key of this name."""
        indexes = await self.client.execute_command("FT._LIST")
        if f"{self.name}:mem:idx".encode() in indexes:
            await self.client.execute_command("FT.DROPINDEX", f"{self.name}:mem:idx")
        keys = [key async for key in self.client.scan_iter(match=f"{self.name}:*", count=1000)]
        if keys:
            await self.client.delete(*keys)

    async def set_config(self, config: Mapping[str, str]) -> None:
        await self.client.hset(f"{self.name}:__mem_config", mapping=dict(config))

    async def hdel_config(self, names: Sequence[str]) -> None:
        await self.client.hdel(f"{self.name}:__mem_config", *names)

    async def del_config(self) -> None:
        await self.client.delete(f"{self.name}:__mem_config")

    async def seed(self, id: str, fields: Mapping[str, bytes]) -> None:
        await self.client.hset(f"{self.name}:mem:{id}", mapping=dict(fields))

    def _own(self, key: str) -> str:
        is_recorded = key == RECORDED_NAME or key.startswith(f"{RECORDED_NAME}:")
        return self.name + key.removeprefix(RECORDED_NAME) if is_recorded else key

    def _recorded(self, key: str) -> str:
        return RECORDED_NAME + key.removeprefix(self.name) if key.startswith(f"{self.name}:") else key

    async def _entry(self, key: bytes) -> Json:
        kind = (await self.client.type(key)).decode()
        ttl = await self.client.ttl(key)
        if kind == "hash":
            value = {
                name.decode(): _recorded_value(name.decode(), field)
                for name, field in (await self.client.hgetall(key)).items()
            }
            return {"type": kind, "ttl": ttl, "value": value}
        assert kind == "string", kind
        return {"type": kind, "ttl": ttl, "value": _recorded_value("", await self.client.get(key))}


def _recorded_value(name: str, value: bytes) -> Json:
    try:
        return {"b64": base64.b64encode(value).decode()} if name == "vector" else value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


class Replay:
    """A store of ours under the recorded conditions: fixed clock, counted ids, the recorded embedding."""

    def __init__(
        self, scenario: Scenario, client: Any, name: str, database: Database, *, clock_ms: int = FIRST_MS
    ) -> None:
        self.scenario = scenario
        self.results: list[dict[str, Any]] = []
        self.snapshots: dict[str, dict[str, Json]] = {}
        self._database = database
        self._now_ms = clock_ms
        self._ids_taken = 0
        self._remembered: list[str] = []
        options = dict(scenario.options)
        if "weights" in options:
            options["weights"] = RecallWeights(**options["weights"])
        if facts := {name: options.pop(name) for name in ("fact_source", "fact_importance") if name in options}:
            options["consolidation"] = ConsolidationConfig(**facts)
        self.store = MemoryStore(
            client=client,
            name=name,
            embed_fn=embed,
            clock=lambda: self._now_ms,
            new_id=self._next_id,
            **{"default_threshold": RECORDED_THRESHOLD, **options},
        )

    async def run(self, ops: Sequence[dict[str, Any]] | None = None, *, remembered: Sequence[str] = ()) -> None:
        """Run the scenario, or only `ops` of it; `remembered` are the ids that `$n` stands for already."""
        self._remembered = list(remembered)
        for op in self.scenario.ops if ops is None else ops:
            if op["op"] in SILENT_OPS:
                await self._help(op)
            else:
                self.results.append(await self._call(op))
        await self.store.close()

    async def _call(self, op: dict[str, Any]) -> dict[str, Any]:
        try:
            result = await getattr(self, f"_{op['op']}")(op)
        except Exception as error:  # noqa: BLE001 - every error is a result here
            result_or_error = {"op": op["op"], "error": error}
        else:
            result_or_error = {"op": op["op"], "result": plain(result)}
        if op["op"] == "remember":
            self._remembered.append(result_or_error.get("result", ""))
        return result_or_error

    async def _help(self, op: dict[str, Any]) -> None:
        match op:
            case {"op": "clock", "ms": ms}:
                self._now_ms = ms
            case {"op": "sleep", "ms": ms}:
                await asyncio.sleep(ms / 1000)
            case {"op": "set_config", "fields": config}:
                await self._database.set_config(config)
            case {"op": "hdel_config", "fields": names}:
                await self._database.hdel_config(names)
            case {"op": "del_config"}:
                await self._database.del_config()
            case {"op": "refresh_config"}:
                await self.store.refresh_config()
            case {"op": "seed", "id": id, "fields": seeded}:
                vector = np.array(await embed(seeded["content"]), dtype="<f4").tobytes()
                encoded = {name: value.encode() for name, value in seeded.items()}
                await self._database.seed(id, {"vector": vector, **encoded})
            case {"op": "get_raw" | "wait_index"}:
                # It read the hash for the recording of commands; the index is up to date at once.
                pass
            case _:
                assert isinstance(self._database, ServerDatabase), op
                await self._help_server(op, self._database)

    async def _help_server(self, op: dict[str, Any], database: ServerDatabase) -> None:
        match op:
            case {"op": "raw", "command": command}:
                await database.raw(command)
            case {"op": "dump", "label": label}:
                self.snapshots[label] = await database.dump()
            case _:
                raise AssertionError(f"unknown operation {op}")

    async def _ensure_index(self, _: dict[str, Any]) -> None:
        await self.store.ensure_index()

    async def _remember(self, op: dict[str, Any]) -> str:
        return await self.store.remember(op["content"], **op["options"])

    async def _recall(self, op: dict[str, Any]) -> list[MemoryHit]:
        return await self.store.recall(op["query"], **_recall_options(op))

    async def _recall_by_vector(self, op: dict[str, Any]) -> list[MemoryHit]:
        return await self.store.recall_by_vector(op["vector"], **_recall_options(op))

    async def _get(self, op: dict[str, Any]) -> MemoryItem | None:
        return await self.store.get(self._id(op))

    async def _list(self, op: dict[str, Any]) -> MemoryListResult:
        return await self.store.list(MemoryListOptions(**op["options"]))

    async def _forget(self, op: dict[str, Any]) -> bool:
        return await self.store.forget(self._id(op))

    async def _forget_by_scope(self, op: dict[str, Any]) -> int:
        return await self.store.forget_by_scope(**op["options"])

    async def _consolidate_summary(self, op: dict[str, Any]) -> dict[str, Any]:
        async def summarize(memories: list[MemoryItem]) -> str:
            seen.append(memories)
            return str(op["summary"])

        seen: list[list[MemoryItem]] = []
        result = await self.store.consolidate(mode="summary", summarize=summarize, **op["options"])
        return {"result": result, **({"seen": seen[0]} if seen else {})}

    async def _consolidate_facts(self, op: dict[str, Any]) -> dict[str, Any]:
        async def extract(memories: list[MemoryItem]) -> list[Fact]:
            seen.append(memories)
            return [Fact(**fact) for fact in op["facts"]]

        seen: list[list[MemoryItem]] = []
        result = await self.store.consolidate(mode="facts", extract_facts=extract, **op["options"])
        return {"result": result, **({"seen": seen[0]} if seen else {})}

    async def _stats(self, _: dict[str, Any]) -> MemoryStats:
        return await self.store.stats()

    async def _current_config(self, _: dict[str, Any]) -> MemoryConfigSnapshot:
        return self.store.current_config()

    def _id(self, op: dict[str, Any]) -> str:
        id: str = op["id"]
        return self._remembered[int(id[1:])] if id.startswith("$") else id

    def _next_id(self) -> str:
        self._ids_taken += 1
        return f"00000000-0000-4000-8000-{self._ids_taken:012d}"


def _recall_options(op: dict[str, Any]) -> dict[str, Any]:
    options = dict(op["options"])
    if "weights" in options:
        options["weights"] = RecallWeights(**options["weights"])
    return options


OUR_ADDITIONS: dict[type, set[str]] = {
    ConsolidateResult: {"calls", "expires_at", "dry_run"},
    ConsolidateFactsResult: {"operations", "calls", "dry_run"},
    MemoryHit: {"explain", "vantage"},
    MemoryConfigSnapshot: {"retrieval", "hybrid", "exact", "diversity", "scoring"},
    MemoryItem: {
        "occurred_at",
        "metadata",
        "version",
        "session",
        "turn",
        "speaker",
        "kind",
        "entities",
        "pinned",
        "dynamics",
    },
    MemoryStats: {
        "near_misses",
        "pending_reinforcements",
        "lost_reinforcements",
        "unreadable_records",
        "recall_refills",
        "background_failures",
        "unindexed_fields",
        "index_failures",
        "indexing",
        "ignored_config_fields",
    },
}
"""Members of our results that the published packages do not have; left out of the comparison."""


def plain(value: Any) -> Json:
    """A result in the form of the recordings: published members only, absent where they are None."""
    if isinstance(value, list):
        return [plain(element) for element in value]
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if not hasattr(value, "__dataclass_fields__"):
        return value
    additions = OUR_ADDITIONS.get(type(value), set())
    members = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in additions}
    return {name: plain(member) for name, member in members.items() if member is not None}


class Absent:
    """Stands for what one side does not have."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent()


def differences(recorded: Json, ours: Json, path: str = "") -> dict[str, tuple[Json, Json]]:
    """Where `ours` differs from the recording: path -> (recorded, ours)."""
    if path.endswith(".ttl") and isinstance(recorded, int) and isinstance(ours, int):
        close = (recorded < 0) == (ours < 0) and abs(recorded - ours) <= TTL_TOLERANCE_SECONDS
        return {} if close else {path: (recorded, ours)}
    if isinstance(recorded, dict) and isinstance(ours, dict):
        found: dict[str, tuple[Json, Json]] = {}
        for name in {**recorded, **ours}:
            found |= differences(recorded.get(name, ABSENT), ours.get(name, ABSENT), f"{path}.{name}" if path else name)
        return found
    if isinstance(recorded, list) and isinstance(ours, list) and len(recorded) == len(ours):
        found = {}
        for position, (theirs, mine) in enumerate(zip(recorded, ours, strict=True)):
            found |= differences(theirs, mine, f"{path}[{position}]")
        return found
    return {} if _equal(recorded, ours, path) else {path: (recorded, ours)}


def _equal(recorded: Json, ours: Json, path: str) -> bool:
    if isinstance(recorded, bool) or isinstance(ours, bool):
        return recorded is ours
    tolerance = {".similarity": DISTANCE_TOLERANCE, ".score": SCORE_TOLERANCE}
    for ending, allowed in tolerance.items():
        if path.endswith(ending) and isinstance(recorded, int | float) and isinstance(ours, int | float):
            return math.isclose(recorded, ours, rel_tol=0, abs_tol=allowed)
    return bool(recorded == ours)


def outcomes(results: Sequence[dict[str, Any]]) -> list[dict[str, Json]]:
    """Results with the error said in one word, the same for both languages.

    TypeScript knows one error class only; Python callers catch `ValueError`.
    """
    listed = []
    for entry in results:
        outcome = entry.get("result")
        if "error" in entry:
            error = entry["error"]
            refused = isinstance(error, ValueError) or error in ("Error", "ValueError")
            outcome = "refused" if refused else error if isinstance(error, str) else type(error).__name__
        listed.append({"op": entry["op"], "outcome": outcome})
    return listed


_RECORDED_ID = re.compile(r"(?:demo:mem:)?00000000-0000-4000-8000-0*(\d+)")


def brief(value: Json) -> Json:
    """A result that fits on a line: items, hits and records by the number of their id."""
    if isinstance(value, list):
        return [brief(element) for element in value]
    if isinstance(value, dict):
        if "item" in value:
            return brief(value["item"])
        if "items" in value:
            return brief(value["items"])
        if "id" in value:
            return brief(value["id"])
        return "present"
    return _RECORDED_ID.sub(r"#\1", value) if isinstance(value, str) else value


def brief_differences(recorded: Json, ours: Json) -> dict[str, Json]:
    """What is ours where it differs from the recording, by path, each short enough for a table."""
    return {brief(path): brief(mine) for path, (_, mine) in differences(recorded, ours).items()}
