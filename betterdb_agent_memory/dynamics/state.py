"""What dynamics keep of a whole store, in one map: metrics and how far a pass has come. The encodings, pure.

Fields are `metric:{name}`, `pass`, `maintained_at`, and counts that workers add to: `recalls`, `recalls_empty`,
`outcomes`, `outcomes_thousandths` (their sum in thousandths).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final

from betterdb_agent_memory.dynamics.anomalies import Moments
from betterdb_agent_memory.dynamics.maintenance import MaintenanceResult
from betterdb_agent_memory.engines.base import Position
from betterdb_agent_memory.engines.filters import leading_number

METRIC: Final = "metric:"
PASS: Final = "pass"
MAINTAINED_AT: Final = "maintained_at"
RECALLS: Final = "recalls"
RECALLS_EMPTY: Final = "recalls_empty"
OUTCOMES: Final = "outcomes"
OUTCOMES_THOUSANDTHS: Final = "outcomes_thousandths"
COUNTS: Final = (RECALLS, RECALLS_EMPTY, OUTCOMES, OUTCOMES_THOUSANDTHS)
SEEN: Final = "seen:"
"""Before the name of a count: what it was when the metrics were last observed."""

_log = logging.getLogger(__name__)
_COUNTED: Final = tuple(
    (field.name, type(getattr(MaintenanceResult(), field.name))) for field in fields(MaintenanceResult)
)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it was last observed: `value`, how many standard deviations (`z`) it was from what was observed
    before, and the moments that it is part of.
    """

    value: float
    z: float
    moments: Moments


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A pass that has come `after` this memory: its plan, the time that it goes by, what it did, and the sum of the
    strengths of those that it looked at and that stay.
    """

    plan: str
    now_ms: int
    after: Position
    result: MaintenanceResult
    strength: float


def encode_metric(metric: Metric) -> bytes:
    """A metric as JSON."""
    return json.dumps({"value": metric.value, "z": metric.z, **asdict(metric.moments)}).encode()


def decode_metric(stored: bytes | None) -> Metric | None:
    """A metric; None where there is none, or none that can be read."""
    if stored is None:
        return None
    try:
        values = json.loads(stored)
        return Metric(
            float(values["value"]),
            float(values["z"]),
            Moments(float(values["mean"]), float(values["variance"]), int(values["count"])),
        )
    except (KeyError, TypeError, ValueError):
        _log.warning("a metric of dynamics cannot be read and begins anew: %.80r", stored)
        return None


def encode_unfinished(unfinished: Unfinished) -> bytes:
    """How far a pass has come, as JSON."""
    return json.dumps(asdict(unfinished)).encode()


def decode_unfinished(stored: bytes | None) -> Unfinished | None:
    """How far a pass has come; None where there is none, or none that can be read."""
    if stored is None:
        return None
    try:
        values = json.loads(stored)
        return Unfinished(
            plan=str(values["plan"]),
            now_ms=int(values["now_ms"]),
            after=Position(int(values["after"][0]), str(values["after"][1])),
            result=MaintenanceResult(**{name: kind(values["result"][name]) for name, kind in _COUNTED}),
            strength=float(values["strength"]),
        )
    except (KeyError, IndexError, TypeError, ValueError):
        _log.warning("how far maintenance had come cannot be read; it begins anew: %.80r", stored)
        return None


def count(state: Mapping[str, bytes], name: str) -> float:
    """A number of the map; 0 where there is none, or none that can be read."""
    return leading_number(state.get(name)) or 0.0
