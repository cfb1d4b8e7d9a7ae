"""Memories that have faded, put away beside the others, and brought back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.engines.base import (
    Expected,
    Fence,
    Outcome,
    RecordChange,
    Records,
    RecordWrite,
    Retired,
    Retirement,
    Row,
)
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    IndexMismatchError,
    InvalidInputError,
    MemoryExistsError,
    MemoryNotFoundError,
)
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.changes.cause import because
from betterdb_agent_memory.memory.correction.correcting import another_id
from betterdb_agent_memory.memory.correction.lineage import is_archived, successor
from betterdb_agent_memory.memory.correction.living import superseded
from betterdb_agent_memory.memory.correction.shelf import Shelf
from betterdb_agent_memory.memory.dynamics_fields import (
    ARCHIVED_AT,
    EMBEDDER,
    KEPT_UNTIL,
    SUPERSEDED_BY,
    decode_whole,
)
from betterdb_agent_memory.memory.generations.following import Follower
from betterdb_agent_memory.memory.generations.layout import Layout, Models
from betterdb_agent_memory.memory.linking import Linker
from betterdb_agent_memory.memory.mending import Mender
from betterdb_agent_memory.memory.record import MemoryItem, decode_memory
from betterdb_agent_memory.memory.turns import all_around, is_turn

_OF_THE_SHELF = (ARCHIVED_AT, EMBEDDER, KEPT_UNTIL)
"""What an archived memory has and no other."""


class Archiver:
    """Moves memories of a store out of every recall that does not ask for them, to where superseded versions are."""

    def __init__(
        self,
        records: Records,
        shelf: Shelf,
        models: Models,
        follower: Follower,
        mender: Mender,
        linker: Linker,
        *,
        clock: Clock,
        make_room: Callable[[Iterable[Fields]], Awaitable[None]],
    ) -> None:
        self._records = records
        self._shelf = shelf
        self._models = models
        self._follower = follower
        self._mender = mender
        self._linker = linker
        self._clock = clock
        self._make_room = make_room

    async def archive(self, ids: Sequence[str], expected: Sequence[Expected], fence: Fence) -> list[bool]:
        """Put those away that still hold what is expected; true, in order, where that was done.

        They are kept as long as superseded versions, and never longer than they would have lived; their links go.
        About four round trips per 500, more where an id was archived before. Turns beside them are mixed anew.
        """
        layout = await self._models.layout()
        dimensions = await layout.main.index.find()
        if dimensions is not None:
            await self._shelf.prepare(dimensions)
        expiries = await self._records.read_expiries(ids)
        sets = {ARCHIVED_AT: b"%d" % self._clock(), EMBEDDER: layout.main.embedder.name.encode()}
        waiting = [
            Retirement(
                id,
                id,
                expected={**held, SUPERSEDED_BY: None},
                sets=sets if ends_ms is None else {**sets, KEPT_UNTIL: b"%d" % ends_ms},
                ttl_seconds=self._shelf.retention_seconds,
            )
            for id, held, ends_ms in zip(ids, expected, expiries, strict=True)
        ]
        with self._mender.removal() as removal, because("forgotten", "archived"):
            await removal.note(ids)
            left = dict(
                zip(ids, await self._records.retire_many(waiting, self._shelf.records, fence=fence), strict=True)
            )
            taken = [one for one in waiting if left[one.id] is Retired.TAKEN]
            if taken:
                again = await self._elsewhere(taken)
                outcomes = await self._records.retire_many(again, self._shelf.records, fence=fence)
                left |= {one.id: outcome for one, outcome in zip(again, outcomes, strict=True)}
            gone = [id for id in ids if left[id] is Retired.RETIRED]
            await self._linker.forget(gone)
            await self._follower.follow(layout.generation, gone)
            await removal.mix()
        return [left[id] is Retired.RETIRED for id in ids]

    async def restore(self, id: str, used: Callable[[Row, int], Mapping[str, bytes]]) -> MemoryItem:
        """Bring an archived memory back, with what `used` makes of a memory that is used at a time.

        Four round trips, and an embedding call where the store has changed its model since. Who is killed in between
        leaves it in both places; doing it again ends that. Where its scope is full another memory is evicted, not this
        one: it is the one written last.

        Raises as `Dynamics.restore`.
        """
        layout = await self._models.layout()
        [kept] = await self._shelf.records.read_many([id], None)
        if kept is None or not is_archived(kept):
            raise await self._refusal(id, kept)
        fields = {name: value for name, value in kept.items() if name not in _OF_THE_SHELF}
        fields |= used(Row(id, kept), self._clock())
        if kept.get(EMBEDDER) != layout.main.embedder.name.encode():
            fields[record.VECTOR] = await self._embedded(fields, layout)
        try:
            outcome = await self._written(id, kept, fields)
        except (IndexMismatchError, InvalidInputError) as refusal:  # another model's, from one moment to the next
            layout = await self._models.moved_from(layout, refusal)
            fields[record.VECTOR] = await self._embedded(fields, layout)
            outcome = await self._written(id, kept, fields)
        [stored] = await self._records.read_many([id], record.ITEM_FIELDS)
        item = None if stored is None else decode_memory(id, stored)[0]
        if item is None:
            raise MemoryNotFoundError(f"memory {id!r} was forgotten by others as soon as it was back")
        if outcome is Outcome.REFUSED and stored is not None and not _is_the_same(stored, kept):
            raise MemoryExistsError(
                f"another memory has the id {id!r} by now, so the archived one cannot have it again; it stays archived"
            )
        await self._shelf.records.delete_many([id], expected=[{ARCHIVED_AT: kept[ARCHIVED_AT]}])
        await self._follower.follow(layout.generation, [id])
        if is_turn(id, kept):
            await self._mender.mend_or_note([id, *all_around([id])], raises=False)
        await self._make_room([fields])
        return item

    async def _elsewhere(self, taken: Sequence[Retirement]) -> list[Retirement]:
        """The same where something is kept under their ids already: what a killed worker has begun is gone on with,
        and an older memory of the same id keeps its place.
        """
        found = await self._records.read_many([one.id for one in taken], (ARCHIVED_AT, record.CREATED_AT))
        return [
            replace(one, resumes=True)
            if held is not None and ARCHIVED_AT in held
            else replace(one, kept_as=another_id(one.id))
            for one, held in zip(taken, found, strict=True)
        ]

    async def _written(self, id: str, kept: Fields, fields: Fields) -> Outcome:
        ends_ms = decode_whole(kept[KEPT_UNTIL]) if KEPT_UNTIL in kept else None
        never = RecordChange(id, expected={record.CONTENT: None})
        with because("remembered", "restored"):
            [outcome] = await self._records.write_many(
                [RecordWrite(id, fields, expires_at_ms=ends_ms, if_exists=never)]
            )
        return outcome

    async def _embedded(self, fields: Fields, layout: Layout) -> bytes:
        embedder = layout.main.embedder
        embedder.require("bring back a memory that another model has embedded")
        dimensions = await layout.main.index.find(embedder.dimensions)
        return await embedder.embed_document(fields[record.CONTENT].decode(errors="replace"), dimensions)

    async def _refusal(self, id: str, kept: Fields | None) -> AgentMemoryError:
        if kept is not None and (by := successor(kept)) is not None:
            return superseded(id, by)
        [live] = await self._records.read_many([id], (record.CREATED_AT,))
        if live is not None:
            return MemoryExistsError(f"memory {id!r} is not archived: it is among the others")
        return MemoryNotFoundError(
            f"no memory {id!r} is archived; it was forgotten, was kept for long enough, or never was"
        )


def _is_the_same(stored: Fields, kept: Fields) -> bool:
    """Whether this is the archived memory, which a worker that was killed had brought back."""
    return all(stored.get(name) == kept.get(name) for name in (record.CONTENT, record.CREATED_AT))
