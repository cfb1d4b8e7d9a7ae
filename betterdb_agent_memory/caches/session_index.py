"""Which fields a thread has: entries of its index, whose a key is, and whether the index knows them all.

Pure. A field is one string, and beside the fields of a thread there is one map that lists them. Packages
that do not know of the map write fields too; the counters of the cache's statistics tell that they did.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

READS: Final = "session:reads"
WRITES: Final = "session:writes"
INDEXED_READS: Final = "session:indexed_reads"
INDEXED_WRITES: Final = "session:indexed_writes"
COUNTERS: Final = (READS, WRITES, INDEXED_READS, INDEXED_WRITES)

MARK: Final = "!"
"""The name in the map that no field has: those of fields begin with another sign."""
_WRITTEN: Final = "+"
_FOUND: Final = "?"

MAX_COLONS: Final = 32
"""In thread and field together. Each of them is one more owner that a key could have."""

_SAVER_FIELDS: Final = ("checkpoint", "writes")
"""What fields of the LangGraph savers begin with, a colon behind it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index says about one field.

    `slides` means that the value was written without a lifetime of its own, so that reads renew it.
    `checksum` is the CRC-32 of the value that was written, None for one that a scan has found.
    `until` is the second up to which the index itself was made to last, None for ever. No two
    entries are alike: `raw` tells this one from what is written later.
    """

    slides: bool
    checksum: int | None
    until: int | None
    raw: bytes

    @classmethod
    def written(cls, value: bytes, *, slides: bool, until: int | None) -> tuple[Self, Self]:
        """Entries for a value: one to write ahead of it and one to write behind it."""
        checksum = zlib.crc32(value)
        body = f"{'s' if slides else 'o'}:{checksum:08x}:{_seconds(until)}:{os.urandom(4).hex()}"
        ahead, behind = (cls(slides, checksum, until, f"{body}{turn}".encode()) for turn in "12")
        return ahead, behind

    @classmethod
    def found(cls, until: int | None) -> Self:
        """An entry for a value that somebody else may have written."""
        return cls(False, None, until, f"f::{_seconds(until)}:{os.urandom(4).hex()}".encode())

    @classmethod
    def decoded(cls, raw: bytes) -> Self:
        """An entry as it is stored; one that makes no sense still says that there is a field."""
        kind, checksum, until, *_ = [*raw.decode(errors="replace").split(":"), "", "", ""]
        try:
            return cls(
                kind == "s",
                int(checksum, 16) if checksum else None,
                None if until == "-" else int(until, 16),
                raw,
            )
        except ValueError:
            return cls(False, None, 0, raw)

    def describes(self, value: bytes) -> bool:
        """Whether `value` is what was written with this entry, and not by somebody else since."""
        return self.checksum is not None and self.checksum == zlib.crc32(value)


@dataclass(frozen=True, slots=True)
class Known:
    """The entries of one field: `written` by us, which claims the key, and `found` by a scan."""

    written: Entry | None = None
    found: Entry | None = None

    @classmethod
    def decoded(cls, entries: Mapping[str, bytes], name: str) -> Self:
        """The entries of the field `name`, out of those that were read."""
        written, found = (entries.get(sign + name) for sign in (_WRITTEN, _FOUND))
        return cls(
            None if written is None else Entry.decoded(written),
            None if found is None else Entry.decoded(found),
        )

    def lasts(self, until: int) -> bool:
        """Whether the index was made to last until then, as far as these entries say."""
        return any(
            entry.until is None or entry.until >= until for entry in (self.written, self.found) if entry is not None
        )


@dataclass(frozen=True, slots=True)
class Counters:
    """How much of what the cache has seen was not ours; None where a counter is no number."""

    foreign_reads: int | None
    foreign_writes: int | None
    indexed_writes: int

    @classmethod
    def decoded(cls, stored: Mapping[str, bytes]) -> Self:
        """Out of the fields `COUNTERS` of the statistics."""
        try:
            reads, writes, indexed_reads, indexed_writes = (int(stored.get(name, b"0")) for name in COUNTERS)
        except ValueError:
            return cls(None, None, 0)
        return cls(reads - indexed_reads, writes - indexed_writes, indexed_writes)

    @property
    def mark(self) -> bytes | None:
        """What an index gets that knows all fields as of now; None when that cannot be known later."""
        if self.foreign_writes is None or self.foreign_writes < 0:
            return None
        return f"{self.foreign_writes}:{self.indexed_writes}".encode()


@dataclass(frozen=True, slots=True)
class FieldIndex:
    """The map of one thread; `mark` holds what the counters said when a scan took everything in."""

    fields: Mapping[str, Known] = field(default_factory=dict)
    mark: bytes | None = None

    @classmethod
    def decoded(cls, stored: Mapping[str, bytes]) -> Self:
        """The map as it is stored."""
        names = {name[1:] for name in stored if name[:1] in (_WRITTEN, _FOUND)}
        return cls({name: Known.decoded(stored, name) for name in sorted(names)}, stored.get(MARK))

    def is_complete(self, counters: Counters) -> bool:
        """Whether no field can be missing, bare SETs apart.

        Without a mark only if nobody else has ever written, nor read: a foreign read may have kept a value
        alive beyond an earlier index. A counter that has gone back was reset meanwhile.
        """
        if self.mark is None:
            return counters.foreign_writes == 0 and counters.foreign_reads == 0
        try:
            foreign_writes, indexed_writes = (int(part) for part in self.mark.split(b":"))
        except ValueError:
            return False
        return counters.foreign_writes == foreign_writes and counters.indexed_writes >= indexed_writes

    def lasts(self, until: int) -> bool:
        """Whether it was made to last until then."""
        return any(known.lasts(until) for known in self.fields.values())


def index_key(name: str, thread: str) -> str:
    """The map with the fields of `thread`."""
    return f"{name}:__session_fields:{thread}"


def written_name(name: str) -> str:
    """What the entry of a field that we write is called in the map."""
    return _WRITTEN + name


def found_name(name: str) -> str:
    """What the entry of a field that a scan has found is called in the map."""
    return _FOUND + name


def entry_names(name: str) -> tuple[str, str]:
    """All that a field's entries are called."""
    return written_name(name), found_name(name)


def rivals(thread: str, name: str) -> Iterator[tuple[str, str]]:
    """The other threads and fields that share the key of this field.

    Field `b:f` of thread `a` is stored under the same key as field `f` of thread `a:b`. None beyond
    `MAX_COLONS`: nobody claims such a key.
    """
    parts = f"{thread}:{name}".split(":")
    own = thread.count(":") + 1
    if len(parts) - 2 <= MAX_COLONS:
        for cut in range(1, len(parts)):
            if cut != own:
                yield ":".join(parts[:cut]), ":".join(parts[cut:])


def is_first_owner(thread: str, name: str) -> bool:
    """Whether a key that nobody claims counts as this field of this thread.

    Exactly one thread is: that with the field behind the last colon, except for the fields of LangGraph savers,
    `checkpoint:{id}` and `writes:{...}`, which have a colon of their own.
    """
    head, _, last = f"{thread}:{name}".rpartition(":")
    for saver in _SAVER_FIELDS:
        if head.endswith(f":{saver}"):
            return (thread, name) == (head.removesuffix(f":{saver}"), f"{saver}:{last}")
    return name == last


def owns(thread: str, name: str, own: Entry | None, others: Sequence[Entry], value: bytes | None) -> bool | None:
    """Whether a key is this thread's, by the claims on it; None when nobody claims it.

    Two claims are left where a writer died, or two wrote at once: the value tells whose it is.
    """
    if own is None or not others:
        return None if own is None and not others else own is not None
    mine = value is not None and own.describes(value)
    theirs = value is not None and any(other.describes(value) for other in others)
    return mine if mine != theirs else is_first_owner(thread, name)


def _seconds(until: int | None) -> str:
    return "-" if until is None else f"{until:x}"
