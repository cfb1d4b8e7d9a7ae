"""How recall finds and weighs memories; the defaults are measured (docs/recall.md)."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias, get_args

from pydantic import Field

from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.options.checks import number, options, whole_number

Retrieval: TypeAlias = Literal["vector", "hybrid"]
"""Which memories are found, and what makes them relevant: likeness alone, or with it the words of the question."""

RETRIEVALS: Final[tuple[Retrieval, ...]] = get_args(Retrieval)

Scoring: TypeAlias = Literal["composite", "activation", "chain", "retrievability"]
"""How relevance is weighed against the rest: see `memory/scoring/`."""

SCORINGS: Final[tuple[Scoring, ...]] = get_args(Scoring)

DEFAULT_LANGUAGE: Final = "english"
DEFAULT_EXACT_BUDGET: Final = 20_000
"""Memories that one exact recall looks at, at most."""
MAX_EXACT_BUDGET: Final = 1_000_000
"""As many rows as a search engine pages through."""

DEFAULT_RERANK_DEPTH: Final = 20
"""Hits that a reranker reads."""
MAX_RERANK_DEPTH: Final = 2_500
"""As many as one recall returns."""

_COUNT: Final = whole_number(1, 100_000)
_SHARE: Final = number(0, 1)
_WEIGHT: Final = number(0, 1_000)


@options
class HybridOptions:
    """What hybrid retrieval looks at, and how much each sign of relevance counts.

    A candidate's relevance is the weighted mean of four signs, each from 0 to 1: likeness of the vectors
    (`similarity`), words of the question (`words`, BM25 as a share of what could be had), a date that the
    question names (`date`) and a person whom it names (`actor`). Not all four weights are 0.

    `candidates` are found by vector, `word_candidates` among those that hold a word of the question; of
    its words the rarest are searched for, as many as `word_matches` memories have between them, all others
    only weighed. `saturation` (BM25's k1) and `length_normalization` (its b, against texts of
    `typical_words` words) say how repetition and length count. A turn of a conversation, or of a thread, is
    lent `neighbour_share` of the words of the turn beside it.

    Each is a field of live configuration, too; what a field does there is its description here.

    >>> HybridOptions(words_weight=-1)
    Traceback (most recent call last):
    betterdb_agent_memory.errors.ConfigurationError: HybridOptions.words_weight must be a number from 0 to 1000, got -1
    """

    candidates: Annotated[int, whole_number(1, 2_500), Field(description="memories found by likeness")] = 64
    word_candidates: Annotated[int, whole_number(0, 2_500), Field(description="memories found by words")] = 64
    word_matches: Annotated[
        int, _COUNT, Field(description="memories that the words searched for may have between them")
    ] = 128
    similarity_weight: Annotated[float, _WEIGHT, Field(description="weight of likeness in relevance")] = 0.40
    words_weight: Annotated[float, _WEIGHT, Field(description="weight of the words of the question")] = 0.44
    date_weight: Annotated[float, _WEIGHT, Field(description="weight of a date that the question names")] = 0.10
    actor_weight: Annotated[float, _WEIGHT, Field(description="weight of a person whom the question names")] = 0.06
    saturation: Annotated[float, number(0, 100), Field(description="how soon repetition stops counting (k1)")] = 1.2
    length_normalization: Annotated[float, _SHARE, Field(description="how much long texts are discounted (b)")] = 0.2
    typical_words: Annotated[int, _COUNT, Field(description="words of a text neither long nor short")] = 20
    neighbour_share: Annotated[float, _SHARE, Field(description="share of its words that a turn lends the next")] = 0.7

    def __post_init__(self) -> None:
        if not any((self.similarity_weight, self.words_weight, self.date_weight, self.actor_weight)):
            raise ConfigurationError(
                "HybridOptions.similarity_weight, words_weight, date_weight and actor_weight must not all be 0: "
                "every memory would be as relevant as any other"
            )
