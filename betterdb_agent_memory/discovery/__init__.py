"""The registry that the BetterDB Monitor reads: which stores and caches there are, and which are alive."""

from betterdb_agent_memory.discovery.announcing import (
    DEFAULT_HEARTBEAT_INTERVAL_SECONDS,
    HEARTBEAT_TTL_SECONDS,
    WITHDRAWAL_SECONDS,
    CacheDiscovery,
    Discovery,
    MemoryDiscovery,
)
from betterdb_agent_memory.discovery.dead_names import Patience
from betterdb_agent_memory.discovery.markers import (
    CACHE_CAPABILITIES,
    CACHE_TYPE,
    HEARTBEAT_KEY_PREFIX,
    MEMORY_CACHE_TYPE,
    MEMORY_CAPABILITIES,
    PROTOCOL_KEY,
    PROTOCOL_VERSION,
    REGISTRY_KEY,
    CacheTraits,
)

__all__ = [
    "CACHE_CAPABILITIES",
    "CACHE_TYPE",
    "DEFAULT_HEARTBEAT_INTERVAL_SECONDS",
    "HEARTBEAT_KEY_PREFIX",
    "HEARTBEAT_TTL_SECONDS",
    "MEMORY_CACHE_TYPE",
    "MEMORY_CAPABILITIES",
    "PROTOCOL_KEY",
    "PROTOCOL_VERSION",
    "REGISTRY_KEY",
    "WITHDRAWAL_SECONDS",
    "CacheDiscovery",
    "CacheTraits",
    "Discovery",
    "MemoryDiscovery",
    "Patience",
]
