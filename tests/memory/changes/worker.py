"""A process that writes memories, or that follows their changes: `python worker.py '{"url": ..., "role": ...}'`.

A writer changes the memories `m0` to `m19` at random, `count` times. A consumer of the group `g` appends a line for
each change to the file `seen`, and ends as by kill -9 after `die_after` of them, with that one in its hands.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from contextlib import aclosing
from typing import Any

from betterdb_agent_memory import MemoryNotFoundError, MemoryStore
from betterdb_agent_memory.engines import open_engine
from tests.embedding import embed

MEMORIES = 20


async def write(store: MemoryStore, seed: int, count: int) -> None:
    drawn = random.Random(seed)
    for number in range(count):
        id = f"m{drawn.randrange(MEMORIES)}"
        try:
            await store.update(id, importance=drawn.random(), metadata={"by": seed, "n": number})
        except MemoryNotFoundError:
            await store.remember_many([{"content": f"memory {id}", "id": id}], on_duplicate="merge")
        if drawn.random() < 0.1:
            await store.forget(id)


async def consume(store: MemoryStore, seen: str, die_after: int | None) -> None:
    file = os.open(seen, os.O_WRONLY | os.O_APPEND)
    handled = 0
    async with aclosing(store.changes(since="oldest", group="g", takeover_seconds=1)) as changes:  # type: ignore[type-var]
        async for change in changes:
            # One write: lines of several processes come whole, in the order in which they were written.
            os.write(file, f"{change.id} {change.memory_id} {os.getpid()}\n".encode())
            handled += 1
            if handled == die_after:
                os.kill(os.getpid(), signal.SIGKILL)


async def main(task: dict[str, Any]) -> None:
    engine = open_engine(task["url"])
    store = MemoryStore(client=engine, name=task["name"], embed_fn=embed, change_feed=True)
    await store.ensure_index()
    print("ready", flush=True)
    if task["role"] == "writer":
        await write(store, task["seed"], task["count"])
    else:
        await consume(store, task["seen"], task.get("die_after"))
    await store.close()
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
