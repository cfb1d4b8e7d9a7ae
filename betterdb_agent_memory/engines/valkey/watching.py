"""Hearing at once of changed keys, on a connection of its own: client tracking, or else keyspace events.

The connection speaks RESP2, whatever the client's others speak, and has its invalidations redirected to
itself, so that one way of listening works with both drivers, both protocols and every server since 6.0.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from typing import Any

from betterdb_agent_memory.background import end_if_cancelled
from betterdb_agent_memory.engines.valkey.faults import CLIENT_ERRORS, translate
from betterdb_agent_memory.engines.valkey.packing import Argument
from betterdb_agent_memory.engines.watching import Tell
from betterdb_agent_memory.errors import AgentMemoryError, EngineError, EngineUnavailableError

_log = logging.getLogger(__name__)

MakeConnection = Callable[[], Any]

_INVALIDATIONS = "__redis__:invalidate"
_QUIET_SECONDS = 10.0
"""After this time without a message the server is asked whether it is there, and given as long to answer."""

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 30.0


class Listener:
    """Hears which keys of a server change. `make_connection` is None where there can be none."""

    def __init__(self, make_connection: MakeConnection | None, database: int) -> None:
        self._make_connection = make_connection
        self._database = database
        self._said: set[str] = set()

    async def listen(self, keys: frozenset[str], tell: Tell) -> None:
        """Tell of changes of `keys` until cancelled; a broken connection is made anew.

        Returns when the server refuses. Tells of all keys whenever listening begins, since a change may
        have been missed until then.
        """
        if self._make_connection is None:
            self._say("a connection of its own cannot be made from this client")
            return
        pause_seconds = _FIRST_PAUSE_SECONDS
        clock = asyncio.get_running_loop().time
        while True:
            connection, began = None, clock()
            try:
                connection = self._make_connection()
                channels = await _listening(connection, keys, self._database)
                tell(None)
                await _hear(connection, channels, tell)
            except EngineUnavailableError as error:
                self._say(str(error), "until the server is back ")
            except AgentMemoryError as error:
                self._say(str(error))
                return
            finally:
                if connection is not None:
                    await _close(connection)
            end_if_cancelled()
            if clock() - began > _LONGEST_PAUSE_SECONDS:
                pause_seconds = _FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause_seconds * random.uniform(0.5, 1))
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _say(self, reason: str, how_long: str = "") -> None:
        if how_long not in self._said:
            self._said.add(how_long)
            _log.info("%schanges of live configuration are seen at intervals only: %s", how_long, reason)


def connection_maker(pool: Any) -> MakeConnection | None:
    """What makes a connection beside a driver's pool, with its settings; None for pools of another kind."""
    kind, settings = getattr(pool, "connection_class", None), getattr(pool, "connection_kwargs", None)
    if kind is None or not isinstance(settings, dict):
        return None

    def make() -> Any:
        own: dict[str, Any] = {
            **settings,
            "protocol": 2,
            # A health check reads the next message as its answer.
            "health_check_interval": 0,
        }
        # What a driver does besides with its connections: caching replies, hearing of maintenance.
        for name in ("cache_enabled", "maint_notifications_config", "maint_notifications_pool_handler"):
            own.pop(name, None)
        try:
            return kind(**own)
        except (TypeError, ValueError) as error:
            raise EngineError(f"{kind.__name__} takes other settings: {error}") from error

    return make


async def _listening(connection: Any, keys: frozenset[str], database: int) -> dict[bytes, str | None]:
    """Begin to listen: channels, each with the key whose changes it tells, None when the message names the keys."""
    try:
        await connection.connect()
    except CLIENT_ERRORS as error:
        # Whatever it is, a password that is being changed included, it may be over later.
        raise EngineUnavailableError(f"no connection: {error}") from error
    end_if_cancelled()
    channels: dict[str, str | None] = {_INVALIDATIONS: None}
    try:
        identity = await _ask(connection, "CLIENT", "ID")
        prefixes = [part for prefix in _without_overlap(keys) for part in ("PREFIX", prefix)]
        await _ask(connection, "CLIENT", "TRACKING", "ON", "REDIRECT", str(identity), "BCAST", *prefixes)
    except EngineUnavailableError:
        raise
    except EngineError as refused:
        if not await _has_keyspace_events(connection):
            raise refused from None
        channels = {f"__keyspace@{database}__:{key}": key for key in keys}
    await _ask(connection, "SUBSCRIBE", *channels)
    for _ in range(len(channels) - 1):
        await _next_message(connection)
    return {channel.encode(): key for channel, key in channels.items()}


def _without_overlap(keys: Iterable[str]) -> list[str]:
    """The keys without those that begin with another of them: a server refuses overlapping prefixes."""
    kept: list[str] = []
    for key in sorted(keys):
        if not kept or not key.startswith(kept[-1]):
            kept.append(key)
    return kept


async def _has_keyspace_events(connection: Any) -> bool:
    """Whether the server tells of commands on hashes, deletions and expiries; false when it will not say."""
    try:
        answer = await _ask(connection, "CONFIG", "GET", "notify-keyspace-events")
    except EngineUnavailableError:
        raise
    except EngineError:
        return False
    classes = answer[1].decode() if isinstance(answer, list) and len(answer) == 2 else ""
    return "K" in classes and ("A" in classes or {*"hgxe"} <= {*classes})


async def _hear(connection: Any, channels: dict[bytes, str | None], tell: Tell) -> None:
    """Tell of every message, until the connection breaks or does not answer any more."""
    asked = False
    while True:
        message = await _next_message(connection)
        if message is None:
            if asked:
                raise EngineUnavailableError(f"the server has not answered for {_QUIET_SECONDS:.0f} s")
            await _send(connection, "PING")
        asked = message is None
        if isinstance(message, list) and len(message) == 3 and message[0] == b"message" and message[1] in channels:
            key = channels[message[1]]
            if key is not None:
                tell([key])
            else:
                tell(None if message[2] is None else [name.decode(errors="replace") for name in message[2]])


async def _ask(connection: Any, *command: Argument) -> Any:
    await _send(connection, *command)
    try:
        answer = await connection.read_response(disable_decoding=True, disconnect_on_error=False)
    except CLIENT_ERRORS as error:
        raise translate(error, " ".join(str(word) for word in command[:2])) from error
    end_if_cancelled()
    return answer


async def _send(connection: Any, *command: Argument) -> None:
    try:
        await connection.send_command(*command)
    except CLIENT_ERRORS as error:
        raise translate(error, str(command[0])) from error
    end_if_cancelled()


async def _next_message(connection: Any) -> Any:
    """A message, or None when there was none for a while."""
    try:
        # The driver would not wait until the connection is closed; `_close` does.
        message = await connection.read_response(
            disable_decoding=True, timeout=_QUIET_SECONDS, disconnect_on_error=False
        )
    except CLIENT_ERRORS as error:
        raise translate(error, "SUBSCRIBE") from error
    end_if_cancelled()
    return message


async def _close(connection: Any) -> None:
    try:
        await connection.disconnect()
    except CLIENT_ERRORS as error:
        _log.debug("the listening connection was closed already: %s", error)
