"""Which names of the registry are dead: nobody beats for them, and nobody lives silently."""

from __future__ import annotations

import random
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from betterdb_agent_memory.discovery.markers import CACHE_TYPE, MEMORY_CACHE_TYPE, read_marker

OUR_TYPES = frozenset({CACHE_TYPE, MEMORY_CACHE_TYPE})


@dataclass(frozen=True, slots=True)
class Patience:
    """When a name counts as dead.

    It had no heartbeat at two looks at least `apart_seconds` apart, with the same marker all the time.
    A marker of a writer that never beats must also say that it started `silent_days` ago or earlier; should its
    owner live still, it writes the marker again within half a minute.
    """

    apart_seconds: float = 120.0
    silent_days: float = 7.0


@dataclass(frozen=True, slots=True)
class _Suspect:
    marker: bytes
    since_seconds: float


class DeadNames:
    """Remembers from look to look which names had no heartbeat; `own_field` is not worth a look."""

    def __init__(self, own_field: str, patience: Patience | None = None) -> None:
        self._own_field = own_field
        self._patience = patience or Patience()
        self._suspects: dict[str, _Suspect] = {}

    def worth_a_look(self, registry: Mapping[str, bytes], *, limit: int) -> list[str]:
        """At most `limit` names whose heartbeats to look for: suspects first, then any others."""
        possible = [
            field for field, marker in registry.items() if field != self._own_field and self._may_be_dead(marker)
        ]
        suspects = [field for field in possible if field in self._suspects][:limit]
        others = [field for field in possible if field not in self._suspects]
        return suspects + random.sample(others, min(len(others), limit - len(suspects)))

    def seen(self, markers: Mapping[str, bytes], beating: Set[str], now_seconds: float) -> dict[str, bytes]:
        """Take in one look at `markers`; the names that are dead, with the markers they must still have."""
        dead: dict[str, bytes] = {}
        for field, marker in markers.items():
            suspect = self._suspects.get(field)
            if field in beating:
                self._suspects.pop(field, None)
            elif suspect is None or suspect.marker != marker:
                self._suspects[field] = _Suspect(marker, now_seconds)
            elif now_seconds - suspect.since_seconds >= self._patience.apart_seconds:
                dead[field] = marker
        return dead

    def removed(self, field: str) -> None:
        """A dead name is gone."""
        self._suspects.pop(field, None)

    def _may_be_dead(self, stored: bytes) -> bool:
        marker = read_marker(stored)
        # What other libraries register lives by rules of their own.
        if marker is None or marker.type not in OUR_TYPES:
            return False
        if not marker.written_by_python or marker.type == MEMORY_CACHE_TYPE:
            return True
        silent_since = datetime.now(UTC) - timedelta(days=self._patience.silent_days)
        return marker.started_at is not None and marker.started_at < silent_since
