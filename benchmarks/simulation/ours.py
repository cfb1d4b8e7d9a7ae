"""This package as a system of the simulation: `AgentMemory.open` on a file or a server, with a simulated clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.simulation.driving import Hit, Reference
from benchmarks.simulation.events import Say
from betterdb_agent_memory import AgentMemory, MemoryNotFoundError, MemoryOptions
from betterdb_agent_memory.memory.store import MemoryStore


class Ours:
    """A store with nothing set but the clock, and that hits are reinforced before a recall returns.

    (By default they are within a second; simulated hours pass in less.) A correction rewrites the memory in place,
    a contradiction is one more memory, words of the context are asked along, and feedback has no taker. A class with
    other ways of doing these overrides their methods. `recalling` are more arguments of each recall.
    """

    def __init__(
        self, place: str | Path, *, name: str = "dynamics", memory: MemoryOptions | None = None, **recalling: Any
    ) -> None:
        options = memory or MemoryOptions(reinforcement="immediate")
        self._now_ms = 0
        self._agent = AgentMemory.open(place, name=name, memory=options, clock=lambda: self._now_ms)
        self._recalling = recalling
        self._loop = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.run(self._agent.close())
        self._loop.close()

    @property
    def memory(self) -> MemoryStore:
        return self._agent.memory

    def advance(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def remember(self, said: Say) -> Reference:
        return self._loop.run(self.memory.remember(said.text, importance=said.importance, tags=[said.kind]))

    def replace(self, said: Say, old: Reference) -> Reference:
        if said.how == "contradict":
            return self.remember(said)
        try:
            self._loop.run(self.memory.update(old, content=said.text, importance=said.importance))
        except MemoryNotFoundError:
            return self.remember(said)
        return old

    def recall(self, question: str, context: Sequence[str], k: int) -> Sequence[Hit]:
        asked = " ".join((question, *context))
        found = self._loop.run(self.memory.recall(asked, k=k, **self._recalling))
        return [Hit(hit.item.id) for hit in found]

    def feedback(self, hits: Sequence[Hit], used: Sequence[Reference], value: float) -> None:
        """Nothing takes it."""

    def night(self, day: int) -> None:
        """Nothing is due: nothing fades, and no capacity is set."""

    def size(self) -> tuple[int, int]:
        count = self._loop.run(self.memory.stats()).item_count
        return count, count
