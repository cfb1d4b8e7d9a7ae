"""Models of providers (OpenAI, Cohere, Voyage AI, Google, Bedrock and others), through `pydantic-ai`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from betterdb_agent_memory.embedders.answers import refuse_miscount, refuse_what_is_not_text
from betterdb_agent_memory.embedders.base import VectorLike
from betterdb_agent_memory.embedders.extras import require_package
from betterdb_agent_memory.embedders.failures import is_passing
from betterdb_agent_memory.embedders.function import DEFAULT_THRESHOLD, refuse_bad_statements
from betterdb_agent_memory.embedders.limits import CallLimits
from betterdb_agent_memory.errors import ConfigurationError, EmbedderUnavailableError, EmbeddingError

if TYPE_CHECKING:
    from pydantic_ai.embeddings import EmbeddingModel, EmbeddingSettings
    from pydantic_ai.exceptions import ModelAPIError
    from pydantic_ai.providers import Provider

# So that an index can be made without paying for a probe; of other models the first answer tells.
_DIMENSIONS: Final = {"openai:text-embedding-3-small": 1536, "openai:text-embedding-3-large": 3072}

# The smallest bound on inputs per request among the providers (Cohere's).
_MAX_BATCH: Final = 96

_LONGEST_REASON: Final = 300
_LOOKS_LIKE_A_KEY: Final = re.compile(r"(?i)\b(?:sk|pk|key|token|bearer)[-_ =:]+[\w.*-]{6,}")
_REFUSED_KEY: Final = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class ProviderUsage:
    """What the provider counted, as far as it says."""

    requests: int
    """Requests that were answered."""
    input_tokens: int


class ProviderEmbedder:
    """Embeds with a provider's model (extra `providers`).

    `model` is a name such as `openai:text-embedding-3-small`, in pydantic-ai's spelling, or one of its
    `EmbeddingModel` objects, for a client, address or key of your own. A name takes its key from the
    provider's variable, such as `OPENAI_API_KEY`. `dimensions` asks for shorter vectors where the
    model can make them; `settings` are pydantic-ai's further ones. Questions and documents are marked as
    such for the providers that tell them apart. `default_threshold` is a cosine distance (0 to 2); no
    provider's model has been measured here, so it is 0.25 unless stated, which suits few:
    `benchmarks/calibrate_threshold.py` finds a better one.

    A request is made once here; time limit and repetition are `CoalescingEmbedder`'s, which a store puts
    around it. So a client made from a name does not repeat by itself.

    No message holds a key, and what a provider says to a refused one (HTTP 401, 403) is left out.

    Raises `ConfigurationError` for an unknown provider, a missing key and a missing package.
    """

    def __init__(
        self,
        model: str | EmbeddingModel,
        *,
        dimensions: int | None = None,
        settings: EmbeddingSettings | None = None,
        default_threshold: float = DEFAULT_THRESHOLD,
    ) -> None:
        require_package("pydantic_ai", extra="providers", needed_by="ProviderEmbedder")
        if dimensions is not None:
            settings = {**(settings or {}), "dimensions": dimensions}
        self._settings = settings
        self._secrets: list[str] = []
        self._own_provider: Provider[Any] | None = None
        self._model = self._named(model) if isinstance(model, str) else model
        name = model if isinstance(model, str) else f"{self._model.system}:{self._model.model_name}"
        asked = (settings or {}).get("dimensions")
        self._name = name if asked is None else f"{name}@{asked}"
        self._dimensions = asked if asked is not None else _DIMENSIONS.get(name)
        self._default_threshold = default_threshold
        refuse_bad_statements(self._name, self._dimensions, default_threshold)
        self._requests = self._input_tokens = 0

    @property
    def name(self) -> str:
        """Provider and model, with the dimensions if they were asked for: `openai:text-embedding-3-small@512`."""
        return self._name

    @property
    def dimensions(self) -> int | None:
        """Length of every vector; None until the first answer, unless it was asked for or is known."""
        return self._dimensions

    @property
    def default_threshold(self) -> float:
        """Cosine distance (0 to 2) up to which a memory counts as related."""
        return self._default_threshold

    @property
    def call_limits(self) -> CallLimits:
        """Batches that every provider takes."""
        return CallLimits(max_batch=_MAX_BATCH)

    def usage(self) -> ProviderUsage:
        """What has been used since this embedder was made."""
        return ProviderUsage(self._requests, self._input_tokens)

    async def embed_query(self, text: str) -> VectorLike:
        """The vector of one question.

        Raises:
            EmbedderUnavailableError: the provider was not reached, or says it is too busy.
            EmbeddingError: it refused the request, `status_code` says how; or its answer is unusable.
        """
        return (await self.embed_queries([text]))[0]

    async def embed_queries(self, texts: Sequence[str]) -> Sequence[VectorLike]:
        """The vectors of questions, in order, in one request; raises as `embed_query` does."""
        return await self._embed(texts, "query")

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[VectorLike]:
        """The vectors of texts to be stored, in order, in one request; raises as `embed_query` does."""
        return await self._embed(texts, "document")

    async def aclose(self) -> None:
        """Close the connections of a client that was made from a name; one you brought stays yours."""
        if self._own_provider is not None:
            async with self._own_provider:
                pass  # leaving it is what closes

    async def _embed(self, texts: Sequence[str], input_type: Literal["query", "document"]) -> Sequence[VectorLike]:
        refuse_what_is_not_text(texts)
        if not texts:
            return []
        from pydantic_ai.exceptions import ModelAPIError

        try:
            result = await self._model.embed(list(texts), input_type=input_type, settings=self._settings)
        except ModelAPIError as error:
            # The library's error quotes the answer whole, whatever it holds.
            raise self._refusal(error) from None
        except Exception as error:
            kind = EmbedderUnavailableError if is_passing(error) else EmbeddingError
            raise kind(f"{self._name} failed: {type(error).__name__}: {self._without_keys(str(error))}") from error
        self._requests += 1
        self._input_tokens += result.usage.input_tokens
        refuse_miscount(self._name, result.embeddings, len(texts))
        for vector in result.embeddings:
            self._learn_or_refuse_dimensions(len(vector))
        return result.embeddings

    def _learn_or_refuse_dimensions(self, found: int) -> None:
        if self._dimensions is None:
            self._dimensions = found
        elif found != self._dimensions:
            raise EmbeddingError(f"{self._name} returned a vector of {found} numbers, expected {self._dimensions}")

    def _named(self, name: str) -> EmbeddingModel:
        from pydantic_ai.embeddings import infer_embedding_model
        from pydantic_ai.exceptions import UserError

        try:
            return infer_embedding_model(name, provider_factory=self._provider)
        except (ImportError, UserError, ValueError) as error:
            raise ConfigurationError(f"cannot embed with {name!r}: {error}") from error

    def _provider(self, name: str) -> Provider[Any]:
        from pydantic_ai.providers import infer_provider

        self._own_provider = provider = infer_provider(name)
        client = provider.client
        if hasattr(client, "max_retries"):
            client.max_retries = 0
        if isinstance(key := getattr(client, "api_key", None), str) and key:
            self._secrets.append(key)
        return provider

    def _refusal(self, error: ModelAPIError) -> EmbeddingError:
        from pydantic_ai.exceptions import (
            ModelConnectionError,
            ModelHTTPError,
            ModelRateLimitError,
            ModelServerError,
            ModelUnavailableError,
        )

        status = error.status_code if isinstance(error, ModelHTTPError) else None
        if status is None:
            what = f"{self._name} was not reached: {self._without_keys(error.message)}"
        elif status in _REFUSED_KEY:
            what = f"{self._name} refused the key or what it may do (HTTP {status})"
        else:
            what = f"{self._name} answered with HTTP {status}: {self._without_keys(_reason(error.body))}"
        passes = (ModelConnectionError, ModelRateLimitError, ModelServerError, ModelUnavailableError)
        if isinstance(error, passes):
            return EmbedderUnavailableError(what, status_code=status, retry_after_seconds=error.retry_after)
        return EmbeddingError(what, status_code=status)

    def _without_keys(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _LOOKS_LIKE_A_KEY.sub("***", text)[:_LONGEST_REASON]


def _reason(body: object) -> str:
    """What a provider says in an error, wherever it puts it."""
    if isinstance(body, dict):
        for key in ("message", "error", "detail"):
            if body.get(key):
                return _reason(body[key])
    return str(body)
