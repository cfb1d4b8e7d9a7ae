"""How many memories and bytes a tenant has, counted in the store for all workers together.

The count is raised before memories are written and lowered by those that were deleted or not written after all. What
nobody is told of (memories that expire, others' deletions, the bytes of what was deleted) leaves it too high. So
before a tenant is refused anything its memories are counted again; what other workers write at that moment may then
come on top, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from time import monotonic

from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.base import Outcome, RecordChange, Records, RecordWrite
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.errors import IndexMissingError, TenantLimitError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.options.tenants import TenantLimits
from betterdb_agent_memory.tenants.state import TenantKeeper

MEMORIES, BYTES, COUNTED = "memories", "bytes", "counted"

_COUNT_AGAIN_SECONDS = 1.0
"""How often a worker counts at most: a tenant that is full and goes on writing is refused by the last count."""

_COUNTING_SECONDS = 30
"""How long one that died while it counted keeps others from counting."""

_WAIT_SECONDS, _WAITS = 0.02, 100

_COUNTED_FIELDS = tuple(dict.fromkeys((*record.ITEM_FIELDS, *record.OPTIONAL_FIELDS)))


def size_of(values: Iterable[bytes]) -> int:
    """The bytes of a record's fields."""
    return sum(map(len, values))


class TenantAccounts:
    """Keeps count of one tenant's memories, if it has limits.

    `records` are told to it once they are there; `on_growth` is told how many memories were stored.
    """

    def __init__(
        self,
        values: Values,
        name: str,
        tenant: str,
        keeper: TenantKeeper,
        *,
        on_growth: Callable[[int], None] | None = None,
    ) -> None:
        self._values = values
        self._key = f"{name}:__tenant_usage"
        self._counting_key = f"{name}:__tenant_counting"
        self._tenant = tenant
        self._keeper = keeper
        self._on_growth = on_growth
        self._counted_at = -_COUNT_AGAIN_SECONDS
        self.records: Records | None = None

    async def require_room(self, memories: int, size_bytes: int) -> None:
        """Before so much is embedded; one round trip for a tenant with limits, none for others.

        Raises:
            TenantLimitError: it would be more than the tenant may have.
        """
        state = await self._keeper.current()
        limits = state.limits
        if not _counts(limits):
            return
        used = await self._used(state.counting_since_ms)
        if self._exceeded(limits, used, memories, size_bytes) is not None:
            used = await self._counted()
        self._refuse(limits, used, memories, size_bytes)

    async def reserve(self, writes: Sequence[RecordWrite]) -> None:
        """Count what is about to be written; one round trip for a tenant with limits. Raises as `require_room`."""
        limits = (await self._keeper.current()).limits
        if not _counts(limits) or not writes:
            return
        size_bytes = sum(size_of(write.fields.values()) for write in writes)
        await self._reserve(limits, len(writes), size_bytes)

    async def reserve_changes(self, changes: Sequence[RecordChange]) -> None:
        """Count what is about to be set in memories, as if nothing were replaced by it: found out when it matters.

        One round trip for a tenant whose bytes are limited, where something is set. Raises as `require_room`.
        """
        limits = (await self._keeper.current()).limits
        size_bytes = sum(size_of(change.sets.values()) for change in changes)
        if limits.max_bytes is None or not size_bytes:
            return
        await self._reserve(limits, 0, size_bytes)

    async def written(self, writes: Sequence[RecordWrite], outcomes: Sequence[Outcome]) -> None:
        """Take back what was reserved and not written. After a failure nobody knows: that stays until it is counted."""
        stored = sum(outcome is Outcome.WRITTEN for outcome in outcomes)
        if stored and self._on_growth is not None:
            self._on_growth(stored)
        limits = (await self._keeper.current()).limits
        spared = [write for write, outcome in zip(writes, outcomes, strict=False) if outcome is not Outcome.WRITTEN]
        if _counts(limits) and spared:
            await self._added(-len(spared), -sum(size_of(write.fields.values()) for write in spared))

    async def deleted(self, count: int) -> None:
        """So many memories are gone; of how many bytes is found out when they matter."""
        if count and _counts((await self._keeper.current()).limits):
            await self._added(-count, 0)

    async def _reserve(self, limits: TenantLimits, memories: int, size_bytes: int) -> None:
        used = await self._added(memories, size_bytes)
        if self._exceeded(limits, used, 0, 0) is None:
            return
        await self._added(-memories, -size_bytes)
        await self._counted()
        used = await self._added(memories, size_bytes)
        if self._exceeded(limits, used, 0, 0) is not None:
            await self._added(-memories, -size_bytes)
            self._refuse(limits, used, 0, 0)

    async def usage(self) -> tuple[int, int]:
        """Memories and bytes, counted now: a walk over all memories of the tenant."""
        return await self._found()

    async def _used(self, since_ms: int) -> tuple[int, int]:
        fields = await self._values.read_map(self._key)
        if COUNTED not in fields or (_number(fields, COUNTED) < since_ms <= system_clock()):
            return await self._counted()
        return _number(fields, MEMORIES), _number(fields, BYTES)

    async def _added(self, memories: int, size_bytes: int) -> tuple[int, int]:
        batch = self._values.batch()
        one, other = batch.increment(self._key, MEMORIES, memories), batch.increment(self._key, BYTES, size_bytes)
        await batch.send()
        return one.result(), other.result()

    async def _counted(self) -> tuple[int, int]:
        """What there is, at most once a second; the count is put right by the difference, so that what others
        reserve meanwhile stays reserved.
        """
        if monotonic() - self._counted_at < _COUNT_AGAIN_SECONDS or not await self._may_count():
            return await self._said()
        try:
            began_ms = system_clock()
            said = await self._said()
            memories, size_bytes = await self._found()
            self._counted_at = monotonic()
            used = await self._added(memories - said[0], size_bytes - said[1])
            await self._values.write_map(self._key, {COUNTED: b"%d" % began_ms})
            return used
        finally:
            await self._values.delete(self._counting_key)

    async def _may_count(self) -> bool:
        """Whether nobody else counts: two who put the count right by what each has found would do so twice. Who
        has waited for another one's count goes by that.
        """
        for attempt in range(_WAITS):
            if await self._values.set(self._counting_key, b"1", ttl_seconds=_COUNTING_SECONDS, only_if_absent=True):
                if not attempt:
                    return True
                await self._values.delete(self._counting_key)
                return False
            await asyncio.sleep(_WAIT_SECONDS)
        return False

    async def _said(self) -> tuple[int, int]:
        fields = await self._values.read_map(self._key)
        return _number(fields, MEMORIES), _number(fields, BYTES)

    async def _found(self) -> tuple[int, int]:
        memories = size_bytes = 0
        if self.records is None:
            return 0, 0
        try:
            vector_bytes = 4 * ((await self.records.inspect()).dimensions or 0)
            async for rows in self.records.walk(Filter(), fields=_COUNTED_FIELDS):
                memories += len(rows)
                size_bytes += sum(size_of(row.fields.values()) + vector_bytes for row in rows)
        except IndexMissingError:
            return 0, 0
        return memories, size_bytes

    def _refuse(self, limits: TenantLimits, used: tuple[int, int], memories: int, size_bytes: int) -> None:
        exceeded = self._exceeded(limits, used, memories, size_bytes)
        if exceeded is not None:
            limit, allowed, wanted = exceeded
            raise TenantLimitError(
                f"tenant {self._tenant} may have {allowed:,} {limit.removeprefix('max_')} and would have {wanted:,}: "
                f"forget some, or raise {limit} with agent.tenants.set_limits",
                limit=limit,
                allowed=allowed,
                used=wanted,
            )

    @staticmethod
    def _exceeded(
        limits: TenantLimits, used: tuple[int, int], memories: int, size_bytes: int
    ) -> tuple[str, int, int] | None:
        if limits.max_memories is not None and used[0] + memories > limits.max_memories:
            return "max_memories", limits.max_memories, used[0] + memories
        if limits.max_bytes is not None and used[1] + size_bytes > limits.max_bytes:
            return "max_bytes", limits.max_bytes, used[1] + size_bytes
        return None


def _counts(limits: TenantLimits) -> bool:
    return limits.max_memories is not None or limits.max_bytes is not None


def _number(fields: dict[str, bytes], name: str) -> int:
    text = fields.get(name, b"0")
    return int(text) if text.lstrip(b"-").isdigit() else 0
