"""Which distance counts as related, measured: what each ceiling lets in, and what it keeps. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.drafts import checked_content
from betterdb_agent_memory.memory.record import checked_ids
from betterdb_agent_memory.options import DEFAULT_MAX_CONTENT_BYTES, MAX_THRESHOLD, is_number

DEFAULT_FALSE_ACCEPT_RATE: Final = 0.05
DEFAULT_SAMPLE: Final = 500
MIN_SAMPLE: Final = 20
"""Fewer memories say nothing about how far apart unrelated ones are."""
MAX_SAMPLE: Final = 5_000
NEAREST_LEFT_OUT: Final = 3
"""Memories of the scope that may answer a question whose answers are not known: its nearest ones.

Measured on 20 to 500 turns of LoCoMo, with three models: what 5 % was asked for lets in 3.3 to 4.9 % of what does not
answer if none is left out, and 12 to 5.4 % with these (docs/thresholds.md).
"""
FEWEST_WITHOUT_ANSWERS: Final = 300
"""Below so many memories it matters which of them answer, so a threshold measured without knowing is a guess."""

Basis: TypeAlias = Literal["answers", "questions", "memories"]
"""What was measured with: questions whose answers are known, questions alone, or questions made up from memories."""

Distances: TypeAlias = NDArray[np.float64]

_RATES: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_STEPS: Final = 1_000
"""Ceilings are whole thousandths."""
_WORDS_ASKED: Final = 3
_LONGEST_WORD: Final = 20


@dataclass(frozen=True, slots=True)
class AnsweredQuestion:
    """A question, and what answers it: `expected` are ids of memories, `answers` texts as they would be remembered.

    Ids say more: they are compared by the vector that is stored.
    """

    question: str
    expected: Sequence[str] = ()
    answers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CeilingRates:
    """What a ceiling does: shares, from 0 to 1, of the pairs measured that lie within it (equal to it is within).

    `true_accepts` is None where no answers are known.
    """

    ceiling: float
    false_accepts: float
    true_accepts: float | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold measured on a store.

    `threshold` is the largest cosine distance, in thousandths, within which at most `false_accept_rate` of the
    unrelated memories lie; `current` is the one in force. `rates` says what several ceilings do, tightest first,
    both of these among them. Measured were `questions` (where the `basis` is "memories", made up) against
    `sampled` of the `memories` of the scope: `unrelated_pairs`, and `true_pairs` of a question and its answer.
    """

    threshold: float
    false_accept_rate: float
    current: float
    basis: Basis
    rates: tuple[CeilingRates, ...]
    memories: int
    sampled: int
    questions: int
    unrelated_pairs: int
    true_pairs: int

    @property
    def recommended(self) -> CeilingRates:
        """What the threshold does."""
        return self.at(self.threshold)

    @property
    def is_rough(self) -> bool:
        """Whether it is a guess: no answers are known, and there are fewer than 300 memories."""
        return self.basis != "answers" and self.memories < FEWEST_WITHOUT_ANSWERS

    def at(self, ceiling: float) -> CeilingRates:
        """The row of a ceiling that is among the `rates`."""
        return next(row for row in self.rates if row.ceiling == ceiling)


@dataclass(frozen=True, slots=True)
class Measured:
    """Distances, in no order: of questions to memories that do not answer them, and to their answers."""

    unrelated: Distances
    related: Distances


def calibration(
    measured: Measured,
    *,
    false_accept_rate: float,
    current: float,
    basis: Basis,
    memories: int,
    sampled: int,
    questions: int,
) -> Calibration:
    """What the distances say.

    Raises:
        InvalidInputError: there are too few to tell that rate.
    """
    unrelated, related = np.sort(measured.unrelated), np.sort(measured.related)
    require_enough(unrelated.size, false_accept_rate)
    threshold = ceiling_for(unrelated, false_accept_rate)
    ceilings = {ceiling_for(unrelated, rate) for rate in _RATES if rate * unrelated.size >= 1}
    rates = [
        CeilingRates(one, _within(unrelated, one), _within(related, one) if related.size else None)
        for one in sorted({*ceilings, threshold, current})
    ]
    return Calibration(
        threshold=threshold,
        false_accept_rate=false_accept_rate,
        current=current,
        basis=basis,
        rates=tuple(rates),
        memories=memories,
        sampled=sampled,
        questions=questions,
        unrelated_pairs=int(unrelated.size),
        true_pairs=int(related.size),
    )


def ceiling_for(ordered: Distances, rate: float) -> float:
    """The largest ceiling, in thousandths and at least 0, within which at most `rate` of these distances lie.

    `ordered` are the distances, smallest first. Where more than that are 0 the ceiling is 0 and admits more.

    >>> ceiling_for(np.array([0.3, 0.5, 0.62, 0.9]), 0.5)
    0.619
    """
    admitted = math.floor(rate * len(ordered))
    if admitted >= len(ordered):
        return MAX_THRESHOLD
    thousandths: int = math.floor(ordered[admitted] * _STEPS)
    if thousandths / _STEPS >= ordered[admitted]:
        thousandths -= 1
    return float(max(thousandths, 0) / _STEPS)


def left_out_of(sampled: int, memories: int) -> int:
    """How many of the nearest memories of a sample may answer a question: as many as of the scope, in proportion."""
    return round(NEAREST_LEFT_OUT * sampled / max(sampled, memories))


def without_nearest(distances: Distances, unrelated: NDArray[np.bool_], counts: Sequence[int]) -> NDArray[np.bool_]:
    """What is left of the unrelated pairs without the nearest ones, of each row as many as `counts` says.

    All are of the shape (questions, memories), or (questions,) the counts.
    """
    far = unrelated.copy()
    for row, count in enumerate(counts):
        if count:
            columns = np.flatnonzero(unrelated[row])
            far[row, columns[np.argsort(distances[row, columns], kind="stable")[:count]]] = False
    return far


def cosine_distances(rows: NDArray[np.float32], others: NDArray[np.float32]) -> Distances:
    """The cosine distance, 0 to 2, of each row to each of the others: shape (rows, others)."""
    distances: Distances = 1 - _unit(rows) @ _unit(others).T
    return np.clip(distances, 0, MAX_THRESHOLD, out=distances)


def paired_distances(rows: NDArray[np.float32], others: NDArray[np.float32]) -> Distances:
    """The cosine distance, 0 to 2, of each row to the other one in its place: shape (rows,)."""
    distances: Distances = 1 - np.einsum("ij,ij->i", _unit(rows), _unit(others))
    return np.clip(distances, 0, MAX_THRESHOLD, out=distances)


def made_up_question(content: str) -> str:
    """A question about a text, for want of a real one: its longest words as they come, and a question mark.

    Whole texts are no questions: they lie nearer to each other than any question does (docs/thresholds.md).

    >>> made_up_question("Maya is allergic to walnuts, and so is her brother.")
    'allergic walnuts brother?'
    """
    words = dict.fromkeys(word[:_LONGEST_WORD] for word in re.findall(r"\w+", content))
    longest = set(sorted(words, key=len, reverse=True)[:_WORDS_ASKED])
    return f"{' '.join(word for word in words if word in longest) or content}?"


def require_enough(pairs: int, false_accept_rate: float) -> None:
    """Refuse to tell a rate from fewer pairs than would hold one accepted falsely."""
    if pairs * false_accept_rate < 1:
        raise InvalidInputError(
            f"a false_accept_rate of {false_accept_rate:g} cannot be told from {pairs:,} pairs of a question and an "
            "unrelated memory: give more questions, a larger sample or a larger rate"
        )


def checked_rate(value: object) -> float:
    """A share above 0 and below 1."""
    if not is_number(value) or not 0 < value < 1:
        raise InvalidInputError(f"false_accept_rate must be above 0 and below 1, such as 0.05, got {value!r:.80}")
    return float(value)


def checked_questions(
    questions: object, *, max_bytes: int = DEFAULT_MAX_CONTENT_BYTES
) -> list[AnsweredQuestion] | None:
    """Questions as texts, as `AnsweredQuestion`, or as pairs of a text and the ids that answer it; None for none.

    Raises:
        InvalidInputError: one is none of these, there are none in the sequence, or a text is longer than `max_bytes`.
    """
    if questions is None:
        return None
    if isinstance(questions, str) or not isinstance(questions, Sequence):
        raise InvalidInputError(f"questions must be a list, got {type(questions).__name__}")
    if not questions:
        raise InvalidInputError("questions is empty: pass some, or None to have them made up from the memories")
    return [_checked_question(place, one, max_bytes) for place, one in enumerate(questions)]


def _checked_question(place: int, given: Any, max_bytes: int) -> AnsweredQuestion:
    if isinstance(given, str):
        given = AnsweredQuestion(given)
    elif isinstance(given, tuple) and len(given) == 2:
        given = AnsweredQuestion(given[0], given[1])
    if not isinstance(given, AnsweredQuestion):
        raise InvalidInputError(
            f"questions[{place}] must be a text, a pair (text, ids) or AnsweredQuestion(...), got {given!r:.80}"
        )
    question: object = given.question
    if not isinstance(question, str) or not question.strip():
        raise InvalidInputError(f"questions[{place}] must have a text that is not empty, got {question!r:.80}")
    checked_content(f"questions[{place}]", question, max_bytes)
    expected = checked_ids(_texts(place, "expected", given.expected))
    answers = _texts(place, "answers", given.answers)
    for text in answers:
        checked_content(f"questions[{place}].answers", text, max_bytes)
    return AnsweredQuestion(question, tuple(expected), answers)


def _texts(place: int, name: str, value: object) -> tuple[str, ...]:
    texts = None if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if texts is None or not all(isinstance(one, str) and one.strip() for one in texts):
        raise InvalidInputError(
            f"questions[{place}].{name} must be a list of texts that are not empty, got {value!r:.80}"
        )
    return texts


def _within(ordered: Distances, ceiling: float) -> float:
    return float(np.searchsorted(ordered, ceiling, side="right") / ordered.size)


def _unit(rows: NDArray[np.float32]) -> Distances:
    wide = rows.astype(np.float64)
    unit: Distances = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return unit
