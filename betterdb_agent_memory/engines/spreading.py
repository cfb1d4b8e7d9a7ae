"""What a search is asked to add to the neighbours it selects: records that links lead to from the worthiest of them.

An engine that selects where its records are follows the links there, too, for no round trip of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.uses import Used


@dataclass(frozen=True, slots=True)
class Spreading:
    """How activation spreads: from the first `starts`, each as active as it is like the question (1 - distance / 2).

    It passes links of at least `least_weight`, the `followed` strongest of each: one link far, two where one leads to
    fewer than `most`. Along a link passes
    `activation * passed_on * max(strength - ln(fan), 0) / strength * weight / (1 + weight)`, the fan being how many
    links of the record weigh that much; several paths to a record add up to `1 - (1 - a)(1 - b)...`.

    What two links lead to is held against the filter of the search: `looked_at` records at most, the most active;
    nothing leads through the others. The `most` active are added, equal ones by id. `now_ms` is when weights count.
    Where one of the starts has the `refused_field` it is left undone.
    """

    starts: int
    followed: int
    looked_at: int
    most: int
    strength: float
    passed_on: float
    least_weight: float
    now_ms: int
    refused_field: str


class Reached(NamedTuple):
    """A record that activation came to: mostly from `start`, through `via` unless that is None, along a last link of
    `weight`. `fields` are those of the search, and its vector; `used` is what a neighbour has of its uses.
    """

    id: str
    start: str
    via: str | None
    weight: float
    activation: float
    fields: Fields
    used: Used | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """What was reached from `starts` beside `found`, the selected neighbours; both the worthiest first.

    `reached` are the most active first. `gone` are records that links lead to and that are there no more.
    """

    starts: tuple[str, ...]
    found: tuple[str, ...]
    reached: tuple[Reached, ...]
    gone: tuple[str, ...]
