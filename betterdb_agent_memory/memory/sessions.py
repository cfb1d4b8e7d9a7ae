"""How many turns each session has had: a count on the engine that workers raise to get numbers of their own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from betterdb_agent_memory.engines.base import Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.values import ValueBatch, Values
from betterdb_agent_memory.errors import AgentMemoryError, EngineError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.turns import TURN_FIELDS, turn_id

_log = logging.getLogger(__name__)

_DENSE: Final = 256
_SPARSE: Final = tuple((1 << octave) * (8 + eighth) // 8 for octave in range(8, 30) for eighth in range(8))
"""Places behind a known end at which later turns are looked for: each near one, and eight in each doubling."""

_FIRST_LOOK: Final = tuple(
    dict.fromkeys([(1 << octave) - 1 for octave in range(12)] + [*range(32)] + [place - 1 for place in _SPARSE])
)
_LOOKS_AT_ONCE: Final = 64
_LOOKS_AT_LEAST: Final = 12
"""Places looked at in a session without a count, which is a new one nearly always: so many in all, or in each."""


@dataclass(frozen=True, slots=True)
class End:
    """Where a session ends: how many turns it has had, the last two of them, and what the engine's count says."""

    length: int
    around: Mapping[str, Fields | None]
    counted: int


class Sessions:
    """Numbers for turns, kept in one map under `{name}:__mem_sessions`: a field for each session's key.

    A number is given out once, however many workers ask, and not again when its turn is gone. A count that was
    lost is found again by the turns that are there.
    """

    def __init__(self, values: Values, records: Records, store_name: str) -> None:
        self._values = values
        self._records = records
        self._map = f"{store_name}:__mem_sessions"

    async def ends(
        self, keys: Sequence[str], *, surely: bool = False, beside: Callable[[ValueBatch], None] | None = None
    ) -> dict[str, End]:
        """Where these sessions end. Two round trips for up to some 40 sessions; more where a count was lost.

        `surely` looks for turns behind the count, too; `beside` adds to the batch that reads the counts. A turn
        behind a long stretch of forgotten ones may be passed by.

        Raises:
            EngineError: also for a count that is no number.
        """
        counts = await self._counts(keys, beside)
        lost = sum(count is None for count in counts.values())
        looks = _FIRST_LOOK[: max(_LOOKS_AT_ONCE // max(lost, 1), _LOOKS_AT_LEAST)]
        places = {
            key: sorted(looks) if count is None else [*range(max(count - 2, 0), count + 1)]
            for key, count in counts.items()
        }
        ids = [turn_id(key, place) for key in keys for place in places[key]]
        found = dict(zip(ids, await self._records.read_many(ids, TURN_FIELDS), strict=True))
        ends: dict[str, End] = {}
        doubtful: dict[str, int] = {}
        for key, count in counts.items():
            counted = count or 0
            behind = max((place + 1 for place in places[key] if found[turn_id(key, place)] is not None), default=0)
            if surely or behind > counted:
                doubtful[key] = max(behind, counted)
            else:
                before = [turn_id(key, place) for place in range(max(counted - 2, 0), counted)]
                ends[key] = End(counted, {id: found[id] for id in before}, counted)
        return ends | await self._found(doubtful) if doubtful else ends

    async def _found(self, lengths: Mapping[str, int]) -> dict[str, End]:
        """The ends of sessions that have at least so many turns, whatever their counts say."""
        last = {key: await self._last(key, length) for key, length in lengths.items()}
        # Read after the turns: whoever has stored one meanwhile has raised the count before that.
        counts = await self._counts(list(lengths), None)
        ends: dict[str, End] = {}
        for key, count in counts.items():
            length = max(last[key], count or 0)
            ends[key] = End(length, await self.around(key, length), count or 0)
        return ends

    async def around(self, key: str, length: int) -> dict[str, Fields | None]:
        """The last two of so many turns. One round trip, none for none."""
        ids = [turn_id(key, place) for place in range(max(length - 2, 0), length)]
        return dict(zip(ids, await self._records.read_many(ids, TURN_FIELDS), strict=True)) if ids else {}

    async def allot(
        self, wanted: Mapping[str, tuple[int, End]], *, beside: Callable[[ValueBatch], None] | None = None
    ) -> dict[str, int]:
        """For each session the first of so many numbers that nobody else gets, none before its end.

        One round trip; `beside` adds to its batch. Workers that find the same count lost at once may leave a gap in
        the numbers, and no more.
        """
        starts = await self._raised(
            {key: count + end.length - end.counted for key, (count, end) in wanted.items()}, beside
        )
        behind = {
            # Lost since it was read: what was given out now lies before the end.
            key: count + wanted[key][1].length - starts[key]
            for key, (count, _) in wanted.items()
            if starts[key] - count < wanted[key][1].length
        }
        starts |= await self._raised(behind)
        return {key: starts[key] - count for key, (count, _) in wanted.items()}

    async def give_back(self, allotted: Mapping[str, tuple[int, int]]) -> None:
        """Numbers from `start` up to `end` that no turn was stored under, where nobody has got later ones.

        Two round trips. What cannot be given back is a gap: the next turn has nothing before it then.
        """
        try:
            batch = self._values.batch()
            taken_away = {key: batch.remove_field_if(self._map, key, b"%d" % end) for key, (_, end) in allotted.items()}
            await batch.send()
            await self._raised({key: allotted[key][0] for key, reply in taken_away.items() if reply.result()})
        except AgentMemoryError as error:
            _log.debug("numbers of turns that were not stored stay unused: %s", error)

    async def raise_to(self, lengths: Mapping[str, int]) -> None:
        """Let no session go on before these numbers: for turns that come from elsewhere. Two round trips.

        Two workers that do so at once may leave a gap in the numbers, and no more.
        """
        known = await self._counts(list(lengths), None)
        await self._raised(
            {key: length - (known[key] or 0) for key, length in lengths.items() if length > (known[key] or 0)}
        )

    async def _last(self, key: str, length: int) -> int:
        """One more than the last turn that is there from `length` on, or `length`. A round trip for each stretch."""
        while True:
            places = [*range(length, length + _DENSE), *(length + step for step in _SPARSE)]
            found = await self._records.read_many([turn_id(key, place) for place in places], (record.CONTENT,))
            there = [place for place, fields in zip(places, found, strict=True) if fields is not None]
            if not there:
                return length
            length = there[-1] + 1

    async def _raised(
        self, amounts: Mapping[str, int], beside: Callable[[ValueBatch], None] | None = None
    ) -> dict[str, int]:
        """The counts after these were added."""
        raised = {key: amount for key, amount in amounts.items() if amount}
        if not raised:
            return {}
        batch = self._values.batch()
        replies = {key: batch.increment(self._map, key, amount) for key, amount in raised.items()}
        if beside is not None:
            beside(batch)
        await batch.send()
        return {key: reply.result() for key, reply in replies.items()}

    async def _counts(self, keys: Sequence[str], beside: Callable[[ValueBatch], None] | None) -> dict[str, int | None]:
        batch = self._values.batch()
        reply = batch.read_fields(self._map, keys)
        if beside is not None:
            beside(batch)
        await batch.send()
        found = reply.result()
        return {key: self._count(key, found.get(key)) for key in keys}

    def _count(self, key: str, stored: bytes | None) -> int | None:
        if stored is None:
            return None
        if not stored.isdigit():
            raise EngineError(
                f"the count of turns in field {key} of {self._map} is {stored[:40]!r}, which is no whole number: "
                "somebody else has written there. Delete the field; the turns are counted anew then"
            )
        return int(stored)
