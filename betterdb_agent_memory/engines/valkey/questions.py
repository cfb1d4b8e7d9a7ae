"""Asking the search module: one question, one checked answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.engines.base import Collection, Row, Word
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.engines.valkey import commands, query, reply
from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.index import Index
from betterdb_agent_memory.engines.valkey.packing import Command
from betterdb_agent_memory.engines.valkey.words import WordClauses

_WORDS_BYTES = 4096
"""Room for words in one query text; the filter has what they leave of it."""

_KEPT_PREFILTERS = 512
"""Texts of filters that are kept: a worker asks about few scopes again and again. At 10 kB each 5 MB at worst."""


class Questions:
    """Searches of one collection, each with the stated timeout, and the keys of their rows understood."""

    def __init__(self, client: CommandClient, collection: Collection, index: Index, *, timeout_ms: int) -> None:
        self.client = client
        self.collection = collection
        self.index = index
        self.timeout_ms = timeout_ms
        self.order_field = query.order_field(collection.schema).name
        schema, searchable = collection.schema, index.searchable
        self._wording = (searchable, query.Wording(schema, searchable), WordClauses(schema, searchable))
        self._prefilters: dict[tuple[Filter, str | None, int], str] = {}
        self.unreadable_rows = 0
        self._prefix = collection.key_prefix.encode()
        fields = (*collection.schema.shared, *collection.schema.own)
        self._numbers = frozenset(field.name for field in fields if field.kind == "number")
        self._texts = [field.name for field in collection.schema.shared if field.kind == "text"]

    def prefilter(self, filter: Filter, everything: str | None = None, *, room: int = query.ROOM_BYTES) -> str:
        """The query text of `filter`, as far as the index can express it in `room` bytes."""
        self._understand()
        asked = (filter, everything, room)
        text = self._prefilters.get(asked)
        if text is None:
            searchable, wording, _ = self._wording
            text = query.prefilter(filter, self.collection.schema, searchable, everything, wording=wording, room=room)
            if len(self._prefilters) >= _KEPT_PREFILTERS:
                self._prefilters.clear()
            self._prefilters[asked] = text
        return text

    def texts(self, filter: Filter, words: Sequence[Word]) -> list[str]:
        """Query texts of what passes `filter` and has one of `words`: each such record is found by one at least.

        Nearly always one; none where no word can be searched for.
        """
        self._understand()
        clauses = self._wording[2].clauses(words, _WORDS_BYTES)
        if not clauses:
            return []
        room = query.ROOM_BYTES - max(len(clause.encode()) for clause in clauses)
        scope = self.prefilter(filter, query.EVERYTHING, room=room)
        # In brackets as a whole: RediSearch takes two expressions before a KNN clause for a syntax error.
        return clauses if scope == query.EVERYTHING else [f"({scope} {clause})" for clause in clauses]

    def finds_all(self, words: Sequence[Word]) -> bool:
        """Whether `texts` find every record that has one of `words`, as far as the index has it."""
        self._understand()
        return not words or self._wording[2].finds_all(words)

    def count_command(self, text: str) -> Command:
        """FT.SEARCH for how many records there are."""
        return self.select_command(text, (), 0, 0, None, False)

    def select_command(
        self, text: str, fields: Sequence[str], offset: int, limit: int, order_by: str | None, descending: bool
    ) -> Command:
        """FT.SEARCH for a page of records with `fields`, or with something that is no more than that."""
        return commands.select(
            self.collection.index_name,
            text,
            fields=self.returned(fields),
            offset=offset,
            limit=limit,
            order_by=order_by,
            descending=descending,
            timeout_ms=self.timeout_ms,
        )

    async def search(self, command: Command, names: Sequence[str], limit: int) -> reply.Found:
        """The answer to an FT.SEARCH. One round trip."""
        began = monotonic()
        answer = await self.client.ask(*command)
        return await self.read(answer, names, limit, monotonic() - began)

    async def ask(self, commands: Sequence[Command]) -> tuple[list[Any], float]:
        """The answers to several searches and how long all of them took together. One round trip.

        How many records there are is asked beside them once in a while.
        """
        answers, elapsed = await self.answers_and_refusals(commands)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers, elapsed

    async def answers_and_refusals(self, commands: Sequence[Command]) -> tuple[list[Any], float]:
        """The same, where what the server refuses is an error in the list."""
        beside = self.index.look_beside()
        began = monotonic()
        answers = await self.client.ask_many([*commands, *beside])
        elapsed = monotonic() - began
        if beside:
            self.index.note_look(answers[len(commands) :])
            del answers[len(commands) :]
        return answers, elapsed

    async def search_beside_names(self, command: Command, names: Sequence[str], limit: int) -> reply.Found:
        """The same; a neighbour who has moved in below our prefix is noticed. One round trip."""
        answer, elapsed = await self.answer_beside_names(command)
        return await self.read(answer, names, limit, elapsed)

    async def answer_beside_names(self, command: Command) -> tuple[Any, float]:
        """The answer and how long it took; the list of indexes comes in the same round trip and says
        whether a neighbour has moved in below our prefix.
        """
        began = monotonic()
        answer, names = await self.client.ask_many([command, ("FT._LIST",)])
        elapsed = monotonic() - began
        self.index.note_names(names)
        if isinstance(answer, Exception):
            raise answer
        return answer, elapsed

    async def read(
        self, answer: Any, names: Sequence[str] | Mapping[bytes, str], limit: int, elapsed: float
    ) -> reply.Found:
        """An FT.SEARCH reply, unless it may have been cut short."""
        found = await off_loop(limit, reply.parse_search, answer, names)
        self.check_complete(found.complete, elapsed)
        return found

    def check_complete(self, complete: bool | None, elapsed: float) -> None:
        """Refuse an answer that may have been cut short; `complete` None where it does not say."""
        reply.check_complete(complete, elapsed_seconds=elapsed, timeout_ms=self.timeout_ms)

    def returned(self, fields: Sequence[str]) -> Sequence[str]:
        """What to ask for to get `fields`: also the order field, which every record has, since a row without
        any field counts as expired.
        """
        asked = fields if self.order_field in fields else (*fields, self.order_field)
        # valkey-search gives numbers six significant digits (milliseconds become hours) unless a
        # text field is returned as well.
        if self.index.returns_numbers or not self._texts or self._numbers.isdisjoint(fields):
            return asked
        return asked if not set(self._texts).isdisjoint(fields) else (*asked, self._texts[0])

    def rounds_numbers_of(self, fields: Sequence[str]) -> bool:
        """Whether a search may return rounded numbers for `fields`; the order field has whole ones."""
        return not self._numbers.isdisjoint(field for field in fields if field != self.order_field)

    def _understand(self) -> None:
        searchable, schema = self.index.searchable, self.collection.schema
        if self._wording[0] is not searchable:
            self._wording = (searchable, query.Wording(schema, searchable), WordClauses(schema, searchable))
            self._prefilters.clear()

    def own_rows(self, found: reply.Found, fields: Sequence[str]) -> tuple[Row, ...]:
        """The rows that are records, with `fields`."""
        # A row without fields has expired since it was indexed.
        rows = [Row(id, kept) for key, kept in found.rows if kept and (id := self.own_id(key)) is not None]
        if set(self.returned(fields)) != set(fields):
            rows = [Row(row.id, {name: row.fields[name] for name in fields if name in row.fields}) for row in rows]
        return tuple(rows)

    def own_id(self, key: bytes) -> str | None:
        """The id of a record's key, None for a key that is no record's."""
        id = key[len(self._prefix) :]
        if not key.startswith(self._prefix) or not id or b":" in id:
            self.index.note_foreign_key()
            return None
        try:
            return id.decode()
        except UnicodeDecodeError:
            self.unreadable_rows += 1
            return None
