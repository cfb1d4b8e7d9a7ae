"""Numbers as records have them, drawn and simulated."""

from __future__ import annotations

from typing import Any

import hypothesis
import numpy as np
from hypothesis import strategies as st

from betterdb_agent_memory.memory.scoring.base import Candidates

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
YEAR_SECONDS = 365 * 86_400


def given(*arguments: Any, **named: Any) -> Any:
    """Hypothesis's own, without a limit of time, which says more about who else is at work on the machine."""
    return lambda test: hypothesis.settings(deadline=None, max_examples=60)(hypothesis.given(*arguments, **named)(test))


shares = st.floats(0, 1)
strengths = st.floats(0, 50)
# From nothing to longer than anybody lived, and what a clock ahead of ours makes of it.
days = st.one_of(st.just(0.0), st.floats(1e-6, 1e6), st.floats(0, 400))


def candidates(count: int, seed: int = 0, **given) -> Candidates:
    """`count` memories of the last three years, each with all that a model may read."""
    numbers = np.random.default_rng(seed)
    ages = np.exp(numbers.uniform(np.log(60), np.log(3 * YEAR_SECONDS), count)) * 1000
    counts = numbers.integers(0, 12, count).astype(float)
    last = np.where(counts > 0, ages * numbers.random(count), ages)
    recent = last[:, None] + np.arange(4) * (ages - last)[:, None] / 8
    columns = {
        "relevance": numbers.random(count),
        "importance": numbers.random(count),
        "created_at_ms": NOW_MS - ages,
        "last_accessed_at_ms": NOW_MS - last,
        "access_count": counts,
        "recent_ms": np.where(np.arange(4) < counts[:, None], NOW_MS - recent, np.nan),
        "successes": np.where(numbers.random(count) < 0.5, counts * numbers.random(count), np.nan),
        "reliability": np.where(numbers.random(count) < 0.3, numbers.random(count), np.nan),
        "stability_days": np.where(numbers.random(count) < 0.5, numbers.uniform(1, 300, count), np.nan),
        "working": np.where(counts > 0, numbers.random(count), np.nan),
        "core": np.where(counts > 0, numbers.random(count), np.nan),
        "strength_at_ms": np.where(counts > 0, NOW_MS - last, np.nan),
        "cues": numbers.random((count, 3)) < 0.3,
        "fans": np.array([1.0, 8.0, 500.0]),
    }
    return Candidates(**{**columns, **given})


def row(of: Candidates, place: int) -> Candidates:
    """One of them by itself."""
    columns = {name: getattr(of, name) for name in Candidates.__dataclass_fields__}
    return Candidates(
        **{name: value if name == "fans" or value is None else value[[place]] for name, value in columns.items()}
    )
