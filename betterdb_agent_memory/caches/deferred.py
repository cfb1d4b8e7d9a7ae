"""Statistics, renewed expiries and values nobody waits for are written together: a check stays one round trip."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from betterdb_agent_memory.background import LoopLock, end_between_writes
from betterdb_agent_memory.engines.values import ExpiresAt, Reply, Values
from betterdb_agent_memory.errors import AgentMemoryError, EngineError, EngineUnavailableError, OutcomeUnknownError

_log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
MAX_PENDING = 10_000
"""Expiries that wait at most; the next one is written with all others at once."""

MAX_PENDING_VALUES = 1_000
"""Values that wait at most; whoever has one more writes it. Vectors of 1,536 numbers: 6 MB."""


@dataclass(frozen=True, slots=True)
class _Extension:
    ttl_seconds: int
    seen: ExpiresAt


@dataclass(frozen=True, slots=True, eq=False)
class _Value:
    value: bytes
    ttl_seconds: int | None
    on_failure: Callable[[], None]


class DeferredWrites:
    """Counts of `stats_key`, expiries to renew and values, written `interval_seconds` after the first at the latest.

    Counts of one flush are added in one atomic step. Also written by `flush` and by `close`. A process
    that is killed loses what waits; a forked child leaves it to its parent. Counts whose outcome is
    unknown are not added again, since that could count twice: they are lost, as `lost_counts` says. A value
    that the server refuses is lost, logged and told to whoever gave it.
    """

    def __init__(
        self,
        values: Values,
        stats_key: str,
        *,
        interval_seconds: float = FLUSH_SECONDS,
        on_failure: Callable[[], None],
    ) -> None:
        self._values = values
        self._stats_key = stats_key
        self._interval_seconds = interval_seconds
        self._on_failure = on_failure
        self._counts: Counter[str] = Counter()
        self._extensions: dict[str, _Extension] = {}
        self._pending_values: dict[str, _Value] = {}
        self._process = os.getpid()
        self._writing = LoopLock()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self.lost_counts = 0

    def count(self, field: str, amount: int = 1) -> None:
        """Add to a counter, later. No round trip; needs a running loop."""
        self._leave_to_parent()
        self._counts[field] += amount
        self._write_soon()

    def extend(self, key: str, ttl_seconds: int, *, seen: ExpiresAt) -> None:
        """Let `key` expire in `ttl_seconds`, later, and only if its expiry still is what was `seen`.

        The time counts from the write, up to `interval_seconds` after this call.
        """
        self._leave_to_parent()
        self._extensions[key] = _Extension(ttl_seconds, seen)
        self._write_soon()

    def set(self, key: str, value: bytes, ttl_seconds: int | None, *, on_failure: Callable[[], None]) -> bool:
        """Store a string, later, in place of one that waits for this key; false when too many wait, and it does not.

        For what may be lost: `on_failure` is called when it is. The time counts from the write.
        """
        self._leave_to_parent()
        if len(self._pending_values) >= MAX_PENDING_VALUES and key not in self._pending_values:
            return False
        self._pending_values[key] = _Value(value, ttl_seconds, on_failure)
        self._write_soon()
        return True

    def pending_value(self, key: str) -> bytes | None:
        """What `set` has not written to this key yet, or is writing; None for nothing."""
        self._leave_to_parent()
        pending = self._pending_values.get(key)
        return None if pending is None else pending.value

    async def drop_values(self, prefix: str) -> None:
        """Forget the values that wait for keys with this prefix, once what is being written is."""
        async with self._writing:
            for key in [key for key in self._pending_values if key.startswith(prefix)]:
                del self._pending_values[key]

    def forget(self, key: str) -> None:
        """Drop an extension or a value that waits: the key has just been written."""
        self._extensions.pop(key, None)
        self._pending_values.pop(key, None)

    async def flush(self) -> None:
        """Write everything that waits. One round trip per 500 expiries and values, none when nothing waits.

        Raises:
            EngineUnavailableError: nothing was written, and it waits for the next flush.
            EngineError: what was said to be lost is lost.
        """
        self._leave_to_parent()
        async with self._writing:
            counts, self._counts = self._counts, Counter()
            extensions, self._extensions = self._extensions, {}
            amounts = {field: amount for field, amount in counts.items() if amount}
            values = dict(self._pending_values)
            if not amounts and not extensions and not values:
                return
            batch = self._values.batch()
            counted = batch.increment_many(self._stats_key, amounts) if amounts else None
            renewed = [
                batch.expire(key, extension.ttl_seconds, only_if=extension.seen)
                for key, extension in extensions.items()
            ]
            stored = {
                key: batch.set(key, pending.value, ttl_seconds=pending.ttl_seconds) for key, pending in values.items()
            }
            try:
                await batch.send()
                self._settle(values, stored)
                if counted is not None:
                    await self._counted(counted, amounts)
            except EngineUnavailableError:
                self._on_failure()
                self._counts.update(counts)
                # A later one for the same key has seen more.
                self._extensions = {**extensions, **self._extensions}
                raise
            except BaseException:
                self._on_failure()
                self.lost_counts += counts.total()
                raise
            try:
                for reply in renewed:
                    reply.result()
            except AgentMemoryError:
                self._on_failure()
                raise

    async def close(self) -> None:
        """Stop the background task, then flush; what cannot be written is lost and counted."""
        self._is_closed = True
        task, self._task = self._task, None
        await end_between_writes(task, self._writing)
        lost_before = self.lost_counts
        try:
            await self.flush()
        except AgentMemoryError as error:
            self.lost_counts += self._counts.total()
            _log.warning(
                "%d counts of %s and %d values were lost at close: %s",
                self.lost_counts - lost_before,
                self._stats_key,
                len(self._pending_values),
                error,
            )
            for pending in self._pending_values.values():
                pending.on_failure()
            self._counts.clear()
            self._extensions.clear()
            self._pending_values.clear()

    def _settle(self, values: Mapping[str, _Value], replies: Mapping[str, Reply[bool]]) -> None:
        """Take what was sent off the list, unless there is a newer value for its key; tell of what was refused."""
        refused: list[AgentMemoryError] = []
        for key, value in values.items():
            if self._pending_values.get(key) is value:
                del self._pending_values[key]
            try:
                replies[key].result()
            except AgentMemoryError as error:
                refused.append(error)
                value.on_failure()
        if refused:
            _log.warning("%d values beside %s could not be stored: %s", len(refused), self._stats_key, refused[0])

    async def _counted(self, reply: Reply[None], amounts: Mapping[str, int]) -> None:
        """See that the counts were added; where one field cannot be added to, add the others by themselves."""
        try:
            reply.result()
            return
        except (EngineUnavailableError, OutcomeUnknownError):
            raise
        except EngineError as error:
            if len(amounts) == 1:
                raise
            _log.warning("the statistics %s are added one by one: %s", self._stats_key, error)
        batch = self._values.batch()
        added = {field: batch.increment_many(self._stats_key, {field: amount}) for field, amount in amounts.items()}
        await batch.send()
        for field, each in added.items():
            try:
                each.result()
            except EngineError as error:
                self._on_failure()
                self.lost_counts += amounts[field]
                _log.warning("%d counts of %s in %s are lost: %s", amounts[field], field, self._stats_key, error)

    def _leave_to_parent(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._counts, self._extensions, self._pending_values, self._task = Counter(), {}, {}, None

    def _write_soon(self) -> None:
        # A task of another loop that runs writes for this one too.
        if self._task is None or self._task.done() or not self._task.get_loop().is_running():
            self._task = asyncio.get_running_loop().create_task(self._write_while_something_waits())

    async def _write_while_something_waits(self) -> None:
        """Runs while something waits; the next count starts it anew."""
        while self._counts or self._extensions or self._pending_values:
            if not self._is_closed and len(self._extensions) < MAX_PENDING:
                await asyncio.sleep(self._interval_seconds)
            try:
                await self.flush()
            except AgentMemoryError as error:
                _log.warning("statistics of %s could not be written: %s", self._stats_key, error)
                await asyncio.sleep(self._interval_seconds)
