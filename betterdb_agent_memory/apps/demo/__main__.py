"""`python -m betterdb_agent_memory.apps.demo` tells the story."""

from betterdb_agent_memory.apps.demo.story import main

if __name__ == "__main__":
    main()
