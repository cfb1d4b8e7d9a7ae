"""The client for what the user brought."""

from __future__ import annotations

from typing import Any

from betterdb_agent_memory.engines.valkey.client import ValkeyClient
from betterdb_agent_memory.engines.valkey.cluster import ClusterClient
from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.nodes import is_cluster_client, settings_of


def client_for(client: Any) -> CommandClient:
    """A client of one server, of sentinels or of a cluster; one of ours is returned as it is.

    Raises:
        ConfigurationError: it cannot be used.
    """
    if isinstance(client, ValkeyClient | ClusterClient):
        return client
    if is_cluster_client(client):
        return ClusterClient(settings_of(client), client)
    return ValkeyClient(client)
