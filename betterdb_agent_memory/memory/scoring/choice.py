"""Which model scores: a name for one that comes with the library, or a model of one's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeAlias

from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError
from betterdb_agent_memory.memory.scoring.activation import Activation
from betterdb_agent_memory.memory.scoring.base import ScoringModel
from betterdb_agent_memory.memory.scoring.chain import Chain
from betterdb_agent_memory.memory.scoring.retrievability import Retrievability
from betterdb_agent_memory.options import SCORINGS, RecallWeights, Scoring

ScoringChoice: TypeAlias = Scoring | ScoringModel
"""A name, for the model as it comes; or a model with parameters and weights of its own."""

COMPOSITE: Final[Scoring] = "composite"

_ACTIVATION: Final = Activation()
_CHAIN: Final = Chain()
_RETRIEVABILITY: Final = Retrievability()


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


def model_for(choice: ScoringChoice, weights: RecallWeights | None) -> ScoringModel | None:
    """The model of a choice; None for the composite by its name, which needs none.

    `weights` are those of the call. Those in force are the composite's, and would weigh something else here: what is
    left of a memory counts for more than how fresh it is.
    """
    if not isinstance(choice, str):
        return choice
    if choice == "activation":
        return _ACTIVATION
    if choice == "chain":
        return _CHAIN if weights is None else replace(_CHAIN, weights=weights)
    if choice == "retrievability":
        return _RETRIEVABILITY if weights is None else replace(_RETRIEVABILITY, weights=weights)
    return None
