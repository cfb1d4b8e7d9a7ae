"""Ways of ranking memories as pure functions over arrays: what a formula is worth on the model, without a store.

The formulas are those of the design (ACT-R's base level in Petrov's hybrid form, the Memory Chain in closed form, the
published composite), written down here once more in a few lines, so that parameters can be searched in seconds.

The numbers that stand here as defaults were chosen on lives 100 to 102 (`benchmarks.dynamics --first-seed 100`);
figures are reported of lives 0 and up.
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

    `likeness` is the cosine with the question; `recalls` counts how often it was recalled since `created_ms`, the last
    time at `recalled_ms`; `uses` counts reactions to answers made from it, `successes` the pleased ones, the last of
    them at `helped_ms`. Where there was none a time is that of creation. `working` and `core` are the traces of the
    Memory Chain at `strength_ms`. `doubted` is true once something contradicted it; `reliability` is the share of right
    statements among those of its kind, as far as one can know.
    """

    now_ms: float
    likeness: Array
    importance: Array
    created_ms: Array
    recalls: Array
    recalled_ms: Array
    uses: Array
    successes: Array
    helped_ms: Array
    working: Array
    core: Array
    strength_ms: Array
    doubted: NDArray[np.bool_]
    reliability: Array

    @property
    def similarity(self) -> Array:
        """1 - distance / 2, as the contract has it."""
        return (1 + self.likeness) / 2

    def seconds_since(self, at_ms: Array) -> Array:
        """At least a millisecond."""
        return np.maximum((self.now_ms - at_ms) / 1000, 1e-3)


Formula: TypeAlias = Callable[[Traces], Array]
"""A score for each candidate, higher is better."""


def similarity(traces: Traces) -> Array:
    """Likeness and nothing else."""
    return traces.similarity


@dataclass(frozen=True, slots=True)
class Composite:
    """The published sum of similarity, recency since the last recall, and importance; by default `open`'s weights."""

    similarity: float = 0.97
    recency: float = 0.02
    importance: float = 0.01
    half_life_days: float = 30.0

    def __call__(self, traces: Traces) -> Array:
        days = traces.seconds_since(traces.recalled_ms) / 86_400
        recency = np.exp2(-days / self.half_life_days)
        return self.similarity * traces.similarity + self.recency * recency + self.importance * traces.importance


@dataclass(frozen=True, slots=True)
class Activation:
    """The base level of a memory's uses plus similarity and importance; `doubt` is taken off what was contradicted.

    A memory was used when it was written and when an answer made from it pleased; being recalled is `recall_share`
    of a use, since most of what is recalled is not what was needed.
    """

    similarity: float = 18.0
    decay: float = 0.5
    importance: float = 1.0
    doubt: float = 3.0
    recall_share: float = 0.05

    def __call__(self, traces: Traces) -> Array:
        return np.asarray(
            self.similarity * traces.similarity
            + np.log(self.uses(traces))
            + self.importance * traces.importance
            - self.doubt * traces.doubted
        )

    def uses(self, traces: Traces) -> Array:
        """The sum of all uses, each `age^-decay`."""
        age = traces.seconds_since(traces.created_ms)
        recalled = spread(traces.recalls, traces.seconds_since(traces.recalled_ms), age, self.decay)
        helped = spread(traces.successes, traces.seconds_since(traces.helped_ms), age, self.decay)
        return np.asarray(age**-self.decay + self.recall_share * recalled + helped)


@dataclass(frozen=True, slots=True)
class Chain:
    """Similarity plus the Memory Chain's probability of recall and importance; `doubt` as for activation.

    A use adds to the working trace what would not have been recalled anyway; being recalled is `recall_share` of a use.
    """

    similarity: float = 0.85
    strength: float = 0.15
    importance: float = 0.05
    doubt: float = 0.15
    working_decay: float = 0.15
    core_decay: float = 0.005
    transfer: float = 0.08
    recall_share: float = 0.05

    def __call__(self, traces: Traces) -> Array:
        working, core = self.ahead(traces)
        return np.asarray(
            self.similarity * traces.similarity
            - self.strength * np.expm1(-(working + core))
            + self.importance * traces.importance
            - self.doubt * traces.doubted
        )

    def ahead(self, traces: Traces) -> tuple[Array, Array]:
        """Both traces now."""
        days = traces.seconds_since(traces.strength_ms) / 86_400
        gain = self.transfer * (0.2 + traces.importance**2)
        slow, fast = np.exp(-self.core_decay * days), np.exp(-self.working_decay * days)
        fed = gain * traces.working * (slow - fast) / (self.working_decay - self.core_decay)
        return traces.working * fast, traces.core * slow + fed

    def used(self, traces: Traces, share: float) -> tuple[Array, Array]:
        """Both traces right after `share` of a use."""
        working, core = self.ahead(traces)
        return working + share * np.exp(-(working + core)), core


def spread(count: Array, last: Array, age: Array, decay: float) -> Array:
    """Petrov's hybrid: of `count` uses the last exactly, `last` seconds ago, the others evenly since `age` seconds."""
    rest = 1 - decay
    apart = age - last
    mean = np.where(apart > 1e-6, (age**rest - last**rest) / (rest * np.maximum(apart, 1e-6)), last**-decay)
    return np.where(count > 0, last**-decay + np.maximum(count - 1, 0) * mean, 0.0)


@dataclass(frozen=True, slots=True)
class Confidence:
    """How likely each memory is right: the reliability of its kind, learnt from reactions, less for age and doubt.

    A kind's reliability counts as `prior` reactions. A displeased one counts `blame` of a pleased one: mostly the
    memory was not what was meant, and no less true. What was contradicted keeps `doubted`; without a success what is
    said stops being so at the rate `staleness` a year.
    """

    prior: float = 8.0
    blame: float = 0.1
    doubted: float = 0.3
    staleness: float = 0.3

    def __call__(self, traces: Traces) -> Array:
        failures = self.blame * (traces.uses - traces.successes)
        learnt = (self.prior * traces.reliability + traces.successes) / (self.prior + traces.successes + failures)
        years = traces.seconds_since(np.maximum(traces.created_ms, traces.helped_ms)) / (365 * 86_400)
        return np.asarray(learnt * np.where(traces.doubted, self.doubted, 1.0) * np.exp(-self.staleness * years))
