from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.engines.base import Neighbour
from betterdb_agent_memory.engines.valkey.neighbours import parse_plainly
from betterdb_agent_memory.engines.valkey.returning import DISTANCE_FIELD, returning

PREFIX = "né:mem:"
FIELDS = ("content", "tags", "created_at")
RETURNED = returning(FIELDS)
CALLED = {field: name for name, field in RETURNED.names.items()}

ids = st.text(st.characters(codec="utf-8", exclude_characters=":\0"), min_size=1, max_size=12)
stored = st.dictionaries(st.sampled_from(FIELDS), st.binary(max_size=8))
distances = st.floats(0, 2)


def row(distance: float, fields: dict[str, bytes]) -> list[bytes]:
    return [DISTANCE_FIELD.encode(), repr(distance).encode(), *(x for f, v in fields.items() for x in (CALLED[f], v))]


def answer(*rows: tuple[str, list[bytes]]) -> list[Any]:
    return [len(rows), *(part for id, fields in rows for part in (PREFIX.encode() + id.encode(), fields))]


def parsed(value: Any) -> list[Neighbour] | None:
    return parse_plainly(value, RETURNED.names, PREFIX.encode())


@given(st.lists(st.tuples(ids, distances, stored), max_size=9))
def test_rows_come_nearest_first_with_the_names_of_their_fields(
    rows: list[tuple[str, float, dict[str, bytes]]],
) -> None:
    found = parsed(answer(*((id, row(distance, fields)) for id, distance, fields in rows)))
    assert found == sorted((Neighbour(*each) for each in rows), key=lambda neighbour: neighbour.distance)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(lambda good: None, id="nothing"),
        pytest.param(lambda good: {b"results": []}, id="resp3"),
        pytest.param(lambda good: good[:-1], id="a-key-without-a-row"),
        pytest.param(lambda good: [*good[:-1], None], id="expired"),
        pytest.param(lambda good: [*good[:-1], []], id="without-fields"),
        pytest.param(lambda good: [*good[:-1], good[-1][:-1]], id="half-a-field"),
        pytest.param(lambda good: [*good[:-1], good[-1][2:]], id="without-distance"),
        pytest.param(lambda good: [*good[:-1], row(float("nan"), {})], id="nan"),
        pytest.param(lambda good: [*good[:-1], [DISTANCE_FIELD.encode(), b"far"]], id="no-number"),
        pytest.param(lambda good: [*good[:-1], [*good[-1], b"zz", b"unknown"]], id="unknown-field"),
        pytest.param(lambda good: [*good[:-2], PREFIX.encode() + b"a:b", good[-1]], id="foreign-key"),
        pytest.param(lambda good: [*good[:-2], b"another:mem:b", good[-1]], id="foreign-prefix"),
        pytest.param(lambda good: [*good[:-2], PREFIX.encode(), good[-1]], id="no-id"),
        pytest.param(lambda good: [*good[:-2], PREFIX.encode() + b"\xff", good[-1]], id="no-utf-8"),
        pytest.param(lambda good: [*good[:-2], PREFIX.encode() + b"a\0b", good[-1]], id="nul-in-an-id"),
        pytest.param(lambda good: [*good[:-2], PREFIX + "decoded", good[-1]], id="decoded"),
    ],
)
def test_anything_odd_is_left_to_others(odd: Any) -> None:
    good = answer(("a", row(0.5, {"content": b"x"})), ("b", row(0.25, {"content": b"y"})))
    assert [neighbour.id for neighbour in parsed(good) or ()] == ["b", "a"]
    assert parsed(odd(good)) is None


def test_names_are_one_letter_and_never_that_of_another_field() -> None:
    fields = ("a", "content", "b", *(f"field{n}" for n in range(60)))
    asked = returning(fields)
    assert set(asked.names.values()) == {DISTANCE_FIELD, *fields}
    assert len(asked.names) == len(fields) + 1
    assert asked.names[b"a"] == "a"
    assert asked.names[b"c"] == "content"
    assert asked.arguments[:9] == (b"RETURN", b"164", b"__score", b"a", b"content", b"AS", b"c", b"b", b"field0")
    assert int(asked.arguments[1]) == len(asked.arguments) - 2
