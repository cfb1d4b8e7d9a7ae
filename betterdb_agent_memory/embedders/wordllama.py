"""The offline default: WordLlama's static token vectors, read from the wheel that carries them.

A static model has one vector per token; a text's vector is their mean. There is nothing to run but a
tokenizer and a sum, so the wheel is used as what it is, a carrier of two files. Its own code stays
unimported on purpose: it opens a connection when it does not find the files where it looks first, sets
up the root logger of whoever imports it, and pads every text of a batch to the longest, so that one
very long text costs gigabytes.
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.embedders.answers import refuse_what_is_not_text
from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_WEIGHTS: Final = "l2_supercat"
_STORED_DIMENSIONS: Final = 256
_WEIGHTS_FILE: Final = Path("weights") / f"{_WEIGHTS}_{_STORED_DIMENSIONS}.safetensors"
_TOKENIZER_FILE: Final = Path("tokenizers") / f"{_WEIGHTS}_tokenizer_config.json"
_INSTALL: Final = 'pip install "betterdb-agent-memory[local]"'

# The weights were trained so that the first numbers of a vector are a vector too (Matryoshka
# representation learning, Kusupati et al. 2022). Shorter vectors lie closer together: each length has
# its own threshold, chosen as the class describes.
_THRESHOLDS: Final = {256: 0.75, 128: 0.70, 64: 0.70}

_CHARACTERS_ON_THE_LOOP: Final = 2_000
"""Under a millisecond of work; what is longer goes to a thread."""

_LISTS_ON_THE_LOOP: Final = 64
"""Vectors made into lists of Python's numbers in 0.2 ms."""

_CHARACTERS_A_SLICE: Final = 200_000
"""About 50 ms of work between two chances to be cancelled."""

_TOKENS_A_SUM: Final = 8_192
"""Token vectors gathered at once (8 MB): bounds the memory a very long text takes."""


class WordLlamaEmbedder:
    """Embeds offline with no set-up: WordLlama (l2_supercat), a static model of 32,000 token vectors.

    `dimensions` is 256 (default), 128 or 64. The weights come from the `wordllama` wheel (MIT) and are
    read once per process, off the event loop, at the first text; no connection is opened, ever.
    Vectors have length 1 and hold float32 numbers; the same text gives the same vector in every
    process, alone or in a batch. A text of a sentence or two takes about 0.05 ms, 1 MB of text
    0.7 s in a thread.

    Every text has a vector: what the vocabulary does not know (emoji, rare scripts) is spelled in
    UTF-8 bytes, each with a vector of its own, and blanks and punctuation are tokens like others. The
    empty text has no token; it is embedded as a single blank. Such vectors are finite and stable, but
    say little about meaning.

    `default_threshold` is calibrated on conversations (five of LoCoMo's: 2,760 turns, 760 questions): the
    tightest ceiling, in steps of 0.05, that costs dense recall@10 at most half a point both in a whole
    conversation (550 memories on average; 43.7 without a ceiling) and in a store of 100 (64.5). Pairs
    that pass, in per cent: a question with its evidence (true accepts), with the other turns of its
    conversation (false accepts), with turns of other conversations (unrelated)::

        dimensions  threshold  true accepts  false accepts  unrelated
               256       0.75          87.4           37.6        2.5
               128       0.70          83.3           31.7        2.2
                64       0.70          86.5           37.8        7.5

        python -m benchmarks.calibrate_threshold DATASET.json --dimensions 256

    A smaller store loses more to any ceiling: with this one 1.5 points of 75.5 at 50 memories, 5.9 of
    91.6 at 20. Hybrid recall also keeps what matches by words.

    Raises `ConfigurationError` for other `dimensions`.
    """

    def __init__(self, dimensions: int = _STORED_DIMENSIONS) -> None:
        if dimensions not in tuple(_THRESHOLDS):
            raise ConfigurationError(
                f"WordLlamaEmbedder has vectors of {', '.join(map(str, _THRESHOLDS))} dimensions, got {dimensions!r}"
            )
        self._dimensions = int(dimensions)

    @property
    def name(self) -> str:
        """Weights and length, such as `wordllama-l2_supercat-256`."""
        return f"wordllama-{_WEIGHTS}-{self._dimensions}"

    @property
    def dimensions(self) -> int:
        """Length of every vector."""
        return self._dimensions

    @property
    def default_threshold(self) -> float:
        """Cosine distance (0 to 2) up to which a memory counts as related, for this length of vector."""
        return _THRESHOLDS[self._dimensions]

    async def embed_query(self, text: str) -> list[float]:
        """The vector of one question; the same as if it were stored.

        Raises `InvalidInputError` for what is not text or holds a lone surrogate, `ConfigurationError`
        when the weights are not installed.
        """
        return (await self.embed_documents([text]))[0]

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of `texts`, in order; raises as `embed_query` does, before any is embedded."""
        rows = await self.embed_rows(texts)
        return _lists(rows) if len(rows) <= _LISTS_ON_THE_LOOP else await asyncio.to_thread(_lists, rows)

    async def embed_rows(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As `embed_documents`, in one array of the shape `(len(texts), dimensions)`: two thirds of the time."""
        if isinstance(texts, str):
            raise InvalidInputError("embed_documents takes a list of texts, got one text; use embed_query")
        refuse_what_is_not_text(texts)
        model = _loaded if _loaded is not None else await asyncio.to_thread(_load_once)
        if sum(map(len, texts)) <= _CHARACTERS_ON_THE_LOOP:
            return model.embed(texts, self._dimensions)
        return np.concatenate([await asyncio.to_thread(model.embed, some, self._dimensions) for some in _slices(texts)])


@dataclass(frozen=True, slots=True)
class _StaticModel:
    tokenizer: Tokenizer
    token_vectors: NDArray[np.float32]
    """Shape (vocabulary, 256)."""

    def embed(self, texts: Sequence[str], dimensions: int) -> NDArray[np.float32]:
        """Shape (texts, dimensions)."""
        # A batch also of one: the tokenizer gives up the interpreter lock for a batch, and not for a single
        # text, where a long one would stop the event loop from within its thread.
        encoded = self.tokenizer.encode_batch_fast([text or " " for text in texts], add_special_tokens=False)
        totals = np.empty((len(texts), dimensions), np.float64)
        for place, text in enumerate(encoded):
            totals[place] = self._sum(text.ids, dimensions)
        # The mean's direction is the sum's, and no sum of these weights that a text can reach is zero.
        norms: NDArray[np.float64] = np.sqrt(np.vecdot(totals, totals))
        return (totals / norms[:, None]).astype(np.float32)

    def _sum(self, tokens: Sequence[int], dimensions: int) -> NDArray[np.float64] | float:
        total: NDArray[np.float64] | float = 0.0
        for start in range(0, len(tokens), _TOKENS_A_SUM):
            rows = self.token_vectors.take(tokens[start : start + _TOKENS_A_SUM], axis=0)[:, :dimensions]
            total += rows.sum(axis=0, dtype=np.float64)
        return total


_loaded: _StaticModel | None = None
_loading = threading.Lock()


def _load_once() -> _StaticModel:
    global _loaded  # noqa: PLW0603 - one copy of 32 MB for all embedders of a process
    with _loading:
        if _loaded is None:
            _loaded = _load()
        return _loaded


def _load() -> _StaticModel:
    # Finding a package does not import it.
    package = importlib.util.find_spec("wordllama")
    if package is None or not package.submodule_search_locations:
        raise ConfigurationError(f"WordLlamaEmbedder needs the weights of the package wordllama: {_INSTALL}")
    try:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer
    except ImportError as cause:
        raise ConfigurationError(f"WordLlamaEmbedder cannot import {cause.name}: {_INSTALL}") from cause
    folder = Path(package.submodule_search_locations[0])
    for file in (_WEIGHTS_FILE, _TOKENIZER_FILE):
        if not (folder / file).is_file():
            raise ConfigurationError(f"the installed wordllama lacks {folder / file}; reinstall it: {_INSTALL}")
    tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    weights: dict[str, NDArray[Any]] = load_file(folder / _WEIGHTS_FILE)
    return _StaticModel(tokenizer, weights["embedding.weight"].astype(np.float32))


def _lists(rows: NDArray[np.float32]) -> list[list[float]]:
    # Row by row: all at once would keep the interpreter lock for as long as it takes.
    return [row.tolist() for row in rows]


def _slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """`texts` in order, cut where a slice has its fill of characters; a very long text is one slice."""
    start = characters = 0
    for end, text in enumerate(texts, start=1):
        characters += len(text)
        if characters >= _CHARACTERS_A_SLICE:
            yield texts[start:end]
            start, characters = end, 0
    if start < len(texts):
        yield texts[start:]
