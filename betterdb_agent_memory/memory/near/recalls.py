"""The near-cache of a store: looked into before a recall, filled behind it, and told of what changes."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.engines.base import Records
from betterdb_agent_memory.errors import AgentMemoryError
from betterdb_agent_memory.memory.changes.feed import Feed
from betterdb_agent_memory.memory.near.answers import Asked, copies, subjects_of_answer, to_keep
from betterdb_agent_memory.memory.near.following import ToldOfChanges
from betterdb_agent_memory.memory.near.noticing import noticed
from betterdb_agent_memory.memory.recalling.explaining import MemoryHit
from betterdb_agent_memory.near_cache import Kept, NearCache, NearCacheStatistics, Reading, Why
from betterdb_agent_memory.options import NearCacheOptions

_log = logging.getLogger(__name__)

NearAnswer: TypeAlias = Kept[tuple[MemoryHit, ...]]


class NearRecalls:
    """Answers to recalls, each as old as the options allow at most, and no hit beyond its own expiry.

    `records` are those that the store has to write through, so that its own writes are seen at once. While `feed` is
    on, it is followed from the first answer that is kept. `on_failure` is told of an answer that could not be kept and
    of a feed that could not be followed.
    """

    def __init__(
        self,
        options: NearCacheOptions,
        records: Records,
        *,
        store: str,
        feed: Feed,
        on_failure: Callable[[], None],
        on_dropped: Callable[[Why, int], None],
    ) -> None:
        self._answers: NearCache[tuple[MemoryHit, ...]] = NearCache(
            max_age_seconds=options.max_age_seconds,
            max_entries=options.max_entries,
            max_bytes=options.max_bytes,
            now_seconds=options.now_seconds,
            on_dropped=on_dropped,
        )
        self._stored = records
        self.records = noticed(records, self._answers)
        self._store = store
        self._feed = feed
        self._on_failure = on_failure
        self._told = ToldOfChanges(feed.log, store, self._answers, on_failure=on_failure)
        self._has_warned = False
        self._is_closed = False

    def find(self, asked: Asked) -> NearAnswer | None:
        """The answer that this process has, or None."""
        return self._answers.find(asked)

    async def hits_of(self, answer: NearAnswer) -> list[MemoryHit] | None:
        """The hits, the caller's to change; None where the answer has become too old since it was found."""
        hits = await off_loop(len(answer.value), copies, answer.value)
        return hits if self._answers.is_fresh(answer) else None

    async def read(
        self,
        asked: Asked,
        search: Callable[[], Awaitable[list[MemoryHit]]],
        *,
        asked_now: Callable[[], Asked | None],
    ) -> list[MemoryHit]:
        """What `search` finds, and kept for those who ask the same next.

        Not kept where `asked_now()` is something else by then, since models or settings have been changed meanwhile.
        One round trip more than the search where it finds something: how long the memories still live.
        """
        with self._answers.reading() as reading:
            hits = await search()
            try:
                until = await self._expiry(hits)
            except AgentMemoryError as error:
                self._on_failure()
                # Said once: a user who may not ask for it would read it at every recall.
                level = logging.DEBUG if self._has_warned else logging.WARNING
                self._has_warned = True
                _log.log(level, "an answer of store %s is not kept near, and maybe later ones: %s", self._store, error)
                return hits
            if asked_now() == asked:
                own, size_bytes = await off_loop(len(hits), to_keep, hits)
                self._keep(reading, asked, own, size_bytes, until)
        return hits

    def statistics(self) -> NearCacheStatistics:
        """What it did so far, and holds."""
        return self._answers.statistics()

    async def close(self) -> None:
        """Stop following the feed, and forget everything."""
        self._is_closed = True
        await self._told.close()
        self._answers.drop_all("room")

    async def _expiry(self, hits: Sequence[MemoryHit]) -> float:
        """When the first of these memories expires, by the clock of the cache; no later than the server says."""
        asked_at = self._answers.now_seconds()
        lifetimes_ms = await self._stored.read_lifetimes([hit.item.id for hit in hits]) if hits else []
        return asked_at + min(lifetimes_ms, default=math.inf) / 1000

    def _keep(self, reading: Reading, asked: Asked, own: list[MemoryHit], size_bytes: int, until: float) -> None:
        if self._is_closed:
            return
        subjects, size_bytes = subjects_of_answer(asked.filter, own), asked.size_bytes + size_bytes
        self._answers.keep(reading, asked, tuple(own), subjects=subjects, size_bytes=size_bytes, until=until)
        if self._feed.is_on:
            self._told.start()
