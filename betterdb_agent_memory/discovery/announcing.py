"""Keeps one store or cache announced in the registry that the BetterDB Monitor reads."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping

from betterdb_agent_memory.background import Periodic
from betterdb_agent_memory.discovery.dead_names import DeadNames, Patience
from betterdb_agent_memory.discovery.markers import (
    HEARTBEAT_KEY_PREFIX,
    PROTOCOL_KEY,
    PROTOCOL_VERSION,
    REGISTRY_KEY,
    CacheTraits,
    cache_marker,
    encoded,
    memory_marker,
    read_marker,
    timestamp,
)
from betterdb_agent_memory.engines import engine_for
from betterdb_agent_memory.engines.values import Reply, ValueBatch
from betterdb_agent_memory.errors import AgentCacheUsageError, AgentMemoryError

_log = logging.getLogger(__name__)

HEARTBEAT_TTL_SECONDS = 60
DEFAULT_HEARTBEAT_INTERVAL_SECONDS = 30.0
SIBLING_SECONDS = 60.0
"""How long after its last beat another process of the same name counts as alive: the life of a heartbeat."""
WITHDRAWAL_SECONDS = 2.0
"""How long `stop` waits for a server: a heartbeat that stays runs out by itself."""
LOOK_EVERY_TICKS = 10
MAX_NAMES_PER_LOOK = 400
"""Heartbeats that one look asks for, so that it stays one round trip."""


class Discovery(ABC):
    """Announces one name and keeps its heartbeat, together with any number of other processes.

    Best effort: what fails is logged, reported to `on_write_failed`, and tried again with the next
    beat; only a name that belongs to something else is an error. Every beat writes the marker again, so
    that a server that has lost its data lists the name within one interval. Dead names are cleared.

    `client` is a Valkey or Redis client, or an engine. `now_seconds` is a clock that only moves forward.
    """

    def __init__(
        self,
        *,
        client: object,
        field: str,
        heartbeat_interval_s: float | None = None,
        on_write_failed: Callable[[], None] | None = None,
        patience: Patience | None = None,
        now_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._values = engine_for(client).values
        self._field = field
        self._heartbeat_key = f"{HEARTBEAT_KEY_PREFIX}{field}"
        interval_seconds = heartbeat_interval_s or DEFAULT_HEARTBEAT_INTERVAL_SECONDS
        self._periodic = Periodic(self.tick_heartbeat, interval_seconds, at_once=False)
        self._on_write_failed = on_write_failed or (lambda: None)
        self._now_seconds = now_seconds
        self._dead_names = DeadNames(field, patience)
        self._started_at = timestamp()
        self._is_ours = False
        self._refusal: AgentMemoryError | None = None
        self._ticks = 0
        # More than one, since a beat that got no answer may have been written or not.
        self._beats: deque[bytes] = deque(maxlen=4)
        self._sibling_seen_at: float | None = None

    @abstractmethod
    def build_marker(self) -> dict[str, object]:
        """What the registry says about this name, in the contract's member order."""

    @abstractmethod
    def collision(self, other_type: str) -> AgentMemoryError | None:
        """What to raise when the name belongs to another type; None overwrites it."""

    async def register(self) -> None:
        """Write marker, protocol version and heartbeat, then keep beating. Two round trips.

        Raises:
            AgentCacheUsageError: a cache's name belongs to another type; nothing is written.
        """
        try:
            await self._announce(await self._registry())
        except Exception as error:
            if error is self._refusal:
                raise
            # Best effort: the next beat tries again.
            self._failed(error)
        self._periodic.start()

    async def tick_heartbeat(self) -> None:
        """One heartbeat, with marker and protocol version. One round trip, every tenth time three. Never raises."""
        self._ticks += 1
        try:
            looks = not self._is_ours or self._ticks % LOOK_EVERY_TICKS == 0
            await self._announce(await self._registry() if looks else {})
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, the next beat comes
            self._failed(error)

    async def stop(self, *, delete_heartbeat: bool) -> None:
        """Stop beating; with `delete_heartbeat` the name shows as gone at once. One round trip, 2 s at most.

        It stays while another process beats for the same name, or did so within the last minute.
        """
        await self._periodic.stop()
        if not delete_heartbeat or self._has_sibling():
            return
        batch = self._values.batch()
        deleted = [batch.delete(self._heartbeat_key, only_if=beat) for beat in self._beats]
        if deleted:
            try:
                async with asyncio.timeout(WITHDRAWAL_SECONDS):
                    await batch.send()
                for reply in deleted:
                    reply.result()
            except Exception as error:  # noqa: BLE001 - it runs out by itself
                self._failed(error)

    async def _registry(self) -> dict[str, bytes]:
        """All markers, once it is sure that the name is ours."""
        registry = await self._values.read_map(REGISTRY_KEY)
        stored = registry.get(self._field)
        marker = read_marker(stored) if stored is not None else None
        if not self._is_ours and marker is not None and marker.type not in (None, self.build_marker()["type"]):
            self._refusal = self.collision(marker.type)
            if self._refusal is not None:
                raise self._refusal
            _log.warning("registry field %s belongs to a %r and is overwritten", self._field, marker.type)
        self._is_ours = True
        return registry

    async def _announce(self, registry: Mapping[str, bytes]) -> None:
        """Write all that is ours, and look at the heartbeats of others on the way."""
        batch = self._values.batch()
        beat = timestamp().encode()
        previous = batch.exchange(self._heartbeat_key, beat, ttl_seconds=HEARTBEAT_TTL_SECONDS)
        written: list[Reply[object]] = [
            batch.write_map(REGISTRY_KEY, {self._field: encoded(self.build_marker())}),
            batch.set(PROTOCOL_KEY, str(PROTOCOL_VERSION).encode(), only_if_absent=True),
        ]
        names = self._dead_names.worth_a_look(registry, limit=MAX_NAMES_PER_LOOK)
        heartbeats = {name: batch.get(f"{HEARTBEAT_KEY_PREFIX}{name}") for name in names}
        known = tuple(self._beats)
        self._beats.append(beat)
        await batch.send()
        before = previous.result()
        if before is not None and before not in known:
            self._sibling_seen_at = self._now_seconds()
        for reply in written:
            reply.result()
        await self._clear({name: registry[name] for name in names}, heartbeats)

    async def _clear(self, markers: Mapping[str, bytes], heartbeats: Mapping[str, Reply[bytes | None]]) -> None:
        """Remove the names that are dead: at most one round trip, none when there is nothing to remove."""
        beating = {name for name, reply in heartbeats.items() if reply.result() is not None}
        dead = self._dead_names.seen(markers, beating, self._now_seconds())
        if not dead:
            return
        batch: ValueBatch = self._values.batch()
        removed = {name: batch.remove_field_if(REGISTRY_KEY, name, marker) for name, marker in dead.items()}
        await batch.send()
        for name, reply in removed.items():
            self._dead_names.removed(name)
            if reply.result():
                _log.info("registry field %s had no heartbeat for minutes and was removed", name)

    def _has_sibling(self) -> bool:
        seen_at = self._sibling_seen_at
        return seen_at is not None and self._now_seconds() - seen_at < SIBLING_SECONDS

    def _failed(self, error: Exception) -> None:
        self._on_write_failed()
        _log.warning("discovery of %s: %s: %s", self._field, type(error).__name__, error)


class MemoryDiscovery(Discovery):
    """Announces a memory store, as field `{name}:mem`. A name that belongs to another type is overwritten."""

    def __init__(
        self,
        *,
        client: object,
        name: str,
        version: str,
        stats_key: str,
        heartbeat_interval_s: float | None = None,
        on_write_failed: Callable[[], None] | None = None,
        patience: Patience | None = None,
        now_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            client=client,
            field=f"{name}:mem",
            heartbeat_interval_s=heartbeat_interval_s,
            on_write_failed=on_write_failed,
            patience=patience,
            now_seconds=now_seconds,
        )
        self._name = name
        self._version = version
        self._stats_key = stats_key

    def build_marker(self) -> dict[str, object]:
        """What the registry says about this store, in the contract's member order."""
        return memory_marker(self._name, self._version, self._stats_key, self._started_at)

    def collision(self, other_type: str) -> AgentMemoryError | None:
        """Nothing: the field of a memory store ends with `:mem`, which no cache is called."""
        return None


class CacheDiscovery(Discovery):
    """Announces a cache, as field `{name}`. A name that belongs to another type is refused."""

    def __init__(
        self,
        *,
        client: object,
        name: str,
        version: str,
        traits: CacheTraits,
        heartbeat_interval_s: float | None = None,
        on_write_failed: Callable[[], None] | None = None,
        patience: Patience | None = None,
        now_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            client=client,
            field=name,
            heartbeat_interval_s=heartbeat_interval_s,
            on_write_failed=on_write_failed,
            patience=patience,
            now_seconds=now_seconds,
        )
        self._name = name
        self._version = version
        self._traits = traits

    def build_marker(self) -> dict[str, object]:
        """What the registry says about this cache, in the contract's member order."""
        return cache_marker(self._name, self._version, self._started_at, self._traits)

    def collision(self, other_type: str) -> AgentMemoryError | None:
        """A usage error: two things of one name would share keys."""
        return AgentCacheUsageError(
            f"the name {self._name!r} is registered as a {other_type!r} on this server; give the cache another name "
            f"(or, when nothing of that name runs any more, HDEL {REGISTRY_KEY} {self._name})"
        )
