"""What counts as a date, and which of two is later."""

from __future__ import annotations

import calendar
import itertools
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.memory.consolidation.dates import Precision, parse_date


@pytest.mark.parametrize(
    ("text", "start", "precision"),
    [
        ("2024", datetime(2024, 1, 1, tzinfo=UTC), Precision.YEAR),
        ("2024-05", datetime(2024, 5, 1, tzinfo=UTC), Precision.MONTH),
        ("2024-9-1", datetime(2024, 9, 1, tzinfo=UTC), Precision.DAY),
        (" 2024-09-01 ", datetime(2024, 9, 1, tzinfo=UTC), Precision.DAY),
        ("2024/09/01", datetime(2024, 9, 1, tzinfo=UTC), Precision.DAY),
        ("20240901", datetime(2024, 9, 1, tzinfo=UTC), Precision.DAY),
        ("2024-W05-1", datetime(2024, 1, 29, tzinfo=UTC), Precision.DAY),
        ("2024-05-01T10:30:00Z", datetime(2024, 5, 1, 10, 30, tzinfo=UTC), Precision.TIME),
        ("2024-05-01T10:30:00+02:00", datetime(2024, 5, 1, 8, 30, tzinfo=UTC), Precision.TIME),
        ("2024-05-01 10:30", datetime(2024, 5, 1, 10, 30, tzinfo=UTC), Precision.TIME),
        ("2024-05-01 10:30 XYZ", datetime(2024, 5, 1, 10, 30, tzinfo=UTC), Precision.TIME),
        ("12/31/2024", datetime(2024, 12, 31, tzinfo=UTC), Precision.DAY),
        ("31/12/2024", datetime(2024, 12, 31, tzinfo=UTC), Precision.DAY),
        ("01/02/2025", datetime(2025, 1, 2, tzinfo=UTC), Precision.DAY),
        ("1.2.2025", datetime(2025, 2, 1, tzinfo=UTC), Precision.DAY),
        ("5/2023", datetime(2023, 5, 1, tzinfo=UTC), Precision.MONTH),
        ("May 8, 2023", datetime(2023, 5, 8, tzinfo=UTC), Precision.DAY),
        ("8 May 2023", datetime(2023, 5, 8, tzinfo=UTC), Precision.DAY),
        ("8th of May 2023", datetime(2023, 5, 8, tzinfo=UTC), Precision.DAY),
        ("Mon, 08 May 2023 10:00:00 +0200", datetime(2023, 5, 8, 8, tzinfo=UTC), Precision.TIME),
        ("1:56 pm on 8 May, 2023", datetime(2023, 5, 8, 13, 56, tzinfo=UTC), Precision.TIME),
        ("May 2023", datetime(2023, 5, 1, tzinfo=UTC), Precision.MONTH),
    ],
)
def test_common_spellings_are_dates(text: str, start: datetime, precision: Precision) -> None:
    assert parse_date(text) == (start, precision)


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", " ", "may", "May", "May 8", "monday", "5", "10", "99", "10.0", "12:30", "AM", "a", "today", "now"),
        *("yesterday", "2 weeks ago", "about 2020", "spring 2024", "Q1 2024", "v2.3", "2019-2021", "2024-13-01"),
        *("2024-02-30", "31 2024", "0000", "-500", "3000000", "1714550400", "1714550400000", "٢٠٢٤", "8 mai 2023"),
        *(
            "2023-05-08 / 2023-05-09",
            "May 8 2023 and June 9 2024",
            "0001-01-01T00:00:00+14:00",
            "2024" + " " * 99 + "x",
        ),
    ],
)
def test_what_is_no_whole_date_is_none(text: str | None) -> None:
    assert parse_date(text) is None


def test_slashes_can_have_the_day_first() -> None:
    assert parse_date("01/02/2025", day_first=True) == parse_date("2025-02-01")
    assert parse_date("12/31/2025", day_first=True) == parse_date("2025-12-31"), "it can only be the 31st"


YEAR_FIRST = [
    *("2024-9-1 10:00", "2024-9-1T1:00", "2024/09/01 10:00", "2024-09-01 10:00 PM", "2024.9.1 8:00", "2024 9 1"),
    *("2024/9/1, 10:00", "20240901 1000", "10:00 2024-9-1", "Sunday 2024-9-1, 1 pm"),
]


@pytest.mark.parametrize("text", YEAR_FIRST)
def test_after_a_leading_year_the_month_comes_first(text: str) -> None:
    found = parse_date(text, day_first=True)
    assert found is not None
    assert found.start.date() == date(2024, 9, 1)
    assert found == parse_date(text)


days = st.dates(min_value=date(1000, 1, 1), max_value=date(9999, 12, 31))


@given(days)
def test_every_spelling_of_a_day_is_the_same_day(day: date) -> None:
    spellings = [
        day.isoformat(),
        f"{day.year:04}-{day.month}-{day.day}",
        f"{day.month:02}/{day.day:02}/{day.year:04}",
        f"{day.day}.{day.month}.{day.year:04}",
        f"{calendar.month_name[day.month]} {day.day}, {day.year:04}",
        f"{day.day} {calendar.month_abbr[day.month]} {day.year:04}",
    ]
    expected = (datetime(day.year, day.month, day.day, tzinfo=UTC), Precision.DAY)
    assert [parse_date(spelling) for spelling in spellings] == [expected] * len(spellings)
    as_day_first = f"{day.day:02}/{day.month:02}/{day.year:04}"
    assert parse_date(as_day_first, day_first=True) == expected


@given(
    days,
    st.sampled_from(["{y:04}-{m}-{d}", "{y:04}-{m:02}-{d:02}", "{y:04}/{m}/{d}", "{y:04}.{m}.{d}", "{y:04} {m} {d}"]),
    st.sampled_from(["", " 10:00", ", 10:00", "T1:00", " 1 pm", " 10:00:30.5", " 10:00 +02:00"]),
)
def test_a_date_with_the_year_first_does_not_depend_on_day_first(day: date, shape: str, time: str) -> None:
    text = shape.format(y=day.year, m=day.month, d=day.day) + time
    found = parse_date(text, day_first=True)
    assert found == parse_date(text)
    assert found is None or found.start.date() == day
    assert found is not None or "T" in time, "the library does not read a T after every date"


@given(days, days)
def test_the_order_is_that_of_the_calendar(one: date, other: date) -> None:
    first = parse_date(f"{calendar.month_name[one.month]} {one.day}, {one.year:04}")
    second = parse_date(f"{other.year:04}-{other.month}-{other.day}")
    assert first is not None
    assert second is not None
    assert (first < second, first == second) == (one < other, one == other)


@given(
    st.datetimes(
        min_value=datetime(1000, 1, 1),  # noqa: DTZ001 - the strategy takes naive bounds
        max_value=datetime(9999, 12, 1),  # noqa: DTZ001
        timezones=st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    )
)
def test_a_moment_is_the_same_in_every_zone(moment: datetime) -> None:
    assert parse_date(moment.isoformat()) == (moment, Precision.TIME)


@given(st.text(max_size=80) | st.from_regex(r"[0-9A-Za-z:+\-/., ]{0,40}", fullmatch=True))
def test_no_text_makes_trouble(text: str) -> None:
    found = parse_date(text)
    assert found is None or found.start.tzinfo is UTC


def test_of_two_that_begin_together_the_more_precise_one_is_later() -> None:
    ordered = ["2024", "2024-01", "2024-01-01", "2024-01-01T00:00:00Z", "2024-01-02"]
    found = [parse_date(text) for text in ordered]
    assert all(one is not None and other is not None and one < other for one, other in itertools.pairwise(found))
