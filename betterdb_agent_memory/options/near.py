"""How long, and how much, answers are kept in the memory of this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeAlias

from betterdb_agent_memory.near_cache import elapsed_seconds
from betterdb_agent_memory.options.checks import Accepts, either, number, options, whole_number

MAX_NEAR_AGE_SECONDS: Final = 3_600.0


def _clock(value: Any) -> Any:
    if not callable(value):
        raise TypeError
    return value


@options
class NearCacheOptions:
    """Answers that this process had a moment ago are given again without a round trip.

    None is given `max_age_seconds` (at most an hour) after the read that found it had begun, or later: it is never
    staler than that. Of at most `max_entries` answers and about `max_bytes` of memory the one that was used longest
    ago leaves first. `now_seconds` is the clock that ages are told by: one that only moves forward.
    """

    max_age_seconds: Annotated[float, number(0, MAX_NEAR_AGE_SECONDS, above=True, unit=" of seconds")] = 2.0
    max_entries: Annotated[int, whole_number(1)] = 1_000
    max_bytes: Annotated[int, whole_number(1, unit=" of bytes")] = 16 * 1024 * 1024
    now_seconds: Annotated[Callable[[], float], Accepts("a function that returns seconds", _clock)] = elapsed_seconds


Near: TypeAlias = Annotated[bool | NearCacheOptions, either(NearCacheOptions)]
