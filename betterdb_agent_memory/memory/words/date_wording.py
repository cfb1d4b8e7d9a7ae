"""Saying in full what a question says of dates in short: "3-9 May 2025" is "3 May 2025 - 9 May 2025"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import cache

from betterdb_agent_memory.memory.words.date_patterns import YEAR
from betterdb_agent_memory.memory.words.phrases import PHRASES

_DASH = "[-–—]"


@dataclass(frozen=True, slots=True)
class _Wordings:
    """What is said in short: a date beside "last year" (`before` and `behind` it), spans of days and of months."""

    fortnight: re.Pattern[str]
    before: re.Pattern[str]
    behind: re.Pattern[str]
    days_first: re.Pattern[str]
    month_first: re.Pattern[str]
    months: re.Pattern[str]
    last_year: re.Pattern[str]
    shy: re.Pattern[str]
    lead: str


def worded(query: str, today: date, language: str) -> str:
    """`query` with the parts of a date that it leaves out; capitals stay as they are."""
    wordings = _wordings(language)
    query = wordings.fortnight.sub("2 weeks", query)

    def of_year(match: re.Match[str]) -> str:
        if not match["lead"] and wordings.shy.fullmatch(match["date"]):
            return match[0]
        is_last = wordings.last_year.search(match["year"]) is not None
        return f"{match['lead'] or ''}{match['date']} {today.year - is_last}"

    query = wordings.behind.sub(of_year, wordings.before.sub(of_year, query))
    query = wordings.month_first.sub(_with_month, wordings.days_first.sub(_with_same_month, query))
    return wordings.months.sub(
        rf"\g<lead> {wordings.lead} \g<first>\g<year> \g<to> {wordings.lead} \g<second>\g<year>", query
    )


def _with_same_month(match: re.Match[str]) -> str:
    if match["earlier"]:  # "May 3 to 9 June" says both
        return match[0]
    return f"{match['first']}{match['month']} {match['to']} {match['second']}{match['month']}"


def _with_month(match: re.Match[str]) -> str:
    if match["both"] and not match["between"]:
        return match[0]
    month, year = match["month"], match["year"] or ""
    return f"{match['between'] or ''}{month} {match['first']}{year} {match['to']} {month} {match['second']}{year}"


@cache
def _wordings(language: str) -> _Wordings:
    phrases = PHRASES[language]
    month = rf"(?:{'|'.join(filter(None, (phrases.months, phrases.short_months, phrases.shy_months)))})\b\.?"
    day = rf"\d{{1,2}}(?:{phrases.day_suffix or '(?!)'})?"
    of = rf"(?:(?:{phrases.of or '(?!)'})\s+)?"
    to = rf"(?P<to>{_DASH}|\b(?:(?P<both>{phrases.both})|{phrases.to})\b)"
    article = rf"(?:{phrases.articles})?"
    lead = rf"\b(?P<lead>(?:{phrases.month_lead}|{phrases.weekday_lead})\s+{article})"
    seasons = "|".join(phrases.seasons)
    named = rf"(?:{day}\s+{of}{month}|{month}(?:\s+{day})?|{seasons})"
    years = rf"(?P<year>{phrases.last_year}|{phrases.this_year})\b"
    return _Wordings(
        fortnight=_pattern(rf"\b{phrases.fortnight}\b"),
        before=_pattern(rf"\b{years},?\s+{lead}(?P<date>{named})(?!\w)(?!\s+{YEAR})"),
        behind=_pattern(rf"(?:{lead})?\b(?P<date>{named}),?\s+{of}{article}{years}"),
        days_first=_pattern(
            rf"(?P<earlier>\b{month}\s+)?\b(?P<first>{day})\s*{to}\s*{article}(?P<second>{day})(?P<month>\s+{of}{month}(?:,?\s+{of}{YEAR})?)"
        ),
        month_first=_pattern(
            rf"\b(?P<between>{phrases.between}\s+)?(?P<month>{month})\s+(?P<first>{day})\s*{to}\s*(?P<second>{day})"
            rf"(?![\d:.,]?\d|\s+{of}{month})(?P<year>,?\s+{YEAR})?"
        ),
        months=_pattern(
            rf"\b(?P<lead>{phrases.between}|{phrases.since}|{phrases.from_})\s+(?P<first>{month})\s*{to}\s*"
            rf"(?P<second>{month})(?!\s+\d{{1,2}}\b)(?P<year>\s+{of}{YEAR})?"
        ),
        last_year=_pattern(phrases.last_year),
        # Not in any case: "What may last year bring?"
        shy=re.compile(phrases.shy_months or "(?!)"),
        lead=phrases.month_lead.split("|")[0],
    )


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)
