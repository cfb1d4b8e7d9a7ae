"""Links between memories: what is recalled together grows together (Hebb, *The Organization of Behavior*, 1949), and
fades by itself. How a store keeps weights that fade, so that it only ever has to add, is in engines/links.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from betterdb_agent_memory.dynamics.parameters import LinkParameters
from betterdb_agent_memory.memory.scoring.activation import association
from betterdb_agent_memory.memory.scoring.base import FloatArray, Numbers, finite


def faded(weight: Numbers, days: Numbers, parameters: LinkParameters) -> FloatArray:
    """What is left of a weight after so many days: half of it after `half_life_days`.

    >>> float(faded(1.0, 60, LinkParameters(half_life_days=30)))
    0.25
    """
    left: FloatArray = finite("weight", weight) * np.exp2(-finite("days", days) / parameters.half_life_days)
    return left


def gains(scores: Sequence[float], parameters: LinkParameters) -> Iterator[tuple[int, int, float]]:
    """What the links between the hits of one recall gain: the places of two hits, and `rate` times the product of
    their scores (0 to 1, best first). Of the first `together` hits, and only where there is something to gain.
    """
    first = np.clip(finite("scores", np.array(scores[: parameters.together])), 0.0, 1.0).tolist()
    for one, other in combinations(range(len(first)), 2):
        gain = parameters.rate * first[one] * first[other]
        if gain > 0:
            yield one, other, gain


def kept(weights: Mapping[str, float], parameters: LinkParameters) -> dict[str, float]:
    """The links that a memory keeps: its `fan_out` heaviest, heaviest first, ties by id."""
    heaviest = sorted(weights.items(), key=lambda link: (-link[1], link[0]))
    return dict(heaviest[: parameters.fan_out])


def linked(effective_weights: Mapping[str, float], parameters: LinkParameters) -> dict[str, float]:
    """Those that count as linked: of those kept, the ones of at least `threshold`."""
    return {
        other: weight for other, weight in kept(effective_weights, parameters).items() if weight >= parameters.threshold
    }


def spread(
    activation: Mapping[str, float], links: Mapping[str, Mapping[str, float]], parameters: LinkParameters
) -> dict[str, float]:
    """The activation, 0 to 1, that memories get over one link from those that have some.

    `links` has the effective weights of each. A link passes on `passed_on * (S - ln fan) / S * weight / (1 + weight)`
    of what its source has: the more links that one has, the less by each. From several sources a memory gets what is
    left of certainty by each, so never more than 1. For a second hop give it what the first gave.
    """
    missing: dict[str, float] = {}
    for source, active in activation.items():
        of_source = linked(links.get(source, {}), parameters)
        share = float(association(np.array(float(len(of_source))), parameters.association)) / parameters.association
        for other, weight in of_source.items():
            got = min(max(active, 0.0), 1.0) * parameters.passed_on * share * weight / (1 + weight)
            if other != source and got > 0:
                missing[other] = missing.get(other, 1.0) * (1 - got)
    return {other: 1 - left for other, left in missing.items()}


def expanded(
    found: Sequence[tuple[str, float]], hops: Sequence[Mapping[str, Mapping[str, float]]], parameters: LinkParameters
) -> list[tuple[str, float]]:
    """The memories that links add to what a query found, strongest first, each scored below all that was found.

    `found` are ids and scores, best first. `hops` has the links of the sources, then those of whom these lead to;
    more than the parameters' `hops` are not followed. An added memory scores what the last found one does, less what
    its activation lacks of 1.
    """
    if not found:
        return []
    ids = {one for one, _ in found}
    best = max(score for _, score in found)
    last = min(score for _, score in found)
    active = {one: score / best if best > 0 else 1.0 for one, score in found[: parameters.spread_from]}
    reached: dict[str, float] = {}
    for links in hops[: parameters.hops]:
        active = spread(active, links, parameters)
        for other, got in active.items():
            reached[other] = max(reached.get(other, 0.0), got)
    added = [(other, got) for other, got in reached.items() if other not in ids]
    return [(other, last - (1 - got)) for other, got in sorted(added, key=lambda one: (-one[1], one[0]))]
