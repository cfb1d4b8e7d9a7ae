"""The installed version of the distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """The version text, `0+unknown` when the package runs from a tree that was never installed."""
    try:
        return version("betterdb-agent-memory")
    except PackageNotFoundError:
        return "0+unknown"
