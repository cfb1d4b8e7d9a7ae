"""An embedder from one word of a command line, a file or the environment."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from betterdb_agent_memory.embedders.base import Embedder
from betterdb_agent_memory.embedders.extras import is_installed
from betterdb_agent_memory.embedders.fast_embed import FastEmbedEmbedder
from betterdb_agent_memory.embedders.provider import ProviderEmbedder
from betterdb_agent_memory.embedders.sentence_transformer import SentenceTransformerEmbedder
from betterdb_agent_memory.embedders.wordllama import WordLlamaEmbedder
from betterdb_agent_memory.errors import ConfigurationError

DEFAULT_NAME: Final = "wordllama"

# Those with embeddings of their own; pydantic-ai knows more that speak OpenAI's protocol.
PROVIDERS: Final = ("azure", "bedrock", "cohere", "google", "google-cloud", "ollama", "openai", "voyageai")

_EXAMPLES: Final = (
    "wordllama",
    "fastembed:BAAI/bge-small-en-v1.5",
    "sentence-transformers:all-MiniLM-L6-v2",
    "openai:text-embedding-3-small",
    "openai:text-embedding-3-small@512",
)


def embedder_from_name(name: str) -> Embedder:
    """The embedder that `name` stands for.

    ============================================  ==============================================
    `wordllama`, `wordllama:128`                  `WordLlamaEmbedder`, 256 numbers or as stated
    `fastembed`, `fastembed:MODEL`                `FastEmbedEmbedder`
    `sentence-transformers[:MODEL[@LENGTH]]`      `SentenceTransformerEmbedder`, vectors cut to LENGTH
    `PROVIDER:MODEL[@LENGTH]`                     `ProviderEmbedder`, vectors of LENGTH asked for
    ============================================  ==============================================

    The name that such an embedder states stands for it as well. Nothing is fetched or loaded yet.

    Raises `ConfigurationError` for a name that stands for nothing (the message lists the known ones), a
    package that is missing (it says which command installs it) and a provider's key that is missing.

    >>> embedder_from_name("wordllama:64").name
    'wordllama-l2_supercat-64'
    """
    if not isinstance(name, str):
        raise ConfigurationError(f"an embedder's name is a text, got {type(name).__name__}; {_known()}")
    kind, _, model = name.strip().partition(":")
    if kind.startswith("wordllama-") and not model:
        kind, _, model = kind.replace("-l2_supercat", "", 1).partition("-")
    make = _LOCAL.get(kind)
    if make is not None:
        return make(model)
    is_known = kind.removeprefix("gateway/") in PROVIDERS
    if not model or not (is_known or is_installed("pydantic_ai")):
        raise ConfigurationError(f"no embedder is named {name!r}; {_known()}")
    model, length = _cut_length(f"{kind}:{model}")
    try:
        return ProviderEmbedder(model, dimensions=length)
    except ConfigurationError as error:
        if is_known:
            raise
        raise ConfigurationError(f"{error}; {_known()}") from error


async def close_embedder(embedder: Embedder) -> None:
    """Close the connections or the thread of an embedder that has some; others have nothing to close."""
    close = getattr(embedder, "aclose", None)
    if close is not None:
        await close()


def _word_llama(model: str) -> Embedder:
    if model and not re.fullmatch("[0-9]{1,6}", model):
        raise ConfigurationError(f"wordllama has no model {model!r}; {_known()}")
    return WordLlamaEmbedder(int(model)) if model else WordLlamaEmbedder()


def _fast_embed(model: str) -> Embedder:
    return FastEmbedEmbedder(model) if model else FastEmbedEmbedder()


def _sentence_transformer(model: str) -> Embedder:
    name, length = _cut_length(model)
    return SentenceTransformerEmbedder(name, truncate_dim=length) if name else SentenceTransformerEmbedder()


_LOCAL: Final[dict[str, Callable[[str], Embedder]]] = {
    "wordllama": _word_llama,
    "fastembed": _fast_embed,
    "sentence-transformers": _sentence_transformer,
}


def _cut_length(model: str) -> tuple[str, int | None]:
    """A model's name and the length of vectors stated behind it.

    >>> _cut_length("text-embedding-3-small@512"), _cut_length("@cf/baai/bge-m3")
    (('text-embedding-3-small', 512), ('@cf/baai/bge-m3', None))
    """
    match = re.fullmatch(r"(.+)@([1-9][0-9]{0,5})", model)
    return (match[1], int(match[2])) if match else (model, None)


def _known() -> str:
    return f"known are {', '.join(_EXAMPLES)}, and models of the providers {', '.join(PROVIDERS)}"
