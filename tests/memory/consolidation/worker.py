"""A process that consolidates, and that may kill itself on the way: `python worker.py '{"url": ...}'`.

It consolidates thread `t` of the store and prints the result as JSON. With `die_at` (a stage of progress)
and `die_after` (how much of it is done) it ends as by kill -9 at that point; `die_at` "thinking" is inside
the callback. It waits for the file `start`, if one is named, so that several begin together.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from betterdb_agent_memory import Fact, MemoryItem, MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.memory.progress import Progress
from tests.embedding import embed


async def main(task: dict[str, Any]) -> None:
    engine = open_engine(task["url"])
    store = MemoryStore(client=engine, name=task["name"], embed_fn=embed)

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(progress: Progress) -> None:
        if progress.stage == task.get("die_at") and progress.done >= task.get("die_after", 0):
            die()

    async def think() -> None:
        if task.get("die_at") == "thinking":
            die()
        await asyncio.sleep(task.get("seconds", 0))

    async def summarize(memories: list[MemoryItem]) -> str:
        await think()
        return f"digest of {len(memories)} by {os.getpid()}"

    async def extract(_: list[MemoryItem]) -> list[Fact]:
        await think()
        return [Fact(**fact) for fact in task["facts"]]

    callback: dict[str, Any] = {"extract_facts": extract} if "facts" in task else {"summarize": summarize}
    await store.ensure_index()
    if "start" in task:
        print("ready", flush=True)
        while not Path(task["start"]).exists():  # noqa: ASYNC110 - another process makes the file
            await asyncio.sleep(0.005)
    result = await store.consolidate(**callback, thread_id="t", on_progress=watch, lease_seconds=1)
    print(json.dumps(dataclasses.asdict(result)))
    await store.close()
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
