"""fastembed's own code, onnxruntime and a tokenizer, on a small ONNX model that is written here."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest

from betterdb_agent_memory import AgentMemory
from betterdb_agent_memory.embedders import CoalescingEmbedder, Embedder, QueryBatchEmbedder, as_embedder
from betterdb_agent_memory.embedders.fast_embed import FastEmbedEmbedder
from betterdb_agent_memory.errors import ConfigurationError, EmbeddingError, InvalidInputError
from tests.embedders.models import DIMENSIONS, write_onnx_model

pytest.importorskip("fastembed")
pytest.importorskip("onnx")

from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

REPOSITORY = Path(__file__).parents[2]
TEXTS = ["User prefers dark mode", "The ferry was cancelled", "Deploys are frozen on Fridays", "Maya: walnuts!"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("onnx")
    write_onnx_model(path)
    return path


@pytest.fixture(scope="session")
def model() -> str:
    """The name under which a user registers a model of their own with fastembed."""
    name = f"tests/token-vectors-{uuid.uuid4().hex[:8]}"
    TextEmbedding.add_custom_model(
        name,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf="tests/nowhere"),
        dim=DIMENSIONS,
        model_file="model.onnx",
    )
    return name


@pytest.fixture
async def embedder(model, folder):
    embedder = FastEmbedEmbedder(model, model_path=folder, batch_size=4)
    yield embedder
    await embedder.aclose()


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return 1 - float(one @ other)


async def test_it_is_an_embedder_that_knows_its_length_before_the_weights_are_there(embedder, model):
    assert isinstance(as_embedder(embedder), Embedder)
    assert isinstance(embedder, QueryBatchEmbedder)
    assert (embedder.name, embedder.dimensions) == (f"fastembed:{model}", DIMENSIONS)
    assert embedder.default_threshold == 0.25
    limits = CoalescingEmbedder(embedder).limits
    assert (limits.max_concurrency, limits.max_batch, limits.timeout_seconds) == (1, 4, None)


async def test_texts_of_the_same_words_are_near(embedder):
    question, asked = await asyncio.gather(embedder.embed_query("dark mode?"), embedder.embed_documents(TEXTS))
    assert question.dtype == np.float32
    assert question.shape == (DIMENSIONS,)
    assert min(range(4), key=lambda place: distance(question, asked[place])) == 0


async def test_the_vectors_are_those_of_fastembed_in_order_whatever_the_batches(embedder, model, folder):
    texts = [f"{text} {'walnuts ' * (n % 7)}" for n, text in enumerate(TEXTS * 5)]
    theirs = list(TextEmbedding(model, specific_model_path=str(folder)).embed(texts))
    ours = await embedder.embed_documents(texts)
    assert np.allclose(ours, theirs, atol=1e-6)
    assert np.allclose([await embedder.embed_query(text) for text in texts], theirs, atol=1e-6)
    assert await embedder.embed_documents([]) == await embedder.embed_queries([]) == []


async def test_prefixes_go_before_the_texts(model, folder):
    plain = FastEmbedEmbedder(model, model_path=folder)
    marked = FastEmbedEmbedder(model, model_path=folder, query_prefix="query: ", document_prefix="passage: ")
    for text in TEXTS:
        assert np.allclose(await marked.embed_query(text), await plain.embed_query(f"query: {text}"))
        [document] = await marked.embed_documents([text])
        assert np.allclose(document, await plain.embed_query(f"passage: {text}"))


async def test_a_model_whose_card_asks_for_prefixes_gets_them(folder, tmp_path):
    # The name decides what goes before the text; the files are the small model's.
    (tmp_path / "onnx").mkdir()
    for file in folder.iterdir():
        (tmp_path / ("onnx/model.onnx" if file.suffix == ".onnx" else file.name)).write_bytes(file.read_bytes())
    known = FastEmbedEmbedder("nomic-ai/nomic-embed-text-v1", model_path=tmp_path)
    without = FastEmbedEmbedder("nomic-ai/nomic-embed-text-v1", model_path=tmp_path, query_prefix="")
    assert np.allclose(await known.embed_query("dark mode"), await without.embed_query("search_query: dark mode"))
    assert not np.allclose(await known.embed_query("dark mode"), await without.embed_query("dark mode"))


async def test_the_event_loop_keeps_turning_and_one_call_runs_at_a_time(embedder):
    await embedder.embed_query("loaded")
    work = asyncio.gather(*(embedder.embed_documents(["walnuts " * 60] * 200) for _ in range(3)))
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


async def test_a_question_is_not_kept_waiting_by_a_long_list(embedder):
    await embedder.embed_query("loaded")
    bulk = asyncio.create_task(embedder.embed_documents(["walnuts " * 60] * 4_000))
    await asyncio.sleep(0.01)
    await embedder.embed_query("urgent")
    assert not bulk.done()
    bulk.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bulk


async def test_a_store_works_with_it(model, folder):
    embedder = FastEmbedEmbedder(model, model_path=folder, default_threshold=0.9)
    async with AgentMemory.open(":memory:", embedder=embedder) as agent:
        for text in TEXTS:
            await agent.memory.remember(text)
        hits = await agent.memory.recall("dark mode", k=1)
    assert [hit.item.content for hit in hits] == [TEXTS[0]]


async def test_what_is_not_text_is_refused(embedder):
    for text in (None, b"bytes", "\ud800"):
        with pytest.raises(InvalidInputError):
            await embedder.embed_documents(["fine", text])


async def test_files_that_are_no_model_are_an_embedding_error_and_may_come_later(model, folder, tmp_path):
    embedder = FastEmbedEmbedder(model, model_path=tmp_path)
    with pytest.raises(EmbeddingError, match=f"cannot load the model fastembed:{model}"):
        await embedder.embed_query("a")
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert len(await embedder.embed_query("a")) == DIMENSIONS


async def test_weights_that_may_not_be_fetched_are_an_embedding_error(tmp_path):
    embedder = FastEmbedEmbedder(cache_dir=tmp_path, local_files_only=True)
    with pytest.raises(EmbeddingError, match="cannot load the model fastembed:BAAI/bge-small-en-v1"):
        await embedder.embed_query("a")


def test_a_measured_model_states_its_threshold():
    assert FastEmbedEmbedder("BAAI/bge-small-en-v1.5").default_threshold == 0.50
    assert FastEmbedEmbedder("sentence-transformers/all-MiniLM-L6-v2").default_threshold == 0.70
    assert FastEmbedEmbedder("sentence-transformers/all-MiniLM-L6-v2", default_threshold=0.6).default_threshold == 0.6


@pytest.mark.parametrize("model", ["BAAI/bge-smal-en-v1.5", "", None, 3])
def test_a_model_that_fastembed_does_not_have_is_refused_with_close_ones(model):
    with pytest.raises(ConfigurationError, match=r"fastembed has no model .* close to it are .*/"):
        FastEmbedEmbedder(model)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"default_threshold": 3}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigurationError):
        FastEmbedEmbedder(**options)


def test_a_missing_package_names_the_extra_and_importing_loads_nothing():
    program = """
        import sys
        import betterdb_agent_memory.embedders.fast_embed as ours
        assert not {"fastembed", "onnxruntime"} & set(sys.modules)
        sys.modules["fastembed"] = None
        try:
            ours.FastEmbedEmbedder()
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
    assert 'pip install "betterdb-agent-memory[fastembed]"' in ran.stdout
