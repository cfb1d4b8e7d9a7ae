"""Which model writes and which one answers, by the phase of a change of models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from betterdb_agent_memory.engines.base import Engine, Records
from betterdb_agent_memory.errors import IndexMismatchError
from betterdb_agent_memory.memory.embedding import CheckedEmbedder
from betterdb_agent_memory.memory.generations.generation import Generation
from betterdb_agent_memory.memory.generations.state import STATE_SECONDS, GenerationState, StateKeeper
from betterdb_agent_memory.memory.index import LOOK_AGAIN_SECONDS, MemoryIndex
from betterdb_agent_memory.memory.spaces import VectorSpace

ANONYMOUS = frozenset({"embed_fn", ""})
"""Names that plain functions get when none is stated: they identify no model."""


@dataclass(frozen=True, slots=True)
class Layout:
    """`main` makes the vectors in the memories themselves, `recall` is where recall searches, and `generation`
    is kept in step with every write while models change. `lookup` finds memories otherwise: the memories' own
    index, or the generation's while theirs is rebuilt.
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
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._engine = engine
        self._name = name
        self._memories = memories
        self.embedder = embedder
        self.next_embedder = next_embedder
        self.index = MemoryIndex(memories, index_name, on_created=self._created)
        seconds = LOOK_AGAIN_SECONDS if next_embedder is None else STATE_SECONDS
        self.state = StateKeeper(engine.values, f"{name}:__mem_generation", seconds=seconds, now=now)
        self._main = VectorSpace(embedder, self.index, memories)
        self._next_main = VectorSpace(next_embedder or embedder, self.index, memories)
        self._generation: Generation | None = None
        self._creator = embedder
        self._was_replaced = False

    async def layout(self, *, look: bool = False) -> Layout:
        """What is used now. One round trip each second with two embedders, each minute with one.

        Raises:
            IndexMismatchError: the memories' vectors are made by a model that this store does not have.
        """
        state = await self.state.current(look=look)
        main = await self._main_space(state)
        generation = self.generation(state)
        if generation is None:
            return Layout(main, main, main)
        if state.phase == "finishing":
            return Layout(self._next_main, generation.space, generation.space, generation)
        return Layout(main, generation.space if state.phase == "switched" else main, main, generation)

    def generation(self, state: GenerationState) -> Generation | None:
        """The generation that is being made, where this store has its embedder."""
        if state.phase == "none" or self.next_embedder is None or state.next_embedder != self.next_embedder.name:
            return None
        if self._generation is None or self._generation.number != state.number:
            self._generation = Generation(self._engine, self._name, state.number, self._memories, self.next_embedder)
        return self._generation

    async def _main_space(self, state: GenerationState) -> VectorSpace:
        if self.next_embedder is not None and state.embedder == self.next_embedder.name:
            if not self._was_replaced:
                # The index may have been rebuilt for another length since it was last looked at.
                self._was_replaced = True
                self.index.forget()
            self._creator = self.next_embedder
            return self._next_main
        self._creator = self.embedder
        self._was_replaced = False
        known, own = state.embedder, self.embedder.name
        if known is not None and self.embedder.is_there and known != own and not {known, own} & ANONYMOUS:
            raise IndexMismatchError(
                f"the memories of store {self._name} are embedded with {known}, this store has {own}: their vectors "
                "cannot be compared. Use the embedder they were made with, or change the model with "
                "MemoryStore(embed_fn=<old>, next_embed_fn=<new>).migration (docs/migration.md)"
            )
        return self._main

    async def _created(self) -> None:
        if self._creator.is_there and self._creator.name not in ANONYMOUS:
            await self.state.note_embedder(self._creator.name)
