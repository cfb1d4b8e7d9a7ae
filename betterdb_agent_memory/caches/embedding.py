"""Vectors by exact text: what was embedded before is not embedded again, by no worker.

A bound on the number of entries that holds across workers, without a counter and without a scan: there are
only `max_entries` keys, the slots `{name}:__embed:0` and up. A text may lie in two of them, which its hash
says (two-way set-associative, as in a processor's cache); a look-up reads both, and a vector is written to
the one that is free, or in place of another one. A slot says in its first bytes whose vector it holds.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.caches.deferred import DeferredWrites
from betterdb_agent_memory.caches.erasing import erase
from betterdb_agent_memory.caches.local_vectors import LocalVectors
from betterdb_agent_memory.caches.statistics import stats_key
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.embedders.base import VectorLike
from betterdb_agent_memory.embedders.cached import TextKind
from betterdb_agent_memory.embedders.vectors import checked_vector, decode_float32, encode_float32
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.values import Stored
from betterdb_agent_memory.errors import EmbeddingError, InvalidInputError

HITS: Final = "embedding:hits"
MISSES: Final = "embedding:misses"
_PAGE: Final = 80
"""Texts worked on at a time: what is asked about them is one round trip, and takes some milliseconds of the loop."""

_CHECKED_AT_A_TIME: Final = 20
"""Vectors: a list of 1,536 numbers takes 0.05 ms."""

_DIGEST_BYTES: Final = 32
_MAX_MODEL_BYTES: Final = 1_000
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class EmbeddingCacheStats:
    """Texts that were found and not found, by all workers, and what this process holds in memory."""

    hits: int
    misses: int
    local_entries: int
    local_bytes: int

    @property
    def hit_rate(self) -> float:
        """The part of the texts that was found, 0 to 1; 0 when none was asked for."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where the vector of one text may lie, and whose it is."""

    digest: bytes
    slots: tuple[int, int]


@dataclass(frozen=True, slots=True)
class EmbeddingLookup:
    """What is known about some texts: their vectors, and where the missing ones would be written."""

    vectors: list[NDArray[np.float32] | None]
    places: list[Place]
    chosen: list[int | None]
    """The slot to write to, None where the server was not asked."""

    taken: dict[int, bytes] = field(default_factory=dict)
    """Slots that hold, or are to hold, a vector of this look-up, and whose: it overwrites no other one of its own."""


def place_of(text: str, *, model: str, dimensions: int | None, kind: TextKind, slots: int) -> Place:
    """Where a vector belongs among `slots` (at least 2) of them. Texts that differ in a byte differ here."""
    told_apart = f"{len(model)}:{model}:{dimensions or 0}:{kind}:".encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(told_apart + text.encode("utf-8", "surrogatepass")).digest()
    first = int.from_bytes(digest[:8], "big") % slots
    second = int.from_bytes(digest[8:16], "big") % slots
    return Place(digest, (first, second if second != first else (first + 1) % slots))


def encode_entry(digest: bytes, vector: NDArray[np.float32]) -> bytes:
    """What a slot holds: 32 bytes that say whose vector it is, then float32 little-endian."""
    return digest + encode_float32(vector)


def decode_entry(digest: bytes, stored: bytes | None, dimensions: int | None) -> NDArray[np.float32] | None:
    """The vector, if the slot holds this one and it can be used.

    Raises:
        EmbeddingError: it should hold this one, and what it holds is none.
    """
    if stored is None or stored[:_DIGEST_BYTES] != digest:
        return None
    vector = checked_vector(decode_float32(stored[_DIGEST_BYTES:]), dimensions=dimensions)
    vector.setflags(write=False)  # it is handed out again and again
    return vector


class EmbeddingCache:
    """Vectors of texts, shared by all workers of one name: at most `max_entries`, for `ttl_seconds` each.

    Vectors asked for lately are held in this process as well, up to `local_bytes` and five minutes and never
    longer than they are kept, and cost no round trip. `model` is the embedder's name: vectors of two models, of
    two lengths, or of a question and a stored text, are never taken for each other.
    """

    def __init__(
        self,
        name: str,
        *,
        engine: Engine,
        watch: CacheWatch,
        deferred: DeferredWrites,
        ttl_seconds: int | None,
        max_entries: int,
        local_bytes: int = 0,
    ) -> None:
        self._prefix = f"{name}:__embed:"
        self._stats_key = stats_key(name)
        self._values = engine.values
        self._watch = watch
        self._deferred = deferred
        self._ttl_seconds = ttl_seconds
        self._slots = max_entries
        self._local = LocalVectors(local_bytes)

    async def get_many(
        self, texts: Sequence[str], *, model: str, dimensions: int | None = None, kind: TextKind = "query"
    ) -> list[NDArray[np.float32] | None]:
        """For each text its vector, None where there is none. One round trip per 80 texts, none for recent ones.

        Vectors are read-only and shared. A vector of another length than `dimensions` counts as none.
        """
        return (await self.look_up(texts, model=model, dimensions=dimensions, kind=kind)).vectors

    async def put_many(
        self, vectors: Mapping[str, VectorLike], *, model: str, dimensions: int | None = None, kind: TextKind = "query"
    ) -> None:
        """Keep the vectors of these texts. Two round trips per 80 texts.

        Raises:
            InvalidInputError: a vector is none that can be searched with; nothing was written.
        """
        places = await self._places(list(vectors), model, dimensions, kind)
        checked = [
            checked_vector(vector, dimensions=dimensions, error=InvalidInputError)
            async for page in _pages(list(vectors.values()), _CHECKED_AT_A_TIME)
            for vector in page
        ]
        lookup = EmbeddingLookup([None] * len(places), places, [None] * len(places))
        async for page in _pages(range(len(places))):
            await self._read(lookup, page, dimensions)
            # What is kept already is written all the same: the caller says what it is now.
            await self.keep(lookup, {number: checked[number] for number in page})

    async def look_up(
        self, texts: Sequence[str], *, model: str, dimensions: int | None, kind: TextKind
    ) -> EmbeddingLookup:
        """The vectors there are, and where `keep` puts the others. One round trip per 80 texts, or none."""
        places = await self._places(texts, model, dimensions, kind)
        lookup = EmbeddingLookup([self._local.get(place.digest) for place in places], places, [None] * len(places))
        unknown = [number for number, vector in enumerate(lookup.vectors) if vector is None]
        async for page in _pages(unknown):
            await self._read(lookup, page, dimensions)
        misses = sum(vector is None for vector in lookup.vectors)
        self._count(len(places) - misses, misses)
        return lookup

    async def keep(self, lookup: EmbeddingLookup, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        """Keep vectors by their place in a look-up. One round trip per 80."""
        async for page in _pages(list(vectors.items())):
            await self._keep(lookup, page)

    async def keep_later(self, lookup: EmbeddingLookup, number: int, vector: NDArray[np.float32]) -> None:
        """Keep one vector: found here at once, by other workers within a second. No round trip, unless 1,000 wait.

        It is written with the counts, at the latest when they are at close; a process that is killed loses it.
        """
        key, entry = self._entry(lookup, number, vector)
        if not self._deferred.set(key, entry, self._ttl_seconds, on_failure=self.failed):
            await self._keep(lookup, [(number, vector)])

    async def _keep(self, lookup: EmbeddingLookup, vectors: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
        batch = self._values.batch()
        written = []
        for number, vector in vectors:
            key, entry = self._entry(lookup, number, vector)
            self._deferred.forget(key)
            written.append(batch.set(key, entry, ttl_seconds=self._ttl_seconds))
        await batch.send()
        for reply in written:
            reply.result()

    def _entry(self, lookup: EmbeddingLookup, number: int, vector: NDArray[np.float32]) -> tuple[str, bytes]:
        """The key and the value of a vector, which is held in memory as well."""
        place, slot = lookup.places[number], lookup.chosen[number]
        shared = vector.copy()
        shared.setflags(write=False)
        until_seconds = self._local.now_seconds() + (math.inf if self._ttl_seconds is None else self._ttl_seconds)
        self._local.put(place.digest, shared, until_seconds=until_seconds)
        return self._key(place.slots[0] if slot is None else slot), encode_entry(place.digest, vector)

    async def clear(self) -> int:
        """Delete all vectors, of all models; how many there were. A scan: its cost follows the whole key space.

        Other processes may use what they hold in memory for five minutes more.
        """
        self._local.clear()
        await self._deferred.drop_values(self._prefix)
        return await erase(self._values, self._prefix)

    async def stats(self) -> EmbeddingCacheStats:
        """Hits and misses of all workers, and what is held here. At most two round trips."""
        await self._deferred.flush()
        batch = self._values.batch()
        reply = batch.read_fields(self._stats_key, [HITS, MISSES])
        await batch.send()
        fields = reply.result()
        return EmbeddingCacheStats(
            hits=_count(fields.get(HITS)),
            misses=_count(fields.get(MISSES)),
            local_entries=len(self._local),
            local_bytes=self._local.bytes,
        )

    def failed(self) -> None:
        """Count that the cache could not be asked, or could not keep something."""
        self._watch.background_failed("embedding")

    def forget_local(self) -> None:
        """Drop what this process holds in memory."""
        self._local.clear()

    async def _places(self, texts: Sequence[str], model: str, dimensions: int | None, kind: TextKind) -> list[Place]:
        _refuse_what_cannot_be_asked(texts, model, kind)
        return [
            place_of(text, model=model, dimensions=dimensions, kind=kind, slots=self._slots)
            async for page in _pages(texts)
            for text in page
        ]

    async def _read(self, lookup: EmbeddingLookup, numbers: Sequence[int], dimensions: int | None) -> None:
        batch = self._values.batch()
        asked = [
            (
                number,
                [
                    (slot, self._pending(self._key(slot)), batch.get_with_expiry(self._key(slot)))
                    for slot in lookup.places[number].slots
                ],
            )
            for number in numbers
        ]
        asked_at_seconds = self._local.now_seconds()
        await batch.send()
        answers = [
            (number, [(slot, pending or reply.result()) for slot, pending, reply in both]) for number, both in asked
        ]
        for number, stored in answers:
            digest = lookup.places[number].digest
            own = _own_slot(digest, stored)
            if own is not None:
                lookup.chosen[number] = own
                lookup.taken.setdefault(own, digest)
                lookup.vectors[number] = self._usable(digest, stored, dimensions, asked_at_seconds)
        for number, stored in answers:
            if lookup.chosen[number] is None:
                lookup.chosen[number] = _slot_to_write(lookup.places[number].digest, stored, lookup.taken)

    def _usable(
        self,
        digest: bytes,
        stored: Sequence[tuple[int, Stored | None]],
        dimensions: int | None,
        asked_at_seconds: float,
    ) -> NDArray[np.float32] | None:
        for _, value in stored:
            if value is None:
                continue
            try:
                vector = decode_entry(digest, value.value, dimensions)
            except EmbeddingError:
                self._watch.corrupt("embedding")
            else:
                if vector is not None:
                    left_seconds = math.inf if value.left_ms is None else value.left_ms / 1000
                    self._local.put(digest, vector, until_seconds=asked_at_seconds + left_seconds)
                    return vector
        return None

    def _pending(self, key: str) -> Stored | None:
        """What this process is about to write there, which counts as written."""
        value = self._deferred.pending_value(key)
        if value is None:
            return None
        left_ms = None if self._ttl_seconds is None else self._ttl_seconds * 1000
        return Stored(value, expires_at_ms=None, left_ms=left_ms)

    def _key(self, slot: int) -> str:
        return f"{self._prefix}{slot}"

    def _count(self, hits: int, misses: int) -> None:
        self._watch.embedding_lookup(hits=hits, misses=misses)
        for counter, amount in ((HITS, hits), (MISSES, misses)):
            if amount:
                self._deferred.count(counter, amount)


def _refuse_what_cannot_be_asked(texts: object, model: object, kind: object) -> None:
    if not isinstance(model, str) or not 0 < _utf8_bytes(model) <= _MAX_MODEL_BYTES:
        raise InvalidInputError(
            f"model must be the embedder's name, a text of 1 to 1,000 bytes of UTF-8, got {model!r:.80}"
        )
    is_list = isinstance(texts, Sequence) and not isinstance(texts, str)
    if not is_list or not all(isinstance(text, str) for text in texts):  # type: ignore[attr-defined]
        raise InvalidInputError(f"texts must be a list of texts, got {texts!r:.80}")
    if kind not in ("query", "document"):
        raise InvalidInputError(f"kind must be 'query' or 'document', got {kind!r:.80}")


def _utf8_bytes(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 0


async def _pages(rows: Sequence[_T], size: int = _PAGE) -> AsyncIterator[Sequence[_T]]:
    """Rows a page at a time; other tasks run in between."""
    for start in range(0, len(rows), size):
        if start:
            await asyncio.sleep(0)
        yield rows[start : start + size]


def _own_slot(digest: bytes, stored: Sequence[tuple[int, Stored | None]]) -> int | None:
    return next(
        (slot for slot, value in stored if value is not None and value.value[:_DIGEST_BYTES] == digest),
        None,
    )


def _slot_to_write(digest: bytes, stored: Sequence[tuple[int, Stored | None]], taken: dict[int, bytes]) -> int:
    """Where a text without a slot of its own goes: a free one, else any, which of two is left to chance.

    One that is `taken` by another text of the same look-up only where both are.
    """
    for slot, _ in stored:
        if taken.get(slot) == digest:  # the same text a second time
            return slot
    left = [(slot, value) for slot, value in stored if slot not in taken]
    free = [slot for slot, value in left if value is None]
    slot = free[0] if free else random.choice(left or stored)[0]
    taken[slot] = digest
    return slot


def _count(value: bytes | None) -> int:
    return int(value) if value is not None and value.isdigit() else 0
