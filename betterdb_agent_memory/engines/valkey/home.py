"""Where a client may be used: in one process, by one event loop at a time, until it is closed."""

from __future__ import annotations

import asyncio
import os

from betterdb_agent_memory.errors import EngineError, EngineUnavailableError


class Home:
    """Refuses what would read other people's answers: connections belong to the process and loop that opened them."""

    def __init__(self) -> None:
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process: int | None = None

    def close(self) -> None:
        """Whatever is asked from now on is refused."""
        self._is_closed = True

    def require(self) -> None:
        """Refuse to go on where the client is not at home; the first use decides where that is.

        Raises:
            EngineError: it was closed.
            EngineUnavailableError: another process, or another event loop that still runs.
        """
        if self._is_closed:
            raise EngineError("this engine was closed; open another one")
        process = os.getpid()
        if process != self._process:
            # Its connections are those of the other process, which would read what is answered here.
            if self._process is not None:
                raise EngineUnavailableError(
                    "nothing was sent: this client was in use before this process was forked; open one after the fork"
                )
            self._process = process
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # Its connections would be handed to the other loop's tasks, which could do nothing with them.
            if self._loop is not None and self._loop.is_running():
                raise EngineUnavailableError(
                    "nothing was sent: this client is in use in another event loop, which is still running; open one "
                    "client per event loop"
                )
            self._loop = loop
