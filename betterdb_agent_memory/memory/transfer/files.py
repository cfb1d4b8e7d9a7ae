"""Files of lines that survive being cut off: written beside their name, continued, and renamed when whole.

`.gz` is written as one gzip member a page, which every gzip reader takes for one file, so that a
cut-off one too can be continued behind its last whole member.
"""

from __future__ import annotations

import errno
import gzip
import itertools
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from betterdb_agent_memory.errors import ConfigurationError, InvalidInputError

try:
    import fcntl
except ImportError:  # Windows: two exports to one path are not told apart there
    _LOCKS: Any = None
else:
    _LOCKS = fcntl

PART_SUFFIX: Final = ".part"
MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""Longest line that is read; a longer one is refused without ever being in memory whole."""

_CHUNK: Final = 1 << 20
_OWNER_ONLY: Final = 0o600
_GZIP: Final = 16 + zlib.MAX_WBITS
_GZIP_MAGIC: Final = b"\x1f\x8b\x08"


def is_compressed(path: Path) -> bool:
    """Whether a file of that name holds gzip."""
    return path.suffix == ".gz"


@dataclass(frozen=True, slots=True)
class Lines:
    """What a cut-off file holds whole: its first line and its last, how many, and where they end in the file."""

    first: bytes = b""
    last: bytes = b""
    count: int = 0
    end: int = 0


def whole_lines(file: BinaryIO, *, compressed: bool) -> Lines:
    """What `file` holds of whole lines, looked through from its start with memory for one line.

    Of a compressed one only the members that are whole count.
    """
    pieces = _members(file) if compressed else _plain(file)
    first, last, count, end, kept = b"", b"", 0, 0, b""
    for text, position in pieces:
        kept += text
        body, newline, rest = kept.rpartition(b"\n")
        if newline:
            lines = body.count(b"\n") + 1
            if not count:
                first = body.partition(b"\n")[0]
            last = body.rpartition(b"\n")[2]
            count += lines
            end = position - (0 if compressed else len(rest))
            kept = rest
        if len(kept) > MAX_LINE_BYTES:
            break
    return Lines(first, last, count, end)


def _plain(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    position = 0
    while chunk := file.read(_CHUNK):
        position += len(chunk)
        yield chunk, position


def _members(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """What each whole gzip member says, and where it ends."""
    position, waiting = 0, b""
    inflating, text = zlib.decompressobj(_GZIP), b""
    while True:
        data = waiting or file.read(_CHUNK)
        if not data:
            return
        try:
            text += inflating.decompress(data)
        except zlib.error:
            return
        position += len(data) - len(inflating.unused_data)
        waiting = inflating.unused_data
        if inflating.eof:
            yield text, position
            inflating, text = zlib.decompressobj(_GZIP), b""


class Sink(Protocol):
    """Where the lines of an export go."""

    def append(self, lines: bytes) -> None:
        """Write whole lines."""

    def finish(self) -> None:
        """All is there."""

    def discard(self) -> None:
        """What was written is worth nothing."""

    def close(self) -> None:
        """Let go of it, finished or not."""


class StreamSink:
    """Lines into a stream of the caller's, which stays open."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def append(self, lines: bytes) -> None:
        """Write whole lines."""
        self._stream.write(lines)
        self._stream.flush()

    def finish(self) -> None:
        """Nothing else is to be done."""

    def discard(self) -> None:
        """What is in a stream cannot be taken back."""

    def close(self) -> None:
        """The stream is its owner's to close."""


class PartFile:
    """Lines into `<path>.part`, which only its owner may read, renamed to `path` by `finish`.

    Where `path` is a link to a file, that file is replaced, and the part lies beside it. Nobody else writes it
    meanwhile. With `resume` what an earlier one left is `found` up to its last whole line; nothing of it is changed
    before `go_on` or `clear`. Opening reads it through: not for an event loop.

    Raises:
        ConfigurationError: the folder is not there or may not be written to, another export is writing the
            file, the part is a link or no file, or what stands at `path` is no file that could be replaced.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self._path = replaceable(path)
        self._part = self._path.with_name(self._path.name + PART_SUFFIX)
        self._compressed = is_compressed(path)
        self.found = Lines()
        try:
            self._file = _locked(self._part)
        except OSError as error:
            reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
            raise ConfigurationError(f"cannot write {self._part}: {reason or error}") from error
        try:
            if resume:
                self.found = whole_lines(self._file, compressed=self._compressed)
        except BaseException:
            self._file.close()
            raise

    def begins_with(self, text: bytes) -> bool:
        """Whether the file begins with `text`, or with as much of it as there was time to write."""
        self._file.seek(0)
        begun = self._file.read(_CHUNK)
        if self._compressed:
            if not begun.startswith(_GZIP_MAGIC[: len(begun)]):
                return False
            try:
                begun = zlib.decompressobj(_GZIP).decompress(begun, len(text))
            except zlib.error:
                return False
        return begun.startswith(text[: len(begun)])

    def go_on(self) -> None:
        """What follows is written behind the last whole line that was found; the rest is cut off."""
        self._file.seek(self.found.end)
        self._file.truncate()

    def clear(self) -> None:
        """Begin anew: what was found is of no use."""
        self.found = Lines()
        self.go_on()

    def written(self) -> Iterator[bytes]:
        """The lines that were found, without the first."""
        with self._part.open("rb") as file:
            stream = gzip.GzipFile(fileobj=file) if self._compressed else file
            yield from itertools.islice(stream, 1, self.found.count)

    def append(self, lines: bytes) -> None:
        """Write whole lines, so that they survive the end of this process."""
        self._file.write(gzip.compress(lines, 6, mtime=0) if self._compressed else lines)
        self._file.flush()

    def finish(self) -> None:
        """Make sure that the disk has it all, and give the file its name.

        Raises:
            ConfigurationError: by now something else than a file has that name; the part stays.
        """
        os.fsync(self._file.fileno())
        if replaceable(self._path) != self._path:
            raise ConfigurationError(f"cannot write {self._path}: it has become a symbolic link meanwhile")
        if _LOCKS is None:
            self._file.close()  # such a system does not rename open files
        self._part.replace(self._path)
        self._file.close()
        _sync_folder(self._path.parent)

    def discard(self) -> None:
        """What was written is worth nothing."""
        if _LOCKS is None:
            self._file.close()
        self._part.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the part file; what it holds stays for the next run."""
        self._file.close()


def replaceable(path: Path) -> Path:
    """The file that an export to `path` is to replace, links followed; or `path`, where nothing is yet.

    A rename asks no questions: it would put a file in the place of a device, a pipe or a socket, too.

    Raises:
        ConfigurationError: it is no regular file, a link to nothing, or cannot be looked at.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise ConfigurationError(
                f"cannot write {path}: it is a symbolic link to {path.readlink()}, which is not there; name that file, "
                "or remove the link"
            ) from None
        return path
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror or error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(
            f"cannot write {path}: it is no regular file, and an export would take its place. Name a file, or give a "
            "binary stream (on the command line - is the standard output)"
        )
    return path.resolve() if path.is_symlink() else path


def require_regular(path: Path) -> None:
    """Refuse to read by its name what can be read only once; what is not there is told by who opens it.

    Raises:
        ConfigurationError: it is no regular file, or cannot be looked at.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(
            f"cannot read {path}: it is no regular file, and an import looks at it more than once. Name a file, or "
            "give a binary stream (on the command line - is the standard input)"
        )


def _locked(part: Path) -> BinaryIO:
    """The part file, opened for this process alone.

    Raises:
        ConfigurationError: somebody else has it, or it is no file.
        OSError: it cannot be opened, or is another user's.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    while True:
        descriptor = os.open(part, flags, _OWNER_ONLY)
        try:
            opened = os.fstat(descriptor)
            if not stat.S_ISREG(opened.st_mode):
                raise ConfigurationError(f"cannot write {part}: it is no file")
            if _LOCKS is None:
                return os.fdopen(descriptor, "r+b")
            try:
                _LOCKS.flock(descriptor, _LOCKS.LOCK_EX | _LOCKS.LOCK_NB)
            except BlockingIOError:
                raise ConfigurationError(
                    f"another export is writing {part} right now; wait until it is done, or take another name"
                ) from None
            if _is_still(part, opened):
                os.fchmod(descriptor, _OWNER_ONLY)
                return os.fdopen(descriptor, "r+b")
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # finished and renamed, or discarded, just before it was locked


def _is_still(part: Path, opened: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(part), opened)
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure, where folders can be opened for that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class NumberedLine:
    """A line without its end, counted from 1; `text` is None where it was too long to be read."""

    number: int
    text: bytes | None


class LineReader:
    """Reads lines in batches: at most `max_lines`, and about `max_bytes`."""

    def __init__(self, stream: BinaryIO, *, max_lines: int, max_bytes: int) -> None:
        self._stream = stream
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self.number = 0
        """Lines read so far."""
        self.offset = 0
        """Where the next one begins, in bytes of text."""

    def seek(self, offset: int, number: int) -> None:
        """Go on behind line `number`, which ends at `offset`."""
        self._stream.seek(offset)
        self.offset, self.number = offset, number

    def header(self) -> bytes:
        """The first line; empty for an empty file."""
        line = self._next()
        return b"" if line is None or line.text is None else line.text

    def batch(self) -> list[NumberedLine]:
        """The next lines, empty at the end; blank ones are left out but counted."""
        lines: list[NumberedLine] = []
        size = 0
        while len(lines) < self._max_lines and size < self._max_bytes:
            line = self._next()
            if line is None:
                break
            size += len(line.text or b"")
            if line.text is None or line.text.strip():
                lines.append(line)
        return lines

    def _next(self) -> NumberedLine | None:
        try:
            text = self._stream.readline(MAX_LINE_BYTES)
            self.offset += len(text)
            if not text:
                return None
            self.number += 1
            is_whole = text.endswith(b"\n") or len(text) < MAX_LINE_BYTES
            if not is_whole:
                text = b""
                while (rest := self._stream.readline(_CHUNK)) and not rest.endswith(b"\n"):
                    self.offset += len(rest)
                self.offset += len(rest)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InvalidInputError(
                f"the file is cut off or no gzip behind line {self.number}: {error}; all lines before it were taken in"
            ) from error
        return NumberedLine(self.number, text if is_whole else None)


def open_lines(path: Path) -> BinaryIO:
    """A file of lines to read, unpacked if its name ends in `.gz`.

    Raises:
        ConfigurationError: it cannot be opened.
    """
    try:
        return gzip.GzipFile(path, "rb") if is_compressed(path) else path.open("rb")  # type: ignore[return-value]
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
