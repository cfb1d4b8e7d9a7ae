"""Which model writes and which one answers, by the phase of a change of models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic

from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.embedders.function import ANONYMOUS
from betterdb_agent_memory.engines.base import Engine, Records
from betterdb_agent_memory.errors import IndexMismatchError, IndexNotReadyError
from betterdb_agent_memory.memory.embedding import CheckedEmbedder
from betterdb_agent_memory.memory.generations.finding import FoundRecords, OwnRecords
from betterdb_agent_memory.memory.generations.generation import Generation, Standing, generation_collection
from betterdb_agent_memory.memory.generations.state import (
    QUIET_SECONDS,
    SILENCE_SECONDS,
    STATE_SECONDS,
    GenerationState,
    StateKeeper,
)
from betterdb_agent_memory.memory.index import PATIENCE_SECONDS, MemoryIndex
from betterdb_agent_memory.memory.spaces import SearchedRecords, VectorSpace

_POLL_SECONDS = 0.2


def state_key(name: str) -> str:
    """The map that every worker of a store reads every ten seconds: how a change of models stands, and what else all
    are to know.
    """
    return f"{name}:__mem_generation"


@dataclass(frozen=True, slots=True)
class Layout:
    """`main` makes the vectors in the memories themselves, `recall` is where recall searches, and `generation`
    is to be kept in step with every write: one that is there or may be by the time the write is done. `lookup`
    finds memories otherwise: through the memories' own index, or the generation's while theirs is rebuilt.
    """

    main: VectorSpace
    recall: VectorSpace
    lookup: VectorSpace
    generation: Generation | None = None


class Models:
    """The one or two embedders of a store, and which of them does what at the moment."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        memories: Records,
        *,
        index_name: str,
        embedder: CheckedEmbedder,
        next_embedder: CheckedEmbedder | None,
        on_state: Callable[[Mapping[str, bytes]], Awaitable[None]] | None = None,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._engine = engine
        self._name = name
        self._memories = memories
        self.embedder = embedder
        self.next_embedder = next_embedder
        self.index = MemoryIndex(memories, index_name, on_created=self._created)
        quiet = QUIET_SECONDS if next_embedder is None else STATE_SECONDS
        self.state = StateKeeper(engine.values, state_key(name), quiet_seconds=quiet, now=now, on_read=on_state)
        self._found = FoundRecords(self._found_now, memories.max_neighbours)
        self._own = OwnRecords(memories, ready=self._settled_at_all, mirrors=self._mirrors)
        self._spaces: dict[CheckedEmbedder, VectorSpace] = {}
        self._generation: Generation | None = None
        self._plain: Layout | None = None
        self._plain_state: GenerationState | None = None
        self._seen: tuple[object, ...] = ()
        self._dimensions: int | None = None
        self._now = now

    async def layout(self, *, look: bool = False, to_write: bool = True) -> Layout:
        """What is used now. One round trip each second with two embedders or while something is under way,
        every ten seconds otherwise; while a change is finished one more for each call.

        Whoever is going to write waits here while an index in a file is about to be made for vectors of
        another length: it refuses those that were made before.

        Raises:
            IndexMismatchError: the memories' vectors are made by a model that this store does not have.
        """
        plain = None if look else self.plain()
        if plain is not None:
            return plain
        state = await self.state.current(look=look)
        if to_write and state.phase == "finishing":
            state = await self._released(state)
        self._look_again_if_changed(state)
        generation = self._generation_for(state)
        if state.phase == "finishing" and generation is not None:
            maker = self._finishing_maker(state, await self._own_dimensions())
            found = generation.space(maker)
            return Layout(
                self._own_space(maker),
                found,
                VectorSpace(found.embedder, found.index, self._found),
                generation,
            )
        maker = self._maker(state)
        main = self._own_space(maker)
        lookup = VectorSpace(maker, self.index, self._found)
        is_switched = state.phase == "switched" and generation is not None and generation.embedder is not None
        recall = generation.space(maker) if is_switched and generation is not None else main
        layout = Layout(main, recall, lookup, generation)
        if state.is_quiet:
            self._plain, self._plain_state = layout, state
        return layout

    async def moved_from(self, layout: Layout, refusal: Exception) -> Layout:
        """What is used now, for who was refused a vector made by `layout`. Raises the refusal if nothing has moved."""
        now = await self.layout(look=True)
        if now.main.embedder is layout.main.embedder:
            raise refusal
        return now

    def plain(self) -> Layout | None:
        """The layout while nothing is under way, as far as is believed; None when `layout` has to be asked."""
        state = self.state.believed()
        return self._plain if state is not None and state is self._plain_state else None

    def generation(self, state: GenerationState) -> Generation | None:
        """The generation that is there, where this store has its embedder."""
        generation = None if state.phase == "none" else self._numbered(state.number, state.next_embedder)
        return generation if generation is not None and generation.embedder is not None else None

    def has(self, embedder: str | None) -> bool:
        """Whether this store has the embedder of this name."""
        return self._named(embedder) is not None

    def as_it_is(self, space: VectorSpace) -> VectorSpace:
        """The same without waiting for an index that is being made anew."""
        return VectorSpace(space.embedder, space.index, self._memories) if space.index is self.index else space

    def _generation_for(self, state: GenerationState) -> Generation | None:
        """What writes that begin now have to be told to: this generation, or the one that may be opened meanwhile."""
        if state.phase != "none":
            return self._numbered(state.number, state.next_embedder)
        if self.next_embedder is None:
            return self._numbered(state.number + 1, None)
        following = self.next_embedder.name
        return None if state.embedder == following else self._numbered(state.number + 1, following)

    def _numbered(self, number: int, embedder: str | None) -> Generation:
        made_by = self._named(embedder)
        known = self._generation
        if known is None or known.number != number or known.embedder is not made_by:
            self._generation = known = Generation(
                self._engine,
                self._name,
                number,
                self._memories,
                made_by,
                standing=partial(self._standing, number, made_by),
                is_closed=partial(self._is_closed, number),
            )
        return known

    def _named(self, embedder: str | None) -> CheckedEmbedder | None:
        for known in (self.next_embedder, self.embedder):
            if known is not None and known.is_there and known.name == embedder:
                return known
        return None

    async def _standing(self, number: int, made_by: CheckedEmbedder | None) -> Standing:
        state = await self.state.current()
        if state.number < number:
            return "closed"
        if state.number == number and state.phase != "none":
            return "replacing" if state.phase in ("finishing", "closing") else "open"
        return "replaced" if made_by is not None and state.embedder == made_by.name else "closed"

    def _is_closed(self, number: int) -> bool:
        state = self.state.believed()
        return state is not None and state.number < number

    def _maker(self, state: GenerationState) -> CheckedEmbedder:
        """What makes the memories' own vectors."""
        known, own = state.embedder, self.embedder.name
        if self.next_embedder is not None and known == self.next_embedder.name:
            return self.next_embedder
        if known is None or not self.embedder.is_there or known == own or known in ANONYMOUS:
            return self.embedder
        # Before its model was ever changed, a store takes the word of a function without a name.
        if own in ANONYMOUS and not state.finished:
            return self.embedder
        raise IndexMismatchError(
            f"the memories of store {self._name} are embedded with {known}, this store has {own}: their vectors "
            "cannot be compared. Use the embedder they were made with, or change the model with "
            "MemoryStore(embed_fn=<old>, next_embed_fn=<new>).migration (docs/migration.md)"
        )

    def _finishing_maker(self, state: GenerationState, dimensions: int | None) -> CheckedEmbedder:
        """What makes vectors that fit the memories' own index as it is now."""
        following = self._named(state.next_embedder)
        if following is None:
            if not self.embedder.is_there:
                return self.embedder
            raise IndexMismatchError(
                f"the memories of store {self._name} are being given the vectors of {state.next_embedder}, and this "
                f"store has {self.embedder.name} only; make it with {state.next_embedder}"
            )
        if dimensions in (None, state.dimensions) or following is self.embedder:
            return following
        return self.embedder

    async def _own_dimensions(self) -> int | None:
        """Length of the vectors in the memories' own index now. One round trip."""
        dimensions = (await self._memories.inspect()).dimensions
        if dimensions != self._dimensions:
            self._dimensions = dimensions
            self.index.forget()
        return dimensions

    def _own_space(self, maker: CheckedEmbedder) -> VectorSpace:
        """The memories in their own index; recall there needs it to hold vectors of `maker`."""
        if maker not in self._spaces:
            records = OwnRecords(self._memories, ready=partial(self._settled_for, maker), mirrors=self._mirrors)
            self._spaces[maker] = VectorSpace(maker, self.index, records)
        return self._spaces[maker]

    async def _settled_at_all(self) -> None:
        await self._settled()

    async def _settled_for(self, maker: CheckedEmbedder) -> None:
        """Before a search with a vector of `maker`: never in an index that is about to hold others."""
        plain = self.plain()
        if plain is not None and plain.main.embedder is maker:
            await self.index.find()
            await self.index.wait_complete()
            return
        state = await self._settled()
        if state.phase == "finishing" or (maker.is_there and self._maker(state) is not maker):
            raise IndexMismatchError(
                f"the memories of store {self._name} are being given vectors of another model; ask again"
            )

    async def _settled(self) -> GenerationState:
        """The state, once nobody keeps searches away from the memories' own index.

        Raises:
            IndexNotReadyError: somebody still does after 30 s.
        """
        state = await self._released(await self.state.current())
        self._look_again_if_changed(state)
        await self.index.find()
        await self.index.wait_complete()
        return state

    async def _released(self, state: GenerationState) -> GenerationState:
        """The state, once nobody asks others to wait; who asked and died is not waited for."""
        deadline = self._now() + PATIENCE_SECONDS
        while state.rebuilding == "now" and system_clock() - state.rebuilding_at_ms < 1000 * SILENCE_SECONDS:
            if self._now() > deadline:
                raise IndexNotReadyError(
                    f"the index of store {self._name} is being made anew, so an answer would be incomplete; try again "
                    "later, stats().indexing says when it is done"
                )
            await asyncio.sleep(_POLL_SECONDS)
            state = await self.state.current(look=True)
        return state

    def _look_again_if_changed(self, state: GenerationState) -> None:
        """The index may be another one than when the state was last looked at: then it has to be looked at."""
        seen = (state.embedder, state.phase == "finishing", state.rebuilding, state.rebuilding_at_ms)
        if self._seen and seen != self._seen:
            self.index.forget()
        self._seen = seen

    async def _found_now(self, look: bool) -> SearchedRecords:
        state = await self.state.current(look=look)
        if state.phase == "finishing":
            return self._numbered(state.number, state.next_embedder).joined
        return self._own

    async def _mirrors(self) -> Records | None:
        state = await self.state.current()
        if state.phase == "none":
            return None
        return self._engine.records(generation_collection(self._name, state.number))

    async def _created(self) -> None:
        state = await self.state.current()
        if state.phase == "finishing":
            return
        maker = self._maker(state)
        if maker.is_there and maker.name not in ANONYMOUS:
            await self.state.note_embedder(maker.name)
