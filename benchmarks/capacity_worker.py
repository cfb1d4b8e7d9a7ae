"""One process that writes into a scope with a cap, with whichever package lies on PYTHONPATH (benchmarks/capacity.py).

Speaks JSON on its standard output: `ready`, then, after a line on its standard input, what it has done.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from time import perf_counter
from zlib import crc32

import numpy as np
import valkey.asyncio

from betterdb_agent_memory import MemoryStore

DIMENSIONS = 384
WORKERS = 8


async def embed(text: str) -> list[float]:
    """A vector that follows from the text, so that its time is next to nothing."""
    return list(np.random.default_rng(crc32(text.encode())).normal(size=DIMENSIONS))


async def write(url: str, name: str, cap: int, worker: int, count: int) -> None:
    """Write `count` memories, one after another, each with an importance of its own; without a cap where that is 0.

    With a cap below 0 there is none either, but a bare DEL of one memory behind each write: of those that were there,
    `old0` and on, of which there are -cap, the worker's share, and then of its own.
    """
    client = valkey.asyncio.Valkey.from_url(url)
    store = MemoryStore(client=client, name=name, embed_fn=embed, max_items_per_scope=cap if cap > 0 else None)
    leaving = deque(f"old{number}" for number in range(worker, -cap, WORKERS))
    await store.ensure_index()
    chance = np.random.default_rng(worker)
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    written = {}
    took = []
    for number in range(count):
        importance = round(float(chance.random()), 6)
        began = perf_counter()
        id = await store.remember(f"w{worker} {number}", importance=importance, thread_id="t")
        if cap < 0:
            leaving.append(id)
            await client.delete(f"{name}:mem:{leaving.popleft()}")
        took.append(perf_counter() - began)
        written[id] = importance
    settling = perf_counter()
    await store.close()
    print(json.dumps({"written": written, "took": took, "settled_in": perf_counter() - settling}), flush=True)
    await client.aclose()


if __name__ == "__main__":
    url, name, *numbers = sys.argv[1:]
    asyncio.run(write(url, name, *map(int, numbers)))
