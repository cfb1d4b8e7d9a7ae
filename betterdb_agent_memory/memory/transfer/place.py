"""What a transfer needs of a store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from betterdb_agent_memory.engines.base import Records, Values
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.memory.generations.generation import Generation
from betterdb_agent_memory.memory.generations.layout import ANONYMOUS, Models
from betterdb_agent_memory.memory.searching import Searcher
from betterdb_agent_memory.memory.spaces import VectorSpace


@dataclass(frozen=True, slots=True)
class TransferPlace:
    """The store that memories leave or enter.

    `keep_in_step` brings the next model's vectors up to date where models are being changed.
    """

    name: str
    records: Records
    values: Values
    models: Models
    searcher: Searcher
    keep_in_step: Callable[[Generation | None, Sequence[str]], Awaitable[None]]

    async def main(self) -> VectorSpace:
        """The memories' own vectors: the model that makes them, and their index."""
        return (await self.models.layout()).main

    async def searchable(self) -> VectorSpace | None:
        """Where all memories are found, in a complete index; None where nothing can have been stored."""
        found = await self.searcher.lookup(_itself, None)
        main = await self.main()
        if found is None and main.embedder.is_there:
            # Memories may be there without an index: made now, it finds them.
            await main.index.ensure(await main.embedder.probe())
            found = await self.searcher.lookup(_itself, None)
        return found

    async def dimensions_for(self, dimensions: int | None) -> int:
        """Length of the index's vectors; it is made if there is none, for the embedder's or else for `dimensions`.

        Raises:
            ConfigurationError: there is no index, and nothing says how long its vectors shall be.
        """
        main = await self.main()
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


def model_of(space: VectorSpace) -> str | None:
    """The name of the model that makes a space's vectors; None where it has none that tells it from another."""
    return None if space.embedder.name in ANONYMOUS else space.embedder.name


async def _itself(space: VectorSpace) -> VectorSpace | None:
    return space
