"""The vectors of one more model beside the memories: their records, their index, and keeping them in step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from betterdb_agent_memory.engines.base import Collection, Engine, Fence, Outcome, RecordChange, Records, RecordWrite
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import AgentMemoryError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.embedding import CheckedEmbedder
from betterdb_agent_memory.memory.generations.joined import MIRRORED, SCHEMA, Joined
from betterdb_agent_memory.memory.index import MemoryIndex
from betterdb_agent_memory.memory.spaces import VectorSpace
from betterdb_agent_memory.memory.turns import TURN_FIELDS, Window
from betterdb_agent_memory.memory.windows import embed_windows, read_around, windows_of

EMBEDDED = "embedded"
"""Says which texts the vector stands for: the content, of a turn also what was said before and after it."""

Standing: TypeAlias = Literal["closed", "open", "replacing", "replaced"]
"""What a generation is now: not there, filled or searched, on its way into the memories, or in them for good."""

_ATTEMPTS = 5

_IN_NO_NAME = ":\0"
"""No store's name holds it, so no key begins with what ends in it."""


def generation_collection(name: str, number: int) -> Collection:
    """Where generation `number` of the store called `name` lives: outside the memories' own prefix."""
    return Collection(key_prefix=f"{name}:gen{number}:", index_name=f"{name}:gen{number}:idx", schema=SCHEMA)


async def drop_generation(engine: Engine, name: str, number: int, fence: Fence) -> None:
    """Delete generation `number` of the store called `name`: its index, and its records.

    Others' keys below its prefix stay: a record is a generation's if it says what it stands for. In a file
    nobody else can have any. On a server one round trip per 1,000 keys of the database, twice where an index is there.

    Raises:
        LeaseLostError: somebody else has the lease of `fence`, and may be filling a generation of this number.
    """
    collection = generation_collection(name, number)
    records = engine.records(collection)
    if not engine.round_trips:
        await records.drop(fence=fence)
        return
    if (await records.inspect()).dimensions is not None:
        await engine.records(replace(collection, key_prefix=collection.index_name + _IN_NO_NAME)).drop(fence=fence)
    async for rows in records.scan((EMBEDDED,)):
        await records.delete_many([row.id for row in rows], fence=fence)


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a synchronisation did: vectors made, records written or removed, and ids it failed for."""

    embedded: int = 0
    written: int = 0
    failed: dict[str, AgentMemoryError] = field(default_factory=dict)


class Generation:
    """Generation `number` of a store: a vector of `embedder` for each memory.

    `standing` says what it is at the moment, and `is_closed` whether it is surely not there, without asking
    anybody. A worker without its embedder can still keep everything but new
    contents in step.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        number: int,
        memories: Records,
        embedder: CheckedEmbedder | None,
        *,
        standing: Callable[[], Awaitable[Standing]],
        is_closed: Callable[[], bool],
    ) -> None:
        collection = generation_collection(name, number)
        self.number = number
        self.is_closed = is_closed
        self.records = engine.records(collection)
        self.index = MemoryIndex(self.records, collection.index_name)
        self.joined = Joined(memories, self.records)
        self._engine = engine
        self._embedder = embedder
        self._memories = memories
        self._standing = standing

    @property
    def embedder(self) -> CheckedEmbedder | None:
        """What makes its vectors; None where this store has only other models."""
        return self._embedder

    @property
    def needs_fitting_index(self) -> bool:
        """Whether memories take only vectors of the length that their index is made for: so it is in a file. A
        server keeps any, out of the index.
        """
        return not self._engine.round_trips

    def space(self, otherwise: CheckedEmbedder) -> VectorSpace:
        """Recall through this generation; with `otherwise` where its embedder is not there."""
        return VectorSpace(self._embedder or otherwise, self.index, self.joined)

    async def sync(self, ids: Sequence[str]) -> SyncResult:
        """What follows each write of memories: their vectors of this model, wherever these belong by now.

        Nothing while the generation is not there. As `refresh` while it is. While it replaces the memories' own
        vectors, these are replaced, too; and for good where that ended between the beginning of the
        write and now, so that the former model's vector was written.
        """
        standing = await self._standing()
        if standing == "closed" or not ids:
            return SyncResult()
        if standing == "replaced":
            return await self._replace(ids)
        result = await self.refresh(ids)
        if await self._standing() == "replacing":
            await self.adopt(ids)
        return result

    async def refresh(self, ids: Sequence[str], *, fence: Fence | None = None) -> SyncResult:
        """Bring the vectors of these memories up to date, each with its expiry.

        A memory that is gone loses its vector. Only new or changed contents are embedded. Two round
        trips where nothing has changed, up to five otherwise, for at most a few hundred ids; repeated for memories
        that change meanwhile.

        Raises:
            LeaseLostError: somebody else has the lease of `fence` by then.
        """
        embedded = written = 0
        failed: dict[str, AgentMemoryError] = {}
        waiting = list(dict.fromkeys(ids))
        for _ in range(_ATTEMPTS):
            if not waiting:
                break
            once = await self._refresh_once(waiting, fence)
            embedded += once.result.embedded
            written += once.result.written
            failed |= once.result.failed
            waiting = once.overtaken
        return SyncResult(embedded, written, failed)

    async def adopt(self, ids: Sequence[str], *, fence: Fence | None = None) -> int:
        """Make this generation's vectors the own ones of these memories; how many were changed by others just then.

        None where they would be refused. A vector that was made of something else than the memory says by now is left
        out, and counted as well: whoever changed the memory makes it another one. Three round trips for at most a few
        hundred ids. Raises as `refresh`.
        """
        ids = list(dict.fromkeys(ids))
        around, mirrors, index = await asyncio.gather(
            read_around(self._memories, ids, fields=(*TURN_FIELDS, record.VECTOR)),
            self.records.read_many(ids, (record.VECTOR, EMBEDDED)),
            self._memories.inspect(),
        )
        windows = await windows_of(ids, around)
        changes, overtaken = [], 0
        for (id, (_, mark)), mirror in zip(windows.items(), mirrors, strict=True):
            memory = around[id] or {}
            if not mirror or record.VECTOR not in mirror or record.CONTENT not in memory:
                continue
            vector = mirror[record.VECTOR]
            is_fitting = not self.needs_fitting_index or len(vector) == 4 * (index.dimensions or 0)
            if mirror.get(EMBEDDED) != mark:
                # The two were not read at the same moment: one is of before a change, the other of after it.
                overtaken += 1
            elif is_fitting and vector != memory.get(record.VECTOR):
                # Changed meanwhile, it needs another vector: whoever changed it sees to that, too.
                expected = {record.CONTENT: memory[record.CONTENT]}
                changes.append(RecordChange(id, expected=expected, sets={record.VECTOR: vector}))
        outcomes = await self._memories.change_many(changes, fence=fence) if changes else []
        return sum(outcome is Outcome.REFUSED for outcome in outcomes) + overtaken

    async def _refresh_once(self, ids: Sequence[str], fence: Fence | None) -> _Once:
        seen = await self._look(ids)
        gone = [id for id, now in seen.items() if now.memory is None and now.mirror is not None]
        if gone:
            await self.records.delete_many(gone, fence=fence)
        behind = {id: now for id, now in seen.items() if now.memory is not None and now.is_behind}
        windows = {id: now.window for id, now in behind.items() if now.mirror_of != now.mark}
        made, failed = await self._embedded(windows)
        writes = [
            RecordWrite(id, now.mirrored(made.get(id)), expires_at_ms=now.expires_at_ms)
            for id, now in behind.items()
            if id in made or id not in windows
        ]
        # Embedding may have taken long: nothing is written into what was deleted meanwhile.
        if writes and await self._standing() in ("open", "replacing"):
            first = writes[0].fields[record.VECTOR]
            await self.index.ensure(len(first) // 4)
            await self.records.write_many(writes, fence=fence)
        overtaken = await self._overtaken({write.id: behind[write.id] for write in writes})
        return _Once(SyncResult(len(made), len(writes) + len(gone), failed), overtaken)

    async def _replace(self, ids: Sequence[str]) -> SyncResult:
        """Embed these memories anew and put the vectors straight into them."""
        around = await read_around(self._memories, ids, fields=(*TURN_FIELDS, record.VECTOR))
        there = {id: fields for id in ids if (fields := around[id]) and record.is_memory(fields)}
        windows = await windows_of(list(there), around)
        made, failed = await self._embedded({id: window for id, (window, _) in windows.items()})
        changes = [
            RecordChange(id, expected={record.CONTENT: there[id][record.CONTENT]}, sets={record.VECTOR: vector})
            for id, vector in made.items()
            if vector != there[id].get(record.VECTOR)
        ]
        if changes:
            await self._memories.change_many(changes)
        return SyncResult(len(made), len(changes), failed)

    async def _embedded(self, windows: dict[str, Window]) -> tuple[dict[str, bytes], dict[str, AgentMemoryError]]:
        """The vectors, and the errors of texts that could not be embedded. Neither without the embedder."""
        if self._embedder is None or not windows:
            return {}, {}
        vectors = await embed_windows(self._embedder, list(windows.values()), self._embedder.dimensions)
        made: dict[str, bytes] = {}
        failed: dict[str, AgentMemoryError] = {}
        for id, vector in zip(windows, vectors, strict=True):
            if isinstance(vector, bytes):
                made[id] = vector
            else:
                failed[id] = vector
        return made, failed

    async def _look(self, ids: Sequence[str]) -> dict[str, _Seen]:
        mirror_fields = (record.VECTOR, EMBEDDED, *MIRRORED)
        around, expiries, mirrors, mirror_expiries = await asyncio.gather(
            read_around(self._memories, ids, fields=_LOOKED_AT),
            self._memories.read_expiries(ids),
            self.records.read_many(ids, mirror_fields),
            self.records.read_expiries(ids),
        )
        windows = await windows_of(ids, around)
        return {
            id: _Seen(_memory_in(around[id]), *windows[id], expiry, mirror, mirror_expiry)
            for id, expiry, mirror, mirror_expiry in zip(ids, expiries, mirrors, mirror_expiries, strict=True)
        }

    async def _overtaken(self, written: dict[str, _Seen]) -> list[str]:
        """Memories that were changed, or whose window was, while their vector was made."""
        if not written:
            return []
        now = await read_around(self._memories, list(written), fields=_LOOKED_AT)
        windows = await windows_of(list(written), now)
        return [
            id for id, seen in written.items() if _memory_in(now[id]) != seen.memory or windows[id][0] != seen.window
        ]


_LOOKED_AT = tuple(dict.fromkeys((*TURN_FIELDS, record.VERSION, *MIRRORED)))


def _memory_in(fields: Fields | None) -> Fields | None:
    return fields if fields and record.is_memory(fields) else None


@dataclass(frozen=True, slots=True)
class _Once:
    result: SyncResult
    overtaken: list[str]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A memory and its mirror as they were read; `memory` None when it is gone. `mark` is that of `window`."""

    memory: Fields | None
    window: Window
    mark: bytes
    expires_at_ms: int | None
    mirror: Fields | None
    mirror_expires_at_ms: int | None

    @property
    def mirror_of(self) -> bytes | None:
        """The mark of the texts that the mirror's vector stands for."""
        return self.mirror.get(EMBEDDED) if self.mirror and record.VECTOR in self.mirror else None

    @property
    def is_behind(self) -> bool:
        return self.mirror_of is None or (
            self.mirrored(None) != self.mirror or self.expires_at_ms != self.mirror_expires_at_ms
        )

    def mirrored(self, vector: bytes | None) -> dict[str, bytes]:
        """The mirror as it should be, with `vector` or the one it has."""
        memory, mirror = self.memory or {}, self.mirror or {}
        kept = vector if vector is not None else mirror.get(record.VECTOR, b"")
        fields = {name: memory[name] for name in MIRRORED if name in memory}
        return {record.VECTOR: kept, EMBEDDED: self.mark, **fields}
