"""How much of the true neighbours a graph finds among texts that people wrote, beside made vectors."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import valkey
from numpy.typing import NDArray

from benchmarks.synthetic import load, stored
from betterdb_agent_memory.embedders.wordllama import WordLlamaEmbedder
from betterdb_agent_memory.engines.base import RecordWrite
from betterdb_agent_memory.engines.valkey import commands
from betterdb_agent_memory.memory import record
from tests.servers import ValkeyServer

NAME = "texts"
SUFFIXES = (".md", ".py", ".rst", ".txt")
QUESTIONS = 200
_SHORTEST = 40
_SAME = 1e-6
_BATCH = 500


async def measure(folder: Path, count: int, efforts: tuple[int, ...], candidates: int, top: int) -> dict[str, Any]:
    """Recall@10 and milliseconds of the bare search by EF_RUNTIME, among lines of the texts below `folder`.

    Embedded by the offline default; the questions are other lines of the same texts.

    Raises:
        ValueError: there are too few lines.
    """
    lines = list(_lines(folder, count + QUESTIONS))
    if len(lines) < 2 * QUESTIONS:
        raise ValueError(f"{folder} has {len(lines):,} usable lines; {2 * QUESTIONS:,} are the least")
    embedder = WordLlamaEmbedder()
    vectors = np.concatenate(
        [np.asarray(await embedder.embed_documents(lines[at : at + _BATCH])) for at in range(0, len(lines), _BATCH)]
    ).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    asked, kept = vectors[:QUESTIONS], vectors[QUESTIONS:]
    collection = record.memory_collection(NAME)
    writes = _writes(lines[QUESTIONS:], kept)
    with ValkeyServer() as server, server.blocking_client() as client:
        client.execute_command(*commands.create_index(collection, kept.shape[1]))
        stored(client, NAME)
        load(client, NAME, writes)
        stored(client, NAME)
        figures = {str(ef): _ask(client, kept, asked, ef, candidates, top) for ef in efforts}
    return {"memories": len(kept), "dimensions": kept.shape[1], "efforts": figures}


def _ask(
    client: valkey.Valkey, kept: NDArray[np.float32], asked: NDArray[np.float32], ef: int, candidates: int, top: int
) -> dict[str, float]:
    collection = record.memory_collection(NAME)
    seconds, shares = [], []
    for question in asked:
        command = commands.nearest(
            collection, "*", question.tobytes(), count=candidates, ef=ef, fields=(), timeout_ms=5000
        )
        began = perf_counter()
        answer: Any = client.execute_command(*command)
        seconds.append(perf_counter() - began)
        rows = sorted(zip(answer[1::2], answer[2::2], strict=True), key=lambda row: float(row[1][1]))[:top]
        found = [int(key.decode().removeprefix(collection.key_prefix)) for key, _ in rows]
        cosines = kept @ question
        shares.append(min(top, (cosines[found] >= np.partition(cosines, -top)[-top] - _SAME).sum()) / top)
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return {"p50_ms": float(p50), "p99_ms": float(p99), "recall_at_10": float(np.mean(shares))}


def _writes(lines: list[str], vectors: NDArray[np.float32]) -> Iterator[list[RecordWrite]]:
    def write(number: int) -> RecordWrite:
        memory = record.NewMemory(str(number), lines[number], 0.5, number)
        return RecordWrite(memory.id, record.encode_memory(memory, vectors[number].tobytes()))

    for at in range(0, len(lines), _BATCH):
        yield [write(number) for number in range(at, min(at + _BATCH, len(lines)))]


def _lines(folder: Path, count: int) -> list[str]:
    """Up to `count` lines with words, each another one, in an order by chance that is always the same."""
    found: dict[str, None] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in SUFFIXES and path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                text = line.strip(" #*\"'\t")
                if len(text) >= _SHORTEST and len(re.findall(r"\b[a-z]+\b", text)) >= 6:
                    found.setdefault(text)
    lines = list(found)
    random.Random(1).shuffle(lines)
    return lines[:count]
