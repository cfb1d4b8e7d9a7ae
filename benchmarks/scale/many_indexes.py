"""What many small stores on one server cost: an index each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import valkey

from benchmarks.growth import Embedded
from benchmarks.peer_worker import NO_CEILING
from benchmarks.scale.layouts import used_bytes
from benchmarks.synthetic import Corpus, Question
from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.memory import record

STORES = (100, 1_000, 3_000)
CALLS = 40


class ManyIndexes:
    """Stores `tenant0`, `tenant1` and so on, on a server that has nothing else; all but one are empty."""

    def __init__(self, url: str, corpus: Corpus) -> None:
        self._engine: Engine = open_engine(url)
        self._client = valkey.Valkey.from_url(url)
        self._corpus = corpus
        self._questions: Sequence[Question] = corpus.questions(CALLS, range(1_000))
        self._made = 0
        self._empty_bytes = used_bytes(self._client)

    async def grow(self, stores: int) -> dict[str, Any]:
        """Make indexes up to so many; bytes and milliseconds of each, and of calls in one of the stores."""
        seconds = []
        while self._made < stores:
            began = perf_counter()
            await self._engine.records(record.memory_collection(f"tenant{self._made}")).prepare(self._corpus.dimensions)
            seconds.append(perf_counter() - began)
            self._made += 1
        each = (used_bytes(self._client) - self._empty_bytes) / stores
        return {"bytes_of_an_index": each, "create_ms": float(np.median(seconds[-50:])) * 1000, **await self._calls()}

    async def _calls(self) -> dict[str, float]:
        embed = Embedded()
        embed.learn(self._questions)
        store = MemoryStore(client=self._engine, name="tenant0", embed_fn=embed)
        records = self._engine.records(record.memory_collection("tenant0"))
        waiting = iter(self._questions)
        ids = []

        async def remember() -> None:
            ids.append(await store.remember(next(waiting).text))

        async def recall() -> None:
            await store.recall(self._questions[0].text, threshold=NO_CEILING, reinforce=False)

        async def look() -> None:
            await records.prepare(None)

        calls: dict[str, Callable[[], Awaitable[None]]] = {"remember": remember, "recall": recall, "look": look}
        figures = {f"{name}_ms": await _median_ms(call) for name, call in calls.items()}
        await store.forget_many(ids)
        await store.close()
        return figures

    async def close(self) -> None:
        """Close what it opened; the server is its caller's."""
        await self._engine.close()
        self._client.close()


async def _median_ms(call: Callable[[], Awaitable[None]]) -> float:
    seconds = []
    for _ in range(CALLS):
        began = perf_counter()
        await call()
        seconds.append(perf_counter() - began)
    return float(np.median(seconds)) * 1000
