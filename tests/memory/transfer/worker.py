"""Exports or imports in a process of its own, and stands still after a number of pages until it is killed.

python -m tests.memory.transfer.worker URL NAME export|import|replace PATH PAGES
"""

from __future__ import annotations

import asyncio
import sys

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines import open_engine
from betterdb_agent_memory.memory.progress import Progress
from tests.embedding import embed


async def main(url: str, name: str, action: str, path: str, pages: int) -> None:
    told = 0

    def stand_still(progress: Progress) -> None:
        nonlocal told
        told += 1
        if told >= pages:
            print(progress.done, flush=True)
            sys.stdin.readline()

    engine = open_engine(url)
    store = MemoryStore(client=engine, name=name, embed_fn=embed)
    if action == "export":
        await store.export_to(path, on_progress=stand_still)
    else:
        await store.import_from(path, on_existing="replace" if action == "replace" else "skip", on_progress=stand_still)
    await store.close()
    await engine.close()


if __name__ == "__main__":
    url, name, action, path, pages = sys.argv[1:]
    asyncio.run(main(url, name, action, path, int(pages)))
