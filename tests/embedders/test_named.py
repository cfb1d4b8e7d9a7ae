"""One word stands for an embedder, and an embedder's name for itself."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from betterdb_agent_memory.embedders import (
    FastEmbedEmbedder,
    ProviderEmbedder,
    WordLlamaEmbedder,
    close_embedder,
    embedder_from_name,
)
from betterdb_agent_memory.errors import ConfigurationError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-key-0123456789")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://127.0.0.1:1/v1")


@pytest.mark.parametrize(
    ("name", "kind", "stated", "dimensions"),
    [
        ("wordllama", WordLlamaEmbedder, "wordllama-l2_supercat-256", 256),
        ("wordllama:64", WordLlamaEmbedder, "wordllama-l2_supercat-64", 64),
        (" wordllama-l2_supercat-128\n", WordLlamaEmbedder, "wordllama-l2_supercat-128", 128),
        ("fastembed", FastEmbedEmbedder, "fastembed:BAAI/bge-small-en-v1.5", 384),
        ("fastembed:BAAI/bge-base-en-v1.5", FastEmbedEmbedder, "fastembed:BAAI/bge-base-en-v1.5", 768),
        ("openai:text-embedding-3-small", ProviderEmbedder, "openai:text-embedding-3-small", 1536),
        ("openai:text-embedding-3-small@512", ProviderEmbedder, "openai:text-embedding-3-small@512", 512),
        ("ollama:nomic-embed-text", ProviderEmbedder, "ollama:nomic-embed-text", None),
    ],
)
async def test_a_name_stands_for_an_embedder_and_what_it_states_for_the_same(name, kind, stated, dimensions):
    for embedder in (embedder_from_name(name), embedder_from_name(embedder_from_name(name).name)):
        assert isinstance(embedder, kind)
        assert (embedder.name, embedder.dimensions) == (stated, dimensions)
        await close_embedder(embedder)


@pytest.mark.parametrize("name", ["", "wordlama", "wordllama:big", "wordllama-other-256", "nobody:model", ":", "x:", 3])
def test_a_name_that_stands_for_nothing_lists_the_known_ones(name):
    with pytest.raises(ConfigurationError) as refusal:
        embedder_from_name(name)
    for known in ("wordllama", "fastembed:", "sentence-transformers:", "openai:text-embedding-3-small", "cohere"):
        assert known in str(refusal.value)


def test_a_length_that_the_model_does_not_have_is_refused():
    with pytest.raises(ConfigurationError, match="256, 128, 64 dimensions, got 100"):
        embedder_from_name("wordllama:100")


def test_a_model_that_fastembed_does_not_have_is_refused():
    with pytest.raises(ConfigurationError, match="close to it are"):
        embedder_from_name("fastembed:BAAI/bge-smal")


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [
        ("fastembed", "fastembed:BAAI/bge-small-en-v1.5", "fastembed"),
        ("sentence_transformers", "sentence-transformers:all-MiniLM-L6-v2", "sentence-transformers"),
        ("pydantic_ai", "openai:text-embedding-3-small", "providers"),
        ("pydantic_ai", "nobody:model", None),
    ],
)
def test_a_missing_package_names_its_command(package, name, extra):
    program = f"""
        import sys
        sys.modules[{package!r}] = None
        from betterdb_agent_memory.embedders import embedder_from_name
        try:
            embedder_from_name({name!r})
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
    if extra is None:
        assert "no embedder is named 'nobody:model'" in ran.stdout
    else:
        assert f'pip install "betterdb-agent-memory[{extra}]"' in ran.stdout


def test_importing_the_room_imports_none_of_the_libraries():
    program = """
        import sys
        from betterdb_agent_memory.embedders import *
        heavy = {"fastembed", "onnxruntime", "sentence_transformers", "torch", "pydantic_ai", "openai", "wordllama"}
        print(sorted(heavy & set(sys.modules)))
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=REPOSITORY,
    )
    assert ran.stdout.strip() == "[]"
