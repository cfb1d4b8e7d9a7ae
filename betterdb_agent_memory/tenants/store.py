"""The memories of one tenant: a MemoryStore that looks at the tenant's limits first."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sized
from contextvars import ContextVar
from time import monotonic
from typing import Any

from betterdb_agent_memory.errors import AgentMemoryError, ConfigurationError, TenantLimitError
from betterdb_agent_memory.memory.generations.migration import DEFAULT_BATCH, EmbeddingMigration, MigrationStatus
from betterdb_agent_memory.memory.progress import ProgressFn
from betterdb_agent_memory.memory.store import MemoryStore
from betterdb_agent_memory.tenants.accounts import TenantAccounts
from betterdb_agent_memory.tenants.bucket import TokenBucket
from betterdb_agent_memory.tenants.state import TenantKeeper

_log = logging.getLogger(__name__)

_ADDING = frozenset(("remember", "remember_many", "remember_conversation"))
_REPLACING = frozenset(("import_from", "update", "correct"))
"""What these write may take the place of something: refused when it is written, where that is known."""
_CALLS = (
    *("remember", "remember_many", "remember_conversation", "update", "correct", "supersede", "contradict", "history"),
    *("forget", "forget_many", "forget_by_scope", "pin", "unpin", "link", "unlink", "links"),
    *("recall", "recall_by_vector", "context", "get", "get_many", "list", "wait_for"),
    *("consolidate", "consolidate_facts", "export_to", "import_from", "calibrate", "reindex", "stats", "workplace"),
    *("change_feed", "drop_change_group", "stop_change_feed"),
)
_ITERATING = ("iterate", "changes")
"""Verbs that count as one call when they begin, however much they give."""

UNLIMITED = {
    "ensure_index": "at start, before anything is asked",
    "ensure_config_refresh_started": "at start, before anything is asked",
    "ensure_discovery_ready": "at start, before anything is asked",
    "refresh_config": "what operators set must arrive, limits or not",
    "flush": "writes what calls that were counted have put off",
    "rest": "writes what calls that were counted have put off",
    "close": "writes what calls that were counted have put off",
}
"""Verbs that are no calls, and why not; every other one is in `_CALLS` or `_ITERATING`."""

_within: ContextVar[bool] = ContextVar("within a call of a tenant's store", default=False)
"""A verb that is made of others is one call."""


class Gate:
    """What a call of a tenant's store passes before anything is done: its limits, and how old its settings are.

    `on_use` is called first.
    """

    def __init__(
        self,
        keeper: TenantKeeper,
        accounts: TenantAccounts,
        tenant: str,
        refresh_seconds: float | None,
        *,
        on_use: Callable[[], object],
    ) -> None:
        self.keeper = keeper
        self._on_use = on_use
        self.accounts = accounts
        self.tenant = tenant
        self._refresh_seconds = refresh_seconds
        self._refreshed_at = -math.inf
        self._bucket: TokenBucket | None = None

    async def enter(self, store: MemoryStore, verb: str, about: object = None, *, may_replace: bool = False) -> None:
        """What is written is `about` that, and `may_replace` what is there. Raises TenantLimitError where the call is
        not allowed.
        """
        self._on_use()
        state = await self.keeper.current()
        state.refuse_deleted(self.tenant)
        limits = state.limits
        if limits.calls_per_second is not None:
            self._take_token(limits.calls_per_second, limits.burst or max(1.0, limits.calls_per_second))
        if verb in _REPLACING or (verb in _ADDING and may_replace):
            await self.accounts.require_room(0, 0)
        elif verb in _ADDING:
            size_bytes = len(about.encode()) if verb == "remember" and isinstance(about, str) else 0
            count = len(about) if verb == "remember_many" and isinstance(about, Sized) else 1
            await self.accounts.require_room(count, size_bytes)
        await self._refresh(store)

    def _take_token(self, rate: float, burst: float) -> None:
        if self._bucket is None:
            self._bucket = TokenBucket(burst, monotonic())
        if seconds := self._bucket.take(rate, burst, monotonic()):
            raise TenantLimitError(
                f"tenant {self.tenant} may make {rate:g} calls a second (calls_per_second; {burst:g} at once); try "
                f"again in {seconds:.2f} s, or raise the limit with agent.tenants.set_limits",
                limit="calls_per_second",
                allowed=rate,
                used=rate,
                retry_after_seconds=seconds,
            )

    async def _refresh(self, store: MemoryStore) -> None:
        """Live configuration, read with a call instead of in the background: a thousand tenants, no thousand tasks."""
        now = monotonic()
        if self._refresh_seconds is None or now - self._refreshed_at < self._refresh_seconds:
            return
        self._refreshed_at = now
        try:
            await store.refresh_config()
        except AgentMemoryError as error:
            _log.warning("live configuration of tenant %s could not be read, the last stays: %s", self.tenant, error)


class TenantStore(MemoryStore):
    """A `MemoryStore` whose calls are held against the limits of its tenant."""

    def __init__(self, *, gate: Gate, **options: Any) -> None:
        super().__init__(**options)
        self._gate = gate
        # It follows what operators set, and reads it with a call: not by a task of its own.
        self._refreshes_config = False

    async def ensure_index(self) -> None:
        """See `MemoryStore.ensure_index`; a tenant that was deleted is refused before anything is written."""
        await self._gate.keeper.refuse_deleted(self._gate.tenant)
        await super().ensure_index()

    async def rest(self) -> None:
        """Write what waits, and stop looking after its scopes until something is written again."""
        await self.flush()
        await self._capacity.close()

    @property
    def migration(self) -> EmbeddingMigration:
        """Changing the embedding model; for a tenant with an index of its own."""
        return TenantMigration(self._engine, self.name, self._records, self._models).behind(self._gate)


class TenantMigration(EmbeddingMigration):
    """As `EmbeddingMigration`; a tenant of a pool, or one that was deleted, is refused before anything is done."""

    _gate: Gate

    def behind(self, gate: Gate) -> TenantMigration:
        """The same, looking at the tenant's place first."""
        self._gate = gate
        return self

    async def start(self) -> MigrationStatus:
        """See `EmbeddingMigration.start`."""
        state = await self._gate.keeper.current(look=True)
        state.refuse_deleted(self._gate.tenant)
        if state.phase != "own":
            raise ConfigurationError(
                f"the memories of tenant {self._gate.tenant} share an index with others, and so a model; give them an "
                f'index of their own first: await agent.tenants.promote("{self._gate.tenant}")'
            )
        return await super().start()

    async def status(self) -> MigrationStatus:
        """See `EmbeddingMigration.status`."""
        await self._refuse_deleted()
        return await super().status()

    async def run(self, *, on_progress: ProgressFn | None = None, batch_size: int = DEFAULT_BATCH) -> MigrationStatus:
        """See `EmbeddingMigration.run`."""
        await self._refuse_deleted()
        return await super().run(on_progress=on_progress, batch_size=batch_size)

    async def switch(self) -> MigrationStatus:
        """See `EmbeddingMigration.switch`."""
        await self._refuse_deleted()
        return await super().switch()

    async def roll_back(self) -> MigrationStatus:
        """See `EmbeddingMigration.roll_back`."""
        await self._refuse_deleted()
        return await super().roll_back()

    async def abandon(self) -> MigrationStatus:
        """See `EmbeddingMigration.abandon`."""
        await self._refuse_deleted()
        return await super().abandon()

    async def finish(
        self, *, on_progress: ProgressFn | None = None, batch_size: int = DEFAULT_BATCH
    ) -> MigrationStatus:
        """See `EmbeddingMigration.finish`."""
        await self._refuse_deleted()
        return await super().finish(on_progress=on_progress, batch_size=batch_size)

    async def _refuse_deleted(self) -> None:
        await self._gate.keeper.refuse_deleted(self._gate.tenant)


def _gated(verb: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(call)
    async def gated(self: TenantStore, *arguments: Any, **named: Any) -> Any:
        if _within.get():
            return await call(self, *arguments, **named)
        token = _within.set(True)
        try:
            about = arguments[0] if arguments else named.get("content", named.get("memories"))
            await self._gate.enter(self, verb, about, may_replace=named.get("on_duplicate", "keep") != "keep")
            return await call(self, *arguments, **named)
        finally:
            _within.reset(token)

    return gated


def _gated_iterating(verb: str, iterate: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    @functools.wraps(iterate)
    async def gated(self: TenantStore, *arguments: Any, **named: Any) -> AsyncIterator[Any]:
        if not _within.get():
            await self._gate.enter(self, verb)
        found = iterate(self, *arguments, **named)
        try:
            async for item in found:
                yield item
        finally:
            # Closed here and now: a consumer of changes that breaks off gives up its share.
            if isinstance(found, AsyncGenerator):
                await found.aclose()

    return gated


for _verb in _CALLS:
    setattr(TenantStore, _verb, _gated(_verb, getattr(MemoryStore, _verb)))
for _verb in _ITERATING:
    setattr(TenantStore, _verb, _gated_iterating(_verb, getattr(MemoryStore, _verb)))
