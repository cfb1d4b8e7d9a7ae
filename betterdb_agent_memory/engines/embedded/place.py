"""The file at a path: made for its owner alone, and told from another one that later has its name."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from betterdb_agent_memory.errors import EngineError

IN_MEMORY = ":memory:"

_OWNER_ONLY = 0o600

Identity = tuple[int, int]


def create_private(path: str) -> None:
    """Make an empty file at `path` that only its owner may read, unless there is one already.

    SQLite takes an empty file for a new database, and gives the files beside it the same mode.
    Whatever fails here fails again, and is reported, when SQLite opens the file. To be called by one
    thread at a time: closing a file that SQLite has open in the same process would drop its locks.
    """
    with suppress(OSError):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(os.path.realpath(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, _OWNER_ONLY))


class Place:
    """The file that a session has open at `path`.

    SQLite goes on writing to a file that was deleted, or whose name another file took: nobody would
    ever see those writes. Looking costs about a microsecond.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._opened: Identity | None = None

    def opened(self) -> None:
        """Remember which file it is; to be called right after a connection was opened."""
        if self._opened is None:
            self._opened = self._identity()
        self.check()

    def check(self) -> None:
        """Whether the path still leads to the file that was opened.

        Raises:
            EngineError: it was deleted, moved, or replaced by another file.
        """
        if self._opened is None:
            return
        found = self._identity()
        if found != self._opened:
            happened = "was deleted or moved away" if found is None else "was replaced by another file"
            raise EngineError(
                f"{self._path} {happened} while it was open: what this call wrote is not stored. Put the file back "
                "where it was, or close this engine and open a new one, which uses what is at the path then"
            )

    def _identity(self) -> Identity | None:
        if self._path == IN_MEMORY:
            return None
        try:
            found = os.stat(self._path)  # noqa: PTH116 - at every write, and half the price of Path.stat
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            # The path cannot be looked at now, which says nothing about the file.
            return self._opened
        return found.st_dev, found.st_ino
