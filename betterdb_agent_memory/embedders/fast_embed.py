"""Models of `fastembed`: ONNX on the processor, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.embedders.extras import require_package
from betterdb_agent_memory.embedders.fast_embed_models import description, loader
from betterdb_agent_memory.embedders.known_models import Prefixes, known_prefixes, known_threshold
from betterdb_agent_memory.embedders.local_model import DEFAULT_BATCH_SIZE, LocalModelEmbedder

if TYPE_CHECKING:
    from fastembed import TextEmbedding

DEFAULT_MODEL = "BAAI/bge-small-en-v1.5"


class FastEmbedEmbedder(LocalModelEmbedder["TextEmbedding"]):
    """Embeds with a model of `fastembed` (extra `fastembed`), on this machine's processor.

    `model` is a name that fastembed lists, or one you registered with `TextEmbedding.add_custom_model`.
    Its weights are fetched once, at the first text, into `cache_dir` (fastembed's default: a folder among
    the temporary files; `FASTEMBED_CACHE_PATH` moves it). `local_files_only` never fetches;
    `model_path` is a folder that holds the files already. `threads` bounds the processor threads
    of a call, `batch_size` the texts of one.

    `query_prefix` and `document_prefix` go before the texts: by default what the model's card asks for,
    as far as it is known here, on top of what fastembed does by itself. `default_threshold` is a cosine distance
    (0 to 2): by default the one measured for the model (`docs/embedders.md`), else 0.25, which
    suits few; `benchmarks/calibrate_threshold.py` finds a better one.

    Models quantised to int8 give a text a slightly different vector alone than in a batch.

    Raises `ConfigurationError` for a model that fastembed does not know and where fastembed is missing.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        model_path: str | Path | None = None,
        threads: int | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        default_threshold: float | None = None,
    ) -> None:
        require_package("fastembed", extra="fastembed", needed_by="FastEmbedEmbedder")
        from fastembed import TextEmbedding

        described = description(TextEmbedding, model, kind="model", path="fastembed.TextEmbedding")
        known = known_prefixes(model)
        self._prefixes = Prefixes(
            known.query if query_prefix is None else query_prefix,
            known.document if document_prefix is None else document_prefix,
        )
        super().__init__(
            name=f"fastembed:{model}",
            dimensions=int(described["dim"]),
            default_threshold=known_threshold(model) if default_threshold is None else default_threshold,
            batch_size=batch_size,
            load=loader(
                TextEmbedding,
                model,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                model_path=model_path,
                threads=threads,
            ),
        )

    def _encode(self, model: TextEmbedding, texts: Sequence[str], *, is_query: bool) -> list[NDArray[np.float32]]:
        prefix = self._prefixes.query if is_query else self._prefixes.document
        embed = model.query_embed if is_query else model.passage_embed
        prefixed = [prefix + text for text in texts]
        return [np.asarray(vector, np.float32) for vector in embed(prefixed, batch_size=len(prefixed))]
