"""The nodes of a cluster, each with a pool of its own, and how a client that the user brought connects to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from betterdb_agent_memory.engines.base import Traffic
from betterdb_agent_memory.engines.valkey.client import ValkeyClient
from betterdb_agent_memory.engines.valkey.pools import ANSWER_TIMEOUT_SECONDS, MAX_CONNECTIONS
from betterdb_agent_memory.engines.valkey.slots import Address, Remap
from betterdb_agent_memory.errors import ConfigurationError

Library = Literal["valkey", "redis"]

_UNLIMITED = 2**31
"""What valkey-py's cluster client takes for no limit."""

_OF_THE_CLUSTER_CLIENT = ("response_callbacks", "parser_class", "max_connections", "connection_class", "host", "port")


@dataclass(frozen=True, slots=True)
class Settings:
    """How to connect to the nodes of a cluster: where to begin, and the settings of every connection."""

    library: Library
    seeds: tuple[Address, ...]
    connection_class: type
    connection: dict[str, Any]
    max_connections: int = MAX_CONNECTIONS
    remap: Remap = lambda address: address
    timeout: float | None = ANSWER_TIMEOUT_SECONDS

    def pool(self, address: Address) -> Any:
        """A pool of connections to one node, which has a caller wait when all of them are in use; no I/O.

        A connection is not opened a second time by itself: the cluster's map may say by then that it leads nowhere.
        """
        asynchronous = import_module(f"{self.library}.asyncio")
        retry = import_module(f"{self.library}.asyncio.retry").Retry(
            import_module(f"{self.library}.backoff").NoBackoff(), 0
        )
        return asynchronous.BlockingConnectionPool(
            connection_class=self.connection_class,
            max_connections=self.max_connections,
            timeout=self.timeout,
            host=address.host,
            port=address.port,
            **{**self.connection, "retry": retry},
        )


def is_cluster_client(client: object) -> bool:
    """Whether this is an asynchronous cluster client of valkey-py or redis-py, or a class made from one."""
    return any(
        cls.__name__ in ("ValkeyCluster", "RedisCluster") and ".asyncio" in cls.__module__
        for cls in type(client).__mro__
    )


def settings_of(client: Any) -> Settings:
    """How a cluster client connects that the user brought. Its own connections are left alone.

    Raises:
        ConfigurationError: it is of another version than is known here.
    """
    library: Library = "valkey" if any(cls.__name__ == "ValkeyCluster" for cls in type(client).__mro__) else "redis"
    try:
        manager = client.nodes_manager
        known = {**manager.startup_nodes, **manager.nodes_cache}
        given = dict(client.connection_kwargs)
        remap = manager.address_remap
        limit = int(given.get("max_connections", MAX_CONNECTIONS))
        kind = given["connection_class"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{type(client).__name__} does not say how it connects ({error}); use a cluster client of a current "
            "valkey-py or redis-py, or a valkey+cluster:// URL"
        ) from None
    return Settings(
        library,
        tuple(Address(str(node.host), int(node.port)) for node in known.values()),
        kind,
        {name: value for name, value in given.items() if name not in _OF_THE_CLUSTER_CLIENT},
        max_connections=limit if 0 < limit < _UNLIMITED else MAX_CONNECTIONS,
        remap=_remapping(remap),
    )


def _remapping(remap: Callable[[tuple[str, int]], tuple[str, int]] | None) -> Remap:
    return (lambda address: address) if remap is None else lambda address: Address(*remap((address.host, address.port)))


class Nodes:
    """A client for each node, made when it is first needed."""

    def __init__(self, settings: Settings, traffic: Traffic) -> None:
        self.settings = settings
        self._traffic = traffic
        self._clients: dict[Address, ValkeyClient] = {}

    def __getitem__(self, address: Address) -> ValkeyClient:
        client = self._clients.get(address)
        if client is None:
            pool = self.settings.pool(address)
            kind = "Valkey" if self.settings.library == "valkey" else "Redis"
            made = getattr(import_module(f"{self.settings.library}.asyncio"), kind).from_pool(pool)
            client = self._clients.setdefault(address, ValkeyClient(made, traffic=self._traffic))
        return client

    async def rest(self, addresses: Iterable[Address]) -> None:
        """Close the idle connections to all nodes but these; what is under way goes on."""
        away = [self._clients[address] for address in self._clients.keys() - set(addresses)]
        await asyncio.gather(*(client.rest() for client in away))

    async def close(self) -> None:
        """Close every connection."""
        clients = list(self._clients.values())
        self._clients.clear()
        await asyncio.gather(*(client.close() for client in clients))
