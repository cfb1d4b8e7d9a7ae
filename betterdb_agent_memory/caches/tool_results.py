"""Results of tools in an engine: found, kept, deleted and counted. `ToolCache` and its decorator stand on this."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from betterdb_agent_memory.caches import statistics
from betterdb_agent_memory.caches.deferred import DeferredWrites
from betterdb_agent_memory.caches.entries import ToolEntry, decode_tool, encode_tool
from betterdb_agent_memory.caches.erasing import delete_entries, hashed_keys
from betterdb_agent_memory.caches.keys import CacheKey, tool_key, tool_prefix
from betterdb_agent_memory.caches.policies import ToolPolicies
from betterdb_agent_memory.caches.pricing import cost_micros
from betterdb_agent_memory.caches.results import ToolStoreOptions
from betterdb_agent_memory.caches.tool_names import checked_tool_name
from betterdb_agent_memory.caches.watch import CacheWatch
from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.errors import EngineError

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FoundResult(Generic[_T]):
    """A result that is kept: under which key, as it is stored, and what the caller made of its text."""

    key: str
    entry: ToolEntry
    value: _T


class ToolResults:
    """The results of all tools of one name. `ttl_seconds` holds for tools without a policy, None for ever."""

    def __init__(
        self,
        name: str,
        *,
        values: Values,
        watch: CacheWatch,
        deferred: DeferredWrites,
        policies: ToolPolicies,
        ttl_seconds: int | None,
        clock: Clock,
    ) -> None:
        self._name = name
        self._values = values
        self._watch = watch
        self._deferred = deferred
        self._policies = policies
        self._ttl_seconds = ttl_seconds
        self._clock = clock

    def key(self, tool: str, args: object) -> CacheKey:
        """Where the result of a call is kept; no arguments (None) are the same as an empty mapping of them.

        Raises:
            InvalidInputError: the name or the arguments have no key.
        """
        return tool_key(self._name, tool, args)

    def flight_key(self, tool: str, key: CacheKey) -> str:
        """Under which key those who want the same result know of each other."""
        return f"{self._name}:__tool_flight:{tool}:{key.shared.removeprefix(tool_prefix(self._name, tool))}"

    async def check(self, tool: str, key: CacheKey, read: Callable[[str], _T]) -> FoundResult[_T] | None:
        """What is kept, counted as a hit or a miss. Round trips as `find`; the counts follow within a second."""
        with self._watch.tool_check(key.shared, tool) as seen:
            found, was_corrupt = await self.find(key, read)
            if found is not None:
                seen.hit(cost_saved=found.entry.cost)
                seen.content(found.entry.response or "")
                self._count_hit(tool, found.entry.cost)
            else:
                seen.corrupt() if was_corrupt else seen.miss()
                self._deferred.count(statistics.TOOL_MISSES)
                self._deferred.count(statistics.tool_misses(tool))
        return found

    def count_shared(self, tool: str, key: CacheKey, cost: float | None) -> None:
        """A hit after all: another worker made the result while this one waited."""
        with self._watch.tool_check(key.shared, tool) as seen:
            seen.hit(cost_saved=cost)
            self._count_hit(tool, cost)

    async def find(self, key: CacheKey, read: Callable[[str], _T]) -> tuple[FoundResult[_T] | None, bool]:
        """What is kept and `read` takes, and whether something was there that is no entry; that is deleted.

        One round trip, in which both spellings of the key are looked up; one more to delete. A text that
        `read` refuses counts as none and is left where it is: another worker may understand it.
        """
        batch = self._values.batch()
        spellings = [spelling for spelling in (key.shared, key.python) if spelling is not None]
        replies = [(spelling, batch.get(spelling)) for spelling in spellings]
        await batch.send()
        corrupt: dict[str, bytes] = {}
        found = None
        for spelling, reply in replies:
            raw = reply.result()
            # Published: an empty string is as good as none.
            if not raw or found is not None:
                continue
            entry = decode_tool(raw)
            if entry is None or not isinstance(entry.response, str):
                corrupt[spelling] = raw
                continue
            found = self._read(spelling, entry, entry.response, read)
        if corrupt:
            await self._delete_corrupt(corrupt)
        return found, bool(corrupt)

    async def store(self, tool: str, key: CacheKey, args: object, response: str, options: ToolStoreOptions) -> str:
        """Keep the result of a call; the key it is kept under. One round trip.

        The TTL is that of the options, else of the tool's policy, else the default. Where nothing is known
        about policies yet, their first read in the background is waited for.
        """
        raw = encode_tool(ToolEntry(response, tool, args, self._clock(), options.cost))
        # Before the TTL: with the first batch begins the work beside, which reads the policies.
        batch = self._values.batch()
        ttl = options.ttl if options.ttl is not None else await self._ttl_of(tool)
        with self._watch.tool_store(key.shared, tool, ttl) as stored:
            reply = batch.set(key.shared, raw, ttl_seconds=ttl)
            await batch.send()
            reply.result()
            stored.bytes(len(raw))
        return key.shared

    async def _ttl_of(self, tool: str) -> int | None:
        await self._policies.wait_known()
        policy = self._policies.current.get(tool)
        return policy.ttl if policy else self._ttl_seconds

    async def delete(self, key: CacheKey) -> bool:
        """Delete the result of a call under both spellings of its key; true when there was one. One round trip."""
        spellings = [spelling for spelling in (key.shared, key.python) if spelling is not None]
        return await delete_entries(self._values, dict.fromkeys(spellings)) > 0

    async def delete_all(self, tool: str) -> int:
        """Delete all results of a tool; how many there were. Looks at every key: two round trips per 1,000."""
        checked_tool_name(tool)
        deleted = 0
        async for keys in hashed_keys(self._values, tool_prefix(self._name, tool)):
            deleted += await delete_entries(self._values, dict.fromkeys(keys))
        return deleted

    def _read(self, key: str, entry: ToolEntry, response: str, read: Callable[[str], _T]) -> FoundResult[_T] | None:
        try:
            return FoundResult(key, entry, read(response))
        except Exception as error:  # noqa: BLE001 - whatever the caller's own function raises
            self.failed("tool_decode", key, error)
            return None

    async def _delete_corrupt(self, entries: Mapping[str, bytes]) -> None:
        try:
            await delete_entries(self._values, entries)
        except EngineError as error:
            self.failed("tool_corrupt", next(iter(entries)), error)

    def _count_hit(self, tool: str, cost: float | None) -> None:
        self._deferred.count(statistics.TOOL_HITS)
        self._deferred.count(statistics.tool_hits(tool))
        micros = 0 if cost is None else cost_micros(cost)
        if micros:
            self._deferred.count(statistics.COST_SAVED, micros)
            self._deferred.count(statistics.tool_cost_saved(tool), micros)

    def failed(self, work: str, key: str, error: Exception) -> None:
        """Work on an entry that failed and is done without."""
        self._watch.background_failed(work)
        _log.warning("%s of %s failed and is done without: %s", work, key, error)
