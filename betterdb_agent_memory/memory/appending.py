"""One batch of turns on its way to the ends of its sessions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.engines.base import Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.values import Reply, ValueBatch
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    EngineError,
    IndexMismatchError,
    InvalidInputError,
    MemoryExistsError,
    OutcomeUnknownError,
)
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.drafts import PreparedMemory, RememberResult
from betterdb_agent_memory.memory.generations.layout import Layout, Models
from betterdb_agent_memory.memory.mending import Mender
from betterdb_agent_memory.memory.sessions import End, Sessions
from betterdb_agent_memory.memory.turns import Window, all_around, is_turn, spoken, turn_id, window_of
from betterdb_agent_memory.memory.windows import embed_windows, mixed_vectors
from betterdb_agent_memory.memory.writing import Writer

_log = logging.getLogger(__name__)

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Appender:
    """Puts turns behind those that sessions have. `on_failure` is told when neighbours could not be mixed anew."""

    records: Records
    models: Models
    writer: Writer
    sessions: Sessions
    mender: Mender
    on_failure: Callable[[], None]

    async def append(
        self, turns: Sequence[tuple[str, PreparedMemory]], layout: Layout, own: MutableMapping[str, int]
    ) -> list[RememberResult]:
        """What became of turns, each with the key of its session, in order; at most a few hundred.

        `own` are sessions that nobody else can know of yet, with the number of turns that they have: they need no
        count on the engine, and the numbers are kept up here.

        One embedding call for all, made before anything is numbered: what cannot be embedded leaves no gap. Five
        round trips for new sessions, seven where some go on, two for those in `own`, for up to some 40 sessions.

        Raises:
            AgentMemoryError: the index cannot be had, or there is no embedder; nothing was written.
        """
        appending = _Appending(self, turns, own)
        for attempt in range(_ATTEMPTS):
            if not appending.waiting:
                break
            try:
                layout = await self._once(appending, layout, surely=attempt > 0)
            except AgentMemoryError as error:
                if not appending.results:
                    raise
                appending.refuse_the_rest(error)
        appending.refuse_the_rest(MemoryExistsError("others were appending to the session all the time; try again"))
        return [appending.results[place] for place in range(len(turns))]

    async def _once(self, appending: _Appending, layout: Layout, *, surely: bool) -> Layout:
        try:
            await appending.once(layout, surely=surely)
        except (IndexMismatchError, InvalidInputError) as refusal:  # embedded for an index that has gone meanwhile
            layout = await self.models.moved_from(layout, refusal)
            await appending.once(layout, surely=surely)
        return layout


def unplaced(error: AgentMemoryError) -> RememberResult:
    """What became of a turn that got no number, and so no id."""
    return RememberResult("rejected", None, error)


@dataclass(frozen=True, slots=True)
class _Group:
    """The turns of one session that are being stored: their places in the batch, where the session ended when that
    was looked at, and the number of the first of them.
    """

    key: str
    places: Sequence[int]
    end: End
    start: int

    @property
    def ids(self) -> list[str]:
        return [turn_id(self.key, self.start + number) for number in range(len(self.places))]

    @property
    def last_before(self) -> str | None:
        """The turn that they follow, if it is there."""
        return _last_of(self.key, self.end) if self.start == self.end.length else None


class _Appending:
    """The turns of one batch that wait for a place, and what became of the others."""

    def __init__(
        self, by: Appender, turns: Sequence[tuple[str, PreparedMemory]], own: MutableMapping[str, int]
    ) -> None:
        self._by = by
        self._turns = turns
        self._own = own
        self._notes: Reply[dict[str, bytes]] | None = None
        self._noted: list[str] = []
        """Notes of ours: turns that must be mixed anew with what follows them now."""
        self.waiting = list(range(len(turns)))
        self.results: dict[int, RememberResult] = {}

    async def once(self, layout: Layout, *, surely: bool) -> None:
        """Embed, number and store the turns that wait; those whose number was taken go on waiting, with all that
        were said after them.
        """
        try:
            await self._stored(await self._ends(surely), layout)
        except BaseException:
            self._by.mender.unmixed.leave(self._noted)
            raise

    async def _stored(self, ends: Mapping[str, End], layout: Layout) -> None:
        last = {key: window_of(id, end.around) for key, end in ends.items() if (id := _last_of(key, end)) is not None}
        known = await self._embedded([text for window in last.values() for text in window.texts], layout)
        if not self.waiting:
            return
        groups = await self._numbered(ends)
        prepared, windows, marks = await off_loop(len(self.waiting), self._windows, groups, last, known)
        vectors = await mixed_vectors(windows, known)
        try:
            stored = await self._by.writer.store_embedded(list(zip(prepared, vectors, strict=True)), layout)
        except (IndexMismatchError, InvalidInputError):
            await self._give_back(groups)
            raise
        by_id = {item.memory.id: item for item in prepared}
        kept = await self._settle(groups, iter(stored), layout)
        await self._join(groups, by_id, {id: marks[id] for id in kept}, known, layout)

    async def _ends(self, surely: bool) -> dict[str, End]:
        """Where the sessions end of the turns that wait. Two round trips, none for new ones of our own."""
        keys = list(dict.fromkeys(self._turns[place][0] for place in self.waiting))
        if surely:
            self._own.clear()
        ends = {
            key: End(self._own[key], await self._by.sessions.around(key, self._own[key]), self._own[key])
            for key in keys
            if key in self._own
        }
        counted = [key for key in keys if key not in ends]
        if counted:
            ends |= await self._by.sessions.ends(counted, surely=surely, beside=self._ask_for_notes)
        return ends

    def _ask_for_notes(self, batch: ValueBatch) -> None:
        self._notes = self._by.mender.unmixed.ask(batch)

    async def _embedded(self, before: Iterable[str], layout: Layout) -> dict[str, bytes]:
        """The vectors of what waits to be stored and of the texts before it; what has none waits no longer."""
        space = layout.main
        known: dict[str, bytes] = {}
        alone = [Window(text) for text in (*(_spoken(self._turns[place][1]) for place in self.waiting), *before)]
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

    async def _numbered(self, ends: Mapping[str, End]) -> list[_Group]:
        """What waits, with numbers that nobody else gets. One round trip, none for new sessions of our own."""
        places: dict[str, list[int]] = {}
        for place in self.waiting:
            places.setdefault(self._turns[place][0], []).append(place)
        wanted = {key: (len(those), ends[key]) for key, those in places.items() if key not in self._own}
        starts = await self._allotted(wanted, [id for key in places for id in _seam_behind(key, ends[key])])
        for key, those in places.items():
            if key in self._own:
                starts[key] = self._own[key]
                self._own[key] += len(those)
        groups = [_Group(key, those, ends[key], starts[key]) for key, those in places.items()]
        # Where others came in between, the turn before is not the one that was there, and not known.
        await self._note([id for one in groups if one.start > one.end.length for id in _seam(one.key, one.start)])
        return groups

    async def _allotted(self, wanted: Mapping[str, tuple[int, End]], seams: Sequence[str]) -> dict[str, int]:
        """The first number for each session, and notes of turns at `seams`. One round trip, or none for neither."""
        if not wanted:
            await self._note(seams)
            return {}
        replies: list[Reply[None]] = []

        def note(batch: ValueBatch) -> None:
            if seams:
                fields, written = self._by.mender.unmixed.write(batch, seams)
                self._noted += fields
                replies.extend(written)

        starts = await self._by.sessions.allot(wanted, beside=note)
        for reply in replies:
            reply.result()
        return starts

    async def _note(self, ids: Sequence[str]) -> None:
        """Note turns that are to be mixed anew. One round trip, none for none."""
        if ids:
            fields, _ = await self._by.mender.unmixed.note(ids)
            self._noted += fields

    def _windows(
        self, groups: Sequence[_Group], last: Mapping[str, Window], known: Mapping[str, bytes]
    ) -> tuple[list[PreparedMemory], list[Window], dict[str, bytes]]:
        """The turns with their ids and numbers, group by group, the window of each, and the marks of these by id."""
        prepared: list[PreparedMemory] = []
        windows: list[Window] = []
        for group in groups:
            items = [self._turns[place][1] for place in group.places]
            said = [_spoken(item) for item in items]
            context = last[group.key].own if group.last_before is not None else None
            first = context if context in known else None
            windows += [
                Window(own, previous, following, is_turn=True)
                for own, previous, following in zip(said, [first, *said], [*said[1:], None], strict=False)
            ]
            prepared += [
                replace(item, memory=replace(item.memory, id=id, turn=group.start + number))
                for number, (item, id) in enumerate(zip(items, group.ids, strict=True))
            ]
        marks = {item.memory.id: window.mark for item, window in zip(prepared, windows, strict=True)}
        return prepared, windows, marks

    def refuse_the_rest(self, error: AgentMemoryError) -> None:
        """Those that wait are not tried again."""
        self.results.update((place, unplaced(error)) for place in self.waiting)
        self.waiting = []

    async def _settle(self, groups: Sequence[_Group], stored: Iterable[RememberResult], layout: Layout) -> list[str]:
        """Note what became of the turns; the ids of those that are there.

        Behind a place that was taken nothing stays: it would come before what has to be said first. One round trip
        where that is so, and two where nothing of a session could be stored.
        """
        self.waiting = []
        kept: list[str] = []
        taken_back: list[str] = []
        failed: list[_Group] = []
        results = iter(stored)
        for group in groups:
            became = {place: next(results) for place in group.places}
            taken = [place for place, result in became.items() if isinstance(result.error, MemoryExistsError)]
            if taken:
                behind = [place for place in group.places if place >= taken[0]]
                again = [place for place in behind if place in taken or became[place].outcome == "stored"]
                taken_back += [id for place in again if place not in taken and (id := became[place].id) is not None]
                self.waiting += again
            elif all(_certainly_failed(result) for result in became.values()):
                failed.append(group)
            self.results.update(became)
            kept += [result.id for result in became.values() if result.outcome == "stored" and result.id is not None]
        if failed:
            await self._give_back(failed)
        if taken_back:
            try:
                await self._by.writer.take_back(taken_back, layout)
            except EngineError as error:
                _log.warning("turns stay where they are, before what was to precede them: %s", error)
                self.waiting = [place for place in self.waiting if self.results[place].id not in taken_back]
                return kept
        self.waiting.sort()
        return [id for id in kept if id not in taken_back]

    async def _give_back(self, groups: Sequence[_Group]) -> None:
        """Numbers that no turn was stored under: a gap would part the next turn from those before."""
        for group in groups:
            if group.key in self._own:
                self._own[group.key] = group.start
        counted = [group for group in groups if group.key not in self._own]
        if counted:
            await self._by.sessions.give_back(
                {group.key: (group.start, group.start + len(group.places)) for group in counted}
            )

    async def _join(
        self,
        groups: Sequence[_Group],
        prepared: Mapping[str, PreparedMemory],
        marks: dict[str, bytes],
        known: dict[str, bytes],
        layout: Layout,
    ) -> None:
        """Mix the turn before the first one of each session anew, and see that nobody has come between meanwhile.

        `marks` are those of the turns that are there by now.
        """
        edges: dict[str, None] = {}
        previous: list[str] = []
        records: dict[str, Fields | None] = {}
        for group in groups:
            ids = group.ids
            missing = [id for id in ids if id not in marks]
            edges |= dict.fromkeys([*all_around(ids), ids[0], ids[-1], *all_around(missing)])
            if group.last_before is not None and ids[0] in marks:
                previous.append(group.last_before)
                records |= {**group.end.around, ids[0]: record.encode_memory(prepared[ids[0]].memory, b"")}
        gone = prepared.keys() - marks.keys()
        try:
            if previous:
                marks |= await self._by.mender.put(previous, records, known, layout)
            await self._by.mender.mend([id for id in edges if id not in gone], layout=layout, known=known, marks=marks)
            await self._by.mender.unmixed.clear(self._noted)
            self._noted = []
        except AgentMemoryError as error:
            # The turns are stored: whoever repeated the call would have them twice.
            self._by.on_failure()
            self._by.mender.unmixed.leave(self._noted)
            _log.warning("turns next to what was just stored are not mixed with it yet: %s", error)
        if self._notes is not None:
            notes, self._notes = self._notes, None
            await self._by.mender.work_off(notes, layout=layout)


def _certainly_failed(result: RememberResult) -> bool:
    return result.outcome == "rejected" and not isinstance(result.error, OutcomeUnknownError)


def _last_of(key: str, end: End) -> str | None:
    """The last turn of a session, if it is there."""
    id = turn_id(key, end.length - 1) if end.length else ""
    fields = end.around.get(id)
    return id if fields is not None and record.is_memory(fields) and is_turn(id, fields) else None


def _seam(key: str, start: int) -> list[str]:
    """The turn of this number, and the one before it."""
    return [turn_id(key, number) for number in (start - 1, start)]


def _seam_behind(key: str, end: End) -> list[str]:
    """The turns that must be mixed anew when one comes behind this end; none for the first one of a session.

    One that is not there may still be on its way: whoever was cancelled may have sent it.
    """
    if not end.length:
        return []
    last = _last_of(key, end)
    return _seam(key, end.length) if last is None else [last]


def _spoken(item: PreparedMemory) -> str:
    return spoken(item.memory.content, item.memory.speaker)
