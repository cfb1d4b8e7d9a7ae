"""What this process writes is seen at once: a store's records, and a near-cache that is told of every write's end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from betterdb_agent_memory.engines.base import (
    Counter,
    Expected,
    Fence,
    IndexState,
    Outcome,
    RecordChange,
    Records,
    RecordWrite,
    Retired,
    Retirement,
)
from betterdb_agent_memory.engines.delegating import DelegatingRecords
from betterdb_agent_memory.memory.near.answers import Triple, scope_stored, subjects_of_ids, subjects_of_scope
from betterdb_agent_memory.memory.near.scopes import scopes_of
from betterdb_agent_memory.near_cache import NearCache

READS: Final = frozenset(
    [
        *("count", "group_sizes", "inspect", "max_neighbours", "prepare", "read_expiries", "read_group"),
        *("read_lifetimes", "read_many", "scan", "search_many", "select", "unreadable_rows", "walk"),
    ]
)
"""Verbs of `Records` after which every answer is what it was."""

COUNTS: Final = frozenset({"correct_group"})
"""Verbs that write what no recall shows."""


def noticed(records: Records, near: NearCache[Any]) -> Records:
    """The same records; what is written through them leaves no answer behind that does not know of it."""
    return NoticedRecords(records, near)


class NoticedRecords(DelegatingRecords):
    """`Records` that drop answers once a write has ended, however it ended: a failed one may have happened.

    A recall that began before that end finds perhaps what was there before the write; it is not kept. One that begins
    after it finds what was written. Reading is what it is without.
    """

    def __init__(self, records: Records, near: NearCache[Any]) -> None:
        super().__init__(records)
        self._near = near

    async def write_many(self, writes: Sequence[RecordWrite], *, fence: Fence | None = None) -> list[Outcome]:
        """See `Records.write_many`. A record that was there and has been changed may be of another scope."""
        try:
            outcomes = await self._records.write_many(writes, fence=fence)
        except BaseException:
            self._near.drop_all("written")
            raise
        changes = [write.if_exists for write, outcome in zip(writes, outcomes, strict=True) if _changed(outcome)]
        changed_in = scopes_of([change for change in changes if change is not None])
        self._drop((write.id for write in writes), changed_in, also={scope_stored(write.fields) for write in writes})
        return outcomes

    async def change_many(self, changes: Sequence[RecordChange], *, fence: Fence | None = None) -> list[Outcome]:
        """See `Records.change_many`. Where nobody knows in which scope a change is, everything is dropped."""
        try:
            outcomes = await self._records.change_many(changes, fence=fence)
        except BaseException:
            self._near.drop_all("written")
            raise
        done = [change for change, outcome in zip(changes, outcomes, strict=True) if _changed(outcome)]
        if done:
            self._drop((change.id for change in done), scopes_of(done))
        return outcomes

    async def delete_many(
        self,
        ids: Sequence[str],
        *,
        expected: Sequence[Expected] | None = None,
        fence: Fence | None = None,
        counter: Counter | None = None,
    ) -> list[bool]:
        """See `Records.delete_many`. What was found without a memory is found without it after its deletion."""
        try:
            return await self._records.delete_many(ids, expected=expected, fence=fence, counter=counter)
        finally:
            self._near.drop(subjects_of_ids(ids), "written")

    async def retire_many(
        self, retirements: Sequence[Retirement], shelf: Records, *, fence: Fence | None = None
    ) -> list[Retired]:
        """See `Records.retire_many`. Seldom enough to drop everything: successors may be of any scope."""
        try:
            return await self._records.retire_many(retirements, shelf, fence=fence)
        finally:
            self._near.drop_all("written")

    async def rebuild(self, dimensions: int, *, fence: Fence | None = None) -> IndexState:
        """See `Records.rebuild`."""
        try:
            return await self._records.rebuild(dimensions, fence=fence)
        finally:
            self._near.drop_all("written")

    async def drop(self, *, fence: Fence | None = None) -> int:
        """See `Records.drop`."""
        try:
            return await self._records.drop(fence=fence)
        finally:
            self._near.drop_all("written")

    def _drop(
        self, ids: Iterable[str], changed_in: Collection[Triple] | None, *, also: Collection[Triple] = ()
    ) -> None:
        if changed_in is None:
            self._near.drop_all("written")
        else:
            subjects = [subject for scope in {*changed_in, *also} for subject in subjects_of_scope(scope)]
            self._near.drop([*subjects, *subjects_of_ids(ids)], "written")


def _changed(outcome: Outcome) -> bool:
    return outcome is Outcome.CHANGED
