"""Long work goes at a pace that others hardly notice, whatever a memory takes."""

from __future__ import annotations

import pytest

from betterdb_agent_memory.dynamics.pacing import AIM_SECONDS, FEWEST, MOST, WORKED, Pace


@pytest.mark.parametrize(("seconds_each", "overhead"), [(0.00001, 0.0), (0.00001, 0.02), (0.0006, 0.0), (0.01, 0.0)])
def test_requests_come_to_take_as_long_as_they_should(seconds_each: float, overhead: float) -> None:
    pace, sizes = Pace(), []
    for _ in range(100):
        sizes.append(pace.size)
        pause = pace.took(pace.size, overhead + pace.size * seconds_each)
        assert 0 <= pause <= (overhead + sizes[-1] * seconds_each) * (1 - WORKED) / WORKED
    settled = sizes[50:]
    assert all(FEWEST <= size <= MOST for size in settled)
    least = min(sizes)
    more = [(size - least) * seconds_each for size in settled]
    assert all(
        seconds <= 2 * AIM_SECONDS * 1.5 for size, seconds in zip(settled, more, strict=True) if size > 2 * FEWEST
    )
    assert max(more) >= AIM_SECONDS or max(settled) == MOST or seconds_each > AIM_SECONDS


def test_a_last_request_that_is_small_says_nothing() -> None:
    pace = Pace()
    size = pace.size
    pace.took(1, 0.0001)
    assert pace.size == size
