"""What the date of a fact says about when: free text in, something that can be ordered out.

A date is stored as it was written, as the wire contract has it; only comparisons look at what it
means. What cannot be read as a date counts as no date at all.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from dateutil import parser

_LONGEST_DATE = 64
_YEAR_FIRST = re.compile(r"([0-9]{4})(?:([-/.])([0-9]{1,2})(?:\2([0-9]{1,2}))?)?")
_DOTTED = re.compile(r"[0-9]{1,2}\.\s?[0-9]{1,2}\.")
_YEAR = re.compile(r"(?<![0-9])[0-9]{4}(?![0-9])")
_YEAR_LEADS = re.compile(r"^[0-9]{4}|(?<![0-9./-])[0-9]{4}([-/.])[0-9]{1,2}\1[0-9]{1,2}(?![0-9])")
_OFFSET = re.compile(r"(:[0-9]{2}(?:\.[0-9]+)?)\s*[+-][0-9]{2}:?[0-9]{2}$")

# The two agree in no part, so a part in which both readings agree was really in the text.
_ONE_DEFAULT = datetime(2000, 1, 1, 1, tzinfo=UTC)
_OTHER_DEFAULT = datetime(2004, 2, 2, 2, tzinfo=UTC)


class Precision(IntEnum):
    """How much of a date was said."""

    YEAR = 1
    MONTH = 2
    DAY = 3
    TIME = 4


class FactDate(NamedTuple):
    """A point in time that can be ordered: where the year, month, day or instant begins, in UTC.

    Of two that begin together the more precise one is later, as in the text order of ISO dates.
    """

    start: datetime
    precision: Precision


@lru_cache(maxsize=8192)
def parse_date(text: str | None, *, day_first: bool = False) -> FactDate | None:
    """The date that `text` states, None when it states none or only part of one without a year.

    ISO 8601 in its usual spellings (`2024`, `2024-05`, `2024-9-1`, `2024-05-01T10:00:00+02:00`),
    `12/31/2024` and `12-31-2024` with the month first unless that is impossible or `day_first`,
    `31.12.2024` with the day first, and month names (`May 8, 2023`, `8 May 2023`, `May 2023`). The
    year has four digits; where it comes first the month follows. Without an offset a time is UTC; names of
    time zones are not looked up.

    >>> parse_date("2024-9-1") < parse_date("October 1, 2024")
    True
    >>> parse_date("may") is None and parse_date("soon") is None
    True
    """
    trimmed = (text or "").strip()
    if not trimmed or len(trimmed) > _LONGEST_DATE or not trimmed.isascii():
        return None
    try:
        return _year_first(trimmed) or _iso(trimmed) or _spelt_out(trimmed, day_first)
    except (ValueError, OverflowError):
        return None


def _year_first(text: str) -> FactDate | None:
    match = _YEAR_FIRST.fullmatch(text)
    if match is None:
        return None
    year, _, month, day = match.groups()
    precision = Precision.DAY if day else Precision.MONTH if month else Precision.YEAR
    return FactDate(datetime(int(year), int(month or 1), int(day or 1), tzinfo=UTC), precision)


def _iso(text: str) -> FactDate | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return FactDate(_in_utc(moment), Precision.TIME if len(text) > len("2024-05-01") else Precision.DAY)


def _spelt_out(text: str, day_first: bool) -> FactDate | None:
    # One year and no second one: the library reads "2019-2021" and "2023-05-08 / 2023-05-09" as something.
    if len(_YEAR.findall(_OFFSET.sub(r"\1", text))) != 1:
        return None
    # After a leading year the month comes first, whatever is said about dates without one.
    is_day_first = (day_first and _YEAR_LEADS.search(text) is None) or _DOTTED.match(text) is not None
    one, other = (
        # Names of zones would otherwise mean what they mean on this machine.
        parser.parse(text, default=default, dayfirst=is_day_first, tzinfos=lambda name, seconds: _zone(seconds))
        for default in (_ONE_DEFAULT, _OTHER_DEFAULT)
    )
    if one.year != other.year or (one.day == other.day and one.month != other.month):
        return None
    if one.month != other.month:
        return FactDate(datetime(one.year, 1, 1, tzinfo=UTC), Precision.YEAR)
    if one.day != other.day:
        return FactDate(datetime(one.year, one.month, 1, tzinfo=UTC), Precision.MONTH)
    if one.hour != other.hour:
        return FactDate(datetime(one.year, one.month, one.day, tzinfo=UTC), Precision.DAY)
    return FactDate(_in_utc(one), Precision.TIME)


def _zone(seconds: int | None) -> timezone | None:
    return None if seconds is None else timezone(timedelta(seconds=seconds))


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
