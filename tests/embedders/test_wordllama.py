from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.embedders import Embedder, WordLlamaEmbedder, as_embedder
from betterdb_agent_memory.embedders.vectors import checked_vector, encode_float32
from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError

REPOSITORY = Path(__file__).parents[2]

UNUSUAL_TEXTS = [
    "",
    " ",
    "\n\t ",
    "!?",
    "…",
    "\x00",
    "😀",
    "👩‍👩‍👧",
    "\u200b",
    "日本語",
    "ꙮ",
    "<s>",
    "</s><unk>",
    "[PAD]",
    "\U0010ffff",
]


def run_in_a_fresh_process(code: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TOKENIZERS"))}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=kept | environment | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def distance(one: list[float], other: list[float]) -> float:
    return 1 - float(np.dot(one, other))


async def test_related_texts_are_nearer_than_unrelated_ones():
    embedder = WordLlamaEmbedder()
    query = await embedder.embed_query("What are the UI settings?")
    related, unrelated = await embedder.embed_documents(["User prefers dark mode", "The ferry to Corvo was cancelled"])
    assert distance(query, related) <= embedder.default_threshold < distance(query, unrelated)


@pytest.mark.parametrize("dimensions", [64, 128, 256])
async def test_vectors_have_the_stated_length_and_norm_one(dimensions):
    embedder = as_embedder(WordLlamaEmbedder(dimensions))
    assert isinstance(embedder, Embedder)
    assert (embedder.dimensions, embedder.name) == (dimensions, f"wordllama-l2_supercat-{dimensions}")
    assert 0 < embedder.default_threshold < 2
    vector = await embedder.embed_query("a week on the Azores")
    assert len(checked_vector(vector, dimensions=dimensions)) == dimensions
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    assert [float(np.float32(number)) for number in vector] == vector


@pytest.mark.parametrize("dimensions", [0, 100, 512, None, "256", [256]])
def test_other_lengths_are_refused(dimensions):
    with pytest.raises(ConfigurationError, match="256, 128, 64"):
        WordLlamaEmbedder(dimensions)


async def test_the_vectors_are_those_of_the_wordllama_package():
    # In a process of its own: importing wordllama sets up the root logger.
    texts = ["Caroline: I moved to Lisbon!", "hello", "日本語 😀", "x " * 500]
    printed = run_in_a_fresh_process(
        f"""
        from pathlib import Path
        import wordllama
        model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
        for text in {texts!r}:
            print(model.embed([text], norm=True)[0].tolist())
        """
    )
    theirs = [eval(line) for line in printed.splitlines()]
    assert np.allclose(await WordLlamaEmbedder().embed_documents(texts), theirs, atol=1e-6)


def test_the_weights_are_those_the_name_stands_for():
    # Another digest means other vectors: then the embedder needs another name and a new calibration.
    package = importlib.util.find_spec("wordllama")
    assert package is not None
    assert package.submodule_search_locations
    weights = Path(package.submodule_search_locations[0]) / "weights" / "l2_supercat_256.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert digest == "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5"


async def test_unusual_texts_have_usable_and_stable_vectors():
    embedder = WordLlamaEmbedder()
    vectors = await embedder.embed_documents(UNUSUAL_TEXTS)
    for text, vector in zip(UNUSUAL_TEXTS, vectors, strict=True):
        assert np.linalg.norm(checked_vector(vector, dimensions=256)) == pytest.approx(1, abs=1e-6), repr(text)
        assert await embedder.embed_query(text) == vector
    assert vectors[0] == vectors[1], "the empty text counts as a blank"
    assert vectors[6] != vectors[7], "emoji are told apart"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_has_a_usable_vector(text):
    checked_vector(asyncio.run(WordLlamaEmbedder().embed_query(text)), dimensions=256)


async def test_a_text_has_the_same_vector_alone_and_next_to_a_very_long_one():
    embedder = WordLlamaEmbedder()
    long = "an old tale of ships and weather " * 20_000
    in_batch = await embedder.embed_documents(["dark mode", long, "light mode"])
    assert in_batch == [await embedder.embed_query(text) for text in ("dark mode", long, "light mode")]


async def test_a_large_batch_keeps_its_order():
    texts = [f"note {number} about ferries" for number in range(20_000)]
    vectors = await WordLlamaEmbedder().embed_documents(texts)
    assert len(vectors) == len(texts)
    for place in (0, 1, 9_999, 19_999):
        assert vectors[place] == await WordLlamaEmbedder().embed_query(texts[place])


async def test_the_event_loop_keeps_turning_while_a_very_long_text_is_embedded():
    embedder = WordLlamaEmbedder()
    await embedder.embed_query("loaded")
    work = asyncio.create_task(embedder.embed_query("an old tale of ships and weather " * 60_000))
    longest, turns, before = 0.0, 0, time.perf_counter()
    while not work.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, turns, before = max(longest, now - before), turns + 1, now
    assert turns > 20
    assert longest < 0.25  # the tokenizer alone takes about a second


async def test_no_texts_give_no_vectors():
    assert await WordLlamaEmbedder().embed_documents([]) == []
    assert (await WordLlamaEmbedder(128).embed_rows([])).shape == (0, 128)


@pytest.mark.parametrize("dimensions", [64, 256])
async def test_the_rows_of_one_array_are_the_vectors(dimensions):
    embedder = WordLlamaEmbedder(dimensions)
    texts = [*UNUSUAL_TEXTS, "an old tale of ships and weather " * 10_000, *(f"note {n}" for n in range(500))]
    rows = await embedder.embed_rows(texts)
    assert rows.shape == (len(texts), dimensions)
    assert rows.dtype == np.float32
    assert rows.tolist() == await embedder.embed_documents(texts)
    for place in (0, len(UNUSUAL_TEXTS), len(texts) - 1):
        assert rows[place].tolist() == await embedder.embed_query(texts[place])


@pytest.mark.parametrize("text", ["\ud800", "fine until \udfff here", b"bytes", None, 3])
async def test_what_is_not_text_is_refused(text):
    with pytest.raises(InvalidInputError):
        await WordLlamaEmbedder().embed_query(text)
    with pytest.raises(InvalidInputError):
        await WordLlamaEmbedder().embed_documents(["fine", text])


async def test_one_text_in_place_of_a_list_is_refused():
    with pytest.raises(InvalidInputError, match="embed_query"):
        await WordLlamaEmbedder().embed_documents("abc")
    with pytest.raises(InvalidInputError, match="embed_query"):
        await WordLlamaEmbedder().embed_rows("abc")


def test_the_vectors_are_the_same_in_every_process():
    code = f"""
        import asyncio, hashlib
        from betterdb_agent_memory.embedders import WordLlamaEmbedder
        from betterdb_agent_memory.embedders.vectors import encode_float32
        vectors = asyncio.run(WordLlamaEmbedder().embed_documents({UNUSUAL_TEXTS!r}))
        print(hashlib.sha256(b"".join(map(encode_float32, vectors))).hexdigest())
    """
    here = asyncio.run(WordLlamaEmbedder().embed_documents(UNUSUAL_TEXTS))
    expected = hashlib.sha256(b"".join(map(encode_float32, here))).hexdigest()
    for environment in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "TOKENIZERS_PARALLELISM": "false"}):
        assert run_in_a_fresh_process(code, **environment).strip() == expected


def test_nothing_is_fetched_and_nobodys_logging_is_touched(tmp_path):
    run_in_a_fresh_process(
        """
        import asyncio, logging, socket

        def refuse(*args):
            raise AssertionError(f"a connection was opened: {args}")

        loop = asyncio.new_event_loop()  # its own socket pair comes first
        socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
        from betterdb_agent_memory.embedders import WordLlamaEmbedder
        assert len(loop.run_until_complete(WordLlamaEmbedder().embed_query("a"))) == 256
        loop.close()
        assert logging.getLogger().handlers == [] and logging.getLogger().level == logging.WARNING
        """,
        HOME=str(tmp_path),
    )
    assert list(tmp_path.iterdir()) == []


def test_importing_the_room_loads_no_model_and_no_tokenizer():
    run_in_a_fresh_process(
        """
        import sys
        import betterdb_agent_memory.embedders as room
        room.WordLlamaEmbedder()
        assert not {"wordllama", "tokenizers", "safetensors", "requests", "huggingface_hub"} & set(sys.modules)
        """
    )


def test_the_weights_are_read_once_however_many_threads_and_loops_ask_at_once():
    run_in_a_fresh_process(
        """
        import asyncio, threading
        import safetensors.numpy
        from betterdb_agent_memory.embedders import WordLlamaEmbedder

        reads, read = [], safetensors.numpy.load_file
        safetensors.numpy.load_file = lambda path: reads.append(path) or read(path)

        async def ask():
            vectors = await asyncio.gather(*(WordLlamaEmbedder().embed_query("a") for _ in range(10)))
            found.extend(map(tuple, vectors))

        found = []
        threads = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert len(reads) == 1, reads
        assert len(found) == 80 and len(set(found)) == 1
        """
    )


@pytest.mark.parametrize("missing", ["wordllama", "tokenizers", "safetensors"])
def test_a_missing_package_names_the_extra(missing):
    printed = run_in_a_fresh_process(
        f"""
        import asyncio, sys
        sys.modules[{missing!r}] = None
        from betterdb_agent_memory.embedders import WordLlamaEmbedder
        from betterdb_agent_memory.errors import ConfigurationError
        try:
            asyncio.run(WordLlamaEmbedder().embed_query("a"))
        except ConfigurationError as error:
            print(error)
        """
    )
    assert missing in printed
    assert 'pip install "betterdb-agent-memory[local]"' in printed


def test_an_installation_without_its_weights_says_which_file_is_missing(tmp_path):
    (tmp_path / "wordllama").mkdir()
    (tmp_path / "wordllama" / "__init__.py").touch()
    printed = run_in_a_fresh_process(
        f"""
        import asyncio, sys
        sys.path.insert(0, {str(tmp_path)!r})
        from betterdb_agent_memory.embedders import WordLlamaEmbedder
        try:
            asyncio.run(WordLlamaEmbedder().embed_query("a"))
        except ValueError as error:
            print(error)
        """
    )
    assert "l2_supercat_256.safetensors" in printed
