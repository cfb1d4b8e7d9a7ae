"""What a consolidation works with: the parts of a store that it needs, and nothing else of it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.engines.base import Fence, Leases, Records, Row
from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.errors import AgentMemoryError, ConsolidationError
from betterdb_agent_memory.leasing import HeldLease
from betterdb_agent_memory.memory.consolidation.journal import DIGEST_FIELDS, Journal
from betterdb_agent_memory.memory.consolidation.kinds import KIND_FIELDS
from betterdb_agent_memory.memory.consolidation.request import Conduct
from betterdb_agent_memory.memory.record import ITEM_FIELDS, MemoryItem, NewMemory, decode_memory
from betterdb_agent_memory.memory.scope import MemoryScope
from betterdb_agent_memory.memory.spaces import SearchedRecords
from betterdb_agent_memory.memory.watch import StoreWatch


class WriteMemories(Protocol):
    """Embeds memories and stores them."""

    async def __call__(
        self,
        memories: Sequence[NewMemory],
        *,
        fence: Fence,
        ttl_seconds: int | None = None,
        expires_at_ms: int | None = None,
    ) -> None:
        """Store all of them under their new ids, with one expiry; nothing is written if an embedding fails, or if
        somebody else has the lease of `fence` by then.
        """


@dataclass(frozen=True, slots=True)
class Workshop:
    """The parts of the store called `name`.

    `ready` refuses a store that could not embed what comes out. `searched` gives the memories as a complete
    index finds them, None before there is one. `write` embeds and stores, `keep_in_step` is told what was
    changed or deleted otherwise, `make_room` evicts what a scope holds too much (both best effort).
    """

    name: str
    records: Records
    values: Values
    leases: Leases
    watch: StoreWatch
    clock: Clock
    new_id: Callable[[], str]
    ready: Callable[[], Awaitable[None]]
    searched: Callable[[], Awaitable[SearchedRecords | None]]
    write: WriteMemories
    keep_in_step: Callable[[Sequence[str]], Awaitable[None]]
    make_room: Callable[[MemoryScope, Sequence[str]], Awaitable[None]]
    fact_source: str
    fact_importance: float
    max_content_bytes: int

    def alone(self, conduct: Conduct) -> HeldLease:
        """The lease under which one run at a time works on this store.

        One for the whole store: scopes overlap (a thread lies in a namespace), and the journal is repaired
        by whoever comes next, whatever its scope.
        """
        return HeldLease(
            self.leases,
            f"{self.name}:__mem_consolidation_lease",
            what=f"a consolidation of store {self.name}",
            wait_seconds=conduct.wait_seconds,
            ttl_seconds=conduct.lease_seconds,
        )

    def journal(self, lease: HeldLease) -> Journal:
        """What is deleted on behalf of products, and what others did not finish."""
        return Journal(
            self.values,
            self.records,
            f"{self.name}:__mem_consolidation",
            check=lease.check,
            fence=lease.fence,
            on_deleted=self.forgotten,
        )

    async def forgotten(self, ids: Sequence[str]) -> None:
        """Tell who counts and who keeps copies that these memories were deleted."""
        if ids:
            self.watch.forgotten(len(ids))
            await self.keep_in_step(ids)

    async def walk(
        self, filter: Filter, accepts: Callable[[Fields, str], bool]
    ) -> AsyncIterator[list[tuple[MemoryItem, Fields]]]:
        """Pages of memories, oldest first, that the filter and `accepts(fields, fact_source)` take."""
        records = await self.searched()
        if records is None:
            return
        wanted = tuple(dict.fromkeys((*ITEM_FIELDS, *KIND_FIELDS, *DIGEST_FIELDS, *filter.field_names)))
        async for rows in records.walk(filter, fields=wanted):
            found, unreadable = await off_loop(len(rows), _decoded, rows, accepts, self.fact_source)
            self.watch.unreadable(unreadable)
            yield found


def _decoded(
    rows: Sequence[Row], accepts: Callable[[Fields, str], bool], fact_source: str
) -> tuple[list[tuple[MemoryItem, Fields]], int]:
    found = []
    unreadable = 0
    for row in rows:
        if accepts(row.fields, fact_source):
            item, problems = decode_memory(row.id, row.fields)
            unreadable += problems
            if item is not None:
                found.append((item, row.fields))
    return found, unreadable


async def asked(name: str, callback: Callable[[list[MemoryItem]], Any], memories: list[MemoryItem]) -> Any:
    """What the callback called `name` makes of the memories.

    Raises:
        ConsolidationError: it failed, or is no async function.
    """
    try:
        answer = callback(memories)
        if not inspect.isawaitable(answer):
            raise ConsolidationError(
                f"{name} must be an async function; this one returned {type(answer).__name__} at once. Wrap blocking "
                "calls: async def f(memories): return await asyncio.to_thread(g, memories)"
            )
        return await answer
    except AgentMemoryError:
        raise
    except Exception as error:
        raise ConsolidationError(
            f"{name} failed, nothing was written or deleted on its account: {type(error).__name__}: {error}"
        ) from error
