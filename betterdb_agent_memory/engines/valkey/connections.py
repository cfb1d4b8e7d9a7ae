"""Connections of a client's pool: taken, found fit for use, and given back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

from betterdb_agent_memory.engines.valkey.faults import is_refused_by_replica
from betterdb_agent_memory.engines.valkey.packing import Argument


class Connections:
    """What `valkey.asyncio` and `redis.asyncio` keep in a connection pool, of whatever class.

    Before valkey-py hands out a connection it tries to read from it, to see whether it was closed or an answer was
    left in it: 0.1 ms, a third of what a small question takes. Its buffers tell the same, as redis-py looks at them.
    """

    def __init__(self, pool: Any, library: Literal["valkey", "redis"]) -> None:
        self._pool = pool
        self._is_valkey = library == "valkey"
        self._is_plain = self._is_valkey and _is_plain(type(pool))
        self._is_sentinel = hasattr(pool, "sentinel_manager")

    @property
    def is_tls(self) -> bool:
        """Whether the connections are encrypted."""
        return "SSLConnection" in {cls.__name__ for cls in getattr(self._pool, "connection_class", object).__mro__}

    async def take(self, command: Argument, *, may_be_repeated: bool) -> Any:
        """A connection; the pool's own way of making sure of it where a look is not enough.

        A connection that broke a moment ago may be taken for a good one: `may_be_repeated` says that this does no
        harm.
        """
        if may_be_repeated and self._is_plain and self._pool.can_get_connection():
            return await self._made_sure_of(self._pool.get_available_connection())
        # valkey-py insists on a command name here, redis-py warns about one.
        return await (self._pool.get_connection(command) if self._is_valkey else self._pool.get_connection())

    async def send(self, connection: Any, request: bytes) -> None:
        """Hand a whole request to the socket, which nearly always takes it at once.

        With a time limit valkey-py makes a task of that, which takes longer than the sending.
        """
        if not self._is_plain:
            await connection.send_packed_command(request)
            return
        await connection.check_health()
        writer = connection._writer
        writer.write(request)
        if writer.transport.get_write_buffer_size():
            async with asyncio.timeout(connection.socket_timeout):
                await writer.drain()

    async def read(self, connection: Any) -> Any:
        """The next reply as bytes; a refusal is raised.

        A connection of a sentinel's pool breaks itself where a former primary refuses a write, so that nobody could
        say any more that nothing happened: it is read as the connection that it is besides.
        """
        if not self._is_sentinel:
            return await connection.read_response(disable_decoding=True)
        plain: Any = super(_sentinel_class(type(connection)), connection)
        return await plain.read_response(disable_decoding=True)

    async def settle(self, connection: Any, replies: Sequence[Any]) -> None:
        """After the last reply: a connection to a former primary is closed, so that the sentinels are asked anew."""
        if self._is_sentinel and any(is_refused_by_replica(reply) for reply in replies):
            await connection.disconnect()

    async def give_back(self, connection: Any) -> None:
        """For the next one."""
        await self._pool.release(connection)

    async def _made_sure_of(self, connection: Any) -> Any:
        if not _is_clean(connection):
            try:
                await self._pool.ensure_connection(connection)
            except BaseException:
                await self._pool.release(connection)
                raise
        return connection


def _sentinel_class(kind: type[Any]) -> type[Any]:
    """The class, among those that a connection is made of, that reads replies in a sentinel's manner."""
    return next((cls for cls in kind.__mro__ if "read_response" in vars(cls)), kind)


def _is_plain(pool: type) -> bool:
    """Whether a pool hands out connections as valkey-py's own do."""
    from valkey.asyncio import BlockingConnectionPool, ConnectionPool

    known = (ConnectionPool.get_connection, BlockingConnectionPool.get_connection)
    return (
        getattr(pool, "get_connection", None) in known
        and getattr(pool, "get_available_connection", None) is ConnectionPool.get_available_connection
        and getattr(pool, "ensure_connection", None) is ConnectionPool.ensure_connection
    )


def _is_clean(connection: Any) -> bool:
    """Whether it is connected and nothing waits to be read, as far as this can be seen from its buffers."""
    stream = getattr(connection, "_reader", None)
    parsed = getattr(getattr(connection, "_parser", None), "_reader", None)
    received, has_data = getattr(stream, "_buffer", None), getattr(parsed, "has_data", None)
    if stream is None or has_data is None or received is None:
        return False
    return not received and not has_data() and not stream.at_eof()
