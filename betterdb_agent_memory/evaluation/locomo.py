"""LoCoMo's two forms: the file as published, and the reduced one that the project's benchmarks use.

LoCoMo (Maharana et al., 2024, "Evaluating Very Long-Term Conversational Memory of LLM Agents", CC BY-NC 4.0) is
not part of this package: `locomo10.json` is a file of yours. It is a list of conversations::

    [{"sample_id": "conv-1",
      "conversation": {"session_1_date_time": "1:56 pm on 8 May, 2023",
                       "session_1": [{"dia_id": "D1:1", "speaker": "Ann", "text": "...", "blip_caption": "..."}]},
      "qa": [{"question": "...", "evidence": ["D1:3"], "category": 4}]}]

Adversarial questions (category 5) have no answer in the conversation and are left out, as are those without
evidence among the turns. The reduced form is described in `benchmarks/conversations.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Annotated, Any, Final

from dateutil.parser import parse as parse_date
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.evaluation.dataset import Collection, Dataset, Entry, Question
from betterdb_agent_memory.evaluation.refusals import first_problem

TURN_MS: Final = 30_000
"""Between two turns of a session, of which only the first has a known time."""
ADVERSARIAL: Final = 5

_CATEGORIES: Final = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop"}
_SESSION = re.compile(r"session_(\d+)")
# Some references have a stray colon, leading zeros, or stand two in one text: "D:11:26", "D30:05", "D8:6; D9:17".
_REFERENCE = re.compile(r"D:?(\d+):(\d+)")

_Text = Annotated[str, Field(min_length=1)]
_TextOfAny = Annotated[str, BeforeValidator(str)]


class _Turn(BaseModel):
    dia_id: _Text
    speaker: _Text
    text: str
    blip_caption: str | None = None


class _Asked(BaseModel):
    question: _Text
    evidence: list[str] = []
    category: int


class _Sample(BaseModel):
    sample_id: _TextOfAny
    conversation: dict[str, Any]
    qa: list[_Asked]


class _ReducedMemory(BaseModel):
    id: _Text
    text: _Text
    timestamp: float | None = None
    speaker: str | None = None
    session: Annotated[str | None, BeforeValidator(lambda value: None if value is None else str(value))] = None
    caption: str | None = None


class _ReducedQuestion(BaseModel):
    text: _Text
    gold: list[str]
    category: str | None = None


class _ReducedConversation(BaseModel):
    id: _TextOfAny
    asked_at: float | None = None
    memories: list[_ReducedMemory]
    questions: list[_ReducedQuestion]


class _Reduced(BaseModel):
    conversations: list[_ReducedConversation]


_TURNS = TypeAdapter(list[_Turn])
_SAMPLES = TypeAdapter(list[_Sample])


def read_locomo(name: str, loaded: Sequence[object]) -> Dataset:
    """The published file, parsed as JSON.

    Raises:
        InvalidInputError: it has another shape; the message names the place.
    """
    try:
        samples = _SAMPLES.validate_python(loaded)
        collections = tuple(_collection(sample) for sample in samples)
    except ValidationError as error:
        raise InvalidInputError(f"{name} is no LoCoMo file: {first_problem(error)}") from error
    asked = sum(len(sample.qa) for sample in samples)
    return Dataset(name, collections, asked - sum(len(one.questions) for one in collections))


def read_reduced(name: str, loaded: object) -> Dataset:
    """The reduced form, parsed as JSON.

    Raises:
        InvalidInputError: it has another shape; the message names the place.
    """
    try:
        conversations = _Reduced.model_validate(loaded).conversations
    except ValidationError as error:
        raise InvalidInputError(f"{name} is no file of conversations: {first_problem(error)}") from error
    collections = tuple(_reduced_collection(one) for one in conversations)
    asked = sum(len(one.questions) for one in conversations)
    return Dataset(name, collections, asked - sum(len(one.questions) for one in collections))


def with_caption(text: str, caption: str | None) -> str:
    """A turn with what its picture shows."""
    return f"{text} [shares {caption}]".strip() if caption else text


def _collection(sample: _Sample) -> Collection:
    entries = tuple(_entries(sample.conversation))
    asked = [question for question in sample.qa if question.category != ADVERSARIAL]
    read = ((one, _references(one.evidence), _CATEGORIES.get(one.category, str(one.category))) for one in asked)
    known = {entry.id for entry in entries}
    questions = tuple(
        Question(one.question, expected, category)
        for one, references, category in read
        if (expected := tuple(id for id in references if id in known))
    )
    return Collection(sample.sample_id, entries, questions)


def _entries(conversation: dict[str, Any]) -> Iterator[Entry]:
    numbers = sorted(int(match[1]) for key in conversation if (match := _SESSION.fullmatch(key)))
    for number in numbers:
        said_at = conversation.get(f"session_{number}_date_time")
        starts_ms = None if said_at is None else _milliseconds(number, said_at)
        for place, turn in enumerate(_TURNS.validate_python(conversation[f"session_{number}"])):
            text = with_caption(turn.text, turn.blip_caption)
            time_ms = None if starts_ms is None else starts_ms + place * TURN_MS
            if text.strip():
                yield Entry(turn.dia_id, text, time_ms, turn.speaker, str(number))


def _milliseconds(session: int, text: object) -> int:
    try:
        return int(parse_date(str(text)).replace(tzinfo=UTC).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"session_{session}_date_time {text!r:.80} is no date: {error}") from error


def _references(evidence: Sequence[str]) -> list[str]:
    found = (match for text in evidence for match in _REFERENCE.finditer(text))
    return list(dict.fromkeys(f"D{int(match[1])}:{int(match[2])}" for match in found))


def _reduced_collection(one: _ReducedConversation) -> Collection:
    entries = [_reduced_entry(memory) for memory in one.memories]
    known = {entry.id for entry in entries if entry.text.strip()}
    asked_at_ms = None if one.asked_at is None else int(one.asked_at * 1000)
    questions = tuple(
        Question(asked.text, expected, asked.category, asked_at_ms)
        for asked in one.questions
        if (expected := tuple(dict.fromkeys(id for id in asked.gold if id in known)))
    )
    return Collection(one.id, tuple(entry for entry in entries if entry.text.strip()), questions)


def _reduced_entry(memory: _ReducedMemory) -> Entry:
    text = memory.text if memory.speaker is None else memory.text.removeprefix(f"{memory.speaker}: ")
    moment = None if memory.timestamp is None else int(memory.timestamp * 1000)
    return Entry(memory.id, with_caption(text, memory.caption), moment, memory.speaker, memory.session)
