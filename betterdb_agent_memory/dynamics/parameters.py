"""Everything that can be set about dynamics, as one typed bundle; each number changes some result."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from betterdb_agent_memory.memory.scoring.activation import ActivationParameters
from betterdb_agent_memory.memory.scoring.chain import ChainParameters
from betterdb_agent_memory.memory.scoring.choice import ScoringParameters
from betterdb_agent_memory.memory.scoring.retrievability import StabilityParameters
from betterdb_agent_memory.memory.standing.confidence import ConfidenceParameters
from betterdb_agent_memory.options.checks import number, options, whole_number

_SHARE: Final = number(0, 1)
_DAYS: Final = number(0, 36_500, above=True, unit=" of days")


@options
class OutcomeParameters:
    """How an outcome is shared among the memories of its recall.

    The hit of each further rank gets `rank_discount` of the one before, and each loses with a time constant of
    `time_constant_seconds` between recall and outcome. `prior_weight` uses, half of them successful, are assumed before
    the first. A surprise of the whole scale changes strength by `learning_rate` of a use; of one for the worse
    `loss_share` counts, since an answer that did not help was mostly made from what was not meant, and will be again.
    """

    rank_discount: Annotated[float, _SHARE, Field(description="share of the rank before that a rank gets")] = 0.8
    time_constant_seconds: Annotated[
        float, number(0, 1e9, above=True, unit=" of seconds"), Field(description="how long a recall stays eligible")
    ] = 86_400.0
    prior_weight: Annotated[
        float, number(0.01, 1_000), Field(description="uses, half of them successful, that are assumed at first")
    ] = 2.0
    learning_rate: Annotated[float, _SHARE, Field(description="how much a surprise changes strength")] = 1.0
    loss_share: Annotated[
        float, _SHARE, Field(description="how much of a surprise for the worse takes strength away")
    ] = 0.1


@options
class AnomalyParameters:
    """When a metric is out of the ordinary: `bound` standard deviations from a mean that follows it slowly."""

    smoothing: Annotated[float, number(0, 1, above=True), Field(description="weight of the latest observation")] = 0.05
    bound: Annotated[float, number(0, 100, above=True), Field(description="standard deviations that are reported")] = (
        4.0
    )
    warm_up: Annotated[int, whole_number(1, 1_000_000), Field(description="observations before any is judged")] = 20


@options
class DownscalingParameters:
    """How strong the memories of a store may be on the average before all are scaled down together."""

    mean_at_most: Annotated[float, number(0, 1_000, above=True), Field(description="mean strength of a memory")] = 3.0


@options
class DynamicsParameters:
    """The whole bundle, each part with its defaults.

    >>> DynamicsParameters(outcomes=OutcomeParameters(rank_discount=0.5)).outcomes.rank_discount
    0.5
    """

    chain: ChainParameters = ChainParameters()
    activation: ActivationParameters = ActivationParameters()
    stability: StabilityParameters = StabilityParameters()
    confidence: ConfidenceParameters = ConfidenceParameters()
    outcomes: OutcomeParameters = OutcomeParameters()
    anomalies: AnomalyParameters = AnomalyParameters()
    downscaling: DownscalingParameters = DownscalingParameters()

    @property
    def scoring(self) -> ScoringParameters:
        """Those that a recall ranks by, and its hits stand by, for a store: `MemoryStore(scoring_parameters=...)`."""
        return ScoringParameters(self.activation, self.chain, self.stability, self.confidence)


DEFAULT_PARAMETERS: Final = DynamicsParameters()
