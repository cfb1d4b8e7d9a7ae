"""Finding, judging and writing the entry of one request to a language model."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from betterdb_agent_memory.caches.canonical import json_value
from betterdb_agent_memory.caches.entries import LlmEntry, decode_llm, encode_llm, text_of
from betterdb_agent_memory.caches.erasing import delete_entries, hashed_keys
from betterdb_agent_memory.caches.keys import CacheKey, ignored_parameters, is_large, llm_key, llm_prefix
from betterdb_agent_memory.caches.pricing import Prices
from betterdb_agent_memory.caches.results import LlmAnswer, LlmCacheResult, Origin, checked_ttl
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.errors import EngineError, InvalidInputError
from betterdb_agent_memory.options import MAX_TTL_SECONDS

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """A request: its model, where its answer is kept, and the key of the lease for fetching it.

    `ignored` are its parameters that do not take part in the key.
    """

    model: str
    key: CacheKey
    flight_key: str
    ignored: tuple[str, ...]

    @classmethod
    def of(cls, name: str, params: object, *, complete: bool) -> Request:
        """The request of the cache `name`.

        The lease lies beside the prefix of the answers, so that nobody's scan takes it for one.

        Raises:
            InvalidInputError: `params` cannot be a request.
        """
        # An object with such members will do as well.
        given: Any = params if isinstance(params, Mapping) else json_value(params, root="params")
        key = llm_key(name, given, complete=complete)
        return cls(
            model=str.__str__(given["model"]),
            key=key,
            flight_key=f"{name}:__llm_flight:{key.shared.removeprefix(llm_prefix(name))}",
            ignored=() if complete else ignored_parameters(given),
        )


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long an answer is kept, and how much longer to be handed out while a new one is fetched.

    `ttl_seconds` None is for ever, `stale_seconds` None refuses what is stale.
    """

    ttl_seconds: int | None
    stale_seconds: int | None = None

    @classmethod
    def checked(cls, ttl: int | None, stale_seconds: int | None, default_ttl: int | None) -> Keeping:
        """What the arguments of a call come to.

        Raises:
            InvalidInputError: one of them is no such number, or there is no TTL to be stale after.
        """
        ttl = default_ttl if ttl is None else checked_ttl("ttl", ttl)
        stale_seconds = checked_ttl("stale_seconds", stale_seconds)
        if stale_seconds is not None and ttl is None:
            raise InvalidInputError(
                f"stale_seconds={stale_seconds} needs a ttl: without one an answer never expires and is never stale"
            )
        if stale_seconds is not None and ttl is not None and ttl + stale_seconds > MAX_TTL_SECONDS:
            raise InvalidInputError(
                f"ttl={ttl} and stale_seconds={stale_seconds} must not be more than {MAX_TTL_SECONDS} together"
            )
        return cls(ttl, stale_seconds)

    def origin(self, entry: LlmEntry, now_ms: int) -> Origin | None:
        """How an entry may be used; None for one whose time is up where nothing stale is taken."""
        until_ms = entry.fresh_until_ms
        # An entry that says nothing itself, of another writer for example, is judged by our own TTL.
        if until_ms is None and self.stale_seconds and self.ttl_seconds and entry.stored_at_ms is not None:
            until_ms = entry.stored_at_ms + 1000 * self.ttl_seconds
        if until_ms is None or now_ms < until_ms:
            return "cache"
        return "stale" if self.stale_seconds else None


ANYTHING: Final = Keeping(None, stale_seconds=1)
"""Takes whatever is there."""


class Found(NamedTuple):
    """An entry as it was read. One that several callers get is decoded anew for each (`again`), so that
    none of them changes another's blocks.
    """

    key: str
    raw: bytes
    entry: LlmEntry
    origin: Origin
    is_kept: bool = True

    def again(self, origin: Origin) -> Found:
        """The same for another caller."""
        return self._replace(entry=decode_llm(self.raw) or self.entry, origin=origin)

    def result(self, now_ms: int) -> LlmCacheResult:
        """The answer for a caller."""
        return self.entry.result(self.key, self.origin, now_ms)


class AnswerShelf:
    """The entries of one cache, on an engine."""

    def __init__(self, name: str, *, values: Values, watch: CacheWatch, prices: Prices, clock: Clock) -> None:
        self._prefix = llm_prefix(name)
        self._values = values
        self._watch = watch
        self._prices = prices
        self._clock = clock

    async def find(self, key: CacheKey, keeping: Keeping) -> tuple[Found | None, bool]:
        """The entry, and whether there was one that could not be read; that is deleted.

        One round trip, one more to delete. The shared key goes before the published Python package's.
        """
        batch = self._values.batch()
        replies = [(name, batch.get(name)) for name in (key.shared, key.python) if name is not None]
        await batch.send()
        corrupt: dict[str, bytes] = {}
        for name, reply in replies:
            raw = reply.result()
            entry = decode_llm(raw) if raw else None
            if raw and entry is None:
                corrupt[name] = raw
            elif raw and entry is not None and (origin := keeping.origin(entry, self._clock())) is not None:
                return Found(name, raw, entry, origin), False
        if corrupt:
            await self._delete_corrupt(corrupt)
        return None, bool(corrupt)

    async def entry(self, model: str, answer: LlmAnswer) -> LlmEntry:
        """The entry of a new answer, priced. No round trip."""
        stored_at_ms = self._clock()
        blocks = answer.content_blocks
        return LlmEntry(
            response=answer.response if blocks is None else text_of(blocks),
            content_blocks=blocks,
            model=model,
            stored_at_ms=stored_at_ms,
            tokens=answer.tokens,
            cost=await self._prices.cost(model, answer.tokens, at_ms=stored_at_ms),
        )

    async def write(self, key: str, entry: LlmEntry, keeping: Keeping) -> None:
        """Store an entry. One round trip."""
        ttl = kept_seconds = keeping.ttl_seconds
        if keeping.stale_seconds and ttl is not None and entry.stored_at_ms is not None:
            entry = replace(entry, fresh_until_ms=entry.stored_at_ms + 1000 * ttl)
            # An answer that asks for a longer TTL itself is paid for by now: nothing is refused any more.
            kept_seconds = min(ttl + keeping.stale_seconds, MAX_TTL_SECONDS)
        raw = await encoded(entry)
        with (
            self._watch.llm_store(key, entry.model, kept_seconds)
            if entry.content_blocks is None
            else self._watch.llm_store_multipart(key, entry.model, kept_seconds, len(entry.content_blocks))
        ) as stored:
            await self._values.set(key, raw, ttl_seconds=kept_seconds)
            stored.bytes(len(raw))

    async def delete_model(self, model: str) -> int:
        """Delete the entries of one model that are not written anew meanwhile; how many there were."""
        deleted = 0
        async for keys in hashed_keys(self._values, self._prefix):
            reading = self._values.batch()
            replies = [(key, reading.get(key)) for key in keys]
            await reading.send()
            of_model = {
                key: raw
                for key, reply in replies
                if (raw := reply.result()) and (entry := decode_llm(raw)) and entry.model == model
            }
            deleted += await delete_entries(self._values, of_model)
        return deleted

    async def delete_all(self) -> int:
        """Delete all entries; how many there were."""
        deleted = 0
        async for keys in hashed_keys(self._values, self._prefix):
            deleted += await delete_entries(self._values, dict.fromkeys(keys))
        return deleted

    async def _delete_corrupt(self, entries: Mapping[str, bytes]) -> None:
        try:
            await delete_entries(self._values, entries)
        except EngineError as error:
            self._watch.background_failed("corrupt")
            _log.warning("an unreadable entry under %s could not be deleted: %s", next(iter(entries)), error)


async def encoded(entry: LlmEntry) -> bytes:
    """The stored bytes. Those of a large answer are made in a thread, since spelling numbers holds the loop for long.

    Reading them back is one call of C code, in which no other thread runs: it gains nothing by that.

    Raises:
        InvalidInputError: a content block holds something that has no JSON.
    """
    if is_large((entry.response, entry.content_blocks)):
        return await asyncio.to_thread(encode_llm, entry)
    return encode_llm(entry)
