"""Processes that stand still, as by SIGSTOP, while others go on."""

from __future__ import annotations

import asyncio
import os
import signal

import apsw

_PATIENCE_MS = 1000
"""Others may be writing at that moment: only a lock that outlasts this is that of the process which was stopped."""


async def stop_between_writes(pid: int, url: str) -> None:
    """Stop the child process `pid` when it keeps nobody waiting; SIGCONT lets it go on.

    On a file one that is stopped in the middle of a write holds the lock of the file until it goes on: then it is let
    go on at once, and stopped at another moment.
    """
    while True:
        os.kill(pid, signal.SIGSTOP)
        # It stands still a little later than it is told to.
        await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        if "://" in url or not await asyncio.to_thread(_is_locked, url):
            return
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(0.01)


def _is_locked(path: str) -> bool:
    # The library that the engine uses: two copies of SQLite in a process break each other's locks.
    connection = apsw.Connection(path)
    connection.set_busy_timeout(_PATIENCE_MS)
    try:
        connection.execute("BEGIN IMMEDIATE; ROLLBACK")
    except apsw.BusyError:
        return True
    finally:
        connection.close()
    return False
