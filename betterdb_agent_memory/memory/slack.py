"""How far above its limit a scope may get, and how fast it is brought down: pure (docs/capacity.md)."""

from __future__ import annotations

SLACK = 10
"""A scope may hold one memory more than its limit for each so many of it, while it is being written to."""

MOST_AT_ONCE = 50
"""Memories that leave with one request: a server works through it before it looks at the next one's."""

FEWEST_AT_ONCE = 5
"""So few memories leave with one request while there is slack: a write never waits for more, and the server deletes
while this worker prepares the next one."""

UNHURRIED_SECONDS = 3.0
"""After so long others wait for the lease, and requests take long anyway: as many leave at once as may."""


def slack_of(limit: int) -> int:
    """How many memories a scope may hold above `limit` while it is being written to: a tenth, none below 40."""
    return limit // SLACK if limit >= 4 * SLACK else 0


def early_of(limit: int) -> int:
    """From how many memories on room is made beside the writes: a quarter of the slack is left for them."""
    return limit + 3 * slack_of(limit) // 4


def pace_of(size: int, limit: int, seconds: float) -> int:
    """How many memories leave with the next request, of a scope that has `size`, where this has gone on for `seconds`:
    the more, the less slack there is left, and the longer it takes.
    """
    early, full = early_of(limit), limit + slack_of(limit)
    crowded = (size - early) / (full - early) if early < full else 1.0
    share = max(crowded, (seconds / UNHURRIED_SECONDS) ** 2)
    return max(FEWEST_AT_ONCE, min(MOST_AT_ONCE, round(MOST_AT_ONCE * share)))
