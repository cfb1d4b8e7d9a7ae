"""What coalescing costs where it is idle, and what it saves where many tasks embed at once.

    python -m benchmarks.embed_calls

Lone call     one text at a time, bare and through `CoalescingEmbedder`: microseconds a text
At once       2,000 tasks with a text each, all at once: seconds, and calls of the inner embedder

`service` stands for a provider: a call takes 20 ms and 0.2 ms a text, and eight calls are served at a
time. Best of three runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from betterdb_agent_memory.embedders import CoalescingEmbedder, Embedder, FunctionEmbedder, WordLlamaEmbedder

LONE_CALLS = 1_000
TASKS = 2_000
RUNS = 3


class Service:
    """A provider of vectors with eight places."""

    name = "service"
    dimensions = 4
    default_threshold = 0.25

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(8)

    async def embed_query(self, text: str) -> list[float]:
        return (await self.embed_documents([text]))[0]

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        async with self._places:
            await asyncio.sleep(0.020 + 0.0002 * len(texts))
        return [[1.0, 2.0, 3.0, 4.0] for _ in texts]


async def _function(text: str) -> list[float]:
    return [float(len(text)), 1.0]


def main() -> None:
    cases: list[tuple[str, Callable[[], Embedder]]] = [
        ("wordllama", WordLlamaEmbedder),
        ("a function that answers at once", lambda: FunctionEmbedder(_function)),
        ("a function of the service", lambda: FunctionEmbedder(Service().embed_query)),
        ("the service", Service),
    ]
    print(f"{'':32}{'lone call, us':>24}{f'{TASKS:,} tasks at once, s':>28}")
    print(f"{'':32}{'bare':>12}{'coalesced':>12}{'bare':>14}{'coalesced':>14}")
    for label, make in cases:
        lone = [asyncio.run(_best(wrap, make, _lone)) for wrap in (_bare, CoalescingEmbedder)]
        many = [asyncio.run(_best(wrap, make, _at_once)) for wrap in (_bare, CoalescingEmbedder)]
        print(f"{label:32}{lone[0] * 1e6:12.0f}{lone[1] * 1e6:12.0f}{many[0]:14.3f}{many[1]:14.3f}")


def _bare(embedder: Embedder) -> Embedder:
    return embedder


async def _best(
    wrap: Callable[[Embedder], Embedder],
    make: Callable[[], Embedder],
    measure: Callable[[Embedder], Awaitable[float]],
) -> float:
    embedder = wrap(make())
    await embedder.embed_documents(["loaded"])
    return min([await measure(embedder) for _ in range(RUNS)])


async def _lone(embedder: Embedder) -> float:
    calls = 20 if "service" in embedder.name or embedder.name == "embed_fn" else LONE_CALLS
    before = time.perf_counter()
    for n in range(calls):
        await embedder.embed_documents([f"note {n} about ferries to the islands"])
    return (time.perf_counter() - before) / calls


async def _at_once(embedder: Embedder) -> float:
    texts = [f"note {n} about ferries to the islands" for n in range(TASKS)]
    before = time.perf_counter()
    await asyncio.gather(*(embedder.embed_documents([text]) for text in texts))
    return time.perf_counter() - before


if __name__ == "__main__":
    main()
