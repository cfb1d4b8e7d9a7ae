"""Trimming one scope to its limit, alone, whatever other workers do meanwhile."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Sequence
from zlib import crc32

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.engines.base import Counter, Fence, Leases, Page, Records, Row
from betterdb_agent_memory.engines.filters import (
    TAG_SEPARATOR,
    Absent,
    AnyOf,
    Between,
    Clause,
    Equals,
    Filter,
    Not,
    TagsAre,
)
from betterdb_agent_memory.engines.groups import group_values
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.leasing import HeldLease
from betterdb_agent_memory.memory.changes.cause import because
from betterdb_agent_memory.memory.dynamics_fields import PINNED
from betterdb_agent_memory.memory.reaches import Reaches
from betterdb_agent_memory.memory.record import IMPORTANCE, LAST_ACCESSED_AT, SCOPE_FIELDS, TAGS
from betterdb_agent_memory.memory.searching import Searcher
from betterdb_agent_memory.memory.slack import MOST_AT_ONCE, slack_of
from betterdb_agent_memory.memory.spaces import SearchedRecords
from betterdb_agent_memory.memory.victims import (
    DECIDING,
    EvictionCandidate,
    Retention,
    candidates_in,
    least_unseen,
)

LEASE_SECONDS = 5.0
"""How long a worker that died while it was evicting keeps others from it."""

LEASES = 64
"""Scopes share so many leases: one for each would stay for ever."""

_PAGE = 5_000
_FEW = 500
"""Scopes up to this size are read whole: one round trip counts them and shows who leaves."""

BEING_COUNTED = 1 << 40
"""What the count of a scope begins with, until it is known: whoever writes meanwhile takes the scope for crowded and
looks after it. From 0 on a scope whose counting broke off would pass for an all but empty one.
"""


def is_uncertain(size: int | None) -> bool:
    """Whether this is no count of a scope: nobody counts it, or it is being counted, or that broke off."""
    return size is None or size >= BEING_COUNTED // 2


_CORNERS = 3
_ROUNDS = 20
_RECOUNTS = 3
_log = logging.getLogger(__name__)


class Evictor:
    """Evicts what scopes hold above a limit. Each scope is trimmed by one worker at a time, under a fence.

    `by_tags` sets scopes apart by their tags, too. `on_unreadable` is told of fields that could not be read.
    """

    def __init__(
        self,
        records: Records,
        leases: Leases,
        searcher: Searcher,
        reaches: Reaches,
        *,
        name: str,
        counter: Counter,
        on_unreadable: Callable[[int], None],
        by_tags: bool = False,
    ) -> None:
        self._records = records
        self._leases = leases
        self._searcher = searcher
        self._name = name
        self._counter = counter
        self._on_unreadable = on_unreadable
        self._reaches = reaches
        self._fields = (*SCOPE_FIELDS, TAGS) if by_tags else SCOPE_FIELDS

    def is_ours(self, group: str) -> bool:
        """Whether the group is one of this kind: others may be counted by workers that set scopes apart otherwise."""
        return len(group_values(group)) == len(self._fields)

    def alone(self, group: str) -> HeldLease:
        """The lease under which the scope is trimmed and recounted."""
        lease = f"{self._name}:__mem_eviction_lease:{crc32(group.encode()) % LEASES}"
        return HeldLease(self._leases, lease, what=f"an eviction of store {self._name}", ttl_seconds=LEASE_SECONDS)

    async def size(self, group: str) -> int | None:
        """The count of a scope, None where nobody keeps it. One round trip."""
        return (await self._records.read_group(group)).size

    async def trim(
        self,
        group: str,
        limit: int,
        retention: Retention,
        lease: HeldLease,
        *,
        at_once: Callable[[], int] = lambda: MOST_AT_ONCE,
    ) -> tuple[int, int]:
        """Bring the scope down to `limit`; how many it has then, and how many left. `at_once` says how many leave with
        the next request.

        The memory that was written last stays. Whoever writes next sees it come into a scope that was trimmed: so with
        any number of writers the outcome is that of writing one after another, with one eviction behind each. For
        with arrivals w1 to wk, each followed by the eviction of the lowest of all others, all but the last of the
        arrivals have been candidates in the end, and exactly the k lowest of these and of what was there are gone.
        Here all k leave at once, which are the same.

        Four round trips for up to 500 memories, one more where numbers were rounded. Above, six, and two more each
        time the two lists do not reach far enough; 1 ms for each 1,000 memories of the scope on a server.

        Raises:
            LeaseLostError: somebody else is at it by now; what was deleted before counts.
        """
        filter = filter_of(group)
        evicted = 0
        is_refused = False
        for _ in range(_ROUNDS):
            found = await self._searcher.lookup(
                lambda space, again=is_refused: self._excess(  # type: ignore[misc]
                    space.records, group, filter, limit, retention, is_refused=again
                ),
                None,
            )
            if found is None:
                return 0, evicted
            total, victims = found
            done = 0
            while done < len(victims):
                lease.check()
                some = victims[done : done + at_once()]
                done += len(some)
                gone = await self._searcher.lookup(
                    lambda space, some=some: self._delete(space.records, some, lease.fence),  # type: ignore[misc]
                    0,
                )
                evicted += gone
                total -= gone
                is_refused |= gone < len(some)  # changed since, or spelled otherwise than a search gives numbers
            if total <= limit or not victims:
                return total, evicted
        _log.warning(
            "a scope of store %s has %d memories above its limit still: they change too fast", self._name, total
        )
        return total, evicted

    async def recount(self, group: str, lease: HeldLease) -> int:
        """Count the scope and correct what is kept of it; the count. Three round trips, more while others write.

        What others write in between is in one of the two and perhaps not in the other: corrected is only what that
        does not explain, so that it is exact once they pause. Where nobody counted, what is broken off leaves
        `BEING_COUNTED` and more, which the next writer takes for a crowded scope.

        Raises:
            LeaseLostError: somebody else is at it by now.
        """
        filter = filter_of(group)
        size = 0
        for _ in range(_RECOUNTS):
            before = await self.size(group)
            if before is None:
                before = BEING_COUNTED
                await self._records.correct_group(group, before, fence=lease.fence)
            size = await self._searcher.lookup(lambda space: space.records.count(filter), 0)
            after = await self.size(group) or 0
            low, high = sorted((before, after))
            difference = size - high if size > high else min(0, size - low)
            if difference:
                await self._records.correct_group(group, difference, fence=lease.fence)
            if before == after:
                break
        return size

    async def _excess(
        self,
        records: SearchedRecords,
        group: str,
        filter: Filter,
        limit: int,
        retention: Retention,
        *,
        is_refused: bool,
    ) -> tuple[int, list[EvictionCandidate]]:
        """How many memories the scope has, and those that are too many."""
        if limit <= _FEW:
            rows, is_whole = await self._first_rows(records, filter)
            if is_whole:
                last = (await self._records.read_group(group)).last_id
                candidates, kept = self._candidates(rows, filter, {last})
                total = len(candidates) + kept
                return total, await self._exact(records, filter, retention, candidates, total - limit, is_refused)
        total = await records.count(filter)
        if total <= limit:
            return total, []
        return total, await self._lowest(records, group, filter, retention, total - limit, total, is_refused)

    async def _first_rows(self, records: SearchedRecords, filter: Filter) -> tuple[Sequence[Row], bool]:
        """All rows that the prefilter of a small scope lets through, and whether these are all."""
        page = await records.select(filter, fields=_wanted(filter), limit=2 * _FEW)
        return page.rows, page.scanned >= page.total

    async def _lowest(
        self,
        records: SearchedRecords,
        group: str,
        filter: Filter,
        retention: Retention,
        count: int,
        total: int,
        is_refused: bool,
    ) -> list[EvictionCandidate]:
        """The `count` lowest of a large scope: from the corner where they should be, or from the ends of its orders."""
        # A look that finds little to do, once writes have paused, must not have the next one see too little.
        following = max(count + count // 5, slack_of(total - count))
        found = await self._in_corner(records, group, filter, retention, count, following)
        if found is not None:
            return await self._exact(records, filter, retention, found, count, is_refused)
        # With numbers that have nothing to do with each other, this is how far the lists have to reach.
        depth = count + math.isqrt(count * total)
        while 4 * depth < total:
            try:
                pages = await self._ends(records, filter, depth)
            except InvalidInputError:  # found through another model's index, which knows no such order
                break
            last = (await self._records.read_group(group)).last_id
            seen = {row.id: row for page in pages for row in page.rows}
            candidates, _ = await self._decoded(list(seen.values()), filter, {last})
            chosen = retention.lowest(candidates, count)
            if len(chosen) == count and _is_settled(retention, chosen[-1], pages):
                if not pages[-1].total:
                    least = least_unseen(retention, pages[0].rows, pages[1].rows)
                    await self._begin_reach(
                        group,
                        retention,
                        candidates,
                        retention.reach(candidates, count, following=following, least=least),
                    )
                return await self._exact(records, filter, retention, candidates, count, is_refused)
            depth *= 2
        rows = await self._whole(records, filter)
        last = (await self._records.read_group(group)).last_id
        candidates, kept = await self._decoded(rows, filter, {last})
        reach = retention.reach(candidates, count, following=following)
        await self._begin_reach(group, retention, candidates, reach)
        # Counted anew from what was read: nobody leaves for somebody else's memory.
        excess = len(candidates) + kept - (total - count)
        return await self._exact(records, filter, retention, candidates, excess, is_refused)

    async def _begin_reach(
        self, group: str, retention: Retention, candidates: Sequence[EvictionCandidate], score: float | None
    ) -> None:
        """Note how far to look the next time, where `candidates` have the lowest of the whole scope."""
        if score is not None:
            await self._reaches.begin(group, score, retention.edges(retention.within(candidates, score)))

    async def _in_corner(
        self, records: SearchedRecords, group: str, filter: Filter, retention: Retention, count: int, following: int
    ) -> list[EvictionCandidate] | None:
        """Candidates among which the `count` lowest surely are, if `following` leave the next time; None where nobody
        knows where to look for them.

        Three round trips, more where it has to look further.
        """
        reach = await self._reaches.read(group)
        for _ in range(_CORNERS):
            if reach is None:
                return None
            corner = Filter((*filter.clauses, retention.corner(reach.score, reach.edges)))
            page = await records.select(corner, fields=_wanted(filter), limit=4 * count + _PAGE)
            if page.scanned < page.total:
                return None
            last = (await self._records.read_group(group)).last_id
            candidates, _ = await self._decoded(page.rows, filter, {last})
            within = retention.within(candidates, reach.score)
            if not within:
                return None
            limit = retention.next_limit(within, count, reach.score, following=following)
            reach = reach.to(limit, retention.edges(within[count:] or within))
            if len(within) >= count:
                await self._reaches.keep(group, reach)
                return within
        return None

    async def _ends(self, records: SearchedRecords, filter: Filter, depth: int) -> Sequence[Page]:
        """The lowest `depth` by each number, and those without one: they count as 0, and stand in no such order."""
        wanted = _wanted(filter)
        without = AnyOf((Not(Between(IMPORTANCE)), Not(Between(LAST_ACCESSED_AT))))
        return await asyncio.gather(
            records.select(filter, fields=wanted, limit=depth, order_by=IMPORTANCE),
            records.select(filter, fields=wanted, limit=depth, order_by=LAST_ACCESSED_AT),
            records.select(Filter((*filter.clauses, without)), fields=wanted, limit=depth),
        )

    async def _whole(self, records: SearchedRecords, filter: Filter) -> list[Row]:
        rows: dict[str, Row] = {}
        offset = 0
        while True:
            page = await records.select(filter, fields=_wanted(filter), limit=_PAGE, offset=offset)
            rows |= {row.id: row for row in page.rows}
            offset += page.scanned
            if not page.scanned or offset >= page.total:
                return list(rows.values())

    async def _exact(
        self,
        records: SearchedRecords,
        filter: Filter,
        retention: Retention,
        candidates: Sequence[EvictionCandidate],
        count: int,
        is_refused: bool,
    ) -> list[EvictionCandidate]:
        """The `count` lowest, by what is stored where a search has rounded it."""
        if doubtful := retention.in_doubt(candidates, count, is_certain=is_refused):
            rounded = [candidate.id for candidate in doubtful if is_refused or candidate.is_rounded]
            exact = [candidate for candidate in doubtful if not (is_refused or candidate.is_rounded)]
            candidates = [*exact, *await self._read(records, filter, rounded)]
        return retention.lowest(candidates, count)

    async def _read(self, records: SearchedRecords, filter: Filter, ids: Sequence[str]) -> list[EvictionCandidate]:
        stored = await records.read_many(ids, _wanted(filter))
        rows = [Row(id, fields) for id, fields in zip(ids, stored, strict=True) if fields]
        return (await self._decoded(rows, filter, ()))[0]

    async def _delete(self, records: SearchedRecords, victims: Sequence[EvictionCandidate], fence: Fence) -> int:
        """Delete those that still are what they were; how many."""
        with because("evicted"):
            return sum(
                await records.delete_many(
                    [victim.id for victim in victims],
                    expected=[victim.expected for victim in victims],
                    fence=fence,
                    counter=self._counter,
                )
            )

    async def _decoded(
        self, rows: Sequence[Row], filter: Filter, spared: Collection[str | None]
    ) -> tuple[list[EvictionCandidate], int]:
        return await off_loop(len(rows), self._candidates, rows, filter, spared)

    def _candidates(
        self, rows: Sequence[Row], filter: Filter, spared: Collection[str | None]
    ) -> tuple[list[EvictionCandidate], int]:
        candidates, kept, unreadable = candidates_in(rows, filter, spared)
        self._on_unreadable(unreadable)
        return candidates, kept


def filter_of(group: str) -> Filter:
    """Exactly the scope of a group: the fields that it has, and none of those that it has not; with a fourth value
    exactly its tags.
    """
    scope, tags = group_values(group)[: len(SCOPE_FIELDS)], group_values(group)[len(SCOPE_FIELDS) :]
    clauses: list[Clause] = [
        Absent(name) if value is None else Equals(name, value) for name, value in zip(SCOPE_FIELDS, scope, strict=True)
    ]
    clauses += [TagsAre(TAGS, frozenset(() if one is None else one.split(TAG_SEPARATOR))) for one in tags]
    return Filter(tuple(clauses))


def _wanted(filter: Filter) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*DECIDING, PINNED, *filter.field_names)))


def _is_settled(retention: Retention, worst: EvictionCandidate, pages: Sequence[Page]) -> bool:
    """Whether nothing that was not seen can be worth less than `worst`."""
    by_importance, by_access, without = pages
    if without.scanned < without.total:
        return False
    if by_importance.scanned >= by_importance.total or by_access.scanned >= by_access.total:
        return True
    least = least_unseen(retention, by_importance.rows, by_access.rows)
    return least is None or retention.worth(worst.importance, worst.last_accessed_at) <= least
