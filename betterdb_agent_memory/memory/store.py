"""MemoryStore: what an agent remembers, on one engine under one name."""

from __future__ import annotations

import asyncio
import logging

from betterdb_agent_memory.discovery import WITHDRAWAL_SECONDS
from betterdb_agent_memory.engines import CLOSE_SECONDS
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.memory.capacity import CLOSING_SECONDS
from betterdb_agent_memory.memory.parts import EVICTIONS
from betterdb_agent_memory.memory.results import MemoryStats
from betterdb_agent_memory.memory.verbs.changes import ChangeVerbs
from betterdb_agent_memory.memory.verbs.correct import CorrectVerbs
from betterdb_agent_memory.memory.verbs.forget import ForgetVerbs
from betterdb_agent_memory.memory.verbs.link import LinkVerbs
from betterdb_agent_memory.memory.verbs.maintain import MaintainVerbs
from betterdb_agent_memory.memory.verbs.pin import PinVerbs
from betterdb_agent_memory.memory.verbs.prompt import PromptVerbs
from betterdb_agent_memory.memory.verbs.remember import RememberVerbs
from betterdb_agent_memory.memory.verbs.workplace import WorkplaceVerbs

_log = logging.getLogger(__name__)


class MemoryStore(
    RememberVerbs,
    CorrectVerbs,
    PinVerbs,
    PromptVerbs,
    ForgetVerbs,
    LinkVerbs,
    WorkplaceVerbs,
    MaintainVerbs,
    ChangeVerbs,
):
    """Long-term memory under one name: remember, recall, list, forget.

    `client` is a `valkey.asyncio` or `redis.asyncio` client, or an engine of this library; it stays
    yours and is not closed. `embed_fn` is an async function from text to vector or an
    `Embedder`; without one only calls that embed nothing work. `default_threshold` is the largest
    cosine distance (0 to 2) of a hit: by default what the embedder states, 0.25 for a plain function.
    `weights` default to 0.6 similarity, 0.25 recency, 0.15 importance with a half-life of
    604,800 s; `max_items_per_scope` to no limit, with `limit_by_tags` one for each set of tags in a scope
    (docs/capacity.md). `reinforcement` says when recalled memories are touched: "immediate" (before recall returns) or
    "deferred"; with `recent_accesses` they keep the times of their last four recalls. `consolidation` sets label and
    importance of facts. `scoring` is the model by which recalls are ranked, `scoring_parameters` what those models are
    made of that are chosen by name (docs/dynamics.md).
    How recall finds and orders memories (docs/recall.md): `retrieval`, "vector" or "hybrid", which
    looks at words, dates and persons as well; its weights `hybrid`, the `language` of the memories, `exact` with its
    `exact_budget`, `diversity`, `reranker` with its `rerank_depth`. `next_embed_fn` is the model that the store is to
    be moved to: see `migration`.
    `change_feed` has every change of a memory told in a log, from the first write on: see `changes`. `near_cache` has a
    recall that is asked again within a moment answered from the memory of this process (docs/near-cache.md).
    `link_recalled` links memories that are recalled together: see `links`.
    `superseded_ttl` is for how many seconds a corrected memory is kept at most, None for ever; 90 days by default.
    `analytics` is accepted as published and means nothing: no usage data is collected, whatever its value.
    `on_use` is called within each call that reaches the index, before work in the background begins.

    Methods may be called from many tasks at once. The index is found or created on first use.

    Raises:
        ConfigurationError: an argument cannot work; the message names it.
    """

    async def ensure_index(self) -> None:
        """Find the index or create it, so that a misfit shows at start and not at the first recall.

        Up to 5 round trips, and one embedding of the word "probe" when the embedder does not state its
        dimension. Without an embedder an existing index is enough. Turns next to forgotten ones whose vectors a
        call that broke off has left as they were are mixed anew, with the round trips of `forget_many` for these.

        Raises:
            IndexMismatchError: the index exists with another dimension, metric or prefix.
            SearchModuleMissingError: the server has no search module.
        """
        space = (await self._models.layout(look=True)).main
        if await space.index.find(space.embedder.dimensions, look=True) is None or space.embedder.is_there:
            await space.index.ensure(await space.embedder.probe())
        if space.embedder.is_there:
            await self._mender.work_off_all()
        self._start_background_work()

    async def stats(self) -> MemoryStats:
        """Counts and health of the store; before anything was stored the counts are 0. Three round trips."""
        count = await self._searcher.lookup(lambda space: space.records.count(Filter()), 0, even_incomplete=True)
        evictions = (await self._engine.values.read_map(self._stats_key)).get(EVICTIONS, b"0")
        index = await self._records.inspect()
        reinforcement = self._reinforcer.statistics()
        self._watch.reinforcements(reinforcement)
        return MemoryStats(
            item_count=count,
            evictions=int(evictions) if evictions.isdigit() else 0,
            config=self.current_config(),
            pending_reinforcements=reinforcement.pending,
            lost_reinforcements=reinforcement.lost,
            unreadable_records=self._watch.unreadable_count + self._records.unreadable_rows,
            recall_refills=self._watch.refill_count,
            background_failures=self._watch.background_failure_count,
            unindexed_fields=index.unindexed,
            index_failures=index.failures,
            indexing=index.indexing,
            ignored_config_fields=self._live_config.ignored_fields,
            near_misses=self._watch.near_misses(),
            near_cache=None if self._near is None else self._near.statistics(),
        )

    async def refresh_config(self) -> None:
        """Re-read the live configuration now. One round trip; a failed read raises and changes nothing."""
        await self._live_config.refresh()

    async def flush(self) -> None:
        """Write deferred reinforcement now. One round trip per 500 memories, none if nothing waits."""
        await self._reinforcer.flush()

    async def ensure_config_refresh_started(self) -> None:
        """Start re-reading the live configuration if the constructor asked for it, and wait for the first read."""
        self._start_background_work()
        if self._refreshes_config:
            await self._live_config.wait_read()

    async def ensure_discovery_ready(self) -> None:
        """Wait until the store is announced to the Monitor, if the constructor asked for it."""
        self._start_background_work()
        if self._registration is not None:
            await asyncio.shield(self._registration)

    async def close(self) -> None:
        """Write what waits and stop background work. The client stays open; it is yours.

        A server that does not answer is waited for 5 s, and 2 s more to take the name off the Monitor's list. Scopes
        that this worker has left above their limit are trimmed first, for a minute at most while it gets on.
        """
        self._is_closed = True
        await self._live_config.stop()
        if self._near is not None:
            await self._near.close()
        await self._trim_at_last()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._reinforcer.close()
        except TimeoutError:
            _log.warning("reinforcements of store %s were lost at close: no answer in %g s", self.name, CLOSE_SECONDS)
        for wrapper in self._own_wrappers:
            await wrapper.aclose()
        self._watch.reinforcements(self._reinforcer.statistics())
        registration, self._registration = self._registration, None
        if self._discovery is not None and registration is not None:
            if registration.get_loop() is asyncio.get_running_loop():
                await asyncio.wait([registration], timeout=WITHDRAWAL_SECONDS)
                registration.cancel()
            await self._discovery.stop(delete_heartbeat=True)
        if self._owns_engine:
            # Connections of its own beside those of a client, as to the nodes of a cluster.
            await self._engine.close()

    async def _trim_at_last(self) -> None:
        """Bring down the scopes that are above their limit, as long as that gets on."""
        now = asyncio.get_running_loop().time
        latest = now() + CLOSING_SECONDS
        try:
            async with asyncio.timeout(CLOSE_SECONDS) as patience:

                def wait_on() -> None:
                    if not patience.expired():
                        patience.reschedule(min(now() + CLOSE_SECONDS, latest))

                await self._capacity.close(gets_on=wait_on)
        except TimeoutError:
            _log.warning(
                "a scope of store %s was left above its limit at close: no answer in %g s, or more to trim than %g s "
                "were enough for; the next worker that writes to it trims it",
                self.name,
                CLOSE_SECONDS,
                CLOSING_SECONDS,
            )
