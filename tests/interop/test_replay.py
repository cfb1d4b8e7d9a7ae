"""What the published packages were recorded to do, done with this one: same bytes, same answers.

Every place where ours answers differently is in `DEVIATIONS` with the reason, and must really
occur. Numbers like F7 are those of the defect list in docs/wire-contract.md, section F.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from betterdb_agent_memory import MemoryItem, MemoryListOptions
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.memory.record import MEMORY_SCHEMA, NewMemory, encode_memory
from tests.interop.replay import (
    ABSENT,
    OUR_ADDITIONS,
    RECORDED_NAME,
    TTL_TOLERANCE_SECONDS,
    EngineDatabase,
    Replay,
    Scenario,
    ServerDatabase,
    Writer,
    brief,
    brief_differences,
    load,
    outcomes,
    scenarios,
    vector_of,
)


@dataclass(frozen=True)
class Deviation:
    """At `path` of a scenario our outcome is `ours` and not the recorded one, because of `reason`."""

    scenario: str
    path: str
    ours: Any
    reason: str
    writer: Writer | None = None
    """None: both writers recorded the same."""


def listed(scenario: str, result: int, items: list[str], reason: str) -> list[Deviation]:
    """A `list` that returns other memories than recorded."""
    where = f"results[{result}].outcome"
    return [
        Deviation(scenario, f"{where}.items", items, reason),
        Deviation(scenario, f"{where}.total", len(items), reason),
    ]


def swapped(scenario: str, result: int, items: dict[str, str], reason: str) -> list[Deviation]:
    """A `list` that returns the recorded memories in another order: id -> content."""
    where = f"results[{result}].outcome.items"
    return [
        deviation
        for position, (id, content) in enumerate(items.items())
        for deviation in (
            Deviation(scenario, f"{where}[{position}].id", id, reason),
            Deviation(scenario, f"{where}[{position}].content", content, reason),
        )
    ]


def renumbered(scenario: str, theirs: str, ours: str, reason: str) -> list[Deviation]:
    """The record that has the id `theirs` in the recording has the id `ours` here, and nothing has `theirs`."""
    key = "demo:mem:00000000-0000-4000-8000-{:012d}"
    recorded = load("ts", scenario).keys
    mine, there = (recorded[key.format(int(id[1:]))]["value"] for id in (ours, theirs))
    moved = {name: value for name, value in there.items() if mine.get(name) != value}
    return [
        Deviation(scenario, f"keys.{theirs}", ABSENT, reason),
        *[
            Deviation(scenario, f"keys.{ours}.value.{name}{'.b64' if name == 'vector' else ''}", brief(value), reason)
            for name, raw in moved.items()
            for value in [raw["b64"] if name == "vector" else raw]
        ],
    ]


F5 = "F5: facts of narrower scopes are not reconciled with each other"
F6 = "F6: of two facts about one subject the newest survives"
F7 = "F7: scope and tags are compared byte for byte, not by case"
F8 = "F8: a scope value with a comma is one value"
F12 = "F12: get does not read the binary vector as text"
F18 = "F18: a summary leaves facts alone"
F19 = "F19: a summary expires with its longest-lived source"
F27 = "F27: an empty scope text is a value like any other, not a query syntax error"
F28 = "F28: backtick, question mark, tab, newline and control characters are found"
F29 = "F29: blanks around a value belong to it"
F32 = "F32: weights are overlaid on the constructor's values, so a removed field is really gone"
F33 = "F33: empty text is no number; the constructor's value holds"
F41 = "F41: an undated statement does not replace a dated one"
HEXADECIMAL = "contract G: 0x1 is a number in TypeScript only; ours reads decimal numbers, as Python does"
SPELLING = "contract A.2, G: numbers are written in the spelling of JavaScript, which every reader accepts"
NEGATIVE_TTL = "addition: a negative time to live is refused; published it means for ever"
ORDER = "addition: memories of one millisecond are listed by id; published their order is the server's"

DEVIATIONS = [
    Deviation("memory_config_sequence", "results[5].outcome.weights.recency", 0.3, F32),
    Deviation("memory_config_sequence", "results[10].outcome.threshold", 0.3, F33),
    Deviation("memory_config_sequence", "results[15].outcome.threshold", 0.3, HEXADECIMAL, "ts"),
    Deviation("memory_consolidate_facts_cross_scope", "results[5].outcome.result.facts", 0, F5),
    Deviation("memory_consolidate_facts_cross_scope", "results[5].outcome.result.deleted", 0, F5),
    Deviation("memory_consolidate_facts_cross_scope", "keys.#4", "present", F5),
    Deviation("memory_consolidate_facts_duplicates", "keys.demo:mem:old", ABSENT, F6),
    Deviation("memory_consolidate_facts_duplicates", "keys.demo:mem:new", "present", F6),
    Deviation("memory_consolidate_facts_sequence", "results[8].outcome.result.created", ["#9"], F41),
    Deviation("memory_consolidate_facts_sequence", "results[8].outcome.result.deleted", 2, F41),
    Deviation("memory_consolidate_facts_sequence", "keys.#5", "present", F41),
    *renumbered("memory_consolidate_facts_sequence", "#10", "#9", F41),
    Deviation("memory_eviction", "keys.#6.value.importance", "1", SPELLING, "python"),
    Deviation("memory_importance_encoding", "keys.#6.value.importance", "1e-7", SPELLING, "python"),
    Deviation("memory_importance_encoding", "keys.#8.value.importance", "1", SPELLING, "python"),
    Deviation("memory_importance_encoding", "keys.#9.value.importance", "0", SPELLING, "python"),
    Deviation("memory_importance_encoding", "keys.#10.value.importance", "0.00001", SPELLING, "python"),
    Deviation("memory_remember_full", "results[2].outcome", "#1", F12, "python"),
    Deviation("memory_remember_ttl", "results[3].outcome", "refused", NEGATIVE_TTL),
    Deviation("memory_remember_ttl", "keys.#3", ABSENT, NEGATIVE_TTL),
    *listed("memory_scope_case_and_comma", 4, [], F7),
    *listed("memory_scope_case_and_comma", 5, [], F7),
    *listed("memory_scope_case_and_comma", 6, ["#2"], F8),
    *listed("memory_scope_case_and_comma", 7, [], F8),
    *listed("memory_scope_case_and_comma", 8, [], F8),
    *listed("memory_scope_case_and_comma", 9, [], F29),
    *listed("memory_scope_case_and_comma", 10, ["#3"], F29),
    Deviation("memory_scope_case_and_comma", "results[11].outcome.items", [], F27),
    Deviation("memory_scope_case_and_comma", "results[11].outcome.total", 0, F27),
    Deviation("memory_scope_case_and_comma", "results[12].outcome", 0, F7),
    Deviation("memory_scope_case_and_comma", "keys.#1", "present", F7),
    *listed("memory_scope_special_chars", 43, ["#1"], F28),
    *listed("memory_scope_special_chars", 44, ["#2"], F28),
    *swapped("memory_scope_special_chars", 53, {"#11": "s10", "#41": "s40"}, ORDER),
    *listed("memory_scope_special_chars", 72, ["#30"], F8),
    *listed("memory_scope_special_chars", 75, ["#33"], F28),
    *listed("memory_scope_special_chars", 76, ["#34"], F28),
    *listed("memory_scope_special_chars", 82, ["#40"], F28),
    *swapped("memory_scope_special_chars", 83, {"#11": "s10", "#41": "s40"}, ORDER),
    Deviation("memory_summary_folds_facts", "results[3].outcome.result.consolidated", 1, F18),
    Deviation("memory_summary_folds_facts", "results[3].outcome.result.deleted", 1, F18),
    Deviation("memory_summary_folds_facts", "results[3].outcome.seen", ["#1"], F18),
    Deviation("memory_summary_folds_facts", "keys.#2", "present", F18),
    Deviation("memory_summary_of_expiring", "keys.#2.ttl", 100, F19),
]

OWN_FIELDS = tuple(field.name for field in MEMORY_SCHEMA.own)
OUR_KEYS = {
    *(f"{RECORDED_NAME}:__mem_{what}" for what in ("consolidation_lease", "counts")),
    *(f"{RECORDED_NAME}:__mem_eviction_lease:{number}" for number in range(64)),
}
"""Keys beside the memories that the published packages do not have and do not look at."""
OUR_FIELDS = {"derived", "words"}
"""Fields of memories that every other reader passes over."""

ALL = scenarios()
WITH_MEMORIES = [scenario for scenario in ALL if scenario.records]


def expected_deviations(scenario: Scenario, *parts: str) -> dict[str, Any]:
    """What `DEVIATIONS` says about these parts of a scenario: path -> ours."""
    return {
        deviation.path: deviation.ours
        for deviation in DEVIATIONS
        if deviation.scenario == scenario.name
        and deviation.writer in (None, scenario.writer)
        and deviation.path.startswith(parts)
    }


def recorded_outcome(scenario: Scenario) -> dict[str, Any]:
    # A server's error is no value: what ours returns in its place is compared member by member.
    results = [
        {**entry, "outcome": {}} if entry["outcome"] in ("ResponseError", "ReplyError") else entry
        for entry in outcomes(scenario.results)
    ]
    return {"results": results, "keys": scenario.keys, "snapshots": scenario.snapshots}


@pytest.fixture
async def embedded() -> AsyncIterator[Engine]:
    engine = open_engine(":memory:")
    try:
        yield engine
    finally:
        await engine.close()


def settled(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """What was found, with times to live that went down a little since as they are expected."""
    return {
        path: expected[path]
        if path.endswith(".ttl")
        and isinstance(value, int)
        and isinstance(wanted := expected.get(path), int)
        and 0 <= wanted - value <= TTL_TOLERANCE_SECONDS
        else value
        for path, value in found.items()
    }


@pytest.mark.parametrize("scenario", ALL, ids=str)
async def test_our_calls_leave_the_recorded_bytes_and_return_the_recorded_results(
    scenario: Scenario, database: ServerDatabase
) -> None:
    replay = Replay(scenario, database.client, database.name, database)
    await replay.run()
    keys = without_additions(await database.dump())
    ours = {"results": outcomes(replay.results), "keys": keys, "snapshots": replay.snapshots}
    expected = expected_deviations(scenario, "")
    assert settled(brief_differences(recorded_outcome(scenario), ours), expected) == expected


@pytest.mark.parametrize("scenario", ALL, ids=str)
async def test_the_embedded_file_returns_the_recorded_results(scenario: Scenario, embedded: Engine) -> None:
    replay = Replay(scenario, embedded, "demo", EngineDatabase(embedded, "demo"))
    await replay.run()
    recorded = {"results": recorded_outcome(scenario)["results"]}
    ours = {"results": outcomes(replay.results)}
    assert brief_differences(recorded, ours) == expected_deviations(scenario, "results")


@pytest.mark.parametrize("scenario", WITH_MEMORIES, ids=str)
async def test_we_read_the_recorded_memories_through_the_recorded_index(
    scenario: Scenario, database: ServerDatabase
) -> None:
    await load_recorded(scenario, database)
    replay = Replay(scenario, database.client, database.name, database)
    expected = {id: expected_item(id, record) for id, record in scenario.records.items()}

    for id, item in expected.items():
        assert members(await replay.store.get(id)) == item
    page = await replay.store.list(MemoryListOptions(limit=1000))
    assert page.total == len(expected)
    searched = {id: as_searched(item) for id, item in expected.items()}
    newest_first = sorted(searched.values(), key=lambda item: (-item["created_at"], item["id"]))
    assert [members(item) for item in page.items] == newest_first
    for id, record in scenario.records.items():
        hits = await replay.store.recall_by_vector(vector_of(record), k=len(expected), threshold=1e-4, reinforce=False)
        # Chosen by the server a hit is read from its record, else it is as the search tells it.
        [found] = [members(hit.item) for hit in hits if hit.item.id == id]
        assert found in (expected[id], searched[id])
        assert all(hit.distance == pytest.approx(0, abs=1e-4) for hit in hits)
    assert (await replay.store.stats()).unindexed_fields == OWN_FIELDS
    left = await database.dump()
    for key, recorded in scenario.keys.items():
        # A lifetime passes while the test runs.
        if recorded["ttl"] > 0 and recorded["ttl"] - 60 <= left[key]["ttl"] <= recorded["ttl"]:
            left[key]["ttl"] = recorded["ttl"]
    assert left == scenario.keys, "reading changed the database"


@pytest.mark.parametrize("scenario", [s for s in WITH_MEMORIES if s.reads_at_the_end()[0]], ids=str)
async def test_we_answer_as_recorded_over_the_recorded_database(scenario: Scenario, database: ServerDatabase) -> None:
    await load_recorded(scenario, database)
    ops, first, clock_ms = scenario.reads_at_the_end()
    replay = Replay(scenario, database.client, database.name, database, clock_ms=clock_ms)
    await replay.run(ops, remembered=scenario.remembered)

    recorded = recorded_outcome(scenario)["results"]
    ours = [*recorded[:first], *outcomes(replay.results)]
    concerned = tuple(f"results[{position}]" for position in range(first, len(recorded)))
    assert brief_differences({"results": recorded}, {"results": ours}) == expected_deviations(scenario, *concerned)


@pytest.mark.parametrize("scenario", WITH_MEMORIES, ids=str)
def test_we_write_the_fields_in_the_recorded_order(scenario: Scenario) -> None:
    full = NewMemory("1", "x", 0.5, 1, ("t",), "t", "a", "n", "source", "subject", "date")
    ours = list(encode_memory(full, b""))
    seeded = {f"{RECORDED_NAME}:mem:{op['id']}" for op in scenario.ops if op["op"] == "seed"}
    for command in scenario.commands:
        is_write = command[0] == "HSET" and command[1].startswith("demo:mem:") and "vector" in command
        if is_write and command[1] not in seeded:
            written = command[2::2]
            assert written == [field for field in ours if field in written]


@pytest.mark.parametrize("scenario", [s for s in ALL if s.index_arguments], ids=str)
async def test_our_index_has_the_recorded_fields_and_ours_behind(scenario: Scenario, database: ServerDatabase) -> None:
    assert scenario.index_arguments
    await database.create_index(scenario.index_arguments)
    recorded = await index_definition(database)
    await database.clear()
    replay = Replay(scenario, database.client, database.name, database)
    await replay.store.ensure_index()
    ours = await index_definition(database)

    assert ours["index_definition"] == recorded["index_definition"]
    published = len(recorded["attributes"])
    assert ours["attributes"][:published] == recorded["attributes"]
    assert tuple(attribute[1].decode() for attribute in ours["attributes"][published:]) == OWN_FIELDS


def test_every_deviation_is_about_a_recorded_scenario() -> None:
    assert {deviation.scenario for deviation in DEVIATIONS} <= {scenario.name for scenario in ALL}
    assert len({(d.scenario, d.path, d.writer) for d in DEVIATIONS}) == len(DEVIATIONS)


def without_additions(keys: dict[str, Any]) -> dict[str, Any]:
    """A dump without what only this package writes."""
    kept = {key: entry for key, entry in keys.items() if key not in OUR_KEYS}
    for entry in kept.values():
        if entry["type"] == "hash":
            entry["value"] = {name: value for name, value in entry["value"].items() if name not in OUR_FIELDS}
    return kept


async def load_recorded(scenario: Scenario, database: ServerDatabase) -> None:
    assert scenario.index_arguments
    await database.create_index(scenario.index_arguments)
    await database.load(scenario.keys)


async def index_definition(database: ServerDatabase) -> dict[str, Any]:
    reply = await database.client.execute_command("FT.INFO", f"{database.name}:mem:idx")
    info = {name.decode(): value for name, value in zip(reply[::2], reply[1::2], strict=True)}
    return {name: info[name] for name in ("index_definition", "attributes")}


def expected_item(id: str, record: dict[str, bytes]) -> dict[str, Any]:
    """A memory as contract A.2 reads it, written down a second time and without our reader."""
    names = {"threadId": "thread_id", "agentId": "agent_id"}
    texts = ("source", "subject", "date", "threadId", "agentId", "namespace")
    tags = record.get("tags", b"").decode()
    return {
        "id": id,
        "content": record["content"].decode(),
        "importance": float(record["importance"]),
        "tags": tags.split(",") if tags else [],
        **{name: int(record[name]) for name in ("created_at", "last_accessed_at", "access_count")},
        **{names.get(name, name): record[name].decode() for name in texts if name in record},
    }


def as_searched(item: dict[str, Any]) -> dict[str, Any]:
    """RediSearch returns fractions with twelve significant digits, whoever asks (integers in full)."""
    return {**item, "importance": float(f"{item['importance']:.12g}")}


def members(item: Any) -> dict[str, Any]:
    assert item is not None
    published = [name for name in item.__slots__ if name not in OUR_ADDITIONS[MemoryItem]]
    return {name: value for name in published if (value := getattr(item, name)) is not None}
