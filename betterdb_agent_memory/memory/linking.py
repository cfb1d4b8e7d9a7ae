"""Links between memories: what a caller says about them, and what is learnt from memories that are recalled together.

What fires together is linked together (Hebb): a recall adds to the weight of the link of each two of its first hits a
fifth of the product of their relevances. One recall does not make a link that counts, a few do. Weights halve every 30
days (engines/links.py), so what is used stays and the rest fades.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.engines.base import Records
from betterdb_agent_memory.engines.links import LinkChange, LinkEnd, LinkReach, Links, Strength, score_of
from betterdb_agent_memory.errors import AgentMemoryError, InvalidInputError, MemoryNotFoundError
from betterdb_agent_memory.memory.recalling.explaining import MemoryHit
from betterdb_agent_memory.memory.record import CREATED_AT, checked_id
from betterdb_agent_memory.options import is_number

LINKED = 0.3
"""The least weight of a link that counts."""

MIN_WEIGHT, MAX_WEIGHT = 0.01, 1e6
"""What a caller may say: below, a link would be gone at once."""

LINKED_TOGETHER = 5
"""Hits of a recall that are linked to each other: ten pairs at most."""

LEARNING_RATE = 0.2
"""What two hits of relevance 1 add to the weight of their link. Once is below `LINKED`, once a week soon above."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a memory to the memory `id`, with its weight now. `since` is when it came to be or was said, in ms."""

    id: str
    weight: float
    since: int


def checked_pair(one: object, other: object) -> tuple[str, str]:
    """Two different ids.

    Raises:
        InvalidInputError: they are none, or the same.
    """
    pair = checked_id(one), checked_id(other)
    if pair[0] == pair[1]:
        raise InvalidInputError(f"memory {pair[0]!r:.80} cannot be linked to itself; give two ids")
    return pair


def checked_weight(weight: object) -> float:
    """A weight from 0.01 to 1,000,000.

    Raises:
        InvalidInputError: it is something else.
    """
    if not is_number(weight) or not MIN_WEIGHT <= weight <= MAX_WEIGHT:
        raise InvalidInputError(
            f"weight must be a number from {MIN_WEIGHT} to {MAX_WEIGHT:,.0f} (1.0 is usual), got {weight!r:.80}; to "
            "take a link away use unlink"
        )
    return float(weight)


def strengthen_recalled(hits: Sequence[MemoryHit], at_ms: int) -> dict[str, dict[str, Strength]]:
    """What the links between the first five hits gain: by the id of the better one, then of the other.

    A fifth of the product of their relevances; nothing where that is below 0.01.
    """
    first = [(hit.item.id, hit.relevance) for hit in hits[:LINKED_TOGETHER]]
    gains: dict[str, dict[str, Strength]] = {}
    for place, (one, relevance) in enumerate(first):
        for other, other_relevance in first[place + 1 :]:
            weight = LEARNING_RATE * relevance * other_relevance
            if weight >= MIN_WEIGHT:
                gains.setdefault(one, {})[other] = Strength(score_of(weight, at_ms), at_ms)
    return gains


class Linker:
    """The links of one store."""

    def __init__(self, links: Links, records: Records, clock: Clock) -> None:
        self.ends = self._links = links
        self._records = records
        self._clock = clock

    async def link(self, one: str, other: str, weight: float) -> None:
        """See `MemoryStore.link`."""
        now_ms = self._clock()
        change = LinkChange(one, other, Strength(score_of(weight, now_ms), now_ms))
        [done] = await self._links.put([change], now_ms=now_ms)
        if not done:
            there = await self._existing([one, other])
            missing = next((id for id in (one, other) if id not in there), one)
            raise MemoryNotFoundError(f"there is no memory {missing!r:.80}, so it cannot be linked")

    async def unlink(self, one: str, other: str) -> bool:
        """See `MemoryStore.unlink`."""
        [was_there] = await self._links.remove([(one, other)])
        return was_there

    async def links(self, id: str, least_weight: float) -> list[Link]:
        """See `MemoryStore.links`."""
        [ends] = await self._links.neighbours([id], now_ms=self._clock())
        if not ends:
            return []
        there = await self._existing([id, *(end.id for end in ends)])
        await self.forget([end.id for end in ends if end.id not in there] if id in there else [id])
        return [Link(*end) for end in ends if id in there and end.id in there and end.weight >= least_weight]

    def now_ms(self) -> int:
        """The time that weights are of."""
        return self._clock()

    async def around(
        self, ids: Sequence[str], *, followed: int, enough: int, beside: Sequence[str]
    ) -> Mapping[str, tuple[LinkEnd, ...]]:
        """The links that count of these memories; and where the `followed` strongest of each lead to fewer than
        `enough` others than those `beside`, of these others, too.
        """
        reach = LinkReach(LINKED, followed, enough, tuple(beside))
        return await self._links.around(ids, reach, now_ms=self._clock())

    async def held_by(self, id: str) -> tuple[LinkEnd, ...]:
        """The links of a memory, for `hand_over`. One round trip."""
        [ends] = await self._links.neighbours([id], now_ms=self._clock())
        return ends

    async def hand_over(self, id: str, ends: Sequence[LinkEnd], successor: str | None) -> None:
        """The links that memory `id` held are its successor's, added to those that it has; without one they are gone.

        None or two round trips. Best effort: links of what is superseded lead nowhere.
        """
        now_ms = self._clock()
        changes = [
            LinkChange(successor, end.id, Strength(score_of(end.weight, now_ms), end.since_ms))
            for end in ends
            if successor is not None and end.id != successor
        ]
        try:
            if changes:
                await self._links.strengthen(changes, now_ms=now_ms)
        except AgentMemoryError as error:
            _log.debug("%d links of a superseded memory could not be handed over: %s", len(changes), error)
        await self.forget([id] if ends else [])

    async def forget(self, ids: Sequence[str]) -> None:
        """Remove the links of memories that turned out to be gone. Best effort: they lead nowhere anyway."""
        if not ids:
            return
        try:
            await self._links.forget(ids)
        except AgentMemoryError as error:
            _log.debug("links of %d memories that are gone could not be removed: %s", len(ids), error)

    async def _existing(self, ids: Sequence[str]) -> frozenset[str]:
        found = await self._records.read_many(ids, (CREATED_AT,))
        return frozenset(id for id, fields in zip(ids, found, strict=True) if fields is not None)
