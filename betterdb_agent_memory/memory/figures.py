"""Reading the numbers by which memories stand, of records and of memories that were read whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from betterdb_agent_memory.engines.base import Row
from betterdb_agent_memory.engines.filters import Fields, leading_number
from betterdb_agent_memory.memory.dynamics_fields import (
    CORE,
    PINNED,
    RECENT,
    RELIABILITY,
    STABILITY,
    STRENGTH_AT,
    SUCCESSES,
    USES,
    WORKING,
    possible_stability,
)
from betterdb_agent_memory.memory.kinds import reliability_of_kind, stability_of_kind
from betterdb_agent_memory.memory.record import (
    ACCESS_COUNT,
    CREATED_AT,
    IMPORTANCE,
    KIND,
    LAST_ACCESSED_AT,
    MemoryItem,
    scoring_candidates,
)
from betterdb_agent_memory.memory.scoring.activation import RECENT as RECENT_TIMES
from betterdb_agent_memory.memory.scoring.base import Candidates, FloatArray, Need
from betterdb_agent_memory.memory.standing.figures import Figures

FIGURE_FIELDS: Final = (
    *(IMPORTANCE, CREATED_AT, LAST_ACCESSED_AT, ACCESS_COUNT, KIND),
    *(PINNED, STABILITY, WORKING, CORE, STRENGTH_AT, RELIABILITY, RECENT, USES, SUCCESSES),
)
"""What is read of a memory: some two hundred bytes."""

LEARNT_FIELDS: Final = (STABILITY, WORKING, CORE, STRENGTH_AT, USES, SUCCESSES)
"""What an outcome or a replay writes: whoever changes one of them must have seen all."""

USE_FIELDS: Final = (*LEARNT_FIELDS, LAST_ACCESSED_AT, IMPORTANCE, PINNED)
"""What a deletion of a faded memory rests on: one that was used, raised or pinned since is not deleted."""

_NEEDS: Final[frozenset[Need]] = frozenset(
    (
        *("importance", "created_at_ms", "last_accessed_at_ms", "access_count", "recent_ms", "successes"),
        *("reliability", "stability_days", "working", "core", "strength_at_ms"),
    )
)


def figures_of_rows(rows: Sequence[Row]) -> Figures:
    """Those of records that were read with `FIGURE_FIELDS`; what cannot be read counts as absent."""
    records = [row.fields for row in rows]
    kinds = tuple(_text(fields.get(KIND)) for fields in records)
    return Figures(
        ids=tuple(row.id for row in rows),
        kinds=kinds,
        pinned=np.array([PINNED in fields for fields in records], dtype=bool),
        reliability=_column(records, RELIABILITY, math.nan),
        kind_reliability=_promised(kinds),
        uses=_column(records, USES, 0.0),
        successes=_column(records, SUCCESSES, 0.0),
        candidates=scoring_candidates(records, np.zeros(len(records)), _NEEDS),
    )


def figures_of_items(items: Sequence[MemoryItem]) -> Figures:
    """Those of memories that were read whole, as in hits: no round trip."""
    kinds = tuple(item.kind for item in items)
    reliability = _known([item.dynamics.reliability for item in items])
    promised = _promised(kinds)
    recent = np.full((len(items), RECENT_TIMES), math.nan)
    for row, item in zip(recent, items, strict=True):
        times = item.dynamics.recent[-RECENT_TIMES:]
        row[: len(times)] = times
    stability = [possible_stability(item.dynamics.stability) or stability_of_kind(item.kind) for item in items]
    return Figures(
        ids=tuple(item.id for item in items),
        kinds=kinds,
        pinned=np.array([item.pinned for item in items], dtype=bool),
        reliability=reliability,
        kind_reliability=promised,
        uses=np.array([item.dynamics.uses for item in items], dtype=np.float64),
        successes=np.array([item.dynamics.successes for item in items], dtype=np.float64),
        candidates=Candidates(
            relevance=np.zeros(len(items)),
            importance=np.array([item.importance for item in items], dtype=np.float64),
            created_at_ms=np.array([item.created_at for item in items], dtype=np.float64),
            last_accessed_at_ms=np.array([item.last_accessed_at for item in items], dtype=np.float64),
            access_count=np.array([item.access_count for item in items], dtype=np.float64),
            recent_ms=recent if any(item.dynamics.recent for item in items) else None,
            successes=np.array([item.dynamics.successes for item in items], dtype=np.float64),
            reliability=np.clip(reliability / promised, 0.0, 1.0),
            stability_days=_known(stability),
            working=_known([item.dynamics.working for item in items]),
            core=_known([item.dynamics.core for item in items]),
            strength_at_ms=_known([item.dynamics.strength_at for item in items]),
        ),
    )


def seen(fields: Fields, names: Sequence[str]) -> Mapping[str, bytes | None]:
    """What a change expects that rests on these fields as they were read."""
    return {name: fields.get(name) for name in names}


def _column(records: Sequence[Fields], name: str, absent: float) -> FloatArray:
    found = (leading_number(fields.get(name)) for fields in records)
    return np.array([absent if number is None else number for number in found], dtype=np.float64)


def _known(numbers: Sequence[float | None]) -> FloatArray:
    return np.array([math.nan if number is None else number for number in numbers], dtype=np.float64)


def _promised(kinds: Sequence[str | None]) -> FloatArray:
    return np.array([reliability_of_kind(kind) for kind in kinds], dtype=np.float64)


def _text(stored: bytes | None) -> str | None:
    return None if stored is None else stored.decode(errors="replace")
