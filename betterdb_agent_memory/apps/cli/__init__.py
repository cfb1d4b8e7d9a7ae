"""The command `betterdb-memory`: what a store can do, from a shell."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = ("typer", "rich", "platformdirs")


def main() -> None:
    """What the entry point calls."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(f'betterdb-memory needs {", ".join(missing)}: pip install "betterdb-agent-memory[cli]"')
    from betterdb_agent_memory.apps.cli.app import run

    run(sys.argv[1:])
