"""When room is made, and how fast: pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import ConfigurationError, MemoryStore
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.memory.slack import (
    FEWEST_AT_ONCE,
    MOST_AT_ONCE,
    UNHURRIED_SECONDS,
    early_of,
    pace_of,
    slack_of,
)

LIMITS = st.integers(1, 100_000)


@given(
    limit=LIMITS,
    sizes=st.tuples(st.integers(0, 120_000), st.integers(0, 120_000)),
    seconds=st.tuples(st.floats(0, 10), st.floats(0, 10)),
)
def test_the_less_slack_is_left_and_the_longer_it_takes_the_more_memories_leave_at_once(
    limit: int, sizes: tuple[int, int], seconds: tuple[float, float]
) -> None:
    few, many = (pace_of(size, limit, elapsed) for size, elapsed in zip(sorted(sizes), sorted(seconds), strict=True))
    assert FEWEST_AT_ONCE <= few <= many <= MOST_AT_ONCE
    assert pace_of(sizes[0], limit, UNHURRIED_SECONDS) == MOST_AT_ONCE


@given(limit=LIMITS)
def test_writes_go_in_between_until_there_is_no_slack_left(limit: int) -> None:
    early, full = early_of(limit), limit + slack_of(limit)
    assert limit <= early <= full
    assert pace_of(full, limit, 0) == MOST_AT_ONCE
    if early < full:
        assert pace_of(early, limit, 0) == FEWEST_AT_ONCE


def test_limits_by_tags_are_asked_for_with_true_or_false() -> None:
    with pytest.raises(ConfigurationError, match="limit_by_tags must be true or false, got 'tags'"):
        MemoryStore(client=EmbeddedEngine(":memory:"), name="s", limit_by_tags="tags")  # type: ignore[arg-type]
