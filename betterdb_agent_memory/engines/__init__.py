"""Where memories live. `open_engine` goes by URL, `engine_for` by what the user brings."""

from __future__ import annotations

import os
import re
from pathlib import Path

from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.schemes import SERVER_SCHEMES
from betterdb_agent_memory.errors import ConfigurationError

CLOSE_SECONDS = 5.0
"""How long a close waits for a server to take what was deferred; a hung one would hold up the whole process."""
_LOOKS_LIKE_A_SERVER = re.compile(
    r"(?:(?:valkeys?|rediss?)(?:\+\w+)?|unix):.*|[A-Za-z0-9_.-]+:\d{1,5}(?:/\d*)?|[^/@]*:[^/@]*@[^/@]+(?:/\d*)?"
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def is_server_url(url: str) -> bool:
    """Whether `url` names a server rather than a file.

    Raises:
        ConfigurationError: it names neither.
    """
    match = _SCHEME.match(url)
    if match is None:
        if _LOOKS_LIKE_A_SERVER.fullmatch(url):
            # Nothing before an @: it may be a password.
            shown = "..." + url[url.rindex("@") :] if "@" in url else url
            raise ConfigurationError(
                f"{shown!r:.80} looks like a server, not a file: write valkey://host:port (a file of that name: "
                f"./{shown:.80})"
            )
        return False
    if match[1].lower() in SERVER_SCHEMES:
        return True
    raise ConfigurationError(
        f"cannot open {match[1]}://...: use one of {', '.join(f'{scheme}://' for scheme in SERVER_SCHEMES)}, "
        "a file path, or :memory:"
    )


def open_engine(url: str | Path, *, search_timeout_ms: int = 5_000, minimum_ef: int = 100) -> Engine:
    """The engine for a server URL, a file path or `:memory:`. No I/O: the first call connects.

    `search_timeout_ms` and `minimum_ef` (EF_RUNTIME) are for servers.

    Raises:
        ConfigurationError: the URL cannot be used.
    """
    if not isinstance(url, (str, os.PathLike)):
        raise ConfigurationError(f"url must be a text or a path, got {type(url).__name__}")
    if isinstance(url, str) and is_server_url(url):
        from betterdb_agent_memory.engines.valkey import ValkeyEngine

        return ValkeyEngine.from_url(url, search_timeout_ms=search_timeout_ms, minimum_ef=minimum_ef)
    if not str(url).strip():
        raise ConfigurationError("the URL is empty; give a server URL, a file path or :memory:")
    from betterdb_agent_memory.engines.embedded import EmbeddedEngine

    return EmbeddedEngine(url)


def engine_for(client: object) -> Engine:
    """The engine around a client that the user brought; an engine is returned as it is.

    Raises:
        ConfigurationError: it has no awaitable `execute_command`.
    """
    if hasattr(client, "records") and hasattr(client, "values"):
        return client  # type: ignore[return-value]
    if not callable(getattr(client, "execute_command", None)):
        raise ConfigurationError(
            f"client must be a valkey.asyncio or redis.asyncio client, got {type(client).__name__}; "
            "to open a URL use AgentMemory.open(url)"
        )
    from betterdb_agent_memory.engines.valkey import ValkeyEngine

    return ValkeyEngine(client)
