"""Deleting memories."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from betterdb_agent_memory.errors import AgentMemoryError, InvalidInputError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.forgetting import Forgotten, forget_matching
from betterdb_agent_memory.memory.parts import StoreParts
from betterdb_agent_memory.memory.requests import (
    exact_filter,
)
from betterdb_agent_memory.memory.scope import MemoryScope
from betterdb_agent_memory.memory.searching import lookup_space
from betterdb_agent_memory.memory.spaces import VectorSpace
from betterdb_agent_memory.memory.turns import all_around
from betterdb_agent_memory.memory.where import Where


class ForgetVerbs(StoreParts):
    """forget, forget_many, forget_by_scope."""

    async def forget(self, id: str) -> bool:
        """Delete one memory; true when there was one. One round trip, for a turn of a conversation four.

        Raises as `forget_many`.
        """
        [existed] = await self.forget_many([id])
        return existed

    async def forget_many(self, ids: Sequence[str]) -> builtins.list[bool]:
        """Delete memories; true, in order, where there was one. One round trip per 500.

        The vectors of turns that stood next to a turn are mixed anew, so that they hold nothing of it: up to three
        round trips more and an embedding call.

        Raises:
            EmbeddingError, ConfigurationError: they are deleted, but turns next to them could not be embedded, or
                there is no embedder: forget them once more when there is one.
            PartialBatchError: some were deleted; it says which.
            OutcomeUnknownError: the connection broke meanwhile; deleting again is harmless.
        """
        checked = record.checked_ids(ids)
        layout = await self._models.layout()
        existed = await self._records.delete_many(checked)
        self._watch.forgotten(sum(existed))
        await self._follower.follow(layout.generation, [id for id, was in zip(checked, existed, strict=True) if was])
        # Also where nothing was left to delete: so a call that failed here is made good by the next one.
        await self._mix_without(all_around(checked))
        return existed

    async def _mix_without(self, neighbours: Sequence[str]) -> None:
        """Mix the vectors of turns anew whose neighbours were forgotten."""
        if not neighbours:
            return
        try:
            await self._mender.mend(neighbours)
        except AgentMemoryError as error:
            error.add_note(
                "what was to be forgotten is deleted, but the vectors of turns next to it still hold a share of it; "
                "forget the same ids once more"
            )
            raise

    async def forget_by_scope(
        self,
        *,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        tags: Sequence[str] | None = None,
        scope: MemoryScope | None = None,
        where: Where | None = None,
    ) -> int:
        """Delete every memory of exactly this scope with all these tags, meeting `where`; returns how many.

        Two round trips per 500. Turns of conversations that remain next to forgotten ones are mixed anew, as by
        `forget_many`.

        Raises:
            InvalidInputError: nothing was given; that would be the whole store.
            IndexNotReadyError: the index is being rebuilt, so some would be missed; nothing was deleted.
            ConfigurationError: there is no index, and no embedder to make one with.
            EngineError: with a note saying how many had been deleted before it.
        """
        filter = exact_filter(scope, thread_id, agent_id, namespace, tags, where=where)
        if not filter.clauses:
            raise InvalidInputError(
                "forget_by_scope needs at least one of thread_id, agent_id, namespace, tags or where; without one it "
                "would delete the whole store"
            )

        async def search(space: VectorSpace) -> Forgotten:
            if await space.index.find(space.embedder.dimensions) is None:
                # Memories may be there without an index: made now, it finds them.
                await space.index.ensure(await space.embedder.probe())
            nothing = Forgotten(0, [])
            return await self._searcher.ask(
                space, lambda: forget_matching(space.records, filter), nothing, filter=filter
            )

        forgotten = await self._searcher.within(lookup_space, search)
        self._watch.forgotten(forgotten.count)
        await self._mix_without(forgotten.neighbours)
        return forgotten.count
