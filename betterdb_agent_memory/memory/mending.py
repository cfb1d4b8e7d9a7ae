"""Keeping the vectors of turns in step with the turns before and after them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager

from betterdb_agent_memory.engines.base import Outcome, RecordChange, Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.values import Reply
from betterdb_agent_memory.errors import AgentMemoryError, IndexMismatchError, InvalidInputError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.generations.following import Follower
from betterdb_agent_memory.memory.generations.layout import Layout, Models
from betterdb_agent_memory.memory.near.answers import scope_stored
from betterdb_agent_memory.memory.near.scopes import changing_in
from betterdb_agent_memory.memory.turns import all_around
from betterdb_agent_memory.memory.unmixed import Unmixed, noted_ids
from betterdb_agent_memory.memory.windows import embed_windows, read_around, turn_windows

_log = logging.getLogger(__name__)

_ATTEMPTS = 20
_BATCH = 250


class Mender:
    """Mixes the vectors of turns anew after something in their windows has changed.

    Whoever writes a turn looks at its neighbours after that, and whoever has written a mix looks once more at what
    it was made of. So the last of several who write at once sees what all of them wrote. Who is killed in between
    leaves turns that are found through the window they had, and a note of those beside what came, was deleted or
    changed: the next one who looks mixes them anew (`removal`, `work_off`).

    `on_failure` is told of what broke off and of notes that could not be worked off.
    """

    def __init__(
        self,
        records: Records,
        models: Models,
        follower: Follower,
        unmixed: Unmixed,
        *,
        on_failure: Callable[[], None],
    ) -> None:
        self._records = records
        self._models = models
        self._follower = follower
        self._on_failure = on_failure
        self.unmixed = unmixed

    @contextmanager
    def removal(self) -> Iterator[Removal]:
        """For taking texts out of the vectors of the turns beside them, whatever happens in between."""
        removal = Removal(self)
        try:
            yield removal
        except BaseException:
            if removal.fields:
                self.unmixed.leave(removal.fields)
                self._on_failure()
            raise

    async def mend_or_note(self, ids: Sequence[str], *, raises: bool) -> None:
        """As `mend`; what fails is noted, so that the next one who looks does it, and then raised if asked for."""
        try:
            await self.mend(ids)
        except AgentMemoryError as error:
            self._on_failure()
            _log.warning("vectors of turns are not mixed with those of the turns next to them yet: %s", error)
            fields, _ = await self.unmixed.note(ids)
            self.unmixed.leave(fields)
            if raises:
                raise

    async def work_off(self, notes: Reply[dict[str, bytes]], *, layout: Layout) -> None:
        """Mix anew what others have left unmixed; what fails is told to `on_failure` and left to the next one.

        No round trip where there is nothing to do; else those of `mend`, and one.
        """
        try:
            due = self.unmixed.due(notes.result())
            if due:
                await self._work_off(due, due, layout)
        except AgentMemoryError as error:
            self._not_worked_off(error)

    async def work_off_all(self) -> None:
        """As `work_off`, with notes of those that may still be at work: theirs to take back. One round trip more."""
        try:
            notes = await self.unmixed.read()
            if notes:
                await self._work_off(list(notes), self.unmixed.due(notes), await self._models.layout())
        except AgentMemoryError as error:
            self._not_worked_off(error)

    async def work_off_due(self, due: Sequence[str]) -> None:
        """As `work_off`, of these notes."""
        try:
            if due:
                await self._work_off(due, due, await self._models.layout())
        except AgentMemoryError as error:
            self._not_worked_off(error)

    async def _work_off(self, fields: Sequence[str], due: Sequence[str], layout: Layout) -> None:
        if layout.main.embedder.is_there:
            await self.mend(noted_ids(fields), layout=layout)
            await self.unmixed.clear(due)
            self.unmixed.resume()

    def _not_worked_off(self, error: AgentMemoryError) -> None:
        self.unmixed.pause()
        self._on_failure()
        _log.warning("vectors of turns still hold a share of what was deleted beside them: %s", error)

    async def mend(
        self,
        ids: Sequence[str],
        *,
        layout: Layout | None = None,
        known: MutableMapping[str, bytes] | None = None,
        marks: Mapping[str, bytes] | None = None,
    ) -> None:
        """Give those of `ids` that are turns the vectors of their windows as these are now.

        `known` are vectors of texts made with `layout`, `marks` tell for which window a turn has its vector
        already. One round trip where all have it, else three, for each 250 of them; an embedding call for texts
        that are not known.

        Raises:
            EmbeddingError: a text that is needed could not be embedded.
            ConfigurationError: there is something to be mixed, and the store has no embedder.
        """
        stand = dict(marks or {})
        layout = layout or await self._models.layout()
        for start in range(0, len(ids), _BATCH):
            # Vectors that nobody asked for are kept for one batch: a scope may have any number of turns.
            vectors = {} if known is None else known
            layout = await self._mend(ids[start : start + _BATCH], vectors, stand, layout)
        await self._follower.follow(layout.generation, ids)

    async def put(
        self,
        ids: Sequence[str],
        records: Mapping[str, Fields | None],
        known: MutableMapping[str, bytes],
        layout: Layout,
    ) -> dict[str, bytes]:
        """Give turns the vectors of their windows among `records`; the marks of those that still say the same.

        One round trip, and an embedding call for texts that are not `known`. Raises as `mend`; a text that
        cannot be embedded keeps no other from being written.
        """
        space = layout.main
        space.embedder.require("mixing a turn's vector with those next to it")
        dimensions = await space.index.find(space.embedder.dimensions)
        windows = await turn_windows(ids, records)
        made = await embed_windows(space.embedder, [window for window, _ in windows.values()], dimensions, known)
        changes: list[RecordChange] = []
        failure: AgentMemoryError | None = None
        for id, vector in zip(windows, made, strict=True):
            if isinstance(vector, bytes):
                said = (records[id] or {})[record.CONTENT]
                changes.append(RecordChange(id, expected={record.CONTENT: said}, sets={record.VECTOR: vector}))
            else:
                failure = failure or vector
        with changing_in({scope_stored(records[change.id] or {}) for change in changes}):
            outcomes = await self._records.change_many(changes) if changes else []
        if failure is not None:
            raise failure
        return {
            change.id: windows[change.id][1]
            for change, outcome in zip(changes, outcomes, strict=True)
            if outcome is Outcome.CHANGED
        }

    async def _mend(
        self, ids: Sequence[str], known: MutableMapping[str, bytes], marks: dict[str, bytes], layout: Layout
    ) -> Layout:
        # Who is overtaken every time leaves it to those that overtake: each of them looks at the window, too.
        for _ in range(_ATTEMPTS):
            records = await read_around(self._records, ids)
            windows = await turn_windows(ids, records)
            behind = [id for id, (_, mark) in windows.items() if marks.get(id) != mark]
            if not behind:
                break
            try:
                marks |= await self.put(behind, records, known, layout)
            except (IndexMismatchError, InvalidInputError) as refusal:  # vectors for an index that has gone meanwhile
                layout = await self._models.moved_from(layout, refusal)
                known.clear()
                marks |= await self.put(behind, records, known, layout)
        return layout


class Removal:
    """One call that deletes or changes turns, and those beside them that must not keep a share of it."""

    def __init__(self, mender: Mender) -> None:
        self._mender = mender
        self._turns: list[str] = []
        self._notes: dict[str, bytes] = {}
        self.fields: list[str] = []

    async def note(self, ids: Sequence[str]) -> None:
        """Before these are deleted. One round trip where there are turns among them, else none."""
        neighbours = all_around(ids)
        if neighbours:
            self._turns += ids
            fields, self._notes = await self._mender.unmixed.note(neighbours)
            self.fields += fields

    async def call_off(self) -> None:
        """Nothing was deleted or changed after all. One round trip where there are notes to take back."""
        fields, self.fields = self.fields, []
        await self._mender.unmixed.clear(fields)

    async def mix(
        self,
        *,
        also: Sequence[str] = (),
        layout: Layout | None = None,
        known: MutableMapping[str, bytes] | None = None,
        marks: Mapping[str, bytes] | None = None,
    ) -> None:
        """Mix those beside them anew, and `also` these; then what others have left. Arguments and errors of `mend`.

        Nothing where there were no turns; else the round trips of `mend`, and one to take the notes back.
        """
        if not self.fields:
            return
        await self._mender.mend([*all_around(self._turns), *also], layout=layout, known=known, marks=marks)
        mixed = frozenset(noted_ids(self.fields))
        left = self._mender.unmixed.due(self._notes)
        await self._mender.unmixed.clear([*self.fields, *(field for field in left if noted_ids([field])[0] in mixed)])
        self.fields = []
        self._mender.unmixed.resume()
        await self._mender.work_off_due([field for field in left if noted_ids([field])[0] not in mixed])
