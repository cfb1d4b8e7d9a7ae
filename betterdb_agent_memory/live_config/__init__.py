"""What an operator changes while workers run, and how they learn of it."""

from betterdb_agent_memory.live_config.fields import SETTINGS, MemoryConfigSnapshot, Resolved, Setting, resolve
from betterdb_agent_memory.live_config.memory_config import LiveConfig, memory_config_key
from betterdb_agent_memory.live_config.rereading import Listen, Rereading

__all__ = [
    "SETTINGS",
    "Listen",
    "LiveConfig",
    "MemoryConfigSnapshot",
    "Rereading",
    "Resolved",
    "Setting",
    "memory_config_key",
    "resolve",
]
