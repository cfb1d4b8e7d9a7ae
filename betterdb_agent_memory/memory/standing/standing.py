"""How memories stand at a time: strength, layer, what is left, how likely needed, how far believed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from betterdb_agent_memory.memory.scoring.activation import Activation
from betterdb_agent_memory.memory.scoring.base import FloatArray, elapsed_days, or_else
from betterdb_agent_memory.memory.scoring.chain import (
    LAYERS,
    ChainParameters,
    Layer,
    Traces,
    ahead,
    current_traces,
    layer_numbers,
)
from betterdb_agent_memory.memory.scoring.choice import ScoringParameters
from betterdb_agent_memory.memory.scoring.retrievability import Power, StabilityParameters
from betterdb_agent_memory.memory.standing.confidence import (
    LABELS,
    ConfidenceLabel,
    ConfidenceParameters,
    believed,
    confidence,
    label_numbers,
)
from betterdb_agent_memory.memory.standing.figures import Figures


@dataclass(frozen=True, slots=True)
class Standing:
    """How one memory stands.

    `age_days` counts from its writing. `working` and `core` are its two traces, `strength` both together, `layer` what
    follows from them. `retrievability` (0 to 1) is how much is left of it since its last use, `activation` the log of
    the odds that it is needed, apart from any question. `reliability` (0 to 1) is the trust in its content after all
    outcomes, `confidence` that less what forgetting takes, `label` what it is called.
    """

    id: str
    kind: str | None
    pinned: bool
    age_days: float
    working: float
    core: float
    strength: float
    layer: Layer
    retrievability: float
    activation: float
    reliability: float
    confidence: float
    label: ConfidenceLabel


def standings(figures: Figures, now_ms: int, parameters: ScoringParameters) -> list[Standing]:
    """How each of the memories stands at `now_ms`, in their order."""
    if not len(figures):
        return []
    candidates = figures.candidates
    before, days = current_traces(candidates, now_ms, parameters.chain)
    traces = ahead(before, candidates.importance, days, parameters.chain)
    layers = layer_numbers(before, candidates.importance, days, parameters.chain)
    left = retrievabilities(figures, now_ms, parameters)
    activations = Activation(parameters.activation).score(candidates, now_ms).values
    trust = reliabilities(figures, parameters.confidence)
    sure = confidence(trust, left, parameters.confidence)
    labels = label_numbers(sure, parameters.confidence)
    ages = elapsed_days(candidates.created_at_ms, now_ms)
    working, core, strength = np.asarray(traces.working), np.asarray(traces.core), traces.strength
    return [
        Standing(
            id=id,
            kind=figures.kinds[i],
            pinned=bool(figures.pinned[i]),
            age_days=float(ages[i]),
            working=float(working[i]),
            core=float(core[i]),
            strength=float(strength[i]),
            layer=LAYERS[int(layers[i])],
            retrievability=float(left[i]),
            activation=float(activations[i]),
            reliability=float(trust[i]),
            confidence=float(sure[i]),
            label=LABELS[int(labels[i])],
        )
        for i, id in enumerate(figures.ids)
    ]


def retrievabilities(figures: Figures, now_ms: int, parameters: ScoringParameters) -> FloatArray:
    """How much is left of each since it was written or last recalled, by the power curve."""
    candidates = figures.candidates
    since_ms = np.maximum(candidates.created_at_ms, candidates.last_accessed_at_ms)
    return Power().left(elapsed_days(since_ms, now_ms), stabilities(figures, parameters.stability))


def stabilities(figures: Figures, parameters: StabilityParameters) -> FloatArray:
    """The time constant of forgetting of each in days: its own, or its kind's, or that of all."""
    known = figures.candidates.stability_days
    if known is None:
        return np.full(len(figures), parameters.base_days)
    return or_else(known, parameters.base_days)


def reliabilities(figures: Figures, parameters: ConfidenceParameters) -> FloatArray:
    """How far the content of each is to be trusted, with all outcomes."""
    return believed(
        np.where(np.isnan(figures.reliability), figures.kind_reliability, figures.reliability),
        figures.kind_reliability,
        parameters,
        pinned=figures.pinned,
        uses=figures.uses,
        successes=figures.successes,
    )


def confidences(figures: Figures, now_ms: int, parameters: ScoringParameters) -> FloatArray:
    """How far each is to be believed at `now_ms`, 0 to 1."""
    left = retrievabilities(figures, now_ms, parameters)
    return confidence(reliabilities(figures, parameters.confidence), left, parameters.confidence)


def traces_at(figures: Figures, now_ms: int, parameters: ChainParameters) -> Traces:
    """The two traces of each at `now_ms`."""
    before, days = current_traces(figures.candidates, now_ms, parameters)
    return ahead(before, figures.candidates.importance, days, parameters)
