"""The client library's errors, told in our words.

valkey-py and redis-py raise classes of the same names from different modules, and any other client
raises its own; so what they mean is told by class name and text.
"""

from __future__ import annotations

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
_AUTHENTICATION_TEXTS = ("wrongpass", "noauth", "noperm", "invalid password", "invalid username-password")
_CONNECTION_CLASSES = frozenset({"ConnectionError", "TimeoutError", "ClusterDownError", "MasterNotFoundError"})

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
    # AuthenticationError and BusyLoadingError are connection errors by inheritance: ask for them first.
    if names & _AUTHENTICATION_CLASSES or any(part in lowered for part in _AUTHENTICATION_TEXTS):
        return AuthenticationFailedError(f"the server refused the user, password or permission for {command}: {text}")
    if "BusyLoadingError" in names or lowered.startswith("loading "):
        return EngineUnavailableError(f"the server is still loading its data, try again later: {text}")
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


def _refusal(command: str, text: str, lowered: str) -> EngineError:
    if "unknown command" in lowered and command.startswith("FT."):
        return SearchModuleMissingError(_MODULE_MISSING.format(command=command))
    if command.startswith("FT.") and is_missing_index(lowered):
        return IndexMissingError(f"the search index does not exist: {text}")
    if command.startswith("FT.") and ("timeout" in lowered or "timed out" in lowered):
        return SearchTimeoutError(f"the server gave up {command}: {text}")
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
