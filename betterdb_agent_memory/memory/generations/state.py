"""How far a change of the embedding model has come: a small map that every worker reads.

Kept under `{name}:__mem_generation`. A worker believes what it read for a while, so whoever moves on to the
next phase waits that long before relying on it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypeVar, get_args

from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.errors import ConfigurationError
from betterdb_agent_memory.leasing import HeldLease

Phase: TypeAlias = Literal["none", "filling", "ready", "switched", "finishing", "closing"]
"""`none`: one model. `filling`: the next model's vectors are being made. `ready`: all are there. `switched`: recall
uses them. `finishing`: they become the vectors of the memories themselves. `closing`: they are, and until every worker
has heard of it writes go to the generation, too."""

Rebuilding: TypeAlias = Literal["", "soon", "now"]
"""Whether the memories' own index is about to be made anew (`soon`), or is not to be searched (`now`)."""

_Word = TypeVar("_Word", bound=str)

STATE_SECONDS = 1.0
"""How long a worker believes the state that it has read while something is under way, or could be begun by
itself because it has two embedders."""

QUIET_SECONDS = 10.0
"""How long it does otherwise."""

SILENCE_SECONDS = 15.0
"""Whoever rebuilds an index says so every second; after this long without a word it has died."""


@dataclass(frozen=True, slots=True)
class GenerationState:
    """What the map holds.

    `embedder` names the model of the vectors in the memories themselves (None where nobody noted it),
    `next_embedder` the one that generation `number` is made with, of `dimensions`. `position` is where filling
    goes on (a memory's cursor). `started_at_ms` is when the generation was opened, by the clock of the worker that
    did. `finished` says that the memories' model was changed at least once. `rebuilding` was said at
    `rebuilding_at_ms`.
    """

    phase: Phase = "none"
    number: int = 0
    embedder: str | None = None
    next_embedder: str | None = None
    dimensions: int | None = None
    position: str | None = None
    started_at_ms: int = 0
    finished: bool = False
    rebuilding: Rebuilding = ""
    rebuilding_at_ms: int = 0

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way that the next second could change."""
        return self.phase == "none" and not self.rebuilding

    def encoded(self) -> dict[str, bytes]:
        """The fields as stored; what is None is an empty text. Rebuilding is told apart."""
        return {
            "phase": self.phase.encode(),
            "number": b"%d" % self.number,
            "embedder": (self.embedder or "").encode(),
            "next_embedder": (self.next_embedder or "").encode(),
            "dimensions": b"%d" % self.dimensions if self.dimensions else b"",
            "position": (self.position or "").encode(),
            "started_at": b"%d" % self.started_at_ms,
            "finished": b"1" if self.finished else b"",
        }

    @classmethod
    def decoded(cls, key: str, fields: Fields) -> GenerationState:
        """The state in a map; an empty one means that no model was ever changed.

        Raises:
            ConfigurationError: it was written by hand, or by a later release.
        """
        phases: tuple[Phase, ...] = get_args(Phase)
        stages: tuple[Rebuilding, ...] = get_args(Rebuilding)
        phase = _one_of(key, "phase", fields.get("phase", b"none"), phases)
        rebuilding = _one_of(key, "rebuilding", fields.get("rebuilding", b""), stages)
        try:
            return cls(
                phase=phase,
                number=int(fields.get("number") or 0),
                embedder=fields.get("embedder", b"").decode() or None,
                next_embedder=fields.get("next_embedder", b"").decode() or None,
                dimensions=int(fields.get("dimensions") or 0) or None,
                position=fields.get("position", b"").decode() or None,
                started_at_ms=int(fields.get("started_at") or 0),
                finished=bool(fields.get("finished")),
                rebuilding=rebuilding,
                rebuilding_at_ms=int(fields.get("rebuilding_at") or 0),
            )
        except ValueError as error:
            raise ConfigurationError(f"{key} cannot be read: {error}; no release of this library wrote that") from error


def _one_of(key: str, name: str, said: bytes, known: tuple[_Word, ...]) -> _Word:
    text = said.decode(errors="replace")
    for word in known:
        if word == text:
            return word
    raise ConfigurationError(f"{key} holds the {name} {text!r}, which this release does not know; upgrade it")


class StateKeeper:
    """Reads the state at most once in a while, and writes it."""

    def __init__(
        self,
        values: Values,
        key: str,
        *,
        quiet_seconds: float,
        now: Callable[[], float],
        on_read: Callable[[Mapping[str, bytes]], Awaitable[None]] | None = None,
    ) -> None:
        self.key = key
        self._values = values
        self._quiet_seconds = quiet_seconds
        self._now = now
        self._on_read = on_read
        self._read_at: float | None = None
        self._state = GenerationState()

    def believed(self) -> GenerationState | None:
        """The state while the last reading is believed, the same object until it changes; otherwise None."""
        if self._read_at is None:
            return None
        seconds = self._quiet_seconds if self._state.is_quiet else STATE_SECONDS
        return self._state if self._now() - self._read_at <= seconds else None

    async def current(self, *, look: bool = False) -> GenerationState:
        """The state. No round trip while the last reading is believed, else one."""
        believed = None if look else self.believed()
        if believed is not None:
            return believed
        began = self._now()
        fields = await self._values.read_map(self.key)
        if self._on_read is not None:
            # What else is noted in this map is read by every worker at no cost.
            await self._on_read(fields)
        read = GenerationState.decoded(self.key, fields)
        if read != self._state:
            self._state = read
        self._read_at = began
        return self._state

    async def write(self, state: GenerationState, lease: HeldLease) -> None:
        """Store all but what is told of rebuilding. One round trip.

        Raises:
            LeaseLostError: somebody else has the lease by then; so of every note that is made under one.
        """
        await lease.write_map(self.key, state.encoded())
        self._state, self._read_at = state, self._now()

    async def note_position(self, position: str, lease: HeldLease) -> None:
        """Filling has come to here. One round trip."""
        await lease.write_map(self.key, {"position": position.encode()})
        self._state = replace(self._state, position=position)

    async def note_phase(self, phase: Phase, lease: HeldLease) -> None:
        """Only the phase changes: what others note beside it stays. One round trip."""
        await lease.write_map(self.key, {"phase": phase.encode()})
        self._state = replace(self._state, phase=phase)

    async def note_embedder(self, name: str) -> None:
        """The memories' own vectors are made with `name`: said when their index is created. One round trip.

        Whoever creates it holds no lease, and may come late with that: what another one has said since stays.
        """
        seen = self._state.embedder
        batch = self._values.batch()
        if seen is not None:
            batch.remove_field_if(self.key, "embedder", seen.encode())
        noted = batch.add_field(self.key, "embedder", name.encode())
        await batch.send()
        if noted.result():
            self._state = replace(self._state, embedder=name)
        else:
            self._read_at = None

    async def note_rebuilding(self, rebuilding: Rebuilding, at_ms: int, lease: HeldLease) -> None:
        """Say that the memories' own index is being made anew, or is complete again. One round trip."""
        said_at = b"%d" % at_ms if rebuilding else b""
        await lease.write_map(self.key, {"rebuilding": rebuilding.encode(), "rebuilding_at": said_at})
        self._state = replace(self._state, rebuilding=rebuilding, rebuilding_at_ms=at_ms)
