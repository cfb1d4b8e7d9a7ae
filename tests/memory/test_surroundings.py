"""Turns around what was found: those of its own conversation, each once, as far as asked and as there is room."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory.memory.narrating import in_order
from betterdb_agent_memory.memory.prompting import OPENING, Packing
from betterdb_agent_memory.memory.recalling.explaining import MemoryHit
from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.memory.scope import MemoryScope
from betterdb_agent_memory.memory.surroundings import ids_beside, surroundings
from betterdb_agent_memory.memory.turns import session_key, turn_id

SCOPES = [MemoryScope(), MemoryScope("t"), MemoryScope("T"), MemoryScope("t", "a"), MemoryScope("t", None, "n")]


def turn(number: int, scope: MemoryScope, content: str = "", session: str = "s", **fields: Any) -> MemoryItem:
    values: dict[str, Any] = {
        "id": turn_id(session_key(session, scope), number),
        "content": content or f"turn {number} of {scope}",
        "importance": 0.5,
        "tags": [],
        "created_at": 1_750_000_000_000 + number,
        "last_accessed_at": 0,
        "access_count": 0,
        "thread_id": scope.thread_id,
        "agent_id": scope.agent_id,
        "namespace": scope.namespace,
        "session": session,
        "turn": number,
    }
    return MemoryItem(**(values | fields))


def lines(text: str) -> list[dict[str, Any]]:
    told = text.splitlines()
    return [json.loads(line) for line in told[told.index(OPENING) + 1 : -1]]


libraries = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(SCOPES), st.sampled_from(["", "Yes.", "No."])),
    min_size=1,
    max_size=30,
    unique_by=lambda one: one[:2],
)


@given(libraries, st.randoms(use_true_random=False), st.integers(0, 3), st.integers(250, 3_000))
def test_what_comes_along_is_beside_a_hit_of_its_conversation(
    drawn: list[tuple[int, MemoryScope, str]], random: Any, reach: int, budget: int
) -> None:
    turns = [turn(*one) for one in drawn]
    found = random.sample(turns, random.randint(1, len(turns)))
    by_id = {one.id: one for one in turns}
    asked = ids_beside(found, reach)
    assert len(set(asked)) == len(asked)
    assert not set(asked) & {one.id for one in found}
    around = surroundings(found, [by_id.get(id) for id in asked], reach)
    hits = [MemoryHit(one, 0.1, 1 - place / 100) for place, one in enumerate(found)]
    context = Packing(budget_tokens=budget, count_tokens=len if budget > 1_000 else None).pack(hits, around)

    assert sorted(map(id, [*context.hits, *context.left_out, *context.repeated])) == sorted(map(id, hits))
    if not context.hits:
        assert context.text == ""
        return
    assert context.tokens <= budget
    told = lines(context.text)
    along = {one.id for one in context.around}
    shown = {one["id"] for one in told}
    assert len(shown) == len(told)
    assert shown == along | {hit.item.id for hit in context.hits}
    assert [one["id"] for one in told] == [one.id for one in in_order(by_id[one["id"]] for one in told)]
    assert {one["id"] for one in told if one.get("context")} == along
    assert along.isdisjoint(hit.item.id for hit in context.hits)
    for other in context.around:
        assert any(
            (hit.item.thread_id, hit.item.agent_id, hit.item.namespace, hit.item.session)
            == (other.thread_id, other.agent_id, other.namespace, other.session)
            and abs((hit.item.turn or 0) - (other.turn or 0)) <= reach
            for hit in context.hits
        )


@given(libraries, st.integers(1, 3))
def test_where_there_is_room_all_of_them_come(drawn: list[tuple[int, MemoryScope, str]], reach: int) -> None:
    turns = [turn(*one) for one in drawn]
    best = turns[0]
    around = surroundings([best], turns[1:], reach)
    context = Packing(budget_tokens=100_000).pack([MemoryHit(best, 0.1, 1.0)], around)
    expected = [
        one
        for one in turns[1:]
        if (one.thread_id, one.agent_id, one.namespace) == (best.thread_id, best.agent_id, best.namespace)
        and abs((one.turn or 0) - (best.turn or 0)) <= reach
    ]
    assert context.around == sorted(expected, key=lambda one: one.turn or 0)


def test_what_lies_under_a_turns_id_is_no_turn_of_its_own_making() -> None:
    """Anybody may store a memory under any id, also under that of the turn beside another one."""
    scope = MemoryScope("t")
    found = turn(1, scope)
    before = turn(0, scope)
    for stranger in (
        replace(before, thread_id="T"),
        replace(before, namespace="n"),
        replace(before, session="other"),
        replace(before, turn=5),
        replace(before, session=None, turn=None),
    ):
        assert surroundings([found], [stranger], 1) == {}
        assert surroundings([stranger], [found], 1) == {}
    assert surroundings([found], [before], 1) == {found.id: [before]}
    assert ids_beside([replace(found, thread_id="T")], 1) == []


def test_the_nearest_of_the_best_come_before_the_next_best() -> None:
    scope = MemoryScope("t")
    turns = {number: turn(number, scope, f"{number} " + "word " * 40) for number in range(9)}
    hits = [MemoryHit(turns[place], 0.1, 1.0 - place / 10) for place in (4, 0)]
    nearest = surroundings([turns[4]], list(turns.values()), 1)
    enough = Packing(budget_tokens=10_000).pack(hits[:1], nearest).tokens
    around = surroundings([hit.item for hit in hits], list(turns.values()), 3)
    context = Packing(budget_tokens=enough).pack(hits, around)
    assert [hit.item.turn for hit in context.hits] == [4]
    assert [one.turn for one in context.around] == [3, 5]
    assert [hit.item.turn for hit in context.left_out] == [0]


def test_a_hit_beside_a_better_one_comes_with_it_and_an_answer_is_told_again() -> None:
    scope = MemoryScope("t")
    turns = [turn(n, scope, text) for n, text in enumerate(["Walnuts?", "No.", "Figs?", "No."])]
    hits = [MemoryHit(turns[place], 0.1, 1.0 - place / 10) for place in (0, 2, 1, 3)]
    context = Packing(budget_tokens=2_000, sources=["turn"]).pack(hits, surroundings(turns, [], 1))
    assert [line["text"] for line in lines(context.text)] == ["Walnuts?", "No.", "Figs?", "No."]
    assert [hit.item.turn for hit in context.hits] == [0, 1, 2]
    assert ([one.turn for one in context.around], [hit.item.turn for hit in context.repeated]) == ([3], [3])
