"""Models of `sentence-transformers`: any of the thousands on the Hugging Face hub, with torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.embedders.answers import refuse_miscount, refuse_what_is_not_text
from betterdb_agent_memory.embedders.extras import require_package
from betterdb_agent_memory.embedders.function import refuse_bad_statements
from betterdb_agent_memory.embedders.known_models import known_threshold
from betterdb_agent_memory.embedders.limits import CallLimits
from betterdb_agent_memory.embedders.local_model import (
    DEFAULT_BATCH_SIZE,
    ModelThread,
    limits_of_a_local_model,
    slices,
)

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_MODEL = "all-MiniLM-L6-v2"


class SentenceTransformerEmbedder:
    """Embeds with a model of `sentence-transformers` (extra `sentence-transformers`), on this machine.

    `model` is a name on the Hugging Face hub or a folder. Its weights are fetched once, at the first text,
    into `cache_folder` (default: the hub's cache); `local_files_only` never fetches, `revision`
    pins a version. `device` is torch's (`cpu`, `cuda`, `mps`; by default the best there is). `truncate_dim`
    shortens the vectors of a model that was trained for it. `batch_size` is the texts of one call.

    Questions and documents get the prompts that the model's own configuration names for them;
    `query_prompt` and `document_prompt` replace those. `default_threshold` is a cosine distance (0 to 2):
    by default the one measured for the model (`docs/embedders.md`), else 0.25, which suits few;
    `benchmarks/calibrate_threshold.py` finds a better one. Code that comes with a model is never run.

    Raises `ConfigurationError` where sentence-transformers is missing. torch is imported at the first text.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        device: str | None = None,
        cache_folder: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        truncate_dim: int | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        default_threshold: float | None = None,
    ) -> None:
        require_package("sentence_transformers", extra="sentence-transformers", needed_by="SentenceTransformerEmbedder")
        self._call_limits = limits_of_a_local_model(batch_size)
        self._dimensions = truncate_dim
        self._name = "sentence-transformers:" + "@".join(
            str(part) for part in (model, revision, truncate_dim) if part is not None
        )
        self._default_threshold = known_threshold(str(model)) if default_threshold is None else default_threshold
        refuse_bad_statements(self._name, self._dimensions, self._default_threshold)
        self._query_prompt = query_prompt
        self._document_prompt = document_prompt
        options: dict[str, Any] = {
            "device": device,
            "cache_folder": None if cache_folder is None else str(cache_folder),
            "local_files_only": local_files_only,
            "revision": revision,
            "truncate_dim": truncate_dim,
        }
        self._thread: ModelThread[SentenceTransformer] = ModelThread(self._name, lambda: _load(str(model), options))

    @property
    def name(self) -> str:
        """The model's, with the revision and the length if they were stated."""
        return self._name

    @property
    def dimensions(self) -> int | None:
        """Length of every vector; None until the first one came, unless `truncate_dim` says it."""
        return self._dimensions

    @property
    def default_threshold(self) -> float:
        """Cosine distance (0 to 2) up to which a memory counts as related."""
        return self._default_threshold

    @property
    def call_limits(self) -> CallLimits:
        """One call at a time, `batch_size` texts in it."""
        return self._call_limits

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """The vector of one question.

        Raises `InvalidInputError` for what is not text, `EmbeddingError` when the weights cannot be had or
        the model fails.
        """
        return (await self.embed_queries([text]))[0]

    async def embed_queries(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """The vectors of questions, in order; raises as `embed_query` does."""
        return await self._embed(texts, is_query=True)

    async def embed_documents(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """The vectors of texts to be stored, in order; raises as `embed_query` does."""
        return await self._embed(texts, is_query=False)

    async def aclose(self) -> None:
        """Let go of the model and its thread; the embedder is of no use afterwards."""
        self._thread.close()

    async def _embed(self, texts: Sequence[str], *, is_query: bool) -> list[NDArray[np.float32]]:
        refuse_what_is_not_text(texts)
        size = self._call_limits.max_batch
        prompt = self._query_prompt if is_query else self._document_prompt
        vectors: list[NDArray[np.float32]] = []
        for some in slices(texts, size):
            vectors += await self._thread.run(partial(_encode, texts=list(some), prompt=prompt, is_query=is_query))
        refuse_miscount(self._name, vectors, len(texts))
        if vectors:
            self._dimensions = len(vectors[0])
        return vectors


def _load(model: str, options: dict[str, Any]) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(model, **options)


def _encode(
    model: SentenceTransformer, *, texts: list[str], prompt: str | None, is_query: bool
) -> list[NDArray[np.float32]]:
    encode = model.encode_query if is_query else model.encode_document
    return list(encode(texts, prompt=prompt, batch_size=len(texts), show_progress_bar=False, convert_to_numpy=True))
