"""fastembed's own code, onnxruntime and a tokenizer, on a small cross-encoder that is written here."""

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

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError, RerankingError
from betterdb_agent_memory.rerankers import (
    CheckedReranker,
    FastEmbedReranker,
    TimedReranker,
    as_reranker,
    close_reranker,
    reranker_from_name,
)
from tests.embedding import embed
from tests.rerankers.models import scores_of, write_cross_encoder

pytest.importorskip("fastembed")
pytest.importorskip("onnx")

from fastembed.common.model_description import ModelSource
from fastembed.rerank.cross_encoder import TextCrossEncoder

REPOSITORY = Path(__file__).parents[2]
QUESTION = "what is maya allergic to"
TEXTS = [
    "the ferry was cancelled",
    "maya is allergic to walnuts",
    "deploys are frozen on fridays " * 4,
    "user prefers dark mode",
    "maya has a cat",
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("cross_encoder")
    write_cross_encoder(path)
    return path


@pytest.fixture(scope="session")
def model() -> str:
    """The name under which a user registers a cross-encoder of their own with fastembed."""
    name = f"tests/agreement-{uuid.uuid4().hex[:8]}"
    TextCrossEncoder.add_custom_model(name, sources=ModelSource(hf="tests/nowhere"), model_file="model.onnx")
    return name


@pytest.fixture
async def reranker(model, folder):
    reranker = FastEmbedReranker(model, model_path=folder, batch_size=2)
    yield reranker
    await reranker.aclose()


async def test_the_scores_are_the_models_in_order_whatever_the_batches(reranker, folder):
    texts = [f"{text} {'walnuts ' * (number % 7)}" for number, text in enumerate(TEXTS * 3)]
    expected = scores_of(folder, QUESTION, texts)
    assert len(set(np.round(expected, 3))) > 10  # the model tells texts apart
    assert np.allclose(await reranker.rerank(QUESTION, texts), expected, atol=1e-4)
    assert await reranker.rerank(QUESTION, []) == []


async def test_a_long_text_does_not_make_short_ones_dear(model, tmp_path):
    # Every text of a batch costs what the longest does; this model's score is that length.
    write_cross_encoder(tmp_path, scores_length=True)
    reranker = FastEmbedReranker(model, model_path=tmp_path, batch_size=2)
    short, long = "cat", "cat " * 30
    lengths = await reranker.rerank("dog", [short, long, short, long])
    await reranker.aclose()
    assert lengths[0] == lengths[2] < 10 < lengths[1] == lengths[3]


async def test_the_text_that_answers_comes_first_and_the_question_matters(reranker):
    scores = await CheckedReranker(reranker).scores(QUESTION, TEXTS)
    assert int(np.argmax(scores)) == 1
    others = await CheckedReranker(reranker).scores("dark mode", TEXTS)
    assert int(np.argmax(others)) == 3


async def test_a_recall_comes_in_the_order_of_the_models_scores(reranker, folder, store_name):
    engine = EmbeddedEngine(":memory:")
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, default_threshold=2.0, reranker=reranker)
    for text in TEXTS:
        await store.remember(text)
    expected = dict(zip(TEXTS, scores_of(folder, QUESTION, TEXTS), strict=True))
    hits = await store.recall(QUESTION, k=len(TEXTS))
    assert [hit.item.content for hit in hits] == sorted(TEXTS, key=expected.__getitem__, reverse=True)
    for hit in hits:
        assert hit.explain is not None
        assert hit.explain.rerank_score == pytest.approx(expected[hit.item.content], abs=1e-4)
    [best] = await store.recall(QUESTION, k=1)
    assert best.item.content == TEXTS[1]
    without = await store.recall(QUESTION, k=len(TEXTS), rerank=False)
    assert [hit.item.content for hit in without] != [hit.item.content for hit in hits]
    await engine.close()


async def test_it_is_a_reranker_that_waits_for_its_weights(reranker, model):
    assert as_reranker(reranker) is reranker
    assert isinstance(reranker, TimedReranker)
    assert (reranker.name, reranker.timeout_seconds) == (f"fastembed:{model}", None)


async def test_the_event_loop_keeps_turning_and_one_call_runs_at_a_time(reranker):
    await reranker.rerank(QUESTION, TEXTS)
    work = asyncio.gather(*(reranker.rerank(QUESTION, ["walnuts " * 60] * 500) for _ in range(3)))
    longest, before, most_threads = 0.0, time.perf_counter(), 0
    while not work.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
        threads = [thread.name for thread in threading.enumerate() if reranker.name in thread.name]
        most_threads = max(most_threads, len(threads))
    await work
    assert longest < 0.25
    assert most_threads == 1


async def test_a_call_that_takes_too_long_is_given_up(model, folder):
    hasty = FastEmbedReranker(model, model_path=folder, batch_size=1, timeout_seconds=0.01)
    with pytest.raises(RerankingError, match=r"gave no answer within 0\.01 s; rerank=False"):
        await CheckedReranker(hasty).scores(QUESTION, ["walnuts " * 60] * 2_000)
    await hasty.aclose()


async def test_files_that_are_no_model_are_a_reranking_error_and_may_come_later(model, folder, tmp_path):
    reranker = FastEmbedReranker(model, model_path=tmp_path)
    with pytest.raises(RerankingError, match=f"cannot load the model fastembed:{model}"):
        await reranker.rerank(QUESTION, TEXTS)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert len(await reranker.rerank(QUESTION, TEXTS)) == len(TEXTS)
    await reranker.aclose()


async def test_weights_that_may_not_be_fetched_are_a_reranking_error(tmp_path):
    reranker = FastEmbedReranker(cache_dir=tmp_path, local_files_only=True)
    with pytest.raises(RerankingError, match="cannot load the model fastembed:Xenova/ms-marco-MiniLM-L-6-v2"):
        await reranker.rerank(QUESTION, TEXTS)
    await reranker.aclose()


async def test_what_is_not_text_is_refused(reranker):
    for texts in ([None], [b"bytes"], ["fine", "\ud800"]):
        with pytest.raises(InvalidInputError):
            await reranker.rerank(QUESTION, texts)


@pytest.mark.parametrize("model", ["Xenova/ms-marco-MiniLM", "", None, 3])
def test_a_model_that_fastembed_does_not_have_is_refused_with_close_ones(model):
    with pytest.raises(ConfigurationError, match=r"no cross-encoder .* close to it are .*/"):
        FastEmbedReranker(model)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"timeout_seconds": 0}], ids=str)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigurationError):
        FastEmbedReranker(**options)


async def test_a_name_of_the_command_line_stands_for_it():
    default = reranker_from_name("fastembed")
    assert default.name == "fastembed:Xenova/ms-marco-MiniLM-L-6-v2"
    assert reranker_from_name(f" {default.name} ").name == default.name
    assert reranker_from_name("fastembed:BAAI/bge-reranker-base").name == "fastembed:BAAI/bge-reranker-base"
    await close_reranker(default)


@pytest.mark.parametrize("name", ["", "fastembed:", "wordllama", "cohere:rerank", None])
def test_a_name_that_stands_for_nothing_is_refused_with_the_known_one(name):
    with pytest.raises(ConfigurationError, match="no reranker is named .* known is fastembed:MODEL"):
        reranker_from_name(name)


def test_a_missing_package_names_the_extra_and_importing_loads_nothing():
    program = """
        import sys
        import betterdb_agent_memory.rerankers as ours
        assert not {"fastembed", "onnxruntime"} & set(sys.modules)
        sys.modules["fastembed"] = None
        try:
            ours.FastEmbedReranker()
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
