"""A thin typed adapter around the client that the user brought.

Understands `valkey.asyncio.Valkey` and `redis.asyncio.Redis` in every configuration, and any object
with an awaitable `execute_command(*args)`. Questions are asked on a connection of its pool and, when
that breaks, once more through the client's own methods with their retry policy. Writes are sent at
most once: a client that quietly repeats a request after a broken connection would count an increment
twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from inspect import isawaitable
from typing import Any, Literal

from betterdb_agent_memory.background import LoopLock, off_loop
from betterdb_agent_memory.engines.base import Traffic
from betterdb_agent_memory.engines.valkey.connections import Connections
from betterdb_agent_memory.engines.valkey.faults import CLIENT_ERRORS, is_of_another_loop, translate
from betterdb_agent_memory.engines.valkey.home import Home
from betterdb_agent_memory.engines.valkey.packing import Argument, Command, packed
from betterdb_agent_memory.engines.valkey.patterns import scan_command
from betterdb_agent_memory.engines.valkey.reply import parse_scan
from betterdb_agent_memory.engines.valkey.sizes import size_of_command, size_of_reply
from betterdb_agent_memory.engines.valkey.watching import Listener, connection_maker
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    ConfigurationError,
    EngineError,
    EngineUnavailableError,
    OutcomeUnknownError,
)

PIPELINE_COMMANDS = 500
"""Commands in one request; a larger batch is sent as several, one after the other."""

PIPELINE_BYTES = 4 * 2**20
"""Bytes of writes in one request, or a single larger one: what the event loop hands to a socket at once."""

PACKED_ON_THE_LOOP = 2**18
"""Bytes that are packed without leaving the event loop: less than a millisecond's worth."""

_COUNTED_AT_ONCE = 8
"""Entries of a reply that are counted in the time that work on one row takes elsewhere."""


class ValkeyClient:
    """Sends commands and counts requests. Replies are bytes, whatever the client decodes."""

    def __init__(self, client: Any, *, traffic: Traffic | None = None) -> None:
        library = _library(client)
        if library is not None and not any(".asyncio" in cls.__module__ for cls in type(client).__mro__):
            raise ConfigurationError(
                f"{type(client).__module__}.{type(client).__name__} is a blocking client; "
                f"pass one from {library}.asyncio"
            )
        if not callable(getattr(client, "execute_command", None)):
            raise ConfigurationError(
                f"a client needs an awaitable execute_command(*args); {type(client).__name__} has none"
            )
        self._client = client
        self._library = library
        self._pool = getattr(client, "connection_pool", None) if library is not None else None
        self._connections = None if library is None or self._pool is None else Connections(self._pool, library)
        # What an unknown client raises is unknown too.
        self._errors = CLIENT_ERRORS if library is not None else (Exception,)
        # valkey-py's own lock for a single connection is released by whoever is cancelled while
        # waiting for it, so our tasks wait here instead.
        single = library is not None and getattr(client, "single_connection_client", False)
        self._turn = LoopLock() if single else None
        self._home = Home()
        self.traffic = Traffic() if traffic is None else traffic

    def __repr__(self) -> str:
        # Never the client's own repr: it shows connection arguments.
        return f"{type(self).__name__}({type(self._client).__module__}.{type(self._client).__name__})"

    @property
    def is_pooled(self) -> bool:
        """Whether it is known how this client reaches a server: valkey-py's or redis-py's, not any other object."""
        return self._pool is not None

    def are_together(self, *keys: str) -> bool:
        """Whether one script may touch all these keys: always on one server."""
        return True

    async def ask(self, *command: Argument) -> Any:
        """The reply to a command that changes nothing, or that may happen twice. One round trip."""
        self._home.require()
        if (replies := await self._ask_directly((command,))) is not None:
            if isinstance(replies[0], Exception):
                raise replies[0]
            return replies[0]
        self.traffic.round_trips += 1
        self.traffic.bytes_sent += size_of_command(command)
        try:
            with _Cancellable():
                reply = await self._execute(command)
        except AgentMemoryError:
            raise
        except self._errors as error:
            raise self._explained(translate(error, _name(command))) from error
        self.traffic.bytes_received += size_of_reply(reply)
        return reply

    async def ask_many(self, commands: Sequence[Command]) -> list[Any]:
        """Replies to commands that change nothing, in order; a refused one is an error in the list.

        One round trip per 500 commands; one per command for a client without pipelines.

        Raises:
            EngineUnavailableError: the server could not be reached, or stopped answering.
        """
        self._home.require()
        replies: list[Any] = []
        for chunk in _chunks(commands):
            replies.extend(await self._ask_chunk(chunk))
        return replies

    async def tell_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send writes at most once; replies in order, an error in the list where one failed.

        A broken connection is in the list too: OutcomeUnknownError where the write may have
        happened, EngineUnavailableError where it certainly has not. Round trips as `ask_many`, and one
        more for each 4 MB.
        """
        self._home.require()
        replies: list[Any] = []
        for chunk, size in _sized_chunks(commands):
            if replies and _is_broken(replies[-1]):
                replies.extend(_not_sent(command) for command in chunk)
            elif self._pool is not None:
                replies.extend(await self._tell_on_one_connection(chunk, size))
            else:
                replies.extend(await self._tell_one_by_one(chunk))
        return replies

    async def tell_together(self, commands: Sequence[Command]) -> list[Any]:
        """As `tell_many`, on one connection and in one request: few commands that mean something only one behind
        another. Only for a client that has a pool. One round trip.
        """
        self._home.require()
        return await self._tell_on_one_connection(commands, sum(map(size_of_command, commands)))

    async def scan(self, prefix: str, *, page_size: int, kind: str | None = None) -> AsyncIterator[list[bytes]]:
        """Pages of the keys that begin with `prefix`, of one `kind` (`hash`) or of all; some twice, pages may be empty.

        Every key that is there all the time comes. Looks at all keys of the server's database: one round trip per
        `page_size` of them.
        """
        cursor = b"0"
        while True:
            cursor, keys = parse_scan(await self.ask(*scan_command(cursor, prefix, page_size, kind)))
            yield keys
            if cursor == b"0":
                return

    def listener(self) -> Listener:
        """What hears of changed keys on a connection beside those of the pool; a single connection stays alone."""
        own = self._pool is not None and self._turn is None
        settings = getattr(self._pool, "connection_kwargs", {}) if own else {}
        return Listener(connection_maker(self._pool) if own else None, database=settings.get("db") or 0)

    async def rest(self) -> None:
        """Close the connections of the pool that nobody uses; the next command opens another."""
        if self._pool is None:
            return
        try:
            await self._pool.disconnect(inuse_connections=False)
        except RuntimeError as error:
            if not is_of_another_loop(error):
                raise

    async def close(self, *, owned: bool = True) -> None:
        """Close the client, if it is `owned`, and its connections; what is asked afterwards is refused."""
        if not owned:
            return
        self._home.close()
        close = getattr(self._client, "aclose", None) or getattr(self._client, "close", None)
        if close is None:
            return
        try:
            outcome = close()
            if isawaitable(outcome):
                await outcome
        except RuntimeError as error:
            # Connections of a loop that has ended went with it.
            if not is_of_another_loop(error):
                raise

    async def _execute(self, command: Command) -> Any:
        if self._turn is not None:
            async with self._turn:
                return await self._client.execute_command(*command, NEVER_DECODE=True)
        if self._library is not None:
            return await self._client.execute_command(*command, NEVER_DECODE=True)
        outcome = self._client.execute_command(*command)
        if not isawaitable(outcome):
            raise ConfigurationError(f"{type(self._client).__name__}.execute_command is not awaitable")
        return await outcome

    async def _ask_chunk(self, chunk: Sequence[Command]) -> list[Any]:
        if (replies := await self._ask_directly(chunk)) is not None:
            return replies
        if len(chunk) == 1 or self._library is None or not hasattr(self._client, "pipeline"):
            return [await self._reply_or_refusal(command) for command in chunk]
        self.traffic.round_trips += 1
        try:
            pipeline = self._client.pipeline(transaction=False)
            for command in chunk:
                pipeline.execute_command(*command, NEVER_DECODE=True)
            with _Cancellable():
                replies = await pipeline.execute(raise_on_error=False)
        except self._errors as error:
            raise self._explained(translate(error, _name(chunk[0]))) from error
        self.traffic.bytes_sent += sum(map(size_of_command, chunk))
        self.traffic.bytes_received += size_of_reply(replies)
        return [
            _told(reply, command) if isinstance(reply, Exception) else reply
            for command, reply in zip(chunk, replies, strict=True)
        ]

    async def _ask_directly(self, chunk: Sequence[Command]) -> list[Any] | None:
        """Replies and refusals by way of a connection of the pool: half the work of the client's own methods.

        None where it has to be asked through those: another kind of client, or the connection broke, so that
        the client's retry policy is called for. A server that did not answer in time is not asked again, nor over
        another connection what those of a loop that has ended could not say.
        """
        if self._pool is None or self._turn is not None:
            return None
        size = sum(map(size_of_command, chunk))
        replies = await self._tell_on_one_connection(chunk, size, may_be_repeated=True)
        if not _is_broken(replies[-1]):
            return replies
        cause = replies[-1].__cause__
        if _is_timeout(replies[-1]) or (isinstance(cause, RuntimeError) and is_of_another_loop(cause)):
            raise translate(cause, _name(chunk[-1])) from cause
        return None

    async def _reply_or_refusal(self, command: Command) -> Any:
        try:
            return await self.ask(*command)
        except EngineUnavailableError:
            raise
        except EngineError as error:
            return error

    async def _tell_one_by_one(self, chunk: Sequence[Command]) -> list[Any]:
        replies: list[Any] = []
        for command in chunk:
            if replies and _is_broken(replies[-1]):
                replies.append(_not_sent(command))
                continue
            self.traffic.round_trips += 1
            self.traffic.bytes_sent += size_of_command(command)
            try:
                with _Cancellable():
                    replies.append(await self._execute(command))
            except self._errors as error:
                replies.append(_told(error, command, write_sent=True))
        self.traffic.bytes_received += size_of_reply(replies)
        return replies

    async def _tell_on_one_connection(
        self, chunk: Sequence[Command], size: int, *, may_be_repeated: bool = False
    ) -> list[Any]:
        # Packed before a connection is taken: whoever is cancelled meanwhile has broken none.
        request = packed(chunk) if size <= PACKED_ON_THE_LOOP else await asyncio.to_thread(packed, chunk)
        with _Cancellable() as cancellable:
            return await self._exchange(chunk, request, size, cancellable, may_be_repeated)

    async def _exchange(
        self,
        chunk: Sequence[Command],
        request: bytes,
        size: int,
        cancellable: _Cancellable,
        may_be_repeated: bool,
    ) -> list[Any]:
        # Below the client's execute_command, so that nothing is repeated and it is known whether a
        # broken connection broke before or after the request was sent.
        assert self._connections is not None
        self.traffic.round_trips += 1
        try:
            connection = await self._connections.take(chunk[0][0], may_be_repeated=may_be_repeated)
        except CLIENT_ERRORS as error:
            unreachable = self._explained(_told(error, chunk[0]))
            unreachable.__cause__ = error
            return [unreachable] * len(chunk)
        replies: list[Any] = []
        try:
            try:
                await _reconnect_if_closed(connection)
            except CLIENT_ERRORS as error:
                return [_told(error, chunk[0])] * len(chunk)
            cancellable.check()
            await self._connections.send(connection, request)
            cancellable.check()
            self.traffic.bytes_sent += size
            while len(replies) < len(chunk):
                replies.append(await self._read_reply(connection, chunk[len(replies)]))
            await self._connections.settle(connection, replies)
        except CLIENT_ERRORS as error:
            await connection.disconnect()
            broken = _told(error, chunk[len(replies)], write_sent=True)
            replies.extend([broken] * (len(chunk) - len(replies)))
        except BaseException:
            # Cancelled: replies still to come must not be read by the connection's next user.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await self._connections.give_back(connection)
        entries = sum(map(_entries, replies))
        received = await off_loop(entries // _COUNTED_AT_ONCE, size_of_reply, replies)
        self.traffic.bytes_received += received  # not read before others had their turn
        return replies

    def _explained(self, error: Exception) -> Exception:
        """The error, and over TLS what may be behind it: a server that refuses a certificate just closes."""
        is_tls = self._connections is not None and self._connections.is_tls
        if not is_tls or not isinstance(error, EngineUnavailableError) or "certificate" in str(error):
            return error
        return EngineUnavailableError(
            f"{error} (over TLS: does the server speak it, and does it accept the client's certificate, ssl_certfile "
            "and ssl_keyfile?)"
        )

    async def _read_reply(self, connection: Any, command: Command) -> Any:
        assert self._connections is not None
        try:
            return await self._connections.read(connection)
        except CLIENT_ERRORS as error:
            names = {cls.__name__ for cls in type(error).__mro__}
            if "ResponseError" not in names and "NoPermissionError" not in names:
                raise
            return _told(error, command)


class _Cancellable:
    """Raises a cancellation that a driver swallowed while the block ran, instead of what the driver did.

    On Python 3.11 a driver that waits with `asyncio.wait_for`, as both do, goes on when it is cancelled in the moment
    in which it has what it waited for. A cancellation from before the block is none: cleaning up asks servers too. One
    that is still to be raised, at the first wait in the block, is: a signal's comes while the task runs.
    """

    __slots__ = ("_before", "_task")

    def __enter__(self) -> _Cancellable:
        self._task = asyncio.current_task()
        self._before = 0 if self._task is None else self._task.cancelling() - getattr(self._task, "_must_cancel", False)
        return self

    def check(self) -> None:
        """Raise the cancellation, if there was one."""
        if self._task is not None and self._task.cancelling() > self._before:
            raise asyncio.CancelledError

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None or issubclass(kind, Exception):
            self.check()


async def _reconnect_if_closed(connection: Any) -> None:
    # redis-py hands out connections that the server has closed (with RESP3, its default) and relies
    # on its retries; a write sent once would fail, and nobody could say whether it had happened.
    reader = getattr(connection, "_reader", None)
    if reader is not None and reader.at_eof():
        await connection.disconnect()
        await connection.connect()


def _told(error: Exception, command: Command, *, write_sent: bool = False) -> Exception:
    told = translate(error, _name(command), write_sent=write_sent)
    if told is not error:
        told.__cause__ = error
    return told


def _name(command: Command) -> str:
    head = command[0]
    return head.decode() if isinstance(head, bytes) else str(head)


def _is_broken(reply: Any) -> bool:
    return isinstance(reply, OutcomeUnknownError | EngineUnavailableError)


def _is_timeout(reply: Exception) -> bool:
    return "TimeoutError" in {cls.__name__ for cls in type(reply.__cause__).__mro__}


def _not_sent(command: Command) -> EngineUnavailableError:
    return EngineUnavailableError(f"{_name(command)} was not sent: the connection broke earlier in this batch")


def _chunks(commands: Sequence[Command]) -> Iterator[Sequence[Command]]:
    for start in range(0, len(commands), PIPELINE_COMMANDS):
        yield commands[start : start + PIPELINE_COMMANDS]


def _entries(reply: Any) -> int:
    """How many keys and rows a list has; of a dictionary, which RESP3 has around them, the longest list in it."""
    if type(reply) is dict:
        return max(map(_entries, reply.values()), default=0)
    return len(reply) if type(reply) is list else 0


def _sized_chunks(commands: Sequence[Command]) -> Iterator[tuple[Sequence[Command], int]]:
    """The same, each of 4 MB or a single command, with about how many bytes it is."""
    for chunk in _chunks(commands):
        begin = total = 0
        for index, command in enumerate(chunk):
            size = size_of_command(command)
            if total and total + size > PIPELINE_BYTES:
                yield chunk[begin:index], total
                begin, total = index, 0
            total += size
        yield chunk[begin:], total


def _library(client: Any) -> Literal["valkey", "redis"] | None:
    """`valkey` or `redis` for their clients and subclasses, None for any other object."""
    for cls in type(client).__mro__:
        match cls.__module__.partition(".")[0]:
            case "valkey":
                return "valkey"
            case "redis":
                return "redis"
    return None
