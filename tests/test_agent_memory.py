"""The facade: two ways in, what it opens and what it closes."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import valkey.asyncio
from prometheus_client import CollectorRegistry

from betterdb_agent_memory import (
    AgentMemory,
    AgentMemoryConfig,
    AgentMemoryOptions,
    AgentMemoryRecallConfig,
    CachedEmbedder,
    CacheOptions,
    ConfigurationError,
    DiscoveryOptions,
    DynamicsParameters,
    EmbeddingCacheOptions,
    FunctionEmbedder,
    MemoryDiscovery,
    MemoryOptions,
    MemoryStore,
    RecallWeights,
    TelemetryOptions,
    TierDefaults,
    preset,
)
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from tests.embedding import AHEAD, embed
from tests.servers import ValkeyServer

ASK: Any = {"model": "m", "messages": [{"role": "user", "content": "What is Valkey?"}]}


class CountedModel:
    """A model that says what it was asked."""

    dimensions: int | None = 8
    default_threshold = 2.0

    def __init__(self, name: str = "counted-1") -> None:
        self.name = name
        self.questions: list[str] = []
        self.documents: list[str] = []

    async def embed_query(self, text: str) -> list[float]:
        self.questions.append(text)
        return await embed(text)

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        self.documents += texts
        return [await embed(text) for text in texts]


async def use_every_tier(agent: AgentMemory) -> None:
    await agent.memory.remember(AHEAD)
    await agent.llm.store(ASK, "answer")
    await agent.llm.check(ASK)
    await agent.tool.store("t", {"a": 1}, "result")
    await agent.session.set("thread", "field", "value")
    await agent.embeddings.put_many({"text": [1.0]}, model="m")


async def test_open_on_a_file_with_nothing_but_a_path(tmp_path: Path) -> None:
    async with AgentMemory.open(tmp_path / "m.db") as agent:
        await agent.memory.remember("Ana: I moved to Lisbon last spring", thread_id="t")
        await agent.memory.remember("Ana: the quarterly report is due on Friday", thread_id="t")
        [hit, *_] = await agent.memory.recall("which city does Ana live in, Lisbon?", thread_id="t")
        assert "Lisbon" in hit.item.content
        assert hit.explain is not None
        assert hit.explain.threshold == 0.75
    async with AgentMemory.open(str(tmp_path / "m.db")) as agent:
        assert (await agent.memory.stats()).item_count == 2
        [kept] = await agent.memory.recall("Lisbon", k=1)
        assert kept.item.access_count == 1  # close wrote what was deferred


async def test_open_takes_the_url_from_the_environment(
    valkey_server: ValkeyServer, store_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BETTERDB_URL", valkey_server.url)
    async with AgentMemory.open(name=store_name, embedder=embed) as agent:
        id = await agent.memory.remember("on the server")
    client = valkey_server.client()
    assert await client.execute_command("HGET", f"{store_name}:mem:{id}", "content") == b"on the server"
    await client.aclose()
    monkeypatch.delenv("BETTERDB_URL")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    async with AgentMemory.open(embedder=embed) as agent:
        await agent.memory.remember("in the data directory")
    assert (tmp_path / "betterdb-agent-memory" / "memory.db").exists()


async def test_open_over_a_unix_socket(store_name: str) -> None:
    with ValkeyServer(unix_socket=True) as server:
        async with AgentMemory.open(server.socket_url, name=store_name, embedder=embed) as agent:
            id = await agent.memory.remember(AHEAD)
            assert [hit.item.id for hit in await agent.memory.recall(AHEAD, threshold=2)] == [id]


async def test_bring_your_own_client(valkey_client: valkey.asyncio.Valkey, store_name: str) -> None:
    weights = RecallWeights(similarity=1, recency=0, importance=0)
    options = AgentMemoryOptions(
        client=valkey_client,
        embed_fn=embed,
        name=store_name,
        memory=AgentMemoryConfig(
            default_threshold=0.4,
            recall=AgentMemoryRecallConfig(weights=weights),
            max_items_per_scope=7,
            discovery=False,
        ),
    )
    async with AgentMemory(options) as agent:
        await agent.memory.remember(AHEAD)
        config = agent.memory.current_config()
        assert (config.threshold, config.weights, config.max_items_per_scope) == (0.4, weights, 7)
        assert config.half_life_seconds == 604_800
    assert await valkey_client.ping()  # it is yours and stays open


async def test_defaults_of_the_three_doors(valkey_client: valkey.asyncio.Valkey, tmp_path: Path) -> None:
    bare = MemoryStore(client=valkey_client, name="x", embed_fn=embed).current_config()
    facade = AgentMemory(AgentMemoryOptions(client=valkey_client, embed_fn=embed)).memory.current_config()
    opened = AgentMemory.open(tmp_path / "m.db").memory.current_config()
    assert bare == facade
    assert (bare.threshold, bare.half_life_seconds, bare.max_items_per_scope) == (0.25, 604_800, None)
    assert bare.weights == RecallWeights(similarity=0.6, recency=0.25, importance=0.15)
    assert opened.weights.similarity > 30 * opened.weights.recency


async def test_a_server_is_announced_and_a_file_is_not(
    valkey_server: ValkeyServer, store_name: str, tmp_path: Path
) -> None:
    client = valkey_server.client()
    async with AgentMemory.open(valkey_server.url, name=store_name, embedder=embed):
        marker = json.loads(await client.execute_command("HGET", "__betterdb:caches", f"{store_name}:mem"))
        assert (marker["type"], marker["prefix"], marker["protocol_version"]) == ("agent_memory", store_name, 1)
        assert marker["stats_key"] == f"{store_name}:__mem_stats"
        assert 0 < await client.ttl(f"__betterdb:heartbeat:{store_name}:mem") <= 60
        assert await client.get("__betterdb:protocol") == b"1"
    assert not await client.exists(f"__betterdb:heartbeat:{store_name}:mem")
    await client.aclose()
    async with AgentMemory.open(tmp_path / "m.db", embedder=embed) as agent:
        assert await agent._engine.values.read_map("__betterdb:caches") == {}


async def test_a_heartbeat_goes_on(valkey_client: valkey.asyncio.Valkey, store_name: str) -> None:
    discovery = MemoryDiscovery(
        client=valkey_client, name=store_name, version="1", stats_key="s", heartbeat_interval_s=0.02
    )
    await discovery.register()
    key = f"__betterdb:heartbeat:{store_name}:mem"
    first = await valkey_client.get(key)
    for _ in range(100):
        await asyncio.sleep(0.02)
        if await valkey_client.get(key) != first:
            break
    assert await valkey_client.get(key) != first
    await discovery.stop(delete_heartbeat=False)
    assert await valkey_client.exists(key)
    await discovery.stop(delete_heartbeat=True)
    assert not await valkey_client.exists(key)


async def test_live_configuration_is_in_force_from_the_first_call(valkey_server: ValkeyServer, store_name: str) -> None:
    client = valkey_server.client()
    await client.execute_command("HSET", f"{store_name}:__mem_config", "recall.threshold", "0.123")
    async with AgentMemory.open(valkey_server.url, name=store_name, embedder=embed) as agent:
        assert agent.memory.current_config().threshold == 0.123
    await client.aclose()


def test_one_file_serves_several_event_loops(tmp_path: Path) -> None:
    agent = AgentMemory.open(tmp_path / "m.db", embedder=embed)

    async def work() -> int:
        await agent.initialize()
        await asyncio.gather(*(agent.memory.remember(AHEAD, thread_id="t") for _ in range(5)))
        await asyncio.gather(*(agent.memory.recall(AHEAD, thread_id="t") for _ in range(5)))
        await agent.memory.flush()
        return (await agent.memory.stats()).item_count

    assert [asyncio.run(work()) for _ in range(3)] == [5, 10, 15]
    asyncio.run(agent.close())


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"threshold": 3}, "threshold"),
        ({"half_life_seconds": 0}, "half_life_seconds"),
        ({"max_items_per_scope": 0}, "max_items_per_scope"),
        ({"reinforcement": "sometimes"}, "reinforcement"),
        ({"tresholt": 1}, "tresholt"),
    ],
)
def test_a_wrong_option_is_named_when_it_is_made(options: dict, field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"MemoryOptions.{field}"):
        MemoryOptions(**options)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"default_threshold": 2.5}, "default_threshold"),
        ({"default_threshold": "0.5"}, "default_threshold"),
        ({"half_life_seconds": 0}, "half_life_seconds"),
        ({"max_items_per_scope": 0}, "max_items_per_scope"),
        ({"weights": (1, 2, 3)}, "weights"),
        ({"reinforcement": "later"}, "reinforcement"),
        ({"config_refresh": "yes"}, "config_refresh"),
        ({"embed_fn": "model-name"}, "embed"),
        ({"client": object()}, "client"),
    ],
)
async def test_a_wrong_argument_is_named_when_the_store_is_made(
    valkey_client: valkey.asyncio.Valkey, arguments: dict, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        MemoryStore(**({"client": valkey_client, "name": "x", "embed_fn": embed} | arguments))


async def test_every_tier_works_on_a_file_and_is_there_again(tmp_path: Path) -> None:
    async with AgentMemory.open(tmp_path / "m.db", embedder=embed) as agent:
        await use_every_tier(agent)
    async with AgentMemory.open(tmp_path / "m.db", embedder=embed) as agent:
        assert (await agent.memory.stats()).item_count == 1
        assert (await agent.llm.check(ASK)).response == "answer"
        assert (await agent.tool.check("t", {"a": 1})).response == "result"
        assert await agent.session.get_all("thread") == {"field": "value"}
        [vector] = await agent.embeddings.get_many(["text"], model="m")
        assert vector is not None
        assert (await agent.stats()).llm.hits == 2
        assert [entry.tool for entry in await agent.tool_effectiveness()] == ["t"]
        assert (await agent.config.set(threshold=0.4)).memory.threshold == 0.4
        assert agent.memory.current_config().threshold == 0.4


async def test_the_published_facade_has_its_tiers_on_ones_own_client(
    valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    registry = CollectorRegistry()
    options = AgentMemoryOptions(
        valkey_client,
        store_name,
        500,
        {"llm": TierDefaults(50)},
        telemetry=TelemetryOptions(registry=registry),
        embed_fn=embed,
    )
    async with AgentMemory(options) as agent:
        await use_every_tier(agent)
        [llm_key] = await valkey_client.keys(f"{store_name}:llm:*")
        assert 45 <= await valkey_client.ttl(llm_key) <= 50
        assert 495 <= await valkey_client.ttl(f"{store_name}:session:thread:field") <= 500
        registered = await valkey_client.execute_command("HGETALL", "__betterdb:caches")
        types = {field: json.loads(marker)["type"] for field, marker in registered.items()}
        assert types[store_name.encode()] == "agent_cache"
        assert types[f"{store_name}:mem".encode()] == "agent_memory"
        assert agent.memory.current_config().threshold == 0.25
        samples = {sample.name for metric in registry.collect() for sample in metric.samples}
        assert {"agent_cache_requests_total", "agent_memory_recall_total"} <= samples
    assert await valkey_client.ping()
    assert (
        await valkey_client.exists(f"__betterdb:heartbeat:{store_name}", f"__betterdb:heartbeat:{store_name}:mem") == 0
    )


async def test_flushing_the_caches_leaves_memories_and_configuration(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    async with AgentMemory.open(valkey_server.url, name=store_name, embedder=embed) as agent:
        await use_every_tier(agent)
        await agent.config.set(half_life_seconds=60)
        await agent.config.set_tool_ttl("t", 5)
        await agent.flush()
        assert not (await agent.llm.check(ASK)).hit
        assert (await agent.memory.stats()).item_count == 1
        assert [hit.item.content for hit in await agent.memory.recall(AHEAD, threshold=2)] == [AHEAD]
        in_force = await agent.config.get()
        assert (in_force.memory.half_life_seconds, dict(in_force.tool_ttl_seconds)) == (60, {"t": 5})


async def test_both_tiers_are_announced_with_the_first_call_of_either(
    valkey_server: ValkeyServer, store_name: str, tmp_path: Path
) -> None:
    client = valkey_server.client()
    agent = await asyncio.to_thread(
        lambda: AgentMemory.open(valkey_server.url, name=store_name, embedder=embed)  # where no loop runs
    )
    heartbeats = [f"__betterdb:heartbeat:{store_name}", f"__betterdb:heartbeat:{store_name}:mem"]
    assert await client.exists(*heartbeats) == 0
    await agent.memory.remember(AHEAD)
    for _ in range(300):
        if await client.exists(*heartbeats) == 2:
            break
        await asyncio.sleep(0.01)
    assert await client.exists(*heartbeats) == 2
    await agent.close()
    assert await client.exists(*heartbeats) == 0
    await agent.close()
    quiet = CacheOptions(discovery=False)
    async with AgentMemory.open(valkey_server.url, name=store_name, embedder=embed, caches=quiet):
        assert await client.exists(*heartbeats) == 1
    await client.aclose()
    async with AgentMemory.open(tmp_path / "m.db", embedder=embed) as agent:
        await use_every_tier(agent)
        assert await agent._engine.values.read_map("__betterdb:caches") == {}
    shown = CacheOptions(discovery=DiscoveryOptions())
    async with AgentMemory.open(tmp_path / "m.db", embedder=embed, caches=shown) as agent:
        assert [*await agent._engine.values.read_map("__betterdb:caches")] == ["betterdb_ac"]


async def test_a_question_asked_before_costs_no_call_of_the_model(valkey_server: ValkeyServer, store_name: str) -> None:
    model = CountedModel()
    for _ in range(2):
        async with AgentMemory.open(valkey_server.url, name=store_name, embedder=model) as agent:
            await agent.memory.remember(f"{AHEAD}!")
            for _ in range(3):
                assert await agent.memory.recall(AHEAD)
    assert model.questions == [AHEAD]
    assert model.documents == [f"{AHEAD}!"] * 2
    async with AgentMemory.open(valkey_server.url, name=store_name, embedder=model) as agent:
        assert ((await agent.embeddings.stats()).hits, (await agent.embeddings.stats()).misses) == (5, 1)


async def test_a_repeated_question_takes_no_round_trip_for_its_vector(
    valkey_server: ValkeyServer, store_name: str
) -> None:
    memory = MemoryOptions(config_refresh=False, discovery=False, reinforcement="immediate")
    plain = CacheOptions(config_refresh=False, discovery=False, embeddings=False)
    keeping = plain.model_copy(update={"embeddings": True})
    taken = {}
    for caches in (plain, keeping):
        agent = AgentMemory.open(
            valkey_server.url, name=store_name, embedder=CountedModel(), memory=memory, caches=caches
        )
        async with agent:
            await agent.memory.remember(AHEAD)
            await agent.memory.recall(AHEAD, reinforce=False)
            before = agent._engine.round_trips
            await agent.memory.recall(AHEAD, reinforce=False)
            taken[caches.embeddings] = agent._engine.round_trips - before
    assert taken[True] == taken[False]


async def test_a_new_question_costs_one_round_trip_more_than_its_search(
    valkey_server: ValkeyServer, valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    memory = MemoryOptions(config_refresh=False, discovery=False, reinforcement="deferred")
    plain = CacheOptions(config_refresh=False, discovery=False, embeddings=False)
    taken = {}
    for caches in (plain, plain.model_copy(update={"embeddings": True})):
        agent = AgentMemory.open(
            valkey_server.url, name=store_name, embedder=CountedModel(), memory=memory, caches=caches
        )
        async with agent:
            await agent.memory.remember(AHEAD)
            await agent.memory.recall(f"{AHEAD}?", reinforce=False)
            await agent.embeddings.stats()
            before = agent._engine.round_trips
            await agent.memory.recall(AHEAD, reinforce=False)
            taken[caches.embeddings] = agent._engine.round_trips - before
    assert taken[True] == taken[False] + 1
    # Closed: what waited is there for other workers.
    assert len(await valkey_client.keys(f"{store_name}:__embed:*")) == 2


@pytest.mark.parametrize(
    ("embedder", "embeddings", "calls"),
    [
        (FunctionEmbedder(embed), None, 3),  # without a name
        (FunctionEmbedder(embed, name="letters"), None, 1),
        (FunctionEmbedder(embed, name="letters"), False, 3),
        (FunctionEmbedder(embed, name="letters"), EmbeddingCacheOptions(local_bytes=0), 1),
        (CountedModel(), True, 1),
    ],
)
async def test_vectors_are_kept_where_that_saves_time_and_is_safe(
    tmp_path: Path, embedder: Any, embeddings: Any, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    embed_query = type(embedder).embed_query

    async def counted(self: Any, text: str) -> Any:
        asked.append(text)
        return await embed_query(self, text)

    monkeypatch.setattr(type(embedder), "embed_query", counted)
    caches = CacheOptions(embeddings=embeddings)
    async with AgentMemory.open(tmp_path / "m.db", embedder=embedder, caches=caches) as agent:
        await agent.memory.remember(AHEAD)
        for _ in range(3):
            await agent.memory.recall("a question")
    assert asked.count("a question") == calls


async def test_the_published_facade_keeps_vectors_within_the_bounds_it_is_given(
    valkey_client: valkey.asyncio.Valkey, store_name: str
) -> None:
    model = CountedModel()
    options = AgentMemoryOptions(
        client=valkey_client,
        name=store_name,
        embed_fn=model,
        embeddings=EmbeddingCacheOptions(ttl_seconds=70, max_entries=3, local_bytes=0),
    )
    async with AgentMemory(options) as agent:
        await agent.memory.remember(AHEAD)
        for number in range(10):
            await agent.memory.recall(f"question {number}")
        await agent.embeddings.stats()  # what waits is written
        keys = await valkey_client.keys(f"{store_name}:__embed:*")
        assert sorted(keys) == [f"{store_name}:__embed:{slot}".encode() for slot in range(3)]
        assert all([60 < await valkey_client.ttl(key) <= 70 for key in keys])
    quiet = AgentMemoryOptions(client=valkey_client, name=store_name, embed_fn=model, embeddings=False)
    async with AgentMemory(quiet) as agent:
        await agent.memory.recall("question 9")
    assert model.questions.count("question 9") == 2


async def test_texts_to_be_stored_are_embedded_once_where_that_is_asked_for(tmp_path: Path) -> None:
    model = CountedModel()
    caches = CacheOptions(embeddings=EmbeddingCacheOptions(documents=True))
    for number in range(2):
        async with AgentMemory.open(tmp_path / "m.db", embedder=model, caches=caches) as agent:
            await agent.memory.remember(AHEAD)
            await agent.memory.remember_many([AHEAD, f"only {number}"])
    assert model.documents == [AHEAD, "only 0", "only 1"]


async def test_an_embedder_that_is_cached_already_is_not_cached_twice(tmp_path: Path) -> None:
    model = CountedModel()
    async with AgentMemory.open(tmp_path / "m.db", embedder=embed) as other:
        embedder = CachedEmbedder(model, other.embeddings)
        async with AgentMemory.open(tmp_path / "n.db", embedder=embedder) as agent:
            await agent.memory.remember(AHEAD)
            for _ in range(2):
                await agent.memory.recall("a question")
            assert (await agent.embeddings.stats()).misses == 0
        assert (await other.embeddings.stats()).hits == 1
    assert model.questions == ["a question"]


async def test_the_offline_model_is_asked_again_since_that_is_faster(tmp_path: Path) -> None:
    async with AgentMemory.open(tmp_path / "m.db") as agent:
        await agent.memory.remember(AHEAD)
        for _ in range(2):
            await agent.memory.recall("a question")
        stats = await agent.embeddings.stats()
        assert (stats.hits, stats.misses) == (0, 0)


def test_vectors_of_a_function_without_a_name_are_never_kept(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name="):
        AgentMemory.open(tmp_path / "m.db", embedder=embed, caches=CacheOptions(embeddings=True))


async def test_from_env_opens_what_the_environment_names(
    valkey_server: ValkeyServer, store_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {
        "BETTERDB_URL": valkey_server.url,
        "BETTERDB_NAME": store_name,
        "BETTERDB_EMBEDDER": "wordllama:64",
        "BETTERDB_THRESHOLD": "0.6",
    }
    async with AgentMemory.from_env(environment, caches=CacheOptions(default_ttl_seconds=60)) as agent:
        id = await agent.memory.remember("as the environment says")
        assert agent.memory.current_config().threshold == 0.6
        key = await agent.llm.store(ASK, "answer")
    client = valkey_server.client()
    assert len(await client.execute_command("HGET", f"{store_name}:mem:{id}", "vector")) == 4 * 64
    assert 50 < await client.ttl(key) <= 60
    await client.aclose()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    async with AgentMemory.from_env(memory=MemoryOptions(threshold=0.1)) as agent:
        assert agent.memory.current_config().threshold == 0.1
        assert (await agent.memory.get(id)) is not None
    with pytest.raises(ConfigurationError, match="BETTERDB_THRESHOLD"):
        AgentMemory.from_env({**environment, "BETTERDB_THRESHOLD": "often"})
    with pytest.raises(ConfigurationError, match="no embedder is named"):
        AgentMemory.from_env({**environment, "BETTERDB_EMBEDDER": "nonsense"})
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    async with AgentMemory.from_env({}) as agent:
        await agent.session.set("thread", "field", "value")
    assert (tmp_path / "betterdb-agent-memory" / "memory.db").exists()


class StubbornEngine(EmbeddedEngine):
    """An engine of a user's own that cannot be closed in peace."""

    async def close(self) -> None:
        await super().close()
        raise OSError("the disk went away")


class StubbornModel(CountedModel):
    async def embed_query(self, text: str) -> list[float]:
        raise OSError("the model went away")


async def test_one_tier_that_fails_to_close_keeps_no_other_from_it(tmp_path: Path, store_name: str) -> None:
    path = tmp_path / "m.db"
    agent = AgentMemory(AgentMemoryOptions(client=StubbornEngine(path), name=store_name, embed_fn=embed))
    await agent.initialize()
    await use_every_tier(agent)
    with pytest.raises(OSError, match="the disk went away"):
        await agent.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    engine = EmbeddedEngine(path)
    assert (await engine.values.read_map(f"{store_name}:__stats"))["llm:hits"] == b"1"
    for heartbeat in (store_name, f"{store_name}:mem"):
        assert await engine.values.get(f"__betterdb:heartbeat:{heartbeat}") is None
    await engine.close()


def test_every_tier_serves_several_event_loops(tmp_path: Path) -> None:
    model = CountedModel()
    agent = AgentMemory.open(tmp_path / "m.db", embedder=model, caches=CacheOptions(discovery=True))

    async def work() -> int:
        await agent.initialize()
        await use_every_tier(agent)
        await agent.memory.recall("a question")
        await asyncio.gather(*(agent.memory.recall("a question") for _ in range(5)))
        return (await agent.stats()).llm.hits

    assert [asyncio.run(work()) for _ in range(3)] == [1, 2, 3]
    assert model.questions == ["a question"]
    asyncio.run(agent.close())


async def test_a_preset_of_dynamics_counts_for_the_agent_its_recalls_and_its_tenants(tmp_path: Path) -> None:
    now = [1_790_000_000_000]
    strengths: list[float] = []
    bundles: tuple[DynamicsParameters | Literal["task_agent"] | None, ...] = (None, "task_agent", preset("task_agent"))
    for dynamics in bundles:
        place = tmp_path / f"{len(strengths)}.db"
        agent = AgentMemory.open(place, embedder=embed, dynamics=dynamics, clock=lambda: now[0])
        found = []
        for owner in (agent, agent.tenant("acme")):
            id = await owner.memory.remember("tea", importance=0.5)
            now[0] += 30 * 86_400_000
            [hit] = await owner.memory.recall("tea", scoring="chain", threshold=2, reinforce=False)
            [standing] = await owner.dynamics.standing([id])
            assert hit.explain is not None
            terms = {term.name: term.value for term in hit.explain.terms}
            assert terms["strength"] == pytest.approx(1 - math.exp(-standing.strength))
            found.append(standing.strength)
        assert found[0] == pytest.approx(found[1])
        strengths.append(found[0])
        await agent.close()
    assert strengths[1] == strengths[2] < strengths[0] - 0.05
    with pytest.raises(ConfigurationError, match="there is no preset 'best'"):
        AgentMemory.open(":memory:", embedder=embed, dynamics="best")  # type: ignore[arg-type]
