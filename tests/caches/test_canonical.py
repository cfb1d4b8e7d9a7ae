"""Canonical JSON: one text for what means the same, another for what does not, and a clear no for the rest."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from enum import Enum, IntEnum
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, RootModel, SecretStr, computed_field, field_serializer

from betterdb_agent_memory import InvalidInputError
from betterdb_agent_memory.caches.canonical import (
    Spelling,
    _spelled_exactly,
    canonical_json,
    is_plain,
    json_value,
    python_json,
    spelled,
    spelled_members,
)
from betterdb_agent_memory.caches.json_values import MAX_DEPTH, MAX_INTEGER_BITS

TEXT = st.text(st.characters(codec=None) | st.sampled_from('"\\\x00\x1f\x7f\u2028\ud800\udc00\uffff🙂'), max_size=8)
NAMES = (
    st.sampled_from(["role", "content", "__proto__", "", "0", "9", "10", "01", "4294967294", "4294967295", "-1"]) | TEXT
)
NUMBERS = st.integers() | st.integers(-(2**70), 2**70) | st.floats() | st.integers(-50, 50).map(float)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)


@given(VALUES)
def test_the_fast_way_writes_what_the_exact_way_writes(value: object) -> None:
    fast, exact = spelling_or_refusal(lambda: spelled(value)), spelling_or_refusal(lambda: _spelled_exactly(value, ""))
    if isinstance(fast, Spelling) and isinstance(exact, Spelling):
        assert (fast.utf8, fast.loss) == (exact.utf8, exact.loss)
        if fast.python is not None:
            assert python_json(value).encode() == fast.python
    else:
        assert fast == exact


@given(VALUES)
def test_what_was_written_reads_back_and_is_written_the_same_again(value: object) -> None:
    spelling = spelling_or_refusal(lambda: spelled(value))
    if isinstance(spelling, Spelling):
        back = json.loads(spelling.utf8)
        assert spelled(back).utf8 == spelling.utf8
        if spelling.loss is None:
            assert as_doubles(back) == as_doubles(json_value(value))


@given(VALUES, st.randoms(use_true_random=False))
def test_the_order_of_insertion_never_matters(value: object, random: Any) -> None:
    for write in (canonical_json, python_json):
        assert outcome(partial(write, shuffled(value, random))) == outcome(partial(write, value))


@given(VALUES)
def test_the_python_spelling_tells_apart_what_differs(value: object) -> None:
    text = outcome(lambda: python_json(value))
    if not isinstance(text, InvalidInputError) and "nan" not in repr(value):
        assert json.loads(text) == json_value(value)


def test_a_conversation_is_written_by_the_c_encoder() -> None:
    """What keys cost on every lookup depends on it: the exact way takes five times as long."""
    message = {"role": "user", "content": [{"type": "text", "text": "Где вокзал? 🙂"}], "é": [0.7, 1, None, True, -2]}
    assert is_plain([message] * 20)


@pytest.mark.parametrize("number", [0.0, -0.0, 1.0, -3.0, 2.0**53, 1e16, 123456789012345680000.0, 1e21, 1e-5, 1.5e-9])
def test_numbers_that_the_packages_write_differently_are_written_by_the_c_encoder_too(number: float) -> None:
    """A schema with `"minimum": 0.0` or `"temperature": 1.0` in a message is no reason to take five times as long."""
    value = [{"role": "user", "content": "hi é 🙂", "numbers": [0.5, number, {"deep": number}]}, number]
    spelling, exact = spelled(value), _spelled_exactly(value, "")
    assert (spelling.utf8, spelling.loss) == (exact.utf8, None)
    assert spelling.python == python_json(value).encode(), "else it is written member by member"
    assert spelling.python != spelling.utf8 or number == 1e21
    assert value[1] == number
    assert spelled(number).utf8 == _spelled_exactly(number, "").utf8


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (100.0, "100"),
        (123456.789, "123456.789"),
        (1234567890123456.5, "1234567890123456.5"),
        (1e20, "100000000000000000000"),
        (1.5e20, "150000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (-1.25e21, "-1.25e+21"),
        (0.0001, "0.0001"),
        (0.000001, "0.000001"),
        (0.00000123, "0.00000123"),
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (2**53, "9007199254740992"),
        (2**53 + 1, "9007199254740992"),
        (-(2**53) - 1, "-9007199254740992"),
        (10**21, "1e+21"),
        (10**400, "null"),
        (math.inf, "null"),
        (math.nan, "null"),
    ],
)
def test_numbers_are_written_as_ecmascript_does(number: float, text: str) -> None:
    assert canonical_json(number) == text
    assert canonical_json([number, 1.0]) == f"[{text},1]"


@pytest.mark.parametrize(
    ("value", "loss"),
    [
        ({"message": [1, 2**53 + 1]}, "the integer 9007199254740993 at args.message[1]"),
        ({"most": math.inf}, "the number inf at args.most"),
        ({"a b": -math.inf}, "the number -inf at args['a b']"),
        ([{"__proto__": 1}], "the member __proto__ at args[0]"),
        ({"b": 2**53 + 1, "a": math.nan}, "the number nan at args.a"),
        (2**53, None),
        (2**80, None),
        (10**22, None),
        (10**23, "the integer 100000000000000000000000 at args"),
        ({"a": 1e300, "b": -0.0}, None),
    ],
)
def test_what_the_spelling_does_not_tell_is_named(value: object, loss: str | None) -> None:
    assert spelled(value, root="args").loss == loss


def test_names_that_are_array_indices_come_first() -> None:
    names = ["b", "é", "🙂", "\ue000", "10", "9", "01", "-1", "4294967294", "4294967295", ""]
    assert list(json.loads(canonical_json(dict.fromkeys(names)))) == [
        *("9", "10", "4294967294", "", "-1", "01", "4294967295", "b", "é", "🙂", "\ue000")
    ]


def test_lone_surrogates_are_escaped_and_pairs_are_joined() -> None:
    assert canonical_json(["\ud800", "\ud83d\ude42", "a\udfff"]) == '["\\ud800","🙂","a\\udfff"]'
    assert canonical_json({"\ud83d\ude42": 1}) == canonical_json({"🙂": 1})


def test_members_spelled_before_are_put_in_order() -> None:
    given = {"b": b"1", "🙂": b"2", "10": b"3", "9": b"4", "\ue000": b"5"}
    assert spelled_members(given).decode() == canonical_json({name: int(text) for name, text in given.items()})


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Word(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


@dataclass
class Place:
    city: str
    tags: frozenset[str]


class Query(BaseModel):
    text: str = Field(alias="q")
    tags: set[str] = set()
    when: datetime | None = None


class Login(BaseModel):
    password: SecretStr


Point = namedtuple("Point", "x y")

DEFINED: list[tuple[object, object]] = [
    ((1, (2, {"a": 3})), [1, [2, {"a": 3}]]),
    (Point(1, 2), [1, 2]),
    (deque([1, 2]), [1, 2]),
    (range(3), [0, 1, 2]),
    ({"b", "a", "c"}, ["a", "b", "c"]),
    (frozenset({10, 9}), [10, 9]),
    ({1, "1", None}, ["1", 1, None]),
    ({"d": 1}.keys(), ["d"]),
    (MappingProxyType({"a": 1}), {"a": 1}),
    (UserDict(a=1), {"a": 1}),
    (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (defaultdict(list, a=[1]), {"a": [1]}),
    ({10: "a", Colour.RED: "b", np.int64(3): "c"}, {"10": "a", "red": "b", "3": "c"}),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (Word("word"), "word"),
    (Place("Sofia", frozenset({"z", "a"})), {"city": "Sofia", "tags": ["a", "z"]}),
    (Query(q="x", tags={"z", "a"}), {"q": "x", "tags": ["a", "z"], "when": None}),
    (
        datetime(2026, 5, 8, 14, 30),  # noqa: DTZ001 - as given, without a time zone
        "2026-05-08T14:30:00",
    ),
    (datetime(2026, 5, 8, 14, 30, tzinfo=UTC), "2026-05-08T14:30:00+00:00"),
    (datetime(2026, 5, 8, tzinfo=timezone(timedelta(hours=2))), "2026-05-08T00:00:00+02:00"),
    (date(2026, 5, 8), "2026-05-08"),
    (time(14, 30), "14:30:00"),
    (Decimal("1.10"), "1.10"),
    (Decimal("1E+3"), "1E+3"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (np.float64(0.5), 0.5),
    (np.float32(0.5), 0.5),
    (np.int32(7), 7),
    (np.bool_(True), True),
    (np.str_("x"), "x"),
    (np.array([[1.5, 2.0], [3.0, 4.0]]), [[1.5, 2.0], [3.0, 4.0]]),
    (np.array(5), 5),
]


@pytest.mark.parametrize(("value", "form"), DEFINED, ids=lambda value: type(value).__name__)
def test_values_that_are_not_json_have_one_form(value: object, form: object) -> None:
    assert json_value({"x": value}) == {"x": form}
    assert canonical_json({"x": value}) == canonical_json({"x": form})
    assert type(json_value(value)) is type(form)


class Shape(BaseModel):
    pass


class Circle(Shape):
    radius: float


class Drawing(BaseModel):
    shape: Shape = Shape()
    more: list[Shape] = []


class Order(BaseModel):
    model_config = ConfigDict(extra="allow", alias_generator=str.upper, populate_by_name=True)

    item: str
    tenant: str = Field("t", exclude=True)
    sent_as: int = Field(1, serialization_alias="sent")
    old: int = Field(1, deprecated=True)
    _seen: int = PrivateAttr(0)

    @computed_field
    def kind(self) -> str:
        return "order"

    @computed_field(alias="ITEM")
    def shown_item(self) -> str:
        raise AssertionError("a field has this name")

    @cached_property
    def size(self) -> int:
        return len(self.item)

    @field_serializer("item")
    def _starred(self, _: str) -> str:
        return "***"


Names = RootModel[list[Circle]]


@dataclass
class Call:
    tool: str
    tenant: str = field(default="t", repr=False, compare=False)
    shape: Shape | None = None


def test_models_and_dataclasses_count_by_every_member_that_they_hold() -> None:
    assert json_value(Drawing(shape=Circle(radius=1.5), more=[Circle(radius=2)])) == {
        "shape": {"radius": 1.5},
        "more": [{"radius": 2.0}],
    }
    order = Order(item="tea", tenant="u", note=Circle(radius=1))  # type: ignore[call-arg]
    assert order.size == 3, "kept in __dict__, where fields are"
    members = {"ITEM": "tea", "TENANT": "u", "sent": 1, "OLD": 1, "note": {"radius": 1.0}, "KIND": "order"}
    assert json_value(order) == members
    assert json_value({"o": [order, {"in": order}]}) == {"o": [members, {"in": members}]}
    assert json_value(Order.model_construct(item="tea")) == {"ITEM": "tea", "sent": 1, "OLD": 1, "TENANT": "t"} | {
        "KIND": "order"
    }
    assert json_value([Names([Circle(radius=1)])]) == [[{"radius": 1.0}]]
    assert json_value(Call("a", "u", Circle(radius=1))) == {"tool": "a", "tenant": "u", "shape": {"radius": 1.0}}


def test_a_plain_model_counts_as_what_it_is_sent_as() -> None:
    query = Query(q="x", tags={"a"}, when=datetime(2026, 5, 8, tzinfo=UTC))
    assert json_value(query) == json_value(query.model_dump(by_alias=True))
    assert json_value(Drawing()) == json_value(Drawing().model_dump(by_alias=True))


def test_members_of_a_model_that_would_have_one_name_are_refused() -> None:
    class Twice(BaseModel):
        one: int = Field(1, serialization_alias="x")
        other: int = Field(2, serialization_alias="x")

    with pytest.raises(InvalidInputError, match="a.b is or has two members named 'x'"):
        json_value({"a": {"b": Twice()}})


def test_a_refusal_names_the_member_of_a_model() -> None:
    class Held(BaseModel):
        client: Any = Field(alias="by", exclude=True)

    with pytest.raises(InvalidInputError, match=r"a\[0\]\.by is or has a .*Client"):
        json_value({"a": [Held(by=Client())]})


def test_decimals_do_not_depend_on_the_decimal_context() -> None:
    with localcontext() as context:
        context.capitals = 0
        context.prec = 1
        assert canonical_json(Decimal("1.25E+3")) == '"1.25E+3"'


def test_sets_are_written_the_same_in_every_process() -> None:
    program = (
        "from betterdb_agent_memory.caches.canonical import canonical_json, python_json;"
        "value = {'s': {'one', 'two', 'three', ('four', 5)}}; print(canonical_json(value), python_json(value))"
    )
    written = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(written) == 1


class Client:
    pass


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"x", "hash_bytes"),
        (bytearray(b"x"), "hash_bytes"),
        (memoryview(b"x"), "hash_bytes"),
        (iter([1]), "pass list(...) of it"),
        ((number for number in range(3)), "a generator"),
        (timedelta(1), "a datetime.timedelta"),
        (Client(), "test_canonical.Client"),
        (Place, "a type"),
        (len, "builtin_function_or_method"),
        (1j, "a complex"),
        (Decimal("NaN"), "Decimal('NaN')"),
        (np.datetime64("2026-05-08"), "numpy.datetime64"),
        (np.complex64(1), "numpy.complex64"),
        (np.array([b"x"]), "numpy.bytes_"),
        (2**MAX_INTEGER_BITS, "an integer of 4,097 bits"),
        ({1: "a", "1": "b"}, "two members named '1'"),
        ({None: 1}, "a member with the name None"),
        ({(1, 2): 1}, "a member with the name (1, 2)"),
        ({True: 1}, "a member with the name True"),
        (Login(password=SecretStr("hush")), "pydantic.types.SecretStr"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_form_is_refused_with_its_path(value: object, said: str) -> None:
    for write in (canonical_json, python_json, json_value):
        refused = outcome(partial(write, {"messages": [1, 2, {"content": value}]}))
        if not isinstance(refused, InvalidInputError):
            assert write is python_json, "names that only the published package can write"
            continue
        assert "messages[2].content" in str(refused)
        assert said in str(refused)
        assert "hush" not in str(refused)


def test_a_value_that_contains_itself_is_refused() -> None:
    inside: dict[str, Any] = {"list": []}
    inside["list"].append({"again": inside})
    twice: list[Any] = []
    twice.extend([twice, twice])
    for write in (canonical_json, python_json, json_value):
        with pytest.raises(InvalidInputError, match=r"list\[0\]\.again is or has a value that contains itself"):
            write(inside)
        with pytest.raises(InvalidInputError, match=r"\[0\] is or has a value that contains itself"):
            write(twice)


def test_the_same_object_may_be_in_several_places() -> None:
    shared = {"a": [1.0]}
    assert canonical_json([shared, shared]) == '[{"a":[1]},{"a":[1]}]'


@pytest.mark.parametrize("leaf", ["plain", 1.0])
def test_depth_has_a_bound_whatever_the_stack_and_the_value(leaf: object) -> None:
    assert canonical_json(nested(leaf, MAX_DEPTH)).startswith("[[[")
    for depth in (MAX_DEPTH + 1, 10_000):
        for write in (canonical_json, python_json, json_value):
            if write is python_json and depth == MAX_DEPTH + 1:
                continue  # the published package has no such bound
            with pytest.raises(InvalidInputError, match="more than 128 levels"):
                write(nested(leaf, depth))


def nested(leaf: object, depth: int) -> object:
    for _ in range(depth):
        leaf = [leaf]
    return leaf


def shuffled(value: object, random: Any) -> object:
    if isinstance(value, dict):
        names = list(value)
        random.shuffle(names)
        return {name: shuffled(value[name], random) for name in names}
    return [shuffled(member, random) for member in value] if isinstance(value, list) else value


def as_doubles(value: object) -> object:
    if isinstance(value, dict):
        return {name: as_doubles(member) for name, member in value.items()}
    if isinstance(value, list):
        return [as_doubles(member) for member in value]
    return float(value) if type(value) is int else value


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except InvalidInputError as error:
        return error


def spelling_or_refusal(call: Callable[[], Spelling]) -> Spelling | str:
    try:
        return call()
    except InvalidInputError as error:
        return str(error)
