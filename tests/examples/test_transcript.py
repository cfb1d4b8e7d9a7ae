"""The demo's conversations and questions are what the demo says they are."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

STORY = Path(__file__).resolve().parents[2] / "betterdb_agent_memory" / "apps" / "demo"
SESSIONS: list[dict[str, Any]] = json.loads((STORY / "transcript.json").read_text(encoding="utf-8"))
QUESTIONS: list[dict[str, Any]] = json.loads((STORY / "questions.json").read_text(encoding="utf-8"))
BY_THREAD = {session["thread"]: session for session in SESSIONS}
TURNS = [turn for session in SESSIONS for turn in session["turns"]]


def at(turn: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(turn["at"])


def turn_of(reference: dict[str, Any]) -> dict[str, Any]:
    assert reference["turn"] >= 1, reference
    turn: dict[str, Any] = BY_THREAD[reference["thread"]]["turns"][reference["turn"] - 1]
    return turn


def test_the_transcript_spans_weeks_of_conversations():
    assert 160 <= len(TURNS) <= 200
    assert len(SESSIONS) >= 8
    assert at(TURNS[-1]) - at(TURNS[0]) >= timedelta(weeks=6)


def test_a_conversation_has_one_name_one_user_and_one_assistant():
    assert len(BY_THREAD) == len(SESSIONS)
    for session in SESSIONS:
        speakers = {turn["speaker"] for turn in session["turns"]}
        assert speakers == {session["user"].title(), "Assistant"}
        assert session["agent"] in {"planner", "coder"}
        assert session["topic"]


def test_time_runs_forward_and_no_two_turns_share_a_moment():
    moments = [at(turn) for turn in TURNS]
    assert all(moment.tzinfo is not None for moment in moments)
    assert len(set(moments)) == len(moments)
    starts = [at(session["turns"][0]) for session in SESSIONS]
    assert starts == sorted(starts)
    for session in SESSIONS:
        times = [at(turn) for turn in session["turns"]]
        assert times == sorted(times)


def test_nobody_says_the_same_thing_twice():
    texts = [turn["text"].casefold() for turn in TURNS]
    assert len(set(texts)) == len(texts)


def test_there_are_questions_of_every_kind():
    assert 12 <= len(QUESTIONS) <= 15
    assert {question["kind"] for question in QUESTIONS} == {"single fact", "changed mind", "cross-session"}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["question"])
def test_a_question_is_answered_by_turns_its_scope_can_see(question: dict[str, Any]):
    assert question["answers"]
    for answer in question["answers"]:
        session = BY_THREAD[answer["thread"]]
        assert turn_of(answer)["text"]
        assert session["user"] == question["user"]
        assert question["agent"] in {None, session["agent"]}
    if question["kind"] == "cross-session":
        assert len({answer["thread"] for answer in question["answers"]}) > 1


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["question"])
def test_a_question_does_not_repeat_its_answer(question: dict[str, Any]):
    words = question["question"].casefold().rstrip("?").split()
    phrases = {" ".join(words[start : start + 4]) for start in range(len(words) - 3)}
    for answer in question["answers"]:
        assert not any(phrase in turn_of(answer)["text"].casefold() for phrase in phrases)


@pytest.mark.parametrize(
    "question", [q for q in QUESTIONS if q["kind"] == "changed mind"], ids=lambda question: question["question"]
)
def test_a_changed_mind_is_answered_by_the_newer_statement(question: dict[str, Any]):
    outdated = [at(turn_of(reference)) for reference in question["outdated"]]
    newest = [at(turn_of(reference)) for reference in question["answers"]]
    assert max(outdated) < min(newest)
