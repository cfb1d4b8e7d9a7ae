"""The vectors of one more model beside the memories: their records, their index, and keeping them in step."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from betterdb_agent_memory.engines.base import (
    Collection,
    Engine,
    Expected,
    IndexSchema,
    Neighbour,
    Neighbours,
    Page,
    Position,
    Records,
    RecordWrite,
    Row,
)
from betterdb_agent_memory.engines.filters import Clause, Fields, Filter, IdIn, leaves
from betterdb_agent_memory.errors import AgentMemoryError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.embedding import CheckedEmbedder
from betterdb_agent_memory.memory.index import MemoryIndex
from betterdb_agent_memory.memory.spaces import VectorSpace

EMBEDDED = "embedded"
"""Says which content the vector stands for, without holding it."""

_MIRRORED = (
    record.THREAD,
    record.AGENT,
    record.NAMESPACE,
    record.TAGS,
    record.SOURCE,
    record.IMPORTANCE,
    record.CREATED_AT,
    record.SUBJECT,
    record.OCCURRED_AT,
)
"""What searches narrow by and what reinforcement does not change."""

_SCHEMA = IndexSchema(
    vector_field=record.VECTOR,
    shared=tuple(
        schema_field
        for schema_field in (*record.MEMORY_SCHEMA.shared, *record.MEMORY_SCHEMA.own)
        if schema_field.name in _MIRRORED
    ),
)
_ATTEMPTS = 5


def generation_collection(name: str, number: int) -> Collection:
    """Where generation `number` of the store called `name` lives: outside the memories' own prefix."""
    return Collection(key_prefix=f"{name}:gen{number}:", index_name=f"{name}:gen{number}:idx", schema=_SCHEMA)


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a synchronisation did: vectors made, records written or removed, and ids it failed for."""

    embedded: int = 0
    written: int = 0
    failed: dict[str, AgentMemoryError] = field(default_factory=dict)


class Generation:
    """Generation `number` of a store: a vector of `embedder` for each memory."""

    def __init__(self, engine: Engine, name: str, number: int, memories: Records, embedder: CheckedEmbedder) -> None:
        collection = generation_collection(name, number)
        self.number = number
        self.embedder = embedder
        self.records = engine.records(collection)
        self.index = MemoryIndex(self.records, collection.index_name)
        self._memories = memories

    @property
    def space(self) -> VectorSpace:
        """Recall through this generation."""
        return VectorSpace(self.embedder, self.index, _Joined(self._memories, self.records))

    async def sync(self, ids: Sequence[str]) -> SyncResult:
        """Bring the vectors of these memories up to date, each with its expiry.

        A memory that is gone loses its vector. Only new or changed contents are embedded. Two round
        trips where nothing has changed, up to five otherwise, for at most a few hundred ids; repeated for memories
        that change meanwhile.
        """
        embedded = written = 0
        failed: dict[str, AgentMemoryError] = {}
        waiting = list(dict.fromkeys(ids))
        for _ in range(_ATTEMPTS):
            if not waiting:
                break
            once = await self._sync_once(waiting)
            embedded += once.result.embedded
            written += once.result.written
            failed |= once.result.failed
            waiting = once.overtaken
        return SyncResult(embedded, written, failed)

    async def _sync_once(self, ids: Sequence[str]) -> _Once:
        seen = await self._look(ids)
        gone = [id for id, now in seen.items() if now.memory is None and now.mirror is not None]
        if gone:
            await self.records.delete_many(gone)
        behind = {id: now for id, now in seen.items() if now.memory is not None and now.is_behind}
        texts = {id: now.content for id, now in behind.items() if now.mirror_of != now.content_mark}
        dimensions = await self.index.find(self.embedder.dimensions)
        vectors = await self.embedder.embed_each(list(texts.values()), dimensions)
        failed: dict[str, AgentMemoryError] = {}
        made: dict[str, bytes] = {}
        for id, vector in zip(texts, vectors, strict=True):
            if isinstance(vector, bytes):
                made[id] = vector
            else:
                failed[id] = vector
        writes = [
            RecordWrite(id, now.mirrored(made.get(id)), expires_at_ms=now.expires_at_ms)
            for id, now in behind.items()
            if id not in failed
        ]
        if writes:
            first = writes[0].fields[record.VECTOR]
            await self.index.ensure(len(first) // 4)
            await self.records.write_many(writes)
        overtaken = await self._overtaken({write.id: behind[write.id] for write in writes})
        return _Once(SyncResult(len(made), len(writes) + len(gone), failed), overtaken)

    async def _look(self, ids: Sequence[str]) -> dict[str, _Seen]:
        mirror_fields = (record.VECTOR, EMBEDDED, *_MIRRORED)
        memories, expiries, mirrors, mirror_expiries = await asyncio.gather(
            self._memories.read_many(ids, (record.CONTENT, record.VERSION, *_MIRRORED)),
            self._memories.read_expiries(ids),
            self.records.read_many(ids, mirror_fields),
            self.records.read_expiries(ids),
        )
        return {
            id: _Seen(memory if memory and record.is_memory(memory) else None, expiry, mirror, mirror_expiry)
            for id, memory, expiry, mirror, mirror_expiry in zip(
                ids, memories, expiries, mirrors, mirror_expiries, strict=True
            )
        }

    async def _overtaken(self, written: dict[str, _Seen]) -> list[str]:
        """Memories that were changed while their vector was made."""
        if not written:
            return []
        now = await self._memories.read_many(list(written), (record.CONTENT, *_MIRRORED, record.VERSION))
        return [id for (id, seen), memory in zip(written.items(), now, strict=True) if memory != seen.memory]


@dataclass(frozen=True, slots=True)
class _Once:
    result: SyncResult
    overtaken: list[str]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A memory and its mirror as they were read; `memory` None when it is gone."""

    memory: Fields | None
    expires_at_ms: int | None
    mirror: Fields | None
    mirror_expires_at_ms: int | None

    @property
    def content(self) -> str:
        content = self.memory[record.CONTENT] if self.memory else b""
        return content.decode(errors="replace")

    @property
    def content_mark(self) -> bytes:
        return hashlib.sha256(self.content.encode()).hexdigest()[:32].encode()

    @property
    def mirror_of(self) -> bytes | None:
        """The mark of the content that the mirror's vector stands for."""
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
        fields = {name: memory[name] for name in _MIRRORED if name in memory}
        return {record.VECTOR: kept, EMBEDDED: self.content_mark, **fields}


class _Joined:
    """The memories, found through the generation's records and index."""

    def __init__(self, memories: Records, generation: Records) -> None:
        self._memories = memories
        self._generation = generation

    @property
    def max_neighbours(self) -> int:
        return self._generation.max_neighbours

    async def nearest(self, vector: bytes, *, count: int, filter: Filter, fields: Sequence[str]) -> Neighbours:
        """Two round trips: the generation's index, then the memories it names. A memory that is gone is left out."""
        narrowed = _narrowed(filter)
        near = await self._generation.nearest(vector, count=count, filter=narrowed, fields=narrowed.field_names)
        memories = await self._memories.read_many([row.id for row in near], fields)
        rows = [Neighbour(row.id, row.distance, memory) for row, memory in zip(near, memories, strict=True) if memory]
        return Neighbours(rows, exhausted=near.exhausted)

    async def select(
        self,
        filter: Filter,
        *,
        fields: Sequence[str],
        limit: int,
        offset: int = 0,
        order_by: str | None = None,
        descending: bool = False,
    ) -> Page:
        narrowed = _narrowed(filter)
        page = await self._generation.select(
            narrowed,
            fields=narrowed.field_names,
            limit=limit,
            offset=offset,
            order_by=order_by,
            descending=descending,
        )
        return Page(await self._memories_of(page.rows, fields), page.total, page.scanned)

    async def read_many(self, ids: Sequence[str], fields: Sequence[str]) -> list[Fields | None]:
        if tuple(fields) == (record.VECTOR,):
            return await self._generation.read_many(ids, fields)
        return await self._memories.read_many(ids, fields)

    async def delete_many(self, ids: Sequence[str], *, expected: Sequence[Expected] | None = None) -> list[bool]:
        deleted = await self._memories.delete_many(ids, expected=expected)
        await self._generation.delete_many([id for id, gone in zip(ids, deleted, strict=True) if gone])
        return deleted

    async def count(self, filter: Filter) -> int:
        """Row by row: what is gone or has changed since is not counted. One round trip per 500 and page."""
        return sum([len(rows) async for rows in self.walk(filter, fields=filter.field_names)])

    async def walk(
        self, filter: Filter, *, fields: Sequence[str], after: Position | None = None, page_size: int = 1000
    ) -> AsyncIterator[tuple[Row, ...]]:
        narrowed = _narrowed(filter)
        wanted = tuple(dict.fromkeys((record.CONTENT, *fields, *filter.field_names)))
        pages = self._generation.walk(narrowed, fields=narrowed.field_names, after=after, page_size=page_size)
        async for rows in pages:
            memories = await self._memories_of(rows, wanted)
            kept = tuple(row for row in memories if filter.accepts(row.id, row.fields))
            if kept:
                yield kept

    async def _memories_of(self, rows: Sequence[Row], fields: Sequence[str]) -> tuple[Row, ...]:
        memories = await self._memories.read_many([row.id for row in rows], fields) if rows else []
        return tuple(Row(row.id, memory) for row, memory in zip(rows, memories, strict=True) if memory)


def _narrowed(filter: Filter) -> Filter:
    """As much of a filter as the generation's records can tell."""
    return Filter(tuple(clause for clause in filter.clauses if _is_mirrored(clause)))


def _is_mirrored(clause: Clause) -> bool:
    return all(isinstance(leaf, IdIn) or leaf.field in _MIRRORED for leaf in leaves(clause))
