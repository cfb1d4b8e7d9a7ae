"""What happens to the memories of a store, told to whoever follows it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

from betterdb_agent_memory.errors import InvalidInputError, MemoryNotFoundError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.changes.change import Change, ChangeKind
from betterdb_agent_memory.memory.changes.reading import Asked, follow, follow_in_group
from betterdb_agent_memory.memory.changes.request import ChangesRequest
from betterdb_agent_memory.memory.changes.status import ChangeFeedStatus, status_of
from betterdb_agent_memory.memory.changes.waiting import wait_until_there
from betterdb_agent_memory.memory.parts import StoreParts
from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.memory.scope import MemoryScope
from betterdb_agent_memory.memory.where import Moment
from betterdb_agent_memory.options import is_number

DEFAULT_TAKEOVER_SECONDS = 30.0
DEFAULT_WAIT_SECONDS = 10.0
MAX_WAIT_SECONDS = 86_400.0


class ChangeVerbs(StoreParts):
    """changes, change_feed, drop_change_group, stop_change_feed, wait_for."""

    async def changes(
        self,
        *,
        scope: MemoryScope | None = None,
        thread_id: str | None = None,
        agent_id: str | None = None,
        namespace: str | None = None,
        kinds: Collection[ChangeKind] | None = None,
        since: str | Moment | None = None,
        group: str | None = None,
        takeover_seconds: float = DEFAULT_TAKEOVER_SECONDS,
    ) -> AsyncIterator[Change]:
        """Every change of a memory of exactly this scope, as it comes and without end.

        `async for change in store.changes()`: break off when you have enough. The first call switches the feed of
        the store on, if it is off: every worker tells what it does within ten seconds from then on (`change_feed`
        says when). What a change says is in `Change`; it does not hold what the memory says.

        `since` is "now" (the default), "oldest" (what is still there), a time, or the id of a change, behind which
        it goes on: each change comes at least once to whoever goes on behind the last one that it has handled.

        With a `group` the changes are shared by all who read with the same name, in any process: all changes of one
        memory come to one of them at a time, in order. A change counts as handled when the next one is asked for.
        What a consumer had not handled when it went, or when nothing was heard of it for `takeover_seconds` (0.1 to
        3,600), comes to another one, perhaps once more. The group remembers how far it has come; `since` says where a
        group begins that has none yet. Up to 16 consumers work, further ones stand by.

        Up to 5 round trips to begin with, then one per 500 changes and one a second while there are none; a group one
        more per 100 changes. Listens on the engine's connection for changed keys.

        Raises:
            InvalidInputError: an argument is refused; the message names it.
            ChangesMissedError: changes were trimmed before they were read; it says where to go on.
            EngineUnavailableError: the server does not answer: go on behind the last change later.
        """
        request = ChangesRequest.validated(
            scope=scope,
            thread_id=thread_id,
            agent_id=agent_id,
            namespace=namespace,
            kinds=kinds,
            since=since,
            group=group,
            takeover_seconds=takeover_seconds,
        )
        state = await self._feed.open()
        log = self._feed.log
        start = await request.start(log, state, self.name)
        asked = Asked(self.name, request.wants, self._watch.changes_missed)
        found = (
            follow(log, start, asked)
            if request.group is None
            else follow_in_group(log, request.group, asked, start=start, hold_seconds=request.takeover_seconds)
        )
        try:
            async for change in found:
                self._watch.change_read(change.kind)
                yield change
        finally:
            # Closed here and now, so that the share of a consumer that breaks off is free at once.
            await found.aclose()

    async def change_feed(self) -> ChangeFeedStatus | None:
        """How the change feed stands, and its groups; None while it is off. Three round trips."""
        state = await self._feed.log.state()
        return None if state is None else status_of(state, await self._feed.log.groups())

    async def drop_change_group(self, group: str) -> bool:
        """Forget a group and how far it has come; false where there was none. One round trip.

        Not while somebody reads with it: who does begins it anew, where it began at first.
        """
        return await self._feed.log.drop_group(group)

    async def stop_change_feed(self) -> bool:
        """Switch the change feed off for every worker, and delete what it holds; false where it was off.

        Three round trips. Others go on telling for up to ten seconds, to nobody. Whoever follows the changes gets a
        `ChangesMissedError`. The next call of `changes`, or of a store with the option, switches it on again.
        """
        return await self._feed.close()

    async def wait_for(self, id: str, *, timeout_seconds: float = DEFAULT_WAIT_SECONDS) -> MemoryItem:
        """The memory with this id, as soon as this worker can read it.

        For whoever is handed an id by another worker that may still be writing it. One round trip if it is there;
        else one four times a second, and, while the change feed is on, at once when something changes.
        `timeout_seconds` is from 0 (look once) to 86,400.

        Raises:
            InvalidInputError: the id or the time is refused.
            MemoryNotFoundError: it was not there in time.
        """
        checked = record.checked_id(id)
        if not is_number(timeout_seconds) or not 0 <= timeout_seconds <= MAX_WAIT_SECONDS:
            raise InvalidInputError(
                f"timeout_seconds is from 0 to {MAX_WAIT_SECONDS:,.0f}, not {timeout_seconds!r:.80}"
            )

        async def read() -> MemoryItem | None:
            return await self._read_one(checked)

        log = self._feed.log if self._feed.is_on else None
        found = await wait_until_there(read, log, timeout_seconds)
        if found is None:
            raise MemoryNotFoundError(
                f"there was no memory {checked!r} within {timeout_seconds:g} s; whoever is to write it has not, or it "
                "is gone again"
            )
        return found
