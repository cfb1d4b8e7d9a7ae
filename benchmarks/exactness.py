"""How often a recall by default already was the exact one, and what `exact=True` costs.

    python -m benchmarks.exactness DATASET.json --sizes 1000,20000

The memories are the turns of the dataset (its format: `benchmarks/conversations.py`), embedded offline, repeated with
noise up to each size; their ages spread over 90 days, every fourth has an importance of its own. The questions are the
dataset's. One recall at k = 8 and one with `exact=True` for each question, in a file and on a server.

proven        recalls whose bound held, so that nothing else can be among the hits, per cent
same          recalls whose hits are those of `exact=True`, per cent
exact         recalls with `exact=True` that were proven within the budget of 20,000 memories, per cent
ms, exact ms  medians
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.conversations import load_conversations
from betterdb_agent_memory import MemoryStore, RecallWeights
from betterdb_agent_memory.agent_memory import TIE_BREAKER_HALF_LIFE_SECONDS, TIE_BREAKER_WEIGHTS
from betterdb_agent_memory.embedders import WordLlamaEmbedder
from betterdb_agent_memory.engines.base import Engine, RecordWrite
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.memory.record import NewMemory, encode_memory, memory_collection
from betterdb_agent_memory.options import CONTRACT_WEIGHTS, DEFAULT_HALF_LIFE_SECONDS
from tests.servers import ValkeyServer

NOW_MS = 1_750_000_000_000
DAY_MS = 86_400_000
NOISE = 0.05
SCORINGS = {
    "similarity alone": (RecallWeights(1, 0, 0), DEFAULT_HALF_LIFE_SECONDS),
    "tie-breakers (open)": (TIE_BREAKER_WEIGHTS, TIE_BREAKER_HALF_LIFE_SECONDS),
    "contract": (CONTRACT_WEIGHTS, DEFAULT_HALF_LIFE_SECONDS),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """Shares are per cent."""

    proven: float
    same: float
    exact: float
    ms: float
    exact_ms: float


async def fill(engine: Engine, name: str, texts: Sequence[str], vectors: np.ndarray, size: int) -> None:
    chance = np.random.default_rng(size)
    records = engine.records(memory_collection(name))
    await records.prepare(vectors.shape[1])
    for start in range(0, size, 500):
        writes = []
        for place in range(start, min(start + 500, size)):
            vector = vectors[place % len(texts)]
            if place >= len(texts):
                vector = (
                    vector + NOISE * np.linalg.norm(vector) * chance.standard_normal(len(vector)) / len(vector) ** 0.5
                )
            memory = NewMemory(
                f"m{place}",
                texts[place % len(texts)],
                0.5 if place % 4 else float(chance.random()),
                NOW_MS - int(chance.integers(90 * DAY_MS)),
            )
            writes.append(RecordWrite(memory.id, encode_memory(memory, vector.astype("<f4").tobytes()), is_new=True))
        await records.write_many(writes)


async def measure(store: MemoryStore, questions: Sequence[tuple[str, Any]], **asked: Any) -> Measured:
    proven, same, exact = 0, 0, 0
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for text, vector in questions:
        found = {}
        for wanted in (False, True):
            started = time.perf_counter()
            found[wanted] = await store.recall_by_vector(
                vector, query=text, exact=wanted, reinforce=False, now=NOW_MS, threshold=2.0, **asked
            )
            seconds[wanted].append(time.perf_counter() - started)
        plain, sure = found[False], found[True]
        proven += all(hit.explain is not None and hit.explain.exact for hit in plain)
        exact += all(hit.explain is not None and hit.explain.exact for hit in sure)
        same += [hit.item.id for hit in plain] == [hit.item.id for hit in sure]
    share = 100 / len(questions)
    return Measured(
        proven * share,
        same * share,
        exact * share,
        statistics.median(seconds[False]) * 1000,
        statistics.median(seconds[True]) * 1000,
    )


async def run(dataset: Path, sizes: Sequence[int], count: int) -> None:
    conversations = load_conversations(dataset)
    texts = [text for one in conversations for text in one.memories]
    asked = [text for one in conversations for text in one.questions]
    asked = asked[:: max(1, len(asked) // count)][:count]
    embedder = WordLlamaEmbedder()
    vectors = np.array([np.asarray(vector) for vector in await embedder.embed_documents(texts)], dtype=np.float32)
    questions = [(text, await embedder.embed_query(text)) for text in asked]
    print("| engine | memories | retrieval | weights | proven % | same % | exact % | ms | exact ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    with ValkeyServer() as server, tempfile.TemporaryDirectory() as folder:
        engines: dict[str, Engine] = {
            "file": EmbeddedEngine(Path(folder) / "memory.db"),
            "server": ValkeyEngine.from_url(server.url),
        }
        for kind, engine in engines.items():
            for size in sizes:
                name = f"exact{size}"
                await fill(engine, name, texts, vectors, size)
                for retrieval in ("vector", "hybrid"):
                    for label, (weights, half_life) in SCORINGS.items():
                        store = MemoryStore(client=engine, name=name, half_life_seconds=half_life)
                        found = await measure(store, questions, retrieval=retrieval, weights=weights)
                        await store.close()
                        print(
                            f"| {kind} | {size:,} | {retrieval} | {label} | {found.proven:.0f} | {found.same:.0f} "
                            f"| {found.exact:.0f} | {found.ms:.1f} | {found.exact_ms:.1f} |",
                            flush=True,
                        )
            await engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[1_000, 20_000])
    parser.add_argument("--questions", type=int, default=100)
    given = parser.parse_args()
    asyncio.run(run(given.dataset, given.sizes, given.questions))


if __name__ == "__main__":
    main()
