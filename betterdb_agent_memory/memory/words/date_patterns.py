"""Where a question names a date: the patterns that a language's vocabulary of dates makes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from betterdb_agent_memory.memory.words.phrases import PHRASES, Phrases

YEAR = r"(?:19|20)\d\d\b"

NUMERIC = (
    re.compile(r"(?<![\d./-])(?P<said>(?:19|20)\d\d(?P<dot>[/-])\d{1,2}(?:(?P=dot)\d{1,2})?)\b(?![./-]\d)"),
    re.compile(rf"(?<![\d./-])(?P<said>\d{{1,2}}(?P<dot>[./-])\d{{1,2}}(?P=dot){YEAR})"),
)
"""Dates in figures, which are looked for in every language."""

NAMED = (
    re.compile(rf"\b(?P<said>\d{{1,2}}\.?\s+(?:de\s+)?[^\W\d_]+\.?,?\s+(?:de\s+)?{YEAR})"),
    re.compile(rf"\b(?P<said>[^\W\d_]{{3,}}\s+(?:de\s+)?{YEAR})"),
)
"""What may be a date with a year in a language without a vocabulary of its own here: the parser says."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """What to look for in a question in lower case. The groups `said` and `before` are what the parser gets.

    `opening` (behind the text before a date, groups `since`, `after`, `before`) says that a span has one end;
    `joining` (the text between two dates) that these are its ends, with the group `both` only if `between` is before.

    A question without a year in figures, and without one of the words in `triggers`, names no date.
    """

    triggers: frozenset[str]
    within: re.Pattern[str]
    ago: re.Pattern[str]
    weekend: re.Pattern[str]
    season: re.Pattern[str]
    fixed: re.Pattern[str]
    dates: tuple[re.Pattern[str], ...]
    last_month: re.Pattern[str]
    month: re.Pattern[str]
    weekday: re.Pattern[str]
    year: re.Pattern[str]
    years: re.Pattern[str]
    opening: re.Pattern[str]
    joining: re.Pattern[str]
    between: re.Pattern[str]
    canonical: Mapping[str, str]
    """The fixed phrases with the articles that the parser wants."""


@cache
def date_patterns(language: str) -> Patterns | None:
    """What to look for in questions of this language; None for one without a vocabulary here."""
    phrases = PHRASES.get(language)
    if phrases is None:
        return None
    amount = rf"(?P<amount>\d{{1,3}}|{'|'.join(phrases.all_amounts)})"
    unit = rf"(?P<unit>{phrases.units})"
    seasons = "|".join(f"(?P<season{number}>{names})" for number, names in enumerate(phrases.seasons))
    ends = f"{phrases.since}|{phrases.after}|{phrases.before}"
    leads = (phrases.from_, phrases.month_lead, phrases.weekday_lead, phrases.year_lead, phrases.last, phrases.this)
    beside = rf"(?:(?:{'|'.join(leads)})\s+|{phrases.articles})*"
    canonical = {re.sub(f"^(?:{phrases.articles})", "", said): said for said in phrases.fixed}
    fixed = "|".join(map(re.escape, sorted(canonical, key=len, reverse=True)))
    lead = rf"(?:(?P<lead>{phrases.month_lead}|{ends})|(?P<last>{phrases.last})|(?P<this>{phrases.this}))\s+"
    return Patterns(
        triggers=_triggers(phrases),
        within=re.compile(rf"\b{phrases.within.format(amount=amount, unit=unit)}\b"),
        # "twenty-five days ago" is not five days ago.
        ago=re.compile(rf"(?<![\w-]){phrases.ago.format(amount=amount, unit=unit)}\b"),
        weekend=re.compile(rf"\b{_latest(phrases, phrases.weekend)}\b"),
        season=re.compile(
            rf"\b(?:{lead})?{_article(phrases)}(?:{seasons})\b"
            rf"(?:\s+{_of(phrases)}(?P<year>{YEAR})|\s+(?P<follows>{phrases.last})\b)?"
        ),
        fixed=re.compile(rf"\b(?P<said>{fixed})\b"),
        dates=(*NUMERIC, *_dates(phrases)),
        last_month=re.compile(rf"\b{_latest(phrases, _months(phrases))}\b"),
        month=re.compile(
            rf"\b(?:(?:{phrases.month_lead}|{ends}|{phrases.between})\s+(?P<said>{_months(phrases)})|(?P<before>{phrases.months}))\b"
        ),
        weekday=re.compile(
            rf"\b(?:{_latest(phrases, phrases.weekdays, this=f'{phrases.this}|{phrases.weekday_lead}|{ends}')})\b"
        ),
        year=re.compile(
            rf"\b(?:{phrases.year_lead}|{ends})\s+{_article(phrases)}(?P<said>{YEAR})(?![-/.:]?\d)|\b(?P<before>{YEAR})\W*$"
        ),
        years=re.compile(
            rf"\b(?:{phrases.year_lead}|{phrases.between}|{phrases.from_}|{phrases.since})\s+{_article(phrases)}"
            rf"(?P<said>{YEAR})\s*(?:[-–—]|\b(?:{phrases.to}|{phrases.both})\b)\s*(?P<until>{YEAR})(?![-/.:]?\d)"
        ),
        opening=re.compile(
            rf"\b(?:(?P<since>{phrases.since})|(?P<after>{phrases.after})|(?P<before>{phrases.before}))\s+{beside}$"
        ),
        joining=re.compile(rf"\s*(?:[-–—]|\b(?:(?P<both>{phrases.both})|{phrases.to})\b)\s*{beside}"),
        between=re.compile(rf"\b(?:{phrases.between})\s+{beside}$"),
        canonical=canonical,
    )


def _latest(phrases: Phrases, names: str, *, this: str = "") -> str:
    """The latest of what is named so: "last May", "mai dernier"."""
    leads = "|".join(lead for lead in ("" if phrases.last_follows else phrases.last, this) if lead)
    leading = rf"(?:{leads})\s+(?P<said>{names})" if leads else "(?P<said>(?!))"
    following = rf"(?P<before>{names})\s+(?:{phrases.last})" if phrases.last_follows else "(?P<before>(?!))"
    return f"(?:{following}|{leading})"


def _months(phrases: Phrases) -> str:
    return "|".join(filter(None, (phrases.months, phrases.shy_months)))


def _of(phrases: Phrases) -> str:
    return rf"(?:(?:{phrases.of})\s+)?" if phrases.of else ""


def _article(phrases: Phrases) -> str:
    return rf"(?:{phrases.articles})?"


def _dates(phrases: Phrases) -> list[re.Pattern[str]]:
    """Dates with a month's name. Of `sure`, `suffix`, `lead` and `year` one is there if the word can but be a month."""
    named = "|".join(filter(None, (phrases.months, phrases.short_months)))
    month = rf"(?:(?P<sure>{named})|{phrases.shy_months or '(?!)'})\b\.?"
    day = rf"\d{{1,2}}(?P<suffix>{phrases.day_suffix or '(?!)'})?"
    year = rf"(?:,?\s+{_of(phrases)}(?P<year>{YEAR}))"
    lead = rf"(?:\b(?P<lead>{phrases.weekday_lead}|{phrases.month_lead})\s+{_article(phrases)})?"
    return [
        re.compile(rf"{lead}\b(?P<said>{day}\s+{_of(phrases)}{month}{year}?)"),
        re.compile(rf"{lead}\b(?P<said>{month}\s+{day}(?![\d:.,]?\d){year}?)"),
        re.compile(rf"\b(?P<said>{month}{year})"),
    ]


def _triggers(phrases: Phrases) -> frozenset[str]:
    """Words of which every date that is said without figures has one."""
    sources = (
        _months(phrases),
        phrases.short_months,
        phrases.last,
        phrases.this,
        phrases.weekdays,
        phrases.weekend,
        *phrases.seasons,
        *phrases.fixed,
        phrases.ago,
        phrases.within,
    )
    return frozenset(word for source in sources for word in re.findall(r"[^\W\d_]{2,}", source)) - {"the"}
