"""Cross-encoders of `fastembed`: ONNX on the processor, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from betterdb_agent_memory.embedders.answers import refuse_what_is_not_text
from betterdb_agent_memory.embedders.extras import require_package
from betterdb_agent_memory.embedders.fast_embed_models import description, loader
from betterdb_agent_memory.embedders.limits import CallLimits
from betterdb_agent_memory.embedders.local_model import ModelThread
from betterdb_agent_memory.errors import RerankingError

if TYPE_CHECKING:
    from fastembed.rerank.cross_encoder import TextCrossEncoder

DEFAULT_MODEL: Final = "Xenova/ms-marco-MiniLM-L-6-v2"
DEFAULT_BATCH_SIZE: Final = 8


class FastEmbedReranker:
    """Scores with a cross-encoder of `fastembed` (extra `fastembed`), on this machine's processor.

    `model` is a name that fastembed lists, or one you registered with `TextCrossEncoder.add_custom_model`. Its
    weights are fetched once, at the first question, into `cache_dir` (fastembed's default: a folder among the
    temporary files; `FASTEMBED_CACHE_PATH` moves it). `local_files_only` never fetches; `model_path` is a
    folder that holds the files already. `threads` bounds the processor threads of a call, `batch_size` the
    texts that are read at once: texts of like length together, as each batch costs what its longest does.

    Calls run one after another in a thread of their own. A call is given up after `timeout_seconds`; by default
    never, since the first one may fetch the weights and none can be stopped.

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
        timeout_seconds: float | None = None,
    ) -> None:
        require_package("fastembed", extra="fastembed", needed_by="FastEmbedReranker")
        from fastembed.rerank.cross_encoder import TextCrossEncoder

        description(
            TextCrossEncoder, model, kind="cross-encoder", path="fastembed.rerank.cross_encoder.TextCrossEncoder"
        )
        limits = CallLimits(max_batch=batch_size, timeout_seconds=timeout_seconds)
        load = loader(
            TextCrossEncoder,
            model,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            model_path=model_path,
            threads=threads,
        )
        self._name = f"fastembed:{model}"
        self._batch_size = limits.max_batch
        self._timeout_seconds = limits.timeout_seconds
        self._thread: ModelThread[TextCrossEncoder] = ModelThread(self._name, load, failure=RerankingError)

    @property
    def name(self) -> str:
        """The library's and the model's, such as `fastembed:Xenova/ms-marco-MiniLM-L-6-v2`."""
        return self._name

    @property
    def timeout_seconds(self) -> float | None:
        """Seconds after which a call is given up; None never gives up."""
        return self._timeout_seconds

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """The model's score for each text read with `query`, in order; higher is better.

        The scale is the model's: mostly a logit, about -11 to 11, sometimes a probability. What is longer than the
        model reads is cut by its tokenizer.

        Raises `InvalidInputError` for what is not text, `RerankingError` when the weights cannot be had or
        the model fails.
        """
        refuse_what_is_not_text([query, *texts])
        by_length = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        scores = [0.0] * len(texts)
        for start in range(0, len(texts), self._batch_size):
            places = by_length[start : start + self._batch_size]
            batch = [texts[place] for place in places]
            scored = await self._thread.run(partial(_score, query=query, texts=batch))
            for place, score in zip(places, scored, strict=True):
                scores[place] = score
        return scores

    async def aclose(self) -> None:
        """Let go of the model and its thread; the reranker is of no use afterwards."""
        self._thread.close()


def _score(model: TextCrossEncoder, *, query: str, texts: list[str]) -> list[float]:
    return [float(score) for score in model.rerank(query, texts, batch_size=len(texts))]
