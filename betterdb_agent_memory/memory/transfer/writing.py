"""Lines of an import on their way into a collection: each written, there already, or refused with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from betterdb_agent_memory.engines.base import Outcome, RecordChange, Records, RecordWrite
from betterdb_agent_memory.errors import (
    EngineUnavailableError,
    InvalidInputError,
    OutcomeUnknownError,
    PartialBatchError,
)
from betterdb_agent_memory.memory.transfer import form

_UNSURE: Final = (EngineUnavailableError, OutcomeUnknownError)


@dataclass(frozen=True, slots=True)
class Written:
    """Lines that were written, those that were refused with the reason, and how many were there already."""

    lines: frozenset[int]
    refused: dict[int, str]
    existing: int


async def write_lines(records: Records, ready: Mapping[int, form.Exported], *, replaces: bool) -> Written:
    """Store these as they are; what is there already stays, unless one `replaces` it. One round trip per 500.

    Raises:
        InvalidInputError: one of them cannot be stored; nothing was written.
    """
    writes = [
        RecordWrite(
            memory.id,
            memory.fields,
            expires_at_ms=memory.expires_at_ms,
            if_exists=None if replaces else RecordChange(memory.id),
        )
        for memory in ready.values()
    ]
    if not writes:
        return Written(frozenset(), {}, 0)
    try:
        outcomes = await records.write_many(writes)
    except PartialBatchError as error:
        if not error.done or any(isinstance(cause, _UNSURE) for cause in error.failed.values()):
            raise  # nothing about these lines: the next run does the batch again
        refused = {line: str(error.failed[memory.id]) for line, memory in ready.items() if memory.id in error.failed}
        return Written(frozenset(ready) - refused.keys(), refused, 0)
    lines = frozenset(line for line, outcome in zip(ready, outcomes, strict=True) if outcome is Outcome.WRITTEN)
    return Written(lines, {}, len(ready) - len(lines))


async def write_one_by_one(records: Records, ready: Mapping[int, form.Exported], *, replaces: bool) -> Written:
    """The same where one that cannot be stored as it is costs no other."""
    lines: frozenset[int] = frozenset()
    refused: dict[int, str] = {}
    existing = 0
    for line, memory in ready.items():
        try:
            written = await write_lines(records, {line: memory}, replaces=replaces)
        except InvalidInputError as error:
            refused[line] = str(error)
        else:
            lines |= written.lines
            refused |= written.refused
            existing += written.existing
    return Written(lines, refused, existing)
