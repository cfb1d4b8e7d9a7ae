"""A model made of words, and a process that takes one step of a change of models."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import numpy as np

from betterdb_agent_memory import LeaseHeldError, LeaseLostError, MemoryStore, Progress
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.memory.generations import migration as migration_module

NAME = "words"


class WordEmbedder:
    """Words hashed into a vector; another `seed` or length is another model. On demand it waits until it is let go."""

    default_threshold = 2.0

    def __init__(self, name: str, dimensions: int, seed: int) -> None:
        self.name = name
        self.dimensions = dimensions
        self.seed = seed
        self.waiting = 0
        self._may_go = asyncio.Event()
        self._may_go.set()
        self.texts = 0

    def hold(self) -> None:
        """From now on texts wait; `waiting` counts them."""
        self._may_go.clear()

    def let_go(self) -> None:
        """Those that wait go on."""
        self._may_go.set()

    def vector(self, text: str) -> np.ndarray:
        """The vector of a text, float64."""
        vector = np.zeros(self.dimensions)
        for word in text.lower().split():
            vector += np.random.default_rng([self.seed, *word.encode()]).standard_normal(self.dimensions)
        return vector

    async def embed_query(self, text: str) -> np.ndarray:
        """The same as a document's."""
        await self._turn(1)
        return self.vector(text)

    async def embed_documents(self, texts: Sequence[str]) -> list[np.ndarray]:
        """One vector each."""
        await self._turn(len(texts))
        self.texts += len(texts)
        return [self.vector(text) for text in texts]

    async def _turn(self, texts: int) -> None:
        self.waiting += texts
        await self._may_go.wait()
        self.waiting -= texts


def former() -> WordEmbedder:
    """The model that the memories begin with."""
    return WordEmbedder("former", 16, 1)


def following(dimensions: int = 24) -> WordEmbedder:
    """The model that they are moved to."""
    return WordEmbedder("following", dimensions, 2)


async def _step(url: str, step: str, dimensions: int) -> None:
    engine = open_engine(url)
    store = MemoryStore(client=engine, name=NAME, embed_fn=former(), next_embed_fn=following(dimensions))

    def tell(progress: Progress) -> None:
        print(f"{progress.stage} {progress.done}", flush=True)

    while True:
        try:
            await getattr(store.migration, step)(on_progress=tell, batch_size=10)
            break
        except (LeaseHeldError, LeaseLostError):  # on a busy machine a second goes by without its renewal
            await asyncio.sleep(0.1)
    await engine.close()


if __name__ == "__main__":
    migration_module._LEASE_SECONDS = 1.0
    migration_module._FIRST_GRACE_SECONDS = 0.0
    migration_module._GRACE_SECONDS = 0.3
    asyncio.run(_step(sys.argv[1], sys.argv[2], int(sys.argv[3])))
