"""Server URLs: what they say, and the client that is made of it. No I/O: the first command connects.

`valkey://` and its like name one server; `valkey+cluster://` some nodes of a cluster, of which one has to be there;
`valkey+sentinel://` sentinels, and behind the slash the name of what they watch over.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from betterdb_agent_memory.engines.schemes import SERVER_SCHEMES
from betterdb_agent_memory.engines.valkey.client import ValkeyClient
from betterdb_agent_memory.engines.valkey.cluster import ClusterClient
from betterdb_agent_memory.engines.valkey.nodes import Settings
from betterdb_agent_memory.engines.valkey.pools import (
    ANSWER_TIMEOUT_SECONDS,
    CONNECT_TIMEOUT_SECONDS,
    MAX_CONNECTIONS,
)
from betterdb_agent_memory.engines.valkey.slots import Address
from betterdb_agent_memory.errors import ConfigurationError

TLS_SCHEMES = ("valkeys", "rediss")

SENTINEL_PORT = 26_379
SERVER_PORT = 6_379

_UNKNOWN_SETTING = re.compile(r"unexpected keyword argument '(\w+)'")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%\w+)?)\]|([^\[\]:,@/\s]+))(?::([0-9]{1,5}))?")
_MASTER = re.compile(r"[A-Za-z0-9_.-]+")
_SENTINEL_SETTINGS = ("sentinel_username", "sentinel_password")


def client_from_url(url: str) -> ValkeyClient | ClusterClient:
    """The client for a URL, with settings of ours that those in its query replace.

    64 connections at most (to each node of a cluster), a caller waits 15 s for a free one; 5 s to connect, 15 s for an
    answer.

    Raises:
        ConfigurationError: the URL cannot be used, or valkey-py is not installed.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if scheme not in SERVER_SCHEMES or not separator:
        # Not the URL itself: it may hold a password.
        raise ConfigurationError(f"a server URL begins with one of {', '.join(f'{s}://' for s in SERVER_SCHEMES)}")
    try:
        from valkey.asyncio import Valkey
    except ImportError as error:
        raise ConfigurationError("a server URL needs the package valkey: pip install valkey") from error
    base, _, kind = scheme.partition("+")
    if kind == "cluster":
        return _cluster(scheme, base, rest)
    if kind == "sentinel":
        return ValkeyClient(_sentinel(scheme, base, rest))
    _refuse_other_database(scheme, rest)
    return ValkeyClient(Valkey.from_pool(_pool(scheme, scheme, rest)))


class _Parts(NamedTuple):
    """A URL of several hosts: the first one's as a URL of its own, all of them, what is behind the slash, settings."""

    first: str
    hosts: tuple[Address, ...]
    path: str
    query: str


def _parts(scheme: str, rest: str, default_port: int) -> _Parts:
    body, _, query = rest.partition("?")
    authority, _, path = body.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    matches = [_HOST.fullmatch(host) for host in hosts.split(",")]
    addresses = [
        Address(unquote(found[1] or found[2]), int(found[3] or default_port)) for found in matches if found is not None
    ]
    if len(addresses) < len(matches) or not all(0 < address.port < 65_536 for address in addresses):
        # Not what stands there: after a slash in a password it is a part of that.
        raise ConfigurationError(
            f"url: this {scheme}:// URL cannot be read; expected {scheme}://user:password@host:port,host:port with "
            "reserved characters of the password percent-encoded, and IPv6 addresses in [brackets]"
        )
    return _Parts(f"{credentials}{at}{addresses[0]}", tuple(addresses), path.strip("/"), query)


def _cluster(scheme: str, base: str, rest: str) -> ClusterClient:
    parts = _parts(scheme, rest, SERVER_PORT)
    pool = _pool(scheme, base, f"{parts.first}?{parts.query}")
    database = pool.connection_kwargs.get("db") or 0
    if parts.path not in ("", "0") or database:
        raise ConfigurationError(
            f"url: a cluster has no databases; write {scheme}://host:port (a slash in a password is written %2F)"
        )
    return ClusterClient(
        Settings(
            "valkey",
            parts.hosts,
            pool.connection_class,
            _without_place(pool),
            pool.max_connections,
            timeout=pool.timeout,
        )
    )


def _sentinel(scheme: str, base: str, rest: str) -> Any:
    from valkey.asyncio import Valkey

    from betterdb_agent_memory.engines.valkey.sentinel import sentinel_pool

    parts = _parts(scheme, rest, SENTINEL_PORT)
    name = unquote(parts.path)
    if not _MASTER.fullmatch(name):
        raise ConfigurationError(
            f"url: a {scheme}:// URL ends in the name by which sentinels know the servers: {scheme}://host:port/name "
            "(a slash in a password is written %2F)"
        )
    settings = [setting.partition("=") for setting in parts.query.split("&") if setting]
    of_sentinels = {name: unquote(value) for name, _, value in settings if name.startswith("sentinel_")}
    if unknown := [name for name in of_sentinels if name not in _SENTINEL_SETTINGS]:
        raise ConfigurationError(
            f"url: no setting {unknown[0]!r} for a {scheme}:// URL; of sentinels there are "
            f"{' and '.join(_SENTINEL_SETTINGS)}"
        )
    query = "&".join(f"{name}={value}" for name, _, value in settings if name not in of_sentinels)
    pool = _pool(scheme, base, f"{parts.first}?{query}")
    return Valkey.from_pool(
        sentinel_pool(
            parts.hosts,
            name,
            pool,
            _without_place(pool),
            {setting.removeprefix("sentinel_"): value for setting, value in of_sentinels.items()},
        )
    )


def _without_place(pool: Any) -> dict[str, Any]:
    """The settings of a pool's connections but for where they lead."""
    return {name: value for name, value in pool.connection_kwargs.items() if name not in ("host", "port")}


def _pool(scheme: str, base: str, rest: str) -> Any:
    """The pool of valkey-py for a URL of one server, whose settings it has read."""
    from valkey.asyncio import BlockingConnectionPool
    from valkey.exceptions import ValkeyError

    pool: Any = BlockingConnectionPool
    try:
        connections = pool.from_url(
            f"{base}://{rest}",
            max_connections=MAX_CONNECTIONS,
            timeout=ANSWER_TIMEOUT_SECONDS,
            socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
            socket_timeout=ANSWER_TIMEOUT_SECONDS,
            health_check_interval=30,
            # valkey-py's unix connections refuse the option.
            **({} if base == "unix" else {"socket_keepalive": True}),
            # A certificate of the right authority for another server is none; one that is not looked at has no name.
            **({"ssl_check_hostname": True} if base in TLS_SCHEMES and "ssl_cert_reqs" not in rest else {}),
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
    _refuse_missing_files(connections.connection_kwargs)
    return connections


def _refuse_missing_files(settings: dict[str, Any]) -> None:
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if (path := settings.get(name)) is not None and not Path(path).is_file():
            raise ConfigurationError(f"url: {name} names no file: {path!r:.200}")


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
