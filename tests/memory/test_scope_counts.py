"""What a worker knows of its scopes, though answers overtake each other."""

from __future__ import annotations

from betterdb_agent_memory.engines.groups import group_name
from betterdb_agent_memory.memory.scope_counts import ScopeCounts

GROUP = group_name([b"t", b"", b""])


def made() -> tuple[ScopeCounts, list[float]]:
    now = [0.0]
    return ScopeCounts(lambda: 10, lambda: now[0]), now


def test_a_look_that_a_write_overtook_does_not_hide_the_write() -> None:
    counts, now = made()
    counts.counted(GROUP, 10)
    since = counts.now()
    now[0] = 1.0
    counts.counted(GROUP, 11)
    counts.noted(GROUP, 10, since=since)
    assert counts.size_of(GROUP) == 11
    assert list(counts.unsettled(10, quiet_seconds=0)) == [GROUP]
    counts.noted(GROUP, 10, since=counts.now())
    assert counts.size_of(GROUP) == 10
    assert list(counts.unsettled(10, quiet_seconds=0)) == []


def test_writes_whose_answers_come_in_another_order_are_looked_after() -> None:
    counts, now = made()
    for size in (9, 11, 10):
        counts.counted(GROUP, size)
    # No reason to evict, but one to look once it is quiet.
    assert not counts.is_crowded(GROUP, 10)
    assert list(counts.crowded(10)) == []
    assert list(counts.unsettled(10, quiet_seconds=0)) == [GROUP]
    assert list(counts.unsettled(10, quiet_seconds=1)) == []
    now[0] = 2.0
    assert list(counts.unsettled(10, quiet_seconds=1)) == [GROUP]
    counts.corrected(GROUP, 10, since=counts.now())
    assert list(counts.unsettled(10, quiet_seconds=0)) == []


def test_what_nobody_counts_is_told_by_whoever_looks() -> None:
    counts, now = made()
    counts.counted(GROUP, None)
    since = counts.now()
    now[0] = 1.0
    counts.counted(GROUP, None)
    assert list(counts.crowded(100)) == list(counts.unsettled(100, quiet_seconds=0)) == [GROUP]
    counts.noted(GROUP, 3, since=since)
    assert counts.size_of(GROUP) == 3
