"""Bytes that were erased, until they are out of the files.

With secure_delete SQLite overwrites what was deleted, but in the log: until a checkpoint the file
has the old pages, and until the log is cut short it has the pages of earlier writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import apsw

from betterdb_agent_memory.engines.embedded.queries import scalar

Sweep = Callable[[apsw.Connection], int]
"""Removes some of what expired; returns how many."""

_PATIENCE_MS = 100
_CLOSING_PATIENCE_MS = 1000
_SWEEP_SECONDS = 10.0


class Connection(apsw.Connection):
    """A connection that knows whether it erased something since it last emptied the log."""

    erased = False


def note_erasure(connection: apsw.Connection) -> None:
    """Say that the transaction deletes or replaces something that was to be forgotten."""
    if isinstance(connection, Connection):
        connection.erased = True


def empty_log(connection: apsw.Connection, busy_timeout_seconds: float) -> bool:
    """Carry the log into the file and cut it to nothing; false when others were in the way.

    Waits a tenth of a second at most for a read or a write that is under way.
    """
    connection.set_busy_timeout(_PATIENCE_MS)
    try:
        busy = scalar(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    except apsw.Error:
        return False
    finally:
        connection.set_busy_timeout(round(busy_timeout_seconds * 1000))
    return not busy


def leave_clean(connection: apsw.Connection, sweep: Sweep) -> None:
    """Before closing: remove what expired, for ten seconds at most, and empty the log. Best effort."""
    connection.set_busy_timeout(_CLOSING_PATIENCE_MS)
    deadline = time.monotonic() + _SWEEP_SECONDS
    with suppress(apsw.Error):
        while time.monotonic() < deadline:
            with connection:
                removed = sweep(connection)
            if not removed:
                break
    with suppress(apsw.Error):
        scalar(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
