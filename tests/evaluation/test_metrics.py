"""The measures are those of the books."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.evaluation import DEPTHS, Judged, Latency, Quality

IDS = [f"m{number}" for number in range(30)]
RANKINGS = st.lists(st.sampled_from(IDS), unique=True)
EXPECTED = st.sets(st.sampled_from(IDS), min_size=1, max_size=5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(RANKINGS, EXPECTED), min_size=1, max_size=8))
def test_quality_is_what_the_definitions_say(answered: list[tuple[list[str], set[str]]]) -> None:
    quality = Quality.of([Judged.of(ranking, expected) for ranking, expected in answered])
    assert quality.questions == len(answered)
    for depth in DEPTHS:
        shares = [len(expected & set(ranking[:depth])) / len(expected) for ranking, expected in answered]
        assert quality.recall[depth] == pytest.approx(sum(shares) / len(shares))
        assert quality.hit[depth] == pytest.approx(sum(share > 0 for share in shares) / len(shares))
    first = [
        next((1 / rank for rank, id in enumerate(ranking, 1) if id in expected), 0.0) for ranking, expected in answered
    ]
    assert quality.mrr == pytest.approx(sum(first) / len(first))


def test_a_memory_that_is_found_twice_counts_once() -> None:
    judged = Judged.of(["x", "a", "a"], ["a", "b"])
    assert (judged.ranks, judged.found(10), judged.expected) == ((1,), 1, 2)


def test_latencies_are_percentiles_in_milliseconds() -> None:
    latency = Latency.of([0.001 * number for number in range(1, 101)])
    assert latency.p50_ms == pytest.approx(50.5)
    assert 99 <= latency.p99_ms <= 100
