"""Finding the candidates of a recall that are exactly in scope.

Search indexes fold case, trim and split, so what they return may include strangers. Dropping those
must not shorten the answer: more is asked for until enough are left, nothing else can qualify, or
the engine gives no more; past that point every memory of the scope is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.engines.base import ChosenFrom, Neighbour, Neighbours, Search, Selection, Tally, Word
from betterdb_agent_memory.engines.filters import AnyOf, Filter
from betterdb_agent_memory.engines.spreading import Spread
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.recalling.cues import CUED, Cue
from betterdb_agent_memory.memory.recalling.question import Question, Reach, in_periods
from betterdb_agent_memory.memory.recalling.scope_statistics import ScopeStatistics
from betterdb_agent_memory.memory.recalling.whole_scope import compare_whole_scope
from betterdb_agent_memory.memory.spaces import SearchedRecords
from betterdb_agent_memory.memory.words.rare import rarest

_WIDENING = 4


@dataclass(frozen=True, slots=True)
class Frequencies:
    """How many memories the scope has (`size`), and how many of them have each word of the question."""

    size: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """What is known about memories that are no candidates.

    `nearest` is the distance that none of them is below, None where there are none. `holding` is the same for those
    that have one of the words `searched`, and `dated` for those of the periods; None where all of these were seen.
    """

    nearest: float | None
    holding: float | None = None
    searched: frozenset[str] = frozenset()
    dated: float | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """That the engine chose the candidates: from what, and by their worth at which time (ms). `spread` is what links of
    the worthiest lead to, where the engine said so.
    """

    chosen_from: ChosenFrom
    now_ms: int
    spread: Spread | None = None


@dataclass(frozen=True, slots=True)
class Gathered:
    """Candidates that are exactly in scope, each once, those by vector first and nearest first.

    `frequencies` is None where the question has no words; `refills` counts searches that strangers made necessary.
    `chosen` is set where only those that a selection asked for are here. `fans` are how many memories of the scope have
    each cue, as far as it was counted; None where the whole scope is here.
    """

    rows: list[Neighbour]
    limits: Limits
    frequencies: Frequencies | None = None
    refills: int = 0
    chosen: Chosen | None = None
    fans: tuple[int, ...] | None = None


class Gatherer:
    """Finds candidates in the records of one space; what it counts it leaves in `statistics`."""

    def __init__(self, records: SearchedRecords, statistics: ScopeStatistics, *, unindexed: Sequence[str] = ()) -> None:
        self._records = records
        self._statistics = statistics
        self._unindexed = unindexed
        self._refills = 0

    async def gather(
        self, question: Question, filter: Filter, reach: Reach, selection: Selection | None = None
    ) -> Gathered:
        """The nearest memories, or only those of the `selection`; in hybrid retrieval, which knows none, also those
        of a day that the question names, and those that have its rare words. Of those that have one of its rare cues
        the nearest, too.

        One round trip, and a second one for the words where it was not known how many memories have them and the
        first did not bring the whole scope. Where the filter names ids they are read, in a round trip per 500 of them
        beside that.
        """
        self._refills = 0
        tallies = question.tallies(filter)
        unknown = [tally for tally in tallies if self._statistics.known(tally) is None]
        searches = [self._nearest(filter, reach, selection)]
        # So few that the first search brings all of them.
        is_whole = filter.required_ids is not None and len(filter.required_ids) <= searches[0].count
        by_date = bool(question.periods) and not is_whole
        if by_date:
            searches.append(self._dated(question, filter, reach))
        cued = () if is_whole or not question.cues else self._cued(question, filter, reach)
        first_cued = len(searches)
        searches += cued
        rare = () if unknown or is_whole else self._rare(question, tallies, reach)
        if rare:
            searches.append(self._holding(filter, reach, rare))
        asked = [*self._asked(unknown, filter), *self._fans_unknown(question, filter)]
        found, counts = await self._records.search_many(
            question.vector, searches, fields=record.ITEM_FIELDS, tallies=asked
        )
        for tally, count in zip(asked, counts, strict=True):
            self._statistics.note(tally, count)
        if selection is not None and (chosen_from := found[0].chosen_from) is not None:
            limits = Limits(None if found[0].exhausted else chosen_from.farthest)
            return Gathered(found[0], limits, chosen=Chosen(chosen_from, selection.worth.now_ms, found[0].spread))
        nearest, nearest_limit = await self._all_of(
            question.vector, filter, found[0], searches[0].count, reach, wanted=searches[0].count
        )
        if nearest_limit is None:
            return await self._gathered([nearest], Limits(None), tallies)
        with_cues = [(await self._kept(filter, one))[0] for one in found[first_cued : first_cued + len(cued)]]
        dates = found[1] if by_date else Neighbours(exhausted=True)
        dated, dated_limit = await self._kept(filter, dates)
        if unknown and question.words and (rare := self._rare(question, tallies, reach)):
            [holders], _ = await self._records.search_many(
                question.vector, [self._holding(filter, reach, rare)], fields=record.ITEM_FIELDS
            )
        else:
            holders = found[-1] if rare else Neighbours(exhausted=True)
        holding, holding_limit = await self._kept(filter, holders)
        if record.OCCURRED_AT in self._unindexed and question.periods:
            dated_limit = 0.0  # narrowed by the time of writing alone, it may have missed any
        limits = Limits(nearest_limit, holding_limit, frozenset(word.stem for word in rare), dated_limit)
        gathered = await self._gathered([nearest, dated, holding, *with_cues], limits, tallies)
        return replace(gathered, fans=self._fans(question, filter)) if question.cues else gathered

    async def gather_all(self, question: Question, filter: Filter, *, most: int) -> Gathered | None:
        """Every memory of the scope, each with its distance; None if there are more than `most`.

        About one round trip per 2,000 memories.
        """
        rows = await compare_whole_scope(self._records, question.vector, filter, most=most)
        if rows is None:
            return None
        tallies = question.tallies(filter)
        unknown = [tally for tally in tallies if self._statistics.known(tally) is None]
        if unknown:
            _, counts = await self._records.search_many(question.vector, (), fields=record.ITEM_FIELDS, tallies=unknown)
            for tally, count in zip(unknown, counts, strict=True):
                self._statistics.note(tally, count)
        return await self._gathered([rows], Limits(None), tallies)

    def _asked(self, unknown: list[Tally], filter: Filter) -> list[Tally]:
        """What to count in passing: without words the size of the scope, by which the engine chooses how to search."""
        if unknown or not filter.clauses or filter.required_ids is not None:
            return unknown
        size = Tally(filter)
        return [size] if self._statistics.known(size) is None else []

    def _nearest(self, filter: Filter, reach: Reach, selection: Selection | None = None) -> Search:
        count = min(reach.nearest, self._records.max_neighbours)
        size = self._statistics.known(Tally(filter)) if filter.clauses else None
        return Search(count, filter, scope_size=size, exhaustive=reach.exhaustive, selection=selection)

    def _dated(self, question: Question, filter: Filter, reach: Reach) -> Search:
        narrowed = in_periods(filter, question.periods, unindexed=self._unindexed)
        return Search(min(reach.nearest, self._records.max_neighbours), narrowed, exhaustive=reach.exhaustive)

    def _holding(self, filter: Filter, reach: Reach, words: tuple[Word, ...]) -> Search:
        return Search(min(reach.holding, self._records.max_neighbours), filter, words, exhaustive=reach.exhaustive)

    def _cued(self, question: Question, filter: Filter, reach: Reach) -> tuple[Search, ...]:
        """What finds the memories that have a cue which is rare, as far as that is known: by words, and by names."""
        fans = [self._fan(cue, filter) for cue in question.cues]
        cues = [cue for cue, fan in zip(question.cues, fans, strict=True) if fan is None or fan <= CUED]
        count = min(CUED, self._records.max_neighbours)
        words = tuple(dict.fromkeys(word for cue in cues for word in cue.words))
        names = tuple(clause for cue in cues if (clause := cue.named(self._unindexed)) is not None)
        named = Filter((*filter.clauses, AnyOf(names)))
        return (
            *((Search(count, filter, words, exhaustive=reach.exhaustive),) if words else ()),
            *((Search(count, named, exhaustive=reach.exhaustive),) if names else ()),
        )

    def _fan(self, cue: Cue, filter: Filter) -> int | None:
        counts = [self._statistics.known(tally) for tally in cue.tallies(filter, self._unindexed)]
        known = [count for count in counts if count is not None]
        return cue.fan(known) if len(known) == len(counts) else None

    def _fans(self, question: Question, filter: Filter) -> tuple[int, ...]:
        return tuple(self._fan(cue, filter) or 0 for cue in question.cues)

    def _fans_unknown(self, question: Question, filter: Filter) -> list[Tally]:
        tallies = [tally for cue in question.cues for tally in cue.tallies(filter, self._unindexed)]
        return [tally for tally in dict.fromkeys(tallies) if self._statistics.known(tally) is None]

    def _rare(self, question: Question, tallies: Sequence[Tally], reach: Reach) -> tuple[Word, ...]:
        if not question.words or not reach.holding:
            return ()
        if reach.word_matches is None:
            return question.words
        counts = [self._statistics.known(tally) or 0 for tally in tallies[1:]]
        # A word that nothing had a minute ago may be in what was just remembered, and costs next to nothing.
        new = tuple(word for word, count in zip(question.words, counts, strict=True) if not count)
        return (*rarest(question.words, counts, reach.word_matches).searched, *new)

    async def _gathered(
        self, parts: Sequence[Sequence[Neighbour]], limits: Limits, tallies: Sequence[Tally]
    ) -> Gathered:
        merged = await off_loop(sum(map(len, parts)), _merged, parts)
        frequencies = None
        if tallies:
            size, *counts = [self._statistics.known(tally) or 0 for tally in tallies]
            frequencies = Frequencies(size, tuple(counts))
        return Gathered(merged, limits, frequencies, self._refills)

    async def _kept(self, filter: Filter, rows: Neighbours) -> tuple[list[Neighbour], float | None]:
        """Those of the rows that are exactly in scope, and the distance that none of the others is below."""
        kept = await off_loop(len(rows), filter.accepted, rows)
        return kept, None if rows.exhausted else (rows[-1].distance if rows else 0.0)

    async def _all_of(
        self, vector: bytes, filter: Filter, rows: Neighbours, count: int, reach: Reach, *, wanted: int
    ) -> tuple[list[Neighbour], float | None]:
        """As `_kept`, and more is asked for while strangers take the places of memories that are needed."""
        while True:
            kept = await off_loop(len(rows), filter.accepted, rows)
            nothing_left = rows.exhausted or (bool(rows) and rows[-1].distance > reach.threshold)
            at_limit = count >= self._records.max_neighbours
            if len(kept) >= wanted or nothing_left or (at_limit and len(kept) >= reach.needed):
                limit = None if rows.exhausted and len(kept) <= wanted else _limit(rows, kept, wanted)
                return kept[:wanted], limit
            self._refills += 1
            if at_limit:
                break
            count = min(count * _WIDENING, self._records.max_neighbours)
            search = replace(self._nearest(filter, reach), count=count)
            [rows], _ = await self._records.search_many(vector, [search], fields=record.ITEM_FIELDS)
        every = await compare_whole_scope(self._records, vector, filter, most=None)
        kept = every or []
        return kept[:wanted], kept[wanted - 1].distance if len(kept) > wanted else None


def _merged(parts: Sequence[Sequence[Neighbour]]) -> list[Neighbour]:
    return list({row.id: row for part in parts for row in part}.values())


def _limit(rows: Neighbours, kept: Sequence[Neighbour], wanted: int) -> float:
    return kept[wanted - 1].distance if len(kept) > wanted else rows[-1].distance if rows else 0.0
