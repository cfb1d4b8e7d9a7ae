"""From the memories that a question found to those that they are linked to, or share an entity with: pure.

Activation spreads from the best hits along links, as in ACT-R (Anderson 1983; Anderson et al., Psychological Review
111, 2004): what has many links passes on less to each, `S - ln(fan)` of the most that it could. It spreads one link
far, or to what is about the same entities, and two where that leads to too little. Always two would find no more of
what is asked for (benchmarks/linked_recall.py), and look at ten times as many links.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from betterdb_agent_memory.engines.links import LinkEnd
from betterdb_agent_memory.engines.spreading import Spreading
from betterdb_agent_memory.memory.record import ENTITIES

STARTS = 3
"""Hits that activation spreads from."""

FOLLOWED = 8
"""Links of a memory that are followed: the strongest."""

MOST_LOOKED_AT = 64
"""Linked memories that are read, the most active ones."""

MOST_ENTITIES = 16
"""Entities of the hits that others are looked for with."""

MOST_ACQUAINTED = 32
"""Memories that share an entity and are looked at, the newest."""

MOST_ADDED = 5
"""Linked memories that are added to the hits."""

SPREAD = 4.0
"""The S of `S - ln(fan)`: what has 32 links passes on an eighth of what it would along a single one."""

PASSED_ON = 0.8
"""The most of an activation that a single link passes on."""


@dataclass(frozen=True, slots=True)
class LinkedBy:
    """By which link a memory came to be among the hits.

    `start` is the hit it was reached from, `via` the memory in between, None where it is linked to that hit itself;
    `weight` the weight of the last link, and `activation`, 0 to 1, what came along all paths, by which linked memories
    are ordered: 1 less what every path left undone. `entities` are those that it shares with the start, where that and
    no link brought it; their number is the weight then.
    """

    start: str
    via: str | None
    weight: float
    activation: float
    entities: tuple[str, ...] = ()


class Acquaintance(NamedTuple):
    """The entities, at least one, that the memory `id` shares with the hit `start`; `fan` memories have some."""

    start: str
    id: str
    entities: tuple[str, ...]
    fan: int


def acquaintances(
    starts: Mapping[str, Collection[str]], others: Mapping[str, Collection[str]], fan: int
) -> list[Acquaintance]:
    """Which of the `others` share entities with which of the `starts`, by what each is about, letter by letter."""
    return [
        Acquaintance(start, id, tuple(entity for entity in entities if entity in named), fan)
        for start, entities in starts.items()
        for id, named in others.items()
        if id != start and not set(entities).isdisjoint(named)
    ]


def spreading(now_ms: int, least_weight: float) -> Spreading:
    """What an engine is to do that follows links by itself: what a worker does, where no hit names an entity."""
    return Spreading(
        starts=STARTS,
        followed=FOLLOWED,
        looked_at=MOST_LOOKED_AT,
        most=MOST_ADDED,
        strength=SPREAD,
        passed_on=PASSED_ON,
        least_weight=least_weight,
        now_ms=now_ms,
        refused_field=ENTITIES,
    )


def passed_on(activation: float, fan: int, weight: float) -> float:
    """What one of `fan` links of this weight passes on: 0.4 of it for weight 1 and a fan of 1."""
    return activation * PASSED_ON * max(SPREAD - math.log(fan), 0.0) / SPREAD * weight / (1 + weight)


def spread(
    starts: Sequence[tuple[str, float]],
    around: Mapping[str, Sequence[LinkEnd]],
    *,
    far: Literal[1, 2],
    hidden: Collection[str] = (),
    acquainted: Sequence[Acquaintance] = (),
) -> dict[str, LinkedBy]:
    """What `far` links lead to from the `starts`, which have an activation from 0 to 1: most active first, equal ones
    by id.

    No path leads to or through a `hidden` memory, nor from one start to another.
    """
    activations = dict(starts)
    undone: dict[str, float] = {}
    best: dict[str, tuple[float, str, str | None, float, tuple[str, ...]]] = {}

    def reach(end: LinkEnd, gain: float, start: str, via: str | None, entities: tuple[str, ...] = ()) -> None:
        if end.id in activations or end.id in hidden or not gain > 0:
            return
        undone[end.id] = undone.get(end.id, 1.0) * (1 - gain)
        if gain > best.get(end.id, (0.0,))[0]:
            best[end.id] = gain, start, via, end.weight, entities

    for start, activation in starts:
        ends = around.get(start, ())
        for end in ends[:FOLLOWED]:
            gain = passed_on(activation, len(ends), end.weight)
            reach(end, gain, start, None)
            if far == 1 or end.id in activations or end.id in hidden:
                continue
            further = around.get(end.id, ())
            for beyond in further[:FOLLOWED]:
                reach(beyond, passed_on(gain, len(further), beyond.weight), start, end.id)
    for start, id, entities, fan in acquainted:
        end = LinkEnd(id, float(len(entities)), 0)
        reach(end, passed_on(activations[start], max(fan, 1), end.weight), start, None, entities)
    order = sorted(undone, key=lambda id: (undone[id], id))
    linked = {}
    for id in order:
        _, start, via, weight, entities = best[id]
        linked[id] = LinkedBy(start, via, weight, 1 - undone[id], entities)
    return linked


def scores_below(last: float, activations: Sequence[float]) -> list[float]:
    """Scores of linked memories, in the order of their activations, none above the last hit's."""
    return [last - (1 - activation) * abs(last) for activation in activations]
