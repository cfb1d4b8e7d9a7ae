"""Changing the embedding model while everybody goes on reading and writing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from betterdb_agent_memory.engines.base import Engine, Outcome, RecordChange, Records
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.errors import AgentMemoryError, ConfigurationError, EmbeddingError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.generations.generation import EMBEDDED, Generation, generation_collection
from betterdb_agent_memory.memory.generations.layout import Models
from betterdb_agent_memory.memory.generations.state import STATE_SECONDS, GenerationState, Phase
from betterdb_agent_memory.memory.leasing import HeldLease
from betterdb_agent_memory.memory.progress import Progress, ProgressFn

DEFAULT_BATCH = 256
_MAX_PASSES = 20
_GRACE_SECONDS = 2 * STATE_SECONDS


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """How far the change of models has come.

    `embedded` of `memories` have a vector of the next model (counted by the indexes; expired memories
    may still be among them).
    """

    phase: Phase
    embedder: str | None
    next_embedder: str | None
    generation: int
    memories: int
    embedded: int


class EmbeddingMigration:
    """Moves a store to another embedding model without a gap in what recall finds.

    The store is made with both embedders: `MemoryStore(embed_fn=old, next_embed_fn=new)`, and so is every
    worker that shall recall with the new one. Then, from any one process:

    1. `start()` opens a generation of new vectors beside the memories; from then on writes go to both.
    2. `run()` fills it. It holds a lease, goes on where a killed run stopped, and may run anywhere.
    3. `switch()` lets every worker with both embedders recall with the new model, within a second.
       `roll_back()` takes that back as often as wanted; `abandon()` drops the generation.
    4. `finish()` puts the new vectors into the memories and rebuilds their index. Until then readers
       in other languages are served as before; afterwards they need the new model, too.

    Workers with the old embedder alone go on as before until `finish`; what they write gets its new
    vector from the next `run()`, or from `finish()`.
    """

    def __init__(self, engine: Engine, name: str, memories: Records, models: Models) -> None:
        self._engine = engine
        self._name = name
        self._memories = memories
        self._models = models

    async def status(self) -> MigrationStatus:
        """How far it has come. Three round trips."""
        state = await self._models.state.current(look=True)
        memories = await self._count(self._memories)
        embedded = 0
        if state.phase != "none":
            embedded = await self._count(self._engine.records(generation_collection(self._name, state.number)))
        return MigrationStatus(
            state.phase,
            state.embedder or self._models.embedder.name,
            state.next_embedder,
            state.number,
            memories,
            embedded,
        )

    async def start(self) -> MigrationStatus:
        """Open a generation for the next embedder; does nothing when it is open already.

        Raises:
            ConfigurationError: the store has one embedder only, both have one name, or another change of models
                is under way.
            LeaseHeldError: another worker is at it.
        """
        embedder = self._models.next_embedder
        if embedder is None:
            raise ConfigurationError(
                "changing the model needs both embedders: MemoryStore(embed_fn=<old>, next_embed_fn=<new>)"
            )
        async with self._lease():
            state = await self._models.state.current(look=True)
            if state.phase != "none":
                self._require_ours(state)
                return await self.status()
            current = state.embedder or self._models.embedder.name
            if embedder.name == current:
                raise ConfigurationError(
                    f"the memories are embedded with {current} already; give another model another name"
                )
            dimensions = await embedder.probe()
            number = state.number + 1
            await self._drop(number)
            generation = self._engine.records(generation_collection(self._name, number))
            await generation.prepare(dimensions)
            await self._models.state.write(
                GenerationState("filling", number, current, embedder.name, dimensions, position=None)
            )
        return await self.status()

    async def run(self, *, on_progress: ProgressFn | None = None, batch_size: int = DEFAULT_BATCH) -> MigrationStatus:
        """Fill the generation and bring it up to date with all that was written meanwhile.

        Goes on where a run that was killed stopped; run again later it only catches up. Per `batch_size`
        memories one call of the embedder and about six round trips. Afterwards the phase is `ready` (or as
        it was when recall was switched already).

        Raises:
            LeaseHeldError: another worker is filling it.
            LeaseLostError: this process stood still for longer than its lease; run it again.
            EmbeddingError: some memories could not be embedded; all others were. It names them.
        """
        async with self._lease() as lease:
            generation, state = await self._opened("filling", "ready", "switched")
            if state.phase == "filling":
                state = await self._fill(generation, state, lease, on_progress, batch_size)
            await self._catch_up(generation, lease, on_progress, batch_size)
            if state.phase == "filling":
                lease.check()
                await self._models.state.write(replace(state, phase="ready", position=None))
        return await self.status()

    async def switch(self) -> MigrationStatus:
        """Recall with the next model from now on, on every worker that has it, within a second.

        What was written by others meanwhile is caught up first.

        Raises:
            ConfigurationError: the generation is not filled; `run()` comes first.
        """
        async with self._lease() as lease:
            generation, state = await self._opened("ready", "switched")
            await self._catch_up(generation, lease, None, DEFAULT_BATCH)
            lease.check()
            await self._models.state.write(replace(state, phase="switched"))
        return await self.status()

    async def roll_back(self) -> MigrationStatus:
        """Recall with the former model again, on every worker within a second; the generation stays in step."""
        async with self._lease():
            _, state = await self._opened("ready", "switched")
            await self._models.state.write(replace(state, phase="ready"))
        return await self.status()

    async def abandon(self) -> MigrationStatus:
        """Give the change up: recall with the former model, and the generation's vectors are deleted."""
        async with self._lease():
            _, state = await self._opened("filling", "ready", "switched")
            await self._models.state.write(
                replace(state, phase="none", next_embedder=None, dimensions=None, position=None)
            )
            await asyncio.sleep(_GRACE_SECONDS)  # others may be searching in it
            await self._drop(state.number)
        return await self.status()

    async def finish(
        self, *, on_progress: ProgressFn | None = None, batch_size: int = DEFAULT_BATCH
    ) -> MigrationStatus:
        """Make the new vectors the memories' own, rebuild the index, and delete the generation.

        Recall goes on through the generation until all is done. Goes on where it was killed. There is no way
        back. Per `batch_size` memories about eight round trips.

        Raises:
            ConfigurationError: recall was not switched.
            LeaseHeldError, LeaseLostError, EmbeddingError: as `run`.
        """
        async with self._lease() as lease:
            generation, state = await self._opened("switched", "finishing")
            if state.phase == "switched":
                await self._catch_up(generation, lease, on_progress, batch_size)
                lease.check()
                state = replace(state, phase="finishing")
                await self._models.state.write(state)
                await asyncio.sleep(_GRACE_SECONDS)  # by then every worker writes the new vectors
            dimensions = state.dimensions or await generation.embedder.probe()
            if (await self._memories.inspect()).dimensions != dimensions:
                await self._memories.rebuild(dimensions)
            await self._repeat(
                lambda: self._adopt(generation, lease, on_progress, batch_size), "the memories' vectors keep changing"
            )
            await self._indexed(on_progress)
            lease.check()
            await self._models.state.write(
                replace(
                    state,
                    phase="none",
                    embedder=state.next_embedder,
                    next_embedder=None,
                    dimensions=None,
                    position=None,
                )
            )
            await asyncio.sleep(_GRACE_SECONDS)  # others may be searching in the generation
            await self._drop(state.number)
        return await self.status()

    async def _fill(
        self,
        generation: Generation,
        state: GenerationState,
        lease: HeldLease,
        on_progress: ProgressFn | None,
        batch_size: int,
    ) -> GenerationState:
        total = await self._count(self._memories)
        done = await self._count(generation.records)
        after = record.parse_cursor(state.position) if state.position else None
        walk = self._memories.walk(Filter(), fields=(record.CREATED_AT,), after=after, page_size=batch_size)
        async for rows in walk:
            lease.check()
            result = await generation.sync([row.id for row in rows])
            _require_all(result.failed)
            last = rows[-1]
            state = replace(state, position=f"{int(float(last.fields[record.CREATED_AT]))}:{last.id}")
            await self._models.state.write(state)
            done = min(done + len(rows), max(total, done))
            _tell(on_progress, "embedding", done, total)
        return state

    async def _catch_up(
        self, generation: Generation, lease: HeldLease, on_progress: ProgressFn | None, batch_size: int
    ) -> None:
        """Until a pass over all memories finds nothing to do: others write, change and delete meanwhile."""

        async def one_pass() -> int:
            return await self._pass(generation, lease, on_progress, batch_size)

        await self._repeat(one_pass, "memories are written faster than they can be embedded")

    async def _repeat(self, one_pass: Callable[[], Awaitable[int]], otherwise: str) -> None:
        for _ in range(_MAX_PASSES):
            if not await one_pass():
                return
        raise EmbeddingError(f"after {_MAX_PASSES} passes there is still something to do: {otherwise}")

    async def _pass(
        self, generation: Generation, lease: HeldLease, on_progress: ProgressFn | None, batch_size: int
    ) -> int:
        total = await self._count(self._memories)
        seen = changed = 0
        failed: dict[str, AgentMemoryError] = {}
        async for rows in self._memories.scan((record.CONTENT,), page_size=batch_size):
            lease.check()
            result = await generation.sync([row.id for row in rows if record.is_memory(row.fields)])
            changed += result.written
            failed |= result.failed
            seen += len(rows)
            _tell(on_progress, "checking", min(seen, total), total)
        async for rows in generation.records.scan((EMBEDDED,), page_size=batch_size):
            lease.check()
            changed += (await generation.sync([row.id for row in rows])).written
        _require_all(failed)
        return changed

    async def _adopt(
        self, generation: Generation, lease: HeldLease, on_progress: ProgressFn | None, batch_size: int
    ) -> int:
        """One pass that puts the generation's vectors into the memories; how many were not there yet."""
        total = await self._count(generation.records)
        seen = changed = 0
        async for rows in self._memories.scan((record.CONTENT,), page_size=batch_size):
            lease.check()
            ids = [row.id for row in rows if record.is_memory(row.fields)]
            _require_all((await generation.sync(ids)).failed)
            changed += await self._adopt_page(generation, ids)
            seen += len(rows)
            _tell(on_progress, "replacing vectors", min(seen, total), total)
        return changed

    async def _adopt_page(self, generation: Generation, ids: Sequence[str]) -> int:
        new, own = await asyncio.gather(
            generation.records.read_many(ids, (record.VECTOR,)),
            self._memories.read_many(ids, (record.CONTENT, record.VECTOR)),
        )
        changes = [
            RecordChange(
                id,
                # Changed meanwhile, it has another vector: the next pass sees to it.
                expected={record.CONTENT: memory[record.CONTENT]},
                sets={record.VECTOR: mirror[record.VECTOR]},
            )
            for id, mirror, memory in zip(ids, new, own, strict=True)
            if mirror and memory and record.CONTENT in memory and mirror[record.VECTOR] != memory.get(record.VECTOR)
        ]
        outcomes = await self._memories.change_many(changes) if changes else []
        return sum(outcome is not Outcome.MISSING for outcome in outcomes)

    async def _indexed(self, on_progress: ProgressFn | None) -> None:
        while (state := await self._memories.inspect()).indexing:
            _tell(on_progress, "indexing", round(100 * state.indexed_fraction), 100)
            await asyncio.sleep(0.1)

    async def _opened(self, *phases: Phase) -> tuple[Generation, GenerationState]:
        state = await self._models.state.current(look=True)
        if state.phase not in phases:
            raise ConfigurationError(_WHAT_NOW[state.phase])
        self._require_ours(state)
        generation = self._models.generation(state)
        if generation is None:
            raise ConfigurationError(f"the generation under way is made with {state.next_embedder}")
        return generation, state

    def _require_ours(self, state: GenerationState) -> None:
        name = self._models.next_embedder.name if self._models.next_embedder else None
        if state.next_embedder != name:
            raise ConfigurationError(
                f"store {self._name} is being moved to {state.next_embedder}, but next_embed_fn is "
                f"{name or 'not given'}; pass that one, or abandon() that change first"
            )

    async def _count(self, records: Records) -> int:
        return await records.count(Filter()) if (await records.prepare(None)).dimensions is not None else 0

    async def _drop(self, number: int) -> None:
        await self._engine.records(generation_collection(self._name, number)).drop()

    def _lease(self) -> HeldLease:
        return HeldLease(
            self._engine.leases,
            f"{self._name}:__mem_generation_lease",
            what=f"changing the embedding model of store {self._name}",
        )


_WHAT_NOW: dict[Phase, str] = {
    "none": "no change of models is under way: start() begins one",
    "filling": "the generation is not filled yet: run() comes first",
    "ready": "recall has not been switched: switch() comes first",
    "switched": "recall is switched already: roll_back() or finish() come next",
    "finishing": "the new vectors are being put into the memories: only finish() can go on",
}


def _require_all(failed: dict[str, AgentMemoryError]) -> None:
    if failed:
        id, first = next(iter(failed.items()))
        raise EmbeddingError(
            f"{len(failed)} memories could not be embedded with the next model, {id} among them: {first}"
        ) from first


def _tell(on_progress: ProgressFn | None, stage: str, done: int, total: int) -> None:
    if on_progress is not None:
        on_progress(Progress(stage, done, total))
