"""Parameters and presets: typed, refused where they cannot work, and none of them without effect."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

from betterdb_agent_memory.dynamics import anomalies, downscaling, outcomes
from betterdb_agent_memory.dynamics.parameters import (
    DEFAULT_PARAMETERS,
    DynamicsParameters,
    OutcomeParameters,
)
from betterdb_agent_memory.dynamics.presets import PRESETS, preset
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.memory.scoring import chain, retrievability
from betterdb_agent_memory.memory.scoring.activation import Activation, retrieval_probability
from betterdb_agent_memory.memory.standing import confidence
from betterdb_agent_memory.memory.standing.confidence import ConfidenceParameters
from tests.memory.scoring.numbers import NOW_MS, candidates

WRONG_PART: dict[str, Any] = {"outcomes": 3}
UNKNOWN: dict[str, Any] = {"speed": 3}


def results(ours: DynamicsParameters) -> list[float]:
    """What the functions of dynamics give for one fixed store, as one list of numbers."""
    several = candidates(200)
    traces, days = chain.current_traces(several, NOW_MS, ours.chain)
    activation = Activation(ours.activation).score(several, NOW_MS).values
    found = [
        *chain.Chain(ours.chain).score(several, NOW_MS).values,
        *chain.Chain(ours.chain).score(replace(several, strength_at_ms=None), NOW_MS).values,
        *chain.layer_numbers(chain.Traces(1.0, 0.0), 1.0, np.arange(1_000), ours.chain),
        *chain.layer_numbers(traces, several.importance, days, ours.chain),
        *chain.forgettable(chain.ahead(chain.Traces(1.0, 0.0), 0.1, np.arange(1_000), ours.chain), ours.chain),
        *np.asarray(chain.reinforced(traces, several.importance, days, ours.chain).working),
        *activation,
        *retrieval_probability(activation, ours.activation.threshold, ours.activation.noise),
        *retrievability.Retrievability(base_days=ours.stability.base_days).score(several, NOW_MS).values,
        *retrievability.grown(np.linspace(1, 200, 200), several.relevance, ours.stability),
    ]
    shares = np.linspace(0, 1, 201)
    sure = confidence.believed(
        confidence.contradicted(shares), 0.9, ours.confidence, pinned=shares > 0.5, uses=3, successes=2
    )
    found += [*sure, *confidence.confidence(sure, shares[::-1], ours.confidence)]
    found += [*confidence.label_numbers(shares, ours.confidence)]
    for value in (0.7, -0.7):
        learnt = outcomes.credit(
            value, ranks=np.arange(5), elapsed_seconds=600, uses=4, successes=np.arange(5), parameters=ours.outcomes
        )
        found += [*learnt.share, *learnt.error, *learnt.uses]
    moments = anomalies.Moments()
    for value in [*np.sin(np.arange(40)), 5.0, 0.1]:
        z = anomalies.z_score(moments, value, ours.anomalies)
        found += [z, anomalies.is_anomalous(z, ours.anomalies)]
        moments = anomalies.observed(moments, value, ours.anomalies)
    found.append(downscaling.factor_needed(1_000, 100, ours.downscaling))
    return [float(one) for one in found]


def each_number():
    for part in fields(DynamicsParameters):
        section = getattr(DEFAULT_PARAMETERS, part.name)
        assert is_dataclass(section)
        for one in fields(section):
            yield part.name, one.name


@pytest.mark.parametrize(("part", "name"), [*each_number()], ids=lambda one: one)
def test_every_parameter_changes_a_result(part, name):
    section = getattr(DEFAULT_PARAMETERS, part)
    value = getattr(section, name)
    others = [value + 1, value - 1] if isinstance(value, int) else [value * 0.8, value * 0.9]
    changed = [replace(DEFAULT_PARAMETERS, **{part: replace(section, **{name: other})}) for other in others]
    before = results(DEFAULT_PARAMETERS)
    assert any(results(one) != before for one in changed)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "default"])
def test_every_preset_changes_a_ranking(name):
    several = candidates(200)

    def order(ours, model):
        return np.argsort(-model(ours).score(several, NOW_MS).values).tolist()

    for model in (lambda ours: Activation(ours.activation), lambda ours: chain.Chain(ours.chain)):
        assert order(preset(name), model) != order(DEFAULT_PARAMETERS, model)


def test_presets_are_the_table():
    rows = {
        name: (
            (ours.chain.working_decay, ours.chain.core_decay, ours.chain.transfer),
            (ours.chain.promote_at, ours.chain.demote_below, ours.chain.archive_below),
            ours.chain.forget_below,
            ours.activation.decay,
            (ours.activation.context_weight, ours.activation.importance_weight),
        )
        for name, ours in PRESETS.items()
    }
    assert rows == {
        "default": ((0.15, 0.005, 0.08), (0.25, 0.05, 0.15), 0.01, 0.5, (1.5, 0.5)),
        "chatbot": ((0.08, 0.003, 0.12), (0.25, 0.05, 0.15), 0.005, 0.4, (2.0, 0.5)),
        "task_agent": ((0.25, 0.01, 0.05), (0.35, 0.05, 0.20), 0.02, 0.6, (1.5, 0.5)),
        "personal_assistant": ((0.12, 0.001, 0.10), (0.20, 0.03, 0.15), 0.005, 0.45, (1.5, 0.7)),
        "researcher": ((0.05, 0.001, 0.15), (0.15, 0.02, 0.10), 0.001, 0.35, (2.0, 0.3)),
    }


def test_a_preset_that_is_none_is_refused_with_those_there_are():
    with pytest.raises(ConfigurationError, match="no preset 'chat' of dynamics; there are default, chatbot"):
        preset("chat")


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (lambda: OutcomeParameters(rank_discount=2), "OutcomeParameters.rank_discount must be a number from 0 to 1"),
        (lambda: OutcomeParameters(learning_rate=float("nan")), "OutcomeParameters.learning_rate must be a number"),
        (lambda: ConfidenceParameters(likely_from=0.9), "must not fall, got 0.4, 0.9, 0.8"),
        (lambda: DynamicsParameters(**WRONG_PART), "DynamicsParameters.outcomes must be OutcomeParameters"),
        (lambda: DynamicsParameters(**UNKNOWN), "DynamicsParameters.speed is unknown; DynamicsParameters has chain"),
    ],
    ids=["discount", "rate", "labels", "part", "unknown"],
)
def test_parameters_that_cannot_work_are_refused(made, error):
    with pytest.raises(ConfigurationError, match=error):
        made()
