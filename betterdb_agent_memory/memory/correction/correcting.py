"""Superseding and correcting memories."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.engines.base import RecordChange, Records, RecordWrite, Retired, Retirement
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    EmbeddingError,
    IndexMismatchError,
    InvalidInputError,
    MemoryNotFoundError,
    SupersededError,
    VersionConflictError,
)
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.changes.cause import because
from betterdb_agent_memory.memory.correction.lineage import (
    changed,
    ends_at,
    lineage_field,
    succeeding,
    successor,
)
from betterdb_agent_memory.memory.correction.living import Living
from betterdb_agent_memory.memory.correction.shelf import Shelf
from betterdb_agent_memory.memory.dynamics_fields import (
    EMBEDDER,
    SUPERSEDED_AT,
    SUPERSEDED_BY,
    SUPERSEDES,
    VALID_FROM,
    VALID_UNTIL,
    decode_whole,
)
from betterdb_agent_memory.memory.generations.following import Follower
from betterdb_agent_memory.memory.generations.layout import Layout, Models
from betterdb_agent_memory.memory.linking import Linker
from betterdb_agent_memory.memory.mending import Mender, Removal
from betterdb_agent_memory.memory.record import MemoryItem, decode_memory
from betterdb_agent_memory.memory.updating import Update

_ATTEMPTS = 10

_AT_IT_SECONDS = 60.0
"""After so long whoever was to move a memory away is taken for dead."""

_NOTHING_DONE = (EmbeddingError, InvalidInputError, MemoryNotFoundError, SupersededError, VersionConflictError)


@dataclass(frozen=True, slots=True)
class Correction:
    """A validated correction: what the memory says from now on, and since when that holds (None: from now on)."""

    update: Update
    content: str
    valid_from_ms: int | None


class Corrector:
    """Takes memories out of a store's recall and puts others in their places.

    On one server, a hash-tagged store and a file that is one step. On other clusters it takes several, and who is
    killed in between leaves a memory that says by what it is superseded: whoever comes to it next finishes it.
    """

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
        new_id: Callable[[], str],
        stored_words: Callable[[str], str | None],
    ) -> None:
        self._records = records
        self._shelf = shelf
        self._models = models
        self._follower = follower
        self._mender = mender
        self._linker = linker
        self._clock = clock
        self._new_id = new_id
        self._stored_words = stored_words
        self.living = Living(records, shelf, finish=self.finish)

    async def correct(self, correction: Correction) -> MemoryItem:
        """The memory that has taken the place of the corrected one. Raises as `MemoryStore.correct`."""
        id = correction.update.id
        layout = await self._models.layout()
        layout.main.embedder.require("correct a memory")
        known = await self._to_be_corrected(correction)
        with self._mender.removal() as removal:
            await removal.note([id])
            try:
                item = await self._corrected(correction, known, layout)
            except _NOTHING_DONE:
                await removal.call_off()
                raise
            await self._followed(layout, [id, item.id], removal)
        return item

    async def supersede(self, id: str, by: str) -> bool:
        """Whether memory `id` was superseded by this; false where it was already, by the same one.

        Raises as `MemoryStore.supersede`.
        """
        layout = await self._models.layout()
        with self._mender.removal() as removal:
            await removal.note([id])
            try:
                is_done = await self._superseded(id, by, layout)
            except _NOTHING_DONE:
                await removal.call_off()
                raise
            await self._followed(layout, [id, by], removal)
        return is_done

    async def finish(self, id: str, by: str) -> None:
        """Move memory `id` away, which says that `by` has superseded it: somebody was killed before he had.

        Nothing for a minute, in which whoever said so may be at it: of two who do it at once one might take the other's
        work for what somebody forgets.
        """
        [said] = await self._records.read_many([id], (SUPERSEDED_BY, SUPERSEDED_AT))
        said_ms = decode_whole((said or {}).get(SUPERSEDED_AT, b"0")) or 0
        if said is None or abs(self._clock() - said_ms) < 1000 * _AT_IT_SECONDS:
            return
        layout = await self._models.layout()
        await self._prepare_shelf(layout)
        [there] = await self._shelf.records.read_many([id], (SUPERSEDED_BY, record.CREATED_AT))
        is_ours = there is None or successor(there) == by
        kept_as = id if is_ours else another_id(id)
        retirement = Retirement(
            id,
            kept_as,
            expected={SUPERSEDED_BY: by.encode()},
            ttl_seconds=self._shelf.retention_seconds,
            successor=RecordChange(by, unions={SUPERSEDES: lineage_field([kept_as])}),
            resumes=is_ours,
        )
        if await self._retire(retirement) is Retired.NO_SUCCESSOR:
            await self._retire(replace(retirement, successor=None))
        await self._follower.follow(layout.generation, [id, by])

    async def _to_be_corrected(self, correction: Correction) -> Fields:
        update = correction.update
        [former] = await self.living.require([update.id])
        version = decode_memory(update.id, former)[0]
        if update.if_version is not None and version is not None and version.version != update.if_version:
            raise VersionConflictError(
                f"memory {update.id!r} has version {version.version}, not {update.if_version}: somebody has changed it "
                "since you read it. Read it again and decide",
                current=version.version,
            )
        if former[record.CONTENT] == correction.content.encode():
            raise InvalidInputError(f"memory {update.id!r} says just that already; change the rest of it with update()")
        return former

    async def _corrected(self, correction: Correction, former: Fields, layout: Layout) -> MemoryItem:
        update, id, new_id = correction.update, correction.update.id, self._new_id()
        kept_as = id
        vector = await self._embedded(correction.content, layout)
        for _ in range(_ATTEMPTS):
            now_ms = self._clock()
            fields = succeeding(
                former,
                id=kept_as,
                content=correction.content,
                now_ms=now_ms,
                valid_from_ms=correction.valid_from_ms,
            )
            fields = changed(fields, update.sets, update.removes)
            if (words := self._stored_words(correction.content)) is not None:
                fields[record.WORDS] = words.encode()
            [expires_at_ms] = await self._records.read_expiries([id])
            write = RecordWrite(new_id, {**fields, record.VECTOR: vector}, expires_at_ms=expires_at_ms, is_new=True)
            if update.expiry is not None:
                write = replace(write, expires_at_ms=None, ttl_seconds=update.expiry.ttl_seconds)
            retirement = self._retirement(id, kept_as, former, write, fields.get(VALID_FROM), now_ms, layout)
            try:
                retired = await self._retire(retirement)
            except (IndexMismatchError, InvalidInputError) as refusal:  # embedded for an index that has gone meanwhile
                layout = await self._models.moved_from(layout, refusal)
                vector = await self._embedded(correction.content, layout)
                continue
            if retired is Retired.RETIRED:
                item, _ = decode_memory(new_id, fields)
                if item is not None:
                    return item
            if retired is Retired.TAKEN:
                kept_as = another_id(id)
            former = await self._to_be_corrected(correction)
        raise _changed_by_others(id)

    async def _superseded(self, id: str, by: str, layout: Layout) -> bool:
        kept_as = id
        await self._prepare_shelf(layout)
        for _ in range(_ATTEMPTS):
            try:
                former, later = await self._both(id, by)
            except SupersededError as error:
                if (error.memory_id, error.superseded_by) == (id, by):
                    return False
                raise
            change = RecordChange(by, expected={SUPERSEDED_BY: None}, unions={SUPERSEDES: lineage_field([kept_as])})
            retired = await self._retire(
                self._retirement(id, kept_as, former, change, later.get(VALID_FROM), self._clock(), layout)
            )
            if retired is Retired.RETIRED:
                return True
            if retired is Retired.TAKEN:
                kept_as = another_id(id)
        raise _changed_by_others(id)

    def _retirement(
        self,
        id: str,
        kept_as: str,
        former: Fields,
        new: RecordWrite | RecordChange,
        new_from: bytes | None,
        now_ms: int,
        layout: Layout,
    ) -> Retirement:
        return Retirement(
            id,
            kept_as,
            expected={record.VERSION: former.get(record.VERSION), SUPERSEDED_BY: None},
            sets={
                SUPERSEDED_BY: new.id.encode(),
                VALID_UNTIL: ends_at(former, successor_from=new_from, now_ms=now_ms),
                SUPERSEDED_AT: b"%d" % now_ms,
                EMBEDDER: layout.main.embedder.name.encode(),
            },
            ttl_seconds=self._shelf.retention_seconds,
            successor=new,
        )

    async def _retire(self, retirement: Retirement) -> Retired:
        # Read before: where it takes several steps, the last of them deletes the memory with its links.
        links = await self._linker.held_by(retirement.id)
        with because("superseded"):
            [retired] = await self._records.retire_many([retirement], self._shelf.records)
        if retired is Retired.RETIRED:
            successor = None if retirement.successor is None else retirement.successor.id
            await self._linker.hand_over(retirement.id, links, successor)
        return retired

    async def _embedded(self, content: str, layout: Layout) -> bytes:
        dimensions = await layout.main.index.find(layout.main.embedder.dimensions)
        vector = await layout.main.embedder.embed_document(content, dimensions)
        await self._prepare_shelf(layout)
        return vector

    async def _prepare_shelf(self, layout: Layout) -> None:
        dimensions = await layout.main.index.find()
        if dimensions is not None:
            await self._shelf.prepare(dimensions)

    async def _followed(self, layout: Layout, ids: Sequence[str], removal: Removal) -> None:
        await self._follower.follow(layout.generation, ids)
        try:
            await removal.mix()
        except AgentMemoryError as error:
            error.add_note(
                "the memory is superseded, but the vectors of turns next to it still hold a share of it; that is made "
                "good by the next call that forgets, changes or appends turns"
            )
            raise

    async def _both(self, id: str, by: str) -> tuple[Fields, Fields]:
        """The memory and the one that takes its place. One round trip."""
        if id == by:
            raise InvalidInputError(f"memory {id!r} can neither supersede nor contradict itself")
        former, later = await self.living.require([id, by])
        return former, later


def another_id(id: str) -> str:
    """Another id to keep a version under: its own is that of an earlier memory."""
    return f"{id}~{uuid.uuid4().hex[:8]}"


def _changed_by_others(id: str) -> VersionConflictError:
    return VersionConflictError(f"memory {id!r} was changed by others {_ATTEMPTS} times meanwhile; try again")
