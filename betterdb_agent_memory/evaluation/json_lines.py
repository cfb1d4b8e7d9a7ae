"""Your own memories and questions: a file of JSON lines.

A line with `text` is a memory, one with `question` a question; order among the memories is that of the turns of a
session, and a question may stand anywhere::

    {"id": "m1", "text": "Maya is allergic to walnuts.", "occurred_at": "2026-05-08T14:30:00Z", "speaker": "Maya",
     "session": "1", "collection": "maya"}
    {"question": "What must Maya not eat?", "expected": ["m1"], "category": "health",
     "asked_at": "2026-06-01", "collection": "maya"}

Only `id`, `text`, `question` and `expected` are needed. Times are ISO 8601 with a time zone, dates, or milliseconds.
Memories of one `collection` go into a store of their own; without it all are one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.evaluation.dataset import Collection, Dataset, Entry, Question
from betterdb_agent_memory.evaluation.refusals import first_problem
from betterdb_agent_memory.evaluation.texts import loaded_from
from betterdb_agent_memory.memory.times import checked_time_ms

MAIN: Final = "all"
"""The collection of lines that name none."""

_Text = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]
_Name = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value), Field(min_length=1)]
_Time = Annotated[int, BeforeValidator(lambda value: checked_time_ms("the time", value))]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    collection: _Name = MAIN


class _Memory(_Line):
    id: _Name
    text: _Text
    occurred_at: _Time | None = None
    speaker: _Text | None = None
    session: _Name | None = None


class _Question(_Line):
    question: _Text
    expected: Annotated[list[_Name], Field(min_length=1)]
    category: _Name | None = None
    asked_at: _Time | None = None


_LineT = TypeVar("_LineT", bound=_Line)


@dataclass(slots=True)
class _Gathered:
    entries: dict[str, Entry] = field(default_factory=dict)
    questions: list[tuple[int, Question]] = field(default_factory=list)


def read_json_lines(name: str, lines: Iterable[str]) -> Dataset:
    """The memories and questions of a file; empty lines are passed over.

    Raises:
        InvalidInputError: a line cannot be used, an id stands twice in a collection, or a question expects a
            memory that its collection does not have; the message names the line.
    """
    gathered: dict[str, _Gathered] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            _take(gathered, f"{name}, line {number}", number, _parsed(f"{name}, line {number}", line))
    collections = tuple(_collection(name, id, one) for id, one in gathered.items())
    return Dataset(name, tuple(one for one in collections if one.questions))


def _parsed(where: str, line: str) -> dict[str, Any]:
    loaded = loaded_from(where, line)
    if not isinstance(loaded, dict) or ("text" in loaded) == ("question" in loaded):
        raise InvalidInputError(
            f'{where} must be an object with either "text" (a memory) or "question", got {line.strip()!r:.80}'
        )
    return loaded


def _take(gathered: dict[str, _Gathered], where: str, number: int, loaded: dict[str, Any]) -> None:
    if "question" in loaded:
        asked = _read(_Question, where, loaded)
        expected = tuple(dict.fromkeys(asked.expected))
        question = Question(asked.question, expected, asked.category, asked.asked_at)
        gathered.setdefault(asked.collection, _Gathered()).questions.append((number, question))
        return
    memory = _read(_Memory, where, loaded)
    entries = gathered.setdefault(memory.collection, _Gathered()).entries
    if memory.id in entries:
        raise InvalidInputError(f"{where}: another memory of this collection has the id {memory.id!r:.80}")
    entries[memory.id] = Entry(memory.id, memory.text, memory.occurred_at, memory.speaker, memory.session)


def _read(kind: type[_LineT], where: str, loaded: dict[str, Any]) -> _LineT:
    try:
        return kind.model_validate(loaded)
    except ValidationError as error:
        raise InvalidInputError(f"{where}: {first_problem(error)}") from error


def _collection(name: str, id: str, gathered: _Gathered) -> Collection:
    for number, question in gathered.questions:
        unknown = [wanted for wanted in question.expected if wanted not in gathered.entries]
        if unknown:
            raise InvalidInputError(
                f"{name}, line {number} expects {unknown[0]!r:.80}, which is the id of no memory of its collection"
            )
    return Collection(id, tuple(gathered.entries.values()), tuple(question for _, question in gathered.questions))
