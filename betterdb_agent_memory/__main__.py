"""`python -m betterdb_agent_memory` is the command `betterdb-memory`."""

from betterdb_agent_memory.apps.cli import main

if __name__ == "__main__":
    main()
