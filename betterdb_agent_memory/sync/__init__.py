"""The same names without `await`: for scripts, threads and notebooks.

::

    from betterdb_agent_memory.sync import AgentMemory

    with AgentMemory.open("memory.db") as agent:
        agent.memory.remember("Ada prefers tea")

Every call waits for the asynchronous object, which lives in an event loop in a thread of this
package's own: one for all objects of the process. Any number of threads may share an object. Functions
that a call takes (an embedder, a summarizer) may be plain ones; they run in a thread.
"""

from betterdb_agent_memory.sync.generated import *  # noqa: F403
from betterdb_agent_memory.sync.wrapping import *  # noqa: F403
