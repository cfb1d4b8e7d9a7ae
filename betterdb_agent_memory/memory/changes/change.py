"""A change of a memory, and the log entry that tells it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from betterdb_agent_memory.engines.event_log import LogEntry, LogPosition, read_position
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.dynamics_fields import SUPERSEDED_BY
from betterdb_agent_memory.memory.scope import MemoryScope

ChangeKind: TypeAlias = Literal[
    "remembered", "updated", "reinforced", "forgotten", "evicted", "consolidated", "superseded"
]

KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)

KIND = "kind"
MEMORY = "memory"
REASON = "reason"
"""The fields of an entry that are not the memory's own."""

COPIED = (record.THREAD, record.AGENT, record.NAMESPACE, record.VERSION, SUPERSEDED_BY)
"""What an entry takes over from the memory, under the same names."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one memory, without what the memory says: read it by its id if you want that.

    `id` is the change's own, by which one goes on after it (`since=change.id`); ids of one store grow. `kind` is
    "remembered", "updated", "reinforced" (a sample), "forgotten", "evicted", "consolidated" (a source that a summary
    or facts replaced) or "superseded" (another memory, or another fact, has taken its place). `scope` is the memory's,
    `at_ms` the server's time in ms since the epoch, and `version` the memory's version by then, None where it cannot be
    known. `reason` says more where there is more to say, such as "import". `superseded_by` is the id of the memory that
    has taken the place of one that was corrected or superseded.
    """

    id: str
    kind: str
    memory_id: str
    scope: MemoryScope
    at_ms: int
    version: int | None = None
    reason: str | None = None
    superseded_by: str | None = None


def read_change(entry: LogEntry) -> Change | None:
    """The change that an entry tells; None for one that tells none, such as another release may write."""
    fields = entry.fields
    kind, memory_id = _text(fields, KIND), _text(fields, MEMORY)
    if kind is None or memory_id is None:
        return None
    version = _text(fields, record.VERSION)
    return Change(
        id=str(entry.position),
        kind=kind,
        memory_id=memory_id,
        scope=MemoryScope(_text(fields, record.THREAD), _text(fields, record.AGENT), _text(fields, record.NAMESPACE)),
        at_ms=entry.position.time_ms,
        version=record.FIRST_VERSION if version is None else int(version) if version.isdigit() else None,
        reason=_text(fields, REASON),
        superseded_by=_text(fields, SUPERSEDED_BY),
    )


def position_of(change_id: str) -> LogPosition | None:
    """Where the change of this id is in the log; None for text that is no id of a change."""
    position = read_position(change_id)
    return position if position is not None and position.number else None


def checked_kinds(kinds: object) -> frozenset[str]:
    """The kinds asked for, all of them for None.

    Raises:
        InvalidInputError: one of them is no kind, or it is no collection of texts.
    """
    if kinds is None:
        return frozenset(KINDS)
    if isinstance(kinds, str) or not isinstance(kinds, list | tuple | set | frozenset):
        raise InvalidInputError(f"kinds is a collection such as ['forgotten'], not {kinds!r:.80}")
    for kind in kinds:
        if kind not in KINDS:
            raise InvalidInputError(f"there are no changes of the kind {kind!r:.80}; the kinds are {', '.join(KINDS)}")
    if not kinds:
        raise InvalidInputError("kinds is empty, so no change would ever come; leave it out for all of them")
    return frozenset(kinds)


def _text(fields: Fields, name: str) -> str | None:
    stored = fields.get(name)
    return None if stored is None else stored.decode(errors="replace")
