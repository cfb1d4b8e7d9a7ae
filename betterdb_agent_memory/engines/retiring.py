"""Records that leave their collection in several steps, where no single one can touch all that it takes.

What is written first is the successor, so that nothing is ever lost. Then the record is told that it is about to leave,
which only one of several can do who try at once, and what comes after that anybody can finish.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from betterdb_agent_memory.engines.base import (
    Expected,
    Fence,
    Outcome,
    RecordChange,
    Records,
    RecordWrite,
    Retired,
    Retirement,
)
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import OutcomeUnknownError

_ATTEMPTS = 20
"""How often a record is copied that others go on changing while it leaves."""


async def retire_in_steps(
    records: Records, retirements: Sequence[Retirement], shelf: Records, *, fence: Fence | None = None
) -> list[Retired]:
    """As `Records.retire_many`, one after another, by the other verbs of `records` and `shelf`. 6 to 8 round trips."""
    return [await _retire(records, one, shelf, fence) for one in retirements]


async def _retire(records: Records, one: Retirement, shelf: Records, fence: Fence | None) -> Retired:
    [held] = await records.read_many([one.id], None)
    if held is None:
        return Retired.MISSING
    if not _holds(held, one.expected):
        return Retired.REFUSED
    if not one.resumes and (await shelf.read_many([one.kept_as], None))[0] is not None:
        return Retired.TAKEN
    if isinstance(one.successor, RecordWrite):
        await records.write_many([one.successor], fence=fence)
    sets = dict(one.sets)
    if sets:
        [claimed] = await records.change_many([RecordChange(one.id, expected=one.expected, sets=sets)], fence=fence)
        if claimed is not Outcome.CHANGED:
            if isinstance(one.successor, RecordWrite):
                await records.delete_many([one.successor.id])
            return Retired.MISSING if claimed is Outcome.MISSING else Retired.REFUSED
    if isinstance(one.successor, RecordChange):
        [changed] = await records.change_many([one.successor], fence=fence)
        if changed is not Outcome.CHANGED:
            await _unclaimed(records, one, held)
            return Retired.NO_SUCCESSOR
    return await _moved(records, one, shelf, fence)


async def _moved(records: Records, one: Retirement, shelf: Records, fence: Fence | None) -> Retired:
    """Copied and deleted as it was copied; once more where somebody changed it in between."""
    for attempt in range(_ATTEMPTS):
        [fields] = await records.read_many([one.id], None)
        if fields is None:
            if attempt:
                # Deleted by somebody, who may have wanted it gone for good: then nothing may bring it back. Whoever
                # finishes what others have begun waits until these cannot be at it any more.
                await shelf.delete_many([one.kept_as])
            return Retired.RETIRED
        [expires_at_ms] = await records.read_expiries([one.id])
        await shelf.write_many([_copy(one, fields, expires_at_ms)])
        [gone] = await records.delete_many([one.id], expected=[_as_it_was(one, fields)], fence=fence)
        if gone:
            return Retired.RETIRED
    raise OutcomeUnknownError(
        f"the record {one.id!r} was changed {_ATTEMPTS} times while it was to leave; it is there still, and its "
        "successor too: do it once more",
        ids=(one.id,),
    )


async def _unclaimed(records: Records, one: Retirement, held: Fields) -> None:
    """The record as it was before it was given its sets."""
    before = {name: held[name] for name in one.sets if name in held}
    removed = tuple(name for name in one.sets if name not in held)
    await records.change_many([RecordChange(one.id, expected=dict(one.sets), sets=before, removes=removed)])


def _copy(one: Retirement, fields: Fields, expires_at_ms: int | None) -> RecordWrite:
    kept = {name: value for name, value in fields.items() if name not in one.without}
    write = RecordWrite(one.kept_as, kept)
    if one.ttl_seconds is None:
        return replace(write, expires_at_ms=expires_at_ms)
    if expires_at_ms is None:
        return replace(write, ttl_seconds=one.ttl_seconds)
    return replace(write, expires_at_ms=min(expires_at_ms, int(1000 * (time.time() + one.ttl_seconds))))


def _as_it_was(one: Retirement, fields: Fields) -> Expected:
    """All that it holds, and that it lacks what it lacks of the fields that something was expected of."""
    return {**{name: fields.get(name) for name in one.expected}, **fields}


def _holds(fields: Fields, expected: Expected) -> bool:
    return all(fields.get(name) == value for name, value in expected.items())
