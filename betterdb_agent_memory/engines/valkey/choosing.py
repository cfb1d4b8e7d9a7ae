"""Searching and choosing in one call: the server returns the worthiest neighbours, not all that were found.

A recall looks at four times as many memories as it returns. To leave the others on the server makes its answer 2.7 kB
instead of 12 (k = 8), for the time that it takes to bring all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from time import monotonic
from typing import Any, Final

from betterdb_agent_memory.engines.base import ChosenFrom, Neighbour, Neighbours, Search, Selection
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.engines.links import HALF_LIFE_MS
from betterdb_agent_memory.engines.spreading import Reached, Spread
from betterdb_agent_memory.engines.uses import Used, Uses
from betterdb_agent_memory.engines.valkey.faults import is_missing_index
from betterdb_agent_memory.engines.valkey.neighbours import by_distance
from betterdb_agent_memory.engines.valkey.packing import Argument, Command
from betterdb_agent_memory.engines.valkey.questions import Questions
from betterdb_agent_memory.engines.valkey.returning import returning
from betterdb_agent_memory.engines.valkey.scripts import by_text, is_unknown_script, load_script
from betterdb_agent_memory.errors import EngineError, IndexMissingError, SearchTimeoutError

MOST_FOUND: Final = 512
"""Neighbours that a server is to choose from: about a millisecond's work, in which it does nothing else."""

_WORTHWHILE = 2
"""So many times as many must be found as are wanted."""

_AGAIN_SECONDS = 60.0
"""After which it is tried again where it did not go."""

_MOST_UNFIT = 1_000


class Choosing:
    """Whether a search is left to the script, its command and its answer.

    Where the answer needs more care (an odd number, a memory of another scope in the place of one that is needed, a
    server without scripts) the search is done as any other, and for a minute so from the beginning.
    """

    def __init__(self, questions: Questions, *, whole_field: str) -> None:
        self._questions = questions
        self._prefix = questions.collection.key_prefix
        self._whole_field = whole_field
        self._unfit: dict[Filter | None, float] = {}

    def suits(self, search: Search, fields: Sequence[str]) -> bool:
        """Whether to try it: RediSearch, index and records on one server for certain (on a cluster a name with a hash
        tag), a filter of whole values, far more to be found than wanted.
        """
        selection, equalities = search.selection, search.filter.equalities
        index = self._questions.index
        if selection is None or equalities is None or self._whole_field not in fields:
            return False
        is_worthwhile = _WORTHWHILE * selection.count <= search.count <= MOST_FOUND
        is_possible = index.takes_policy and self._is_together() and not index.is_overlapped()
        if not is_worthwhile or not is_possible or any(field not in index.searchable for field, _ in equalities):
            return False
        return not self._is_unfit(None) and not self._is_unfit(search.filter)

    def returned(self, search: Search) -> Sequence[str]:
        """What the search itself must return."""
        worth = _selection(search).worth
        compared = [field for field, _ in search.filter.equalities or ()]
        return self._questions.returned([*dict.fromkeys((worth.value_field, *worth.time_fields, *compared))])

    def command(self, search: Search, command: Command, fields: Sequence[str]) -> Command:
        """`command`, an FT.SEARCH for what `returned` says, wrapped in the script."""
        selection, equalities = _selection(search), search.filter.equalities or ()
        worth = selection.worth
        called = {field: name for name, field in returning(tuple(self.returned(search))).names.items()}
        # Texts alone, no numbers: those are counted and packed fastest.
        arguments: list[Argument] = [self._prefix, str(selection.count), repr(selection.threshold)]
        arguments += map(repr, (worth.likeness, worth.value, worth.freshness, worth.now_ms, worth.half_life_seconds))
        arguments.append("1" if worth.clamps_age else "0")
        arguments += (called[field] for field in (worth.value_field, *worth.time_fields))
        for said in (
            [value for _, value in equalities],
            () if worth.uses is None else _said_of_uses(worth.uses, worth.time_fields),
            self._said_of_spreading(search),
            fields,
            command[2:],
        ):
            arguments += (str(len(said)), *said)
        return load_script("choose").call(self._questions.collection.index_name, arguments)

    def _said_of_spreading(self, search: Search) -> list[Argument]:
        """How activation spreads; nothing where it does not, or the links may be on another server."""
        asked, keys = _selection(search).spreading, self._questions.collection.link_keys
        if asked is None or keys is None or keys.is_shared:
            return []
        if not self._questions.client.are_together(self._questions.collection.index_name, f"{keys.prefix}0"):
            return []
        said: list[Argument] = [keys.prefix]
        said += map(repr, (HALF_LIFE_MS, asked.starts, asked.followed, asked.looked_at, asked.most, asked.strength))
        said += map(repr, (asked.passed_on, asked.least_weight, asked.now_ms))
        said += (asked.refused_field, self._whole_field, self._questions.collection.schema.vector_field)
        return [*said, *(field for field, _ in search.filter.equalities or ())]

    async def ask(self, commands: Sequence[Command]) -> tuple[list[Any], float]:
        """Answers to the script and to the commands behind it, and how long it took.

        An answer that is an error is that of a server which refused the script. One round trip, two where it does
        not know the script yet.
        """
        answers, elapsed = await self._questions.answers_and_refusals(commands)
        if is_unknown_script(answers[0]):
            began = monotonic()
            [answers[0]] = await self._questions.client.ask_many([by_text(commands[0])])
            elapsed = max(elapsed, monotonic() - began)
        refusal, *rest = answers
        for answer in rest:
            if isinstance(answer, Exception):
                raise answer
        if isinstance(refusal, EngineError):
            if is_missing_index(str(refusal)):
                raise IndexMissingError(f"the search index does not exist: {refusal}") from refusal
            if "timeout" in str(refusal).lower():
                raise SearchTimeoutError(f"the server gave up the search: {refusal}") from refusal
            self._note_unfit(None)
        elif isinstance(refusal, Exception):
            raise refusal
        return answers, elapsed

    def neighbours(
        self, search: Search, answer: Any, fields: Sequence[str], elapsed: float, *, may_miss: bool
    ) -> Neighbours | None:
        """The chosen neighbours, nearest first; None where it had better be searched as any other.

        `may_miss` says that a search which found too few has not found all.
        """
        if isinstance(answer, EngineError):
            return None
        chosen = self._parsed(search, answer, fields, may_miss)
        if chosen is None:
            self._note_unfit(search.filter)
            return None
        # RESP2, which scripts speak, does not say whether an answer is complete.
        self._questions.check_complete(None, elapsed)
        return chosen

    def _parsed(self, search: Search, answer: Any, fields: Sequence[str], may_miss: bool) -> Neighbours | None:
        if type(answer) is not list:
            return None
        found, outside, gone, related = map(int, answer[:4])
        chosen = int(answer[6])
        nearest, farthest = (float(text) if text else None for text in answer[4:6])
        exhausted = found < search.count
        limit = farthest or 0.0
        is_crowded_out = outside + gone and not exhausted and limit <= _selection(search).threshold
        if is_crowded_out or (exhausted and may_miss):
            return None
        rows, at, goes_by_uses = [], 7, _selection(search).worth.uses is not None
        try:
            for _ in range(chosen):
                id, distance = answer[at].decode(), float(answer[at + 1])
                used, found_fields, at = _told(answer, at + 2, fields, goes_by_uses)
                rows.append(Neighbour(id, distance, found_fields, used))
            spread = self._spread(answer, at, search, [row.id for row in rows], fields)
        except UnicodeDecodeError:
            return None
        if not all(row.id and self._whole_field in row.fields for row in rows):
            return None
        rows.sort(key=by_distance)
        chosen_from = ChosenFrom(related, nearest, limit)
        return Neighbours(rows, exhausted=exhausted, chosen_from=chosen_from, spread=spread)

    def _spread(
        self, answer: list[Any], at: int, search: Search, chosen: Sequence[str], fields: Sequence[str]
    ) -> Spread | None:
        """What the answer says of spreading from `at` on, None where that is nothing; `chosen` the worthiest first."""
        selection = _selection(search)
        if selection.spreading is None or at >= len(answer):
            return None
        begin = at + 1 + int(answer[at])
        gone, reached = tuple(id.decode() for id in answer[at + 1 : begin]), []
        named = (*fields, self._questions.collection.schema.vector_field)
        goes_by_uses = selection.worth.uses is not None
        while begin < len(answer):
            id, start, via = (text.decode() for text in answer[begin : begin + 3])
            weight, activation = map(float, answer[begin + 3 : begin + 5])
            used, found, begin = _told(answer, begin + 5, named, goes_by_uses)
            reached.append(Reached(id, start, via or None, weight, activation, found, used))
        found_ids = tuple(chosen[: selection.count])
        return Spread(found_ids[: selection.spreading.starts], found_ids, tuple(reached), gone)

    def _is_together(self) -> bool:
        client, index_name = self._questions.client, self._questions.collection.index_name
        # Two keys of records: one might be in the index's slot by chance.
        return client.is_pooled and client.are_together(index_name, f"{self._prefix}0", f"{self._prefix}1")

    def _is_unfit(self, what: Filter | None) -> bool:
        since = self._unfit.get(what)
        return since is not None and monotonic() - since < _AGAIN_SECONDS

    def _note_unfit(self, what: Filter | None) -> None:
        if len(self._unfit) >= _MOST_UNFIT:
            self._unfit.clear()
        self._unfit[what] = monotonic()


def _selection(search: Search) -> Selection:
    assert search.selection is not None  # as `suits` says
    return search.selection


@lru_cache(maxsize=8)
def _said_of_uses(uses: Uses, time_fields: tuple[str, str]) -> tuple[Argument, ...]:
    numbers = map(repr, (uses.doubt, uses.decay, uses.share, uses.usual_trust))
    fields = (uses.count_field, uses.times_field, uses.helped_field, uses.trust_field, uses.label_field)
    return (*numbers, *fields, *time_fields, *(text for label, trust in uses.trusts for text in (label, repr(trust))))


def _told(
    answer: list[Any], at: int, fields: Sequence[str], goes_by_uses: bool
) -> tuple[Used | None, dict[str, bytes], int]:
    """What the answer says of a record from `at` on: of its uses, None where it cannot; the fields that are there,
    behind the last of which no value was sent; and where it goes on behind that.
    """
    used = None
    if goes_by_uses:
        level, doubt = answer[at : at + 2]
        used = Used(float(level), float(doubt)) if level else None
        at += 2
    end = at + 1 + int(answer[at])
    values = answer[at + 1 : end]
    return used, {name: value for name, value in zip(fields, values, strict=False) if value is not None}, end
