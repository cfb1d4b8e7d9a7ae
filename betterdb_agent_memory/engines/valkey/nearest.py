"""Finding records by vector: several searches and counts in one round trip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from betterdb_agent_memory.background import ROWS_ON_THE_LOOP, off_loop
from betterdb_agent_memory.engines.base import Answers, Neighbour, Neighbours, Search, Tally
from betterdb_agent_memory.engines.valkey import commands, query, reply
from betterdb_agent_memory.engines.valkey.by_key import ByKey
from betterdb_agent_memory.engines.valkey.choosing import Choosing
from betterdb_agent_memory.engines.valkey.doubts import Answered, exact_answers
from betterdb_agent_memory.engines.valkey.effort import MAX_NEIGHBOURS, Scope, ef_runtime, pays_in_batches
from betterdb_agent_memory.engines.valkey.neighbours import by_distance, parse_plainly
from betterdb_agent_memory.engines.valkey.packing import Command
from betterdb_agent_memory.engines.valkey.questions import Questions
from betterdb_agent_memory.engines.valkey.returning import DISTANCE_FIELD, returning
from betterdb_agent_memory.engines.valkey.words import is_left_out


@dataclass(slots=True)
class _Hunt:
    """A search that goes on until enough has been found.

    `texts` are its query texts, whose answers are put together; `asked` is how many neighbours each is asked for.
    `in_batches` says that the scope is walked through instead of compared, which may miss some.
    """

    place: int
    search: Search
    texts: Sequence[str]
    asked: int
    in_batches: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """What one query text brought. `is_all` means that the server had no more."""

    neighbours: list[Neighbour]
    is_all: bool


class Nearest:
    """Searches by vector in one collection."""

    def __init__(self, questions: Questions, by_key: ByKey, choosing: Choosing, *, ef: int) -> None:
        self._questions = questions
        self._choosing = choosing
        self._index = questions.index
        self._collection = questions.collection
        self._by_key = by_key
        self._least_ef = ef
        self._prefix = questions.collection.key_prefix.encode()

    async def search_many(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally]
    ) -> Answers:
        """See `Records.search_many`. One round trip, more where rows were dropped, and one where some are in doubt."""
        if len(searches) == 1 and self._choosing.suits(searches[0], fields):
            chosen = await self._chosen(vector, searches[0], fields, tallies)
            if chosen is not None:
                return chosen
        answers = [Neighbours(exhausted=False) for _ in searches]
        hunts = [hunt for place, search in enumerate(searches) if (hunt := self._hunt(place, search)) is not None]
        counted = [self._tally_texts(tally) for tally in tallies]
        counting = [self._questions.count_command(text) for texts in counted for text in texts if text is not None]
        asked = {hunt.place: hunt.texts for hunt in hunts}
        totals: list[int] = []
        while hunts or counting:
            sent = [self._command(vector, hunt, text, fields) for hunt in hunts for text in hunt.texts]
            replies, elapsed = await self._questions.ask([*sent, *counting])
            rest = iter(replies)
            again = []
            for hunt in hunts:
                found = [await self._found(next(rest), hunt.asked, fields, elapsed) for _ in hunt.texts]
                again.append(await self._settle(hunt, found, answers))
            totals += [(await self._questions.read(answer, (), 0, elapsed)).total for answer in rest]
            hunts, counting = [hunt for hunt in again if hunt is not None], []
        found_by = [
            Answered(rows, search.filter, asked.get(place, ()))
            for place, (rows, search) in enumerate(zip(answers, searches, strict=True))
        ]
        exact = await exact_answers(self._questions, self._by_key, found_by)
        answers = [Neighbours(new, exhausted=old.exhausted) for new, old in zip(exact, answers, strict=True)]
        return Answers(tuple(answers), self._tallied(counted, totals))

    async def _chosen(
        self, vector: bytes, search: Search, fields: Sequence[str], tallies: Sequence[Tally]
    ) -> Answers | None:
        """The neighbours that the server chose, and counts; None where it had better be searched and chosen by us."""
        hunt = self._hunt(0, search)
        if hunt is None:
            return None
        command = self._command(vector, hunt, hunt.texts[0], self._choosing.returned(search))
        counted = [self._tally_texts(tally) for tally in tallies]
        counting = [self._questions.count_command(text) for texts in counted for text in texts if text is not None]
        answers, elapsed = await self._choosing.ask([self._choosing.command(search, command, fields), *counting])
        neighbours = self._choosing.neighbours(search, answers[0], fields, elapsed, may_miss=hunt.in_batches)
        if neighbours is None:
            return None
        totals = [(await self._questions.read(answer, (), 0, elapsed)).total for answer in answers[1:]]
        return Answers((neighbours,), self._tallied(counted, totals))

    async def with_ids(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally]
    ) -> Answers:
        """The same where some filters name the only ids that can pass: those are read by their keys."""
        others = [search for search in searches if search.filter.required_ids is None]
        found, totals = await self.search_many(vector, others, fields=fields, tallies=tallies)
        rest = iter(found)
        answers = [
            next(rest) if search.filter.required_ids is None else await self._among_ids(vector, search, fields)
            for search in searches
        ]
        return Answers(tuple(answers), totals)

    async def _among_ids(self, vector: bytes, search: Search, fields: Sequence[str]) -> Neighbours:
        ids = search.filter.required_ids or frozenset()
        if search.count < 1:
            return Neighbours(exhausted=False)
        if search.words:
            ids &= await self._ids_with_words(search)
        found = await self._by_key.nearest(ids, vector, count=search.count, filter=search.filter, fields=fields)
        return Neighbours(found, exhausted=found.exhausted and self._questions.finds_all(search.words))

    async def _ids_with_words(self, search: Search) -> frozenset[str]:
        """Ids of all records that have one of the words and pass the prefilter. One round trip."""
        texts = self._questions.texts(search.filter, search.words)
        if not texts:
            return frozenset()
        limit, names = commands.LARGEST_LIMIT, (self._questions.order_field,)
        sent = [self._questions.select_command(text, names, 0, limit, None, False) for text in texts]
        replies, elapsed = await self._questions.ask(sent)
        found = [await self._questions.read(one, names, ROWS_ON_THE_LOOP + 1, elapsed) for one in replies]
        return frozenset(row.id for one in found for row in self._questions.own_rows(one, names))

    def _hunt(self, place: int, search: Search) -> _Hunt | None:
        """How a search begins; None where nothing can be searched for."""
        if search.count < 1:
            return None
        if search.words:
            texts = self._questions.texts(search.filter, search.words)
            return _Hunt(place, search, texts, search.count) if texts else None
        text = self._questions.prefilter(search.filter, query.EVERYTHING if self._walks_graph(search) else None)
        in_batches = text != query.EVERYTHING and self._walks_graph(search) and self._pays_in_batches(search)
        return _Hunt(place, search, (text,), search.count, in_batches)

    def _walks_graph(self, search: Search) -> bool:
        # Only where it pays: among few records, or many equal vectors, it misses some.
        return self._index.is_large and not self._index.is_overlapped() and not search.exhaustive

    def _pays_in_batches(self, search: Search) -> bool:
        scope = Scope(search.scope_size, self._index.documents)
        return self._index.takes_policy and pays_in_batches(search.count, scope)

    async def _settle(self, hunt: _Hunt, found: Sequence[_Found], answers: list[Neighbours]) -> _Hunt | None:
        """Leave the answer in its place, or say how to go on."""
        search = hunt.search
        is_all = all(one.is_all for one in found)
        neighbours = found[0].neighbours if len(found) == 1 else _merged(found)
        if hunt.in_batches and len(neighbours) < search.count:
            return _Hunt(hunt.place, search, hunt.texts, search.count)
        enough = all(one.is_all or len(one.neighbours) >= search.count for one in found)
        if not enough and hunt.asked < MAX_NEIGHBOURS:
            # Some rows were dropped here.
            return _Hunt(hunt.place, search, hunt.texts, min(MAX_NEIGHBOURS, 2 * hunt.asked))
        is_all = is_all and len(neighbours) <= search.count and self._questions.finds_all(search.words)
        answers[hunt.place] = Neighbours(neighbours[: search.count], exhausted=is_all)
        return None

    def _command(self, vector: bytes, hunt: _Hunt, text: str, fields: Sequence[str]) -> Command:
        search = hunt.search
        is_whole = text == query.EVERYTHING or hunt.in_batches
        size = None if search.words else search.scope_size
        share = 1.0 if is_whole else Scope(size, self._index.documents).share
        ef = ef_runtime(hunt.asked, share, least=self._least_ef, exhaustive=search.exhaustive)
        return commands.nearest(
            self._collection,
            text,
            vector,
            count=hunt.asked,
            ef=ef if self._index.takes_ef else None,
            in_batches=hunt.in_batches,
            fields=self._questions.returned(fields),
            timeout_ms=self._questions.timeout_ms,
        )

    def _tally_texts(self, tally: Tally) -> list[str | None]:
        """What to count, of which the first that is above 0 holds; None for all records of a large index.

        How many those are is known, and to count them RediSearch looks at each (90 ms at 100,000). A word that
        servers leave out may be in every record of the scope.
        """
        texts: list[str | None] = []
        if tally.word is not None:
            texts += self._questions.texts(tally.filter, (tally.word,))[:1]
            if not is_left_out(tally.word):
                return texts
        is_known = self._index.is_large and not self._index.is_overlapped() and not tally.filter.clauses
        return [*texts, None if is_known else self._questions.prefilter(tally.filter)]

    def _tallied(self, texts: Sequence[Sequence[str | None]], totals: Sequence[int]) -> tuple[int, ...]:
        """What was counted and what is known, in the order in which it was asked for."""
        rest = iter(totals)
        counts = [[self._index.documents if text is None else next(rest) for text in one] for one in texts]
        return tuple(next(filter(None, one), 0) for one in counts)

    async def _found(self, answer: Any, asked: int, fields: Sequence[str], elapsed: float) -> _Found:
        returned = self._questions.returned(fields)
        names = returning(tuple(returned)).names
        if len(returned) == len(fields):
            plain = await off_loop(asked, parse_plainly, answer, names, self._prefix)
            if plain is not None:
                # RESP2 does not say whether an answer is complete.
                self._questions.check_complete(None, elapsed)
                return _Found(plain, len(plain) < asked)
        else:
            names = {called: name for called, name in names.items() if name in (*fields, DISTANCE_FIELD)}
        found = await self._questions.read(answer, names, asked, elapsed)
        return _Found(await off_loop(asked, self._neighbours, found), len(found.rows) < asked)

    def _neighbours(self, found: reply.Found) -> list[Neighbour]:
        neighbours = []
        for key, fields in found.rows:
            if not fields or (id := self._questions.own_id(key)) is None:
                continue
            distance = _distance(fields.pop(DISTANCE_FIELD, b"nan"))
            if distance == distance:
                neighbours.append(Neighbour(id, distance, fields))
            else:
                self._questions.unreadable_rows += 1
        neighbours.sort(key=by_distance)
        return neighbours


def _distance(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _merged(found: Sequence[_Found]) -> list[Neighbour]:
    rows = {row.id: row for one in found for row in one.neighbours}
    return sorted(rows.values(), key=by_distance)
