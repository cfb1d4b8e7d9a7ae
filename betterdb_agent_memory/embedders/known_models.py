"""What is known of open models: the words they want before a text, and the threshold that suits them.

Keys are the models' names in lower case, as their cards spell them otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from betterdb_agent_memory.embedders.function import DEFAULT_THRESHOLD


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What a model was trained to see before a question and before a text to be found."""

    query: str = ""
    document: str = ""


_PASSAGES: Final = Prefixes(query="Represent this sentence for searching relevant passages: ")
_NOMIC: Final = Prefixes("search_query: ", "search_document: ")
_E5: Final = Prefixes("query: ", "passage: ")

# From the model cards. bge v1.5 was trained to do without, and does (its card: "slight degradation").
_PREFIXES: Final = {
    "baai/bge-base-en": _PASSAGES,
    "baai/bge-small-en": _PASSAGES,
    "google/embeddinggemma-300m": Prefixes("task: search result | query: ", "title: none | text: "),
    "intfloat/multilingual-e5-large": _E5,
    "mixedbread-ai/mxbai-embed-large-v1": _PASSAGES,
    "nomic-ai/nomic-embed-text-v1": _NOMIC,
    "nomic-ai/nomic-embed-text-v1.5": _NOMIC,
    "nomic-ai/nomic-embed-text-v1.5-q": _NOMIC,
    "snowflake/snowflake-arctic-embed-l": _PASSAGES,
    "snowflake/snowflake-arctic-embed-m": _PASSAGES,
    "snowflake/snowflake-arctic-embed-m-long": _PASSAGES,
    "snowflake/snowflake-arctic-embed-s": _PASSAGES,
    "snowflake/snowflake-arctic-embed-xs": _PASSAGES,
}

# Measured as `WordLlamaEmbedder` describes, on the same conversations, with weights quantised to int8;
# docs/embedders.md has the figures.
_THRESHOLDS: Final = {
    "baai/bge-small-en-v1.5": 0.50,
    "sentence-transformers/all-minilm-l6-v2": 0.70,
}


def known_prefixes(model: str) -> Prefixes:
    """The model's, none for one that is not listed."""
    return _PREFIXES.get(model.lower(), Prefixes())


def known_threshold(model: str) -> float:
    """The cosine distance measured for the model, 0.25 for one that was not measured.

    A name without its owner, as sentence-transformers allows, is one of sentence-transformers'.

    >>> known_threshold("unheard-of/model")
    0.25
    """
    name = model.lower()
    return _THRESHOLDS.get(name if "/" in name else f"sentence-transformers/{name}", DEFAULT_THRESHOLD)
