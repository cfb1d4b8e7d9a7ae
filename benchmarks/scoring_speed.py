"""What each model of scoring takes for many candidates: `python -m benchmarks.scoring_speed [candidates]`.

The best of fifty runs, in milliseconds, of candidates that have every number a model may read and of candidates that
have only what every client writes.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np

from betterdb_agent_memory.memory.scoring.activation import Activation, ActivationParameters
from betterdb_agent_memory.memory.scoring.base import Candidates, ScoringModel
from betterdb_agent_memory.memory.scoring.chain import Chain
from betterdb_agent_memory.memory.scoring.composite import Composite
from betterdb_agent_memory.memory.scoring.retrievability import Exponential, Retrievability

NOW_MS = 1_800_000_000_000
MODELS: dict[str, ScoringModel] = {
    "composite": Composite(),
    "activation": Activation(),
    "activation, d = .4": Activation(ActivationParameters(decay=0.4)),
    "chain": Chain(),
    "retrievability, power": Retrievability(),
    "retrievability, exponential": Retrievability(Exponential()),
}
RUNS = 50


def drawn(count: int) -> Candidates:
    numbers = np.random.default_rng(1)
    ages = np.exp(numbers.uniform(4, 18, count)) * 1000
    last = ages * numbers.random(count)
    return Candidates(
        relevance=numbers.random(count),
        importance=numbers.random(count),
        created_at_ms=NOW_MS - ages,
        last_accessed_at_ms=NOW_MS - last,
        access_count=numbers.integers(1, 20, count).astype(float),
        recent_ms=NOW_MS - last[:, None] - np.arange(4) * (ages - last)[:, None] / 5,
        stability_days=numbers.uniform(5, 200, count),
        working=numbers.random(count),
        core=numbers.random(count),
        strength_at_ms=NOW_MS - last,
        cues=numbers.random((count, 3)) < 0.2,
        fans=np.array([2.0, 9.0, 400.0]),
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    whole = drawn(count)
    nothing: dict[str, Any] = dict.fromkeys(
        ("recent_ms", "stability_days", "working", "core", "strength_at_ms", "cues", "fans")
    )
    bare = replace(whole, **nothing)
    print(f"{count:,} candidates, ms           every number   bare")
    for name, model in MODELS.items():
        took = []
        for candidates in (whole, bare):
            best = float("inf")
            for _ in range(RUNS):
                began = time.perf_counter()
                model.score(candidates, NOW_MS)
                best = min(best, time.perf_counter() - began)
            took.append(best * 1_000)
        print(f"{name:<30}{took[0]:>12.2f}{took[1]:>7.2f}")


if __name__ == "__main__":
    main()
