"""Memories on a server: Valkey with valkey-search, or Redis with its Query Engine."""

from betterdb_agent_memory.engines.valkey.engine import ValkeyEngine

__all__ = ["ValkeyEngine"]
