"""Memories in one SQLite file, or in memory: no server, no network, several processes at once."""

from betterdb_agent_memory.errors import ConfigurationError

try:
    import apsw as _apsw  # noqa: F401
    import sqlite_vec as _sqlite_vec  # noqa: F401
except ImportError as error:
    raise ConfigurationError(
        f"the embedded engine needs the package {error.name!r}, which is not installed: "
        'pip install "betterdb-agent-memory[local]"'
    ) from error

from betterdb_agent_memory.engines.embedded.engine import EmbeddedEngine

__all__ = ["EmbeddedEngine"]
