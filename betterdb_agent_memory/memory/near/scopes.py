"""In which scopes memories are changed at the moment: said around the call, read where their answers are dropped.

A change names a memory by its id alone; who has just read the memory knows more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from betterdb_agent_memory.engines.base import RecordChange
from betterdb_agent_memory.memory.near.answers import Triple, scope_stored
from betterdb_agent_memory.memory.record import SCOPE_FIELDS

_SCOPES: ContextVar[Collection[Triple] | None] = ContextVar("betterdb_agent_memory_scopes", default=None)


@contextmanager
def changing_in(scopes: Collection[Triple]) -> Iterator[None]:
    """Whatever this task changes inside of the block is in one of these scopes."""
    token = _SCOPES.set(scopes)
    try:
        yield
    finally:
        _SCOPES.reset(token)


def scopes_of(changes: Sequence[RecordChange]) -> Collection[Triple] | None:
    """The scopes in which these changes can have happened; None where nobody knows.

    They are known where each change expects a scope, and where the caller has said them.
    """
    if all(name in change.expected for change in changes for name in SCOPE_FIELDS):
        return {scope_stored({name: value for name, value in change.expected.items() if value}) for change in changes}
    return _SCOPES.get()
