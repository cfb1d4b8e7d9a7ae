"""Measuring a threshold on a store: a sample of its memories is read, questions are embedded, and compared."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.embedders.vectors import decode_float32
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory.calibration import (
    MIN_SAMPLE,
    AnsweredQuestion,
    Basis,
    Calibration,
    Distances,
    Measured,
    calibration,
    cosine_distances,
    left_out_of,
    made_up_question,
    paired_distances,
    require_enough,
    without_nearest,
)
from betterdb_agent_memory.memory.embedding import CheckedEmbedder
from betterdb_agent_memory.memory.progress import Progress, ProgressFn
from betterdb_agent_memory.memory.record import CONTENT, CREATED_AT, VECTOR
from betterdb_agent_memory.memory.requests import MAX_LIST_LIMIT, MAX_LIST_OFFSET
from betterdb_agent_memory.memory.spaces import SearchedRecords, VectorSpace

QUESTIONS_MADE_UP: Final = 100
"""Questions that are made up from memories where there are no real ones."""

_PAGES: Final = 20
"""Places of the scope, evenly spread by age, that a sample is read from."""
_ASKED_AT_ONCE: Final = 32
_EMBEDDED_AT_ONCE: Final = 128


@dataclass(frozen=True, slots=True)
class Sample:
    """Memories of a scope that has `total`: their ids and texts, and their vectors as the rows of an array."""

    ids: tuple[str, ...]
    contents: tuple[str, ...]
    vectors: NDArray[np.float32]
    total: int


async def calibrate(
    space: VectorSpace,
    filter: Filter,
    *,
    questions: Sequence[AnsweredQuestion] | None,
    sample_size: int,
    false_accept_rate: float,
    current: float,
    on_progress: ProgressFn | None,
) -> Calibration:
    """Read a sample, embed the questions, and tell what each ceiling does.

    Raises:
        InvalidInputError: the scope has too few memories, or an expected one is not there; nothing was embedded.
        EmbeddingError: the embedder failed.
    """
    sample = await read_sample(space.records, filter, sample_size, on_progress)
    if len(sample.ids) < MIN_SAMPLE:
        raise InvalidInputError(
            f"calibrate needs {MIN_SAMPLE} memories or more to compare with, the scope has {len(sample.ids)}"
        )
    basis = _basis(questions)
    asked = _made_up(sample) if questions is None else questions
    unrelated = _unrelated(asked, sample)
    near = left_out_of(len(sample.ids), sample.total)
    left_out = [0 if one.expected or one.answers else near for one in asked]
    require_enough(int(unrelated.sum()) - sum(left_out), false_accept_rate)
    dimensions = sample.vectors.shape[1]
    stored = await _expected_vectors(space.records, asked, dimensions) if basis == "answers" else {}
    vectors = await _question_vectors(space.embedder, asked, dimensions, on_progress)
    answers = await _answer_vectors(space.embedder, asked, dimensions)

    def compare() -> Measured:
        related = _related(asked, vectors, stored, answers) if basis == "answers" else np.empty(0)
        distances = cosine_distances(vectors, sample.vectors)
        return Measured(distances[without_nearest(distances, unrelated, left_out)], related)

    return calibration(
        await off_loop(unrelated.size, compare),
        false_accept_rate=false_accept_rate,
        current=current,
        basis=basis,
        memories=sample.total,
        sampled=len(sample.ids),
        questions=len(asked),
    )


async def read_sample(
    records: SearchedRecords, filter: Filter, size: int, on_progress: ProgressFn | None = None
) -> Sample:
    """At most `size` memories of the scope, evenly spread by age: the same ones while nothing changes.

    About 23 round trips. Of a scope of more than a million the newest million are looked at.
    """
    total = await records.count(filter)
    ids = await _all_ids(records, filter) if total <= size else await _spread_ids(records, filter, size, total)
    rows = await records.read_many(ids, [VECTOR, CONTENT])
    if on_progress is not None:
        on_progress(Progress("memories", len(ids), len(ids)))
    stored = [(id, row) for id, row in zip(ids, rows, strict=True) if row and row.get(VECTOR) and CONTENT in row]
    length = max((len(row[VECTOR]) for _, row in stored), default=4)
    usable = [(id, row) for id, row in stored if len(row[VECTOR]) == length]
    vectors = [decode_float32(row[VECTOR]) for _, row in usable]
    return Sample(
        ids=tuple(id for id, _ in usable),
        contents=tuple(row[CONTENT].decode(errors="replace") for _, row in usable),
        vectors=np.array(vectors, dtype=np.float32).reshape(len(usable), length // 4),
        total=total,
    )


async def _all_ids(records: SearchedRecords, filter: Filter) -> list[str]:
    return [row.id async for page in records.walk(filter, fields=[]) for row in page]


async def _spread_ids(records: SearchedRecords, filter: Filter, size: int, total: int) -> list[str]:
    # An index may list strangers beside the scope's own: pages are as much longer as there are more rows.
    listed = min((await records.select(filter, fields=[], limit=0)).total, MAX_LIST_OFFSET)
    page_size = min(-(-size * max(listed, total) // (total * _PAGES)), MAX_LIST_LIMIT)
    pages = [
        await records.select(
            filter,
            fields=filter.field_names,
            limit=page_size,
            offset=max(listed - page_size, 0) * place // (_PAGES - 1),
            order_by=CREATED_AT,
            descending=True,
        )
        for place in range(_PAGES)
    ]
    own = dict.fromkeys(row.id for page in pages for row in filter.accepted(page.rows))
    return _evenly(list(own), size)


def _evenly(ids: Sequence[str], count: int) -> list[str]:
    """At most `count` of these, at even distances."""
    return [ids[place] for place in np.linspace(0, len(ids) - 1, min(count, len(ids))).astype(int)]


def _basis(questions: Sequence[AnsweredQuestion] | None) -> Basis:
    if questions is None:
        return "memories"
    return "answers" if any(one.expected or one.answers for one in questions) else "questions"


def _made_up(sample: Sample) -> list[AnsweredQuestion]:
    contents = dict(zip(sample.ids, sample.contents, strict=True))
    # What it was made from is no stranger, and no answer that says anything.
    return [AnsweredQuestion(made_up_question(contents[id]), (id,)) for id in _evenly(sample.ids, QUESTIONS_MADE_UP)]


def _unrelated(questions: Sequence[AnsweredQuestion], sample: Sample) -> NDArray[np.bool_]:
    """Which memories of the sample (columns) do not answer which question (rows)."""
    unrelated = np.ones((len(questions), len(sample.ids)), dtype=np.bool_)
    columns = {id: column for column, id in enumerate(sample.ids)}
    same_text: dict[str, list[int]] = {}
    for column, content in enumerate(sample.contents):
        same_text.setdefault(content, []).append(column)
    for row, question in enumerate(questions):
        answers = {columns[id] for id in question.expected if id in columns}
        texts = {*question.answers, *(sample.contents[column] for column in answers)}
        unrelated[row, [*answers, *(column for text in texts for column in same_text.get(text, []))]] = False
    return unrelated


async def _expected_vectors(
    records: SearchedRecords, questions: Sequence[AnsweredQuestion], dimensions: int
) -> dict[str, NDArray[np.float32]]:
    """The vectors of the memories that answer, by id."""
    ids = list(dict.fromkeys(id for one in questions for id in one.expected))
    rows = await records.read_many(ids, [VECTOR])
    missing = [id for id, row in zip(ids, rows, strict=True) if not row or not row.get(VECTOR)]
    if missing:
        raise InvalidInputError(
            f"the questions expect {len(missing):,} memories that are not there: {', '.join(map(repr, missing[:5]))}"
            f"{' ...' if len(missing) > 5 else ''}"
        )
    vectors = {id: decode_float32(row[VECTOR]) for id, row in zip(ids, rows, strict=True) if row}
    return {id: vector for id, vector in vectors.items() if vector.size == dimensions}


async def _question_vectors(
    embedder: CheckedEmbedder, questions: Sequence[AnsweredQuestion], dimensions: int, on_progress: ProgressFn | None
) -> NDArray[np.float32]:
    vectors: list[bytes] = []
    for start in range(0, len(questions), _ASKED_AT_ONCE):
        batch = questions[start : start + _ASKED_AT_ONCE]
        try:
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(embedder.embed_query(one.question, dimensions)) for one in batch]
        except BaseExceptionGroup as failures:
            # One question's failure is the call's: callers should not have to unpack a group.
            raise failures.exceptions[0] from failures.exceptions[0].__cause__
        vectors += [call.result() for call in calls]
        if on_progress is not None:
            on_progress(Progress("questions", len(vectors), len(questions)))
    return np.array([decode_float32(vector) for vector in vectors], dtype=np.float32)


async def _answer_vectors(
    embedder: CheckedEmbedder, questions: Sequence[AnsweredQuestion], dimensions: int
) -> dict[str, NDArray[np.float32]]:
    """The vectors of the answering texts, by text: as they would be stored."""
    texts = list(dict.fromkeys(text for one in questions for text in one.answers))
    vectors: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(texts), _EMBEDDED_AT_ONCE):
        batch = texts[start : start + _EMBEDDED_AT_ONCE]
        embedded = await embedder.embed_documents(batch, dimensions)
        vectors.update(zip(batch, map(decode_float32, embedded), strict=True))
    return vectors


def _related(
    questions: Sequence[AnsweredQuestion],
    asked: NDArray[np.float32],
    stored: Mapping[str, NDArray[np.float32]],
    answers: Mapping[str, NDArray[np.float32]],
) -> Distances:
    """The distance of each question to each of its answers."""
    pairs = [
        (vector, answer)
        for question, vector in zip(questions, asked, strict=True)
        for answer in (
            *(stored[id] for id in dict.fromkeys(question.expected) if id in stored),
            *(answers[text] for text in dict.fromkeys(question.answers)),
        )
    ]
    if not pairs:
        return np.empty(0)
    return paired_distances(np.array([vector for vector, _ in pairs]), np.array([answer for _, answer in pairs]))
