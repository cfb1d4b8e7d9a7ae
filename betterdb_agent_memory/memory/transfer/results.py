"""What became of an export or an import."""

from __future__ import annotations

from dataclasses import dataclass

MAX_REPORTED = 100
"""Refused lines whose reasons a result holds; all are counted."""


@dataclass(frozen=True, slots=True)
class LineError:
    """A line that was not taken in, counted from 1, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class ExportResult:
    """How many memories the file holds (`exported`), how many `versions` beside them (superseded ones and archived
    memories), and how many lines of all these an interrupted export had left in it (`resumed`).

    `skipped` are fragments without content, which are no memories.
    """

    path: str
    exported: int
    resumed: int = 0
    skipped: int = 0
    versions: int = 0


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What became of the lines below the header: all numbers but `resumed` add up to `read`.

    `imported` were written (with `on_existing="replace"` over what was there); `existing` were there
    already and stayed as they were; `expired` had expired since; `rejected` were no memories, with
    the first reasons in `errors`. `resumed` of them were done by an earlier run. `embedded` of the
    imported ones got a new vector, because of `embedded_because`; `replaced` of them took the place of a
    memory with the same id. `conflicts` of the existing ones are turns of conversations with another content under
    that id: the file's are not in the store, and what was imported beside them stands in another conversation, or
    they were changed since. `versions` of the imported ones are superseded versions and archived memories.
    """

    path: str
    read: int
    imported: int
    existing: int = 0
    expired: int = 0
    rejected: int = 0
    resumed: int = 0
    embedded: int = 0
    embedded_because: str | None = None
    errors: tuple[LineError, ...] = ()
    replaced: int = 0
    conflicts: int = 0
    versions: int = 0
