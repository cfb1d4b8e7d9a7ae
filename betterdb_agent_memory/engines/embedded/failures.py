"""What SQLite reports, said in our errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from betterdb_agent_memory.errors import EngineError, InvalidInputError

_REASONS: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.NotADBError, "is not a SQLite database; give the path of a new file, or of one made by this engine"),
    (apsw.CorruptError, "is damaged; restore it from a copy"),
    (apsw.ReadOnlyError, "cannot be written: check the permissions of the file and of its directory"),
    (apsw.CantOpenError, "cannot be opened: check that it is a file and that its directory may be written"),
    (apsw.PermissionsError, "may not be accessed: check the permissions of the file and of its directory"),
    (apsw.FullError, "cannot grow: the disk is full"),
    (apsw.IOError, "cannot be read or written: the disk or file system reports an error"),
)

_WORD_TABLE = re.compile(r"(no such table: (main\.)?|vtable constructor failed: )(word|stem)_\d")


@contextmanager
def reported(place: str, busy_timeout_seconds: float) -> Iterator[None]:
    """Turn a driver's error about the database at `place` into an EngineError with that cause."""
    try:
        yield
    except (apsw.BusyError, apsw.LockedError) as error:
        raise EngineError(
            f"{place} stayed locked by another process or thread for {busy_timeout_seconds:g} s; "
            "nothing was written, so the call can be repeated"
        ) from error
    except apsw.Error as error:
        if _concerns_words(error):
            raise EngineError(
                f"the index of words in {place} is damaged: call reindex(), which makes it anew from the memories "
                f"({error})"
            ) from error
        for kind, reason in _REASONS:
            if isinstance(error, kind):
                raise EngineError(f"{place} {reason} ({error})") from error
        raise EngineError(f"{place}: SQLite refused the operation: {error}") from error
    except OverflowError as error:
        raise InvalidInputError(f"a number does not fit into the 64 bits of the file: {error}") from error
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"the text {error.object!r} is not valid Unicode (a lone surrogate at position {error.start})"
        ) from error


def _concerns_words(error: apsw.Error) -> bool:
    """Whether only the full-text index is damaged, or lacks a table."""
    if isinstance(error, apsw.CorruptError):
        return getattr(error, "extendedresult", 0) == apsw.SQLITE_CORRUPT_VTAB or "fts5" in str(error)
    return isinstance(error, apsw.SQLError) and _WORD_TABLE.search(str(error)) is not None
