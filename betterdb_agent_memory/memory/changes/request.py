"""What is asked of the change feed, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from betterdb_agent_memory.engines.event_log import BEGINNING, EventLog, LogEntry, LogPosition, LogState, read_position
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.errors import ChangesMissedError, InvalidInputError
from betterdb_agent_memory.memory.changes.change import Change, checked_kinds
from betterdb_agent_memory.memory.requests import exact_filter
from betterdb_agent_memory.memory.scope import MemoryScope
from betterdb_agent_memory.memory.times import checked_time_ms
from betterdb_agent_memory.options import is_number

NOW = "now"
OLDEST = "oldest"

MIN_TAKEOVER_SECONDS = 0.1
MAX_TAKEOVER_SECONDS = 3_600.0
MAX_GROUP_BYTES = 200

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class ChangesRequest:
    """Which changes are wanted, and from where on: "now", "oldest", a position or a time in ms."""

    filter: Filter
    kinds: frozenset[str]
    since: LogPosition | int | str
    group: str | None
    takeover_seconds: float

    @classmethod
    def validated(
        cls,
        *,
        scope: MemoryScope | None,
        thread_id: str | None,
        agent_id: str | None,
        namespace: str | None,
        kinds: object,
        since: object,
        group: object,
        takeover_seconds: object,
    ) -> ChangesRequest:
        """Check everything that could be wrong with it.

        Raises:
            InvalidInputError: it is; the message names the argument.
        """
        return cls(
            filter=exact_filter(scope, thread_id, agent_id, namespace, None, where=None),
            kinds=checked_kinds(kinds),
            since=_checked_since(since),
            group=None if group is None else _checked_group(group),
            takeover_seconds=_checked_takeover(takeover_seconds),
        )

    def wants(self, change: Change, entry: LogEntry) -> bool:
        """Whether a change is of these kinds and exactly of this scope."""
        return change.kind in self.kinds and self.filter.accepts(change.memory_id, entry.fields)

    async def start(self, log: EventLog, state: LogState, store: str) -> LogPosition:
        """The position behind which the wanted changes are. One round trip for a time and for "oldest".

        Raises:
            ChangesMissedError: some of what was told since that time has been trimmed.
        """
        if isinstance(self.since, LogPosition):
            return self.since
        # Before the first change of all, so that a gap behind it is noticed.
        first = LogPosition(state.begun_ms, 0)
        if self.since == OLDEST:
            page = await log.read(BEGINNING, count=1)
            if page is None or not page.entries:
                return state.last if state.last.number else first
            oldest = page.entries[0].position
            return LogPosition(oldest.time_ms, oldest.number - 1)
        if not isinstance(self.since, int):
            return state.last if state.last.number else first
        if self.since > state.now_ms:
            raise InvalidInputError(
                f"since is {self.since - state.now_ms} ms ahead of the server's clock; give a time of the past, or "
                "'now'"
            )
        found = await log.before(self.since)
        if found is None:
            raise ChangesMissedError(
                f"some of the changes of store {store} since then are gone: the feed keeps no more than its options "
                "say (change_feed=ChangeFeedOptions(...)); since='oldest' begins with the oldest that is there",
                missed=None,
                since=OLDEST,
            )
        return first if found == BEGINNING else found


def _checked_since(since: object) -> LogPosition | int | str:
    if since is None or since == NOW:
        return NOW
    if since == OLDEST:
        return OLDEST
    if isinstance(since, str) and (position := read_position(since)) is not None:
        return position
    try:
        return max(0, checked_time_ms("since", since))
    except InvalidInputError as error:
        raise InvalidInputError(
            "since is 'now', 'oldest', the id of a change, or a time (a datetime, ISO text or ms since the epoch), "
            f"not {since!r:.80}"
        ) from error


def _checked_group(group: object) -> str:
    if not isinstance(group, str) or not group or _CONTROL.search(group):
        raise InvalidInputError(f"group is a name without control characters, not {group!r:.80}")
    try:
        size = len(group.encode())
    except UnicodeEncodeError:
        raise InvalidInputError(f"group {group!r:.80} holds a lone surrogate, which no name may") from None
    if size > MAX_GROUP_BYTES:
        raise InvalidInputError(f"group has {size} bytes; a name has at most {MAX_GROUP_BYTES}")
    return group


def _checked_takeover(seconds: object) -> float:
    if not is_number(seconds) or not MIN_TAKEOVER_SECONDS <= float(seconds) <= MAX_TAKEOVER_SECONDS:
        raise InvalidInputError(
            f"takeover_seconds is from {MIN_TAKEOVER_SECONDS:g} to {MAX_TAKEOVER_SECONDS:g}, not {seconds!r:.80}"
        )
    return float(seconds)
