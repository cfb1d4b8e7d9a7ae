"""The engine on a server: opens or borrows a client and hands out records and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from betterdb_agent_memory.engines.base import Collection, GroupCounting, LinkedRecords, Traffic
from betterdb_agent_memory.engines.event_log import Announcing
from betterdb_agent_memory.engines.valkey.clients import client_for
from betterdb_agent_memory.engines.valkey.event_log import ValkeyEventLog
from betterdb_agent_memory.engines.valkey.leases import ValkeyLeases
from betterdb_agent_memory.engines.valkey.links import ValkeyLinks
from betterdb_agent_memory.engines.valkey.moving import move_many
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from betterdb_agent_memory.engines.valkey.urls import client_from_url
from betterdb_agent_memory.engines.valkey.values import ValkeyValues
from betterdb_agent_memory.engines.watching import Watch, Watching


class ValkeyEngine:
    """Memories on Valkey with valkey-search, or on Redis with its Query Engine.

    `client` is a `valkey.asyncio.Valkey` or `redis.asyncio.Redis` in any configuration, also one from
    `Sentinel.master_for`; a `ValkeyCluster` or `RedisCluster`, of which the settings are taken, for connections of
    the engine's own (64 to each node unless it states a limit); or an object with an awaitable
    `execute_command(*args)`, which is then used without pipelines (one round trip per command). It stays open on
    `close` unless `owns_client` says otherwise. Any number of tasks may share an engine.

    On a cluster a request is one round trip for each node that it goes to, side by side; the map of the slots is read
    before the first one and when it misleads. What has certainly not run is sent again for up to ten seconds.

    `search_timeout_ms` bounds every search; one that may have been cut short raises
    `SearchTimeoutError`. `minimum_ef` is the least effort of a vector search (EF_RUNTIME; twice the
    number of neighbours when that is more): higher finds more of the true neighbours, slower.
    """

    def __init__(
        self, client: Any, owns_client: bool = False, *, search_timeout_ms: int = 5000, minimum_ef: int = 100
    ) -> None:
        self._client = client_for(client)
        self._owns_client = owns_client
        self._values = ValkeyValues(self._client)
        self._leases = ValkeyLeases(self._client)
        self._watching = Watching(self._client.listener().listen)
        self.search_timeout_ms = search_timeout_ms
        self.minimum_ef = minimum_ef

    @classmethod
    def from_url(cls, url: str, **options: Any) -> ValkeyEngine:
        """An engine with its own client; no I/O yet, the first request connects.

        Takes `valkey://`, `valkeys://`, `redis://`, `rediss://` and `unix://` URLs as valkey-py
        reads them; `valkey+cluster://user:password@host:port,host:port` (some nodes of a cluster) and
        `valkey+sentinel://user:password@host:port,host:port/name` (sentinels, with `sentinel_username` and
        `sentinel_password` as settings), which there are for `valkeys`, `redis` and `rediss` too. Settings in their
        query win over ours (64 connections at most, to each node of a cluster; 5 s to connect, 15 s for an answer).
        `options` are those of the constructor.

        Raises:
            ConfigurationError: the URL cannot be used, or valkey-py is not installed.
        """
        return cls(client_from_url(url), owns_client=True, **options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._client!r}, owns_client={self._owns_client})"

    @property
    def values(self) -> ValkeyValues:
        """Plain values."""
        return self._values

    @property
    def leases(self) -> ValkeyLeases:
        """Who may do long work."""
        return self._leases

    @property
    def round_trips(self) -> int:
        """Requests sent so far; a pipeline counts once."""
        return self._client.traffic.round_trips

    @property
    def traffic(self) -> Traffic:
        """What went to the server and came back."""
        return self._client.traffic

    def records(
        self, collection: Collection, counting: GroupCounting | None = None, announcing: Announcing | None = None
    ) -> ValkeyRecords:
        """The records of `collection`, counted in groups and told in a log as these two say; no I/O."""
        return ValkeyRecords(
            self._client,
            collection,
            counting,
            announcing,
            search_timeout_ms=self.search_timeout_ms,
            minimum_ef=self.minimum_ef,
        )

    async def move_many(
        self, source: Collection, target: Collection, ids: Mapping[str, str], *, without: Sequence[str] = ()
    ) -> int:
        """Make records of `source` records of `target`: see `Engine.move_many`."""
        return await move_many(self._client, source, target, ids, without=without)

    def event_log(self, key: str) -> ValkeyEventLog:
        """The event log at `key`; no I/O."""
        return ValkeyEventLog(self._client, self._watching, key)

    def links(self, linked: LinkedRecords) -> ValkeyLinks:
        """The links between these records; no I/O."""
        return ValkeyLinks(self._client, linked)

    def watch(self, keys: Sequence[str], on_change: Callable[[], None]) -> Watch:
        """Call `on_change` soon after strings or maps at these keys were changed, by whomever.

        Opens one connection more, with the settings of the client's pool, on a cluster one to each node that owns some
        of the keys. Not for a client that is one single connection, or one that is no client of valkey-py or redis-py.
        """
        return self._watching.add(keys, on_change)

    async def close(self) -> None:
        """Close the client if the engine opened it, or was told that it owns it."""
        await self._watching.close()
        await self._client.close(owned=self._owns_client)
