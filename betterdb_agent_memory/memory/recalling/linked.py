"""The memories that hits are linked to, read and held against what was asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.engines.base import Row
from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.engines.links import LinkEnd
from betterdb_agent_memory.engines.spreading import Spread, Spreading
from betterdb_agent_memory.engines.uses import Used
from betterdb_agent_memory.memory.figures import figures_of_rows
from betterdb_agent_memory.memory.linking import LINKED, Linker
from betterdb_agent_memory.memory.recalling.by_uses import components_by_uses
from betterdb_agent_memory.memory.recalling.expanding import (
    FOLLOWED,
    MOST_ACQUAINTED,
    MOST_ADDED,
    MOST_ENTITIES,
    MOST_LOOKED_AT,
    STARTS,
    LinkedBy,
    acquaintances,
    scores_below,
    spreading,
)
from betterdb_agent_memory.memory.recalling.expanding import spread as spread_along
from betterdb_agent_memory.memory.recalling.explaining import Component, Explanation, MemoryHit, Vantage, components_of
from betterdb_agent_memory.memory.record import (
    CREATED_AT,
    ENTITIES,
    ITEM_FIELDS,
    VECTOR,
    MemoryItem,
    decode_entities,
    decode_memory,
    is_memory,
    scoring_candidates,
)
from betterdb_agent_memory.memory.requests import RecallRequest, RecallSettings
from betterdb_agent_memory.memory.scoring.base import ScoringModel
from betterdb_agent_memory.memory.scoring.composite import similarity_from_distance
from betterdb_agent_memory.memory.spaces import VectorSpace
from betterdb_agent_memory.memory.standing.standing import confidences
from betterdb_agent_memory.memory.where import Entity


class _Linked(NamedTuple):
    """A memory that is added, by which link, from what fields; and what the engine has said of its uses."""

    item: MemoryItem
    by: LinkedBy
    fields: Fields
    used: Used | None = None


class Expander:
    """Adds to the hits of a recall what they are linked to, and what is about the same."""

    def __init__(self, linker: Linker) -> None:
        self._linker = linker

    def spreading(self) -> Spreading:
        """What an engine is asked for that can follow links while it searches."""
        return spreading(self._linker.now_ms(), LINKED)

    async def expand(
        self,
        space: VectorSpace,
        vector: bytes,
        hits: Sequence[MemoryHit],
        request: RecallRequest,
        settings: RecallSettings,
        spread: Spread | None = None,
    ) -> list[MemoryHit]:
        """Up to `MOST_ADDED` memories that the first hits lead to, most active first; none of the hits.

        Only such as `request.filter` accepts and are believed enough, and only along such. No round trip where
        `spread`, what the search itself found, is about these hits. Otherwise two round trips, one where they lead
        nowhere; one more where they are about entities, and two where too few of those that one link leads to may be
        seen. The links of a memory that was looked at and is gone are removed, which takes another one.
        """
        starts = hits[:STARTS]
        if not starts:
            return []
        if spread is not None and _is_about(spread, hits):
            await self._linker.forget(spread.gone)
            return _reached_hits(spread, vector, hits, settings)
        around = await self._linker.around(
            [hit.item.id for hit in starts],
            followed=FOLLOWED,
            enough=MOST_ADDED,
            beside=[hit.item.id for hit in hits[STARTS:]],
        )
        about, fan = await _about_the_same(space, starts, request.filter)
        search = _Spreading(hits, around, about, fan, request.filter, settings)
        fields = tuple(dict.fromkeys((*ITEM_FIELDS, VECTOR, *request.filter.field_names)))
        gone: list[str] = []
        while any(wanted := search.wanted()):
            if wanted.links:
                search.follow(await self._linker.around(wanted.links, followed=FOLLOWED, enough=0, beside=()))
                continue
            stored = await space.records.read_many(wanted.memories, fields)
            found = list(zip(wanted.memories, stored, strict=True))
            gone += [id for id, row in found if row is None and id in search.linked]
            rows = [Row(id, row) for id, row in found if row is not None]
            await off_loop(len(rows), search.read, wanted.memories, rows)
        await self._linker.forget(gone)
        return await off_loop(len(search.chosen), _below, hits, search.chosen, vector, settings)


class _Wanted(NamedTuple):
    """What is to be looked up next: the links of some memories, or memories; nothing once all is known."""

    links: Sequence[str] = ()
    memories: Sequence[str] = ()


class _Spreading:
    """Which memories activation comes to, while it is found out which of them may be seen.

    It goes one link far, and two where that leads to too few. What is not seen leads nowhere: so those are looked at
    that others are reached through, and of the rest the most active ones until there are enough.
    """

    def __init__(
        self,
        hits: Sequence[MemoryHit],
        around: Mapping[str, Sequence[LinkEnd]],
        about: Sequence[str],
        fan: int,
        filter: Filter,
        settings: RecallSettings,
    ) -> None:
        starts = hits[:STARTS]
        self._active = [(hit.item.id, hit.relevance) for hit in starts]
        self._entities = {hit.item.id: hit.item.entities for hit in starts if hit.item.entities}
        self._found = {hit.item.id for hit in hits}
        self._around = dict(around)
        self._fan = fan
        self._filter = filter
        self._settings = settings
        self._accepted: dict[str, Fields] = {}
        self._refused: set[str] = set()
        named = {entity for entities in self._entities.values() for entity in entities}
        self._knows_all = not named or (0 < fan <= MOST_ACQUAINTED and len(named) <= MOST_ENTITIES)
        self._about = [id for id in about if id not in self._found]
        self.chosen: list[_Linked] = []
        self._go(1)

    def _go(self, far: Literal[1, 2]) -> None:
        """Spread so many links far, as if all might be seen that was not looked at."""
        self._far: Literal[1, 2] = far
        self._has_begun = False
        self._order = spread_along(self._active, self._around, far=far)
        self.linked = [id for id in self._order if id not in self._found]
        # What is too far down is looked at only where it is about the same.
        self._too_far = set(self.linked[MOST_LOOKED_AT:]).difference(self._about)
        del self.linked[MOST_LOOKED_AT:]
        self._spread_again()

    def _spread_again(self) -> None:
        """By what is known of those that were looked at."""
        named = {id: decode_entities(fields) for id, fields in self._accepted.items()} if self._entities else {}
        acquainted = acquaintances(self._entities, named, self._fan)
        hidden = self._refused | self._too_far
        if hidden or acquainted:
            self._order = spread_along(self._active, self._around, far=self._far, hidden=hidden, acquainted=acquainted)

    def wanted(self) -> _Wanted:
        """What is to be looked up next."""
        if not self._has_begun:
            first = self._first()
            self._has_begun = True
            if first:
                return _Wanted(memories=first)
        others = [id for id in self._order if id not in self._found]
        self.chosen = []
        for id in others:
            if len(self.chosen) == MOST_ADDED:
                break
            if id not in self._accepted:
                # Rarely so: most of the first ones may not be seen.
                return _Wanted(memories=[id for id in others if id not in self._accepted])
            item, _ = decode_memory(id, self._accepted[id])
            if item is not None:
                self.chosen.append(_Linked(item, self._order[id], self._accepted[id]))
        if len(self.chosen) == MOST_ADDED or self._far == 2:
            return _Wanted()
        if unknown := [id for id in self._followed() if id not in self._around]:
            return _Wanted(links=unknown)
        self._go(2)
        return self.wanted()

    def _first(self) -> list[str]:
        """What to look at first: what others are reached through, and of the rest hardly more than are added."""
        is_too_little = self._far == 1 and len({*self.linked, *self._about}) < MOST_ADDED
        if is_too_little and all(id in self._around for id in self._followed()):
            self._go(2)
        through = [id for id in self.linked if id in self._around] if self._far == 2 else []
        likely = [id for id in self._order if id not in self._found]
        # All that one link leads to, since to go on costs more, and all where many turned out not to be seen.
        few = 2 * MOST_ADDED if self._far == 2 and not self._refused else MOST_LOOKED_AT
        # Where not all that is about the same was found, any of them may be more active than links make it.
        first = likely[:few] if self._knows_all else self.linked
        known = self._accepted.keys() | self._refused
        return [id for id in dict.fromkeys((*through, *first, *self._about)) if id not in known]

    def _followed(self) -> list[str]:
        """Where links lead to from the starts."""
        return list(dict.fromkeys(end.id for id, _ in self._active for end in self._around.get(id, ())[:FOLLOWED]))

    def follow(self, links: Mapping[str, Sequence[LinkEnd]]) -> None:
        """Take note of the links that were wanted."""
        self._around |= links
        self._go(2)

    def read(self, ids: Sequence[str], rows: Sequence[Row]) -> None:
        """Take note of what was looked at: `rows` of those `ids` that are there."""
        rows = [row for row in self._filter.accepted(rows) if is_memory(row.fields)]
        if (least := self._settings.rules.min_confidence) is not None:
            sure = confidences(figures_of_rows(rows), self._settings.now_ms, self._settings.parameters) >= least
            rows = [row for row, is_sure in zip(rows, sure.tolist(), strict=True) if is_sure]
        self._accepted |= {row.id: row.fields for row in rows}
        self._refused |= {id for id in ids if id not in self._accepted}
        self._spread_again()


async def _about_the_same(space: VectorSpace, starts: Sequence[MemoryHit], filter: Filter) -> tuple[list[str], int]:
    """The newest memories about one of the entities that these are about, and how many there are. None or one round
    trip.
    """
    entities = list(dict.fromkeys(entity for hit in starts for entity in hit.item.entities))[:MOST_ENTITIES]
    if not entities or ENTITIES in space.index.unindexed:
        return [], 0
    page = await space.records.select(
        Filter((*filter.clauses, Entity.any(*entities).clause)),
        fields=tuple(dict.fromkeys((ENTITIES, CREATED_AT, *filter.field_names))),
        limit=MOST_ACQUAINTED,
        order_by=CREATED_AT,
        descending=True,
    )
    return [row.id for row in page.rows], page.total


def _is_about(spread: Spread, hits: Sequence[MemoryHit]) -> bool:
    """Whether activation spread from the first of these hits, and beside just these."""
    ids = [hit.item.id for hit in hits]
    return list(spread.starts) == ids[:STARTS] and set(spread.found) == set(ids)


def _reached_hits(
    spread: Spread, vector: bytes, hits: Sequence[MemoryHit], settings: RecallSettings
) -> list[MemoryHit]:
    chosen = []
    for id, start, via, weight, activation, fields, used in spread.reached:
        item, _ = decode_memory(id, fields)
        if item is not None:
            chosen.append(_Linked(item, LinkedBy(start, via, weight, activation), fields, used))
    return _below(hits, chosen, vector, settings)


def _below(
    hits: Sequence[MemoryHit],
    chosen: Sequence[_Linked],
    vector: bytes,
    settings: RecallSettings,
) -> list[MemoryHit]:
    """Linked memories, the most active first, as hits below all others."""
    if not chosen:
        return []
    scores = scores_below(min(hit.score for hit in hits), [one.by.activation for one in chosen])
    distances = _distances(vector, [one.fields.get(VECTOR, b"") for one in chosen])
    vantage = Vantage(settings.now_ms, settings.parameters)
    terms = _components(settings.rules.model, chosen, distances, settings.now_ms)
    return [
        _hit(one.item, one.by, distance, made_of, score, hits[-1].explain, settings, vantage)
        for one, distance, made_of, score in zip(chosen, distances, terms, scores, strict=True)
    ]


def _hit(
    item: MemoryItem,
    by: LinkedBy,
    distance: float,
    terms: tuple[Component, ...],
    score: float,
    last: Explanation | None,
    settings: RecallSettings,
    vantage: Vantage,
) -> MemoryHit:
    age_seconds = (settings.now_ms - max(item.created_at, item.last_accessed_at)) / 1000
    explain = last and Explanation(
        distance,
        last.threshold,
        max(age_seconds, 0.0) if settings.rules.clamps_age else age_seconds,
        item.importance,
        last.half_life_seconds,
        last.weights,
        exact=last.exact,
        scoring=last.scoring,
        terms=terms,
        link=by,
    )
    return vantage.hit(item, distance, score, explain)


def _components(
    model: ScoringModel | None, linked: Sequence[_Linked], distances: Sequence[float], now_ms: int
) -> list[tuple[Component, ...]]:
    """What the model makes of memories that were not among its candidates; nothing of the composite's."""
    if model is None:
        return [()] * len(linked)
    records, used = [one.fields for one in linked], [one.used for one in linked]
    parts = components_by_uses(model, records, used, [similarity_from_distance(distance) for distance in distances])
    if parts is not None:
        return parts
    candidates = scoring_candidates(records, similarity_from_distance(np.array(distances)), model.needs)
    return components_of(model.score(candidates, now_ms).terms, range(len(linked)))


def _distances(vector: bytes, stored: Sequence[bytes]) -> list[float]:
    """The cosine distances; 1 to a memory without a vector of this length, or one that has no direction."""
    like = [one if len(one) == len(vector) else bytes(len(vector)) for one in stored]
    rows = np.frombuffer(b"".join((vector, *like)), "<f4").astype(np.float64).reshape(len(like) + 1, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        products, squares = (rows @ rows[0]).tolist()[1:], np.einsum("ij,ij->i", rows, rows).tolist()
    lengths = [math.sqrt(square * squares[0]) for square in squares[1:]]
    cosines = [product / length if length else math.nan for product, length in zip(products, lengths, strict=True)]
    return [1.0 - cosine if math.isfinite(cosine) else 1.0 for cosine in cosines]
