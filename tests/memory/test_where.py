"""Conditions as callers say them: objects and mappings, and what is refused."""

from __future__ import annotations

import math
import pickle
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import (
    AccessCount,
    CreatedAt,
    Id,
    Importance,
    InvalidInputError,
    LastAccessedAt,
    MemoryFilter,
    OccurredAt,
    Source,
    Subject,
    Tag,
)
from betterdb_agent_memory.engines.filters import AllOf, AnyOf, Between, Equals, HasTag, IdIn, Not
from betterdb_agent_memory.memory.conditions import CONNECTIVES, FIELDS, MAX_DEPTH, checked_where
from betterdb_agent_memory.memory.where import MAX_IDS
from tests.conditions import Condition, conditions

DAY_MS = 86_400_000
MAY_8_MS = 1_778_198_400_000


def refusal(where: object) -> str:
    with pytest.raises(InvalidInputError) as refused:
        checked_where(where)
    return str(refused.value)


# Two forms, one meaning


@given(conditions)
def test_objects_and_mappings_say_the_same(condition: Condition) -> None:
    as_object, as_mapping = checked_where(condition.object), checked_where(condition.mapping)
    assert as_object == as_mapping
    assert hash(as_object) == hash(as_mapping)


def test_the_example_of_the_issue() -> None:
    assert (Tag("ui") & ~Source("summary") & Importance.between(0.5, 1)).clause == AllOf(
        (HasTag("tags", "ui"), Not(Equals("source", "summary")), Between("importance", 0.5, 1))
    )


def test_the_entries_of_a_mapping_must_all_hold() -> None:
    said = {"tags": "ui", "not": {"source": "summary"}, "importance": {"gte": 0.5, "lte": 1}}
    assert checked_where(said) == (Tag("ui") & ~Source("summary") & Importance.between(0.5, 1)).clause


def test_not_turns_round_all_that_is_in_it() -> None:
    said = {"not": {"source": "chat", "tags": "ui"}}
    assert checked_where(said) == (~(Source("chat") & Tag("ui"))).clause


@pytest.mark.parametrize(
    ("bare", "spelt_out"),
    [
        ({"tags": ["a", "b"]}, {"tags": {"all": ["a", "b"]}}),
        ({"tags": "a"}, {"tags": {"any": "a"}}),
        ({"source": ["a", "b"]}, {"source": {"any": ["a", "b"]}}),
        ({"subject": "a"}, {"subject": {"any": ["a"]}}),
        ({"session": "a", "speaker": "b"}, {"session": {"any": ["a"]}, "speaker": {"any": ["b"]}}),
        ({"kind": ["fact", "rule"]}, {"kind": {"any": ["fact", "rule"]}}),
        ({"entities": ["a", "b"]}, {"entities": {"all": ["a", "b"]}}),
        ({"pinned": True}, {"pinned": {"eq": True}}),
        ({"id": ["a", "b"]}, {"id": {"any": ["b", "a"]}}),
        ({"importance": 0.5}, {"importance": {"eq": 0.5}}),
        ({"access_count": 0}, {"access_count": {"gte": 0, "lte": 0}}),
        ({"created_at": "2026-05-08"}, {"created_at": {"gte": "2026-05-08", "lt": "2026-05-09"}}),
    ],
)
def test_what_a_bare_value_means(bare: dict[str, Any], spelt_out: dict[str, Any]) -> None:
    numbers = [0, 1, 0.5, MAY_8_MS - 1, MAY_8_MS, MAY_8_MS + DAY_MS - 1, MAY_8_MS + DAY_MS]
    one, other = checked_where(bare), checked_where(spelt_out)
    assert one is not None
    assert other is not None
    if isinstance(one, Between):
        stored = [{one.field: str(number).encode()} for number in numbers]
        assert [one.accepts("", s) for s in stored] == [other.accepts("", s) for s in stored]
    else:
        assert one == other


def test_several_comparisons_of_a_field_all_hold() -> None:
    assert checked_where({"tags": {"all": ["a", "b"], "any": ["c", "d"], "none": ["e"]}}) == (
        (Tag.all("a", "b") & Tag.any("c", "d") & Tag.none("e")).clause
    )
    strictly = checked_where({"importance": {"gt": 0.2, "lt": 0.4, "gte": 0.1}})
    assert strictly is not None
    stored = [0.1, 0.2, math.nextafter(0.2, 1), 0.3, math.nextafter(0.4, 0), 0.4]
    accepted = [number for number in stored if strictly.accepts("", {"importance": repr(number).encode()})]
    assert accepted == stored[2:5]


def test_lists_may_be_any_iterable_of_texts() -> None:
    texts: list[Any] = [("a", "b"), iter(["a", "b"]), {"a": 1, "b": 2}.keys()]
    assert [checked_where({"tags": {"any": given}}) for given in texts] == [Tag.any("a", "b").clause] * 3


def test_no_condition_is_none() -> None:
    assert checked_where(None) is None


# Objects


def test_conditions_are_values() -> None:
    assert Tag("a") == Tag.all("a") == Tag.any("a", "a")
    assert Tag("a") != Tag("A")
    assert Tag("a") != "a"
    assert len({Tag("a") & Tag("b"), Tag.all("a", "b"), Tag("b") & Tag("a")}) == 2
    assert Importance.between(0, 1.0) == Importance.between(0.0, 1)
    assert Id("a", "b") == Id("b", "a", "b")
    assert pickle.loads(pickle.dumps(~Tag("a") | Source("b"))) == ~Tag("a") | Source("b")
    assert repr(Source("a")) == "MemoryFilter(Equals(field='source', value='a'))"


def test_chains_stay_flat_and_mixtures_keep_their_shape() -> None:
    a, b, c = Tag("a"), Tag("b"), Tag("c")
    assert (a & b & c).clause == (a & (b & c)).clause == AllOf((a.clause, b.clause, c.clause))
    assert ((a | b) & c).clause == AllOf((AnyOf((a.clause, b.clause)), c.clause))
    assert (~(a | b)).clause == Tag.none("a", "b").clause == Not(AnyOf((a.clause, b.clause)))


def test_a_long_chain_is_no_deep_one() -> None:
    chain: MemoryFilter = Tag("t0")
    for number in range(1, 500):
        chain = chain | Tag(f"t{number}")
    assert checked_where(chain) == Tag.any(*(f"t{number}" for number in range(500))).clause


def test_python_keywords_are_refused_since_they_would_drop_a_condition() -> None:
    one: Any = Tag("a")
    for misuse in (
        lambda: one and Tag("b"),
        lambda: one or Tag("b"),
        lambda: not one,
        lambda: [1] if one else [2],
        lambda: any([one]),
    ):
        with pytest.raises(TypeError, match="combined with & | and ~"):
            misuse()


@pytest.mark.parametrize("other", ["tag", {"tags": "a"}, None, True, Tag])
def test_conditions_are_combined_with_conditions(other: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"not with {type(other).__name__}"):
        Tag("a") & other
    with pytest.raises(InvalidInputError, match=f"not with {type(other).__name__}"):
        Tag("a") | other


@pytest.mark.parametrize("clause", ["tags:a", None, Tag("a"), Tag])
def test_a_condition_is_made_by_its_objects(clause: Any) -> None:
    with pytest.raises(InvalidInputError, match="made with Tag, Source, Importance"):
        MemoryFilter(clause)


# Ends of ranges


@pytest.mark.parametrize(
    ("condition", "low", "high"),
    [
        (Importance(0.5), 0.5, 0.5),
        (Importance.at_least(0), 0, None),
        (Importance.at_most(np.float64(0.25)), None, 0.25),
        (Importance.above(0.5), math.nextafter(0.5, 1), None),
        (Importance.below(0.5), None, math.nextafter(0.5, 0)),
        (Importance.between(None, 1), None, 1),
        (AccessCount(np.int64(3)), 3, 3),  # type: ignore[arg-type]
        (AccessCount.at_least(2.0), 2, None),
        (CreatedAt(5), 5, 5),
        (CreatedAt.since("2026-05-08T00:00:00Z"), MAY_8_MS, None),
        (CreatedAt.since("2026-05-08"), MAY_8_MS, None),
        (CreatedAt.until("2026-05-08"), None, MAY_8_MS + DAY_MS - 1),
        (CreatedAt.until(date(2026, 5, 8)), None, MAY_8_MS + DAY_MS - 1),
        (CreatedAt.until(datetime(2026, 5, 8, tzinfo=UTC)), None, MAY_8_MS),
        (CreatedAt.until("2026-05-08T00:00+00:00"), None, MAY_8_MS),
        (CreatedAt.between("2026-05-08", "2026-05-08"), MAY_8_MS, MAY_8_MS + DAY_MS - 1),
        (OccurredAt("20260508"), MAY_8_MS, MAY_8_MS + DAY_MS - 1),
        (OccurredAt.between("2026-05-08", None), MAY_8_MS, None),
        (LastAccessedAt.between(-5, -5), -5, -5),
    ],
)
def test_the_ends_that_a_range_has(condition: MemoryFilter, low: float | None, high: float | None) -> None:
    clause = condition.clause
    assert isinstance(clause, Between)
    assert (clause.low, clause.high) == (low, high)


@given(st.dates(date(1800, 1, 1), date(2200, 1, 1)), st.integers(-2 * DAY_MS, 2 * DAY_MS))
def test_a_day_is_divided_into_before_itself_and_after(day: date, offset_ms: int) -> None:
    """Every moment is in exactly one of the three, and the day has its 86,400,000 milliseconds."""
    start_ms = (day - date(1970, 1, 1)).days * DAY_MS
    stored = {"occurred_at": str(start_ms + offset_ms).encode()}
    before, itself, after = (
        condition.clause.accepts("", stored)
        for condition in (OccurredAt.before(day), OccurredAt(day.isoformat()), OccurredAt.after(day))
    )
    assert (before, itself, after) == (offset_ms < 0, 0 <= offset_ms < DAY_MS, offset_ms >= DAY_MS)
    assert OccurredAt.since(day).clause.accepts("", stored) == (not before)
    assert OccurredAt.until(day).clause.accepts("", stored) == (not after)


@given(st.floats(0, 1), st.floats(0, 1))
def test_above_and_below_are_strict(stored: float, limit: float) -> None:
    fields = {"importance": repr(stored).encode()}
    assert Importance.above(limit).clause.accepts("", fields) == (stored > limit)
    assert Importance.below(limit).clause.accepts("", fields) == (stored < limit)


# Refused: names


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ({"tag": "a"}, "did you mean 'tags'?"),
        ({"ids": ["a"]}, "did you mean 'id'?"),
        ({"createdAt": 1}, "did you mean 'created_at'?"),
        ({"occured_at": 1}, "did you mean 'occurred_at'?"),
        ({"AND": [{"tags": "a"}]}, "did you mean 'and'?"),
        ({"$or": [{"tags": "a"}]}, "did you mean 'or'?"),
        ({"must": [{"tags": "a"}]}, "did you mean 'and'?"),
        ({"must_not": {"tags": "a"}}, "did you mean 'not'?"),
        ({"user_id": "u"}, "the scope is said by thread_id, agent_id and namespace beside where"),
        ({"thread_id": "t"}, "the scope is said by"),
        ({"threadId": "t"}, "the scope is said by"),
        ({"namespace": "n"}, "the scope is said by"),
        ({"metadata": {"k": "v"}}, "belongs into tags"),
        ({"metadata.k": "v"}, "belongs into tags"),
        ({"content": {"contains": "x"}}, "asked for with recall"),
        ({"date": "2026"}, "occurred_at is a time"),
        ({"*": "x"}, "about '*'; known are"),
        ({"": "x"}, "about ''; known are"),
        ({5: "x"}, "about 5; known are"),
        ({None: "x"}, "about None; known are"),
        ({b"tags": "x"}, "about b'tags'; known are"),
        ({("tags",): "x"}, "about ('tags',); known are"),
        ({"and": [{"or": [{"not": {"colour": "red"}}]}]}, "about 'colour'"),
    ],
)
def test_an_unknown_field_is_refused_with_the_known_ones_listed(said: dict[Any, Any], advice: str) -> None:
    message = refusal(said)
    assert advice in message
    assert message.endswith(f"known are {', '.join((*FIELDS, *CONNECTIVES))}")


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ({"tags": {"$in": ["a"]}}, "tags cannot be compared by '$in' (did you mean 'any'?); it takes all, any, none"),
        ({"tags": {"in": ["a"]}}, "did you mean 'any'?"),
        ({"tags": {"contains": "a"}}, "did you mean 'all'?"),
        ({"tags": {"not_contains": "a"}}, "did you mean 'none'?"),
        ({"source": {"eq": "a"}}, "did you mean 'any'?); it takes any, none"),
        ({"source": {"$ne": "a"}}, "did you mean 'none'?"),
        ({"source": {"all": ["a"]}}, "source cannot be compared by 'all'; it takes any, none"),
        ({"subject": {"nin": ["a"]}}, "did you mean 'none'?"),
        ({"id": {"prefix": "a"}}, "id cannot be compared by 'prefix'; it takes any, none"),
        ({"importance": {"$gte": 0.5}}, "did you mean 'gte'?); it takes gte, lte, gt, lt, eq"),
        ({"importance": {">": 0.5}}, "did you mean 'gt'?"),
        ({"importance": {"ne": 0.5}}, "importance cannot be compared by 'ne'; it takes gte"),
        ({"created_at": {"since": "2026-05-08"}}, "did you mean 'gte'?"),
        ({"created_at": {"before": "2026-05-08"}}, "did you mean 'lt'?"),
        ({"access_count": {1: 2}}, "access_count cannot be compared by 1; it takes gte"),
        ({"tags": {}}, "the condition on tags is empty; it takes all, any, none"),
        ({"importance": {}}, "the condition on importance is empty; it takes gte, lte, gt, lt, eq"),
    ],
)
def test_an_unknown_comparison_is_refused_with_the_known_ones_listed(said: dict[Any, Any], advice: str) -> None:
    assert advice in refusal(said)


# Refused: values

NAN = float("nan")
WRONG_VALUES: list[tuple[dict[str, Any], str]] = [
    *(
        ({field: value}, f"{field} is compared with a finite number, got {value!r:.20}")
        for field in ("importance", "access_count")
        for value in (
            NAN,
            math.inf,
            -math.inf,
            True,
            "0.5",
            None,
            [0.5],
            10**400,
            1j,
            np.bool_(True),
            np.float64("nan"),
        )
    ),
    *(
        ({"importance": value}, f"importance is from 0 to 1, so comparing it with {value!r} says nothing")
        for value in (70, -0.1, 1.0000001)
    ),
    *(
        ({field: {"gte": value}}, f"{field} must be")
        for field in ("created_at", "occurred_at", "last_accessed_at")
        for value in (True, None, 1.5, NAN, "yesterday", "", "2026-02-30", "08.05.2026", [1], b"2026-05-08")
    ),
    ({"created_at": datetime(2026, 5, 8)}, "has no time zone"),  # noqa: DTZ001 - that is the point
    ({"created_at": "2026-05-08T12:00"}, "has no time zone"),
    ({"created_at": 2**53 + 1}, "out of range; it is given in milliseconds"),
    ({"importance": {"gte": 1, "lte": 0.5}}, "no importance is gte 1, lte 0.5; are the ends exchanged?"),
    ({"importance": {"gt": 0.5, "lt": 0.5}}, "no importance is gt 0.5, lt 0.5"),
    ({"importance": {"eq": 0.5, "gte": 0.6}}, "no importance is eq 0.5, gte 0.6"),
    ({"created_at": {"gte": "2026-05-09", "lte": "2026-05-08"}}, "no created_at is gte '2026-05-09', lte '2026-05-08'"),
    ({"tags": []}, "a condition on tags names at least one, got none"),
    ({"tags": {"none": []}}, "a condition on tags names at least one, got none"),
    ({"source": {"any": ()}}, "a condition on source names at least one, got none"),
    ({"id": {"any": []}}, "a condition on ids names at least one, got none"),
    *(
        ({field: value}, f"{field} is compared with a text or a list of texts, got {value!r}")
        for field in ("tags", "source", "subject", "session", "speaker", "kind", "entities", "id")
        for value in (None, 5, True, 0.5, b"a")
    ),
    *(({"pinned": value}, f"pinned is true or false, got {value!r}") for value in ("yes", 1, None, [True])),
    ({"kind": "rumour"}, "there is no kind 'rumour' of memories; known are factual, episodic"),
    ({"kind": ["fact", 5]}, "there is no kind 5 of memories"),
    ({"entities": ["a", ""]}, "an entity is a name, a text that is not empty"),
    ({"tags": {"any": ["a", 5]}}, "a tag must be text, got int: 5"),
    ({"tags": ["a", None]}, "a tag must be text, got NoneType: None"),
    ({"tags": "a,b"}, "contains a comma"),
    ({"tags": "a\nb"}, "contains a control character"),
    ({"tags": ["\ud800"]}, "lone surrogate"),
    ({"source": ["a", 5]}, "source must be text, got int: 5"),
    ({"source": "\ud800"}, "lone surrogate"),
    ({"subject": "x" * 5000}, "subject may have 4,096 bytes"),
    ({"id": "a:b"}, "contains a colon"),
    ({"id": ["a", ""]}, "must be a non-empty text"),
    ({"id": [5]}, "must be a non-empty text, got 5"),
    ({"id": [str(number) for number in range(MAX_IDS + 1)]}, "at most 10,000 ids, not 10,001"),
    ({}, "an empty mapping says nothing; leave it out"),
    ({"and": []}, "'and' takes at least one condition, got none"),
    ({"or": []}, "'or' takes at least one condition, got none"),
    ({"or": {"tags": "a"}}, "'or' takes a list of conditions, got {'tags': 'a'}"),
    ({"and": "tags"}, "'and' takes a list of conditions, got 'tags'"),
    ({"and": ["tags"]}, "'and' takes conditions as mappings, got 'tags'"),
    ({"and": [{}]}, "an empty mapping says nothing"),
    ({"not": [{"tags": "a"}]}, "'not' takes conditions as mappings, got [{'tags': 'a'}]"),
    ({"not": None}, "'not' takes conditions as mappings, got None"),
]


@pytest.mark.parametrize(("said", "reason"), WRONG_VALUES)
def test_values_that_mean_nothing_are_refused(said: dict[str, Any], reason: str) -> None:
    assert reason in refusal(said)


@pytest.mark.parametrize("where", ["tags:a", [Tag("a")], Tag, 5, True, (), [("tags", "a")], b"x"])
def test_what_is_neither_object_nor_mapping_is_refused_with_examples_of_both(where: Any) -> None:
    message = refusal(where)
    assert "Tag('ui') & Importance.at_least(0.5)" in message
    assert "{'tags': 'ui', 'importance': {'gte': 0.5}}" in message
    assert f"got {type(where).__name__}" in message


def test_a_list_given_to_an_object_is_told_to_be_unpacked() -> None:
    tags: Any = ["a", "b"]
    for make in (Tag.any, Tag.all, Tag.none, Source.any, Subject.none, Id):
        with pytest.raises(InvalidInputError, match="one by one, not in a list: put a star before it"):
            make(tags)
        with pytest.raises(InvalidInputError, match="at least one"):
            make()
    with pytest.raises(InvalidInputError, match="a tag must be text, got list"):
        Tag(tags)


def test_objects_refuse_what_mappings_refuse() -> None:
    bad: Any = [
        lambda: Importance(NAN),
        lambda: Importance.between(0.6, 0.5),
        lambda: Importance.at_least(True),
        lambda: AccessCount.above(math.inf),
        lambda: Importance.between(None, None),
        lambda: CreatedAt.between(None, None),
        lambda: CreatedAt.since(datetime(2026, 5, 8)),  # noqa: DTZ001 - that is the point
        lambda: CreatedAt.between("2026-05-09", "2026-05-08"),
        lambda: Source(None),  # type: ignore[arg-type]
        lambda: Id("a:b"),
    ]
    for make in bad:
        with pytest.raises(InvalidInputError):
            make()


# Refused: depth


def nested_objects(depth: int) -> MemoryFilter:
    condition: MemoryFilter = Tag("a")
    for _ in range(depth):
        condition = ~condition
    return condition


def nested_mappings(depth: int) -> dict[str, Any]:
    condition: dict[str, Any] = {"tags": "a"}
    for _ in range(depth):
        condition = {"not": condition}
    return condition


def test_conditions_nest_to_a_limit() -> None:
    assert checked_where(nested_objects(MAX_DEPTH)) == checked_where(nested_mappings(MAX_DEPTH))
    for too_deep in (nested_objects(MAX_DEPTH + 1), nested_mappings(MAX_DEPTH + 1), nested_mappings(20_000)):
        assert refusal(too_deep) == "a condition is nested at most 50 deep"
    endless: dict[str, Any] = {}
    endless["and"] = [endless]
    assert "nested at most 50" in refusal(endless)


def test_ten_thousand_ids_are_one_condition() -> None:
    ids = [str(number) for number in range(MAX_IDS)]
    assert checked_where({"id": ids}) == IdIn(frozenset(ids))


@pytest.mark.parametrize("odd", [["a", ["b"]], [{"a": 1}], ["a", {"b"}]])
def test_what_cannot_be_hashed_is_refused_like_any_other(odd: list[Any]) -> None:
    with pytest.raises(InvalidInputError, match="a tag must be text"):
        checked_where({"tags": {"any": odd}})
