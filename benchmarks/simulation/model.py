"""The generative model of a simulated life: what is said, what turns out wrong, what changes, what is needed when.

The generative model, all of it (numbers in `Model`):

*Facts.* 60 entities of three classes have ten attributes each; a fact is one entity's value of one attribute. A
share of the facts is ever spoken of: a part of those in the first days, the others on any later day.

*Need.* On a day t days after a fact was last needed or said (at least 1), the odds that it is needed are
`a * t^-exponent`: a power of the time since, as Anderson and Schooler found in newspapers, speech and letters
("Reflections of the environment in memory", Psychological Science 2, 1991, 396-408; exponents .73 to .83). `a` is
drawn once per fact, log-normally, with a part that facts of an entity share: what was needed often will be needed
often. A fact has a companion, which is needed along with it in some of its needs.

*Questions.* A need becomes a question that names entity and attribute, or the attribute alone ("Which database was
it again?"), or the entity alone; what is needed on the same day and asked in the same words is one question. The
latter two resemble many memories equally: what was needed recently and often is what is meant. Some of them come with
a word of context; some are followed by the question in full.

*Change.* Values change, at a rate by kind. The new value is said as a correction of the old statement, as its
contradiction, or simply stated. The old one is then stale, wherever it still is.

*Error.* A statement is wrong at a rate by kind, which is drawn per life around the stated reliability of the kind.
Rumours state or contradict a fact that has not changed, wrongly. Most errors are noticed some weeks later, and put
right in one of the three ways.

*Noise.* Remarks that share names and nouns with facts, and are never needed.

*Importance*, which the caller gives, follows log a weakly. *Feedback* comes after some answers, and is sometimes the
opposite of what it should be.

Everything follows from the model and the seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.simulation.events import Cue, Replacing


@dataclass(frozen=True, slots=True)
class Model:
    """The numbers of the generative model; rates are per day where no other unit is said."""

    days: int = 365
    share_spoken_of: float = 0.7
    share_at_first: float = 0.4
    first_days: int = 20
    exponent: float = 0.75
    log_odds: float = -2.9
    """Mean of log a."""
    spread_of_facts: float = 1.2
    spread_of_entities: float = 0.6
    share_with_companion: float = 0.25
    cues: Mapping[Cue, float] = field(default_factory=lambda: {"both": 0.3, "attribute": 0.4, "entity": 0.3})
    share_with_context: float = 0.2
    share_asked_again_in_full: float = 0.4
    changes_a_year: Mapping[str, float] = field(
        default_factory=lambda: {
            "factual": 0.6,
            "procedural": 0.3,
            "relational": 0.5,
            "opinion": 0.9,
            "emotional": 1.2,
            "episodic": 1.2,
        }
    )
    reliability: Mapping[str, float] = field(
        default_factory=lambda: {
            "factual": 0.85,
            "episodic": 0.90,
            "relational": 0.75,
            "emotional": 0.95,
            "procedural": 0.90,
            "opinion": 0.60,
        }
    )
    """Around which the share of right statements is drawn for each life: Beta with this mean, `certainty` in all."""
    certainty: float = 20.0
    rumours_a_year: float = 0.15
    """Per fact."""
    share_noticed: float = 0.8
    days_until_noticed: float = 25.0
    """Mean of an exponential."""
    replacing: Mapping[Replacing, float] = field(
        default_factory=lambda: {"correct": 0.4, "contradict": 0.25, "state": 0.35}
    )
    remarks_a_day: float = 2.0
    share_with_feedback: float = 0.5
    share_honest: float = 0.9


def odds_of_need(log_odds: float, days: int, exponent: float) -> float:
    """The odds that a fact is needed so many days (at least 1) after it was needed or said.

    >>> round(odds_of_need(0.0, 16, 0.75), 6)
    0.125
    """
    return math.exp(log_odds - exponent * math.log(days))
