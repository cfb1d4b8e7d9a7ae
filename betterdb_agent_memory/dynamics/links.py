"""Links between memories: what is recalled together grows together (Hebb, *The Organization of Behavior*, 1949).

Weights fade, and nothing sweeps over them: by forward decay (Cormode, Shkapenyuk, Srivastava & Xu, *Forward Decay: A
Practical Time Decay Model for Streaming Systems*, ICDE 2009) a gain is stored the larger, the later it comes, so that
adding is all that a store has to do; reading divides by what a gain of the present would be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from betterdb_agent_memory.dynamics.parameters import LinkParameters
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.scoring.activation import association
from betterdb_agent_memory.memory.scoring.base import MS_A_DAY, FloatArray, Numbers, finite

HALF_LIVES_TO_RENEWAL: Final = 500
"""A float holds 2^1023: half of that leaves room for sums, and for workers that have not seen a renewal."""


@dataclass(frozen=True, slots=True)
class ForwardDecay:
    """Weights that halve every `half_life_days`, stored as they would have been at the landmark.

    >>> decay = ForwardDecay(half_life_days=30, landmark_ms=0)
    >>> stored = decay.stored(1.0, at_ms=0) + decay.stored(1.0, at_ms=30 * 86_400_000)
    >>> float(stored), float(decay.effective(stored, now_ms=30 * 86_400_000))
    (3.0, 1.5)
    """

    half_life_days: float
    landmark_ms: float

    def stored(self, weight: Numbers, at_ms: float) -> FloatArray:
        """What to add to a stored weight for a gain of `weight` at `at_ms`.

        Raises:
            InvalidInputError: the gain is not finite, or the landmark so long ago that it must be renewed first.
        """
        gained: FloatArray = finite("weight", weight) * np.exp2(self._half_lives(at_ms))
        return gained

    def effective(self, stored: Numbers, now_ms: float) -> FloatArray:
        """What a stored weight is worth at `now_ms`; what a clock ahead of ours stored is worth what it was then.

        Raises:
            InvalidInputError: as `stored`.
        """
        worth: FloatArray = np.asarray(stored) * np.exp2(-self._half_lives(now_ms))
        return worth

    def renewal_due(self, now_ms: float) -> bool:
        """Whether the landmark is so long ago that stored weights become too large to be exact."""
        return (now_ms - self.landmark_ms) / MS_A_DAY > HALF_LIVES_TO_RENEWAL * self.half_life_days

    def renewed(self, stored: Numbers, landmark_ms: float) -> FloatArray:
        """A stored weight as it is stored from the later landmark `landmark_ms` on; one of long ago becomes 0."""
        moved: FloatArray = np.asarray(stored) * np.exp2(
            -(landmark_ms - self.landmark_ms) / MS_A_DAY / self.half_life_days
        )
        return moved

    def _half_lives(self, at_ms: float) -> float:
        half_lives = float(finite("time", at_ms) - self.landmark_ms) / MS_A_DAY / self.half_life_days
        if half_lives > 2 * HALF_LIVES_TO_RENEWAL:
            raise InvalidInputError(
                f"{half_lives:.0f} half-lives since the landmark are more than a stored weight can hold: renew it"
            )
        return half_lives


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
