"""The published package on a server: with its defaults, and with the threshold that lets everything in.

Hits are not reinforced, so that no question changes the answer to the next.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import uuid4

from benchmarks.peers.exchange import Ranking, Talk, read_workload, write_rankings


async def main(folder: Path, url: str) -> None:
    import valkey.asyncio

    workload = read_workload(folder)
    client = valkey.asyncio.Valkey.from_url(url)
    rankings: dict[str, Ranking] = {"published, defaults": [], "published, threshold 2": []}
    for talk in workload.talks:
        by_default, open_wide = await _ask(client, talk, workload.depth)
        rankings["published, defaults"].append(by_default)
        rankings["published, threshold 2"].append(open_wide)
    await client.aclose()
    write_rankings(folder, rankings, ["betterdb-agent-memory"])


async def _ask(client: object, talk: Talk, depth: int) -> tuple[list[list[str]], list[list[str]]]:
    from betterdb_agent_memory import MemoryStore

    # The package asks for a vector of "probe" to learn the dimensions.
    vectors: dict[str, list[float]] = {"probe": talk.memory_vectors[0].tolist(), **talk.vectors_by_text}

    async def embed(text: str) -> list[float]:
        return vectors[text]

    store = MemoryStore(client=client, name=f"quality{uuid4().hex}", embed_fn=embed, analytics=False)  # type: ignore[arg-type]
    await store.ensure_index()
    own = {await store.remember(text): id for id, text in talk.memories}
    found: list[list[list[str]]] = []
    for threshold in (None, 2.0):
        rows = []
        for question in talk.questions:
            hits = await store.recall(question, k=depth, reinforce=False, threshold=threshold)
            rows.append([own[hit.item.id] for hit in hits])
        found.append(rows)
    await store.close()
    return found[0], found[1]


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
