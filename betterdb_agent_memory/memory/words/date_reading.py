"""Reading the dates of a question: what the patterns find, and what dateparser says that it means."""

from __future__ import annotations

import re
from calendar import isleap
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from betterdb_agent_memory.memory.words.date_patterns import NAMED, NUMERIC, Patterns
from betterdb_agent_memory.memory.words.languages import CODES
from betterdb_agent_memory.memory.words.phrases import PHRASES

if TYPE_CHECKING:
    from dateparser.date import DateDataParser

YEARS_BACK = 5
"""A date without a year is the last so many of its name: "8 May" are five days."""

_DAY = timedelta(days=1)
_FIRST_DAY, _LAST_DAY = date(1000, 1, 1), date(9000, 1, 1)
_PARSER_CODES = {"no": "nb", "st": "en"}
_AS_WRITTEN_HERE = str.maketrans("’年月日", "'-- ")
_YEAR = re.compile(r"(?:19|20)\d\d")
_FIRST_MONTHS = (3, 6, 9, 12)
"""Of spring, summer, autumn and winter."""

_parsing = Lock()


class Span(NamedTuple):
    """The first day, and the day after the last."""

    start: date
    end: date


def written_spans(query: str, today: date, language: str) -> Iterator[Span]:
    """Dates in figures and, if the parser may know the language, with a month's name and a year."""
    question = _Question(query)
    for pattern in (*NUMERIC, *(NAMED if _parser_code(language) != "en" else ())):
        for match in question.taken(pattern):
            yield from _parsed(match["said"], today, language)


def spoken_spans(query: str, today: date, language: str, patterns: Patterns) -> Iterator[Span]:
    """All ways of naming a date for which the language has a vocabulary; of two readings the longer one."""
    question = _Question(query)
    yield from _relative(question, today, language, patterns)
    yield from _calendar(question, today, language, patterns)
    yield from _loose(question, today, language, patterns)


def _relative(question: _Question, today: date, language: str, patterns: Patterns) -> Iterator[Span]:
    """Distances from now."""
    for match in question.taken(patterns.within):
        for span in _distant(match, today, language):
            yield Span(span.start, today + _DAY)
    for match in question.taken(patterns.ago):
        yield from _distant(match, today, language)
    for match in question.taken(patterns.fixed):
        yield from _parsed(patterns.canonical[match["said"]], today, language)


def _calendar(question: _Question, today: date, language: str, patterns: Patterns) -> Iterator[Span]:
    """Days and months by their number or name."""
    for pattern in patterns.dates:
        for match in question.taken(pattern, question.is_date):
            for span in _parsed(match["said"], today, language):
                yield from (span,) if _YEAR.search(match["said"]) else _recurring(span, today, YEARS_BACK)
    for match in question.taken(patterns.last_month):
        for span in _parsed(_said(match), today, language):
            # In May "last May" is not the present one.
            yield from _recurring(span, today if span.end <= today else span.start - _DAY, 1)
    for match in question.taken(patterns.month):
        for span in _parsed(_said(match), today, language):
            yield from _recurring(span, today, YEARS_BACK)


def _loose(question: _Question, today: date, language: str, patterns: Patterns) -> Iterator[Span]:
    """Seasons, weekends, days of the week and years."""
    for match in question.taken(patterns.season, _is_season):
        yield from _seasons(match, today)
    for _ in question.taken(patterns.weekend):
        yield _weekend(today, 1)
    for pattern in (patterns.weekday, patterns.year):
        for match in question.taken(pattern):
            yield from _parsed(_said(match), today, language)


class _Question:
    """A question as it is read: what has been understood is taken out of it."""

    def __init__(self, query: str) -> None:
        self._written = query.translate(_AS_WRITTEN_HERE)
        self._left = self._written.lower()
        # Capitals tell "May" from "may". Where lower case has another length, nobody knows where they were.
        if len(self._left) != len(self._written):
            self._written = self._left

    def taken(
        self, pattern: re.Pattern[str], accepts: Callable[[re.Match[str]], bool] = bool
    ) -> Iterator[re.Match[str]]:
        """What the pattern finds in the rest of the question, which is then without it."""
        for match in tuple(pattern.finditer(self._left)):
            if accepts(match):
                start, end = match.span()
                self._left = self._left[:start] + "\0" * (end - start) + self._left[end:]
                yield match

    def is_date(self, match: re.Match[str]) -> bool:
        """Whether a date with a month's name is one: "8 May" is, "top 3 may" is not."""
        groups = match.groupdict()
        if "sure" not in groups or any(groups.get(sign) for sign in ("sure", "suffix", "lead", "year")):
            return True
        said = self._written[match.start("said") : match.end("said")]
        return said != said.lower()


def _said(match: re.Match[str]) -> str:
    said: str = match["said"] or match["before"]
    return said


def _is_season(match: re.Match[str]) -> bool:
    """Whether a season is meant as a time: "in summer" and "summer 2022" are, "summer dresses" are not."""
    return any(match[sign] for sign in ("lead", "last", "year", "follows"))


def _seasons(match: re.Match[str], today: date) -> Iterator[Span]:
    season = next(number for number in range(len(_FIRST_MONTHS)) if match[f"season{number}"])
    year = int(match["year"] or today.year)
    span = _months(year, _FIRST_MONTHS[season], 3)
    if match["year"]:
        yield span
        return
    latest = today.year if span.start <= today else today.year - 1
    for year in range(latest, latest - (1 if match["last"] or match["follows"] else YEARS_BACK), -1):
        yield _months(year, span.start.month, 3)


def _months(year: int, month: int, count: int) -> Span:
    after = year * 12 + month - 1 + count
    return Span(date(year, month, 1), date(after // 12, after % 12 + 1, 1))


def _weekend(today: date, weeks: int) -> Span:
    """The weekend before the present week, or so many of them back; a present weekend is not the last."""
    saturday = today - (today.weekday() + 2 + 7 * (weeks - 1)) * _DAY
    return Span(saturday, saturday + 2 * _DAY)


def _distant(match: re.Match[str], today: date, language: str) -> Iterator[Span]:
    """What lies so many days, weeks, months or years back, as exactly as people mean it."""
    phrases = PHRASES[language]
    amount = phrases.all_amounts.get(match["amount"]) or int(match["amount"])
    if match["unit"].startswith(phrases.weekend):
        yield _weekend(today, max(amount, 1))
        return
    read = _read(phrases.ago_said.format(amount=amount, unit=match["unit"]), today, language)
    if read is None:
        return
    day, precision = read
    margin = {"day": 0 if amount < 2 else 1, "week": 3}.get(precision)
    yield _whole(day, precision) if margin is None else Span(day - margin * _DAY, day + (margin + 1) * _DAY)


def _parsed(said: str, today: date, language: str) -> Iterator[Span]:
    """The whole day, week, month or year that was said; nothing if the parser cannot read it."""
    if read := _read(said, today, language):
        yield _whole(*read)


def _recurring(span: Span, latest: date, years: int) -> Iterator[Span]:
    """The days or months of this name in so many years, the last of which is the latest that begins by `latest`."""
    precision = "month" if (span.end - span.start).days > 1 else "day"
    start = span.start
    last_year = latest.year - ((start.month, start.day) > (latest.month, latest.day))
    for year in range(last_year, last_year - years, -1):
        if (start.month, start.day) != (2, 29) or isleap(year):
            yield _whole(start.replace(year=year), precision)


def _whole(day: date, precision: str) -> Span:
    if precision == "year":
        return _months(day.year, 1, 12)
    if precision == "month":
        return _months(day.year, day.month, 1)
    if precision == "week":
        monday = day - day.weekday() * _DAY
        return Span(monday, monday + 7 * _DAY)
    return Span(day, day + _DAY)


@lru_cache(maxsize=1024)
def _read(said: str, today: date, language: str) -> tuple[date, str] | None:
    """The day, and whether it stands for a "day", "week", "month" or "year"; None for what is no date."""
    with _parsing:  # the parser remembers what it saw
        try:
            found = _parser(_parser_code(language), today).get_date_data(said)
        except OverflowError:
            return None
    if found.date_obj is None or not _FIRST_DAY < found.date_obj.date() < _LAST_DAY:
        return None
    return found.date_obj.date(), str(found.period)


def _parser_code(language: str) -> str:
    """The parser's language; English, for dates in figures, where it has none."""
    code = CODES.get(language, "en")
    return _PARSER_CODES.get(code, code)


@lru_cache(maxsize=8)
def _parser(code: str, today: date) -> DateDataParser:
    from dateparser.date import DateDataParser

    return DateDataParser(
        languages=[code],
        settings={
            "RELATIVE_BASE": datetime.combine(today, time(12)),
            "TIMEZONE": "UTC",
            "RETURN_AS_TIMEZONE_AWARE": False,
            "PREFER_DATES_FROM": "past",
            "PREFER_DAY_OF_MONTH": "first",
            "PREFER_MONTH_OF_YEAR": "first",
        },
    )
