"""How many records the groups of a collection have, as the scripts that write them count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from betterdb_agent_memory.engines.base import Collection, Fence, GroupCount, GroupCounting, RecordWrite
from betterdb_agent_memory.engines.groups import LAST_WRITTEN, record_group, sizes_in
from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.beside import Besides, group_in, size_in
from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.scripts import load_script, run_many
from betterdb_agent_memory.errors import InvalidInputError


class Groups:
    """The map of counts of one collection. `counting` says whether writes are counted, and is told the counts."""

    def __init__(
        self, client: CommandClient, collection: Collection, counting: GroupCounting | None, besides: Besides
    ) -> None:
        self._client = client
        self._collection = collection
        self._counting = counting
        self._besides = besides

    @property
    def are_counted(self) -> bool:
        """Whether what is written now is counted."""
        return self._counting is not None and self._collection.counts_key is not None and self._counting.is_on

    def tell(self, writes: Sequence[RecordWrite], answers: Sequence[Any], apart: Mapping[str, int]) -> None:
        """Tell whoever has them counted how large the groups of these writes are, as the server answered; `apart`
        are those that it counted in a step of their own.
        """
        if self._counting is None:
            return
        sizes: dict[str, int | None] = {}
        names, sets = self._collection.group_fields, self._collection.group_sets
        for write, answer in zip(writes, answers, strict=True):
            # One that was there and has been changed may be of another group than the one that was to be stored.
            group = group_in(answer) or record_group(write.fields, names, sets)
            sizes[group] = apart.get(group, size_in(answer))
        for group, size in sizes.items():
            self._counting.counted(group, size)

    def tell_moves(self, answers: Sequence[Any], apart: Mapping[str, int]) -> None:
        """Tell it of the groups of records that were changed in what makes their group."""
        if self._counting is None:
            return
        sizes = {group: size_in(answer) for answer in answers if (group := group_in(answer)) is not None}
        for group, size in sizes.items():
            self._counting.counted(group, apart.get(group, size))

    async def count_apart(self, ids: Sequence[str], answers: Sequence[Any]) -> dict[str, int]:
        """Count what no script could count in the same step, on a cluster; the sizes of groups. None or one round trip.

        A failure is none of the write's: what was not counted now is found by the next recount.
        """
        commands = [
            command for id, answer in zip(ids, answers, strict=True) for command in self._besides.after(id, answer)
        ]
        if not commands:
            return {}
        sizes: dict[str, int] = {}
        for command, size in zip(commands, await run_many(self._client, commands), strict=True):
            if isinstance(size, int):
                sizes[_text(command[4])] = size
        return sizes

    async def read(self, group: str) -> GroupCount:
        """The count of a group, and the record written last. One round trip."""
        answer = await self._client.ask("HMGET", self._key, group, LAST_WRITTEN + group)
        size, last = answer
        return GroupCount(None if size is None else reply.as_int(size), None if last is None else _text(last))

    async def sizes(self) -> dict[str, int]:
        """Every group that is counted. One round trip."""
        return sizes_in(reply.parse_map(await self._client.ask("HGETALL", self._key)))

    async def correct(self, group: str, difference: int, fence: Fence) -> None:
        """Add to the count of a group, which is kept from now on. One round trip, two on an untagged cluster store."""
        script = load_script("correct_count")
        if self._besides.are_together(self._key, fence.key):
            command = script.call(self._key, [group, difference, 1, str(fence.token)], beside=[fence.key])
            [answer] = await run_many(self._client, [command])
            if not self._besides.learn([answer]):
                _settled(answer, fence)
                return
        if reply.as_int(await self._client.ask("HGET", fence.key, "token") or 0) != fence.token:
            raise fence.lost()
        [answer] = await run_many(self._client, [script.call(self._key, [group, difference, 1])])
        _settled(answer, fence)

    @property
    def _key(self) -> str:
        if self._collection.counts_key is None:
            raise InvalidInputError(f"no groups are counted in the collection {self._collection.key_prefix}")
        return self._collection.counts_key


def _settled(answer: Any, fence: Fence) -> None:
    if isinstance(answer, Exception):
        raise answer
    if answer in (b"LOST", "LOST"):
        raise fence.lost()


def _text(stored: bytes | str | int) -> str:
    return stored.decode(errors="replace") if isinstance(stored, bytes) else str(stored)
