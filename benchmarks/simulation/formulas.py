"""Ways of ranking memories as pure functions over arrays: what a formula is worth on the model, without a store.

The formulas are those of the design (ACT-R's base level in Petrov's hybrid form, the Memory Chain in closed form, the
published composite), written down here once more in a few lines, so that parameters can be searched in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
DAY_MS = 86_400_000.0


@dataclass(frozen=True, slots=True)
class Traces:
    """What a store knows of the candidates of one question, one entry each, when it is `now_ms`.

    `likeness` is the cosine with the question; `count` recalls since `created_ms`, the last of them at `last_ms`;
    `working` and `core` are the traces of the Memory Chain at `strength_ms`; of the reactions to answers made from a
    memory `uses` counts all and `successes` the pleased ones; `doubted` is true once something contradicted it, and
    `reliability` the share of right statements among those of its kind, as far as one can know.
    """

    now_ms: float
    likeness: Array
    importance: Array
    created_ms: Array
    last_ms: Array
    count: Array
    working: Array
    core: Array
    strength_ms: Array
    uses: Array
    successes: Array
    doubted: NDArray[np.bool_]
    reliability: Array

    @property
    def similarity(self) -> Array:
        """1 - distance / 2, as the contract has it."""
        return (1 + self.likeness) / 2

    @property
    def helpful(self) -> Array:
        """The mean of a Beta distribution over how often it pleases, from -1 to 1, 0 where nobody reacted."""
        return 2 * (self.successes + 1) / (self.uses + 2) - 1


Formula: TypeAlias = Callable[[Traces], Array]
"""A score for each candidate, higher is better."""


def similarity(traces: Traces) -> Array:
    """Likeness and nothing else."""
    return traces.similarity


@dataclass(frozen=True, slots=True)
class Composite:
    """The published sum of similarity, recency since the last recall, and importance."""

    similarity: float
    recency: float
    importance: float
    half_life_days: float

    def __call__(self, traces: Traces) -> Array:
        age = (traces.now_ms - np.maximum(traces.created_ms, traces.last_ms)) / DAY_MS
        recency = np.exp2(-age / self.half_life_days)
        return self.similarity * traces.similarity + self.recency * recency + self.importance * traces.importance


@dataclass(frozen=True, slots=True)
class Activation:
    """Base level plus similarity, importance and outcomes, each with its weight; doubt takes off `doubt`."""

    similarity: float = 12.0
    decay: float = 0.5
    base: float = 1.0
    importance: float = 0.5
    outcome: float = 0.0
    doubt: float = 0.0

    def __call__(self, traces: Traces) -> Array:
        return (
            self.similarity * traces.similarity
            + self.base * base_level(traces, self.decay)
            + self.importance * traces.importance
            + self.outcome * traces.helpful
            - self.doubt * traces.doubted
        )


@dataclass(frozen=True, slots=True)
class Chain:
    """Similarity plus the Memory Chain's probability of recall, importance and outcomes."""

    similarity: float = 0.6
    strength: float = 0.25
    importance: float = 0.15
    outcome: float = 0.0
    doubt: float = 0.0
    working_decay: float = 0.15
    core_decay: float = 0.005
    transfer: float = 0.08

    def __call__(self, traces: Traces) -> Array:
        return (
            self.similarity * traces.similarity
            + self.strength * self.probability(traces)
            + self.importance * traces.importance
            + self.outcome * traces.helpful
            - self.doubt * traces.doubted
        )

    def probability(self, traces: Traces) -> Array:
        working, core = self.ahead(traces)
        return np.asarray(-np.expm1(-(working + core)))

    def ahead(self, traces: Traces) -> tuple[Array, Array]:
        """Both traces now."""
        days = np.maximum(traces.now_ms - traces.strength_ms, 0) / DAY_MS
        gain = self.transfer * (0.2 + traces.importance**2)
        slow, fast = np.exp(-self.core_decay * days), np.exp(-self.working_decay * days)
        fed = gain * traces.working * (slow - fast) / (self.working_decay - self.core_decay)
        return traces.working * fast, traces.core * slow + fed

    def used(self, traces: Traces) -> tuple[Array, Array]:
        """Both traces right after a use, which teaches the less the likelier it was."""
        working, core = self.ahead(traces)
        return working + np.exp(-(working + core)), core


def base_level(traces: Traces, decay: float) -> Array:
    """Petrov's hybrid of ACT-R's base level: the last use exactly, the others spread over the time since creation."""
    last = np.maximum((traces.now_ms - traces.last_ms) / 1000, 1e-3)
    age = np.maximum((traces.now_ms - traces.created_ms) / 1000, 1e-3)
    rest = 1 - decay
    longer = np.maximum(age - last, 1e-9)
    others = np.where(age - last > 1e-6, (age**rest - last**rest) / (rest * longer), last**-decay)
    return np.asarray(np.log(last**-decay + traces.count * others))


def confidence(traces: Traces) -> Array:
    """How likely each memory is right: the kind's reliability, learnt from reactions, less for each doubt and for age.

    A kind's reliability counts as four reactions. What was contradicted keeps three tenths.
    """
    prior = 4.0
    mean = (prior * traces.reliability + traces.successes) / (prior + traces.uses)
    return np.asarray(np.clip(mean * np.where(traces.doubted, 0.3, 1.0), 0.0, 1.0))
