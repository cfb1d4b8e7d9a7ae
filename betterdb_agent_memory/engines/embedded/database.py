"""One database, off the event loop: a thread that writes, a few that read, each with its connection."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import apsw

from betterdb_agent_memory.engines.embedded.erasing import Connection, Sweep, empty_log, leave_clean
from betterdb_agent_memory.engines.embedded.failures import reported
from betterdb_agent_memory.engines.embedded.opening import open_connection, refresh_statistics, reload_statistics
from betterdb_agent_memory.engines.embedded.place import IN_MEMORY, Place, create_private
from betterdb_agent_memory.engines.embedded.schema import check_version
from betterdb_agent_memory.errors import EngineError

T = TypeVar("T")
Job = Callable[[apsw.Connection], T]

_READERS = 2
_WRITES_PER_COMMIT = 256

_EMPTY_LOG_SECONDS = 1.0
"""How soon after something was erased the log is emptied; all that is erased meanwhile shares it."""

_LONGEST_WAIT_SECONDS = 60.0

_inherited: list[Session] = []
"""Sessions of a parent process: never used and never closed here, since closing an inherited SQLite
connection can drop the locks of its owner."""


class _Opening:
    """The lock under which sessions begin and end; a forked process starts with one of its own."""

    lock = threading.Lock()

    @classmethod
    def renew(cls) -> None:
        cls.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Opening.renew)


class Database:
    """The database at `path`; opened at the first use, in whichever process uses it."""

    def __init__(self, path: str, busy_timeout_seconds: float, sweep: Sweep) -> None:
        self._path = path
        self._busy_timeout_seconds = busy_timeout_seconds
        self._sweep = sweep
        self._session: Session | None = None
        self._closed = False

    async def read(self, job: Job[T]) -> T:
        """The result of `job`, which sees one unchanging state of the database."""
        return await asyncio.wrap_future(self._current().read(job))

    async def write(self, job: Job[T]) -> T:
        """The result of `job`, committed. All that it wrote is in the file, or nothing of it.

        A cancelled caller leaves it either untouched or complete.
        """
        return await asyncio.wrap_future(self._current().write(job))

    async def close(self) -> None:
        """Wait for what is under way, then close the file. Closing twice is fine."""
        with _Opening.lock:
            session, self._session, self._closed = self._session, None, True
        if session is not None and session.pid == os.getpid():
            await asyncio.to_thread(session.close)

    def _current(self) -> Session:
        with _Opening.lock:
            if self._closed:
                raise EngineError(f"the engine of {self._path} is closed; open a new one")
            session = self._session
            if session is not None and session.pid != os.getpid():
                _inherited.append(session)
                if self._path == IN_MEMORY:
                    raise EngineError(
                        "this process was forked from the one that holds the memories in memory; "
                        "use a file to share them, or open a new engine"
                    )
                session = None
            if session is None:
                if self._path != IN_MEMORY:
                    create_private(self._path)
                session = self._session = Session(self._path, self._busy_timeout_seconds, self._sweep)
            return session


class Session:
    """The threads and connections of one process."""

    def __init__(self, path: str, busy_timeout_seconds: float, sweep: Sweep) -> None:
        self.pid = os.getpid()
        self._path = path
        self._place = Place(path)
        self._busy_timeout_seconds = busy_timeout_seconds
        self._sweep = sweep
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="memories-write")
        # A database in memory belongs to one connection, which all jobs share in turn.
        self._readers = (
            self._writer if path == IN_MEMORY else ThreadPoolExecutor(_READERS, thread_name_prefix="memories-read")
        )
        self._local = threading.local()
        self._connections: list[Connection] = []
        self._timer: threading.Timer | None = None
        self._empty_log_seconds = _EMPTY_LOG_SECONDS
        self._commits = 0
        self._lessons = 0
        self._waiting: deque[tuple[Job[Any], Future[Any]]] = deque()

    def read(self, job: Job[T]) -> Future[T]:
        """Run `job` in a read transaction, when a reader is free."""
        return self._readers.submit(self._run_read, job)

    def write(self, job: Job[T]) -> Future[T]:
        """Run `job` in the next write transaction."""
        outcome: Future[T] = Future()
        self._waiting.append((job, outcome))
        self._writer.submit(self._write_waiting)
        return outcome

    def close(self) -> None:
        """Finish what was asked for, then close every connection."""
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        if self._timer is not None:
            self._timer.cancel()
        while self._connections:
            connection = self._connections.pop()
            try:
                if not self._connections and self._path != IN_MEMORY:
                    with suppress(EngineError):
                        self._place.check()
                        leave_clean(connection, self._sweep)
            finally:
                connection.close()

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            self._place.check()
            connection = open_connection(self._path, self._busy_timeout_seconds)
            try:
                self._place.opened()
            except EngineError:
                connection.close()
                raise
            self._local.connection = connection
            self._connections.append(connection)
        return connection

    def _run_read(self, job: Job[T]) -> T:
        with reported(self._path, self._busy_timeout_seconds):
            connection = self._connection()
            if getattr(self._local, "lessons", 0) != self._lessons and self._path != IN_MEMORY:
                # Only the connection that gathered the statistics plans by them at once.
                self._local.lessons = self._lessons
                reload_statistics(connection)
            connection.execute("BEGIN")
            try:
                check_version(connection, self._path)
                return job(connection)
            finally:
                _end(connection, "ROLLBACK")

    def _write_waiting(self) -> None:
        """Run the jobs that wait, in one transaction: they share the flush that makes them durable.

        Each runs in a savepoint, so that one that fails takes nothing else with it, and none is
        answered before the commit.
        """
        batch = self._next_batch()
        if not batch:
            return
        answers: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with reported(self._path, self._busy_timeout_seconds):
                connection = self._connection()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    self._place.check()
                    check_version(connection, self._path)
                    answers = [(outcome, *self._run_write(connection, job)) for job, outcome in batch]
                    connection.execute("COMMIT")
                finally:
                    _end(connection, "ROLLBACK")
                # Looked at again, since what went into a file that is gone must not be acknowledged.
                self._place.check()
                self._learn(connection)
                if connection.erased:
                    self._empty_log_later()
        except BaseException as error:  # noqa: BLE001 - every caller is told
            # A failed commit left nothing behind, whatever the single jobs came to.
            answers = [(outcome, None, error) for _, outcome in batch]
        for outcome, result, failure in answers:
            if failure is None:
                outcome.set_result(result)
            else:
                outcome.set_exception(failure)

    def _empty_log_later(self) -> None:
        if self._timer is None and self._path != IN_MEMORY:
            self._timer = threading.Timer(self._empty_log_seconds, self._ask_to_empty_log)
            self._timer.daemon = True
            self._timer.start()

    def _ask_to_empty_log(self) -> None:
        with suppress(RuntimeError):  # the engine is being closed, which empties the log too
            self._writer.submit(self._empty_log)

    def _empty_log(self) -> None:
        self._timer = None
        self._place.check()
        connection = self._connection()
        connection.erased = not empty_log(connection, self._busy_timeout_seconds)
        if connection.erased:
            # A long read, or another process, is in the way.
            self._empty_log_seconds = min(2 * self._empty_log_seconds, _LONGEST_WAIT_SECONDS)
            self._empty_log_later()
        else:
            self._empty_log_seconds = _EMPTY_LOG_SECONDS

    def _learn(self, connection: apsw.Connection) -> None:
        """Refresh statistics after 1, 2, 4, 8 ... commits. Best effort: plans get better, results never change."""
        self._commits += 1
        if self._commits.bit_count() == 1:
            with suppress(apsw.Error):
                refresh_statistics(connection)
                self._lessons += 1

    def _next_batch(self) -> list[tuple[Job[Any], Future[Any]]]:
        batch: list[tuple[Job[Any], Future[Any]]] = []
        while self._waiting and len(batch) < _WRITES_PER_COMMIT:
            job, outcome = self._waiting.popleft()
            if outcome.set_running_or_notify_cancel():
                batch.append((job, outcome))
        return batch

    def _run_write(self, connection: apsw.Connection, job: Job[Any]) -> tuple[Any, BaseException | None]:
        connection.execute("SAVEPOINT job")
        try:
            with reported(self._path, self._busy_timeout_seconds):
                result = job(connection)
        except BaseException as error:
            if not connection.in_transaction:
                # SQLite itself gave up the whole transaction (a full disk, for example).
                raise
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
            return None, error
        connection.execute("RELEASE job")
        return result, None


def _end(connection: apsw.Connection, statement: str) -> None:
    if connection.in_transaction:
        with suppress(apsw.Error):
            connection.execute(statement)
