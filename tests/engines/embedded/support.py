"""Stores and records for the tests of the embedded engine."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from betterdb_agent_memory.engines.base import Collection, RecordWrite
from betterdb_agent_memory.memory.record import MEMORY_SCHEMA

ROOT = Path(__file__).parents[3]


def collection(name: str = "store") -> Collection:
    return Collection(f"{name}:mem:", f"{name}:mem:idx", MEMORY_SCHEMA)


def encoded(vector: Iterable[float]) -> bytes:
    return np.asarray(list(vector), dtype="<f4").tobytes()


def record(
    id: str, vector: Iterable[float] = (1.0, 0.0), *, ttl_seconds: int | None = None, **fields: str
) -> RecordWrite:
    stored = {name: value.encode() for name, value in fields.items()}
    return RecordWrite(id, {"content": b"text", **stored, "vector": encoded(vector)}, ttl_seconds)


def true_distances(vectors: npt.NDArray[np.float32], query: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Cosine distances in 64 bits; 1 where a vector has no direction."""
    rows, wanted = vectors.astype(np.float64), query.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted)
    cosines = np.divide(rows @ wanted, norms, out=np.zeros(len(rows)), where=norms > 0)
    distances: npt.NDArray[np.float64] = np.clip(1.0 - cosines, 0.0, 2.0)
    return distances


def python(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process that runs `script`, with the package importable."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
