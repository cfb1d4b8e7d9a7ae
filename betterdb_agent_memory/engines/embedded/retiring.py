"""Records that leave for another collection of the file, and those that take their places, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from betterdb_agent_memory.engines.base import Outcome, RecordChange, RecordWrite, Retired, Retirement
from betterdb_agent_memory.engines.embedded import reading, writing
from betterdb_agent_memory.engines.embedded.changes import expiry_ms, holds
from betterdb_agent_memory.engines.embedded.checking import check_changes, check_writes
from betterdb_agent_memory.engines.embedded.groups import Groups
from betterdb_agent_memory.engines.embedded.logs import append_entries
from betterdb_agent_memory.engines.embedded.tables import Tables
from betterdb_agent_memory.engines.embedded.updating import Updates
from betterdb_agent_memory.engines.event_log import Announcement, Announcing
from betterdb_agent_memory.engines.filters import Fields

Told = tuple[Announcement | None, Announcement | None]
"""What is told of a record that leaves, and of a successor that is stored."""


def announcements(announcing: Announcing | None, retirements: Sequence[Retirement]) -> list[Told]:
    """What is to be told, asked for before the transaction."""
    if announcing is None:
        return [(None, None)] * len(retirements)
    return [
        (
            announcing.of("delete", one.id),
            announcing.of("write", one.successor.id) if isinstance(one.successor, RecordWrite) else None,
        )
        for one in retirements
    ]


class Retiring:
    """Takes records out of `tables` to those of `shelf`, inside a transaction of the caller's."""

    def __init__(
        self,
        connection: apsw.Connection,
        tables: Tables,
        shelf: Tables,
        now_ms: int,
        *,
        whole_field: str,
        groups: Groups | None,
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._shelf = shelf
        self._now_ms = now_ms
        self._whole_field = whole_field
        self._groups = groups

    def retire(self, one: Retirement, told: Told) -> Retired:
        """What became of one record; a later one sees it."""
        connection, now_ms = self._connection, self._now_ms
        [fields] = reading.read_records(connection, self._tables, [one.id], None, now_ms)
        if fields is None:
            return Retired.MISSING
        if not holds(fields, one.expected):
            return Retired.REFUSED
        [there] = reading.read_records(connection, self._shelf, [one.kept_as], None, now_ms)
        if there is not None and not one.resumes:
            return Retired.TAKEN
        copy = self._copy(one, fields)
        # Looked at before anything is written: what is refused here leaves all as it was.
        check_writes(self._shelf, [copy])
        if one.successor is not None and not self._succeeded(one.successor):
            return Retired.NO_SUCCESSOR
        writing.write_records(connection, self._shelf, [copy], now_ms, whole_field=self._whole_field)
        writing.delete_records(connection, self._tables, [one.id], now_ms, expected=None, groups=self._groups)
        self._tell(one, copy.fields, told)
        return Retired.RETIRED

    def _copy(self, one: Retirement, fields: Fields) -> RecordWrite:
        kept = {name: value for name, value in {**fields, **one.sets}.items() if name not in one.without}
        [own_ms] = reading.read_expiries(self._connection, self._tables, [one.id], self._now_ms)
        ends_ms = [at_ms for at_ms in (own_ms, expiry_ms(one.ttl_seconds, self._now_ms)) if at_ms is not None]
        return RecordWrite(one.kept_as, kept, expires_at_ms=min(ends_ms, default=None))

    def _succeeded(self, successor: RecordWrite | RecordChange) -> bool:
        connection, tables, now_ms = self._connection, self._tables, self._now_ms
        if isinstance(successor, RecordChange):
            check_changes(tables, [successor])
            updates = Updates(connection, tables, now_ms, whole_field=self._whole_field)
            outcome = updates.change(successor)
            updates.finish()
            return outcome is Outcome.CHANGED
        check_writes(tables, [successor])
        writing.write_records(
            connection, tables, [successor], now_ms, whole_field=self._whole_field, groups=self._groups
        )
        return True

    def _tell(self, one: Retirement, kept: Fields, told: Told) -> None:
        of_record, of_successor = told
        if of_successor is not None and isinstance(one.successor, RecordWrite):
            entry = of_successor.entry(one.successor.id, one.successor.fields)
            append_entries(self._connection, of_successor.log_key, [entry], self._now_ms)
        if of_record is not None:
            entry = of_record.entry(one.id, kept)
            append_entries(self._connection, of_record.log_key, [entry], self._now_ms)
