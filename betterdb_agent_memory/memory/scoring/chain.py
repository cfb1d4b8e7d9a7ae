"""The Memory Chain: a working trace that forms fast and fades fast feeds a core trace that stays.

Murre, Chessa & Meeter (2013), *A mathematical model of forgetting and amnesia*, Front. Psychol. 4:76. Days after the
traces were w0 and c0, without a use in between,

    w(t) = w0 e^(-a1 t)      c(t) = c0 e^(-a2 t) + g w0 (e^(-a2 t) - e^(-a1 t)) / (a1 - a2)      p(t) = 1 - e^-(w + c)

where p is the probability of recall. The gain is ours: `g = transfer * (0.2 + importance^2)`, so that what matters
passes into the core. Being a closed form, it needs no pass over the memories: strength is a function of the time that
is asked about, `ahead(a)` and then `ahead(b)` is `ahead(a + b)`, and only a use is ever written down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.memory.scoring.base import (
    STRENGTH_WEIGHTS,
    BoolArray,
    Candidates,
    FloatArray,
    Need,
    Numbers,
    Scored,
    Term,
    doubt,
    elapsed_days,
    finite,
    summed,
)
from betterdb_agent_memory.options import RecallWeights
from betterdb_agent_memory.options.checks import number, options

Layer: TypeAlias = Literal["archive", "working", "core"]
"""Where a memory stands, from the weakest on."""

LAYERS: Final[tuple[Layer, ...]] = get_args(Layer)

_RATE: Final = number(0, 100, above=True, unit=" a day")
_MOST_STRENGTH: Final = 1_000
_STRENGTH: Final = number(0, _MOST_STRENGTH)
_NEEDS: Final[frozenset[Need]] = frozenset(
    (
        "importance",
        "created_at_ms",
        "last_accessed_at_ms",
        "access_count",
        "reliability",
        "working",
        "core",
        "strength_at_ms",
    )
)
_NEARLY_EQUAL: Final = 1e-3
_EQUAL: Final = 1e-15
"""Rates that are closer than this are one: over a million days the difference is less than the rounding."""


@options
class ChainParameters:
    """The rates a day (a1 `working_decay`, a2 `core_decay`, and `transfer`, from which the gain is made), what writing
    and a use add, and the bounds of layers.

    A memory is core once its core trace reaches `promote_at`, until working and core together are less than
    `demote_below`; otherwise it is in the archive while both traces are below `archive_below`. One whose traces add up
    to less than `forget_below` may be forgotten.

    >>> ChainParameters(promote_at=0.1)
    Traceback (most recent call last):
    betterdb_agent_memory.errors.ConfigurationError: ChainParameters.promote_at must be at least archive_below (0.15) \
and demote_below (0.05), got 0.1
    """

    working_decay: Annotated[float, _RATE, Field(description="a1: how fast the working trace fades, a day")] = 0.15
    core_decay: Annotated[float, _RATE, Field(description="a2: how fast the core trace fades, a day")] = 0.005
    transfer: Annotated[float, _RATE, Field(description="what the working trace feeds the core trace, a day")] = 0.08
    initial: Annotated[
        float, number(0, 100, above=True), Field(description="working trace of what was just written")
    ] = 1.0
    learning: Annotated[
        float, number(0, 100, above=True), Field(description="what a use adds to a memory that had faded")
    ] = 1.0
    recall_share: Annotated[float, number(0, 1), Field(description="share of a use that a mere recall is")] = 0.05
    promote_at: Annotated[float, _STRENGTH, Field(description="core trace from which a memory is core")] = 0.25
    demote_below: Annotated[float, _STRENGTH, Field(description="strength below which it leaves the core")] = 0.05
    archive_below: Annotated[float, _STRENGTH, Field(description="both traces of a memory in the archive")] = 0.15
    forget_below: Annotated[float, _STRENGTH, Field(description="strength of what may be forgotten")] = 0.01

    def __post_init__(self) -> None:
        if self.promote_at < max(self.archive_below, self.demote_below):
            raise ConfigurationError(
                f"ChainParameters.promote_at must be at least archive_below ({self.archive_below:g}) and demote_below "
                f"({self.demote_below:g}), got {self.promote_at:g}"
            )


DEFAULT_CHAIN: Final = ChainParameters()


@dataclass(frozen=True, slots=True)
class Traces:
    """How strong the two traces are, at a time that the caller knows; numbers or arrays, not negative."""

    working: Numbers
    core: Numbers

    @property
    def strength(self) -> FloatArray:
        """Both together."""
        return np.asarray(self.working) + self.core

    @property
    def probability(self) -> FloatArray:
        """How likely the memory is to be recalled, 0 to 1: `1 - e^-strength`."""
        probability: FloatArray = 1 - np.exp(-self.strength)
        return probability


def gain(importance: Numbers, parameters: ChainParameters) -> FloatArray:
    """What a working trace of 1 adds to the core trace in a day: more, the more important the memory is (0 to 1)."""
    share: FloatArray = parameters.transfer * (0.2 + np.clip(importance, 0.0, 1.0) ** 2)
    return share


def ahead(traces: Traces, importance: Numbers, days: Numbers, parameters: ChainParameters) -> Traces:
    """The traces so many days later, if the memory is not used; negative days are none."""
    days = np.maximum(days, 0.0)
    left_of_working = np.exp(-parameters.working_decay * days)
    left_of_core = np.exp(-parameters.core_decay * days)
    apart = parameters.working_decay - parameters.core_decay
    if abs(apart) > _NEARLY_EQUAL:
        through = (left_of_core - left_of_working) / apart
    else:
        # The difference of nearly equal numbers would be mostly rounding; for equal rates this is t e^(-a t).
        slow = min(parameters.working_decay, parameters.core_decay)
        through = np.exp(-slow * days) * (days if abs(apart) < _EQUAL else -np.expm1(-abs(apart) * days) / abs(apart))
    fed = gain(importance, parameters) * traces.working * through
    return Traces(traces.working * left_of_working, traces.core * left_of_core + fed)


def reinforced(
    traces: Traces, importance: Numbers, days: Numbers, parameters: ChainParameters, *, share: Numbers = 1.0
) -> Traces:
    """The traces right after a use, `days` after they were `traces`.

    A use adds `learning * e^-w` to the working trace w: what it would still bring back by itself learns little, so
    that uses far apart do more than as many in a row (the spacing effect). What was core when it was used is core
    again: its core trace is at least `promote_at`. `share` (0 to 1) is for a use that counts less than a
    whole one: a memory that was recalled and not needed has had `recall_share` of one.

    Raises:
        InvalidInputError: a number is not finite.
    """
    for name, value in {
        "working": traces.working,
        "core": traces.core,
        "importance": importance,
        "days": days,
        "share": share,
    }.items():
        finite(name, value)
    return _used(traces, importance, days, parameters, np.clip(share, 0.0, 1.0))


def layer_numbers(traces: Traces, importance: Numbers, days: Numbers, parameters: ChainParameters) -> NDArray[np.int64]:
    """The place in `LAYERS` of a memory whose traces were `traces` so many days ago, and that was not used since.

    Derived, never stored: a use makes a memory of the archive a working one again.
    """
    then = ahead(traces, importance, days, parameters)
    is_core = _is_core(traces, then, importance, days, parameters)
    in_archive = np.maximum(then.working, then.core) < parameters.archive_below
    return np.where(is_core, 2, np.where(in_archive, 0, 1))


def layer(traces: Traces, importance: float, days: float, parameters: ChainParameters) -> Layer:
    """`layer_numbers` of one memory, by name."""
    return LAYERS[int(layer_numbers(traces, importance, days, parameters))]


def forgettable(traces: Traces, parameters: ChainParameters) -> BoolArray:
    """Whether a memory has so little left that it may be forgotten: a strength below `forget_below`."""
    weak: BoolArray = traces.strength < parameters.forget_below
    return weak


def current_traces(candidates: Candidates, now_ms: float, parameters: ChainParameters) -> tuple[Traces, FloatArray]:
    """The traces as they were when a memory was last used, and the days since.

    A memory without traces, or with such as no use makes, has the initial ones from its creation on. One that was
    recalled after its traces were written, by a client that keeps none, has had one recall then: so it is a full
    citizen. Whether it was core until then is told from all its recalls, as if they lay evenly between its creation and
    the last one: what is used every week stays in the core, and what is used once after years does not come back.
    """
    nothing = np.full(len(candidates), np.nan)
    at_ms = nothing if candidates.strength_at_ms is None else candidates.strength_at_ms
    working = nothing if candidates.working is None else candidates.working
    core = nothing if candidates.core is None else candidates.core
    fresh = np.isnan(at_ms) | ~_can_be_strength(working) | ~_can_be_strength(core)
    traces = Traces(np.where(fresh, parameters.initial, working), np.where(fresh, 0.0, core))
    since_ms = np.where(fresh, candidates.created_at_ms, at_ms)
    used_later = (candidates.last_accessed_at_ms > since_ms) & (candidates.access_count > 0)
    if used_later.any():
        # All at once and chosen afterwards, which numpy does faster than to pick and put back.
        used_ms = candidates.last_accessed_at_ms
        since = elapsed_days(since_ms, used_ms)
        used = _used(traces, candidates.importance, since, parameters, parameters.recall_share)
        core = np.asarray(used.core)
        if parameters.recall_share > 0:
            between = elapsed_days(candidates.created_at_ms, used_ms) / np.maximum(candidates.access_count, 1.0)
            kept = _stayed_core(traces, candidates.importance, since, between, used_later, parameters)
            core = np.where(kept, np.maximum(core, parameters.promote_at), core)
        traces = Traces(np.where(used_later, used.working, traces.working), np.where(used_later, core, traces.core))
        since_ms = np.where(used_later, used_ms, since_ms)
    return traces, elapsed_days(since_ms, now_ms)


@dataclass(frozen=True, slots=True)
class Chain:
    """The composite with the probability of recall in the place of recency: terms `similarity`, `strength`,
    `importance`, `doubt`; what is wholly doubted loses `doubt_weight`.
    """

    parameters: ChainParameters = DEFAULT_CHAIN
    weights: RecallWeights = STRENGTH_WEIGHTS
    doubt_weight: float = 0.2

    @property
    def name(self) -> str:
        """`chain`."""
        return "chain"

    @property
    def needs(self) -> frozenset[Need]:
        """The traces, and what stands for them where there are none."""
        return _NEEDS

    def score(self, candidates: Candidates, now_ms: int) -> Scored:
        """`w_sim * relevance + w_rec * p + w_imp * importance - w_doubt * doubt`."""
        traces, days = current_traces(candidates, now_ms, self.parameters)
        strength = ahead(traces, candidates.importance, days, self.parameters).probability
        return summed(
            Term("similarity", candidates.relevance, self.weights.similarity),
            Term("strength", strength, self.weights.recency),
            Term("importance", candidates.importance, self.weights.importance),
            Term("doubt", 0.0 - doubt(candidates), self.doubt_weight),
        )

    def ceiling(self, relevance: float) -> float:
        """Certain to be recalled, and as important as can be."""
        return self.weights.similarity * relevance + self.weights.recency + self.weights.importance


def _used(
    traces: Traces, importance: Numbers, days: Numbers, parameters: ChainParameters, share: Numbers = 1.0
) -> Traces:
    """As `reinforced`; a number that is not finite stays so, so that the score made of it is not ranked."""
    then = ahead(traces, importance, days, parameters)
    was_core = _is_core(traces, then, importance, days, parameters) & (np.asarray(share) > 0)
    core = np.where(was_core, np.maximum(then.core, parameters.promote_at), then.core)
    return Traces(then.working + parameters.learning * share * np.exp(-then.working), core)


def _is_core(
    before: Traces, then: Traces, importance: Numbers, days: Numbers, parameters: ChainParameters
) -> BoolArray:
    """Whether the core trace was `promote_at` at any time since, and the memory has not faded below the bound.

    Behind the peak of its core trace strength only falls, so a memory that was demoted has not come back.
    """
    core, strength = np.asarray(then.core), then.strength
    is_core: BoolArray = (core >= parameters.promote_at) & (strength >= parameters.demote_below)
    # More than that has never passed into it, so that most memories are told without looking for the peak.
    most = before.core + gain(importance, parameters) * before.working / parameters.working_decay
    open_question = (~is_core) & (strength >= parameters.demote_below) & (most >= parameters.promote_at)
    if open_question.any():
        top = ahead(before, importance, np.minimum(days, _peak_days(before, importance, parameters)), parameters)
        is_core = is_core | (open_question & (np.asarray(top.core) >= parameters.promote_at))
    return is_core


def _can_be_strength(trace: FloatArray) -> BoolArray:
    """One that is damaged would otherwise be the mean of a store, by which all others are scaled down."""
    possible: BoolArray = (trace >= 0) & (trace <= _MOST_STRENGTH)
    return possible


def _stayed_core(
    traces: Traces, importance: Numbers, days: Numbers, between: Numbers, asked: BoolArray, parameters: ChainParameters
) -> BoolArray:
    """Whether a memory became core within `days` and was used again each time before it would have left, with so many
    days `between` two uses. Told of those that are `asked` about, and otherwise false.

    Each use makes the core trace of a core memory `promote_at` again, so two conditions do for any number of them: the
    first use after the peak comes before the strength is below the bound, and so does each one after `promote_at`.
    """
    stayed: BoolArray = np.zeros(asked.shape, dtype=bool)
    lasts = parameters.promote_at * np.exp(-parameters.core_decay * np.asarray(between)) >= parameters.demote_below
    most = np.asarray(traces.core) + gain(importance, parameters) * traces.working / parameters.working_decay
    places = np.flatnonzero(asked & lasts & (most >= parameters.promote_at))
    if places.size:
        some = Traces(np.asarray(traces.working)[places], np.asarray(traces.core)[places])
        matters, within = np.asarray(importance)[places], np.asarray(days)[places]
        peak = np.minimum(_peak_days(some, matters, parameters), within)
        top = np.asarray(ahead(some, matters, peak, parameters).core)
        first_use = np.minimum(peak + np.asarray(between)[places], within)
        strength = ahead(some, matters, first_use, parameters).strength
        stayed[places] = (top >= parameters.promote_at) & (strength >= parameters.demote_below)
    return stayed


def _peak_days(traces: Traces, importance: Numbers, parameters: ChainParameters) -> FloatArray:
    """When the core trace is strongest: there what it gains, `g w`, is what it loses, `a2 c`."""
    apart = parameters.working_decay - parameters.core_decay
    fed = gain(importance, parameters) * traces.working
    rising = fed - parameters.core_decay * np.asarray(traces.core)
    whole = parameters.core_decay * (fed + apart * np.asarray(traces.core))
    grows = rising > 0
    # Where it rises at all, `whole` is positive whichever rate is the larger.
    ratio = np.where(grows, rising, 0.0) / np.where(grows, whole, 1.0)
    peak: FloatArray = ratio if abs(apart) < _EQUAL else np.log1p(apart * ratio) / apart
    return peak
