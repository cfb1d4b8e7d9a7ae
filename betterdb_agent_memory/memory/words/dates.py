"""The dates that a question names, as spans of time.

Where a date is said is known here (`date_patterns`), so that words such as "may" and "second" are not taken for
dates; what it means is asked of dateparser, which is loaded when the first date is found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from betterdb_agent_memory.memory.words.date_patterns import date_patterns
from betterdb_agent_memory.memory.words.date_reading import spoken_spans, written_spans
from betterdb_agent_memory.memory.words.tokens import tokens

MAX_PERIODS = 16
"""What one question may name; the rest is left out."""

_LONGEST_QUESTION = 4096
_FIRST_YEAR, _LAST_YEAR = 1000, 9990
_FIGURES = re.compile(r"(?:19|20)\d\d")


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A span of time from `start_ms` up to, not including, `end_ms`: milliseconds since the epoch, days of UTC."""

    start_ms: int
    end_ms: int


def may_name_period(query: str, language: str = "english") -> bool:
    """Whether it is worth reading the question for dates, which may take milliseconds; this takes microseconds."""
    query = query[:_LONGEST_QUESTION]
    if _FIGURES.search(query) is not None:
        return True
    patterns = date_patterns(language)
    return patterns is not None and not patterns.triggers.isdisjoint(tokens(query, language))


def named_periods(query: str, now_ms: int, language: str = "english") -> tuple[Period, ...]:
    """The spans of time that `query` names, seen from `now_ms`; in order, each once, at most 16.

    A day, month, year or season is that whole; one without a year is the last five of its name, none of which
    begins in the future, with "last" the latest that is over, with "last year" that one. Two that are the ends of
    a span ("from 3 to 9 May", "in 2019-2021") are that span; "since" and "after" a date it lasts until now, and what
    is before one is no period. "Three days ago" is that day and those beside it, "two weeks ago" the week around that
    day; "a month ago" and "a year ago" are the calendar month and year; a weekend is Saturday and Sunday; seasons are
    those of the northern half. Dates in figures are read as is usual in the language (in English the month first), or
    the only possible way.

    English, German, French and Spanish have a vocabulary here. In other languages that have a stemmer dates with a
    year are understood ("8 maggio 2023"), in `language="none"` dates in figures. The first date of a process takes a
    quarter of a second, since the parser is loaded; later ones a millisecond or two, repeated questions nothing.
    Seen from beyond the calendar (the year 9990) a question names nothing.

    >>> from datetime import datetime, UTC
    >>> now = datetime(2026, 11, 21, tzinfo=UTC)
    >>> [period] = named_periods("Where did we go last May?", int(now.timestamp() * 1000))
    >>> str(datetime.fromtimestamp(period.start_ms / 1000, UTC)), (period.end_ms - period.start_ms) / 86_400_000
    ('2026-05-01 00:00:00+00:00', 31.0)
    """
    if not may_name_period(query, language):
        return ()
    try:
        today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    except (OverflowError, ValueError, OSError):
        return ()
    if not _FIRST_YEAR <= today.year <= _LAST_YEAR:
        return ()
    return _periods(query[:_LONGEST_QUESTION], today, language)


def in_periods(times_ms: ArrayLike, periods: Sequence[Period]) -> NDArray[np.bool_]:
    """Which times lie in one of `periods`; a time of 0 is as good as any other."""
    times = np.asarray(times_ms, np.int64)
    found = np.zeros(times.shape, np.bool_)
    for period in periods:
        found |= (times >= period.start_ms) & (times < period.end_ms)
    return found


@lru_cache(maxsize=1024)
def _periods(query: str, today: date, language: str) -> tuple[Period, ...]:
    patterns = date_patterns(language)
    if patterns is None:
        spans = written_spans(query, today, language)
    else:
        spans = spoken_spans(query, today, language, patterns)
    periods: set[Period] = set()
    for span in spans:
        periods.add(Period(_ms(span.start), _ms(span.end)))
        if len(periods) == MAX_PERIODS:
            break
    return tuple(sorted(periods))


def _ms(day: date) -> int:
    return int(datetime.combine(day, time.min, UTC).timestamp()) * 1000
