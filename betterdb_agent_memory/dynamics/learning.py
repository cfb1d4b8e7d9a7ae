"""What an outcome changes in the memories of its recall, as changes of their records. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from betterdb_agent_memory.dynamics.outcomes import credit, rewarded
from betterdb_agent_memory.dynamics.parameters import DynamicsParameters
from betterdb_agent_memory.engines.base import RecordChange, Row
from betterdb_agent_memory.memory.dynamics_fields import CORE, STABILITY, STRENGTH_AT, SUCCESSES, USES, WORKING
from betterdb_agent_memory.memory.figures import LEARNT_FIELDS, figures_of_rows, seen
from betterdb_agent_memory.memory.scoring.base import elapsed_days
from betterdb_agent_memory.memory.scoring.chain import Traces, current_traces, reinforced
from betterdb_agent_memory.memory.scoring.retrievability import Power, grown
from betterdb_agent_memory.memory.spelling import number_text
from betterdb_agent_memory.memory.standing.standing import stabilities, traces_at


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one memory learnt from an outcome.

    `error` is how much better than expected it was, -2 to 2, `eligibility` how much of it belonged to this memory, 0 to
    1. `strength_before` and `strength_after` are both traces together.
    """

    id: str
    error: float
    eligibility: float
    strength_before: float
    strength_after: float


def lessons(
    rows: Sequence[Row],
    ranks: Sequence[int],
    value: float,
    *,
    elapsed_seconds: float,
    now_ms: int,
    parameters: DynamicsParameters,
) -> list[tuple[Lesson, RecordChange]]:
    """What the memories in `rows`, hits of these ranks, learn of an outcome, and the changes that write it down.

    A change happens only if nobody has taught the memory anything since it was read. Stability grows with what had been
    forgotten since the memory was last taught something, or was written: recalls that nobody called of use are no uses.
    """
    figures = figures_of_rows(rows)
    candidates, chain = figures.candidates, parameters.chain
    given = credit(
        value,
        ranks=np.array(ranks, dtype=np.float64),
        elapsed_seconds=elapsed_seconds,
        uses=figures.uses,
        successes=figures.successes,
        parameters=parameters.outcomes,
    )
    before, days = current_traces(candidates, now_ms, chain)
    strength_before = traces_at(figures, now_ms, chain).strength
    after = rewarded(before, candidates.importance, days, given.share, chain)
    taught_ms = candidates.created_at_ms
    if candidates.strength_at_ms is not None:
        taught_ms = np.fmax(taught_ms, candidates.strength_at_ms)
    stability = stabilities(figures, parameters.stability)
    left = Power().left(elapsed_days(taught_ms, now_ms), stability)
    stability = grown(stability, left, parameters.stability, share=np.maximum(given.share, 0.0))
    uses, successes = np.maximum(figures.uses, 0.0) + given.uses, np.maximum(figures.successes, 0.0) + given.successes
    working, core, strength_after = np.asarray(after.working), np.asarray(after.core), after.strength
    return [
        (
            Lesson(
                row.id, float(given.error[i]), float(given.uses[i]), float(strength_before[i]), float(strength_after[i])
            ),
            RecordChange(
                row.id,
                expected=seen(row.fields, LEARNT_FIELDS),
                sets={
                    **stored_traces(working[i], core[i], now_ms),
                    STABILITY: _stored(stability[i]),
                    USES: _stored(uses[i]),
                    SUCCESSES: _stored(successes[i]),
                },
            ),
        )
        for i, row in enumerate(rows)
    ]


def used(row: Row, now_ms: int, parameters: DynamicsParameters) -> dict[str, bytes]:
    """The fields of a memory that is used now: both traces as they are after that."""
    figures = figures_of_rows([row])
    before, days = current_traces(figures.candidates, now_ms, parameters.chain)
    after = reinforced(before, figures.candidates.importance, days, parameters.chain)
    return stored_traces(float(np.asarray(after.working)[0]), float(np.asarray(after.core)[0]), now_ms)


def stored_traces(working: float, core: float, at_ms: int) -> dict[str, bytes]:
    """The fields of two traces as they are at a time."""
    return {WORKING: _stored(working), CORE: _stored(core), STRENGTH_AT: str(at_ms).encode()}


def traces_written(rows: Sequence[Row], traces: Traces, places: Sequence[int], now_ms: int) -> list[RecordChange]:
    """Changes that write these traces into the rows at these places, unless they were taught something meanwhile."""
    working, core = np.asarray(traces.working), np.asarray(traces.core)
    return [
        RecordChange(
            rows[place].id,
            expected=seen(rows[place].fields, LEARNT_FIELDS),
            sets=stored_traces(working[place], core[place], now_ms),
        )
        for place in places
    ]


def _stored(number: float) -> bytes:
    """With nine digits: more would be rounding of the models."""
    return number_text(float(f"{max(float(number), 0.0):.9g}")).encode()
