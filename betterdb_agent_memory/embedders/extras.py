"""Packages that need not be there."""

from __future__ import annotations

import importlib.util

from betterdb_agent_memory.errors import ConfigurationError


def is_installed(package: str) -> bool:
    """Whether the top-level `package` could be imported; it is not."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # sys.modules says None: someone ruled it out
        return False


def require_package(package: str, *, extra: str, needed_by: str) -> None:
    """Raise `ConfigurationError` with the command that installs it unless `package` is there."""
    if not is_installed(package):
        raise ConfigurationError(
            f'{needed_by} needs the package {package}: pip install "betterdb-agent-memory[{extra}]"'
        )
