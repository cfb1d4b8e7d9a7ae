"""Memories, and questions whose answers lie in known ones."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cached_property

PAUSE_MS = 30_000
"""How long after the last memory a question is asked that does not say when."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One memory. `session` makes it a turn of a conversation, in the order of the entries."""

    id: str
    text: str
    occurred_at_ms: int | None = None
    speaker: str | None = None
    session: str | None = None

    @property
    def spoken(self) -> str:
        """The text with whoever said it in front, for those who have no field for speakers."""
        return self.text if self.speaker is None else f"{self.speaker}: {self.text}"


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the ids of the entries that answer it: at least one, each once."""

    text: str
    expected: tuple[str, ...]
    category: str | None = None
    asked_at_ms: int | None = None


@dataclass(frozen=True)
class Collection:
    """Entries that go into a store of their own, and questions about these alone."""

    id: str
    entries: tuple[Entry, ...]
    questions: tuple[Question, ...]

    @cached_property
    def asked_at_ms(self) -> int | None:
        """When a question is asked that does not say so: after the last entry; None where no entry has a time."""
        times = [entry.occurred_at_ms for entry in self.entries if entry.occurred_at_ms is not None]
        return max(times) + PAUSE_MS if times else None


@dataclass(frozen=True, slots=True)
class Dataset:
    """What retrieval is measured with. `left_out` are questions that the file has and that nothing answers."""

    name: str
    collections: tuple[Collection, ...]
    left_out: int = 0

    @property
    def entry_count(self) -> int:
        """Memories of all collections that something is asked about."""
        return sum(len(collection.entries) for collection in self.asked)

    @property
    def question_count(self) -> int:
        """Questions of all collections."""
        return sum(len(collection.questions) for collection in self.collections)

    @property
    def asked(self) -> tuple[Collection, ...]:
        """The collections that something is asked about."""
        return tuple(collection for collection in self.collections if collection.questions)

    def sampled(self, count: int, *, seed: int = 0) -> Dataset:
        """At most `count` of the questions, drawn at random, the same for the same seed; all entries about them.

        >>> entries = (Entry("a", "tea"), Entry("b", "jam"))
        >>> questions = tuple(Question(f"{n}?", ("a",)) for n in range(5))
        >>> Dataset("d", (Collection("c", entries, questions),)).sampled(2).question_count
        2
        """
        places = [(i, j) for i, one in enumerate(self.collections) for j in range(len(one.questions))]
        if count >= len(places):
            return self
        chosen = set(random.Random(seed).sample(places, count))
        drawn = (
            replace(one, questions=tuple(asked for j, asked in enumerate(one.questions) if (i, j) in chosen))
            for i, one in enumerate(self.collections)
        )
        return replace(self, collections=tuple(one for one in drawn if one.questions))
