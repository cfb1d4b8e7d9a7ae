"""Opening one connection to the file: settings, the vector functions, the file format."""

from __future__ import annotations

import time
from pathlib import Path

import apsw
import sqlite_vec

from betterdb_agent_memory.engines.embedded.erasing import Connection
from betterdb_agent_memory.engines.embedded.matching import register_functions
from betterdb_agent_memory.engines.embedded.place import IN_MEMORY
from betterdb_agent_memory.engines.embedded.schema import check_ours, migrate

_PAGE_BYTES = 8192
"""Two vectors of 384 dimensions waste a quarter of a 4 KiB page; five fill one of 8 KiB."""

_CACHE_KIB = 64 * 1024
_ANALYSED_ROWS = 1000
_JOURNAL_LIMIT_BYTES = 64 * 1024 * 1024


def open_connection(path: str, busy_timeout_seconds: float) -> Connection:
    """A connection to the database at `path`, created and brought to the current format if need be.

    Raises whatever apsw raises; a newer file, or another program's, is an EngineError.
    """
    if path != IN_MEMORY:
        _make_directory(path)
    connection = Connection(path)
    try:
        connection.set_busy_timeout(round(busy_timeout_seconds * 1000))
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        check_ours(connection, path)
        _use_write_ahead_log(connection, busy_timeout_seconds)
        # FULL, not NORMAL: a memory that was acknowledged survives a power cut too. Concurrent
        # writes share one commit (see database.py), so the flush is paid once for all of them.
        connection.execute("PRAGMA synchronous = FULL")
        # What is deleted or replaced is overwritten with zeros, pages of long texts included (FAST would
        # leave those as they are: single writes cost the same, deleting 500 texts of 500 bytes takes
        # 33 ms instead of 30, of 20,000 bytes 86 instead of 52). The zeros reach the file with the next
        # checkpoint, see erasing.py. One thing escapes: when SQLite moves short rows between pages,
        # the old copy of a row stays in the unused middle of its page until that is used again, or
        # until a VACUUM.
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_LIMIT_BYTES}")
        connection.execute(f"PRAGMA analysis_limit = {_ANALYSED_ROWS}")
        connection.enable_load_extension(True)
        connection.load_extension(sqlite_vec.loadable_path())
        connection.enable_load_extension(False)
        register_functions(connection)
        migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def refresh_statistics(connection: apsw.Connection) -> None:
    """Let SQLite learn how selective each index is, so that a scope is found by its narrowest tag.

    Milliseconds, and nothing at all unless a table grew tenfold since the last time.
    """
    connection.execute("PRAGMA optimize = 0x10002")


def reload_statistics(connection: apsw.Connection) -> None:
    """Let a connection learn what another one gathered: it reads the schema, and the statistics, again."""
    connection.execute("PRAGMA writable_schema = RESET")


def _make_directory(path: str) -> None:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise apsw.CantOpenError(str(error)) from error


def _use_write_ahead_log(connection: apsw.Connection, busy_timeout_seconds: float) -> None:
    """Switch to the write-ahead log, patiently.

    While another process makes the same switch SQLite answers busy at once, without its timeout.
    """
    deadline = time.monotonic() + busy_timeout_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except (apsw.BusyError, apsw.LockedError):
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
