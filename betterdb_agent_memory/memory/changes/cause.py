"""Why memories are written, changed or deleted at the moment: said around the call, read where it reaches the engine.

A deletion passes many hands on its way down, each of which would have to carry the word along.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from betterdb_agent_memory.memory.changes.change import ChangeKind


@dataclass(frozen=True, slots=True)
class Cause:
    """The kind of change that is under way, None for what it is by itself, and what more there is to say."""

    kind: ChangeKind | None = None
    reason: str | None = None


_NONE = Cause()
_CAUSE: ContextVar[Cause] = ContextVar("betterdb_agent_memory_cause", default=_NONE)


@contextmanager
def because(kind: ChangeKind | None = None, reason: str | None = None) -> Iterator[None]:
    """Whatever this task does to memories inside of the block is a change of this kind, or has this reason."""
    token = _CAUSE.set(Cause(kind, reason))
    try:
        yield
    finally:
        _CAUSE.reset(token)


def present_cause() -> Cause:
    """Why this task writes memories now."""
    return _CAUSE.get()
