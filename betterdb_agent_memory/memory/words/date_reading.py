"""Reading the dates of a question: what the patterns find, and what dateparser says that it means."""

from __future__ import annotations

import re
from calendar import isleap
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from betterdb_agent_memory.memory.words.date_patterns import NAMED, NUMERIC, Patterns
from betterdb_agent_memory.memory.words.date_wording import worded
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
_LEADING = 60
"""Characters before a date that may lead to it: "since the beginning of"."""

_FIRST_MONTHS = (3, 6, 9, 12)
"""Of spring, summer, autumn and winter."""

_parsing = Lock()


class Span(NamedTuple):
    """The first day, and the day after the last."""

    start: date
    end: date


class _Named(NamedTuple):
    """A date where it is said: from `start` (without the words that lead to it) to `end` of the question."""

    start: int
    end: int
    spans: tuple[Span, ...]


def written_spans(query: str, today: date, language: str) -> Iterator[Span]:
    """Dates in figures and, if the parser may know the language, with a month's name and a year."""
    question = _Question(query)
    for pattern in (*NUMERIC, *(NAMED if _parser_code(language) != "en" else ())):
        for match in question.taken(pattern):
            yield from _parsed(match["said"], today, language)


def spoken_spans(query: str, today: date, language: str, patterns: Patterns) -> Iterator[Span]:
    """All ways of naming a date for which the language has a vocabulary; of two readings the longer one."""
    question = _Question(worded(query.translate(_AS_WRITTEN_HERE), today, language))
    found = (
        *_relative(question, today, language, patterns),
        *_calendar(question, today, language, patterns),
        *_loose(question, today, language, patterns),
    )
    named = sorted(
        (_Named(_start(match), match.end(), tuple(spans)) for match, spans in found), key=lambda one: one.start
    )
    place = 0
    while place < len(named):
        one = named[place]
        place += 1
        if place < len(named) and (joined := _joined(question.text, one, named[place], patterns)):
            yield from joined
            place += 1
        else:
            yield from _opened(question.text, one, today, patterns)


_Found: TypeAlias = Iterator[tuple[re.Match[str], Iterable[Span]]]


def _relative(question: _Question, today: date, language: str, patterns: Patterns) -> _Found:
    """Distances from now."""
    for match in question.taken(patterns.within):
        yield match, [Span(span.start, today + _DAY) for span in _distant(match, today, language)]
    for match in question.taken(patterns.ago):
        yield match, _distant(match, today, language)
    for match in question.taken(patterns.fixed):
        yield match, _parsed(patterns.canonical[match["said"]], today, language)


def _calendar(question: _Question, today: date, language: str, patterns: Patterns) -> _Found:
    """Days and months by their number or name."""
    for match in question.taken(patterns.years):
        first, last = (int(match[year]) for year in ("said", "until"))
        years = (first, last) if first <= last else (first, first)
        yield match, [Span(date(years[0], 1, 1), date(years[1] + 1, 1, 1))]
    for pattern in patterns.dates:
        for match in question.taken(pattern, question.is_date):
            spans = _parsed(match["said"], today, language)
            has_year = _YEAR.search(match["said"]) is not None
            yield match, spans if has_year else [day for span in spans for day in _recurring(span, today, YEARS_BACK)]
    for match in question.taken(patterns.last_month):
        # In May "last May" is not the present one.
        for span in _parsed(_said(match), today, language):
            yield match, _recurring(span, today if span.end <= today else span.start - _DAY, 1)
    for match in question.taken(patterns.month):
        for span in _parsed(_said(match), today, language):
            yield match, _recurring(span, today, YEARS_BACK)


def _loose(question: _Question, today: date, language: str, patterns: Patterns) -> _Found:
    """Seasons, weekends, days of the week and years."""
    for match in question.taken(patterns.season, _is_season):
        yield match, _seasons(match, today)
    for match in question.taken(patterns.weekend):
        yield match, [_weekend(today, 1)]
    for pattern in (patterns.weekday, patterns.year):
        for match in question.taken(pattern):
            yield match, _parsed(_said(match), today, language)


def _joined(text: str, first: _Named, last: _Named, patterns: Patterns) -> list[Span]:
    """The spans of which two dates are the ends; none if they are not. One without a year has that of the other."""
    joining = patterns.joining.fullmatch(text, first.end, last.start)
    if joining is None or (joining["both"] and not patterns.between.search(text, _near(first), first.start)):
        return []
    pairs = [(max((one for one in first.spans if one.start <= end.start), default=None), end) for end in last.spans]
    return [Span(start.start, end.end) for start, end in pairs if start]


def _opened(text: str, named: _Named, today: date, patterns: Patterns) -> Iterable[Span]:
    """What a date means behind "since" or "after", the latest if it has no year; nothing behind "before"."""
    opening = patterns.opening.search(text, _near(named), named.start)
    if opening is None:
        return named.spans
    latest = max((span for span in named.spans if span.start <= today), default=None)
    if latest is None or opening["before"]:
        return ()
    start = latest.start if opening["since"] else latest.end
    return (Span(start, today + _DAY),) if start <= today else ()


def _near(named: _Named) -> int:
    return max(0, named.start - _LEADING)


def _start(match: re.Match[str]) -> int:
    """Where the date itself begins, behind the words that lead to it."""
    groups = match.groupdict()
    names = [name for name in ("said", "before", *(f"season{n}" for n in range(4))) if groups.get(name)]
    return match.start(names[0]) if names else match.start()


class _Question:
    """A question as it is read: what has been understood is taken out of it."""

    def __init__(self, query: str) -> None:
        self._written = query.translate(_AS_WRITTEN_HERE)
        self.text = self._left = self._written.lower()
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
    return any(match[sign] for sign in ("lead", "last", "this", "year", "follows"))


def _seasons(match: re.Match[str], today: date) -> Iterator[Span]:
    season = next(number for number in range(len(_FIRST_MONTHS)) if match[f"season{number}"])
    year = int(match["year"] or today.year)
    if match["year"]:
        yield _months(year, _FIRST_MONTHS[season], 3)
        return
    spans = (_months(year - back, _FIRST_MONTHS[season], 3) for back in range(YEARS_BACK + 2))
    if match["last"] or match["follows"]:
        # In summer "last summer" is not the present one, nor is "last winter" in January.
        yield next(span for span in spans if span.end <= today)
        return
    begun = (span for span in spans if span.start <= today)
    yield from islice(begun, 1 if match["this"] else YEARS_BACK)


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
    if said[:4].isdecimal():
        said = said.replace("/", "-")
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
        except (OverflowError, ValueError):  # what lies beyond the calendar
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
