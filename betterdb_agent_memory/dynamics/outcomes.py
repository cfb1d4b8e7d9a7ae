"""What is learnt from an outcome: how a signed value is shared among the memories that were recalled.

The ids that a recall returned are its eligibility trace (Sutton & Barto, *Reinforcement Learning*, 2nd ed. 2018,
ch. 12), and what is learnt from is the error of prediction (Rescorla & Wagner 1972): praise of a memory that always
helps teaches little, praise of one that failed so far teaches much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from betterdb_agent_memory.dynamics.parameters import OutcomeParameters
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.scoring.base import FloatArray, Numbers, finite
from betterdb_agent_memory.memory.scoring.chain import ChainParameters, Traces, ahead, reinforced
from betterdb_agent_memory.options import is_number


@dataclass(frozen=True, slots=True)
class Credit:
    """What an outcome means for the memories of a recall, one entry a memory.

    `error` is how much better than expected it was, -2 to 2. `uses` and `successes` are to be added to the memory's
    counts. `share`, -1 to 1, is the use that it counts as for strength; below 0 strength is lost, `loss_share` of what
    the error says.
    """

    error: FloatArray
    uses: FloatArray
    successes: FloatArray
    share: FloatArray


def checked_outcome(value: object) -> float:
    """A signed outcome from -1 (it did harm) over 0 (neither) to 1 (just right).

    Raises:
        InvalidInputError: it is none.
    """
    if not is_number(value) or not -1 <= value <= 1:
        raise InvalidInputError(
            f"an outcome must be a number from -1 (it did harm) to 1 (just right), got {value!r:.80}"
        )
    return float(value)


def eligibility(ranks: Numbers, elapsed_seconds: Numbers, parameters: OutcomeParameters) -> FloatArray:
    """How much of an outcome belongs to the hit of each rank (0 is the first), 0 to 1, so long after the recall."""
    by_rank = parameters.rank_discount ** np.asarray(ranks, dtype=np.float64)
    eligible: FloatArray = by_rank * np.exp(-np.maximum(elapsed_seconds, 0.0) / parameters.time_constant_seconds)
    return eligible


def expected_outcome(uses: Numbers, successes: Numbers, parameters: OutcomeParameters) -> FloatArray:
    """What a memory's next outcome will be, -1 to 1, by its last ones: twice the Beta mean of its successes, less 1."""
    counted = np.maximum(uses, 0.0)
    assumed = parameters.prior_weight
    mean: FloatArray = (np.clip(successes, 0.0, counted) + assumed / 2) / (counted + assumed)
    return 2 * mean - 1


def credit(
    value: float,
    *,
    ranks: Numbers,
    elapsed_seconds: Numbers,
    uses: Numbers,
    successes: Numbers,
    parameters: OutcomeParameters,
) -> Credit:
    """What an outcome means for the memories with these ranks and counts.

    An outcome of 1 is a whole success, -1 none, 0 half of one; all by eligibility.

    Raises:
        InvalidInputError: the value is not from -1 to 1, or a number is not finite.
    """
    outcome = checked_outcome(value)
    eligible, error = np.broadcast_arrays(
        eligibility(finite("ranks", ranks), finite("elapsed_seconds", elapsed_seconds), parameters),
        outcome - expected_outcome(finite("uses", uses), finite("successes", successes), parameters),
    )
    share = parameters.learning_rate * eligible * error / 2
    share = np.where(share < 0, parameters.loss_share * share, share)
    return Credit(error, eligible, eligible * (1 + outcome) / 2, share)


def rewarded(traces: Traces, importance: Numbers, days: Numbers, share: Numbers, parameters: ChainParameters) -> Traces:
    """The traces right after an outcome, `days` after they were `traces`.

    A share above 0 is that much of a use; one below takes as much of both traces away, as if it had been forgotten
    sooner. Not finite is an InvalidInputError, as in `reinforced`.
    """
    gained = reinforced(traces, importance, days, parameters, share=np.maximum(share, 0.0))
    then = ahead(traces, importance, days, parameters)
    left = 1 + np.clip(share, -1.0, 0.0)
    is_loss = np.asarray(share) < 0
    return Traces(
        np.where(is_loss, then.working * left, gained.working), np.where(is_loss, then.core * left, gained.core)
    )
