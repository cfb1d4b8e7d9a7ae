"""An evaluation on each engine: right figures, and nothing left behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from betterdb_agent_memory import AgentMemory, ConfigurationError, InvalidInputError, MemoryOptions, Progress
from betterdb_agent_memory.embedders import WordLlamaEmbedder
from betterdb_agent_memory.evaluation import Collection, Dataset, Entry, Question, evaluate, strategies
from tests.servers import ValkeyServer

ENTRIES = (
    Entry("walnut", "Maya is allergic to walnuts."),
    Entry("key", "The spare key is under the blue pot."),
    Entry("bus", "The bus to the harbour leaves at seven."),
)
QUESTIONS = (
    Question("Where is the spare key?", ("key",), "places"),
    Question("Which nuts is Maya allergic to: walnuts?", ("walnut",)),
)
TALK = (
    Entry("ask", "Which pot did you mean, the blue one?", 1_778_250_600_000, "Ann", "1"),
    Entry("yes", "Yes, that one.", 1_778_250_630_000, "Ben", "1"),
)
SMALL = Dataset(
    "small",
    (Collection("notes", ENTRIES, QUESTIONS), Collection("talk", TALK, (Question("the blue pot", ("ask", "yes")),))),
)


@pytest.fixture(params=["temporary", "file", "server"])
def url(request: pytest.FixtureRequest, tmp_path: Path, valkey_server: ValkeyServer) -> str | None:
    return {"temporary": None, "file": str(tmp_path / "m.db"), "server": valkey_server.url}[request.param]


async def test_an_evaluation_measures_each_way_and_leaves_nothing_behind(
    url: str | None, tmp_path: Path, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with valkey_server.blocking_client() as client:
        keys_before, indexes_before = set(client.keys("*")), set(client.execute_command("FT._LIST"))
    ways = strategies("vector,hybrid+exact,default")
    models = {"small": WordLlamaEmbedder(64), "large": WordLlamaEmbedder()}
    seen: list[Progress] = []
    found = await evaluate(SMALL, ways, models, url=url, memory=MemoryOptions(threshold=2.0), on_progress=seen.append)

    assert (found.memories, found.questions) == (5, 3)
    assert found.engine == ("server" if url and "://" in url else "file")
    assert [(result.embedder, result.strategy) for result in found.results] == [
        (model, way.name) for model in models for way in ways
    ]
    for result in found.results:
        assert result.overall.questions == 3
        assert result.overall.recall[5] == 1
        assert result.categories["places"].questions == 1
        assert result.categories["places"].recall[1] == 1
        assert 0 < result.latency.p50_ms <= result.latency.p99_ms
        if found.engine == "server":
            assert result.cost is not None
            assert 1 <= result.cost.round_trips <= 3
            assert 200 < result.cost.bytes < 20_000
        else:
            assert result.cost is None
    assert set(found.loading_seconds) == set(models)
    assert (seen[-1].done, seen[-1].total) == (9, 9)

    with valkey_server.blocking_client() as client:
        # Others' may expire meanwhile.
        assert set(client.keys("*")) <= keys_before
        assert set(client.execute_command("FT._LIST")) <= indexes_before
    assert not list(tmp_path.glob("betterdb-memory-eval-*"))


async def test_the_threshold_of_the_options_counts() -> None:
    models = {"wordllama": WordLlamaEmbedder()}
    found = await evaluate(SMALL, strategies("vector"), models, memory=MemoryOptions(threshold=0.0))
    assert found.results[0].overall.hit[20] == 0


async def test_near_misses_are_counted_and_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    models, ways = {"wordllama": WordLlamaEmbedder()}, strategies("vector,hybrid")
    found = await evaluate(SMALL, ways, models, memory=MemoryOptions(threshold=0.3))
    vector, hybrid = found.results
    assert 0 < vector.near_misses <= 3 - vector.overall.hit[20] * 3
    assert hybrid.near_misses == 0, "a word of the question is in each answer"
    assert "found nothing" not in caplog.text
    async with AgentMemory.open(":memory:", memory=MemoryOptions(threshold=0.3, retrieval="vector")) as agent:
        await agent.memory.remember("The spare key is under the blue pot.")
        assert await agent.memory.recall("Where is the spare key?") == []
    assert "found nothing" in caplog.text, "those of other stores are"


async def test_what_is_loaded_once_is_no_part_of_a_latency() -> None:
    program = (
        "import asyncio\n"
        "from betterdb_agent_memory.embedders import WordLlamaEmbedder\n"
        "from betterdb_agent_memory.evaluation import Collection, Dataset, Entry, Question, evaluate, strategies\n"
        "entries = tuple(Entry(str(n), f'Maya walked on day {n}.', 1_778_250_600_000) for n in range(5))\n"
        "asked = (Question('Who walks?', ('1',)), Question('Where was Maya on 8 May 2026?', ('1',)))\n"
        "small = Dataset('small', (Collection('c', entries, asked),))\n"
        "found = asyncio.run(evaluate(small, strategies('hybrid'), {'small': WordLlamaEmbedder(64)}))\n"
        "print(found.results[0].latency.p99_ms)\n"
    )
    told = await asyncio.to_thread(subprocess.check_output, [sys.executable, "-c", program], text=True)
    assert float(told) < 100, "the parser of dates takes a quarter of a second to load"


async def test_a_memory_that_the_store_refuses_ends_it_and_is_named() -> None:
    refused = Dataset("d", (Collection("c", (Entry("big", "x" * 300_000),), (Question("x?", ("big",)),)),))
    with pytest.raises(InvalidInputError, match="memory 'big' of c was refused"):
        await evaluate(refused, strategies("vector"), {"wordllama": WordLlamaEmbedder()})


async def test_reranking_needs_a_reranker_and_is_done_where_it_is_named() -> None:
    ways, models = strategies("vector,vector+rerank"), {"wordllama": WordLlamaEmbedder()}
    with pytest.raises(ConfigurationError, match=r"vector\+rerank needs a reranker"):
        await evaluate(SMALL, ways, models)

    async def by_length(_query: str, texts: Sequence[str]) -> list[float]:
        return [float(len(text)) for text in texts]

    options = MemoryOptions(threshold=2.0, reranker=by_length)
    plain, reranked = (await evaluate(SMALL, ways, models, memory=options)).results
    assert plain.categories["places"].recall[1] == 1, "the key"
    assert reranked.categories["places"].recall[1] == 0, "the bus: that text is longer"


async def test_what_nothing_is_asked_about_is_not_loaded() -> None:
    models = {"wordllama": WordLlamaEmbedder()}
    unasked = Collection("unasked", ENTRIES, ())
    found = await evaluate(Dataset("d", (unasked, *SMALL.collections)), strategies("vector"), models)
    assert (found.memories, found.questions) == (5, 3)
    with pytest.raises(InvalidInputError, match="no question"):
        await evaluate(Dataset("d", (unasked,)), strategies("vector"), models)


@pytest.mark.parametrize("names", ["dense", "hybrid+fast", "", ","], ids=["unknown", "extra", "empty", "comma"])
def test_a_strategy_that_is_none_is_refused(names: str) -> None:
    with pytest.raises(InvalidInputError, match="strateg"):
        strategies(names)
