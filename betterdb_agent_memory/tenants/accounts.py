"""How many memories and bytes a tenant has, counted in the store for all workers together.

The count is raised before memories are written, as if nothing were replaced, and lowered by those that were deleted
or not written after all. What nobody is told of (memories that expire, others' deletions, the bytes that a change has
replaced) leaves it too high. So before a tenant is refused anything its memories are counted again, and what would be
replaced is looked up; what other workers write at that moment may then come on top, and nothing else. What was there
before there were limits is counted before the first write that they hold for, which each worker makes sure of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic

from betterdb_agent_memory.clock import system_clock
from betterdb_agent_memory.engines.base import Outcome, RecordChange, Records, RecordWrite
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.errors import IndexMissingError, TenantLimitError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.options.tenants import TenantLimits
from betterdb_agent_memory.tenants.state import TenantKeeper, TenantState

MEMORIES, BYTES, COUNTED = "memories", "bytes", "counted"

_COUNT_AGAIN_SECONDS = 1.0
"""How often a worker counts at most: a tenant that is full and goes on writing is refused by the last count."""

_SURE_SECONDS = 60.0
"""How long a worker that has seen that a tenant is counted, or has waited for that, does not look again."""

_COUNTING_SECONDS = 30
"""How long one that died while it counted keeps others from counting."""

_WAIT_SECONDS, _WAITS = 0.02, 100

_COUNTED_FIELDS = tuple(dict.fromkeys((*record.ITEM_FIELDS, *record.OPTIONAL_FIELDS)))


def size_of(values: Iterable[bytes]) -> int:
    """The bytes of a record's fields."""
    return sum(map(len, values))


@dataclass(frozen=True, slots=True)
class Reserved:
    """What one write was counted as before it was written."""

    memories: int
    size_bytes: int


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
        self._sure_of, self._sure_until = -1, 0.0
        self.records: Records | None = None

    async def require_room(self, memories: int, size_bytes: int) -> None:
        """Before so much is embedded; one round trip for a tenant with limits, none for others.

        Raises:
            TenantLimitError: it would be more than the tenant may have.
        """
        state = await self._keeper.current()
        if not _counts(state.limits):
            return
        used = await self._used(state.counting_since_ms)
        limits = _limits_of_growth(state.limits, memories, size_bytes)
        if self._exceeded(limits, used, memories, size_bytes) is not None:
            used = await self._counted()
        self._refuse(limits, used, memories, size_bytes)

    async def reserve(self, writes: Sequence[RecordWrite], leaving: Sequence[int] | None = None) -> list[Reserved]:
        """Count what is about to be written; one round trip for a tenant with limits, and two more before it is
        refused. `leaving` are the bytes of the memory that goes in the step of each write. Raises as `require_room`.
        """
        state = await self._keeper.current()
        if not _counts(state.limits) or not writes:
            return []

        async def without_replaced() -> list[Reserved]:
            if leaving is not None:
                sizes = zip(whole, leaving, strict=True)
                return [Reserved(0, max(0, one.size_bytes - size_bytes)) for one, size_bytes in sizes]
            held = await self._held([write.id for write in writes if not write.is_new])
            return [_growth_of_write(held, write) for write in writes]

        whole = [Reserved(1, size_of(write.fields.values())) for write in writes]
        return await self._reserve(state, whole, without_replaced)

    async def reserve_changes(self, changes: Sequence[RecordChange]) -> list[Reserved]:
        """Count what is about to be set in memories, as if nothing were replaced by it, or without that before it is
        refused.

        One round trip for a tenant whose bytes are limited, where something is set. Raises as `require_room`.
        """
        state = await self._keeper.current()
        whole = [Reserved(0, size_of(change.sets.values())) for change in changes]
        if state.limits.max_bytes is None or not any(one.size_bytes for one in whole):
            return []

        async def without_replaced() -> list[Reserved]:
            held = await self._held([change.id for change in changes])
            return [_growth_of_change(held, change) for change in changes]

        return await self._reserve(state, whole, without_replaced)

    async def written(
        self, writes: Sequence[RecordWrite], outcomes: Sequence[Outcome], reserved: Sequence[Reserved]
    ) -> None:
        """Take back what was reserved and not written. After a failure nobody knows: that stays until it is counted."""
        stored = sum(outcome is Outcome.WRITTEN for outcome in outcomes)
        if stored and self._on_growth is not None:
            self._on_growth(stored)
        memories = size_bytes = 0
        for write, outcome, one in zip(writes, outcomes, reserved, strict=False):
            if outcome is Outcome.WRITTEN and write.if_exists is not None:
                # What was there when it was looked up has gone meanwhile.
                memories += 1 - one.memories
                size_bytes += size_of(write.fields.values()) - one.size_bytes
            elif outcome is Outcome.CHANGED and write.if_exists is not None:
                memories -= one.memories
                size_bytes -= max(0, one.size_bytes - size_of(write.if_exists.sets.values()))
            elif outcome is not Outcome.WRITTEN:
                memories -= one.memories
                size_bytes -= one.size_bytes
        await self._add_if_any(memories, size_bytes)

    async def changed(self, outcomes: Sequence[Outcome], reserved: Sequence[Reserved]) -> None:
        """Take back what was reserved and not set."""
        spared = [one for one, outcome in zip(reserved, outcomes, strict=False) if outcome is not Outcome.CHANGED]
        await self._add_if_any(0, -sum(one.size_bytes for one in spared))

    async def sizes(self, ids: Sequence[str]) -> list[int]:
        """The bytes of memories that are to leave: one round trip for a tenant whose bytes are limited, else 0."""
        if not ids or (await self._keeper.current()).limits.max_bytes is None:
            return [0] * len(ids)
        held = await self._held(ids)
        return [sum(held.get(id, {}).values()) for id in ids]

    async def deleted(self, memories: int, size_bytes: int) -> None:
        """So many memories are gone, with so many bytes."""
        if memories and _counts((await self._keeper.current()).limits):
            await self._added(-memories, -size_bytes)

    async def retired(
        self,
        successors: Sequence[RecordWrite | None],
        leaving: Sequence[int],
        done: Sequence[bool],
        reserved: Sequence[Reserved],
    ) -> None:
        """What became of memories of so many bytes that were to leave, and of their successors, that were reserved."""
        stored = sum(is_done and write is not None for write, is_done in zip(successors, done, strict=True))
        if stored and self._on_growth is not None:
            self._on_growth(stored)
        if not _counts((await self._keeper.current()).limits):
            return
        memories, size_bytes = (-total for total in _sums(reserved))
        for write, left, is_done in zip(successors, leaving, done, strict=True):
            if is_done:
                memories -= write is None
                size_bytes += (0 if write is None else size_of(write.fields.values())) - left
        await self._add_if_any(memories, size_bytes)

    async def _add_if_any(self, memories: int, size_bytes: int) -> None:
        if memories or size_bytes:
            await self._added(memories, size_bytes)

    async def _reserve(
        self,
        state: TenantState,
        whole: list[Reserved],
        without_replaced: Callable[[], Awaitable[list[Reserved]]],
    ) -> list[Reserved]:
        limits = state.limits
        if not self._is_sure(state.counting_since_ms):
            await self._used(state.counting_since_ms)
        if await self._exceeding(limits, whole) is None:
            return whole
        await self._counted()
        if await self._exceeding(limits, whole) is None:
            return whole
        growth = await without_replaced()
        used = await self._exceeding(limits, growth)
        if used is not None:
            self._refuse(_limits_of_growth(limits, *_sums(growth)), used, 0, 0)
        return growth

    async def _exceeding(self, limits: TenantLimits, reserved: Sequence[Reserved]) -> tuple[int, int] | None:
        """None, and these are counted; or, if they are too many, how many there would have been."""
        memories, size_bytes = _sums(reserved)
        if not memories and not size_bytes:
            return None
        used = await self._added(memories, size_bytes)
        if self._exceeded(_limits_of_growth(limits, memories, size_bytes), used, 0, 0) is None:
            return None
        await self._added(-memories, -size_bytes)
        return used

    async def _held(self, ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """How long the fields are of those that are there."""
        if self.records is None or not ids:
            return {}
        try:
            found = await self.records.read_many(ids, (*_COUNTED_FIELDS, record.VECTOR))
        except IndexMissingError:
            return {}
        return {
            id: {name: len(value) for name, value in fields.items()}
            for id, fields in zip(ids, found, strict=True)
            if fields is not None
        }

    async def usage(self) -> tuple[int, int]:
        """Memories and bytes, counted now: a walk over all memories of the tenant."""
        return await self._found()

    async def _used(self, since_ms: int) -> tuple[int, int]:
        """The count, once what there is has been counted since then; one round trip where it has.

        Who has waited in vain for another one's count goes by what there is of it: that one puts it right.
        """
        fields = await self._values.read_map(self._key)
        used = _numbers(fields)
        if not self._is_sure(since_ms):
            if not _is_counted(fields, since_ms):
                used = await self._counted(since_ms)
            if since_ms <= system_clock():
                self._sure_of, self._sure_until = since_ms, monotonic() + _SURE_SECONDS
        return used

    def _is_sure(self, since_ms: int) -> bool:
        return self._sure_of == since_ms and monotonic() < self._sure_until

    async def _added(self, memories: int, size_bytes: int) -> tuple[int, int]:
        batch = self._values.batch()
        one, other = batch.increment(self._key, MEMORIES, memories), batch.increment(self._key, BYTES, size_bytes)
        await batch.send()
        return one.result(), other.result()

    async def _counted(self, since_ms: int | None = None) -> tuple[int, int]:
        """What there is, at most once a second, or once `since_ms`; the count is put right by the difference, so that
        what others reserve meanwhile stays reserved.
        """
        is_new = since_ms is None and monotonic() - self._counted_at < _COUNT_AGAIN_SECONDS
        if is_new or not await self._may_count():
            return await self._said()
        try:
            began_ms = system_clock()
            fields = await self._values.read_map(self._key)
            said = _numbers(fields)
            if since_ms is not None and _is_counted(fields, since_ms):
                # Another one just has, and may have reserved by it what is not written yet.
                return said
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
        return _numbers(await self._values.read_map(self._key))

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


def _sums(reserved: Sequence[Reserved]) -> tuple[int, int]:
    return sum(one.memories for one in reserved), sum(one.size_bytes for one in reserved)


def _growth_of_write(held: dict[str, dict[str, int]], write: RecordWrite) -> Reserved:
    """By how much there is more after a write. Less is found out when it matters: others may write the same one."""
    there = held.get(write.id)
    if there is not None and write.if_exists is not None:
        return _growth_of_change(held, write.if_exists)
    fields = held[write.id] = {name: len(value) for name, value in write.fields.items()}
    if there is None:
        return Reserved(1, sum(fields.values()))
    return Reserved(0, max(0, sum(fields.values()) - sum(there.values())))


def _growth_of_change(held: dict[str, dict[str, int]], change: RecordChange) -> Reserved:
    there = held.get(change.id)
    if there is None:
        return Reserved(0, size_of(change.sets.values()))
    fields = {name: length for name, length in there.items() if name not in change.removes}
    fields |= {name: len(value) for name, value in change.sets.items()}
    held[change.id] = fields
    return Reserved(0, max(0, sum(fields.values()) - sum(there.values())))


def _limits_of_growth(limits: TenantLimits, memories: int, size_bytes: int) -> TenantLimits:
    """The limits that something comes nearer to: one that was lowered refuses nothing that adds nothing to it."""
    return TenantLimits(
        max_memories=limits.max_memories if memories > 0 else None,
        max_bytes=limits.max_bytes if size_bytes > 0 else None,
    )


def _counts(limits: TenantLimits) -> bool:
    return limits.max_memories is not None or limits.max_bytes is not None


def _is_counted(fields: dict[str, bytes], since_ms: int) -> bool:
    """Whether memories have been counted since `since_ms`, or ever while that is still to come."""
    return COUNTED in fields and not _number(fields, COUNTED) < since_ms <= system_clock()


def _numbers(fields: dict[str, bytes]) -> tuple[int, int]:
    """Memories and bytes."""
    return _number(fields, MEMORIES), _number(fields, BYTES)


def _number(fields: dict[str, bytes], name: str) -> int:
    text = fields.get(name, b"0")
    return int(text) if text.lstrip(b"-").isdigit() else 0
