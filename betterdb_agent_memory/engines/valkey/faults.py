"""The client library's errors, told in our words.

valkey-py and redis-py raise classes of the same names from different modules, and any other client
raises its own; so what they mean is told by class name and text.
"""

from __future__ import annotations

import re

from redis.exceptions import RedisError
from valkey.exceptions import ValkeyError

from betterdb_agent_memory.errors import (
    AgentMemoryError,
    AuthenticationFailedError,
    EngineError,
    EngineUnavailableError,
    IndexMissingError,
    OutcomeUnknownError,
    SearchModuleMissingError,
    SearchTimeoutError,
)

CLIENT_ERRORS: tuple[type[Exception], ...] = (ValkeyError, RedisError, OSError, RuntimeError)
"""What valkey-py and redis-py raise when a server or a connection fails; the rest is a defect. asyncio's
RuntimeError is among them for a connection of an event loop that has ended."""

_AUTHENTICATION_CLASSES = frozenset(
    {"AuthenticationError", "AuthenticationWrongNumberOfArgsError", "NoPermissionError"}
)
_AUTHENTICATION_TEXTS = (
    *("wrongpass", "noauth", "noperm", "invalid password", "invalid username-password"),
    "acl failure",  # of a command within a script
)
_CONNECTION_CLASSES = frozenset({"ConnectionError", "TimeoutError"})
_NO_PRIMARY_CLASS = "MasterNotFoundError"
_SILENT_SENTINEL = re.compile(r"host=([^\s,()<>]+),port=([0-9]+).*? - (?:\w+:)?([A-Z]\w+)")
_SOUGHT_PRIMARY = re.compile(r"for '([^']*)'")
_UNWELL_CLASSES = frozenset({"ClusterDownError", "TryAgainError"})
_UNWELL_TEXTS = ("clusterdown ", "tryagain ", "masterdown ")

_MODULE_MISSING = (
    "the server has no search module (it does not know {command}); run a server that has one: "
    "the valkey/valkey-bundle image, Redis 8 or newer, or Redis Stack"
)


def is_of_another_loop(error: RuntimeError) -> bool:
    """Whether asyncio complains about a connection that was opened in another event loop."""
    return "loop" in str(error).lower()


def translate(error: Exception, command: str, *, write_sent: bool = False) -> AgentMemoryError:
    """Our error for what the client library raised while `command` was under way.

    `write_sent` says that a write may have reached the server, so that a broken connection leaves
    its outcome unknown; without it nothing happened.
    """
    if isinstance(error, AgentMemoryError):
        return error
    names = {cls.__name__ for cls in type(error).__mro__}
    text = str(error) or type(error).__name__
    lowered = text.lower()
    if isinstance(error, RuntimeError):
        if not is_of_another_loop(error):
            raise error
        return EngineUnavailableError(
            f"{command} was not sent: the client's connections belong to an event loop that has ended; open one client "
            "per event loop"
        )
    if _NO_PRIMARY_CLASS in names:
        return _no_primary(command, text)
    # AuthenticationError and BusyLoadingError are connection errors by inheritance: ask for them first.
    if names & _AUTHENTICATION_CLASSES or any(part in lowered for part in _AUTHENTICATION_TEXTS):
        return AuthenticationFailedError(f"the server refused the user, password or permission for {command}: {text}")
    if not_done := _not_done(names, lowered):
        return EngineUnavailableError(f"{command} was not done: {not_done}: {text}")
    if isinstance(error, OSError) or names & _CONNECTION_CLASSES:
        if write_sent:
            return OutcomeUnknownError(
                f"the connection broke after {command} was sent, so it may or may not have happened: {text}"
            )
        if "too many connections" in lowered:
            return EngineUnavailableError(
                f"{command} was not sent, all connections of the pool are in use: give the pool more, or use a "
                f"BlockingConnectionPool, which waits for one"
            )
        return EngineUnavailableError(f"no answer to {command} from the server: {text}")
    return _refusal(command, text, lowered)


def _no_primary(command: str, text: str) -> EngineError:
    """What it means that no sentinel names a primary. The library quotes clients and connections, whatever they show;
    of that only hosts, ports and kinds of errors are taken.
    """
    silent = _SILENT_SENTINEL.findall(text)
    sought = _SOUGHT_PRIMARY.search(text)
    name = repr(sought[1]) if sought is not None else "of that name"
    listed = ", ".join(f"{host}:{port} ({kind})" for host, port, kind in silent)
    if any(kind in _AUTHENTICATION_CLASSES for _, _, kind in silent):
        return AuthenticationFailedError(
            f"sentinels refused the user or password with which they were asked for the primary {name}: {listed}; they "
            "have their own (sentinel_username and sentinel_password in a URL)"
        )
    why = f"no answer from {listed}; any other knows" if silent else "each knows"
    return EngineUnavailableError(
        f"{command} was not sent, no sentinel names a primary {name} that is up: {why} no such name, or holds it to be "
        "down"
    )


def _not_done(names: set[str], lowered: str) -> str | None:
    """Why a server does not do for a while what it is told; None for other errors."""
    if "BusyLoadingError" in names or lowered.startswith("loading "):
        return "the server is still loading its data, try again later"
    if _is_replica(names, lowered):
        return "the server is a replica and takes no writes (after a failover, the former primary)"
    if names & _UNWELL_CLASSES or lowered.startswith(_UNWELL_TEXTS):
        return "the cluster does not serve all slots at the moment, try again later"
    return None


def is_refused_by_replica(reply: object) -> bool:
    """Whether a server refused a write because it is a replica, so that nothing happened."""
    cause = reply.__cause__ if isinstance(reply, EngineUnavailableError) else None
    return cause is not None and _is_replica({cls.__name__ for cls in type(cause).__mro__}, str(cause).lower())


def _is_replica(names: set[str], lowered: str) -> bool:
    return "ReadOnlyError" in names or lowered.startswith("readonly ")


def _refusal(command: str, text: str, lowered: str) -> EngineError:
    if "unknown command" in lowered and command.startswith("FT."):
        return SearchModuleMissingError(_MODULE_MISSING.format(command=command))
    if command.startswith("FT.") and is_missing_index(lowered):
        return IndexMissingError(f"the search index does not exist: {text}")
    if command.startswith("FT.") and ("timeout" in lowered or "timed out" in lowered):
        return SearchTimeoutError(f"the server gave up {command}: {text}")
    if lowered.startswith("moved "):
        return EngineError(
            f"the server is one of a cluster and refused {command}, whose key another one has: open it with "
            f"valkey+cluster://host:port, or pass a ValkeyCluster: {text}"
        )
    return EngineError(f"the server refused {command}: {text}")


def is_missing_index(text: str) -> bool:
    """Whether a server's error text says that the index does not exist (all known spellings)."""
    lowered = text.lower()
    return (
        "unknown index name" in lowered or "no such index" in lowered or ("not found" in lowered and "index" in lowered)
    )


def is_lost_race(text: str) -> bool:
    """Whether a server's error text says that somebody else created the index meanwhile."""
    return "already exists" in text.lower()
