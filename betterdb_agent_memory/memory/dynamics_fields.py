"""How a memory stands: the fields by which memories strengthen, fade and are corrected, and their encodings.

All are optional, and absent means that nothing of the sort has happened: a memory that another client wrote lacks them
and is as good as any. A part of record.py, which knows them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from betterdb_agent_memory.engines.filters import Fields, leading_number
from betterdb_agent_memory.memory.spelling import joined_names, number_text, split_names

PINNED = "pinned"
"""The importance that a pinned memory had before, as it was stored; it has it back once it is unpinned."""
STABILITY = "stability"
WORKING = "working"
CORE = "core"
STRENGTH_AT = "strength_at"
RELIABILITY = "reliability"
RECENT = "recent"
USES = "uses"
SUCCESSES = "successes"
SUPERSEDES = "supersedes"
VALID_FROM = "valid_from"
VALID_UNTIL = "valid_until"
SUPERSEDED_BY = "superseded_by"
CONTRADICTED_BY = "contradicted_by"
ARCHIVED_AT = "archived_at"
"""When a memory that has faded was put away, in ms: only of such as are kept beside the memories."""

SUPERSEDED_AT = "superseded_at"
"""When it was superseded, in ms by the clock of who did it; only of superseded versions, and read by nobody else."""
KEPT_UNTIL = "kept_until"
"""When an archived memory would have expired among the others, in ms; only where it would have."""
EMBEDDER = "embedder"
"""The name of what made the vector of a superseded version: a store may change its model, and versions keep theirs."""

DYNAMICS_FIELDS = (
    PINNED,
    STABILITY,
    WORKING,
    CORE,
    STRENGTH_AT,
    RELIABILITY,
    RECENT,
    USES,
    SUCCESSES,
    SUPERSEDES,
    VALID_FROM,
    VALID_UNTIL,
    SUPERSEDED_BY,
    CONTRADICTED_BY,
    ARCHIVED_AT,
)
"""In the order in which they are written."""

RECENT_TIMES: Final = 4
"""So many times of access are kept: with them the base level of ACT-R is .01 to .04 off (Petrov 2006)."""

_SEPARATOR = ","


@dataclass(frozen=True, slots=True)
class MemoryDynamics:
    """How a memory stands. Times are milliseconds since the epoch; None, and 0 for counts, is what was never written.

    `stability` is the time constant of forgetting in days. `working` and `core` are the two traces of strength as they
    were at `strength_at`. `reliability` is 0 to 1. `recent` are the times of the last four recalls, ascending, kept
    where the store was asked to. `uses` and `successes` count the outcomes told of it, and those that were good, one
    that belongs to it in part as a part.
    `supersedes` are the ids of the memories that this one replaced, `superseded_by` is that of the one that replaced
    it, and `contradicted_by` are those that say otherwise. What it says held from `valid_from` until before
    `valid_until`. `archived_at` is when it had faded and was put away, beside the memories. `unpinned_importance` is
    what a pinned memory's importance will be once it is unpinned.
    """

    unpinned_importance: float | None = None
    stability: float | None = None
    working: float | None = None
    core: float | None = None
    strength_at: int | None = None
    reliability: float | None = None
    recent: tuple[int, ...] = ()
    uses: float = 0.0
    successes: float = 0.0
    supersedes: tuple[str, ...] = ()
    valid_from: int | None = None
    valid_until: int | None = None
    superseded_by: str | None = None
    contradicted_by: tuple[str, ...] = ()
    archived_at: int | None = None


UNCHANGED: Final = MemoryDynamics()
"""How a memory stands that nothing has happened to, as another client writes it."""

_FIELD_SET: Final = frozenset(DYNAMICS_FIELDS)
_WHOLE = re.compile(rb"[+-]?\d{1,18}")


def decode_dynamics(fields: Fields) -> tuple[MemoryDynamics, int]:
    """How the memory in a hash stands, and how many fields could not be read; those count as absent."""
    present = _FIELD_SET.intersection(fields)
    if not present:
        return UNCHANGED, 0
    values: dict[str, Any] = {}
    unreadable = 0
    for field in present:
        name, decode = _DECODERS[field]
        value = decode(fields[field])
        if value is None:
            unreadable += 1
        else:
            values[name] = value
    if PINNED in present:
        values.setdefault("unpinned_importance", 0.0)
    return MemoryDynamics(**values), unreadable


def encode_dynamics(dynamics: MemoryDynamics) -> dict[str, bytes]:
    """The fields of how a memory stands; none for what was never written."""
    if dynamics == UNCHANGED:
        return {}
    fields: dict[str, bytes] = {}
    for field, name, _, encode in _CODECS:
        value = getattr(dynamics, name)
        if value != getattr(UNCHANGED, name):
            fields[field] = encode(value).encode()
    return fields


def decode_whole(stored: bytes) -> int | None:
    """The whole number that is left of the one `stored` begins with."""
    number = leading_number(stored)
    return None if number is None else int(number)


def possible_stability(days: float | None) -> float | None:
    """A stability that there can be, a minute and a half to a hundred years; None for anything else."""
    return days if days is not None and 0.001 <= days <= 36_500 else None


def decode_times(stored: bytes) -> tuple[int, ...] | None:
    """Whole numbers with commas between them, ascending; None for anything else."""
    texts = stored.split(_SEPARATOR.encode())
    if not all(_WHOLE.fullmatch(text) for text in texts):
        return None
    return tuple(sorted(map(int, texts)))


def encode_times(times: Sequence[int]) -> str:
    """Whole numbers with commas between them."""
    return _SEPARATOR.join(map(str, times))


def decode_text(stored: bytes) -> str | None:
    """A text, None for what is no UTF-8."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return None


def decode_names(stored: bytes) -> tuple[str, ...] | None:
    """Names in the form of `spelling.joined_names`, None for what is no UTF-8."""
    text = decode_text(stored)
    return None if text is None else tuple(split_names(text)) if text else ()


_CODECS: Final[tuple[tuple[str, str, Callable[[bytes], Any], Callable[[Any], str]], ...]] = (
    (PINNED, "unpinned_importance", leading_number, number_text),
    (STABILITY, "stability", leading_number, number_text),
    (WORKING, "working", leading_number, number_text),
    (CORE, "core", leading_number, number_text),
    (STRENGTH_AT, "strength_at", decode_whole, str),
    (RELIABILITY, "reliability", leading_number, number_text),
    (RECENT, "recent", decode_times, encode_times),
    (USES, "uses", leading_number, number_text),
    (SUCCESSES, "successes", leading_number, number_text),
    (SUPERSEDES, "supersedes", decode_names, joined_names),
    (VALID_FROM, "valid_from", decode_whole, str),
    (VALID_UNTIL, "valid_until", decode_whole, str),
    (SUPERSEDED_BY, "superseded_by", decode_text, str),
    (CONTRADICTED_BY, "contradicted_by", decode_names, joined_names),
    (ARCHIVED_AT, "archived_at", decode_whole, str),
)
"""Field, attribute, and how one becomes the other."""

_DECODERS: Final = {field: (name, decode) for field, name, decode, _ in _CODECS}
