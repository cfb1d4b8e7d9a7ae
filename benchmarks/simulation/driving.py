"""A system lives through the events of a simulated life. Standard library only: peers run this in their own place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol, TypeAlias

from benchmarks.simulation.events import Answers, Ask, Event, Found, Night, Say, Size

K = 5
"""Memories that each recall asks for."""

Reference: TypeAlias = str
"""What a system calls a memory."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A recalled memory; `confidence` is how likely it is right, 0 to 1, or None where a system does not say."""

    reference: Reference
    confidence: float | None = None


class System(Protocol):
    """What the simulation asks of a memory. Every call comes at a simulated time, told by `advance` before it."""

    def advance(self, now_ms: int) -> None:
        """It is `now_ms` (since the epoch); never earlier than before."""

    def remember(self, said: Say) -> Reference:
        """Store what was said; nothing is known of what it may replace."""

    def replace(self, said: Say, old: Reference) -> Reference:
        """Store what was said in place of `old`, as `said.how` has it: "correct" or "contradict"."""

    def recall(self, question: str, context: Sequence[str], k: int) -> Sequence[Hit]:
        """The `k` memories that are likeliest needed, best first."""

    def feedback(self, hits: Sequence[Hit], used: Sequence[Reference], value: float) -> None:
        """The user's reaction to an answer made from `used`, among the `hits` of the latest recall: 1 or -1."""

    def night(self, day: int) -> None:
        """Daily maintenance."""

    def size(self) -> tuple[int, int]:
        """Memories held, and those of them that are not archived."""


def drive(system: System, events: Iterable[Event]) -> Answers:
    """Tell `system` all `events` in order; what it answered.

    The reaction to an answer depends on the answer: pleased if a needed memory is among the hits, and then
    those are the ones used; displeased if not, and then the first hit was used. Where the user is not honest
    it is the other way round.
    """
    driven = _Driven(system)
    for event in events:
        system.advance(event.at_ms)
        match event:
            case Say():
                driven.say(event)
            case Ask():
                driven.ask(event)
            case Night():
                driven.night(event)
    return Answers(driven.hits, driven.sizes, driven.recall_seconds, driven.maintenance_seconds)


class _Driven:
    """Which memory of the system holds which statement, and what has been answered so far."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._references: dict[str, Reference] = {}
        self._statements: dict[Reference, str] = {}
        self.hits: dict[str, list[Found]] = {}
        self.sizes: list[Size] = []
        self.recall_seconds = 0.0
        self.maintenance_seconds = 0.0

    def say(self, said: Say) -> None:
        old = None if said.replaces is None else self._references[said.replaces]
        reference = self._system.remember(said) if old is None else self._system.replace(said, old)
        # A memory that was rewritten in place holds the later statement.
        self._references[said.id] = reference
        self._statements[reference] = said.id

    def ask(self, asked: Ask) -> None:
        begun = perf_counter()
        hits = self._system.recall(asked.question, asked.context, K)
        self.recall_seconds += perf_counter() - begun
        self.hits[asked.id] = [Found(self._statements[hit.reference], hit.confidence) for hit in hits]
        if not asked.feedback or not hits:
            return
        needed = set(asked.needed)
        helped = [hit.reference for hit in hits if self._statements[hit.reference] in needed]
        pleased = bool(helped) == asked.honest
        self._system.feedback(hits, helped or [hits[0].reference], 1.0 if pleased else -1.0)

    def night(self, night: Night) -> None:
        begun = perf_counter()
        self._system.night(night.day)
        self.maintenance_seconds += perf_counter() - begun
        self.sizes.append(Size(night.day, *self._system.size()))
