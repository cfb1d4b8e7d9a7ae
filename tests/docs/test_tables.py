"""Tables and drawings of the documentation say what the code says."""

from __future__ import annotations

import asyncio
import inspect
import re
import tomllib
from collections.abc import Iterable
from dataclasses import astuple
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args

import pytest
from prometheus_client import CollectorRegistry

import betterdb_agent_memory as package
from betterdb_agent_memory import (
    AgentMemory,
    AgentMemoryOptions,
    CacheOptions,
    ChangeFeedOptions,
    ConsolidationConfig,
    DiscoveryOptions,
    EmbeddingCacheOptions,
    Explanation,
    HybridOptions,
    MemoryConfigRefreshConfig,
    MemoryDraft,
    MemoryFilter,
    MemoryListOptions,
    MemoryOptions,
    MemoryStats,
    MemoryStore,
    MemoryTelemetryOptions,
    NearCacheOptions,
    RememberResult,
    TelemetryOptions,
    create_memory_telemetry,
    errors,
    telemetry,
)
from betterdb_agent_memory.agent_memory import URL_VARIABLE
from betterdb_agent_memory.background import ROWS_ON_THE_LOOP
from betterdb_agent_memory.caches.keys import KEY_PARAMETERS
from betterdb_agent_memory.caches.llm import LlmCache
from betterdb_agent_memory.caches.results import Origin
from betterdb_agent_memory.caches.tool import ToolCache
from betterdb_agent_memory.discovery import (
    DEFAULT_HEARTBEAT_INTERVAL_SECONDS,
    HEARTBEAT_TTL_SECONDS,
    Patience,
)
from betterdb_agent_memory.discovery.announcing import LOOK_EVERY_TICKS, MAX_NAMES_PER_LOOK
from betterdb_agent_memory.discovery.markers import MAX_TOOL_POLICIES
from betterdb_agent_memory.embedders import WordLlamaEmbedder
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.event_log import PARTITIONS
from betterdb_agent_memory.engines.filters import MAX_FILTER_BYTES
from betterdb_agent_memory.engines.valkey import ValkeyEngine, commands, effort, query
from betterdb_agent_memory.engines.valkey.index import LARGE_INDEX
from betterdb_agent_memory.live_config import SETTINGS
from betterdb_agent_memory.memory import conditions, index, record, requests, settings
from betterdb_agent_memory.memory.changes.change import KINDS, Change
from betterdb_agent_memory.memory.changes.feed import NOTICED_SECONDS
from betterdb_agent_memory.memory.changes.reading import PAGE, TELL_EVERY
from betterdb_agent_memory.memory.drafts import OnDuplicate
from betterdb_agent_memory.memory.dynamics_fields import MemoryDynamics
from betterdb_agent_memory.memory.recalling.scope_statistics import KEPT_SECONDS
from betterdb_agent_memory.memory.reinforcement import DeferredReinforcer, ImmediateReinforcer
from betterdb_agent_memory.memory.remembering import BATCH
from betterdb_agent_memory.memory.updating import KEEP
from betterdb_agent_memory.memory.where import MAX_IDS
from betterdb_agent_memory.memory.words.analysis import LONGEST_WORD, QUERY_WORDS
from betterdb_agent_memory.memory.words.date_reading import YEARS_BACK
from betterdb_agent_memory.memory.words.dates import named_periods
from betterdb_agent_memory.memory.words.languages import CODES
from betterdb_agent_memory.options import DEFAULT_EXACT_BUDGET, DEFAULT_MAX_CONTENT_BYTES
from betterdb_agent_memory.options.environment import KEYS
from betterdb_agent_memory.options.names import MAX_NAME_BYTES
from betterdb_agent_memory.rerankers import FastEmbedReranker
from betterdb_agent_memory.telemetry import create_cache_telemetry
from tests.docs.pages import ROOT, fenced, table, text_of
from tests.embedding import embed
from tests.servers import ValkeyServer

DOCS = ROOT / "docs"
PACKAGE = ROOT / "betterdb_agent_memory"


def test_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [row[0] for row in table(ROOT / "README.md", "extras")] == list(project["optional-dependencies"])


def test_live_settings() -> None:
    expected = [[s.field, s.name, s.accepts, s.effect] for s in SETTINGS]
    assert table(DOCS / "live-config.md", "settings") == expected


def test_environment_variables() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    readers = {
        path.name
        for path, text in sources.items()
        if re.search(r"os\.(environ|getenv)", text) and path.name != "generated.py"  # a docstring speaks of it
    }
    assert readers == {"agent_memory.py", "session.py", "story.py"}  # the last two are the command line's
    of_the_library = [key.variable for key in KEYS if key.name != "model"]
    assert [row[0] for row in table(DOCS / "configuration.md", "environment")] == of_the_library
    assert sources[PACKAGE / "agent_memory.py"].count("os.environ") == 2
    assert URL_VARIABLE == "BETTERDB_URL"


SIGNATURES: list[tuple[str, str, Any]] = [
    ("store.md", "AgentMemory.open", AgentMemory.open),
    ("store.md", "MemoryStore", MemoryStore),
    ("store.md", "MemoryStore.remember", MemoryStore.remember),
    ("store.md", "MemoryStore.recall", MemoryStore.recall),
    ("store.md", "MemoryListOptions", MemoryListOptions),
    ("store.md", "MemoryStore.forget_by_scope", MemoryStore.forget_by_scope),
    ("bulk.md", "MemoryStore.remember_many", MemoryStore.remember_many),
    ("bulk.md", "MemoryStore.update", MemoryStore.update),
    ("conversations.md", "MemoryStore.remember_conversation", MemoryStore.remember_conversation),
    ("bulk.md", "MemoryStore.iterate", MemoryStore.iterate),
    ("context.md", "MemoryStore.context", MemoryStore.context),
    ("reranking.md", "FastEmbedReranker", FastEmbedReranker),
    ("change-feed.md", "MemoryStore.changes", MemoryStore.changes),
    ("change-feed.md", "ChangeFeedOptions", ChangeFeedOptions),
    ("near-cache.md", "NearCacheOptions", NearCacheOptions),
    ("configuration.md", "ConsolidationConfig", ConsolidationConfig),
    ("configuration.md", "MemoryConfigRefreshConfig", MemoryConfigRefreshConfig),
    ("configuration.md", "MemoryOptions", MemoryOptions),
    ("configuration.md", "CacheOptions", CacheOptions),
    ("embedding-cache.md", "EmbeddingCacheOptions", EmbeddingCacheOptions),
    ("observability.md", "MemoryStats", MemoryStats),
    ("llm-cache.md", "LlmCache.get_or_call", LlmCache.get_or_call),
    ("tool-cache.md", "ToolCache.cached", ToolCache.cached),
]


@pytest.mark.parametrize(("page", "name", "subject"), SIGNATURES, ids=[name for _, name, _ in SIGNATURES])
def test_arguments_and_their_defaults(page: str, name: str, subject: Any) -> None:
    documented = {row[0]: row[1] for row in table(DOCS / page, f"signature {name}")}
    actual = {
        parameter.name: default_text(parameter.default)
        for parameter in inspect.signature(subject).parameters.values()
        if parameter.name != "self"
    }
    assert documented == actual


def test_kinds_of_changes() -> None:
    assert [row[0] for row in table(DOCS / "change-feed.md", "change kinds")] == list(KINDS)
    assert {row[0] for row in table(DOCS / "change-feed.md", "change")} == set(Change.__dataclass_fields__)
    page = text_of(DOCS / "change-feed.md")
    assert f"learns of it within {['ten'][int(NOTICED_SECONDS) - 10]} seconds" in page
    assert f"divided into {PARTITIONS} partitions" in page
    assert f"up to {TELL_EVERY - 1} that were handled" in page
    assert f"round trip per {PAGE} changes" in page


def test_recall_by_vector_differs_in_its_first_argument_only() -> None:
    by_text, by_vector = (
        list(inspect.signature(method).parameters.values())[2:]
        for method in (MemoryStore.recall, MemoryStore.recall_by_vector)
    )
    assert by_text == [parameter for parameter in by_vector if parameter.name != "query"]


def default_text(default: object) -> str:
    if default is inspect.Parameter.empty:
        return "required"
    if default is KEEP:
        return "KEEP"
    return default.__name__ if inspect.isfunction(default) else repr(default)


def door(store: MemoryStore) -> dict[str, str]:
    """The defaults of a store in the words of the README."""
    config = store.current_config()
    weights = config.weights
    waits = isinstance(store._reinforcer, DeferredReinforcer)
    assert waits or isinstance(store._reinforcer, ImmediateReinforcer)
    return {
        "threshold": f"{config.threshold}",
        "weights": f"{weights.similarity}, {weights.recency}, {weights.importance}",
        "half-life": f"{config.half_life_seconds:,.0f} s",
        "reinforcement": "deferred" if waits else "immediate",
        "live": f"every {settings.refresh_interval_seconds(True):g} s" if store._refreshes_config else "off",
        "discovery": "off" if store._discovery is None else "on",
        "retrieval": config.retrieval,
        "exactness": "exact" if config.exact else "one search",
        "budget": f"{store._recaller._exact_budget:,} memories",
        "limit": "none" if config.max_items_per_scope is None else str(config.max_items_per_scope),
        "text": f"{store._max_content_bytes:,} bytes",
    }


def test_defaults_of_the_three_doors(tmp_path: Path) -> None:
    engine = EmbeddedEngine(":memory:")
    file, server = tmp_path / "memory.db", "valkey://localhost:1"
    bare = door(MemoryStore(client=engine, name="a", embed_fn=embed))
    options = door(AgentMemory(AgentMemoryOptions(client=engine, embed_fn=embed)).memory)
    opened = door(AgentMemory.open(file, embedder=embed).memory)
    assert opened["discovery"] == "off"
    assert door(AgentMemory.open(server, embedder=embed).memory) == opened | {"discovery": "on"}
    opened["discovery"] = "on for a server, off for a file"
    doors = (bare, options, opened)
    facades = [
        AgentMemory(AgentMemoryOptions(client=engine, embed_fn=embed)),
        AgentMemory.open(file, embedder=embed),
    ]
    policies = [f"every {agent._tiers._refresh.interval_seconds:g} s" for agent in facades]
    assert all(agent._tiers._refresh.enabled for agent in facades)
    assert {
        **dict.fromkeys((), "what it states"),
        "threshold, plain `embed_fn`": [each["threshold"] for each in doors],
        "threshold, an `Embedder`": ["what it states"] * 3,
        "retrieval": [each["retrieval"] for each in doors],
        "exactness": [each["exactness"] for each in doors],
        "budget of `exact=True`": [each["budget"] for each in doors],
        "embedder": ["none", "required", f"offline, threshold {WordLlamaEmbedder().default_threshold}"],
        "weights: similarity, recency, importance": [each["weights"] for each in doors],
        "half-life of recency": [each["half-life"] for each in doors],
        "reinforcement": [each["reinforcement"] for each in doors],
        "live configuration re-read": [each["live"] for each in doors],
        "tool policies re-read": ["no caches", *policies],
        "discovery (the Monitor's registry)": [each["discovery"] for each in doors],
        "limit per scope": [each["limit"] for each in doors],
        "longest text": [each["text"] for each in doors],
    } == {row[0]: row[1:] for row in table(ROOT / "README.md", "defaults")}


def test_each_door_takes_what_an_embedder_states() -> None:
    offline = WordLlamaEmbedder()
    stores = [
        MemoryStore(client=EmbeddedEngine(":memory:"), name="a", embed_fn=offline),
        AgentMemory(AgentMemoryOptions(client=EmbeddedEngine(":memory:"), embed_fn=offline)).memory,
        AgentMemory.open(":memory:").memory,
    ]
    assert {store.current_config().threshold for store in stores} == {offline.default_threshold}


def test_limits() -> None:
    assert [row[1] for row in table(DOCS / "engines.md", "limits")] == [
        f"{requests.MAX_K:,}",
        f"{requests.MAX_LIST_LIMIT:,}",
        f"{MAX_FILTER_BYTES:,} bytes",
        f"{DEFAULT_MAX_CONTENT_BYTES:,} bytes",
        f"{record.MAX_ID_BYTES} bytes",
        f"{MAX_NAME_BYTES} bytes",
        f"{record.MAX_TTL_SECONDS:,} s",
        f"{requests.MAX_CANDIDATES:,}",
        f"{requests.MAX_LIST_OFFSET:,}",
        f"{record.MAX_LABEL_BYTES:,} bytes each",
        f"{record.MAX_METADATA_BYTES:,} bytes as JSON",
        f"{record.MAX_ENTITY_BYTES} bytes, at most {record.MAX_ENTITIES} a memory",
    ]


def in_code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def test_fields_and_comparisons_of_conditions() -> None:
    rows = [[row[0], re.findall(r"\w+", row[1]), row[2]] for row in table(DOCS / "filters.md", "fields")]
    assert rows == [[name, list(field.comparisons), field.bare] for name, field in conditions.FIELDS.items()]
    page = text_of(DOCS / "filters.md")
    assert f"{in_code(conditions.CONNECTIVES[:2]).replace(', ', ' and ')} take a list of mappings" in page
    assert f"at most {conditions.MAX_DEPTH} levels" in page
    assert f"at most {MAX_FILTER_BYTES:,} bytes of query text" in page


def test_objects_of_conditions_and_their_methods() -> None:
    rows = table(DOCS / "filters.md", "objects")
    kinds = [getattr(package, row[0].partition("(")[0]) for row in rows]
    assert {kind for kind in vars(package).values() if inspect.isclass(kind) and MemoryFilter in kind.__mro__[1:]} == {
        *kinds
    }
    for kind, row in zip(kinds, rows, strict=True):
        # Those that make conditions; the others are for the mapping form.
        methods = [
            name
            for name, method in inspect.getmembers(kind, inspect.ismethod)
            if not name.startswith("_") and method.__annotations__["return"] == "MemoryFilter"
        ]
        assert re.findall(r"\w+", row[1]) == methods, kind
        assert isinstance(eval(row[0], vars(package)), kind)
    assert f"at most {MAX_IDS:,}" in rows[kinds.index(package.Id)][2]


def test_search_timeout_and_effort() -> None:
    engine = ValkeyEngine.from_url("valkey://localhost:1")
    options = MemoryOptions()
    assert (engine.search_timeout_ms, engine.minimum_ef) == (options.search_timeout_ms, options.minimum_ef)
    page = text_of(DOCS / "engines.md")
    assert f"`TIMEOUT {options.search_timeout_ms}`" in page
    assert f"at\nleast {options.minimum_ef}." in page
    assert f"`EF_RUNTIME` of at least {effort._WHOLE_GRAPH * options.minimum_ef}: four times" in page
    assert f"under {effort._LARGE_SCOPE:,} records, or under a tenth of the index" in page
    assert effort._THIN_SHARE == 0.1
    assert f"the largest effort there is, {effort.LARGEST_EF:,}" in page
    assert f"| {LARGE_INDEX:,} records or more | `{query.EVERYTHING}`" in page


def test_patience() -> None:
    page = text_of(DOCS / "store.md")
    assert f"believed for {index.LOOK_AGAIN_SECONDS:.0f} s" in page
    assert f"wait: up to {index.PATIENCE_SECONDS:.0f} s" in page
    assert f"more than {ROWS_ON_THE_LOOP} rows" in text_of(DOCS / "performance.md")


def test_what_an_explanation_holds() -> None:
    [paragraph] = [part for part in text_of(DOCS / "store.md").split("\n\n") if part.startswith("A hit has `item`")]
    holds, _, computes = paragraph.partition("and computes from them")
    assert re.findall(r"`(\w+)`", holds.partition("That holds")[2]) == list(Explanation.__dataclass_fields__)
    computed = [name for name, value in vars(Explanation).items() if isinstance(value, property)]
    assert {f"`{name}`" for name in computed} <= set(re.findall(r"`\w+`", computes))


async def test_what_the_first_call_adds(valkey_server: ValkeyServer, store_name: str) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url)
    adds = []
    for _ in range(2):
        store = MemoryStore(client=engine, name=store_name, embed_fn=embed)
        before = engine.round_trips
        await store.recall("Is there an index?", reinforce=False)
        adds.append(engine.round_trips - before - 1)
        for _ in range(500):
            if not (await store.stats()).indexing:
                break
            await asyncio.sleep(0.01)
    # Right after creation it is asked again while the server says that it still takes memories in.
    assert adds[0] >= 2 + 3
    assert adds[1] == 2
    await engine.close()


async def test_statistics_take_three_round_trips(valkey_server: ValkeyServer, store_name: str) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url)
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed)
    await store.remember("One to count.")
    before = engine.round_trips
    assert (await store.stats()).item_count == 1
    assert engine.round_trips - before == 3
    await engine.close()


def test_thresholds_of_the_offline_embedder() -> None:
    rows = table(DOCS / "embedders.md", "thresholds")
    stated = re.findall(
        r"^ +(256|128|64) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$", WordLlamaEmbedder.__doc__ or "", re.MULTILINE
    )
    assert rows == [list(row) for row in stated]
    assert {row[0]: float(row[1]) for row in rows} == {
        str(dimensions): WordLlamaEmbedder(dimensions).default_threshold for dimensions in (256, 128, 64)
    }


def error_classes() -> dict[str, type[Exception]]:
    classes = [cls for cls in vars(errors).values() if inspect.isclass(cls) and issubclass(cls, Exception)]
    return {cls.__name__: cls for cls in classes}


def test_the_error_tree_is_that_of_the_module() -> None:
    drawn = dedent((errors.__doc__ or "").split("::\n\n")[1].split("\n\nA message")[0])
    assert fenced(DOCS / "store.md", "error tree") == drawn.rstrip("\n") + "\n"


def test_the_error_tree_is_that_of_the_classes() -> None:
    parents: list[str] = []
    drawn = {}
    for line in fenced(DOCS / "store.md", "error tree").splitlines():
        match = re.match(r"([│├└─ ]*)(\w+)(?: \(also (\w+)\))?", line)
        assert match
        depth = len(match[1]) // 4
        parents[depth:] = [match[2]]
        drawn[match[2]] = [parents[depth - 1] if depth else "Exception", *filter(None, [match[3]])]
    assert drawn == {name: [base.__name__ for base in cls.__bases__] for name, cls in error_classes().items()}


def test_every_error_has_an_advice() -> None:
    assert [row[0] for row in table(DOCS / "store.md", "errors")] == list(error_classes())


def test_public_names() -> None:
    names = [name for row in table(DOCS / "store.md", "public names") for name in re.findall(r"\w+", row[1])]
    assert sorted(names) == sorted(package.__all__)


def test_metrics() -> None:
    registry = CollectorRegistry()
    metrics = create_memory_telemetry(MemoryTelemetryOptions(registry=registry)).metrics
    actual = []
    for name in metrics.__dataclass_fields__:
        metric: Any = getattr(metrics, name)
        [described] = metric.describe()
        total = "_total" if described.type == "counter" else ""
        further = [label for label in metric._labelnames if label != "store_name"]
        actual.append([described.name + total, described.type, ", ".join(further), described.documentation])
    assert table(DOCS / "observability.md", "metrics") == actual


def test_spans() -> None:
    names = [value for name, value in vars(telemetry).items() if name.startswith("SPAN_")]
    assert [row[0] for row in table(DOCS / "observability.md", "spans")] == names


def test_a_draft_and_what_becomes_of_it() -> None:
    page = text_of(DOCS / "bulk.md")
    [paragraph] = [part for part in page.split("\n\n") if part.startswith("A draft has the fields")]
    named = re.findall(r"`(\w+)`", paragraph.partition(". It may")[0])
    assert named == list(MemoryDraft.__dataclass_fields__)
    assert "| `outcome` | `id` | `error` |" in page
    assert list(RememberResult.__dataclass_fields__) == ["outcome", "id", "error"]
    assert [word for word in get_args(OnDuplicate) if f'| `"{word}"`' not in page] == []
    assert f"In batches of {BATCH}." in page


async def test_iterating_takes_about_four_round_trips_per_thousand(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    engine = ValkeyEngine.from_url(valkey_server.url)
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, clock=count(1_750_000_000_000).__next__)
    for first in range(0, 5_000, 1_000):
        await store.remember_many([f"number {first + number}" for number in range(1_000)])
    await store.list()  # waits while the server still takes memories into its new index
    before = engine.round_trips
    assert len([item async for item in store.iterate()]) == 5_000
    assert 15 <= engine.round_trips - before <= 25
    await engine.close()


def test_fields_of_a_record_in_the_order_they_are_written() -> None:
    everything = record.NewMemory(
        id="i",
        content="c",
        importance=0.5,
        created_at_ms=1,
        tags=("t",),
        thread_id="t",
        agent_id="a",
        namespace="n",
        source="s",
        subject="s",
        date="d",
        occurred_at_ms=1,
        metadata="{}",
        derived=record.DERIVED_FACT,
        session="s",
        turn=0,
        speaker="s",
        words="w",
        kind="fact",
        entities=("e",),
        dynamics=MemoryDynamics(0.1, 1.0, 1.0, 1.0, 1, 0.1, (1,), 1, 1, ("i",), 1, 1, "i", ("i",), 1),
    )
    rows = table(DOCS / "wire-contract.md", "record")
    assert [row[0] for row in rows] == [*record.encode_memory(everything, b"\0\0\0\0"), record.VERSION]
    bare = record.encode_memory(record.NewMemory(id="i", content="c", importance=0.5, created_at_ms=1), b"\0\0\0\0")
    assert [row[0] for row in rows if row[1] == "always"] == list(bare)


def test_kinds_and_what_holds_for_each() -> None:
    documented = {row[0]: tuple(map(float, row[1:5])) for row in table(DOCS / "store.md", "kinds")}
    assert documented == {name: astuple(profile) for name, profile in package.KINDS.items()}


def test_the_index_is_created_with_these_arguments() -> None:
    command = commands.create_index(record.memory_collection("{name}"), 7)
    assert fenced(DOCS / "wire-contract.md", "index").split() == ["D" if word == "7" else str(word) for word in command]


def test_the_house_has_these_rooms_and_no_others() -> None:
    folders: list[str] = []
    drawn = set()
    for line in fenced(DOCS / "architecture.md", "house").splitlines():
        match = re.match(r"( *)(\S+)", line)
        assert match
        depth = len(match[1]) // 4
        folders[depth:] = [match[2].rstrip("/")]
        drawn.add("/".join(folders))
    assert {path for path in drawn if not (ROOT / path).exists()} == set()
    deep = ("/valkey/", "/embedded/", "/consolidation/", "/generations/", "/transfer/", "/apps/")
    modules = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py")}
    expected = {module for module in modules if not any(part in module for part in deep)}
    assert {module for module in expected if not module.endswith("/__init__.py")} <= drawn


def test_where_an_answer_comes_from_and_what_a_request_is() -> None:
    rows = table(DOCS / "llm-cache.md", "origins")
    assert [row[0] for row in rows] == [*(f'"{origin}"' for origin in ("cache", "stale", "shared", "call")), "None"]
    assert {row[0].strip('"') for row in rows} == {*get_args(Origin), "None"}
    [paragraph] = [part for part in text_of(DOCS / "llm-cache.md").split("\n\n") if part.startswith("Two requests are")]
    assert re.findall(r"`(\w+)`", paragraph.partition(". The published")[0]) == list(KEY_PARAMETERS)


def test_cache_metrics() -> None:
    metrics = create_cache_telemetry(TelemetryOptions(registry=CollectorRegistry())).metrics
    actual = []
    for name in metrics.__dataclass_fields__:
        metric: Any = getattr(metrics, name)
        [described] = metric.describe()
        total = "_total" if described.type == "counter" else ""
        further = [label for label in metric._labelnames if label != "cache_name"]
        actual.append([described.name + total, described.type, ", ".join(further), described.documentation])
    assert table(DOCS / "observability.md", "cache metrics") == actual


def test_engine_metrics() -> None:
    actual = [[f"{name}_total", "counter", about] for name, about in telemetry.ENGINE_COUNTERS.items()]
    assert table(DOCS / "observability.md", "engine metrics") == actual


def test_discovery_settings() -> None:
    rows = {row[0]: row[1] for row in table(DOCS / "discovery.md", "discovery")}
    defaults = DiscoveryOptions()
    assert rows["heartbeat_interval_ms"] == str(defaults.heartbeat_interval_ms)
    assert rows["include_tool_policies"] == str(defaults.include_tool_policies)
    assert int(rows["heartbeat_interval_ms"]) == DEFAULT_HEARTBEAT_INTERVAL_SECONDS * 1000
    page = text_of(DOCS / "discovery.md")
    assert f"for {HEARTBEAT_TTL_SECONDS} s |" in page
    assert f"at most {MAX_NAMES_PER_LOOK}\n" in page
    assert f"up to {MAX_TOOL_POLICIES} names" in page
    assert (Patience().apart_seconds, Patience().silent_days, LOOK_EVERY_TICKS) == (120, 7, 10)


def test_signs_of_relevance_and_their_weights() -> None:
    hybrid = HybridOptions()
    rows = {row[0]: float(row[1]) for row in table(DOCS / "recall.md", "signs")}
    assert rows == {name: getattr(hybrid, f"{name}_weight") for name in ("similarity", "words", "date", "actor")}
    page = re.sub(r"\n +(?=\w)", " ", text_of(DOCS / "recall.md"))
    weighed = " + ".join(f"{weight:.2f} * {name}" for name, weight in rows.items())
    assert f"relevance = ({weighed}) / {sum(rows.values()):.2f}" in page
    k1, b = hybrid.saturation, hybrid.length_normalization
    assert f"K       = {k1} * (1 - {b} + {b} * length / {hybrid.typical_words})" in page
    assert f"a text of usual length that has each word once gets {1 / (1 + k1):.2f}".replace("0.", ".") in page
    assert f"lent {hybrid.neighbour_share} of the `words`" in page
    least, most = requests.MIN_CANDIDATES, requests.MAX_CANDIDATES
    assert (
        f"nearest {hybrid.candidates} by vector (`candidates`; at least 4k, at least {least}, at most {most:,})" in page
    )
    assert f"The nearest {hybrid.word_candidates} among those that have a rare word" in page
    assert f"searched for have {hybrid.word_matches} memories between them" in page


def test_what_dates_mean() -> None:
    now_ms = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp() * 1000)
    for said, meant in table(DOCS / "recall.md", "dates"):
        spans = []
        for period in named_periods(f"What happened {said}?", now_ms):
            first, last = (
                datetime.fromtimestamp(ms / 1000, UTC).date().isoformat() for ms in (period.start_ms, period.end_ms - 1)
            )
            spans.append(first if first == last else f"{first} to {last}")
        assert (", ".join(spans) or "nothing") == meant, said


def test_numbers_of_the_page_on_recall() -> None:
    page = text_of(DOCS / "recall.md").replace("\n", " ")
    assert f"kept for {KEPT_SECONDS:.0f} s in each worker" in page
    assert f"the first {QUERY_WORDS} different words of a question count, and {LONGEST_WORD} characters" in page
    assert f"one of {len(CODES)} languages of Snowball" in page
    assert f"After {requests.MAX_CANDIDATES:,} memories the whole scope" in page
    assert f"`exact_budget` memories ({DEFAULT_EXACT_BUDGET:,})" in page
    assert f"the last {['', '', '', '', '', 'five'][YEARS_BACK]} of its name" in page
