"""Models of `sentence-transformers`: any of the thousands on the Hugging Face hub, with torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.embedders.extras import require_package
from betterdb_agent_memory.embedders.known_models import known_threshold
from betterdb_agent_memory.embedders.local_model import DEFAULT_BATCH_SIZE, LocalModelEmbedder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_MODEL = "all-MiniLM-L6-v2"


class SentenceTransformerEmbedder(LocalModelEmbedder["SentenceTransformer"]):
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
        self._query_prompt = query_prompt
        self._document_prompt = document_prompt
        options: dict[str, Any] = {
            "device": device,
            "cache_folder": None if cache_folder is None else str(cache_folder),
            "local_files_only": local_files_only,
            "revision": revision,
            "truncate_dim": truncate_dim,
        }
        stated = "@".join(str(part) for part in (model, revision, truncate_dim) if part is not None)
        super().__init__(
            name=f"sentence-transformers:{stated}",
            dimensions=truncate_dim,
            default_threshold=known_threshold(str(model)) if default_threshold is None else default_threshold,
            batch_size=batch_size,
            load=lambda: _load(str(model), options),
        )

    def _encode(self, model: SentenceTransformer, texts: Sequence[str], *, is_query: bool) -> list[NDArray[np.float32]]:
        encode = model.encode_query if is_query else model.encode_document
        prompt = self._query_prompt if is_query else self._document_prompt
        size = len(texts)
        return list(encode(list(texts), prompt=prompt, batch_size=size, show_progress_bar=False, convert_to_numpy=True))


def _load(model: str, options: dict[str, Any]) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(model, **options)
