"""Entries about records in a log, in the transaction that writes the records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import apsw

from betterdb_agent_memory.engines.base import Outcome
from betterdb_agent_memory.engines.embedded.logs import append_entries
from betterdb_agent_memory.engines.embedded.reading import read_records
from betterdb_agent_memory.engines.embedded.tables import Tables
from betterdb_agent_memory.engines.event_log import Announcement, Announcing, Deed
from betterdb_agent_memory.engines.filters import Fields


class Announced:
    """What is to be told about the records of one batch, and what these held before, if they are to be deleted."""

    def __init__(self, announcing: Announcing | None, deed: Deed, ids: Sequence[str]) -> None:
        asked = [] if announcing is None else [announcing.of(deed, id) for id in ids]
        self._of: Mapping[int, Announcement] = {place: one for place, one in enumerate(asked) if one is not None}
        self._ids = ids
        self._held: dict[str, Fields] = {}

    def look(self, connection: apsw.Connection, tables: Tables, now_ms: int) -> None:
        """Read what the entries say of the records, as they are now."""
        names = tuple(dict.fromkeys(name for one in self._of.values() for name in one.copied))
        ids = list(dict.fromkeys(self._ids[place] for place in self._of))
        found = read_records(connection, tables, ids, names, now_ms) if ids else []
        self._held = {id: fields or {} for id, fields in zip(ids, found, strict=True)}

    def tell(self, connection: apsw.Connection, outcomes: Iterable[Outcome], now_ms: int) -> None:
        """Append the entries about those records to which something was done."""
        entries: dict[str, list[Fields]] = {}
        for place, outcome in enumerate(outcomes):
            announcement = self._of.get(place)
            if announcement is None or outcome not in (Outcome.WRITTEN, Outcome.CHANGED):
                continue
            id = self._ids[place]
            entry = announcement.entry(id, self._held[id], is_changed=outcome is Outcome.CHANGED)
            entries.setdefault(announcement.log_key, []).append(entry)
        for log_key, of_log in entries.items():
            append_entries(connection, log_key, of_log, now_ms)
