"""Which model scores: a name for one that comes with the library, or a model of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError
from betterdb_agent_memory.memory.scoring.activation import DEFAULT_ACTIVATION, Activation, ActivationParameters
from betterdb_agent_memory.memory.scoring.base import STRENGTH_WEIGHTS, ScoringModel
from betterdb_agent_memory.memory.scoring.chain import DEFAULT_CHAIN, Chain, ChainParameters
from betterdb_agent_memory.memory.scoring.retrievability import (
    RETRIEVABILITY_WEIGHTS,
    Retrievability,
    StabilityParameters,
)
from betterdb_agent_memory.memory.standing.confidence import DEFAULT_CONFIDENCE, ConfidenceParameters
from betterdb_agent_memory.options import SCORINGS, RecallWeights, Scoring

ScoringChoice: TypeAlias = Scoring | ScoringModel
"""A name, for the model as it comes; or a model with parameters and weights of its own."""

COMPOSITE: Final[Scoring] = "composite"

_DEFAULT_STABILITY: Final = StabilityParameters()


@dataclass(frozen=True, slots=True)
class ScoringParameters:
    """What the models are made of that are chosen by name, and by which hits stand and are believed: those of a preset
    of dynamics, or the defaults.
    """

    activation: ActivationParameters = DEFAULT_ACTIVATION
    chain: ChainParameters = DEFAULT_CHAIN
    stability: StabilityParameters = _DEFAULT_STABILITY
    confidence: ConfidenceParameters = DEFAULT_CONFIDENCE


DEFAULT_SCORING_PARAMETERS: Final = ScoringParameters()


def checked_scoring(value: object) -> ScoringChoice:
    """A known name or a model.

    Raises:
        InvalidInputError: it is neither; the message lists the names.
    """
    for known in SCORINGS:
        if value == known:
            return known
    if isinstance(value, ScoringModel) and not isinstance(value, type):
        try:
            hash(value)
        except TypeError:
            raise InvalidInputError(
                f"a ScoringModel must be hashable, as a frozen dataclass is: answers are kept by it. Got {value!r:.80}"
            ) from None
        return value
    raise InvalidInputError(
        f"scoring must be one of {', '.join(map(repr, SCORINGS))} or a ScoringModel, got {value!r:.80}"
    )


def configured_scoring(value: object) -> ScoringChoice:
    """As `checked_scoring`, for what a store is made with.

    Raises:
        ConfigurationError: it is neither a name nor a model.
    """
    try:
        return checked_scoring(value)
    except InvalidInputError as error:
        raise ConfigurationError(str(error)) from None


def reads_cues(choice: ScoringChoice) -> bool:
    """Whether the context of a question changes its scores."""
    model = model_for(choice, None)
    return model is not None and "cues" in model.needs


def model_for(
    choice: ScoringChoice, weights: RecallWeights | None, parameters: ScoringParameters = DEFAULT_SCORING_PARAMETERS
) -> ScoringModel | None:
    """The model of a choice, by its name with these parameters; None for the composite by its name, which needs none.

    `weights` are those of the call. Those in force are the composite's, and would weigh something else here: what is
    left of a memory counts for more than how fresh it is.
    """
    if not isinstance(choice, str):
        return choice
    if choice == "activation":
        return Activation(parameters.activation)
    if choice == "chain":
        return Chain(parameters.chain, weights=weights or STRENGTH_WEIGHTS)
    if choice == "retrievability":
        return Retrievability(base_days=parameters.stability.base_days, weights=weights or RETRIEVABILITY_WEIGHTS)
    return None
