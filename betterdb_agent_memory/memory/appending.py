"""One batch of turns on its way to the end of its session."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from betterdb_agent_memory.background import off_loop
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
from betterdb_agent_memory.memory.turns import (
    TURN_FIELDS,
    Window,
    all_around,
    is_turn,
    spoken,
    stored_vectors,
    turn_id,
    window_of,
)
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
                layout = await self._once(appending, layout)
            except AgentMemoryError as error:
                if not appending.results:
                    raise
                appending.refuse_the_rest(error)
        return [appending.results[place] for place in range(len(turns))]

    async def _once(self, appending: _Appending, layout: Layout) -> Layout:
        try:
            await appending.once(layout)
        except (IndexMismatchError, InvalidInputError) as refusal:  # embedded for an index that has gone meanwhile
            layout = await self.models.moved_from(layout, refusal)
            await appending.once(layout)
        return layout


def unplaced(error: AgentMemoryError) -> RememberResult:
    """What became of a turn that got no number, and so no id."""
    return RememberResult("rejected", None, error)


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
        length, around = await self._end()
        last = turn_id(self._key, length - 1)
        context = window_of(last, around).texts if _is_there(last, around) else []
        known = await self._embedded(context, layout)
        if not self.waiting:
            return
        embedded = self.waiting
        start = await self._by.sessions.allot(self._key, len(embedded))
        continues = start == length and bool(context)
        before = context[0] if continues and context[0] in known else None
        placed = await off_loop(len(embedded), self._placed, embedded, start, before, known)
        stored = await self._by.writer.store_embedded(placed.memories, layout)
        self._settle(embedded, stored)
        marks = {
            result.id: placed.windows[result.id].mark
            for result in stored
            if result.outcome == "stored" and result.id is not None
        }
        await self._join(placed, marks, around if continues else {}, known, layout)

    async def _embedded(self, context: Sequence[str], layout: Layout) -> dict[str, bytes]:
        """The vectors of what waits to be stored and of the texts before it; what has none waits no longer."""
        space = layout.main
        known: dict[str, bytes] = {}
        alone = [Window(text) for text in (*(_spoken(self._turns[place]) for place in self.waiting), *context)]
        dimensions = await space.index.find(space.embedder.dimensions)
        made = await embed_windows(space.embedder, alone, dimensions, known)
        waiting = self.waiting
        self.waiting = []
        for place, vector in zip(waiting, made, strict=False):
            if isinstance(vector, bytes):
                self.waiting.append(place)
            else:
                self.results[place] = unplaced(vector)
        if self.waiting:
            await space.index.ensure(len(next(iter(known.values()))) // 4)
        return known

    def _placed(self, places: Sequence[int], start: int, before: str | None, known: Mapping[str, bytes]) -> _Placed:
        """The turns at these places, numbered from `start`, behind one that said `before`, with their vectors."""
        said = [_spoken(self._turns[place]) for place in places]
        windows = [
            Window(own, previous, following, is_turn=True)
            for own, previous, following in zip(said, [before, *said], [*said[1:], None], strict=False)
        ]
        memories = [self._numbered(place, start + number) for number, place in enumerate(places)]
        return _Placed(
            list(zip(memories, stored_vectors(windows, known), strict=True)),
            {item.memory.id: window for item, window in zip(memories, windows, strict=True)},
        )

    def refuse_the_rest(self, error: AgentMemoryError) -> None:
        """Those that wait are not tried again."""
        self.results.update((place, unplaced(error)) for place in self.waiting)
        self.waiting = []

    def _settle(self, places: Sequence[int], stored: Sequence[RememberResult]) -> None:
        self.results.update(zip(places, stored, strict=True))
        self.waiting = [
            place for place, result in zip(places, stored, strict=True) if isinstance(result.error, MemoryExistsError)
        ]

    async def _join(
        self,
        placed: _Placed,
        marks: dict[str, bytes],
        around: Mapping[str, Fields | None],
        known: dict[str, bytes],
        layout: Layout,
    ) -> None:
        """Mix the turn before the first one anew, and see that nobody has come between meanwhile.

        `around` are the last two turns that were there before, if these follow them.
        """
        ids = list(placed.windows)
        missing = [id for id in ids if id not in marks]
        edges = dict.fromkeys([*all_around(ids), ids[0], ids[-1], *all_around(missing)])
        try:
            if around and ids[0] in marks:
                first = {ids[0]: record.encode_memory(placed.memories[0][0].memory, b"")}
                marks |= await self._by.mender.put([list(around)[-1]], {**around, **first}, known, layout)
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


def _is_there(id: str, records: Mapping[str, Fields | None]) -> bool:
    fields = records.get(id)
    return fields is not None and record.is_memory(fields) and is_turn(id, fields)


def _spoken(item: PreparedMemory) -> str:
    return spoken(item.memory.content, item.memory.speaker)


@dataclass(frozen=True, slots=True)
class _Placed:
    """Turns with their numbers and vectors, and the windows of these by id, in order."""

    memories: list[tuple[PreparedMemory, bytes]]
    windows: dict[str, Window]
