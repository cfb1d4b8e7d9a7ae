"""ACT-R's activation: the log of the odds that a memory is needed, from when it was used and what the context is.

    A_i = B_i + W/m * sum_j (S - ln fan_j) + P * relevance_i + w * importance_i - D * doubt_i

`B_i`, the base level, is `ln sum_k (now - t_k)^-d` over the memory's uses (Anderson 2007, *How Can the Human Mind Occur
in the Physical Universe?*, ch. 3). A store keeps no list of all uses: Petrov's hybrid (2006, *Computationally efficient
approximation of the base-level learning equation in ACT-R*, Proc. 7th ICCM, 391-392) takes the last ones exactly and
spreads the others evenly over the time before.

What a search brings up is not yet of use: a memory that was recalled with others, and not needed, would push itself up
with every recall. So a recall counts as a small share of a use, and one that helped as a whole one. Likeness to the
question is a cue of its own, as in ACT-R's partial matching: among memories used alike it decides. What is doubted
loses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from pydantic import Field

from betterdb_agent_memory.memory.scoring.base import (
    BoolArray,
    Candidates,
    FloatArray,
    Need,
    Number,
    Numbers,
    Scored,
    Term,
    doubt,
    or_else,
    summed,
)
from betterdb_agent_memory.options.checks import number, options

FLOOR_SECONDS: Final = 0.001
"""The least age of a use: time stamps have milliseconds, and no age gives no finite power."""

RECENT: Final = 4
"""Access times that a memory keeps."""

_MOST_USES: Final = 1e12
"""More of them than can be told of a memory; a count that is damaged is to be no infinity."""

_NEEDS: Final[frozenset[Need]] = frozenset(
    (
        "importance",
        "created_at_ms",
        "last_accessed_at_ms",
        "access_count",
        "recent_ms",
        "successes",
        "reliability",
        "cues",
    )
)
_CLOSE: Final = 1e-9


@options
class ActivationParameters:
    """What activation is made of; `decay` is ACT-R's d, `association` its S, `context_weight` its W.

    A cue that more than e^S memories share says nothing. `threshold` (tau) and `noise` (s) make a probability of the
    activation: at the threshold it is one half.

    >>> ActivationParameters(noise=0)
    Traceback (most recent call last):
    betterdb_agent_memory.errors.ConfigurationError: ActivationParameters.noise must be a number from 0.01 to 100, got 0
    """

    decay: Annotated[float, number(0.01, 0.99), Field(description="how fast a use loses its effect (d)")] = 0.5
    recall_share: Annotated[float, number(0, 1), Field(description="share of a use that a mere recall is")] = 0.02
    similarity_weight: Annotated[float, number(0, 1_000), Field(description="weight of relevance (P)")] = 18.0
    context_weight: Annotated[float, number(0, 1_000), Field(description="weight of all cues together (W)")] = 1.5
    importance_weight: Annotated[float, number(0, 1_000), Field(description="weight of the importance prior")] = 0.5
    doubt_weight: Annotated[float, number(0, 1_000), Field(description="what a wholly doubted one loses (D)")] = 4.0
    association: Annotated[float, number(0, 100), Field(description="how much a cue of one memory says (S)")] = 4.0
    threshold: Annotated[float, number(-1_000, 1_000), Field(description="activation of even odds (tau)")] = 8.0
    noise: Annotated[float, number(0.01, 100), Field(description="how soft that threshold is (s)")] = 1.0


DEFAULT_ACTIVATION: Final = ActivationParameters()


def exact_base_level(ages_seconds: FloatArray, decay: float = 0.5) -> FloatArray:
    """`ln sum_k age_k^-decay` over the last axis: what the approximation is measured against.

    NaN is a use that there was not; ages are floored at a millisecond.
    """
    powers = np.maximum(ages_seconds, FLOOR_SECONDS) ** -decay
    level: FloatArray = np.log(np.nansum(powers, axis=-1))
    return level


def base_level(
    now_ms: float,
    *,
    created_at_ms: FloatArray,
    last_accessed_at_ms: FloatArray,
    access_count: FloatArray,
    recent_ms: FloatArray | None = None,
    decay: float = 0.5,
) -> FloatArray:
    """Petrov's hybrid: the last use exactly, or with `recent_ms` (a row a memory, NaN for none) those as well, and the
    others as if spread evenly from the creation on.

    Writing is a use, so there are `access_count + 1`. With a decay of .5 and without `recent_ms` it is
    `ln(1/sqrt(last) + 2 n / (sqrt(age) + sqrt(last)))`, ages in seconds and floored at a millisecond. With
    `recent_ms` the creation, too, counts exactly, and so does a last access that is later than all of them, by a
    client that does not keep them; a memory that has none of them is as without. How close it comes on simulated
    histories: docs/dynamics.md.
    """
    age, last = _age(now_ms, created_at_ms), _age(now_ms, last_accessed_at_ms)
    if recent_ms is None:
        return np.log(_sum_by_last(age, last, access_count, decay))
    return np.log(_sum_by_recent(age, last, access_count, _age(now_ms, recent_ms), decay))


def level_of_uses(candidates: Candidates, now_ms: float, parameters: ActivationParameters) -> FloatArray:
    """The base level where a recall is `recall_share` of a use, and one that helped a whole one.

    Powers of ages add up, so the sum is that of the writing, of all recalls by their share, and of those that helped.
    When they were is not kept: the last of them is taken to have been the last recall. A recall before the writing, by
    a clock behind that of who wrote, counts as at the writing.
    """
    decay, share, count = parameters.decay, parameters.recall_share, candidates.access_count
    age = _age(now_ms, candidates.created_at_ms)
    # Else what a success adds could be less than nothing, and the sum have no logarithm.
    last = np.minimum(_age(now_ms, candidates.last_accessed_at_ms), age)
    written = _power(age, decay)
    if candidates.recent_ms is None:
        recalled = _sum_by_last(age, last, count, decay)
    else:
        recalled = _sum_by_recent(age, last, count, _age(now_ms, candidates.recent_ms), decay)
    total = (1 - share) * written + share * recalled
    if candidates.successes is not None:
        helped = np.clip(or_else(candidates.successes, 0.0), 0.0, _MOST_USES)
        # Of a first success in part that part.
        total += np.minimum(helped, 1.0) * (_sum_by_last(age, last, np.maximum(helped, 1.0), decay) - written)
    level: FloatArray = np.log(total)
    return level


def association(fans: FloatArray, strength: float) -> FloatArray:
    """What each cue says of a memory that has it: `S - ln(fan)`, never less than nothing.

    The fan counts the memories that have the cue; one that nobody else has says S. Where S is smaller than ln(fan),
    ACT-R would make the cue speak against the memories that have it; here it is silent.
    """
    said: FloatArray = np.maximum(strength - np.log(np.maximum(fans, 1.0)), 0.0)
    return said


def spreading(cues: BoolArray, fans: FloatArray, strength: float) -> FloatArray:
    """Activation from the cues for each memory: the mean of what those say that it has, over all `m` cues.

    `cues` is true where a memory (row) has a cue (column). Attention is shared: `W_j = W / m`, so more cues do not add
    up to more than one; W is the weight of the term.
    """
    if not cues.shape[1]:
        return np.zeros(len(cues))
    shared: FloatArray = cues @ association(fans, strength) / cues.shape[1]
    return shared


def retrieval_probability(activation: Numbers, threshold: float, noise: float) -> FloatArray:
    """`1 / (1 + e^((tau - A) / s))`, 0 to 1.

    >>> float(retrieval_probability(4.0, threshold=4.0, noise=1.0))
    0.5
    """
    # tanh does not overflow, whatever the activation.
    probability: FloatArray = 0.5 + 0.5 * np.tanh((np.asarray(activation) - threshold) / (2 * noise))
    return probability


@dataclass(frozen=True, slots=True)
class Activation:
    """Activation as a model: terms `base_level`, `similarity`, `context`, `importance`, `doubt`."""

    parameters: ActivationParameters = DEFAULT_ACTIVATION

    @property
    def name(self) -> str:
        """`activation`."""
        return "activation"

    @property
    def needs(self) -> frozenset[Need]:
        """Times and counts of use, cues, importance and doubt."""
        return _NEEDS

    def score(self, candidates: Candidates, now_ms: int) -> Scored:
        """The activation of each candidate, in nats."""
        ours = self.parameters
        base = level_of_uses(candidates, now_ms, ours)
        if candidates.cues is None or candidates.fans is None:
            context = np.zeros(len(candidates))
        else:
            context = spreading(candidates.cues, candidates.fans, ours.association)
        parts = self.parts(base, candidates.relevance, context, candidates.importance, doubt(candidates))
        return summed(*(Term(*part) for part in parts))

    def parts(
        self, base: Number, relevance: Number, context: Number, importance: Number, doubted: Number
    ) -> tuple[tuple[str, Number, float], ...]:
        """What the score of one memory, or of each of an array, is the sum of: names, values and weights."""
        ours = self.parameters
        return (
            ("base_level", base, 1.0),
            ("similarity", relevance, ours.similarity_weight),
            ("context", context, ours.context_weight),
            ("importance", importance, ours.importance_weight),
            ("doubt", 0.0 - doubted, ours.doubt_weight),
        )

    def ceiling(self, relevance: float) -> float:
        """Infinity: a memory that nobody looked at may have been used any number of times."""
        return np.inf


def _sum_by_last(age: FloatArray, last: FloatArray, count: FloatArray, decay: float) -> FloatArray:
    """The powers of the writing and `count` accesses: of the last one exactly, of the others as if spread evenly."""
    return _power(last, decay) + count * _mean_power(last, np.maximum(age, last), decay)


def _sum_by_recent(
    age: FloatArray, last: FloatArray, count: FloatArray, recent: FloatArray, decay: float
) -> FloatArray:
    """The same, of the writing and of those accesses exactly whose ages are known (a row a memory); where none is, as
    `_sum_by_last` has it.
    """
    total, newest, oldest, known = _power(age, decay), np.full_like(age, np.inf), np.zeros_like(age), np.zeros_like(age)
    # By column: numpy is slow along an axis of four.
    for ages in recent.T:
        there = ~np.isnan(ages)
        total = total + np.where(there, _power(ages, decay), 0.0)
        newest, oldest = np.fmin(newest, ages), np.fmax(oldest, ages)
        known += there
    # Half a second: two clocks may have written the two fields, but hardly about two recalls. The last access of a
    # memory that has had none is its creation.
    apart = (last < newest - 0.5) & (count > 0)
    total += np.where(apart, _power(last, decay), 0.0)
    oldest, known = np.fmax(oldest, np.where(apart, last, 0.0)), known + apart
    unknown = np.isnan(recent).all(axis=1)
    since = np.where(unknown, age, oldest)
    by_recent = total + np.maximum(count - known, 0.0) * _mean_power(since, np.maximum(age, since), decay)
    return np.where(unknown, _sum_by_last(age, last, count, decay), by_recent) if unknown.any() else by_recent


def _age(now_ms: float, at_ms: FloatArray) -> FloatArray:
    age: FloatArray = np.maximum((now_ms - at_ms) / 1000, FLOOR_SECONDS)
    return age


def _power(ages: FloatArray, decay: float) -> FloatArray:
    # The usual decay is a root, which takes a tenth of the time of a power.
    power: FloatArray = 1 / np.sqrt(ages) if decay == 0.5 else ages**-decay
    return power


def _mean_power(since: FloatArray, until: FloatArray, decay: float) -> FloatArray:
    """The mean of `t^-decay` over the ages from `since` to `until`."""
    if decay == 0.5:
        return 2 / (np.sqrt(since) + np.sqrt(until))
    # As a share of the power at `since`, which stays exact where the ages are nearly equal.
    longer = until / since - 1
    rest = 1 - decay
    close = longer < _CLOSE
    share = np.expm1(rest * np.log1p(longer)) / (rest * np.where(close, 1.0, longer))
    return _power(since, decay) * np.where(close, 1.0, share)
