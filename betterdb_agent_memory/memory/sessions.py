"""How many turns each session has had: a count on the engine that workers raise to get numbers of their own."""

from __future__ import annotations

from collections.abc import Mapping

from betterdb_agent_memory.engines.base import Records
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.turns import turn_id

_PAGE = 500


class Sessions:
    """Numbers for turns, kept in one map under `{name}:__mem_sessions`: a field for each session's key.

    A number is given out once, however many workers ask, and never again: also not when the turn is gone.
    """

    def __init__(self, values: Values, records: Records, store_name: str) -> None:
        self._values = values
        self._records = records
        self._map = f"{store_name}:__mem_sessions"

    async def length(self, key: str) -> int:
        """How many turns the session has had. One round trip."""
        return (await self._lengths([key]))[key]

    async def allot(self, key: str, count: int) -> int:
        """The first of `count` numbers that nobody else gets. One round trip."""
        return await self._values.increment(self._map, key, count) - count

    async def catch_up(self, key: str, length: int) -> int:
        """Where the session ends whose turn `length` is there although the count says that it is not.

        So it is after the count was lost. One round trip per 500 turns, and two to correct the count.
        """
        while True:
            ids = [turn_id(key, turn) for turn in range(length, length + _PAGE)]
            found = await self._records.read_many(ids, (record.CONTENT,))
            there = [place for place, fields in enumerate(found) if fields is not None]
            if not there:
                break
            length += there[-1] + 1
        await self.raise_to({key: length})
        return length

    async def raise_to(self, lengths: Mapping[str, int]) -> None:
        """Let no session go on before these numbers: for turns that come from elsewhere. Two round trips.

        Two workers that do so at once may leave a gap in the numbers, and no more.
        """
        known = await self._lengths(list(lengths))
        missing = {key: length - known[key] for key, length in lengths.items() if length > known[key]}
        if missing:
            batch = self._values.batch()
            replies = [batch.increment(self._map, key, amount) for key, amount in missing.items()]
            await batch.send()
            for reply in replies:
                reply.result()

    async def _lengths(self, keys: list[str]) -> dict[str, int]:
        batch = self._values.batch()
        reply = batch.read_fields(self._map, keys)
        await batch.send()
        found = reply.result()
        return {key: int(found.get(key, b"0")) for key in keys}
