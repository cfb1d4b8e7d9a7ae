"""A pool of connections to the primary that sentinels name, which has a caller wait when all are in use."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from valkey.asyncio import BlockingConnectionPool, Sentinel, SSLConnection
from valkey.asyncio.sentinel import (
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from betterdb_agent_memory.background import LoopLock
from betterdb_agent_memory.engines.valkey.pools import CONNECT_TIMEOUT_SECONDS
from betterdb_agent_memory.engines.valkey.slots import Address


class BlockingSentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """valkey-py's pool for sentinels, with the limit of its blocking one; closed, it closes its sentinels as well."""

    def __init__(self, name: str, manager: Any, **settings: Any) -> None:
        super().__init__(name, manager, **settings)  # type: ignore[no-untyped-call]
        self._sentinels = tuple(manager.sentinels)
        self._asking = LoopLock()

    async def get_master_address(self) -> tuple[str, int]:
        """Where the primary is, by the first sentinel that knows.

        One caller at a time: valkey-py moves the sentinel that answered to the front of a list, and two that do so at
        once can leave it there twice and lose another one.
        """
        async with self._asking:
            address: tuple[str, int] = await super().get_master_address()  # type: ignore[no-untyped-call]
            return address

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections; those in use and those to the sentinels stay, where only idle ones are meant."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await asyncio.gather(*(sentinel.aclose() for sentinel in self._sentinels))


def sentinel_pool(
    sentinels: Sequence[Address],
    name: str,
    like: BlockingConnectionPool,
    connection: Mapping[str, Any],
    credentials: Mapping[str, str],
) -> BlockingSentinelPool:
    """A pool for the primary called `name`, with the limits of `like` and the settings of its connections.

    `credentials` are those for the sentinels, which have users of their own. TLS is used for both or neither, with the
    same certificates.
    """
    tls = issubclass(like.connection_class, SSLConnection)
    shared = {key: value for key, value in connection.items() if tls and key.startswith("ssl_")}
    if tls:
        shared["ssl"] = True
    asked = {"socket_timeout": CONNECT_TIMEOUT_SECONDS, "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS}
    manager: Any = Sentinel(  # type: ignore[no-untyped-call]
        list(sentinels), sentinel_kwargs={**asked, **shared, **credentials}
    )
    return BlockingSentinelPool(
        name,
        manager,
        connection_class=SentinelManagedSSLConnection if tls else SentinelManagedConnection,
        max_connections=like.max_connections,
        timeout=like.timeout,
        **connection,
    )
