"""Links between records on a server: the `Links` protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from betterdb_agent_memory.engines.base import LinkedRecords
from betterdb_agent_memory.engines.links import LinkChange, LinkEnd, LinkReach, ends_in, score_of
from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.beside import LINK_MEASURES, is_crossing, share_a_slot
from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.packing import Argument, Command
from betterdb_agent_memory.engines.valkey.scripts import load_script, run_many


class ValkeyLinks:
    """Maps below one prefix, each the links of a record. Writes are sent at most once."""

    def __init__(self, client: CommandClient, linked: LinkedRecords) -> None:
        self._client = client
        self._prefix = linked.prefix
        self._records = tuple(collection.key_prefix + begin for collection, begin in linked.places)
        self._is_apart = not share_a_slot(client, *self._records, prefix=self._prefix)

    async def strengthen(self, changes: Sequence[LinkChange], *, now_ms: int) -> list[bool]:
        """Add to the weights of links; false where a record is missing. One round trip per 500."""
        return await self._write("add", changes, now_ms)

    async def put(self, changes: Sequence[LinkChange], *, now_ms: int) -> list[bool]:
        """Give links this strength; false where a record is missing. One round trip per 500."""
        return await self._write("put", changes, now_ms)

    async def remove(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Remove links; true where there was one. One round trip per 500."""
        answers = await self._told([("remove", *pair) for pair in pairs])
        if answers is None:
            ends = [end for one, other in pairs for end in ((one, other), (other, one))]
            cut = await self._run([("HDEL", self._key(id), other) for id, other in ends])
            answers = [cut[place] or cut[place + 1] for place in range(0, len(cut), 2)]
        return [reply.as_int(answer) > 0 for answer in answers]

    async def forget(self, ids: Sequence[str]) -> None:
        """Remove all links of these records. One round trip per 500, two where keys are apart."""
        if await self._told([("forget", id) for id in ids]) is not None:
            return
        ends: list[Command] = [("DEL", self._key(id)) for id in ids]
        for id, links in zip(ids, await self._maps(ids), strict=True):
            ends += [("HDEL", self._key(other), id) for other in links]
        await self._run(ends)

    async def neighbours(self, ids: Sequence[str], *, now_ms: int) -> list[tuple[LinkEnd, ...]]:
        """What each record is linked to, strongest first. One round trip per 500."""
        return [ends_in(links, now_ms) for links in await self._maps(ids)]

    async def around(self, ids: Sequence[str], reach: LinkReach, *, now_ms: int) -> Mapping[str, tuple[LinkEnd, ...]]:
        """What these records are linked to, and where that is too little what those are linked to. One round trip; two
        where keys are apart and one is not enough.
        """
        if not ids:
            return {}
        if not self._is_apart:
            least_score = f"{score_of(reach.least_weight, now_ms):.17g}"
            arguments: list[Argument] = [self._prefix, least_score, reach.followed, reach.enough]
            arguments += (len(reach.beside), *reach.beside, *ids)
            key, beside = self._key(ids[0]), self._beside("around", ids[0])
            [answer] = await run_many(self._client, [load_script("link_around").call(key, arguments, beside=beside)])
            if not self._learn(answer):
                return {
                    _text(found[0]): ends_in(_links(found[1:]), now_ms, least_weight=reach.least_weight)
                    for found in _checked(answer)
                }
        seen: dict[str, tuple[LinkEnd, ...]] = {}
        wanted = list(dict.fromkeys(ids))
        for _ in range(2):
            maps = await self._maps(wanted)
            found = [ends_in(links, now_ms, least_weight=reach.least_weight) for links in maps]
            seen.update(zip(wanted, found, strict=True))
            wanted = reach.further(seen)
        return seen

    async def _write(self, verb: str, changes: Sequence[LinkChange], now_ms: int) -> list[bool]:
        tail: tuple[Argument, ...] = (now_ms, *LINK_MEASURES, *self._records)
        answers = await self._told(
            [(verb, one, other, f"{strength.score:.17g}", strength.since_ms, *tail) for one, other, strength in changes]
        )
        if answers is not None:
            return [reply.as_int(answer) > 0 for answer in answers]
        return await self._write_apart(changes, now_ms, replaces=verb == "put")

    async def _write_apart(self, changes: Sequence[LinkChange], now_ms: int, *, replaces: bool) -> list[bool]:
        """End by end: whether the records are there, both ends, and what was lost at the other ends."""
        ids = list(dict.fromkeys(id for change in changes for id in change[:2]))
        looks = [("EXISTS", begin + id) for id in ids for begin in self._records]
        answers = [reply.as_int(_checked(answer)) for answer in await self._client.ask_many(looks)] if looks else []
        width = len(self._records)
        there = {id for place, id in enumerate(ids) if any(answers[place * width : (place + 1) * width])}
        possible = [one in there and other in there for one, other, _ in changes]
        script, ends, commands = load_script("link_end"), [], []
        for (one, other, strength), is_possible in zip(changes, possible, strict=True):
            for id, linked in ((one, other), (other, one)) if is_possible else ():
                said: list[Argument] = [linked, f"{strength.score:.17g}", strength.since_ms, now_ms, int(replaces)]
                said += LINK_MEASURES
                ends.append(id)
                commands.append(script.call(self._key(id), said))
        lost = [
            (_text(other), id) for id, others in zip(ends, await self._run(commands), strict=True) for other in others
        ]
        await self._run([("HDEL", self._key(other), id) for other, id in lost])
        return possible

    async def _told(self, said: Sequence[tuple[Argument, ...]]) -> list[Any] | None:
        """The answers of link.lua to these; None where no script may touch both ends, and nothing was done."""
        if not said:
            return []
        if self._is_apart:
            return None
        script = load_script("link")
        commands = [
            script.call(self._key(str(id)), [verb, self._prefix, id, *rest], beside=self._beside(verb, str(id)))
            for verb, id, *rest in said
        ]
        answers = await run_many(self._client, commands)
        return None if any(map(self._learn, answers)) else [_checked(answer) for answer in answers]

    def _beside(self, verb: Argument, id: str) -> tuple[str, ...]:
        """Keys by which a node of a cluster that a plain client talks to refuses what it cannot do in one step."""
        return tuple(begin + id for begin in self._records) if verb in ("add", "put") else (f"{self._prefix}0",)

    def _learn(self, answer: Any) -> bool:
        self._is_apart |= is_crossing(answer)
        return is_crossing(answer)

    async def _maps(self, ids: Sequence[str]) -> list[dict[str, bytes]]:
        answers = await self._client.ask_many([("HGETALL", self._key(id)) for id in ids]) if ids else []
        return [reply.parse_map(_checked(answer)) for answer in answers]

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        return [_checked(answer) for answer in await run_many(self._client, commands)] if commands else []

    def _key(self, id: str) -> str:
        return self._prefix + id


def _links(flat: Sequence[Any]) -> dict[str, bytes]:
    return {_text(flat[place]): reply.as_bytes(flat[place + 1]) for place in range(0, len(flat), 2)}


def _checked(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _text(stored: Any) -> str:
    return stored.decode() if isinstance(stored, bytes) else str(stored)
