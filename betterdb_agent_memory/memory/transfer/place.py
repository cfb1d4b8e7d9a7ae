"""What a transfer needs of a store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.embedders.function import ANONYMOUS
from betterdb_agent_memory.engines.base import Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.links import Links
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.errors import ConfigurationError, IndexNotReadyError
from betterdb_agent_memory.memory.correction.shelf import Shelf
from betterdb_agent_memory.memory.generations.generation import Generation
from betterdb_agent_memory.memory.generations.layout import Models
from betterdb_agent_memory.memory.mending import Mender
from betterdb_agent_memory.memory.searching import Searcher, itself
from betterdb_agent_memory.memory.sessions import Sessions
from betterdb_agent_memory.memory.spaces import VectorSpace

REPLACING: Final = ("finishing", "closing")
"""Phases of a change of models in which the memories' own vectors are of two of them."""


class ModelChangedError(IndexNotReadyError):
    """The memories' vectors are, or were, replaced by another model's in the midst of this."""


@dataclass(frozen=True, slots=True)
class SettledModel:
    """What tells the model before a change from the one after it."""

    name: str | None
    finished: bool


@dataclass(frozen=True, slots=True)
class TransferPlace:
    """The store that memories leave or enter.

    `keep_in_step` brings the next model's vectors up to date where models are being changed. On the `shelf` are
    superseded versions and archived memories. `stored_words` gives
    the stems that this store keeps beside a content, None where the engine finds its words by itself. `make_room`
    evicts what the scopes of newly stored memories hold too much (best effort).
    """

    name: str
    records: Records
    links: Links
    values: Values
    models: Models
    searcher: Searcher
    keep_in_step: Callable[[Generation | None, Sequence[str]], Awaitable[None]]
    mender: Mender
    sessions: Sessions
    shelf: Shelf
    stored_words: Callable[[str], str | None]
    make_room: Callable[[Iterable[Fields]], Awaitable[None]]
    clock: Clock
    """By this links fade, in a file as in the store."""

    async def settled_model(self) -> SettledModel:
        """The model of all vectors in the memories, as far as it changes. One round trip.

        Raises:
            ModelChangedError: they are being replaced by another one's.
        """
        state = await self.models.state.current(look=True)
        if state.phase in REPLACING:
            raise ModelChangedError(
                f"the vectors of store {self.name} are being replaced by those of {state.next_embedder}, so a file "
                "would hold both; export again when migration.finish() is done, or with vectors=False"
            )
        # Before the first change the name may be noted at any time: with the index.
        return SettledModel(state.embedder if state.finished else None, state.finished)

    async def model_name(self, space: VectorSpace) -> str | None:
        """The name of the model that makes a space's vectors: its embedder's, or the one that was noted where the
        store was opened without an embedder. None where nothing tells it from another.
        """
        noted = (await self.models.state.current()).embedder
        name = space.embedder.name if space.embedder.is_there else noted or ""
        return None if name in ANONYMOUS else name

    async def main(self) -> VectorSpace:
        """The memories' own vectors: the model that makes them, and their index."""
        return (await self.models.layout()).main

    async def searchable(self) -> VectorSpace | None:
        """Where all memories are found, in a complete index; None where nothing can have been stored."""
        found = await self.searcher.lookup(itself, None)
        main = await self.main()
        if found is None and main.embedder.is_there:
            # Memories may be there without an index: made now, it finds them.
            await main.index.ensure(await main.embedder.probe())
            found = await self.searcher.lookup(itself, None)
        return found

    async def former(self) -> Records | None:
        """Superseded versions and archived memories, in a complete index; None where there never were any. One or two
        round trips.
        """
        if not await self.shelf.is_there():
            return None
        await self.shelf.index.wait_complete()
        return self.shelf.records

    async def dimensions_for(self, main: VectorSpace, dimensions: int | None) -> int:
        """Length of the vectors in the index of `main`; it is made if there is none, for the embedder's or else
        for `dimensions`.

        Raises:
            ConfigurationError: there is no index, and nothing says how long its vectors shall be.
        """
        found = await main.index.find(main.embedder.dimensions)
        if found is not None:
            return found
        if main.embedder.is_there:
            dimensions = await main.embedder.probe()
        if dimensions is None:
            raise ConfigurationError(
                "the file does not say how long its vectors are, and the store has neither an index nor an embedder: "
                "open it with an embedder; nothing was written"
            )
        await main.index.ensure(dimensions)
        return dimensions
