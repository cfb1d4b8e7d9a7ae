"""Writing what memories learnt of an outcome, while others teach them, change them and delete them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from betterdb_agent_memory.dynamics.learning import Lesson, lessons
from betterdb_agent_memory.dynamics.parameters import DynamicsParameters
from betterdb_agent_memory.engines.base import Outcome
from betterdb_agent_memory.errors import VersionConflictError
from betterdb_agent_memory.memory.record import CREATED_AT
from betterdb_agent_memory.memory.workplace import Workplace

_ATTEMPTS: Final = 100
"""How often a memory is read again that others teach at the same time: of several at once one is through each time."""
_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class OutcomeResult:
    """What was learnt from an outcome of this `value`: a lesson for each memory, in the order of the hits.

    `missing` are ids of hits that are gone by now; nothing was written for them.
    """

    value: float
    lessons: tuple[Lesson, ...]
    missing: tuple[str, ...] = ()


async def teach(
    workplace: Workplace, ids: Sequence[str], value: float, elapsed_seconds: float, parameters: DynamicsParameters
) -> OutcomeResult:
    """Teach the memories with these ids, best hit first, this outcome of a recall so long ago.

    Each is changed only as it was read, and read again where somebody else came first, so that of two who teach at once
    neither loses anything. Two round trips per 500, two more for each time that somebody did.

    Raises:
        VersionConflictError: others taught one again and again; the lessons of the others are learnt.
    """
    ranks = {id: rank for rank, id in enumerate(dict.fromkeys(ids))}
    learnt: dict[str, Lesson] = {}
    waiting = list(ranks)
    for attempt in range(_ATTEMPTS):
        rows = [row for row in await workplace.read(waiting) if CREATED_AT in row.fields]
        taught = lessons(
            rows,
            [ranks[row.id] for row in rows],
            value,
            elapsed_seconds=elapsed_seconds,
            now_ms=workplace.clock(),
            parameters=parameters,
        )
        outcomes = await workplace.change([change for _, change in taught])
        found = list(zip([lesson for lesson, _ in taught], outcomes, strict=True))
        learnt |= {lesson.id: lesson for lesson, outcome in found if outcome is Outcome.CHANGED}
        waiting = [lesson.id for lesson, outcome in found if outcome is Outcome.REFUSED]
        if not waiting:
            break
        await asyncio.sleep(random.uniform(0, min(_PAUSE_SECONDS * (attempt + 1), _LONGEST_PAUSE_SECONDS)))
    if waiting:
        raise VersionConflictError(
            f"{len(waiting)} memories, {waiting[0]!r} among them, were taught by others {_ATTEMPTS} times meanwhile; "
            f"the lessons of the other {len(learnt)} hits are learnt"
        )
    return OutcomeResult(
        value,
        tuple(learnt[id] for id in ranks if id in learnt),
        tuple(id for id in ranks if id not in learnt),
    )
