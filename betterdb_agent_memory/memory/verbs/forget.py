"""Deleting memories."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.forgetting import forget_matching
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
        """Delete one memory; true when there was one. One round trip."""
        [existed] = await self.forget_many([id])
        return existed

    async def forget_many(self, ids: Sequence[str]) -> builtins.list[bool]:
        """Delete memories; true, in order, where there was one. One round trip per 500.

        Raises:
            PartialBatchError: some were deleted; it says which.
            OutcomeUnknownError: the connection broke meanwhile; deleting again is harmless.
        """
        checked = record.checked_ids(ids)
        layout = await self._models.layout()
        existed = await self._records.delete_many(checked)
        self._watch.forgotten(sum(existed))
        await self._follower.follow(layout.generation, [id for id, was in zip(checked, existed, strict=True) if was])
        return existed

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

        Two round trips per 500.

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

        async def search(space: VectorSpace) -> int:
            if await space.index.find(space.embedder.dimensions) is None:
                # Memories may be there without an index: made now, it finds them.
                await space.index.ensure(await space.embedder.probe())
            return await self._searcher.ask(space, lambda: forget_matching(space.records, filter), 0, filter=filter)

        deleted = await self._searcher.within(lookup_space, search)
        self._watch.forgotten(deleted)
        return deleted
