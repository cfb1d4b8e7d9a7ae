"""What a transfer holds in memory does not grow with the number of memories."""

from __future__ import annotations

import tracemalloc
from collections.abc import Awaitable
from pathlib import Path

import numpy as np
import pytest

from betterdb_agent_memory import MemoryStore
from tests.memory.transfer.conftest import MakeStore, put

DIMENSIONS = 256
WARM, FEW, MANY = 500, 1_000, 3_000
ALLOWED_BYTES = 1_500_000
"""A page more or less; the memories between FEW and MANY take more than 3 MB as fields alone."""


async def peak_bytes(work: Awaitable[object]) -> int:
    tracemalloc.start()
    try:
        await work
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def embed(text: str) -> list[float]:
    return [float(len(text) + n) for n in range(DIMENSIONS)]


async def filled(store: MemoryStore, count: int) -> MemoryStore:
    vectors = np.random.default_rng(7).normal(size=(500, DIMENSIONS)).astype("<f4")
    for first in range(0, count, 500):
        records = {
            f"{n:08}": {
                "content": f"memory {n} {'x' * 500}".encode(),
                "created_at": str(1_750_000_000_000 + n).encode(),
                "vector": vectors[n % 500].tobytes(),
            }
            for n in range(first, first + 500)
        }
        await put(store, records)
    return store


@pytest.mark.parametrize(("kind", "name"), [("file", "a.jsonl"), ("file", "a.jsonl.gz"), ("server", "a.jsonl")])
async def test_it_stays_flat(make_store: MakeStore, kind: str, tmp_path: Path, name: str) -> None:
    exporting, importing = [], []
    for count in (WARM, FEW, MANY):  # the first one pays for what is loaded once
        source = await filled(make_store(kind, embed_fn=embed), count)
        target = make_store(kind, embed_fn=embed)
        exporting.append(await peak_bytes(source.export_to(tmp_path / name)))
        importing.append(await peak_bytes(target.import_from(tmp_path / name)))
        assert (await target.stats()).item_count == count
    assert exporting[2] - exporting[1] < ALLOWED_BYTES, exporting
    assert importing[2] - importing[1] < ALLOWED_BYTES, importing
