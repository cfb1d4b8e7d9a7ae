"""What happens in a simulated life, in order, and what each system made of it: plain values and their JSON.

Only the standard library is needed here and in `driving.py`, so that the environment of any peer can import
them. A statement is one text that was said; its id is ours, a reference is what a system calls it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

DAY_MS = 86_400_000
START_MS = 1_735_689_600_000
"""Midnight at which every simulated life begins: 2025-01-01, UTC."""

Replacing: TypeAlias = Literal["nothing", "correct", "contradict", "state"]
"""How a statement treats the one it replaces: `correct` and `contradict` name it, `state` does not."""

Cue: TypeAlias = Literal["both", "attribute", "entity"]
"""What a question names. With `attribute` or `entity` alone it is ambiguous between many memories."""


@dataclass(frozen=True, slots=True)
class Say:
    """Something is said, to be remembered. `replaces` is the id of a statement, for `correct` and `contradict`."""

    at_ms: int
    id: str
    text: str
    kind: str
    importance: float
    entities: tuple[str, ...]
    how: Replacing = "nothing"
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A question. `needed` are the statements that would have helped (the judge's; no system sees them).

    `context` are words of what is being worked on. `feedback` says whether the user reacts to the answer, `honest`
    whether the reaction is what it should be, and not the opposite.
    """

    at_ms: int
    id: str
    question: str
    cue: Cue
    context: tuple[str, ...]
    needed: tuple[str, ...]
    feedback: bool
    honest: bool


@dataclass(frozen=True, slots=True)
class Night:
    """The end of a day, when a system does its maintenance; `day` counts from 1."""

    at_ms: int
    day: int


Event: TypeAlias = Say | Ask | Night
_KINDS: Mapping[str, type[Event]] = {kind.__name__: kind for kind in (Say, Ask, Night)}


@dataclass(frozen=True, slots=True)
class Found:
    """One hit of an answer: the statement it holds, and how sure the system is of it (None: it does not say)."""

    statement: str
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """Memories of a system at the end of a day: all it holds, and those that its recall prefers (not archived)."""

    day: int
    held: int
    active: int


@dataclass(frozen=True, slots=True)
class Answers:
    """What a system answered: hits by the id of the question, best first; sizes by day; seconds of all recalls."""

    hits: Mapping[str, Sequence[Found]]
    sizes: Sequence[Size]
    recall_seconds: float
    maintenance_seconds: float


def write_events(path: Path, events: Sequence[Event]) -> None:
    lines = (json.dumps({"event": type(event).__name__, **asdict(event)}) for event in events)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_events(path: Path) -> list[Event]:
    return [_event(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _event(stored: dict[str, Any]) -> Event:
    kind = _KINDS[stored.pop("event")]
    lists = {name: tuple(value) for name, value in stored.items() if isinstance(value, list)}
    return kind(**{**stored, **lists})


def plain_answers(answers: Answers) -> dict[str, Any]:
    return {
        "hits": {id: [[hit.statement, hit.confidence] for hit in hits] for id, hits in answers.hits.items()},
        "sizes": [[size.day, size.held, size.active] for size in answers.sizes],
        "recall_seconds": answers.recall_seconds,
        "maintenance_seconds": answers.maintenance_seconds,
    }


def answers_of(stored: Mapping[str, Any]) -> Answers:
    return Answers(
        {id: [Found(statement, confidence) for statement, confidence in hits] for id, hits in stored["hits"].items()},
        [Size(*size) for size in stored["sizes"]],
        stored["recall_seconds"],
        stored["maintenance_seconds"],
    )
