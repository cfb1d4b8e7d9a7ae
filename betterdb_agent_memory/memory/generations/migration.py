"""Changing the embedding model while everybody goes on reading and writing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.embedders.function import ANONYMOUS
from betterdb_agent_memory.engines.base import Engine, Records
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    ConfigurationError,
    EmbeddingError,
    IndexMismatchError,
    IndexMissingError,
)
from betterdb_agent_memory.leasing import LEASE_SECONDS, HeldLease
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.generations.finding import place_of
from betterdb_agent_memory.memory.generations.generation import (
    EMBEDDED,
    Generation,
    drop_generation,
    generation_collection,
)
from betterdb_agent_memory.memory.generations.layout import Models
from betterdb_agent_memory.memory.generations.state import QUIET_SECONDS, STATE_SECONDS, GenerationState, Phase
from betterdb_agent_memory.memory.progress import Progress, ProgressFn

DEFAULT_BATCH = 256
_PASSES = 3
"""One is enough for all that was written by workers with both embedders; more are for what others write meanwhile."""

_ADOPTIONS = 10
_GRACE_SECONDS = 2 * STATE_SECONDS
_FIRST_GRACE_SECONDS = QUIET_SECONDS + STATE_SECONDS
_LEASE_SECONDS = LEASE_SECONDS
_NAMED_FAILURES = 10
_TURN_SECONDS = 5.0
"""How long who dies while it says that recall is elsewhere keeps others from saying so."""


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
    """Moves a store to another embedding model without a gap in what recall finds (docs/migration.md).

    The store is made with both embedders: `MemoryStore(embed_fn=old, next_embed_fn=new)`, and so is every
    worker that shall recall with the new one. Then, from any one process:

    1. `start()` opens a generation of new vectors beside the memories; from then on writes go to both.
    2. `run()` fills it. It holds a lease, goes on where a killed run stopped, and may run anywhere.
    3. `switch()` lets every worker with both embedders recall with the new model, within a second.
       `roll_back()` takes that back as often as wanted; `abandon()` drops the generation.
    4. `finish()` puts the new vectors into the memories and rebuilds their index. Until then readers
       in other languages are served as before; afterwards they need the new model, too.

    Workers with the old embedder alone go on as before until `finish`, which refuses them within a second; what
    they write gets its new vector from the next `run()`, `switch()` or from `finish()`.
    """

    def __init__(self, engine: Engine, name: str, memories: Records, models: Models) -> None:
        self._engine = engine
        self._name = name
        self._memories = memories
        self._models = models

    async def status(self) -> MigrationStatus:
        """How far it has come. Five round trips."""
        state = await self._models.state.current(look=True)
        memories = await self._count(self._memories)
        embedded = await self._count(self._records(state.number)) if state.phase != "none" else 0
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
            ConfigurationError: the store has one embedder only, the next one has no name or the present one's, or
                another change of models is under way.
            IndexMismatchError: the memories are embedded with neither.
            LeaseHeldError: another worker is at it.
        """
        embedder = self._models.next_embedder
        if embedder is None:
            raise ConfigurationError(
                "changing the model needs both embedders: MemoryStore(embed_fn=<old>, next_embed_fn=<new>)"
            )
        if embedder.name in ANONYMOUS:
            raise ConfigurationError(
                "the next embedder needs a name that tells its vectors from others': "
                'next_embed_fn=FunctionEmbedder(embed, name="model-and-version")'
            )
        async with self._lease() as lease:
            state = await self._models.state.current(look=True)
            if state.phase != "none":
                self._require_ours(state)
                return await self.status()
            current = state.embedder or self._models.embedder.name
            if embedder.name == current:
                raise ConfigurationError(
                    f"the memories are embedded with {current} already; give another model another name"
                )
            await self._models.layout(look=True)
            dimensions = await embedder.probe()
            number = state.number + 1
            lease.check()
            for leftover in (state.number, number):
                await self._dropped(leftover, lease)
            await self._records(number).prepare(dimensions)
            lease.check()
            await self._models.state.write(
                GenerationState(
                    "filling",
                    number,
                    current,
                    embedder.name,
                    dimensions,
                    started_at_ms=system_clock(),
                    finished=state.finished,
                ),
                lease,
            )
        return await self.status()

    async def run(self, *, on_progress: ProgressFn | None = None, batch_size: int = DEFAULT_BATCH) -> MigrationStatus:
        """Fill the generation and bring it up to date with all that was written meanwhile.

        Goes on where a run that was killed stopped; run again later it only catches up. Per `batch_size`
        memories one call of the embedder and about six round trips. At least ten seconds pass between `start` and
        the end of the first run, until every worker has heard of the change. Afterwards the phase is
        `ready` (or as it was when recall was switched already).

        Raises:
            LeaseHeldError: another worker is filling it.
            LeaseLostError: this process stood still for longer than its lease; run it again.
            EmbeddingError: some memories could not be embedded; all others were. It names them.
        """
        async with self._lease() as lease:
            generation, state = await self._opened("filling", "ready", "switched")
            if state.phase == "filling":
                await self._fill(generation, state, lease, on_progress, batch_size)
            await self._catch_up(generation, lease, on_progress, batch_size, since_ms=state.started_at_ms)
            if state.phase == "filling":
                lease.check()
                await self._models.state.write(replace(state, phase="ready", position=None), lease)
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
            # Switched before, it stays as it is: somebody may have gone back meanwhile.
            if state.phase == "ready":
                await self._models.state.note_phase("switched", lease)
        return await self.status()

    async def roll_back(self) -> MigrationStatus:
        """Recall with the former model again, on every worker within a second; the generation stays in step.

        Needs neither embedder, and waits for nobody: a `run` under way goes on, a `finish` that still catches up
        stops.

        Raises:
            ConfigurationError: nothing to go back from, or `finish` replaces the memories' vectors by now.
        """
        async with self._turn() as turn:
            state = await self._in_phase("ready", "switched")
            if state.phase == "switched":
                turn.check()
                await self._models.state.note_phase("ready", turn)
        return await self.status()

    async def abandon(self) -> MigrationStatus:
        """Give the change up: recall with the former model, and the generation's vectors are deleted.

        Needs neither embedder. Goes on where it was killed.
        """
        async with self._lease() as lease:
            state = await self._in_phase("none", "filling", "ready", "switched")
            if state.phase == "switched":
                # Those that have not heard yet go on searching in the generation: they shall find what is written.
                async with self._turn() as turn:
                    await self._in_phase("ready", "switched")
                    turn.check()
                    await self._models.state.note_phase("ready", turn)
                await asyncio.sleep(_GRACE_SECONDS)
            if state.phase != "none":
                await self._closed(state, lease)
            await self._dropped(state.number, lease)
        return await self.status()

    async def finish(
        self, *, on_progress: ProgressFn | None = None, batch_size: int = DEFAULT_BATCH
    ) -> MigrationStatus:
        """Make the new vectors the memories' own, rebuild the index, and delete the generation.

        Recall goes on through the generation until all is done. Goes on where it was killed, also in a store that
        has the new embedder only. There is no way back. Per `batch_size` memories about nine round trips.

        Raises:
            ConfigurationError: recall was not switched, or it was rolled back while this still caught up.
            LeaseHeldError, LeaseLostError, EmbeddingError: as `run`.
        """
        async with self._lease() as lease:
            state = await self._models.state.current(look=True)
            if state.phase == "none" and state.finished and self._models.has(state.embedder):
                await self._dropped(state.number, lease)  # one that was killed right at its end
                return await self.status()
            if state.phase == "closing":
                await self._closed(state, lease)
                await self._dropped(state.number, lease)
                return await self.status()
            generation, state = await self._opened("switched", "finishing")
            if state.phase == "switched":
                await self._catch_up(generation, lease, on_progress, batch_size)
                lease.check()
                state = await self._past_return()
                # By now nobody searches in the memories' own index.
            await self._put_in(generation, state.dimensions, lease, on_progress, batch_size)
            lease.check()
            moved = replace(state, phase="closing", embedder=state.next_embedder, finished=True)
            await self._closed(await self._moved(moved, lease), lease)
            await self._dropped(state.number, lease)
        return await self.status()

    async def _past_return(self) -> GenerationState:
        """From `switched` to `finishing`, unless somebody has gone back meanwhile."""
        async with self._turn() as turn:
            await self._in_phase("switched")
            turn.check()
            await self._models.state.note_phase("finishing", turn)
        await asyncio.sleep(_GRACE_SECONDS)
        # The word of one that stood still on its way back may have come late: then that counts.
        return await self._in_phase("finishing")

    async def _moved(self, state: GenerationState, lease: HeldLease) -> GenerationState:
        """The state, once every worker with both embedders has heard of it."""
        await self._models.state.write(state, lease)
        await asyncio.sleep(_GRACE_SECONDS)
        return state

    async def _closed(self, state: GenerationState, lease: HeldLease) -> None:
        """Nobody searches in the generation any more, and then nobody writes into it."""
        await self._moved(replace(state, phase="none", next_embedder=None, dimensions=None, position=None), lease)

    async def _fill(
        self,
        generation: Generation,
        state: GenerationState,
        lease: HeldLease,
        on_progress: ProgressFn | None,
        batch_size: int,
    ) -> None:
        total = await self._count(self._memories)
        if not total:
            return
        done = await self._count(generation.records)
        after = record.parse_cursor(state.position) if state.position else None
        failures = _Failures()
        walk = self._memories.walk(Filter(), fields=(record.CREATED_AT,), after=after, page_size=batch_size)
        async for rows in walk:
            lease.check()
            failures.add(len(rows), (await generation.refresh([row.id for row in rows], fence=lease.fence)).failed)
            if not failures:
                place = place_of(rows[-1])
                lease.check()
                await self._models.state.note_position(f"{place.number}:{place.id}", lease)
            done = min(done + len(rows), max(total, done))
            _tell(on_progress, "embedding", done, total)
        failures.raise_if_any()

    async def _catch_up(
        self,
        generation: Generation,
        lease: HeldLease,
        on_progress: ProgressFn | None,
        batch_size: int,
        *,
        since_ms: int = 0,
    ) -> None:
        """Look at all memories: what others wrote, changed and deleted before they knew of the generation."""
        unheard_seconds = _FIRST_GRACE_SECONDS - (system_clock() - since_ms) / 1000
        if unheard_seconds > 0:
            await asyncio.sleep(min(unheard_seconds, _FIRST_GRACE_SECONDS))
        for _ in range(_PASSES):
            if not await self._pass(generation, lease, on_progress, batch_size):
                return

    async def _pass(
        self, generation: Generation, lease: HeldLease, on_progress: ProgressFn | None, batch_size: int
    ) -> int:
        total = await self._count(self._memories)
        seen = changed = 0
        failures = _Failures()
        async for rows in self._memories.scan((record.CONTENT,), page_size=batch_size):
            lease.check()
            result = await generation.refresh([row.id for row in rows], fence=lease.fence)
            changed += result.written
            failures.add(len(rows), result.failed)
            seen += len(rows)
            _tell(on_progress, "checking", min(seen, total), total)
        async for rows in generation.records.scan((EMBEDDED,), page_size=batch_size):
            lease.check()
            there = await self._memories.read_many([row.id for row in rows], (record.CONTENT,))
            gone = [row.id for row, memory in zip(rows, there, strict=True) if memory is None]
            changed += (await generation.refresh(gone, fence=lease.fence)).written
        failures.raise_if_any()
        return changed

    async def _put_in(
        self,
        generation: Generation,
        dimensions: int | None,
        lease: HeldLease,
        on_progress: ProgressFn | None,
        batch_size: int,
    ) -> None:
        """Until the own index is one for the new vectors, and all memories have theirs.

        Somebody else may make the index again meanwhile, after a mishap or for the former length.
        """
        expected = dimensions or await self._probed(generation)
        for _ in range(_ADOPTIONS):
            changed = 0
            if generation.needs_fitting_index and await self._has_another_index(expected):
                await self._rebuilt_while_writers_wait(expected, lease)
            changed += await self._adopt(generation, lease, on_progress, batch_size)
            if await self._has_another_index(expected):
                lease.check()
                changed += await self._rebuilt(expected, lease)
            await self._indexed(on_progress)
            if not changed and not await self._has_another_index(expected):
                return
        raise IndexMismatchError(
            f"the memories of store {self._name} or their index were changed by others {_ADOPTIONS} times while they "
            f"were given vectors of {expected} dimensions: stop writers that have the former model only, then "
            "finish() again"
        )

    async def _has_another_index(self, dimensions: int) -> bool:
        return (await self._memories.inspect()).dimensions != dimensions

    async def _rebuilt_while_writers_wait(self, dimensions: int, lease: HeldLease) -> None:
        state = self._models.state
        await state.note_rebuilding("now", system_clock(), lease)
        try:
            await asyncio.sleep(_GRACE_SECONDS)  # by then those that were writing have written
            lease.check()
            await self._memories.rebuild(dimensions, fence=lease.fence)
        finally:
            await state.note_rebuilding("", 0, lease)

    async def _rebuilt(self, dimensions: int, lease: HeldLease) -> int:
        """Whether it has to be looked at again: 0 or 1."""
        try:
            await self._memories.rebuild(dimensions, fence=lease.fence)
        except (IndexMismatchError, IndexMissingError):
            return 1  # somebody made another one, or dropped it, in the instant between: once more
        return 0

    async def _adopt(
        self, generation: Generation, lease: HeldLease, on_progress: ProgressFn | None, batch_size: int
    ) -> int:
        """One pass that puts the generation's vectors into the memories; how many were changed by others just then."""
        total = await self._count(generation.records)
        seen = changed = 0
        failures = _Failures()
        async for rows in self._memories.scan((record.CONTENT,), page_size=batch_size):
            lease.check()
            ids = [row.id for row in rows]
            failures.add(len(ids), (await generation.refresh(ids, fence=lease.fence)).failed)
            lease.check()
            changed += await generation.adopt(ids, fence=lease.fence)
            seen += len(rows)
            _tell(on_progress, "replacing vectors", min(seen, total), total)
        failures.raise_if_any()
        return changed

    async def _indexed(self, on_progress: ProgressFn | None) -> None:
        while (state := await self._memories.inspect()).indexing:
            _tell(on_progress, "indexing", round(100 * state.indexed_fraction), 100)
            await asyncio.sleep(0.1)

    async def _probed(self, generation: Generation) -> int:
        if generation.embedder is None:
            raise ConfigurationError("the generation's embedder is not there")
        return await generation.embedder.probe()

    async def _opened(self, *phases: Phase) -> tuple[Generation, GenerationState]:
        state = await self._in_phase(*phases)
        generation = self._models.generation(state)
        if generation is None:
            self._require_ours(state)
            raise ConfigurationError(f"the generation under way is made with {state.next_embedder}")
        return generation, state

    async def _in_phase(self, *phases: Phase) -> GenerationState:
        state = await self._models.state.current(look=True)
        if state.phase not in phases:
            raise ConfigurationError(_WHAT_NOW[state.phase])
        return state

    def _require_ours(self, state: GenerationState) -> None:
        name = self._models.next_embedder.name if self._models.next_embedder else None
        if state.next_embedder != name:
            raise ConfigurationError(
                f"store {self._name} is being moved to {state.next_embedder}, but next_embed_fn is "
                f"{name or 'not given'}; pass that one, or abandon() that change first"
            )

    async def _count(self, records: Records) -> int:
        try:
            return await records.count(Filter()) if (await records.prepare(None)).dimensions is not None else 0
        except IndexMissingError:
            return 0  # dropped between the two, by whoever has brought the change to its end

    def _records(self, number: int) -> Records:
        return self._engine.records(generation_collection(self._name, number))

    async def _dropped(self, number: int, lease: HeldLease) -> None:
        await drop_generation(self._engine, self._name, number, lease.fence)

    def _lease(self) -> HeldLease:
        return model_lease(self._engine, self._name)

    def _turn(self) -> HeldLease:
        """For the moment in which recall leaves the generation or is bound to it: roll_back has no other lease."""
        return HeldLease(
            self._engine.leases,
            f"{self._name}:__mem_generation_turn",
            what=f"pointing recall of store {self._name} elsewhere",
            wait_seconds=2 * _TURN_SECONDS,
            ttl_seconds=_TURN_SECONDS,
        )


def model_lease(engine: Engine, name: str) -> HeldLease:
    """For what only one worker at a time may do to the vectors and the index of the store called `name`."""
    return HeldLease(
        engine.leases,
        f"{name}:__mem_generation_lease",
        what=f"changing the embedding model or the index of store {name}",
        ttl_seconds=_LEASE_SECONDS,
    )


_WHAT_NOW: dict[Phase, str] = {
    "none": "no change of models is under way: start() begins one",
    "filling": "the generation is not filled yet: run() comes first",
    "ready": "recall has not been switched: switch() comes first",
    "switched": "recall is switched already: roll_back() or finish() come next",
    "finishing": "the new vectors are being put into the memories: only finish() can go on",
    "closing": "the new vectors are the memories' own by now: only finish() can go on",
}


class _Failures:
    """Memories that could not be embedded; the others are, unless a whole batch fails."""

    def __init__(self) -> None:
        self._failed: dict[str, AgentMemoryError] = {}

    def __bool__(self) -> bool:
        return bool(self._failed)

    def add(self, tried: int, failed: dict[str, AgentMemoryError]) -> None:
        self._failed |= failed
        if len(failed) > 1 and len(failed) == tried:
            self.raise_if_any()  # that is the embedder, not the texts

    def raise_if_any(self) -> None:
        if not self._failed:
            return
        first = next(iter(self._failed.values()))
        named = ", ".join(list(self._failed)[:_NAMED_FAILURES])
        more = len(self._failed) - _NAMED_FAILURES
        raise EmbeddingError(
            f"{len(self._failed)} memories could not be embedded with the next model "
            f"({named}{f' and {more} more' if more > 0 else ''}): {first}"
        ) from first


def _tell(on_progress: ProgressFn | None, stage: str, done: int, total: int) -> None:
    if on_progress is not None:
        on_progress(Progress(stage, done, total))
