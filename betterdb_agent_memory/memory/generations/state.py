"""How far a change of the embedding model has come: a small map that every worker reads.

Kept under `{name}:__mem_generation`. A worker believes what it read for a second, so whoever moves on to the
next phase waits that long before relying on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from betterdb_agent_memory.engines.base import Values
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import ConfigurationError

Phase: TypeAlias = Literal["none", "filling", "ready", "switched", "finishing"]
"""`none`: one model. `filling`: the next model's vectors are being made. `ready`: all are there. `switched`: recall
uses them. `finishing`: they become the vectors of the memories themselves."""

STATE_SECONDS = 1.0
"""How long a worker believes the state that it has read while it has two embedders."""


@dataclass(frozen=True, slots=True)
class GenerationState:
    """What the map holds.

    `embedder` names the model of the vectors in the memories themselves (None where nobody noted it),
    `next_embedder` the one that generation `number` is made with, of `dimensions`. `position` is where filling
    goes on (a memory's cursor).
    """

    phase: Phase = "none"
    number: int = 0
    embedder: str | None = None
    next_embedder: str | None = None
    dimensions: int | None = None
    position: str | None = None

    def encoded(self) -> dict[str, bytes]:
        """The fields as stored; what is None is an empty text."""
        return {
            "phase": self.phase.encode(),
            "number": b"%d" % self.number,
            "embedder": (self.embedder or "").encode(),
            "next_embedder": (self.next_embedder or "").encode(),
            "dimensions": b"%d" % self.dimensions if self.dimensions else b"",
            "position": (self.position or "").encode(),
        }

    @classmethod
    def decoded(cls, key: str, fields: Fields) -> GenerationState:
        """The state in a map; an empty one means that no model was ever changed.

        Raises:
            ConfigurationError: it was written by hand, or by a later release.
        """
        phase = fields.get("phase", b"none").decode(errors="replace")
        for known in get_args(Phase):
            if phase == known:
                return cls(
                    phase=known,
                    number=int(fields.get("number") or 0),
                    embedder=fields.get("embedder", b"").decode() or None,
                    next_embedder=fields.get("next_embedder", b"").decode() or None,
                    dimensions=int(fields.get("dimensions") or 0) or None,
                    position=fields.get("position", b"").decode() or None,
                )
        raise ConfigurationError(f"{key} holds the phase {phase!r}, which this release does not know; upgrade it")


class StateKeeper:
    """Reads the state at most once in a while, and writes it."""

    def __init__(self, values: Values, key: str, *, seconds: float, now: Callable[[], float]) -> None:
        self._values = values
        self._key = key
        self._seconds = seconds
        self._now = now
        self._read_at: float | None = None
        self._state = GenerationState()

    async def current(self, *, look: bool = False) -> GenerationState:
        """The state. No round trip while the last reading is believed, else one."""
        began = self._now()
        if look or self._read_at is None or began - self._read_at > self._seconds:
            self._state = GenerationState.decoded(self._key, await self._values.read_map(self._key))
            self._read_at = began
        return self._state

    async def write(self, state: GenerationState) -> None:
        """Store the whole state. One round trip."""
        await self._values.write_map(self._key, state.encoded())
        self._state, self._read_at = state, self._now()

    async def note_embedder(self, name: str) -> None:
        """The memories' own vectors are made with `name`: said when their index is created."""
        await self._values.write_map(self._key, {"embedder": name.encode()})
        self._state = replace(self._state, embedder=name)
