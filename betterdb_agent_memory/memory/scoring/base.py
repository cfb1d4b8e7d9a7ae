"""What every model of scoring gets and gives: arrays of numbers in, scores and their terms out.

A model knows neither an engine nor a record nor the time: the caller reads the numbers it `needs` of every candidate,
and says what time it is. So any model goes with any way of finding candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.options import RecallWeights

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
Number = TypeVar("Number", float, FloatArray)
Numbers: TypeAlias = float | NDArray[np.floating[Any] | np.integer[Any]]
"""A number or an array; arguments broadcast, and numbers alone give a number of numpy."""

SECONDS_A_DAY: Final = 86_400.0
MS_A_DAY: Final = 86_400_000.0

STRENGTH_WEIGHTS: Final = RecallWeights(similarity=0.85, recency=0.15, importance=0.05)
"""How much likeness, what is left of a memory, and importance count, where strength is modelled rather than freshness.

Chosen by how often what was needed is among five hits, on simulated lives in which needs recur by a power law.
"""

Need: TypeAlias = Literal[
    "importance",
    "created_at_ms",
    "last_accessed_at_ms",
    "access_count",
    "recent_ms",
    "successes",
    "reliability",
    "stability_days",
    "working",
    "core",
    "strength_at_ms",
    "cues",
]
"""A number of a candidate that a model may ask for: an attribute of `Candidates`."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The numbers of the candidates of one question, in one order: arrays of one entry a candidate.

    `relevance` is what retrieval made of each, 0 to 1: 1 - distance / 2, or the weighted signs of hybrid retrieval.
    `created_at_ms` and `last_accessed_at_ms` are milliseconds since the epoch, `access_count` counts recalls.

    The others are None where no candidate has them, and NaN where one has none. `recent_ms` has a row for each
    candidate and as many columns as access times are kept; `successes` counts recalls that helped, one that helped a
    little in part; `reliability` is what is left of the trust in a memory, 1 where nobody doubts it;
    `stability_days` is the time constant of forgetting;
    `working`, `core` and `strength_at_ms` are the two traces and when they were that strong. `cues` has a column for
    each cue of the question's context, true where the memory has it, and `fans` (one entry a cue) how many memories
    have it.
    """

    relevance: FloatArray
    importance: FloatArray
    created_at_ms: FloatArray
    last_accessed_at_ms: FloatArray
    access_count: FloatArray
    recent_ms: FloatArray | None = None
    successes: FloatArray | None = None
    reliability: FloatArray | None = None
    stability_days: FloatArray | None = None
    working: FloatArray | None = None
    core: FloatArray | None = None
    strength_at_ms: FloatArray | None = None
    cues: BoolArray | None = None
    fans: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.relevance)


@dataclass(frozen=True, slots=True)
class Term:
    """One term of the scores: `values`, one a candidate, times `weight`."""

    name: str
    values: FloatArray
    weight: float

    @property
    def contributions(self) -> FloatArray:
        """What the term adds to each score; nothing without a weight, whatever the values."""
        return self.values * self.weight if self.weight else np.zeros_like(self.values)


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of the candidates, in their order, and the terms that they are the sums of.

    A score that is not finite means that a number of the candidate was not: it must not be ranked.
    """

    values: FloatArray
    terms: tuple[Term, ...]


@runtime_checkable
class ScoringModel(Protocol):
    """How relevance is weighed against the rest.

    `name` is what the model is called in options and live configuration, `needs` the numbers it reads of a
    candidate beside its relevance.
    """

    @property
    def name(self) -> str:
        """By which it is chosen."""

    @property
    def needs(self) -> frozenset[Need]:
        """The numbers of a candidate that it reads."""

    def score(self, candidates: Candidates, now_ms: int) -> Scored:
        """The scores at `now_ms`, higher is better; pure, and the same for a candidate whatever the others are."""

    def ceiling(self, relevance: float) -> float:
        """No memory of at most this relevance scores more, if its importance is 0 to 1 and it was not written in the
        future; infinity where nothing bounds it. So an exact recall knows when it has looked far enough.
        """


def summed(*terms: Term) -> Scored:
    """The terms with the sums of their contributions."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = sum((term.contributions for term in terms[1:]), start=terms[0].contributions)
    return Scored(values, terms)


def doubt(candidates: Candidates) -> FloatArray:
    """What is missing of the trust in each candidate, 0 to 1; nothing where nobody doubts it."""
    if candidates.reliability is None:
        return np.zeros(len(candidates))
    missing: FloatArray = 1 - np.clip(or_else(candidates.reliability, 1.0), 0.0, 1.0)
    return missing


def or_else(numbers: FloatArray, value: float) -> FloatArray:
    """The numbers, `value` in the place of those that a candidate does not have."""
    there: FloatArray = np.where(np.isnan(numbers), value, numbers)
    return there


def elapsed_days(since_ms: Numbers, now_ms: Numbers) -> FloatArray:
    """Days from `since_ms` to `now_ms`; none where a clock ahead of ours wrote the time. NaN stays NaN."""
    days: FloatArray = np.maximum((np.asarray(now_ms) - since_ms) / MS_A_DAY, 0.0)
    return days


def finite(name: str, value: Numbers) -> FloatArray:
    """`value` as an array of floats.

    Raises:
        InvalidInputError: it, or one of its numbers, is not finite.
    """
    numbers = np.asarray(value, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise InvalidInputError(f"{name} must be finite, got {value!r:.80}: what is not a number would spread")
    return numbers
