"""Which model scores: a name for one that comes with the library, or a model of one's own."""

from __future__ import annotations

from typing import Final, TypeAlias

from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError
from betterdb_agent_memory.memory.scoring.activation import Activation
from betterdb_agent_memory.memory.scoring.base import ScoringModel
from betterdb_agent_memory.memory.scoring.chain import Chain
from betterdb_agent_memory.memory.scoring.retrievability import Retrievability
from betterdb_agent_memory.options import SCORINGS, RecallWeights, Scoring

ScoringChoice: TypeAlias = Scoring | ScoringModel
"""A name, for the model as it comes, weighed by the weights in force; or a model, which brings its own."""

COMPOSITE: Final[Scoring] = "composite"


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


def model_for(choice: ScoringChoice, weights: RecallWeights) -> ScoringModel | None:
    """The model of a choice; None for the composite by its name, which needs none."""
    if not isinstance(choice, str):
        return choice
    if choice == "activation":
        return Activation()
    if choice == "chain":
        return Chain(weights=weights)
    return Retrievability(weights=weights) if choice == "retrievability" else None
