"""One batch of turns on its way to the end of its session."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from betterdb_agent_memory.engines.base import Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    IndexMismatchError,
    InvalidInputError,
    MemoryExistsError,
)
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.drafts import PreparedMemory, RememberResult
from betterdb_agent_memory.memory.generations.layout import Layout, Models
from betterdb_agent_memory.memory.mending import Mender
from betterdb_agent_memory.memory.sessions import Sessions
from betterdb_agent_memory.memory.turns import TURN_FIELDS, Window, all_around, spoken, turn_id, window_of
from betterdb_agent_memory.memory.windows import embed_windows
from betterdb_agent_memory.memory.writing import Writer

_log = logging.getLogger(__name__)

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Appender:
    """Puts turns behind those that a session has. `on_failure` is told when neighbours could not be mixed anew."""

    records: Records
    models: Models
    writer: Writer
    sessions: Sessions
    mender: Mender
    on_failure: Callable[[], None]

    async def append(self, key: str, turns: Sequence[PreparedMemory], layout: Layout) -> list[RememberResult]:
        """What became of the turns of the session `key`, in order; at most a few hundred.

        One embedding call, made before anything is numbered: what cannot be embedded leaves no gap. Four round
        trips for a new session, six for one that goes on.

        Raises:
            AgentMemoryError: the index cannot be had, or there is no embedder; nothing was written.
        """
        appending = _Appending(self, key, turns)
        for _ in range(_ATTEMPTS):
            if not appending.waiting:
                break
            try:
                await appending.once(layout)
            except (IndexMismatchError, InvalidInputError) as refusal:  # embedded for an index that has gone meanwhile
                layout = await self.models.moved_from(layout, refusal)
                await appending.once(layout)
        return [appending.results[place] for place in range(len(turns))]


class _Appending:
    """The turns of one batch that wait for a place, and what became of the others."""

    def __init__(self, by: Appender, key: str, turns: Sequence[PreparedMemory]) -> None:
        self._by = by
        self._key = key
        self._turns = turns
        self.waiting = list(range(len(turns)))
        self.results: dict[int, RememberResult] = {}

    async def once(self, layout: Layout) -> None:
        """Embed, number and store the turns that wait; those whose number was taken go on waiting."""
        space = layout.main
        length, around = await self._end()
        known: dict[str, bytes] = {}
        last = turn_id(self._key, length - 1)
        context = window_of(last, around).texts if around.get(last) else []
        own = [_spoken(self._turns[place]) for place in self.waiting]
        dimensions = await space.index.find(space.embedder.dimensions)
        alone = [Window(text) for text in (*own, *context)]
        made = (await embed_windows(space.embedder, alone, dimensions, known))[: len(own)]
        embedded = []
        for place, vector in zip(self.waiting, made, strict=True):
            if isinstance(vector, bytes):
                embedded.append(place)
            else:
                self.results[place] = self._turns[place].rejected(vector)
        self.waiting = embedded
        if not embedded:
            return
        await space.index.ensure(len(known[own[0]] if own[0] in known else next(iter(known.values()))) // 4)
        start = await self._by.sessions.allot(self._key, len(embedded))
        numbered = [self._numbered(place, start + number) for number, place in enumerate(embedded)]
        records = {item.memory.id: record.encode_memory(item.memory, b"") for item in numbered}
        continues = start == length and bool(context)
        window = {**(around if continues else {}), **records}
        windows = {id: window_of(id, window) for id in records}
        stored = await self._by.writer.store_embedded(
            [(item, windows[item.memory.id].vector(known)) for item in numbered], layout
        )
        self._settle(embedded, stored)
        marks = {result.id: windows[result.id].mark for result in stored if result.outcome == "stored" and result.id}
        await self._join(list(records), marks, window, [last] if continues else [], known, layout)

    def _settle(self, places: Sequence[int], stored: Sequence[RememberResult]) -> None:
        self.results.update(zip(places, stored, strict=True))
        self.waiting = [
            place for place, result in zip(places, stored, strict=True) if isinstance(result.error, MemoryExistsError)
        ]

    async def _join(
        self,
        ids: Sequence[str],
        marks: dict[str, bytes],
        window: dict[str, Fields | None],
        before: Sequence[str],
        known: dict[str, bytes],
        layout: Layout,
    ) -> None:
        """Mix the turn before the first one anew, and see that nobody has come between meanwhile."""
        missing = [id for id in ids if id not in marks]
        edges = dict.fromkeys([*all_around(ids), ids[0], ids[-1], *all_around(missing)])
        try:
            if before and ids[0] in marks:
                marks |= await self._by.mender.put(before, window, known, layout)
            await self._by.mender.mend(
                [id for id in edges if id not in missing], layout=layout, known=known, marks=marks
            )
        except AgentMemoryError as error:
            # The turns are stored: whoever repeated the call would have them twice.
            self._by.on_failure()
            _log.warning("turns next to what was just stored are not mixed with it yet: %s", error)

    async def _end(self) -> tuple[int, dict[str, Fields | None]]:
        """How many turns the session has had, and the last two of them. One round trip, two where it has any."""
        length = await self._by.sessions.length(self._key)
        around: dict[str, Fields | None] = {}
        while length:
            ids = [turn_id(self._key, turn) for turn in range(max(length - 2, 0), length + 1)]
            around = dict(zip(ids, await self._by.records.read_many(ids, TURN_FIELDS), strict=True))
            if around.pop(ids[-1]) is None:
                break
            length = await self._by.sessions.catch_up(self._key, length)
        return length, around

    def _numbered(self, place: int, turn: int) -> PreparedMemory:
        item = self._turns[place]
        return replace(item, memory=replace(item.memory, id=turn_id(self._key, turn), turn=turn))


def _spoken(item: PreparedMemory) -> str:
    return spoken(item.memory.content, item.memory.speaker)
