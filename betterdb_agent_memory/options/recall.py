"""How recall finds and weighs memories; the defaults are measured (docs/recall.md)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from betterdb_agent_memory.options.checks import number, options, whole_number

Retrieval: TypeAlias = Literal["vector", "hybrid"]
"""Which memories are found, and what makes them relevant: likeness alone, or with it the words of the question."""

RETRIEVALS: tuple[Retrieval, ...] = ("vector", "hybrid")

DEFAULT_LANGUAGE = "english"
DEFAULT_EXACT_BUDGET = 20_000
"""Memories that one exact recall looks at, at most."""

Share: TypeAlias = Annotated[float, number(0, 1)]
Weight: TypeAlias = Annotated[float, number(0, 1e6)]


@options
class HybridOptions:
    """What hybrid retrieval looks at, and how much each sign of relevance counts.

    A candidate's relevance is the weighted mean of four signs, each from 0 to 1: likeness of the vectors
    (`similarity`), words of the question (`words`, BM25 as a share of what could be had), a date that the
    question names (`date`) and a person whom it names (`actor`).

    `candidates` are found by vector, `word_candidates` among those that hold a word of the question; of
    its words the rarest are searched for, as many as `word_matches` memories have between them, all others
    only weighed. `saturation` (BM25's k1) and `length_normalization` (its b, against texts of
    `typical_words` words) say how repetition and length count. A turn of a conversation, or of a thread, is
    lent `neighbour_share` of the words of the turn beside it.
    """

    candidates: Annotated[int, whole_number(1, 2_500)] = 64
    word_candidates: Annotated[int, whole_number(0, 2_500)] = 64
    word_matches: Annotated[int, whole_number(1, 100_000)] = 128
    similarity_weight: Weight = 0.40
    words_weight: Weight = 0.44
    date_weight: Weight = 0.10
    actor_weight: Weight = 0.06
    saturation: Annotated[float, number(0, 100)] = 1.2
    length_normalization: Share = 0.2
    typical_words: Annotated[int, whole_number(1, 100_000)] = 20
    neighbour_share: Share = 0.7
