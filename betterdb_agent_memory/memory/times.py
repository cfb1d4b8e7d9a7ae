"""Points in time as callers give them: milliseconds, a datetime or ISO text."""

from __future__ import annotations

import numbers
from datetime import UTC, date, datetime, time

from betterdb_agent_memory.errors import InvalidInputError

MAX_TIME_MS = 2**53
"""Beyond it a double, which search engines compare times as, no longer tells two from each other."""


def checked_time_ms(name: str, moment: object) -> int:
    """Milliseconds since the epoch (negative before 1970).

    Takes whole milliseconds, a datetime with a time zone, a date (its first moment in UTC), or ISO 8601
    text of either.

    Raises:
        InvalidInputError: anything else, a datetime without a time zone, or out of range.
    """
    if isinstance(moment, str):
        moment = _parsed(name, moment)
    if isinstance(moment, datetime):
        return _datetime_ms(name, moment)
    if isinstance(moment, date):
        return _datetime_ms(name, datetime.combine(moment, time.min, tzinfo=UTC))
    if isinstance(moment, bool) or not isinstance(moment, numbers.Integral):
        raise InvalidInputError(
            f"{name} must be milliseconds since the epoch, a datetime with a time zone, or ISO text such as "
            f"'2026-05-08T14:30:00Z'; got {moment!r:.80}"
        )
    milliseconds = int(moment)
    if abs(milliseconds) > MAX_TIME_MS:
        raise InvalidInputError(f"{name} of {milliseconds:,} ms is out of range; it is given in milliseconds")
    return milliseconds


def _parsed(name: str, text: str) -> datetime | date:
    try:
        if len(text.strip()) <= len("2026-05-08"):
            return date.fromisoformat(text.strip())
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInputError(
            f"{name} must be ISO 8601 text such as '2026-05-08' or '2026-05-08T14:30:00Z', got {text!r:.80}"
        ) from None


def _datetime_ms(name: str, moment: datetime) -> int:
    if moment.utcoffset() is None:
        raise InvalidInputError(
            f"{name} {moment.isoformat()} has no time zone, so every reader would take it for another moment; "
            "append one ('Z' in text, tzinfo=datetime.UTC in a datetime)"
        )
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    difference = moment - epoch
    return (difference.days * 86_400 + difference.seconds) * 1000 + difference.microseconds // 1000
