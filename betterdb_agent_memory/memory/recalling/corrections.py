"""What corrects a memory is told before it, however the two score. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from betterdb_agent_memory.engines.base import Neighbour
from betterdb_agent_memory.memory.dynamics_fields import CONTRADICTED_BY, SUPERSEDED_BY, SUPERSEDES, decode_names
from betterdb_agent_memory.memory.recalling.explaining import MemoryHit

_SAYS_SO = frozenset({CONTRADICTED_BY, SUPERSEDED_BY, SUPERSEDES})


@dataclass(frozen=True, slots=True)
class Reordered:
    """Places in their order, and of those that came before others for being their corrections, which these are."""

    places: list[int]
    outranked: Mapping[int, tuple[str, ...]]


def corrections_first(places: Sequence[int], ids: Sequence[str], by: Mapping[str, Collection[str]]) -> Reordered:
    """The order in which each memory has those that speak against it directly before it.

    `places` is an order of places in `ids`; `by` names for a memory those that correct it. For one of these that is not
    among the `ids` stands what corrects it in turn. Of two that correct each other, and in a ring, the order stays as
    it is.

    >>> corrections_first([0, 1, 2], ["wrong", "other", "right"], {"wrong": ["right"]})
    Reordered(places=[2, 0, 1], outranked={2: ('wrong',)})
    >>> corrections_first([0, 1], ["wrong", "right"], {"wrong": ["corrected since"], "corrected since": ["right"]})
    Reordered(places=[1, 0], outranked={1: ('wrong',)})
    """
    place_of = {ids[place]: place for place in places}
    rank_of = {place: rank for rank, place in enumerate(places)}
    ordered: dict[int, None] = {}
    outranked: dict[int, tuple[str, ...]] = {}
    for first in places:
        # A stack instead of recursion: corrections of corrections may be many.
        waiting: list[tuple[int, bool]] = [(first, False)]
        on_the_way: set[int] = set()
        while waiting:
            place, are_before_it = waiting.pop()
            if place in ordered:
                continue
            if are_before_it:
                ordered[place] = None
                continue
            if place in on_the_way:
                continue
            on_the_way.add(place)
            waiting.append((place, True))
            others = [place_of[id] for id in _there(by.get(ids[place], ()), place_of, by) if id != ids[place]]
            before = [
                other
                for other in others
                if other not in ordered and other not in on_the_way and ids[place] not in by.get(ids[other], ())
            ]
            for other in sorted(before, key=rank_of.__getitem__, reverse=True):
                outranked[other] = (*outranked.get(other, ()), ids[place])
                waiting.append((other, False))
    return Reordered([*ordered], outranked)


def _there(names: Collection[str], there: Collection[str], by: Mapping[str, Collection[str]]) -> list[str]:
    """Those of the names that are there, and in the places of the others what corrects these."""
    if all(name in there for name in names):
        return [*dict.fromkeys(names)]
    found: dict[str, None] = {}
    waiting = [*reversed([*names])]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = None
            if name not in there:
                waiting.extend(reversed([*by.get(name, ())]))
    return [name for name in found if name in there]


def rows_in_order(places: list[int], rows: Sequence[Neighbour]) -> Reordered:
    """The same of candidates, which say themselves what corrects what."""
    if all(_SAYS_SO.isdisjoint(row.fields) for row in rows):
        return Reordered(places, {})
    by: dict[str, list[str]] = {}
    for row in rows:
        by.setdefault(row.id, []).extend(decode_names(row.fields.get(CONTRADICTED_BY, b"")) or ())
        if SUPERSEDED_BY in row.fields:
            by[row.id].append(row.fields[SUPERSEDED_BY].decode(errors="replace"))
        for former in decode_names(row.fields.get(SUPERSEDES, b"")) or ():
            by.setdefault(former, []).append(row.id)
    return corrections_first(places, [row.id for row in rows], by)


def lacks_corrections(rows: Sequence[Neighbour]) -> bool:
    """Whether one of these memories is contradicted by another that is not among them."""
    against = [row.fields[CONTRADICTED_BY] for row in rows if CONTRADICTED_BY in row.fields]
    if not against:
        return False
    ids = {row.id for row in rows}
    return any(id not in ids for names in against for id in decode_names(names) or ())


def hits_in_order(hits: Sequence[MemoryHit]) -> list[MemoryHit]:
    """The same of hits, each of which says what it was put before."""
    by: dict[str, list[str]] = {}
    for hit in hits:
        dynamics = hit.item.dynamics
        by.setdefault(hit.item.id, []).extend(dynamics.contradicted_by)
        if dynamics.superseded_by is not None:
            by[hit.item.id].append(dynamics.superseded_by)
        for former in hit.item.dynamics.supersedes:
            by.setdefault(former, []).append(hit.item.id)
    reordered = corrections_first(range(len(hits)), [hit.item.id for hit in hits], by)
    return [
        replace(hits[place], explain=replace(explain, outranks=reordered.outranked.get(place, ())))
        if (explain := hits[place].explain) is not None
        else hits[place]
        for place in reordered.places
    ]
