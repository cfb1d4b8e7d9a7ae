"""What a function returns comes back equal, or is not kept."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, Literal, NamedTuple, NewType
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from betterdb_agent_memory.caches.text_codec import (
    UNANNOTATED,
    TextCodec,
    UnencodableError,
    codec_for,
    codec_of,
    same_value,
)
from betterdb_agent_memory.errors import ConfigurationError


class Unit(Enum):
    CELSIUS = "c"


class Weather(BaseModel):
    city: str
    celsius: float = Field(alias="tempC")
    at: datetime


class Station(TypedDict):
    name: str
    height: int


class Pair(NamedTuple):
    left: int
    right: str


@dataclasses.dataclass
class Point:
    x: Decimal
    label: str | None = None


@dataclasses.dataclass
class Answer:
    number: int
    source: str = dataclasses.field(default="", compare=False)
    seen: list[int] = dataclasses.field(default_factory=list, compare=False, init=False)

    @classmethod
    def with_seen(cls, *seen: int) -> Answer:
        answer = cls(1, "s")
        answer.seen.extend(seen)
        return answer


@dataclasses.dataclass
class Loose:
    anything: Any


class Untold(BaseModel):
    number: int
    secret: str = Field(default="", exclude=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Untold) and other.number == self.number

    __hash__ = None  # type: ignore[assignment]


class Level(IntEnum):
    LOW = 1


class Side(StrEnum):
    LEFT = "left"


class Animal(BaseModel):
    legs: int


class Bird(Animal):
    wings: int = 2


UserId = NewType("UserId", int)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text())
def test_a_text_is_kept_as_it_is(text: str) -> None:
    codec = codec_for(str)
    assert codec.encode(text) == text
    assert codec.decode(text) == text


@given(
    json_values | st.text().map(json.dumps) | st.sampled_from(["1", "null", " 1", "NaN", "[]", "{", '"', "Infinity"])
)
@pytest.mark.parametrize("annotation", [UNANNOTATED, Any, object])
def test_a_value_of_no_stated_type_comes_back_equal_and_of_its_own_type(annotation: object, value: Any) -> None:
    codec = codec_for(annotation)
    came_back = codec.decode(codec.encode(value))
    assert came_back == value
    assert type(came_back) is type(value)


@pytest.mark.parametrize(("value", "text"), [("sunny", "sunny"), ("12", '"12"'), (12, "12"), ({"a": [1]}, '{"a":[1]}')])
def test_a_text_that_reads_as_json_is_told_from_what_it_reads_as(value: Any, text: str) -> None:
    assert codec_for(UNANNOTATED).encode(value) == text


TYPED = [
    (Weather, Weather(city="Sofia", tempC=12.5, at=NOON)),
    (list[Weather], [Weather(city="Sofia", tempC=12.5, at=NOON)]),
    (Station, {"name": "Musala", "height": 2925}),
    (Pair, Pair(1, "one")),
    (Point, Point(Decimal("1.10"))),
    (Point | None, None),
    (str | None, "null"),
    (str | None, None),
    (tuple[int, str], (1, "a")),
    (set[int], {3, 1}),
    (dict[int, datetime], {1: NOON}),
    (timedelta, timedelta(minutes=5)),
    (UUID, UUID(int=7)),
    (Unit, Unit.CELSIUS),
    (Literal["a", "b"], "a"),
    (UserId, 7),
    (bytes, b"text"),
    (bool, False),
    (type(None), None),
    (dict, {"a": [1, None]}),
    (Answer, Answer(1, "s")),
    (list[Answer], [Answer(1, "s")]),
    (Level, Level.LOW),
    (dict[Level, set[Side]], {Level.LOW: {Side.LEFT}}),
    (deque[int], deque([1, 2])),
    (Loose, Loose({"a": [1, None]})),
]


@pytest.mark.parametrize(("annotation", "value"), TYPED, ids=[str(annotation) for annotation, _ in TYPED])
def test_a_value_of_a_stated_type_comes_back_equal_and_of_that_type(annotation: Any, value: Any) -> None:
    codec = codec_for(annotation)
    text = codec.encode(value)
    json.loads(text)
    came_back = codec.decode(text)
    assert came_back == value
    assert type(came_back) is type(value)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, 5),
        (str, None),
        (UNANNOTATED, (1, 2)),
        (UNANNOTATED, {1: "a"}),
        (UNANNOTATED, {"at": NOON}),
        (UNANNOTATED, Weather(city="Sofia", tempC=1, at=NOON)),
        (UNANNOTATED, math.nan),
        (UNANNOTATED, np.zeros(2)),
        pytest.param(UNANNOTATED, 10**5000, id="a very large number"),
        (dict, {"pair": (1, 2)}),
        (int, "not a number"),
        (float, math.inf),
        (bytes, b"\xff"),
        (Animal, Bird(legs=2)),
        (list[int], iter([1])),
        (UNANNOTATED, Level.LOW),
        (UNANNOTATED, Side.LEFT),
        (UNANNOTATED, [{"level": Level.LOW}]),
        (UNANNOTATED, {Side.LEFT: 1}),
        (UNANNOTATED, Counter("a")),
        (str, Side.LEFT),
        (int, True),
        (float, np.float64(1.5)),
        (dict, {"level": Level.LOW}),
        (Loose, Loose(Level.LOW)),
        (Loose, Loose((1,))),
        (Answer, Answer.with_seen(5)),
        (list[Answer], [Answer.with_seen(5)]),
        (dict[str, Answer], {"a": Answer.with_seen(5)}),
        (Untold, Untold(number=1, secret="s")),
    ],
)
def test_what_would_not_come_back_equal_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(UnencodableError):
        codec_for(annotation).encode(value)


def test_a_whole_number_may_stand_for_a_float() -> None:
    codec = codec_for(dict[str, float])
    assert codec.decode(codec.encode({"a": 12, "b": 1.5})) == {"a": 12.0, "b": 1.5}


def test_what_is_refused_is_named_with_its_type() -> None:
    with pytest.raises(UnencodableError, match=r"the Level <Level.LOW: 1> comes back from JSON as the int 1"):
        codec_for(UNANNOTATED).encode(Level.LOW)


@given(json_values, json_values)
def test_two_values_of_json_are_the_same_when_their_texts_are(value: Any, other: Any) -> None:
    assert same_value(value, json.loads(json.dumps(value)))
    if json.dumps(value, sort_keys=True) != json.dumps(other, sort_keys=True):
        assert not same_value(value, other) or value == other
    else:
        assert same_value(value, other)


@pytest.mark.parametrize("text", ["", "{", "null", '{"city":"Sofia"}', "sunny"])
def test_a_text_of_another_kind_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"validation error"):
        codec_for(Weather).decode(text)


@pytest.mark.parametrize("annotation", [np.ndarray, type("Own", (), {})])
def test_a_type_without_json_is_said_at_once(annotation: Any) -> None:
    with pytest.raises(ConfigurationError, match="encode="):
        codec_for(annotation)


def test_ones_own_functions_decide_alone() -> None:
    codec: TextCodec[Any] = codec_of(lambda value: f"<{value}>", lambda text: text.strip("<>"))
    assert codec.encode(5) == "<5>"
    assert codec.decode("<5>") == "5"  # whether that is right is not asked
    with pytest.raises(UnencodableError):
        codec_of(json.dumps, json.loads).encode(object())
    with pytest.raises(ConfigurationError, match="encode= must return a text"):
        codec_of(lambda value: value, str).encode(5)  # type: ignore[arg-type]
