"""This package as a system of the simulation: `AgentMemory.open` on a file or a server, with a simulated clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.simulation.driving import Hit, Reference
from benchmarks.simulation.events import Say
from betterdb_agent_memory import AgentMemory, MemoryNotFoundError, MemoryOptions
from betterdb_agent_memory.dynamics.parameters import DynamicsParameters
from betterdb_agent_memory.embedders import Embedder
from betterdb_agent_memory.options import Retrieval, Scoring


@dataclass(frozen=True, slots=True)
class Way:
    """How a store is used: what recalls are ranked by, how candidates are found, how far from the question a memory may
    be, and below which strength a memory is forgotten each night (None: by the chain's parameter).

    A question is about five memories here, whatever their distance: the default ceiling of the embedder would leave out
    half of what is meant by questions that name things otherwise than the memory does.
    """

    scoring: Scoring
    retrieval: Retrieval = "hybrid"
    threshold: float = 2.0
    forget_below: float | None = None


class Ours:
    """A store through its public calls, each the one that the documentation has for the case.

    said           `remember` with kind, importance and entities
    corrected      `correct`, which puts the new memory in the place of the old one
    contradicted   `remember`, then `contradict`
    asked          `recall` with `scoring`, the words of the context beside the question; `standing` of the hits says
                   how far each is believed
    reaction       `dynamics.outcome` of the memories that the answer was made from
    every night    `dynamics.maintain`

    Hits are reinforced before a recall returns: by default they are within a second, and simulated hours pass in less.
    """

    def __init__(
        self,
        place: str | Path,
        way: Way,
        *,
        name: str = "dynamics",
        parameters: DynamicsParameters | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        memory = MemoryOptions(
            reinforcement="immediate", scoring=way.scoring, retrieval=way.retrieval, threshold=way.threshold
        )
        self._way = way
        self._now_ms = 0
        self._agent = AgentMemory.open(
            place, name=name, embedder=embedder, memory=memory, dynamics=parameters, clock=lambda: self._now_ms
        )
        self._loop = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.run(self._agent.close())
        self._loop.close()

    def advance(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def remember(self, said: Say) -> Reference:
        return self._loop.run(self._remember(said))

    def replace(self, said: Say, old: Reference) -> Reference:
        return self._loop.run(self._contradict(said, old) if said.how == "contradict" else self._correct(said, old))

    def recall(self, question: str, context: Sequence[str], k: int) -> Sequence[Hit]:
        return self._loop.run(self._recall(" ".join((question, *context)), k))

    def feedback(self, hits: Sequence[Hit], used: Sequence[Reference], value: float) -> None:
        self._loop.run(self._agent.dynamics.outcome(used, value))

    def night(self, day: int) -> None:
        self._loop.run(self._agent.dynamics.maintain(forget_below=self._way.forget_below))

    def size(self) -> tuple[int, int]:
        stats = self._loop.run(self._agent.dynamics.stats()).all
        return stats.memories, stats.memories - stats.layers["archive"]

    async def _remember(self, said: Say) -> Reference:
        return await self._agent.memory.remember(
            said.text,
            importance=said.importance,
            kind=said.kind,  # type: ignore[arg-type]
            entities=said.entities,
        )

    async def _correct(self, said: Say, old: Reference) -> Reference:
        try:
            return (await self._agent.memory.correct(old, said.text, importance=said.importance)).id
        except MemoryNotFoundError:  # forgotten meanwhile
            return await self._remember(said)

    async def _contradict(self, said: Say, old: Reference) -> Reference:
        new = await self._remember(said)
        try:
            await self._agent.memory.contradict(old, new)
        except MemoryNotFoundError:  # forgotten meanwhile: nothing is left to doubt
            return new
        return new

    async def _recall(self, asked: str, k: int) -> Sequence[Hit]:
        found = await self._agent.memory.recall(asked, k=k)
        standing = {one.id: one.confidence for one in await self._agent.dynamics.standing(found)}
        return [Hit(hit.item.id, standing[hit.item.id]) for hit in found]
