"""Seven weeks of conversations: remembered, asked about, strengthened, forgotten, and still there tomorrow.

    python examples/demo.py                                  # one SQLite file, demo.db, in this folder
    python examples/demo.py --url valkey://localhost:6379    # the same on a server
    python examples/demo.py --ask "Which plumber came?"      # ask Maya's memories something of your own
    python examples/demo.py --fresh                          # forget the demo's memories, then start over

Run it twice: the second run finds its memories again. The story is told in
`betterdb_agent_memory/apps/demo/story.py`, so that an installed `betterdb-memory demo` tells it too. It
uses the public API only: copy what you need.
"""

from betterdb_agent_memory.apps.demo.story import main

if __name__ == "__main__":
    main()
