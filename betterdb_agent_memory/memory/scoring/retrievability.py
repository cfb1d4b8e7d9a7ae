"""Retrievability: how much of a memory is left after a time without use, by a curve of one's choice.

A curve maps an age and a stability, both in days, to 1 (just used) down to 0. Stability is the time constant of
forgetting: e^-1 is left of an exponential curve after it. A use lets stability grow, the more, the more had been
forgotten: ten uses in a minute help less than ten in as many weeks.

Sources: Ebbinghaus (1885) for the exponential form; FSRS-6 for the power curve and the growth of stability, in the
form and with the constants of the package `fsrs` 6.3 (py-fsrs, open-spaced-repetition), which it has from Ye, Su & Cao
(2022), *A stochastic shortest path algorithm for optimizing spaced repetition scheduling*, KDD '22, and its successors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

import numpy as np
from pydantic import Field

from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.memory.scoring.base import (
    Candidates,
    FloatArray,
    Need,
    Numbers,
    Scored,
    Term,
    doubt,
    elapsed_days,
    finite,
    or_else,
    summed,
)
from betterdb_agent_memory.options import RecallWeights
from betterdb_agent_memory.options.checks import number, options

MAX_STABILITY_DAYS: Final = 36_500.0
"""A hundred years, which is the longest interval of FSRS as well."""

LEFT_AT_STABILITY: Final = 0.9
"""What FSRS means by stability: days until nine tenths are left."""

_AS_FSRS: Final = -math.log(LEFT_AT_STABILITY)
"""Stability in FSRS's meaning for a time constant of 1, on the exponential curve."""

RETRIEVABILITY_WEIGHTS: Final = RecallWeights(similarity=0.85, recency=0.25, importance=0.1)
"""How much likeness, what is left of a memory, and importance count.

Chosen on simulated lives in which needs recur by a power law, as those of the chain were: the power curve falls more
slowly than the probability of recall, and so says less with the same weight.
"""

_NEEDS: Final[frozenset[Need]] = frozenset(
    ("importance", "created_at_ms", "last_accessed_at_ms", "reliability", "stability_days")
)


class ForgettingCurve(Protocol):
    """What is left of a memory.

    `since_use` says which age counts: that since the last use, or since creation, whatever the uses.
    """

    @property
    def name(self) -> str:
        """By which it is chosen."""

    @property
    def since_use(self) -> bool:
        """Whether age counts from the last use, not from creation."""

    def left(self, age_days: Numbers, stability_days: Numbers) -> FloatArray:
        """1 at age 0 and below, never rising with age, never negative; numbers or arrays that broadcast."""


@dataclass(frozen=True, slots=True)
class HalfLife:
    """`2^(-t / S)`: stability read as the half-life; with `half_life_days`, as the composite has it, one for all."""

    half_life_days: float | None = None
    since_use: bool = True

    def __post_init__(self) -> None:
        if self.half_life_days is not None and not 0 < self.half_life_days < math.inf:
            raise ConfigurationError(f"HalfLife.half_life_days must be above 0, got {self.half_life_days!r}")

    @property
    def name(self) -> str:
        """`half_life`."""
        return "half_life"

    def left(self, age_days: Numbers, stability_days: Numbers) -> FloatArray:
        """Half after a half-life."""
        half_life = stability_days if self.half_life_days is None else self.half_life_days * _known(stability_days)
        left: FloatArray = np.exp2(-_age(age_days) / half_life)
        return left


@dataclass(frozen=True, slots=True)
class Exponential:
    """`e^(-t/S)`."""

    since_use: bool = True

    @property
    def name(self) -> str:
        """`exponential`."""
        return "exponential"

    def left(self, age_days: Numbers, stability_days: Numbers) -> FloatArray:
        """e^-1 after a stability."""
        left: FloatArray = np.exp(-_age(age_days) / stability_days)
        return left


@dataclass(frozen=True, slots=True)
class Power:
    """FSRS-6: `(1 + F t / S90)^-decay` with `F = 0.9^(-1/decay) - 1`, so that nine tenths are left after S90.

    S90 is `S * ln(10/9)`: there the curve meets the exponential one of the same stability. Behind it forgetting slows
    down, as needs that recur by a power law want it. `decay` is `fsrs`'s twenty-first parameter.
    """

    decay: float = 0.1542
    since_use: bool = True

    def __post_init__(self) -> None:
        if not 0.1 <= self.decay <= 0.8:
            raise ConfigurationError(f"Power.decay must be a number from 0.1 to 0.8, as in FSRS, got {self.decay!r}")

    @property
    def name(self) -> str:
        """`power`."""
        return "power"

    def left(self, age_days: Numbers, stability_days: Numbers) -> FloatArray:
        """Nine tenths after S90."""
        factor = LEFT_AT_STABILITY ** (-1 / self.decay) - 1
        left: FloatArray = (1 + factor * _age(age_days) / (np.asarray(stability_days) * _AS_FSRS)) ** -self.decay
        return left


@dataclass(frozen=True, slots=True)
class Stepped:
    """Whole until the first of `steps` (days, what is left from then on), the same for every stability."""

    steps: tuple[tuple[float, float], ...] = ((1.0, 0.9), (7.0, 0.7), (30.0, 0.5), (90.0, 0.3))
    since_use: bool = False

    def __post_init__(self) -> None:
        days, left = [day for day, _ in self.steps], [share for _, share in self.steps]
        if days != sorted(set(days)) or left != sorted(left, reverse=True) or not all(0 <= one <= 1 for one in left):
            raise ConfigurationError(
                f"Stepped.steps must be days that rise with shares from 0 to 1 that fall, got {self.steps!r:.120}"
            )

    @property
    def name(self) -> str:
        """`stepped`."""
        return "stepped"

    def left(self, age_days: Numbers, stability_days: Numbers) -> FloatArray:
        """The share of the last step that is not longer than the age."""
        ages = _age(age_days)
        shares = np.array([1.0, *(share for _, share in self.steps)])
        left = shares[np.searchsorted([day for day, _ in self.steps], ages, side="right")]
        return left * _known(ages) * _known(stability_days)


@dataclass(frozen=True, slots=True)
class Linear:
    """`1 - t / (2 S)` down to 0: as much is left in all as under `e^(-t/S)`, and nothing after two stabilities."""

    since_use: bool = False

    @property
    def name(self) -> str:
        """`linear`."""
        return "linear"

    def left(self, age_days: Numbers, stability_days: Numbers) -> FloatArray:
        """Half after a stability."""
        left: FloatArray = np.maximum(1 - _age(age_days) / (2 * np.asarray(stability_days)), 0.0)
        return left


@dataclass(frozen=True, slots=True)
class AccessRefreshed:
    """Another curve that begins anew with each use, though by itself it would count from creation."""

    curve: ForgettingCurve = Stepped()

    @property
    def name(self) -> str:
        """`access_refreshed`."""
        return "access_refreshed"

    @property
    def since_use(self) -> bool:
        """True: that is all it does."""
        return True

    def left(self, age_days: Numbers, stability_days: Numbers) -> FloatArray:
        """As the curve has it."""
        return self.curve.left(age_days, stability_days)


CURVES: Final[dict[str, ForgettingCurve]] = {
    curve.name: curve for curve in (HalfLife(), Exponential(), Power(), Stepped(), Linear(), AccessRefreshed())
}
"""The curves by name, as they come."""


@options
class StabilityParameters:
    """How stability begins and grows; the constants of growth are those of FSRS-6.

    `growth` is FSRS's `e^w8 (11 - D)` for the difficulty of a card whose first answer was "good", `saturation` w9 (what
    is stable grows less), `spacing` w10 (what was nearly forgotten grows more).
    """

    base_days: Annotated[
        float, number(0.001, MAX_STABILITY_DAYS), Field(description="stability of a memory that has none, in days")
    ] = 33.0
    growth: Annotated[float, number(0, 1_000), Field(description="how much a use lets stability grow")] = 57.76
    saturation: Annotated[float, number(0, 0.8), Field(description="how much less, the stabler it is (w9)")] = 0.1666
    spacing: Annotated[float, number(0.001, 3.5), Field(description="how much more, the more faded (w10)")] = 0.796


def grown(
    stability_days: Numbers, retrievability: Numbers, parameters: StabilityParameters, *, share: Numbers = 1.0
) -> FloatArray:
    """The stability after a use, in days, `retrievability` (0 to 1) being what was left just before.

    `S' = S (1 + share * growth * S90^-saturation * (e^(spacing (1 - R)) - 1))`, S90 as in `Power`; at most a hundred
    years. `share` (0 to 1) is for a use that counts less than a whole one.

    Raises:
        InvalidInputError: a number is not finite.
    """
    stability = np.clip(finite("stability_days", stability_days), 0.001, MAX_STABILITY_DAYS)
    faded = 1 - np.clip(finite("retrievability", retrievability), 0.0, 1.0)
    more = parameters.growth * (stability * _AS_FSRS) ** -parameters.saturation * np.expm1(parameters.spacing * faded)
    after: FloatArray = np.minimum(
        stability * (1 + np.clip(finite("share", share), 0.0, 1.0) * more), MAX_STABILITY_DAYS
    )
    return after


@dataclass(frozen=True, slots=True)
class Retrievability:
    """The composite with retrievability in the place of recency: terms `similarity`, `retrievability`, `importance`,
    `doubt`; what is wholly doubted loses `doubt_weight`.

    A memory whose stability is not known has `base_days`; whoever knows its kind gives the kind's.
    """

    curve: ForgettingCurve = Power()
    base_days: float = StabilityParameters().base_days
    weights: RecallWeights = RETRIEVABILITY_WEIGHTS
    doubt_weight: float = 0.2

    @property
    def name(self) -> str:
        """`retrievability`."""
        return "retrievability"

    @property
    def needs(self) -> frozenset[Need]:
        """Times, stability and importance."""
        return _NEEDS

    def score(self, candidates: Candidates, now_ms: int) -> Scored:
        """`w_sim * relevance + w_rec * R + w_imp * importance - w_doubt * doubt`."""
        since_ms = candidates.created_at_ms
        if self.curve.since_use:
            since_ms = np.maximum(since_ms, candidates.last_accessed_at_ms)
        stability = candidates.stability_days
        if stability is None:
            stability = np.full(len(candidates), self.base_days)
        else:
            stability = or_else(stability, self.base_days)
        left = self.curve.left(elapsed_days(since_ms, now_ms), stability)
        return summed(
            Term("similarity", candidates.relevance, self.weights.similarity),
            Term("retrievability", left, self.weights.recency),
            Term("importance", candidates.importance, self.weights.importance),
            Term("doubt", 0.0 - doubt(candidates), self.doubt_weight),
        )

    def ceiling(self, relevance: float) -> float:
        """Just used, and as important as can be."""
        return self.weights.similarity * relevance + self.weights.recency + self.weights.importance


def _age(age_days: Numbers) -> FloatArray:
    age: FloatArray = np.maximum(age_days, 0.0)
    return age


def _known(values: Numbers) -> FloatArray:
    """1 for each, and NaN for what is not a number, which a table would else make one of."""
    known: FloatArray = np.where(np.isnan(values), np.nan, 1.0)
    return known
