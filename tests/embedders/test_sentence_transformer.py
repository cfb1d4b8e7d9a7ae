"""sentence-transformers' own code and torch, on a tiny BERT with weights at random that is saved here.

torch is large, so this runs where the dependency group `models` is installed, and is skipped elsewhere.
"""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from betterdb_agent_memory import AgentMemory
from betterdb_agent_memory.embedders import CoalescingEmbedder, QueryBatchEmbedder, as_embedder
from betterdb_agent_memory.embedders.sentence_transformer import SentenceTransformerEmbedder
from betterdb_agent_memory.errors import ConfigurationError, EmbeddingError, InvalidInputError
from tests.embedders.models import DIMENSIONS, write_sentence_transformer

REPOSITORY = Path(__file__).parents[2]
TEXTS = ["User prefers dark mode", "The ferry was cancelled", "Deploys are frozen on Fridays", "Maya: walnuts!"]

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="sentence-transformers is not installed (dependency group `models`)",
)
# What the libraries warn of is theirs.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("bert")
    write_sentence_transformer(path, {"query": "query: ", "document": "passage: "})
    return path


@pytest.fixture
async def embedder(folder):
    embedder = SentenceTransformerEmbedder(folder, device="cpu", local_files_only=True, batch_size=4)
    yield embedder
    await embedder.aclose()


@needs_torch
async def test_it_is_an_embedder_that_learns_its_length_from_the_first_answer(embedder, folder):
    assert as_embedder(embedder) is embedder
    assert (embedder.name, embedder.dimensions) == (f"sentence-transformers:{folder}", None)
    vector = np.asarray(await embedder.embed_query("a"))
    assert vector.dtype == np.float32
    assert vector.shape == (DIMENSIONS,)
    assert embedder.dimensions == DIMENSIONS
    assert isinstance(embedder, QueryBatchEmbedder)
    limits = CoalescingEmbedder(embedder).limits
    assert (limits.max_concurrency, limits.max_batch, limits.timeout_seconds) == (1, 4, None)


@needs_torch
async def test_the_vectors_are_those_of_the_library_with_the_models_own_prompts(embedder, folder):
    from sentence_transformers import SentenceTransformer

    texts = [f"{text} {'walnuts ' * (n % 7)}" for n, text in enumerate(TEXTS * 5)]
    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    assert np.allclose(
        await embedder.embed_documents(texts), theirs.encode([f"passage: {text}" for text in texts]), atol=1e-5
    )
    assert np.allclose(
        await embedder.embed_queries(texts), theirs.encode([f"query: {text}" for text in texts]), atol=1e-5
    )
    assert await embedder.embed_documents([]) == []


@needs_torch
async def test_prompts_of_ones_own_replace_the_models(embedder, folder):
    own = SentenceTransformerEmbedder(folder, device="cpu", query_prompt="passage: ", document_prompt="query: ")
    [document] = await embedder.embed_documents(["dark mode"])
    assert np.allclose(await own.embed_query("dark mode"), document, atol=1e-5)
    [document] = await own.embed_documents(["dark mode"])
    assert np.allclose(await embedder.embed_query("dark mode"), document, atol=1e-5)


@needs_torch
async def test_vectors_may_be_cut(folder):
    embedder = SentenceTransformerEmbedder(folder, device="cpu", truncate_dim=8)
    assert (embedder.dimensions, embedder.name) == (8, f"sentence-transformers:{folder}@8")
    assert len(await embedder.embed_query("a")) == 8


@needs_torch
async def test_the_event_loop_keeps_turning_and_one_call_runs_at_a_time(embedder):
    await embedder.embed_query("loaded")
    work = asyncio.gather(*(embedder.embed_documents(["walnuts " * 60] * 400) for _ in range(3)))
    longest, before = 0.0, time.perf_counter()
    most_threads = 0
    while not work.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
        most_threads = max(most_threads, sum(thread.name.startswith("embed ") for thread in threading.enumerate()))
    await work
    assert longest < 0.25
    assert most_threads == 1


@needs_torch
async def test_a_store_works_with_it(folder):
    embedder = SentenceTransformerEmbedder(folder, device="cpu", default_threshold=1.9)
    async with AgentMemory.open(":memory:", embedder=embedder) as agent:
        for text in TEXTS:
            await agent.memory.remember(text)
        hits = await agent.memory.recall("User prefers dark mode", k=4)
    assert len(hits) == 4


@needs_torch
async def test_what_cannot_be_loaded_is_an_embedding_error(tmp_path):
    embedder = SentenceTransformerEmbedder(tmp_path / "nothing", local_files_only=True)
    with pytest.raises(EmbeddingError, match="cannot load the model sentence-transformers:"):
        await embedder.embed_query("a")


@needs_torch
async def test_what_is_not_text_is_refused(embedder):
    for text in (None, b"bytes", "\ud800"):
        with pytest.raises(InvalidInputError):
            await embedder.embed_documents(["fine", text])


@needs_torch
@pytest.mark.parametrize(
    ("model", "threshold"),
    [("all-MiniLM-L6-v2", 0.70), ("sentence-transformers/all-MiniLM-L6-v2", 0.70), ("intfloat/e5-small-v2", 0.25)],
)
def test_a_measured_model_states_its_threshold(model, threshold):
    assert SentenceTransformerEmbedder(model).default_threshold == threshold


@needs_torch
@pytest.mark.parametrize("options", [{"batch_size": 0}, {"default_threshold": 3}, {"truncate_dim": 0}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigurationError):
        SentenceTransformerEmbedder(**options)


def test_a_missing_package_names_the_extra_and_importing_loads_nothing():
    program = """
        import sys
        import betterdb_agent_memory.embedders.sentence_transformer as ours
        assert not {"sentence_transformers", "torch"} & set(sys.modules)
        sys.modules["sentence_transformers"] = None
        try:
            ours.SentenceTransformerEmbedder()
        except ValueError as error:
            print(error)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=REPOSITORY,
    )
    assert 'pip install "betterdb-agent-memory[sentence-transformers]"' in ran.stdout
