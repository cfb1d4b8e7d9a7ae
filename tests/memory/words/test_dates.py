"""The dates that a question names, seen from a Saturday: 21 November 2026, 14:00 UTC."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betterdb_agent_memory.memory.words import date_reading
from betterdb_agent_memory.memory.words.dates import MAX_PERIODS, Period, in_periods, may_name_period, named_periods
from betterdb_agent_memory.memory.words.languages import LANGUAGES
from betterdb_agent_memory.memory.words.phrases import PHRASES

NOW = datetime(2026, 11, 21, 14, tzinfo=UTC)


def named(query, language="english", now=NOW):
    """The periods as first days and last days, ISO."""
    days = [
        tuple(datetime.fromtimestamp(ms / 1000, UTC) for ms in (period.start_ms, period.end_ms))
        for period in named_periods(query, int(now.timestamp() * 1000), language)
    ]
    assert all((start.hour, start.minute, end.hour, end.minute) == (0, 0, 0, 0) for start, end in days)
    return [f"{start.date()}..{end.date() - timedelta(days=1)}" for start, end in days]


ONE = {
    "english": {
        "What happened last May?": "2026-05-01..2026-05-31",
        "and last December?": "2025-12-01..2025-12-31",
        "and last November?": "2025-11-01..2025-11-30",
        "What did Anna say two weeks ago?": "2026-11-04..2026-11-10",
        "a couple of weeks ago": "2026-11-04..2026-11-10",
        "3 days ago": "2026-11-17..2026-11-19",
        "a day ago": "2026-11-20..2026-11-20",
        "A month ago we met": "2026-10-01..2026-10-31",
        "two years ago": "2024-01-01..2024-12-31",
        "two weekends ago": "2026-11-07..2026-11-08",
        "in the last 3 months": "2026-08-01..2026-11-21",
        "on 8 May 2023": "2023-05-08..2023-05-08",
        "the 8th of May, 2023": "2023-05-08..2023-05-08",
        "May 8th, 2023": "2023-05-08..2023-05-08",
        "may 8 2023": "2023-05-08..2023-05-08",
        "Sept. 8, 2023?": "2023-09-08..2023-09-08",
        "2023-05-08": "2023-05-08..2023-05-08",
        "05/08/2023": "2023-05-08..2023-05-08",
        "13/05/2023": "2023-05-13..2023-05-13",
        "2023年5月8日": "2023-05-08..2023-05-08",
        "2023-05": "2023-05-01..2023-05-31",
        "in May 2023": "2023-05-01..2023-05-31",
        "What did we do in 2023, and why": "2023-01-01..2023-12-31",
        "What did we do 2023?": "2023-01-01..2023-12-31",
        "Where was I yesterday?": "2026-11-20..2026-11-20",
        "the day before yesterday": "2026-11-19..2026-11-19",
        "the end of last December": "2025-12-01..2025-12-31",
        "tonight": "2026-11-21..2026-11-21",
        "what did I eat last night": "2026-11-20..2026-11-20",
        "last week": "2026-11-09..2026-11-15",
        "this week": "2026-11-16..2026-11-22",
        "last month": "2026-10-01..2026-10-31",
        "last year": "2025-01-01..2025-12-31",
        "What did Bob do last weekend?": "2026-11-14..2026-11-15",
        "on Monday": "2026-11-16..2026-11-16",
        "last Friday": "2026-11-20..2026-11-20",
        "in the summer of 2022": "2022-06-01..2022-08-31",
        "last summer": "2026-06-01..2026-08-31",
        "winter 2022": "2022-12-01..2023-02-28",
        "on 29 February": "2024-02-29..2024-02-29",
        "What happened on 8 May last year?": "2025-05-08..2025-05-08",
        "in May of last year": "2025-05-01..2025-05-31",
        "last year in May": "2025-05-01..2025-05-31",
        "8 May this year": "2026-05-08..2026-05-08",
        "in the summer of last year": "2025-06-01..2025-08-31",
        "What may last year bring?": "2025-01-01..2025-12-31",
        "between 3 May 2025 and 9 May 2025": "2025-05-03..2025-05-09",
        "between the 3rd of May and the 9th of May 2025": "2025-05-03..2025-05-09",
        "3-9 May 2025": "2025-05-03..2025-05-09",
        "3–9 May 2025": "2025-05-03..2025-05-09",
        "May 3-9, 2025": "2025-05-03..2025-05-09",
        "May 3 to June 9, 2025": "2025-05-03..2025-06-09",
        "May 3 to 9 June 2025": "2025-05-03..2025-06-09",
        "from 2025-05-03 to 2025-05-09": "2025-05-03..2025-05-09",
        "from March 2024 to May 2025": "2024-03-01..2025-05-31",
        "between May and July 2025": "2025-05-01..2025-07-31",
        "in 2019-2021": "2019-01-01..2021-12-31",
        "between 2019 and 2021": "2019-01-01..2021-12-31",
        "since 8 May": "2026-05-08..2026-11-21",
        "since last summer": "2026-06-01..2026-11-21",
        "since Monday": "2026-11-16..2026-11-21",
        "after 8 May 2026": "2026-05-09..2026-11-21",
        "2025/06/08": "2025-06-08..2025-06-08",
        "a fortnight ago": "2026-11-04..2026-11-10",
        "twenty days ago": "2026-10-31..2026-11-02",
        "thirty days ago": "2026-10-21..2026-10-23",
    },
    "german": {
        "vom 3. bis 9. Mai 2025": "2025-05-03..2025-05-09",
        "zwischen dem 3. Mai 2025 und dem 9. Mai 2025": "2025-05-03..2025-05-09",
        "3.-9. Mai 2025": "2025-05-03..2025-05-09",
        "von 2019 bis 2021": "2019-01-01..2021-12-31",
        "seit dem 8. Mai": "2026-05-08..2026-11-21",
        "im Mai letzten Jahres": "2025-05-01..2025-05-31",
        "vor vierzehn Tagen": "2026-11-06..2026-11-08",
        "Was geschah letzten Mai?": "2026-05-01..2026-05-31",
        "vor zwei Wochen": "2026-11-04..2026-11-10",
        "am 8. Mai 2023": "2023-05-08..2023-05-08",
        "08.05.2023": "2023-05-08..2023-05-08",
        "im März 2023": "2023-03-01..2023-03-31",
        "letzten Montag": "2026-11-16..2026-11-16",
        "letztes Wochenende": "2026-11-14..2026-11-15",
        "im Sommer 2022": "2022-06-01..2022-08-31",
        "Im Jahr 2023": "2023-01-01..2023-12-31",
    },
    "french": {
        "du 3 au 9 mai 2025": "2025-05-03..2025-05-09",
        "depuis mai 2026": "2026-05-01..2026-11-21",
        "en mai de l’année dernière": "2025-05-01..2025-05-31",
        "de mai à juillet 2025": "2025-05-01..2025-07-31",
        "en mai dernier": "2026-05-01..2026-05-31",
        "il y a deux semaines": "2026-11-04..2026-11-10",
        "le 8 mai 2023": "2023-05-08..2023-05-08",
        "le 1er mars 2023": "2023-03-01..2023-03-01",
        "qu'ai-je fait la semaine dernière ?": "2026-11-09..2026-11-15",
        "lundi dernier": "2026-11-16..2026-11-16",
        "le week-end dernier": "2026-11-14..2026-11-15",
        "l’été 2022": "2022-06-01..2022-08-31",
    },
    "spanish": {
        "del 3 al 9 de mayo de 2025": "2025-05-03..2025-05-09",
        "desde mayo de 2026": "2026-05-01..2026-11-21",
        "el 8 de mayo del año pasado": "2025-05-08..2025-05-08",
        "en mayo pasado": "2026-05-01..2026-05-31",
        "hace dos semanas": "2026-11-04..2026-11-10",
        "el 8 de mayo de 2023": "2023-05-08..2023-05-08",
        "¿Qué hice la semana pasada?": "2026-11-09..2026-11-15",
        "el fin de semana pasado": "2026-11-14..2026-11-15",
        "el verano de 2022": "2022-06-01..2022-08-31",
    },
    "italian": {"cosa ho fatto l'8 maggio 2023?": "2023-05-08..2023-05-08", "maggio 2023": "2023-05-01..2023-05-31"},
    "russian": {"8 мая 2023": "2023-05-08..2023-05-08"},
    "none": {"2023-05-08": "2023-05-08..2023-05-08"},
}


@pytest.mark.parametrize(
    ("language", "query", "period"),
    [(language, query, period) for language, cases in ONE.items() for query, period in cases.items()],
)
def test_a_date_is_the_whole_of_what_was_said(language, query, period):
    assert named(query, language) == [period]


@pytest.mark.parametrize(
    ("language", "query", "first", "last"),
    [
        ("english", "Who came on 8 May?", "2022-05-08..2022-05-08", "2026-05-08..2026-05-08"),
        ("english", "from 3 to 9 May", "2022-05-03..2022-05-09", "2026-05-03..2026-05-09"),
        ("english", "from 30 December to 3 January", "2021-12-30..2022-01-03", "2025-12-30..2026-01-03"),
        ("english", "who came on may 8", "2022-05-08..2022-05-08", "2026-05-08..2026-05-08"),
        ("english", "What about December 25?", "2021-12-25..2021-12-25", "2025-12-25..2025-12-25"),
        ("english", "When did they go camping in June?", "2022-06-01..2022-06-30", "2026-06-01..2026-06-30"),
        ("english", "What was there in the fall?", "2022-09-01..2022-11-30", "2026-09-01..2026-11-30"),
        ("english", "Whom did I see in winter?", "2021-12-01..2022-02-28", "2025-12-01..2026-02-28"),
        ("german", "am 8. Mai", "2022-05-08..2022-05-08", "2026-05-08..2026-05-08"),
        ("french", "le 8 mars ?", "2022-03-08..2022-03-08", "2026-03-08..2026-03-08"),
        ("spanish", "en mayo", "2022-05-01..2022-05-31", "2026-05-01..2026-05-31"),
    ],
)
def test_without_a_year_it_is_the_last_five_of_that_name(language, query, first, last):
    periods = named(query, language)
    assert (len(periods), periods[0], periods[-1]) == (5, first, last)


@pytest.mark.parametrize(
    "query",
    [
        "May I have 3 dogs in the top 10?",
        "this may be a problem",
        "the top 3 may win",
        "the second sun march on",
        "a march of 20 miles",
        "What do April and August think of June?",
        "I saw 12 monkeys on 3 screens at 10:30",
        "a spring in a summer dress",
        "the last of the second-hand shops",
        "2000 dollars for 1984 by Orwell",
        "version 3.11.7 and 192.168.0.1",
        "31 June 2022 and 30 February",
        "99/99/2023",
        "the other day",
        "rooms 3-9 may be free",
        "twenty-five days ago, at Easter, in the 90s, next week",
        "",
    ],
)
def test_ordinary_words_are_no_dates(query):
    assert named(query) == []


def test_a_question_may_name_several_dates_in_any_order():
    assert named("between May 2024 and 2022-03-01, or yesterday") == [
        "2022-03-01..2022-03-01",
        "2024-05-01..2024-05-31",
        "2026-11-20..2026-11-20",
    ]


@pytest.mark.parametrize(
    "query",
    ["before 8 May 2026", "until last May", "by June 2025", "the day before 2025-05-08", "after 8 December 2026"],
)
def test_what_is_before_a_date_is_no_period(query):
    assert named(query) == []


@pytest.mark.parametrize(
    ("today", "query", "period"),
    [
        (datetime(2026, 1, 15, tzinfo=UTC), "last winter", "2024-12-01..2025-02-28"),
        (datetime(2026, 7, 15, tzinfo=UTC), "last summer", "2025-06-01..2025-08-31"),
        (datetime(2026, 7, 15, tzinfo=UTC), "this summer", "2026-06-01..2026-08-31"),
        (datetime(2026, 9, 1, tzinfo=UTC), "last summer", "2026-06-01..2026-08-31"),
    ],
)
def test_a_last_season_is_over(today, query, period):
    assert named(query, now=today) == [period]


@pytest.mark.parametrize("now_ms", [10**18, -(10**15), 253_380_000_000_000, 253_402_300_799_999], ids=str)
def test_beyond_the_calendar_there_are_no_periods(now_ms):
    assert named_periods("last week, last winter, 8 May or in 2023", now_ms) == ()


@given(st.dates(date(2000, 1, 1), date(2050, 1, 1)), st.integers(0, 400))
@settings(deadline=None)  # the first date loads the parser
def test_two_dates_are_the_ends_of_one_span(first, days):
    last = first + timedelta(days)
    span = [f"{first}..{last}"]
    assert named(f"from {first.day} {first:%B} {first.year} to {last:%B} {last.day}, {last.year}") == span
    assert named(f"Who came between {first} and {last}?") == span


def test_a_question_names_a_bounded_number_of_dates():
    assert len(named(" and ".join(f"{day} May" for day in range(1, 31)))) == MAX_PERIODS
    assert named("May 2023 " * 100_000) == ["2023-05-01..2023-05-31"]


@pytest.mark.parametrize(
    ("language", "phrase"), [(language, phrase) for language in PHRASES for phrase in PHRASES[language].fixed]
)
def test_every_phrase_that_is_listed_is_understood(language, phrase):
    (period,) = named(phrase, language)
    assert period[:10] <= "2026-11-21"


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_dates_in_figures_are_understood_in_every_language(language):
    assert named("? 2023-05-08 ?", language) == ["2023-05-08..2023-05-08"]


@given(
    day=st.dates(date(1950, 1, 1), date(2050, 1, 1)),
    form=st.sampled_from(
        ["on {0.day} {0:%B} {0.year}", "{0:%B} {0.day}, {0.year}?", "is {0:%Y-%m-%d} it", "{0:%b} {0.day} {0.year}"]
    ),
)
def test_a_full_date_is_that_day(day, form):
    assert named(form.format(day)) == [f"{day}..{day}"]


@given(
    now=st.integers(0, 4_102_444_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    query=st.sampled_from(sorted(ONE["english"])),
)
def test_what_has_no_year_has_begun(now, query):
    if not any(figure in query for figure in ("202", "/20", "this year")):
        assert all(period[:10] <= str(now.date()) for period in named(query, now=now))
    assert named(query, now=now) == sorted(named(query, now=now))


@given(st.text(max_size=60))
def test_any_text_can_be_read(text):
    assert isinstance(named(text + " 2023"), list)


def test_times_are_in_a_period_from_its_first_to_before_its_end():
    periods = (Period(10, 20), Period(15, 30), Period(40, 41))
    assert in_periods([9, 10, 19, 20, 29, 30, 40, 41], periods).tolist() == [
        *(False, True, True, True, True, False, True, False)
    ]
    assert in_periods(np.array([], np.int64), periods).tolist() == []
    assert in_periods([5], ()).tolist() == [False]


def test_the_parser_is_loaded_by_the_first_date_only():
    program = (
        "import sys; from betterdb_agent_memory.memory.words.dates import named_periods as n;"
        "n('Where does she work, and with how many?', 0); n('What may I do?', 0);"
        "assert 'dateparser' not in sys.modules; n('in May 2023', 0); assert 'dateparser' in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


def test_a_question_without_dates_is_not_worth_reading():
    assert not may_name_period("Where does Caroline work, and with whom?")
    assert may_name_period("Where did she work last May?")
    assert may_name_period("2023-05-08", "none")
    assert date_reading.YEARS_BACK == 5
