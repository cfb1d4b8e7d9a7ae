"""The registry that the BetterDB Monitor reads: which stores there are, and which are alive."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from betterdb_agent_memory.background import Periodic
from betterdb_agent_memory.engines import engine_for
from betterdb_agent_memory.errors import AgentMemoryError

_log = logging.getLogger(__name__)

REGISTRY_KEY = "__betterdb:caches"
PROTOCOL_KEY = "__betterdb:protocol"
HEARTBEAT_KEY_PREFIX = "__betterdb:heartbeat:"
PROTOCOL_VERSION = 1
HEARTBEAT_TTL_SECONDS = 60
DEFAULT_HEARTBEAT_INTERVAL_SECONDS = 30.0
MEMORY_CACHE_TYPE = "agent_memory"
MEMORY_CAPABILITIES = ["recall", "consolidate", "reinforce"]


class MemoryDiscovery:
    """Announces one memory store and keeps its heartbeat.

    Best effort, as published: a failed write is logged and reported to `on_write_failed`, and never
    raised. `client` is a Valkey or Redis client, or an engine.
    """

    def __init__(
        self,
        *,
        client: object,
        name: str,
        version: str,
        stats_key: str,
        heartbeat_interval_s: float | None = None,
        on_write_failed: Callable[[], None] | None = None,
    ) -> None:
        self._values = engine_for(client).values
        self._name = name
        self._version = version
        self._stats_key = stats_key
        interval_seconds = heartbeat_interval_s or DEFAULT_HEARTBEAT_INTERVAL_SECONDS
        self._periodic = Periodic(self.tick_heartbeat, interval_seconds, at_once=False)
        self._on_write_failed = on_write_failed or (lambda: None)
        self._field = f"{name}:mem"
        self._heartbeat_key = f"{HEARTBEAT_KEY_PREFIX}{self._field}"
        self._started_at = _iso_now()

    def build_marker(self) -> dict[str, object]:
        """What the registry says about this store, in the contract's member order."""
        return {
            "type": MEMORY_CACHE_TYPE,
            "prefix": self._name,
            "version": self._version,
            "protocol_version": PROTOCOL_VERSION,
            "capabilities": list(MEMORY_CAPABILITIES),
            "stats_key": self._stats_key,
            "started_at": self._started_at,
            "pid": os.getpid(),
            "hostname": socket.gethostname(),
        }

    async def register(self) -> None:
        """Write marker, protocol version and heartbeat, then keep beating. Four round trips."""
        await self._attempt(self._warn_of_collision())
        await self._attempt(self._write_marker())
        await self._attempt(self._values.set(PROTOCOL_KEY, str(PROTOCOL_VERSION).encode(), only_if_absent=True))
        await self._attempt(self._write_heartbeat())
        self._periodic.start()

    async def tick_heartbeat(self) -> None:
        """One heartbeat, and the marker again in case it was deleted. Two round trips."""
        await self._attempt(self._write_heartbeat())
        await self._attempt(self._write_marker())

    async def stop(self, *, delete_heartbeat: bool) -> None:
        """Stop beating; with `delete_heartbeat` the store shows as gone at once."""
        await self._periodic.stop()
        if delete_heartbeat:
            await self._attempt(self._values.delete(self._heartbeat_key))

    async def _write_heartbeat(self) -> None:
        await self._values.set(self._heartbeat_key, _iso_now().encode(), ttl_seconds=HEARTBEAT_TTL_SECONDS)

    async def _write_marker(self) -> None:
        marker = json.dumps(self.build_marker(), separators=(",", ":"), ensure_ascii=False)
        await self._values.write_map(REGISTRY_KEY, {self._field: marker.encode()})

    async def _warn_of_collision(self) -> None:
        stored = (await self._values.read_map(REGISTRY_KEY)).get(self._field)
        try:
            marker = json.loads(stored) if stored else None
        except ValueError:
            return
        other_type = marker.get("type") if isinstance(marker, dict) else None
        if other_type not in (None, MEMORY_CACHE_TYPE):
            _log.warning("registry field %s belongs to a %r and is overwritten", self._field, other_type)

    async def _attempt(self, write: Awaitable[object]) -> None:
        try:
            await write
        except AgentMemoryError as error:
            self._on_write_failed()
            _log.warning("discovery of store %s: %s", self._name, error)


def _iso_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
