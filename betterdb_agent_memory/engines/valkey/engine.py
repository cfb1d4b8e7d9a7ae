"""The engine on a server: opens or borrows a client and hands out records and values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from betterdb_agent_memory.engines.base import Collection, Traffic
from betterdb_agent_memory.engines.valkey.client import ValkeyClient
from betterdb_agent_memory.engines.valkey.leases import ValkeyLeases
from betterdb_agent_memory.engines.valkey.moving import move_many
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from betterdb_agent_memory.engines.valkey.values import ValkeyValues
from betterdb_agent_memory.engines.watching import Watch, Watching
from betterdb_agent_memory.errors import ConfigurationError

SCHEMES = ("valkey", "valkeys", "redis", "rediss", "unix")

MAX_CONNECTIONS = 64
CONNECT_TIMEOUT_SECONDS = 5.0
ANSWER_TIMEOUT_SECONDS = 15.0
"""Above the search timeout, so that the server gives up before we do."""
_UNKNOWN_SETTING = re.compile(r"unexpected keyword argument '(\w+)'")


class ValkeyEngine:
    """Memories on Valkey with valkey-search, or on Redis with its Query Engine.

    `client` is a `valkey.asyncio.Valkey` or `redis.asyncio.Redis` in any configuration, or an
    object with an awaitable `execute_command(*args)`, which is then used without pipelines (one
    round trip per command). It stays open on `close` unless `owns_client` says otherwise. Any
    number of tasks may share an engine.

    `search_timeout_ms` bounds every search; one that may have been cut short raises
    `SearchTimeoutError`. `minimum_ef` is the least effort of a vector search (EF_RUNTIME; twice the
    number of neighbours when that is more): higher finds more of the true neighbours, slower.
    """

    def __init__(
        self, client: Any, owns_client: bool = False, *, search_timeout_ms: int = 5000, minimum_ef: int = 100
    ) -> None:
        self._client = ValkeyClient(client)
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
        reads them; settings in their query win over ours (64 connections at most, 5 s to connect,
        15 s for an answer). `options` are those of the constructor.

        Raises:
            ConfigurationError: the URL cannot be used, or valkey-py is not installed.
        """
        scheme, separator, rest = url.partition("://")
        scheme = scheme.lower()
        if scheme not in SCHEMES or not separator:
            # Not the URL itself: it may hold a password.
            raise ConfigurationError(f"a server URL begins with one of {', '.join(f'{s}://' for s in SCHEMES)}")
        try:
            from valkey.asyncio import BlockingConnectionPool, Valkey
            from valkey.exceptions import ValkeyError
        except ImportError as error:
            raise ConfigurationError("a server URL needs the package valkey: pip install valkey") from error
        pool: Any = BlockingConnectionPool
        _refuse_other_database(scheme, rest)
        try:
            connections = pool.from_url(
                f"{scheme}://{rest}",
                max_connections=MAX_CONNECTIONS,
                timeout=ANSWER_TIMEOUT_SECONDS,
                socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
                socket_timeout=ANSWER_TIMEOUT_SECONDS,
                health_check_interval=30,
                # valkey-py's unix connections refuse the option.
                **({} if scheme == "unix" else {"socket_keepalive": True}),
            )
            # One that is never connected: valkey-py looks at the settings no earlier.
            connections.connection_class(**connections.connection_kwargs)
        except (ValueError, TypeError, ValkeyError) as error:
            # Neither cause nor text: both may quote a part of the password.
            if unknown := _UNKNOWN_SETTING.search(str(error)):
                raise ConfigurationError(
                    f"url: valkey-py has no setting {unknown[1]!r} for a {scheme}:// URL; correct it or leave it out"
                ) from None
            raise ConfigurationError(
                f"url: this {scheme}:// URL cannot be read; expected {scheme}://user:password@host:port/database "
                "with reserved characters of the password percent-encoded, and settings that valkey-py knows"
            ) from None
        return cls(Valkey.from_pool(connections), owns_client=True, **options)

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

    def records(self, collection: Collection) -> ValkeyRecords:
        """The records of `collection`; no I/O."""
        return ValkeyRecords(
            self._client, collection, search_timeout_ms=self.search_timeout_ms, minimum_ef=self.minimum_ef
        )

    async def move_many(
        self, source: Collection, target: Collection, ids: Mapping[str, str], *, without: Sequence[str] = ()
    ) -> int:
        """Make records of `source` records of `target`: see `Engine.move_many`."""
        return await move_many(self._client, source, target, ids, without=without)

    def watch(self, keys: Sequence[str], on_change: Callable[[], None]) -> Watch:
        """Call `on_change` soon after strings or maps at these keys were changed, by whomever.

        Opens one connection more, with the settings of the client's pool. Not for a client that is one single
        connection, a cluster client, or one that is no client of valkey-py or redis-py.
        """
        return self._watching.add(keys, on_change)

    async def close(self) -> None:
        """Close the client if the engine opened it, or was told that it owns it."""
        await self._watching.close()
        if self._owns_client:
            await self._client.close()


def _refuse_other_database(scheme: str, rest: str) -> None:
    """Refuse a path that is no number, which valkey-py takes for database 0. That of unix:// is the socket."""
    try:
        path = urlsplit(f"{scheme}://{rest}").path
    except ValueError:
        return  # valkey-py says no to it, too
    if scheme != "unix" and not re.fullmatch("/?[0-9]*/?", unquote(path)):
        # Not the path: after a slash in a password it is a part of that.
        raise ConfigurationError(
            f"url: what follows the host in a {scheme}:// URL is the number of a database, {scheme}://host:port/0 "
            "(a slash in a password is written %2F)"
        )
