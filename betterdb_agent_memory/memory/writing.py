"""Memories on their way into the store: embedded in batches, written in one pipeline, merged or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from betterdb_agent_memory.engines.base import Fence, Outcome, Records, RecordWrite
from betterdb_agent_memory.errors import AgentMemoryError, EngineError, OutcomeUnknownError, PartialBatchError
from betterdb_agent_memory.memory.changes.cause import because
from betterdb_agent_memory.memory.drafts import CONTENT_IDS, PreparedMemory, RememberResult
from betterdb_agent_memory.memory.generations.following import Follower
from betterdb_agent_memory.memory.generations.layout import Layout
from betterdb_agent_memory.memory.record import NewMemory, encode_memory
from betterdb_agent_memory.memory.spaces import VectorSpace

_ATTEMPTS = CONTENT_IDS + 1
"""The ids of one content, and a random one."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A memory of a batch: its place in it, and its vector once there is one."""

    place: int
    prepared: PreparedMemory
    vector: bytes = b""


@dataclass(frozen=True, slots=True)
class EmbeddedBatch:
    """A batch between embedding and writing: what is to be written, and the results that are known already."""

    layout: Layout
    items: Sequence[_Item]
    results: dict[int, RememberResult]


class Writer:
    """Writes batches of prepared memories; each gets a result, none loses its neighbours."""

    def __init__(self, records: Records, follower: Follower, *, stored_words: Callable[[str], str | None]) -> None:
        self._records = records
        self._follower = follower
        self._stored_words = stored_words

    async def embed(self, batch: Sequence[PreparedMemory], layout: Layout) -> EmbeddedBatch:
        """The first half of storing a batch, at most a few hundred: merge what is there, embed the rest.

        One call of the embedder. What is to be merged costs one round trip before it, and nothing else where
        it is there already.

        Raises:
            AgentMemoryError: the index cannot be had, or there is no embedder; nothing was written.
        """
        results: dict[int, RememberResult] = {}
        items = [_Item(place, prepared) for place, prepared in enumerate(batch)]
        fresh = await self._merge_existing(items, results)
        embedded = await self._embed(fresh, layout.main, results) if fresh else []
        return EmbeddedBatch(layout, embedded, results)

    async def embed_again(self, batch: EmbeddedBatch, layout: Layout) -> EmbeddedBatch:
        """The same batch for another layout: what has no result yet gets another vector. Raises as `embed`."""
        waiting = [item for item in batch.items if item.place not in batch.results]
        return EmbeddedBatch(layout, await self._embed(waiting, layout.main, batch.results), batch.results)

    async def store(self, batch: EmbeddedBatch) -> list[RememberResult]:
        """The second half: one round trip; what became of each memory, in order."""
        results = batch.results
        await self._store(batch.items, results)
        kept = [result.id for result in results.values() if result.outcome != "rejected" and result.id is not None]
        await self._follower.follow(batch.layout.generation, kept)
        return [results[place] for place in range(len(results))]

    async def store_embedded(
        self, memories: Sequence[tuple[PreparedMemory, bytes]], layout: Layout
    ) -> list[RememberResult]:
        """Store memories that have their vectors already, made with `layout`: as `store`."""
        items = [_Item(place, prepared, vector) for place, (prepared, vector) in enumerate(memories)]
        return await self.store(EmbeddedBatch(layout, items, {}))

    async def take_back(self, ids: Sequence[str], layout: Layout) -> None:
        """Delete memories that were only just stored with `layout`. One round trip."""
        await self._records.delete_many(ids)
        await self._follower.follow(layout.generation, ids)

    async def write_made(
        self,
        memories: Sequence[NewMemory],
        layout: Layout,
        *,
        fence: Fence,
        ttl_seconds: int | None = None,
        expires_at_ms: int | None = None,
    ) -> None:
        """Store what consolidation made; nothing is written when one of them cannot be embedded.

        Raises:
            LeaseLostError: somebody else has the lease of `fence` by then.
        """
        space = layout.main
        dimensions = await space.index.find(space.embedder.dimensions)
        vectors = await space.embedder.embed_documents([memory.content for memory in memories], dimensions)
        await space.index.ensure(len(vectors[0]) // 4)
        await self._records.write_many(
            [
                RecordWrite(memory.id, self._encoded(memory, vector), ttl_seconds, expires_at_ms, is_new=True)
                for memory, vector in zip(memories, vectors, strict=True)
            ],
            fence=fence,
        )
        await self._follower.follow(layout.generation, [memory.id for memory in memories])

    def _encoded(self, memory: NewMemory, vector: bytes) -> dict[str, bytes]:
        return encode_memory(replace(memory, words=self._stored_words(memory.content)), vector)

    async def _merge_existing(self, items: Sequence[_Item], results: dict[int, RememberResult]) -> list[_Item]:
        """Reinforce those of the memories to be merged that are there already; the others."""
        merging = [item for item in items if item.prepared.on_duplicate == "merge"]
        fresh = [item for item in items if item.prepared.on_duplicate != "merge"]
        for _ in range(_ATTEMPTS):
            if not merging:
                break
            with because("updated"):
                outcomes = await self._records.change_many([item.prepared.merge() for item in merging])
            taken = []
            for item, outcome in zip(merging, outcomes, strict=True):
                if outcome is Outcome.MISSING:
                    fresh.append(item)
                elif outcome is Outcome.REFUSED and item.prepared.has_content_id:
                    taken.append(_Item(item.place, item.prepared.elsewhere()))
                else:
                    results[item.place] = item.prepared.outcome(outcome)
            merging = taken
        results.update({item.place: item.prepared.outcome(Outcome.REFUSED) for item in merging})
        return sorted(fresh, key=lambda item: item.place)

    async def _embed(
        self, items: Sequence[_Item], space: VectorSpace, results: dict[int, RememberResult]
    ) -> list[_Item]:
        dimensions = await space.index.find(space.embedder.dimensions)
        vectors = await space.embedder.embed_each([item.prepared.memory.content for item in items], dimensions)
        embedded = []
        for item, vector in zip(items, vectors, strict=True):
            if isinstance(vector, bytes):
                embedded.append(_Item(item.place, item.prepared, vector))
            else:
                results[item.place] = item.prepared.rejected(vector)
        if embedded:
            await space.index.ensure(len(embedded[0].vector) // 4)
        return embedded

    async def _store(self, items: Sequence[_Item], results: dict[int, RememberResult]) -> None:
        for _ in range(_ATTEMPTS):
            if not items:
                return
            outcomes = await self._written(items)
            taken = []
            for item, outcome in zip(items, outcomes, strict=True):
                if isinstance(outcome, AgentMemoryError):
                    results[item.place] = item.prepared.rejected(outcome)
                elif outcome is Outcome.REFUSED and item.prepared.has_content_id:
                    taken.append(_Item(item.place, item.prepared.elsewhere(), item.vector))
                else:
                    results[item.place] = item.prepared.outcome(outcome)
            items = taken
        results.update({item.place: item.prepared.outcome(Outcome.REFUSED) for item in items})

    async def _written(self, items: Sequence[_Item]) -> Sequence[Outcome | AgentMemoryError]:
        try:
            return await self._records.write_many([item.prepared.write(item.vector) for item in items])
        except PartialBatchError as error:
            return [_outcome_of(item.prepared.memory.id, error) for item in items]
        except EngineError as error:
            return [error] * len(items)


def _outcome_of(id: str, error: PartialBatchError) -> Outcome | AgentMemoryError:
    if id not in error.failed:
        return Outcome.WRITTEN
    failure = error.failed[id]
    if isinstance(failure, OutcomeUnknownError) and not failure.ids:
        return OutcomeUnknownError(str(failure), ids=(id,))
    return failure if isinstance(failure, AgentMemoryError) else EngineError(str(failure))
