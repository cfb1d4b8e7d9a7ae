"""Deleting memories."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from betterdb_agent_memory.engines.base import Row
from betterdb_agent_memory.errors import AgentMemoryError, InvalidInputError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.correction.shelf import Former, former_of
from betterdb_agent_memory.memory.dynamics_fields import SUPERSEDES
from betterdb_agent_memory.memory.forgetting import forget_matching
from betterdb_agent_memory.memory.kinds import MemoryKind
from betterdb_agent_memory.memory.mending import Removal
from betterdb_agent_memory.memory.parts import StoreParts
from betterdb_agent_memory.memory.requests import (
    exact_filter,
)
from betterdb_agent_memory.memory.scope import MemoryScope
from betterdb_agent_memory.memory.searching import lookup_space
from betterdb_agent_memory.memory.spaces import VectorSpace
from betterdb_agent_memory.memory.where import Where


class ForgetVerbs(StoreParts):
    """forget, forget_many, forget_by_scope."""

    async def forget(self, id: str) -> bool:
        """Delete one memory and all that it has superseded; true when there was one, also a superseded one.

        Three round trips, for a turn of a conversation eight.

        Raises as `forget_many`.
        """
        [existed] = await self.forget_many([id])
        return existed

    async def forget_many(self, ids: Sequence[str]) -> builtins.list[bool]:
        """Delete memories and all that they have superseded; true, in order, where there was one, or a superseded one.

        What is archived under one of the ids goes, too. Three round trips per 500, and two more for each step back to
        what was superseded.

        The vectors of turns that stood next to a turn are mixed anew, so that they hold nothing of it: up to five
        round trips more and an embedding call. They are noted before anything is deleted: after a call that broke
        off, the next one that forgets or changes turns, or appends to a session, does it, and so does `ensure_index`.

        Raises:
            EmbeddingError, ConfigurationError: they are deleted, but turns next to them could not be embedded, or
                there is no embedder: that is done as soon as there is one, or by forgetting them once more.
            PartialBatchError: some were deleted; it says which.
            OutcomeUnknownError: the connection broke meanwhile; deleting again is harmless.
        """
        checked = record.checked_ids(ids)
        layout = await self._models.layout()
        with self._mender.removal() as removal:
            await removal.note(checked)
            former = await self._superseded_by(checked)
            existed = await self._records.delete_many(checked)
            self._watch.forgotten(sum(existed))
            existed = await self._forget_versions(checked, existed, former)
            gone = [id for id, was in zip(checked, existed, strict=True) if was]
            await self._follower.follow(layout.generation, gone)
            # Also where nothing was left to delete: so a call that failed here is made good by the next one.
            await _mix(removal)
        return existed

    async def _superseded_by(self, ids: Sequence[str]) -> builtins.list[Former]:
        """What these memories have superseded."""
        held = await self._records.read_many(ids, (SUPERSEDES,))
        return [former for id, fields in zip(ids, held, strict=True) if fields for former in former_of(id, fields)]

    async def _forget_versions(
        self, ids: Sequence[str], existed: Sequence[bool], former: Sequence[Former]
    ) -> builtins.list[bool]:
        """Delete the versions: those before what was deleted, and what is superseded or archived under these ids.

        Memories are looked for first and versions after that, as a memory goes when it is superseded meanwhile.
        """
        kept = await self._shelf.records.read_many(ids, (record.CREATED_AT,))
        versions = {id for id, fields in zip(ids, kept, strict=True) if fields is not None}
        if versions or former:
            await self._shelf.forget(versions, former=former)
        return [was or id in versions for id, was in zip(ids, existed, strict=True)]

    async def forget_by_scope(
        self,
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        tags: Sequence[str] | None = None,
        scope: MemoryScope | None = None,
        where: Where | None = None,
        kind: MemoryKind | Sequence[MemoryKind] | None = None,
    ) -> int:
        """Delete every memory of exactly this scope with all these tags, of this `kind`, meeting `where`; how many.

        What these have superseded goes with them, and so do all superseded versions that are of this scope, have these
        tags and meet `where`; neither is counted. Two round trips per 500 memories, and one; two more per 500 versions.
        Turns of conversations that remain next to forgotten ones are mixed anew, as by
        `forget_many`: for those one round trip more per 500, and up to four per 250 that remain.

        Raises:
            InvalidInputError: nothing was given; that would be the whole store.
            IndexNotReadyError: the index is being rebuilt, so some would be missed; nothing was deleted.
            ConfigurationError: there is no index, and no embedder to make one with.
            EngineError: with a note saying how many had been deleted before it.
        """
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, where=where, kind=kind)
        if not filter.clauses:
            raise InvalidInputError(
                "forget_by_scope needs at least one of thread_id, agent_id, namespace, tags, kind or where; without "
                "one it would delete the whole store"
            )

        async def search(space: VectorSpace) -> int:
            if await space.index.find(space.embedder.dimensions) is None:
                # Memories may be there without an index: made now, it finds them.
                await space.index.ensure(await space.embedder.probe())
            return await self._searcher.ask(
                space, lambda: forget_matching(space.records, filter, announce), 0, filter=filter
            )

        async def announce(rows: Sequence[Row]) -> None:
            await removal.note([row.id for row in rows])
            former.update(one for row in rows for one in former_of(row.id, row.fields))

        former: set[Former] = set()
        with self._mender.removal() as removal:
            count = await self._searcher.within(lookup_space, search)
            self._watch.forgotten(count)
            await self._shelf.forget((), former=former)
            await self._shelf.forget_matching(filter)
            await _mix(removal)
        return count


async def _mix(removal: Removal) -> None:
    """Mix the vectors of turns anew whose neighbours were forgotten."""
    try:
        await removal.mix()
    except AgentMemoryError as error:
        error.add_note(
            "what was to be forgotten is deleted, but the vectors of turns next to it still hold a share of it; that "
            "is noted and made good by the next call that forgets, changes or appends turns, or forget the same ids "
            "once more"
        )
        raise
