"""A ceiling admits at most the stated share of the unrelated, and no larger one in thousandths does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import AnsweredQuestion, InvalidInputError
from betterdb_agent_memory.memory.calibration import (
    Measured,
    calibration,
    ceiling_for,
    checked_questions,
    checked_rate,
    cosine_distances,
    left_out_of,
    made_up_question,
    paired_distances,
    without_nearest,
)

distances = st.lists(st.floats(0, 2), min_size=1, max_size=60).map(lambda values: np.sort(np.array(values)))


@given(ordered=distances, rate=st.floats(0.001, 0.999))
def test_a_ceiling_is_the_largest_that_admits_no_more(ordered: np.ndarray, rate: float) -> None:
    ceiling = ceiling_for(ordered, rate)
    assert 0 <= ceiling <= 2
    assert round(ceiling, 3) == ceiling
    assert np.mean(ordered <= ceiling) <= rate or ceiling == 0
    if ceiling < 2:
        assert np.mean(ordered <= ceiling + 0.00101) > rate


@given(unrelated=distances.filter(lambda found: len(found) > 1), related=distances, current=st.floats(0, 2))
def test_the_table_counts_what_lies_within(unrelated: np.ndarray, related: np.ndarray, current: float) -> None:
    said: dict[str, Any] = {"current": current, "basis": "answers", "memories": 9, "sampled": 3, "questions": 2}
    found = calibration(Measured(unrelated[::-1], related[::-1]), false_accept_rate=0.999, **said | {})
    assert [row.ceiling for row in found.rates] == sorted({row.ceiling for row in found.rates})
    for row in found.rates:
        assert row.false_accepts == pytest.approx(np.mean(unrelated <= row.ceiling))
        assert row.true_accepts == pytest.approx(np.mean(related <= row.ceiling))
    assert found.recommended.ceiling == found.threshold
    assert found.at(current).ceiling == current
    assert (found.unrelated_pairs, found.true_pairs) == (len(unrelated), len(related))


def test_without_answers_nothing_is_said_about_them() -> None:
    measured = Measured(np.linspace(0.1, 1, 100), np.empty(0))
    found = calibration(
        measured, false_accept_rate=0.05, current=0.3, basis="questions", memories=9, sampled=3, questions=2
    )
    assert {row.true_accepts for row in found.rates} == {None}
    assert found.recommended.false_accepts == 0.05


def test_a_rate_that_the_pairs_cannot_tell_is_refused() -> None:
    measured = Measured(np.linspace(0.1, 1, 100), np.empty(0))
    with pytest.raises(InvalidInputError, match=r"false_accept_rate of 0.005 cannot be told from 100 pairs"):
        calibration(
            measured, false_accept_rate=0.005, current=0.3, basis="questions", memories=9, sampled=3, questions=2
        )


def test_distances_are_cosine_distances() -> None:
    rows = np.array([[1, 0], [0, 5]], dtype=np.float32)
    others = np.array([[2, 0], [-1, 0], [3, 3]], dtype=np.float32)
    assert cosine_distances(rows, others) == pytest.approx(np.array([[0, 2, 1 - 0.5**0.5], [1, 1, 1 - 0.5**0.5]]))
    assert paired_distances(rows, others[:2]) == pytest.approx(np.array([0, 1]))


def test_the_nearest_of_what_may_answer_are_left_out() -> None:
    measured = np.array([[0.5, 0.1, 0.3, 0.2], [0.4, 0.3, 0.2, 0.1]])
    unrelated = np.array([[True, False, True, True], [True, True, True, True]])
    far = without_nearest(measured, unrelated, [2, 0])
    assert far.tolist() == [[True, False, False, False], [True, True, True, True]]
    assert unrelated.sum() == 7, "what was given is as it was"
    assert [left_out_of(*of) for of in ((20, 20), (500, 500), (500, 1_000), (500, 50_000))] == [3, 3, 2, 0]


@pytest.mark.parametrize(
    ("content", "question"),
    [
        ("Maya is allergic to walnuts, and so is her brother.", "allergic walnuts brother?"),
        ("walnuts walnuts walnuts tea", "walnuts tea?"),
        ("…", "…?"),
        ("x" * 500, "x" * 20 + "?"),
        ("猫が好き", "猫が好き?"),
    ],
)
def test_a_question_is_made_up_of_the_longest_words(content: str, question: str) -> None:
    assert made_up_question(content) == question


@given(st.text(min_size=1))
def test_a_made_up_question_is_never_empty(content: str) -> None:
    assert len(made_up_question(content)) > 1


def test_questions_come_in_three_shapes() -> None:
    full = AnsweredQuestion("Who?", ["a"], ["Maya"])
    assert checked_questions(["When?", ("Where?", ["a", "b"]), full]) == [
        AnsweredQuestion("When?", (), ()),
        AnsweredQuestion("Where?", ("a", "b"), ()),
        AnsweredQuestion("Who?", ("a",), ("Maya",)),
    ]
    assert checked_questions(None) is None


@pytest.mark.parametrize(
    ("questions", "complaint"),
    [
        ("Who?", "questions must be a list, got str"),
        ([], "questions is empty"),
        ([" "], r"questions\[0\] must have a text that is not empty"),
        (["Who?", 5], r"questions\[1\] must be a text, a pair \(text, ids\) or AnsweredQuestion"),
        ([("Who?", "a")], r"questions\[0\].expected must be a list of texts that are not empty, got 'a'"),
        ([("Who?", ["a:b"])], "contains a colon"),
        ([AnsweredQuestion("Who?", (), ["ok", ""])], r"questions\[0\].answers must be a list of texts"),
    ],
    ids=["text", "empty", "blank", "number", "no-list", "no-id", "empty-answer"],
)
def test_what_is_no_question_is_refused(questions: Any, complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        checked_questions(questions)


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan"), True, "0.05", None])
def test_what_is_no_rate_is_refused(rate: Any) -> None:
    with pytest.raises(InvalidInputError, match="false_accept_rate must be above 0 and below 1"):
        checked_rate(rate)
