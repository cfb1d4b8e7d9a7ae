"""How far a memory is believed: reliability of its content, and whether it is likely to hold still.

A memory starts with the reliability of its kind. Outcomes are evidence: reliability becomes the mean of a Beta
distribution, the kind's worth `prior_weight` uses (Gelman et al., *Bayesian Data Analysis*, ch. 2). What did not help
was mostly not what was meant, and no less true, so it counts little against a memory. A contradiction
lowers it by a factor, and no pin takes that back. Confidence is reliability, less what forgetting takes; whether x %
of what is believed to x % turns out right is measured, and mended, in `dynamics/calibration.py`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError
from betterdb_agent_memory.memory.scoring.base import BoolArray, FloatArray, Numbers, finite
from betterdb_agent_memory.options.checks import number, options

ConfidenceLabel: TypeAlias = Literal["vague", "uncertain", "likely", "certain"]

LABELS: Final[tuple[ConfidenceLabel, ...]] = get_args(ConfidenceLabel)

_SHARE: Final = number(0, 1)


@options
class ConfidenceParameters:
    """What is believed of a memory, and what the belief is called.

    Evidence weighs against `prior_weight` uses' worth of the
    kind's reliability; a use that was not good counts `blame` of one that was. Of a memory that is wholly forgotten
    `faded_share` of the reliability is left as confidence. Labels begin at `certain_from`, `likely_from` and
    `uncertain_from`; below them a memory is vague.
    """

    pinned_at_least: Annotated[float, _SHARE, Field(description="reliability of a pinned memory, at least")] = 0.95
    prior_weight: Annotated[
        float, number(0.01, 1_000), Field(description="uses that the first belief is worth against evidence")
    ] = 4.0
    blame: Annotated[float, _SHARE, Field(description="how much a use that was not good says of the content")] = 0.1
    faded_share: Annotated[float, _SHARE, Field(description="share of reliability that forgetting leaves")] = 0.5
    certain_from: Annotated[float, _SHARE, Field(description="confidence called certain")] = 0.8
    likely_from: Annotated[float, _SHARE, Field(description="confidence called likely")] = 0.6
    uncertain_from: Annotated[float, _SHARE, Field(description="confidence called uncertain")] = 0.4

    def __post_init__(self) -> None:
        if not self.uncertain_from <= self.likely_from <= self.certain_from:
            raise ConfigurationError(
                "ConfidenceParameters.uncertain_from, likely_from and certain_from must not fall, "
                f"got {self.uncertain_from:g}, {self.likely_from:g}, {self.certain_from:g}"
            )


DEFAULT_CONFIDENCE: Final = ConfidenceParameters()

CONTRADICTED: Final = 0.3
"""What a contradiction leaves of reliability. It is written down, so all workers of a store have to go by it."""


def contradicted(reliability: Numbers) -> FloatArray:
    """What one contradiction leaves of a reliability; two are this twice.

    Raises:
        InvalidInputError: a reliability is not finite.
    """
    return np.clip(finite("reliability", reliability), 0.0, 1.0) * CONTRADICTED


def believed(
    reliability: Numbers,
    kind_reliability: Numbers,
    parameters: ConfidenceParameters,
    *,
    pinned: bool | BoolArray = False,
    uses: Numbers = 0.0,
    successes: Numbers = 0.0,
) -> FloatArray:
    """The reliability, 0 to 1, with all that is known; numbers or arrays that broadcast.

    `reliability` is the memory's, `kind_reliability` that of its kind: where the former is lower, somebody doubts the
    memory, and what a pin promises (`pinned_at_least`) is lowered by the same factor. `uses` and `successes` count
    recalls that had an outcome, a partial success in part; of the failures `blame` counts.
    """
    own = np.clip(reliability, 0.0, 1.0)
    doubt = np.minimum(own / np.maximum(kind_reliability, 1e-9), 1.0)
    # A pin speaks for the content, and evidence against the pin counts as evidence.
    prior = np.where(pinned, np.maximum(own, parameters.pinned_at_least * doubt), own)
    good = np.clip(successes, 0.0, np.maximum(uses, 0.0))
    bad = parameters.blame * (np.maximum(uses, 0.0) - good)
    mean: FloatArray = (prior * parameters.prior_weight + good) / (parameters.prior_weight + good + bad)
    return mean


def confidence(reliability: Numbers, retrievability: Numbers, parameters: ConfidenceParameters) -> FloatArray:
    """`reliability * (f + (1 - f) * retrievability)`, 0 to 1, f the share that forgetting leaves.

    What was true once is true less often, the longer nobody has come back to it.
    """
    left = parameters.faded_share + (1 - parameters.faded_share) * np.clip(retrievability, 0.0, 1.0)
    sure: FloatArray = np.clip(reliability, 0.0, 1.0) * left
    return sure


def label_numbers(values: Numbers, parameters: ConfidenceParameters) -> NDArray[np.int64]:
    """The places in `LABELS` of confidences from 0 to 1.

    Raises:
        InvalidInputError: a confidence is no number.
    """
    if np.isnan(values).any():
        raise InvalidInputError("a confidence must be a number from 0 to 1, got NaN")
    bounds = [parameters.uncertain_from, parameters.likely_from, parameters.certain_from]
    return np.searchsorted(bounds, values, side="right")


def label(value: float, parameters: ConfidenceParameters) -> ConfidenceLabel:
    """What a confidence is called.

    >>> [label(value, ConfidenceParameters()) for value in (0.2, 0.4, 0.7, 0.8)]
    ['vague', 'uncertain', 'likely', 'certain']
    """
    return LABELS[int(label_numbers(value, parameters))]
